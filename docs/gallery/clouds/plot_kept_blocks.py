"""
What a proof need not read
==========================

Large clouds are solved by looking at few pairs of points, and the certificate still holds for all of them. How that can
be is shown here for one block of 32 points, in 60 lines of NumPy: a search of a tree that opens a box only where it may
matter, and bounds the mass of all that it leaves closed.
"""

# %%
# Two clouds, and the plan between them
# -------------------------------------
# A square is moved to five heaps on its right. The solution's potentials ``f`` and ``g`` give the plan: the entry of
# the points x_i and y_j is a_i b_j exp((f_i + g_j - \|x_i - y_j\|^2) / epsilon), and there is one for every pair.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

import elastic_ot as eot

N, EPSILON, TOL, BLOCK = 8192, 5e-4, 1e-3, 32
rng = np.random.default_rng(3)
x = rng.random((N, 2))
heaps = [1.65, 0.15] + 0.7 * rng.random((5, 2))
y = heaps[rng.integers(0, 5, N)] + 0.07 * rng.normal(size=(N, 2))
solution = eot.solve(eot.PointCloud(x, y), epsilon=EPSILON, tol=TOL, method="multiscale")
assert solution.converged
print(solution)

log_a = solution.f / EPSILON - np.log(N)  # the logarithm of an entry is log_a[i] + log_b[j] - cost[i, j] / EPSILON
log_b = solution.g / EPSILON - np.log(N)

# %%
# A tree
# ------
# Cells are halved along the longest side of their box, until 32 points are left: a block.


