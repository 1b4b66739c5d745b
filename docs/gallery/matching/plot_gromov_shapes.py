"""
Shapes that share no coordinates
================================

Two people write a digit, and one of the sheets is turned. No cost between their pixels makes sense; distances within
each drawing do. Gromov-Wasserstein carries one drawing to the other so that these are kept.
"""

# %%
# Ink as weights
# --------------
# The points are the pixels with ink, the weights how much of it. The second drawing is turned by 130 degrees.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import elastic_ot as eot

digits = load_digits()
of_two = np.flatnonzero(digits.target == 2)


def drawing(index, degrees=0.0):
    """Pixels with ink in a square around 0, turned, and their weights."""
    image = digits.images[index]
    v, u = np.nonzero(image > 3)
    points = np.stack([u - 3.5, 3.5 - v], axis=1) / 8.0
    turn = np.deg2rad(degrees)
    ink = image[v, u]
    return points @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]], ink / ink.sum()


x, a = drawing(of_two[1])
y, b = drawing(of_two[9], degrees=130.0)

# %%
# The match
# ---------
# Squared distances within each drawing are those of a ``PointCloud``. The problem is not convex: of eight starts the
# best counts.

found = eot.gromov(eot.PointCloud(x), eot.PointCloud(y), a, b, epsilon=0.002, starts=8, tol=1e-4)
print(found)
assert found.converged

# %%
# Each pixel of the second drawing gets the mean colour of those that are carried to it: the stroke begins and ends
# where it should.

colours = plt.get_cmap("hsv")(0.5 + 0.5 * x[:, 1] / np.abs(x[:, 1]).max() * 0.9)[:, :3]
carried = (found.plan.T @ colours) / found.col_marginal[:, None]
figure, axes = plt.subplots(1, 2, figsize=(7.5, 3.8))
for axis, points, shades, ink, title in (
    (axes[0], x, colours, a, "one drawing"),
    (axes[1], y, carried, b, "another, turned: colours carried over"),
):
    axis.scatter(*points.T, c=np.clip(shades, 0, 1), s=6000 * ink)
    axis.set(title=title, aspect="equal", xlim=(-0.75, 0.75), ylim=(-0.75, 0.75))
    axis.axis("off")
figure.tight_layout()

# %%
# How good is it?
# ---------------
# Nobody knows the least energy, but it lies between two numbers. The first bound compares how far points are from all
# others; the third compares all distances from each of them, and needs the matrices.

squares = [((p[:, None] - p) ** 2).sum(axis=2) for p in (x, y)]
of_matrices = eot.gromov(*squares, a, b, epsilon=0.002, init=found.plan, tol=1e-4)
first, third = of_matrices.lower_bounds(third=True)
print(f"energy {found.energy:.4f}; no plan has less than {max(first, third):.4f}")
assert max(first, third) <= found.energy

# %%
# A digit among digits
# --------------------
# Energies between the turned drawing and one of each digit: the least one is that of its own kind, or of one that looks
# like it when turned.

energies = []
for digit in range(10):
    z, c = drawing(np.flatnonzero(digits.target == digit)[1])
    energies.append(eot.gromov(eot.PointCloud(z), eot.PointCloud(y), c, b, epsilon=0.002, starts=3, tol=1e-3).energy)
figure, axis = plt.subplots(figsize=(7.5, 2.8))
axis.bar(range(10), energies, color=["C1" if digit == 2 else "C0" for digit in range(10)])
axis.set(xticks=range(10), xlabel="digit", ylabel="energy", title="how far a turned 2 is from each digit")
figure.tight_layout()
