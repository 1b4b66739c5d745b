"""
Digits as images, without a matrix
==================================

A handwritten 3 becomes an 8. Both are images of 128 x 128 pixels, and the cost between all pairs of their pixels
would fill 2 GB. On a grid it is a sum over the two axes, so nothing of that size is ever computed. Where the ink
goes, what happens if there is a price for moving it far, and how two images compare that only differ in place.
"""

# %%
# Images as weights
# -----------------
# Two digits of scikit-learn, 8 x 8 pixels, interpolated to 128 x 128 and laid over the unit square. The weights
# are the images themselves, each divided by its sum.

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter, zoom
from sklearn.datasets import load_digits

import elastic_ot as eot

SIDE = 128
digits = load_digits()


def image_of(digit, side=SIDE):
    """The first image of a digit on a fine grid, with ink 1 in all."""
    coarse = digits.images[np.flatnonzero(digits.target == digit)[0]]
    fine = zoom(coarse, side / 8, order=1, grid_mode=True, mode="grid-constant").clip(0.0)
    return fine / fine.sum()


three, eight = image_of(3), image_of(8)
grid = eot.Grid(three.shape)
print(grid)
print(f"as a matrix: {8 * np.prod(grid.shape, dtype=float) / 1e9:.1f} GB")

# %%
# Where the ink goes
# ------------------
# ``epsilon`` is a squared length: its root is how far the ink of one pixel is spread. Here that is 0.014, less than
# two pixels. ``apply`` multiplies the plan with anything that has a value at every pixel of the second image. With
# the coordinates of the pixels it gives the mean place that each pixel of the 3 is sent to.

EPSILON = 2e-4
solution = eot.solve(grid, three, eight, epsilon=EPSILON, tol=1e-4)
print(f"{solution.status.name} by {solution.method}, gap {solution.gap:.1e}")

centres = (np.arange(SIDE) + 0.5) / SIDE
places = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)


def ends(solution):
    """The mean place that each pixel's ink is sent to; where there is no ink, the pixel's own place."""
    sent = solution.row_marginal[:, None]
    return np.where(sent > 0, solution.apply(places) / np.where(sent > 0, sent, 1.0), places)


target = ends(solution)
assert np.allclose(three.ravel() @ target, eight.ravel() @ places, atol=1e-3)  # means go to means

# %%
# Ink that moves along straight lines passes through shapes between the two. Mixing the images shows both at once
# instead. A pixel is drawn as a spot as wide as the blur of the plan: with pixels alone, fine stripes would show
# where neighbours part.


def drawn(points, mass):
    """Draw masses at any places: each is shared between the four pixels around it, then blurred."""
    corner = points * SIDE - 0.5
    low = np.clip(np.floor(corner).astype(int), 0, SIDE - 2)
    part = corner - low
    picture = np.zeros((SIDE, SIDE))
    for i in (0, 1):
        for j in (0, 1):
            share = np.abs(1 - i - part[:, 0]) * np.abs(1 - j - part[:, 1])
            np.add.at(picture, (low[:, 0] + i, low[:, 1] + j), mass * share)
    return gaussian_filter(picture, SIDE * np.sqrt(EPSILON))


times = np.linspace(0.0, 1.0, 5)
figure, axes = plt.subplots(2, len(times), figsize=(11, 4.8), layout="constrained")
for column, t in zip(axes.T, times, strict=True):
    moved = drawn((1 - t) * places + t * target, three.ravel())
    for ax, picture in zip(column, (moved, drawn(places, ((1 - t) * three + t * eight).ravel())), strict=True):
        ax.imshow(picture, cmap="Blues", vmin=0.0, vmax=1.1 * eight.max())
        ax.set(xticks=[], yticks=[])
    column[0].set_title(f"t = {t:g}")
axes[0, 0].set_ylabel("transported")
axes[1, 0].set_ylabel("mixed")
plt.show()

# %%
# A price for moving far
# ----------------------
# With ``KL(rho)`` on both sides ink need not move: it may vanish in one place and appear in another, at about rho a
# unit. A small rho keeps only the short ways. Arrows show the ways of the ink that moves, red is ink of the 3 that
# vanishes, blue is ink of the 8 that appears.

rhos = [0.003, 0.03, 0.3]
relaxed = [eot.solve(grid, three, eight, epsilon=EPSILON, tol=1e-4, rows=eot.KL(rho), cols=eot.KL(rho)) for rho in rhos]
shares = [sol.row_marginal.sum() for sol in relaxed]
far = [np.sqrt(sol.transport_cost / share) for sol, share in zip(relaxed, shares, strict=True)]
for rho, share, length in zip(rhos, shares, far, strict=True):
    print(f"rho {rho:<6g} moves {share:4.0%} of the ink, by {SIDE * length:4.1f} pixels (root of the mean square)")
assert shares == sorted(shares)
assert far == sorted(far)

some = np.zeros((SIDE, SIDE), dtype=bool)
some[4::5, 4::5] = True
figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), layout="constrained")
for ax, sol, rho in zip(axes, relaxed, rhos, strict=True):
    vanishes = (three.ravel() - sol.row_marginal).clip(0.0).reshape(grid.shape_x)
    appears = (eight.ravel() - sol.col_marginal).clip(0.0).reshape(grid.shape_y)
    scale = 1.2 * max(three.max(), eight.max())
    shown = np.stack([appears, np.maximum(appears, vanishes), vanishes], axis=-1) / scale
    ax.imshow(1.0 - shown.clip(0.0, 1.0))
    at = some.ravel() & (sol.row_marginal > 0.05 * three.max())
    start, way = SIDE * places[at] - 0.5, SIDE * (ends(sol) - places)[at]
    ax.quiver(
        start[:, 1],
        start[:, 0],
        way[:, 1],
        way[:, 0],
        angles="xy",
        scale_units="xy",
        scale=1.0,
        width=0.004,
        color="0.2",
    )
    ax.set(xticks=[], yticks=[], title=f"rho = {rho:g}")
plt.show()

# %%
# Two images that only differ in place
# ------------------------------------
# A 3 of 32 x 32 pixels moves along a strip. Once the two images no longer overlap, the pixelwise difference cannot tell
# how far apart they are, and on the way there it has no slope that leads back. The divergence is the square of the
# shift: at every epsilon, because a cost of squared distances makes that of two translates. This grid measures in
# pixels, so ``epsilon`` is in squares of pixels.

strip = eot.Grid([np.arange(32), np.arange(128)])
shifts = np.arange(0, 97, 12)
still = np.pad(image_of(3, 32), ((0, 0), (0, 96)))
moved = [np.roll(still, shift, axis=1) for shift in shifts]
found = [eot.divergence(strip, a=still, b=image, epsilon=20.0, tol=1e-4) for image in moved]
transport = np.sqrt([max(one.value, 0.0) for one in found])
pixelwise = np.array([np.abs(still - image).sum() / 2 for image in moved])
assert np.allclose(transport, shifts, atol=0.1)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for ax, values, label in (
    (axes[0], transport, "root of the divergence, pixels"),
    (axes[1], pixelwise, "share of the ink that differs"),
):
    ax.plot(shifts, values, "o-", color="#0072B2")
    ax.set(xlabel="shift, pixels", ylabel=label, ylim=(0.0, None))
    ax.set_xticks(shifts[::2])
plt.show()

# %%
# Where to go on: ``SIDE = 256`` has four times as many pixels, whose matrix would take 34 GB. A volume is an array with
# three axes. The gradient of the divergence in the weights, ``divergence(...).gradients()``, says which pixels to
# darken: fit an image to another with it. :doc:`/grids` has other kinds of grids and of costs.