def halves(points, cell):
    """The two halves of a cell, given as numbers of points."""
    side = np.ptp(points[cell], axis=0).argmax()
    order = cell[np.argsort(points[cell, side])]
    return order[: len(order) // 2], order[len(order) // 2 :]


cells = [np.arange(N)]
while len(cells[0]) > BLOCK:
    cells = [half for cell in cells for half in halves(x, cell)]
block = min(cells, key=lambda cell: np.linalg.norm(x[cell].mean(axis=0) - [0.3, 0.55]))

# %%
# A bound
# -------
# Over a cell with centre c a potential is nearly affine. With the slope q of its best fit,
#
# .. math:: \sum_i e^{\log a_i - \langle q, x_i - c \rangle} = e^p,
#
# and p is a number that one pass over the points gives. The mass between two cells is then at most
#
# .. math:: e^{p + p'} \max_{s, t} e^{\langle q, s \rangle + \langle q', t \rangle - |c + s - c' - t|^2 / \varepsilon},
#
# the maximum over the two boxes. Coordinates part, so that it is one over a rectangle for each. Where q + q' is
# positive the exponent grows along the lines of equal s - t, so the maximum lies on the edge where s or t is largest; a
# parabola is left there. Otherwise both signs are turned.


class Majorant:
    """Centre and half sides of the box of a cell, and the affine bound of a potential over it."""

    def __init__(self, points, logs, cell, affine=True):
        low, high = points[cell].min(axis=0), points[cell].max(axis=0)
        self.centre, self.half = (low + high) / 2, (high - low) / 2
        offsets = points[cell] - self.centre
        design = np.column_stack([offsets, np.ones(len(cell))])
        self.slope = affine * np.linalg.lstsq(design, logs[cell], rcond=None)[0][:2]
        self.top = np.logaddexp.reduce(logs[cell] - offsets @ self.slope)


def log_bound(u, v):
    """The logarithm of a bound on the mass between two cells."""
    sign = np.where(u.slope + v.slope < 0, -1, 1)
    apart, a, b = sign * (u.centre - v.centre), sign * u.slope, sign * v.slope
    s, t = u.half, v.half
    w = np.clip(a * EPSILON / 2 - apart, -s - t, s - t)  # s - t, where t is largest
    first = a * (w + t) + b * t - (apart + w) ** 2 / EPSILON
    w = np.clip(-b * EPSILON / 2 - apart, s - t, s + t)  # where s is largest
    second = a * s + b * (s - w) - (apart + w) ** 2 / EPSILON
    return u.top + v.top + np.maximum(first, second).sum()


# %%
# A search
# --------
# It begins with the box of all of ``y``. A box whose bound is small enough is left out, with everything in it; any
# other is opened. What cannot be opened any more is a block that has to be read. All blocks of rows together may leave
# out three hundredths of the tolerance.

SMALL = np.log(0.03 * TOL / (N / BLOCK) / 32)


def search(affine=True):
    """Blocks of y that are read, and boxes that are left out with the logarithms of their bounds."""
    rows, stack, read, left = Majorant(x, log_a, block, affine), [np.arange(N)], [], []
    while stack:
        cell = stack.pop()
        columns = Majorant(y, log_b, cell, affine)
        bound = log_bound(rows, columns)
        if bound < SMALL:
            left.append((cell, columns, bound))
        elif len(cell) == BLOCK:
            read.append((cell, columns))
        else:
            stack.extend(halves(y, cell))
    return read, left


def mass(cell):
    """What the plan really has between the block and a cell."""
    cost = ((x[block, None] - y[cell]) ** 2).sum(axis=-1)
    return np.exp(log_a[block, None] + log_b[cell] - cost / EPSILON).sum()


read, left = search()
bounds, masses = np.exp([bound for *_, bound in left]), np.array([mass(cell) for cell, *_ in left])
assert (masses <= bounds * (1 + 1e-9)).all()  # exponents of some thousands, rounded to their last digit
flat, _ = search(affine=False)
print(f"{len(read)} of {N // BLOCK} blocks are read, {len(left)} boxes left out")
print(f"the block's mass {BLOCK / N:.2e}, left out at most {bounds.sum():.1e}, in truth {masses.sum():.1e}")
print(f"with constants in place of affine functions {len(flat)} blocks would be read")

# %%
# The picture
# -----------
# Left: the block, among the boxes of its like. Middle: what it reads, filled, darker where more of its mass goes; and
# the boxes left out, each with the power of ten that bounds its mass. Far from the image large boxes do: one bound
# settles thousands of points. Near it they are small, as the bound of a large one would still be too much. Right:
# bounds beside the masses that they bound. All lie above the line, or there would be no proof.


def box(majorant):
    """Its rectangle."""
    return Rectangle(majorant.centre - majorant.half, *(2 * majorant.half))


figure, axes = plt.subplots(1, 3, figsize=(13, 4.6), layout="constrained", width_ratios=[1, 1.15, 0.9])
axes[0].scatter(*x.T, s=0.5, color="0.75")
axes[0].add_collection(
    PatchCollection([box(Majorant(x, log_a, cell)) for cell in cells], facecolor="none", edgecolor="0.6", lw=0.4)
)
axes[0].add_collection(PatchCollection([box(Majorant(x, log_a, block))], facecolor="#D55E00", edgecolor="#D55E00"))
axes[0].set_title(f"x: a block of {BLOCK} points")

axes[1].scatter(*y.T, s=0.5, color="0.75")
kept = PatchCollection([box(columns) for _, columns in read], cmap="Oranges", norm=LogNorm(1e-6, 1), edgecolor="none")
kept.set_array(np.maximum([mass(cell) for cell, _ in read], 1e-300) * N / BLOCK)
axes[1].add_collection(kept)
axes[1].add_collection(
    PatchCollection([box(columns) for _, columns, _ in left], facecolor="none", edgecolor="#0072B2", lw=0.7)
)
halo = [withStroke(linewidth=3, foreground="white")]
for cell, columns, bound in left:
    if len(cell) >= 8 * BLOCK:
        text = rf"$10^{{{np.ceil(bound / np.log(10)):.0f}}}$"
        axes[1].text(*columns.centre, text, ha="center", va="center", color="#0072B2", path_effects=halo)
axes[1].set_title(f"y: {len(read)} blocks read, {len(left)} boxes left out")
figure.colorbar(kept, ax=axes[1], label="share of the block's mass", shrink=0.8)
for ax in axes[:2]:
    ax.set(aspect="equal", xticks=[], yticks=[])

shown = masses > 1e-40
axes[2].loglog(masses[shown], bounds[shown], ".", color="#0072B2")
axes[2].axline((1e-30, 1e-30), (1e-10, 1e-10), color="0.5", lw=0.8)
axes[2].axhline(np.exp(SMALL), color="#D55E00", lw=0.8, label="small enough to be left out")
axes[2].set(xlabel="mass of the box", ylabel="its bound", title="bounds hold")
axes[2].locator_params(numticks=6)
axes[2].legend(frameon=False, loc="lower right")
plt.show()

# %%
# The same search, from all blocks of rows and compiled, is what ``method="multiscale"`` does at every level, and once
# more for the potentials that it returns. The sum of the bounds is added to the error that it reports.
# :doc:`/multiscale` says what else is counted.
