"""
The mean of a digit
===================

Twelve people write a 3. The mean of their images, pixel by pixel, is a smear, because no two wrote it in the same
place. The barycenter moves ink in place of fading it: it is a 3 again. Then: what entropy does to its strokes, how
to take that off, and shapes between four digits.
"""

# %%
# Images on a grid
# ----------------
# Digits of scikit-learn, 8 x 8 pixels, interpolated to 48 x 48 and shifted at random, as nobody writes to the pixel.

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import shift, zoom
from sklearn.datasets import load_digits

import elastic_ot as eot

SIDE = 48
digits = load_digits()
rng = np.random.default_rng(0)


def image_of(digit, which, moved):
    """An image of a digit on a finer grid, moved by so many pixels, with ink 1 in all."""
    coarse = digits.images[np.flatnonzero(digits.target == digit)[which]]
    fine = zoom(coarse, 0.75 * SIDE / 8, order=1, grid_mode=True, mode="grid-constant").clip(0.0)
    placed = shift(np.pad(fine, (SIDE - len(fine)) // 2), moved, order=1)
    return placed / placed.sum()


threes = np.array([image_of(3, k, rng.uniform(-5, 5, 2)) for k in range(12)])
grid = eot.Grid((SIDE, SIDE))

# %%
# Mean and barycenter
# -------------------
# ``epsilon`` is a squared length; its root is 0.02 here, one pixel. Twelve images of 2304 pixels take a few seconds.

EPSILON = 5e-4
blurred = eot.barycenter(grid, threes, epsilon=EPSILON, tol=1e-4)
print(blurred.message)
print(f"value {blurred.value:.5f}, proved to {blurred.gap:.1e}")

# %%
# Entropy makes its strokes wider. ``debiased=True`` takes off half of what it would cost to leave the barycenter where
# it is, and they are as thin as those of the images.

sharp = eot.barycenter(grid, threes, epsilon=EPSILON, tol=1e-4, debiased=True)

pictures = {
    "one of them": threes[0],
    "mean": threes.mean(axis=0),
    "barycenter": blurred.weights.reshape(SIDE, SIDE),
    "debiased": sharp.weights.reshape(SIDE, SIDE),
}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
    axis.imshow(picture, cmap="Greys")
    axis.set_title(name)
    axis.set_axis_off()


def occupied(picture):
    """The share of the pixels that as much ink would fill evenly (the exponential of its entropy)."""
    ink = picture[picture > 0]
    return np.exp(-(ink * np.log(ink)).sum()) / picture.size


for name, picture in pictures.items():
    print(f"{name:12s} {occupied(picture):.3f}")
assert occupied(pictures["debiased"]) < occupied(pictures["barycenter"]) < occupied(pictures["mean"])

# %%
# Between four digits
# -------------------
# The weights of the measures need not be equal. One digit stands at each corner; each picture in between is their
# barycenter, with weights that fall off with the distance from the corners. A warm start from the last one, ``init``,
# saves iterations.

corners = np.array([image_of(digit, 1, (0.0, 0.0)) for digit in (0, 1, 4, 7)])
STEPS = 4
figure, axes = plt.subplots(STEPS, STEPS, figsize=(6, 6), layout="constrained")
last = None
for i, s in enumerate(np.linspace(0, 1, STEPS)):
    for j, t in enumerate(np.linspace(0, 1, STEPS)):
        share = np.array([(1 - s) * (1 - t), (1 - s) * t, s * (1 - t), s * t])
        last = eot.barycenter(grid, corners, share, epsilon=EPSILON, tol=1e-3, init=last)
        axes[i, j].imshow(last.weights.reshape(SIDE, SIDE), cmap="Greys")
        axes[i, j].set_axis_off()
plt.show()
