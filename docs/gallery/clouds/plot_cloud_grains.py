"""
A hundred thousand grains
=========================

Two photographs as drawings in sand: 100,000 grains each, dense where a picture is dark. The grains of one are moved to
those of the other at the least cost. That is 10 billion pairs, of which a solve from coarse to fine reads some 1.5 in a
hundred, and it says how good its answer is for all of them.
"""

# %%
# The grains
# ----------
# Each grain falls on a pixel with a probability that grows with how dark the pixel is, and anywhere within it.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import hsv_to_rgb
from sklearn.datasets import load_sample_image

import elastic_ot as eot

GRAINS = 100_000
rng = np.random.default_rng(0)


def grains(name):
    """Points in a rectangle of width 1, and the colours that they have in the photograph."""
    picture = load_sample_image(name) / 255
    dark = 1.02 - picture.mean(axis=-1)
    pixel = rng.choice(dark.size, GRAINS, p=(dark / dark.sum()).ravel())
    v, u = np.divmod(pixel, dark.shape[1])
    points = np.stack([u, dark.shape[0] - 1 - v], axis=1) + rng.random((GRAINS, 2))
    return points / dark.shape[1], picture[v, u]


x, colours = grains("china.jpg")
y, colours_there = grains("flower.jpg")

# %%
# The solve
# ---------
# A blur of three times the mean distance between neighbours says that what is finer is left to chance: it is, as grains
# fall at random. ``method="auto"`` would take the same method.

blur = 3 * GRAINS**-0.5
solution = eot.solve(eot.PointCloud(x, y), epsilon=blur**2, tol=1e-3, method="multiscale")
print(solution)
assert solution.converged

# %%
# The history says what happened: the first levels are problems between a few centroids at a large epsilon, whose
# potentials take no time. From there epsilon falls by four from level to level, and each begins close to its solution.
# The last epsilon has two levels, one of centroids and one of all grains, which takes nearly all of the time.

history = solution.history
ends = np.flatnonzero(np.diff(history.epsilon, append=0.0))
print("   epsilon   iterations   residual   seconds")
for first, last in zip([0, *ends + 1], ends, strict=False):
    count = last - first + 1
    print(f"{history.epsilon[last]:10.1e} {count:10d} {history.residual[last]:12.1e} {history.seconds[last]:9.2f}")

# %%
# The certificate
# ---------------
# The L1 error of both marginals is that of all 10 billion entries of the plan: those that were summed, and a proven
# bound on those that were not. ``dual_value`` is a proven lower bound on the optimal value, and ``gap`` is the distance
# to what a plan with exactly these marginals costs.

print(f"error of the marginals at most {solution.marginal_error:.1e}")
print(f"optimal value at least {solution.dual_value:.6f}, and at most {solution.gap:.1e} more")
assert solution.marginal_error <= 1e-3
assert 0 <= solution.gap < 1e-2 * solution.dual_value

# %%
# On the way
# ----------
# ``barycentric_map`` sends each grain to the mean of where its mass goes, and gives means of any other numbers there.
# On a straight way to their places, and to the colours of these, the grains turn the temple into the flower.

target, colours_then = solution.barycentric_map(y), solution.barycentric_map(colours_there)
figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
for ax, time in zip(axes.flat, (0, 1 / 3, 2 / 3, 1), strict=True):
    places, shades = (1 - time) * x + time * target, (1 - time) * colours + time * colours_then
    ax.scatter(*places.T, s=1.5, c=shades.clip(0, 1), linewidths=0, rasterized=True)
    ax.set(aspect="equal", xlim=(0, 1), ylim=(0, 427 / 640), xticks=[], yticks=[], title=f"{time:.0%} of the way")
plt.show()

# %%
# Displacement
# ------------
# Where a grain goes, by colour: the hue is the direction, as on the wheel in the corner, and the stronger it is the
# farther. Beside it the residual at every iteration, which rises where a new level begins and falls within a few steps.

moved = target - x
length = np.linalg.norm(moved, axis=1)


def by_direction(shift):
    """Hue for the direction, strength for the length."""
    strength = np.minimum(np.linalg.norm(shift, axis=-1) / np.quantile(length, 0.9), 1)
    return hsv_to_rgb(
        np.stack(
            [np.arctan2(shift[..., 1], shift[..., 0]) / (2 * np.pi) % 1, strength, np.full_like(strength, 0.9)], -1
        )
    )


figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained", width_ratios=[1.4, 1])
axes[0].scatter(*x.T, s=0.5, c=by_direction(moved), linewidths=0, rasterized=True)
axes[0].set(aspect="equal", xlim=(0, 1), ylim=(0, 427 / 640), xticks=[], yticks=[])
axes[0].set_title(f"displacement, up to {length.max():.2f} of the width")
disc = rng.uniform(-1, 1, (20_000, 2))
disc = disc[np.linalg.norm(disc, axis=1) < 1]
wheel = axes[0].inset_axes([0.02, 0.75, 0.14, 0.22])
wheel.scatter(*disc.T, s=1, c=by_direction(disc * np.quantile(length, 0.9)), linewidths=0, rasterized=True)
wheel.set(aspect="equal", xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
wheel.set_axis_off()
for first, last in zip([0, *ends + 1], ends, strict=False):
    level = slice(first, last + 1)
    axes[1].semilogy(history.iteration[level], history.residual[level], ".-", label=f"{history.epsilon[last]:.0e}")
axes[1].axhline(1e-3, color="black", lw=0.8)
axes[1].set(xlabel="iteration", ylabel="residual", ylim=(1e-5, 1), title="a level for every epsilon")
axes[1].legend(title="epsilon", frameon=False, fontsize="small", ncols=3, loc="lower right")
plt.show()

# %%
# Where to go on: a cloud of your own, in the plane or in space, with weights or with soft sides (``rows=eot.KL(rho)``
# leaves a part where it is). A million grains take less than a minute. :doc:`/multiscale` says how the proof works and
# when this pays, and :doc:`plot_kept_blocks` shows it for one block.
