"""Pictures as cameras and scanners spoil them: six ways, of one severity each, that change a picture and not its label.

Pictures have the shape (n, 28, 28), from 0 (paper) to 1 (ink). What is left to chance comes from a generator, so that
a seed spoils the same pictures in the same way.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, rotate

Images = NDArray[np.float64]

NOISE = 0.4  # standard deviation, of a range of 1
BLUR = 2.0  # standard deviation in pixels
ANGLE = 30.0  # degrees, either way
SHIFT = 2  # pixels down or up, and as many right or left
CONTRAST = 0.25  # what is left of it
SQUARE, MARGIN = 12, 4  # pixels of the side that is blank, and from it to the edge at least


def cut_off(images: Images) -> Images:
    found: Images = np.clip(images, 0.0, 1.0)
    return found


def noise(images: Images, rng: np.random.Generator) -> Images:
    """Normal noise on every pixel."""
    return cut_off(images + NOISE * rng.normal(size=images.shape))


def blur(images: Images, _: np.random.Generator) -> Images:
    """A normal kernel."""
    found: Images = gaussian_filter(images, (0.0, BLUR, BLUR), mode="nearest")
    return found


def rotation(images: Images, rng: np.random.Generator) -> Images:
    """By `ANGLE` to the left or to the right."""
    found, left = np.empty_like(images), rng.random(len(images)) < 0.5
    for side, angle in ((left, ANGLE), (~left, -ANGLE)):
        found[side] = rotate(images[side], angle, axes=(2, 1), reshape=False, order=1)
    return cut_off(found)


def shift(images: Images, rng: np.random.Generator) -> Images:
    """By `SHIFT` pixels along each axis; paper comes in."""
    size = images.shape[-1]
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    down, right = 2 * SHIFT * rng.integers(2, size=(2, len(images), 1)) + np.arange(size)
    found: Images = padded[np.arange(len(images))[:, None, None], down[:, :, None], right[:, None, :]]
    return found


def contrast(images: Images, _: np.random.Generator) -> Images:
    """Less of it; the mean of a picture stays."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    found: Images = mean + CONTRAST * (images - mean)
    return found


def occlusion(images: Images, rng: np.random.Generator) -> Images:
    """A square is blank, somewhere around the middle."""
    first = rng.integers(MARGIN, images.shape[-1] - SQUARE - MARGIN + 1, size=(2, len(images), 1))
    rows, cols = (abs(np.arange(images.shape[-1]) - one - (SQUARE - 1) / 2) < SQUARE / 2 for one in first)
    return np.where(rows[:, :, None] & cols[:, None, :], 0.0, images)


CORRUPTIONS: dict[str, Callable[[Images, np.random.Generator], Images]] = {
    "noise": noise,
    "blur": blur,
    "rotation": rotation,
    "shift": shift,
    "contrast": contrast,
    "occlusion": occlusion,
}


def corrupt(images: Images, seed: int) -> dict[str, Images]:
    """The pictures, spoilt in each way."""
    rng = np.random.default_rng(seed)
    return {name: spoil(images, rng) for name, spoil in CORRUPTIONS.items()}
