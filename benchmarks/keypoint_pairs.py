"""Pairs of images with keypoints of which some are the same: drawn scenes, and photographs that are warped.

Coordinates are those of images that reach from -1 to 1 and from -2/3 to 2/3.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter
from scipy.spatial.distance import cdist
from sklearn.datasets import load_sample_image

Floats = NDArray[np.float64]

KEYPOINTS, LOOKS = 64, 24  # of an image; numbers of a descriptor
FRAME = np.array([1.0, 2 / 3])
SHIFT = 0.006  # standard deviation of where a keypoint is found again, one pixel of a photograph
TOLERANCE = 0.019  # of a right match, three pixels
PATCH, BORDER = 2 * np.arange(-4, 4) + 1, 9  # pixels around a corner, and from it to the edge of the image
PHOTOGRAPHS = "china.jpg", "flower.jpg"


def homography(rng: np.random.Generator) -> Floats:
    turn, zoom = np.deg2rad(rng.uniform(-15, 15)), np.exp(rng.uniform(-0.15, 0.15))
    c, s = zoom * np.cos(turn), zoom * np.sin(turn)
    (x, y), (tilt_x, tilt_y) = rng.uniform(-0.3, 0.3, 2), rng.uniform(-0.1, 0.1, 2)
    return np.array([[c, -s, x], [s, c, y], [tilt_x, tilt_y, 1.0]])


def moved(points: Floats, warp: NDArray[np.floating]) -> Floats:
    found: Floats = np.column_stack([points, np.ones(len(points))]) @ warp.T
    return found[:, :2] / found[:, 2:]


def unit(x: Floats) -> Floats:
    found: Floats = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return found


class View(NamedTuple):
    """Of an image its keypoints (n, 2) and their descriptors (n, LOOKS)."""

    points: Floats
    looks: Floats


Pair = tuple[View, View, NDArray[np.bool_]]
"""Two views, and which keypoints are the same, shape (KEYPOINTS, KEYPOINTS)."""


def scene(rng: np.random.Generator) -> Pair:
    count, warp = rng.integers(24, 49), homography(rng)
    first, alone = rng.uniform(-FRAME, FRAME, (4 * KEYPOINTS, 2)), rng.uniform(-FRAME, FRAME, (2, KEYPOINTS, 2))
    again = moved(first, warp) + SHIFT * rng.normal(size=first.shape)
    same = np.flatnonzero((abs(again) < FRAME).all(axis=1))[:count]
    words = rng.normal(size=(16, LOOKS))
    looks = unit(words[rng.integers(16, size=(2, KEYPOINTS))] + 0.5 * rng.normal(size=(2, KEYPOINTS, LOOKS)))
    looks[1, : len(same)] = looks[0, : len(same)]
    looks = unit(looks + rng.uniform(0.2, 0.8) * rng.normal(size=looks.shape) / math.sqrt(LOOKS))
    points = [np.concatenate([x[same], y])[:KEYPOINTS] for x, y in zip((first, again), alone, strict=True)]
    order = rng.permutation(KEYPOINTS)
    right = (np.arange(KEYPOINTS)[:, None] == order) & (order < len(same))
    return View(points[0], looks[0]), View(points[1][order], looks[1][order]), right


def corners(image: Floats) -> NDArray[np.int64]:
    """Rows and columns of the strongest, shape (KEYPOINTS, 2)."""
    dy, dx = np.gradient(gaussian_filter(image, 1.0))
    xx, xy, yy = (gaussian_filter(product, 1.5) for product in (dx * dx, dx * dy, dy * dy))
    strength = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    peak = np.zeros(image.shape, bool)
    inside = (slice(BORDER, -BORDER),) * 2
    peak[inside] = (strength == maximum_filter(strength, 7))[inside]
    places = np.argwhere(peak)
    return places[np.argsort(-strength[peak])[:KEYPOINTS]]


def patches(image: Floats, places: NDArray[np.int64]) -> Floats:
    rows, cols = places[:, 0, None, None] + PATCH[:, None], places[:, 1, None, None] + PATCH
    found = gaussian_filter(image, 1.0)[rows, cols].reshape(len(places), -1)
    return unit(found - found.mean(axis=1, keepdims=True))


@cache
def components() -> Floats:
    """Principal axes of the patches of drawn images, each divided by its standard deviation, shape (64, LOOKS)."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(213)[:, None], np.fft.rfftfreq(320))
    frequency[0, 0] = 1.0
    seen = []
    for _ in range(32):
        image = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(213, 320))) / frequency, (213, 320))
        seen.append(patches(image, corners(image)))
    _, deviation, axes = np.linalg.svd(np.concatenate(seen), full_matrices=False)
    found: Floats = (axes[:LOOKS] / deviation[:LOOKS, None]).T
    return found


def view(image: Floats) -> View:
    places = corners(image)
    rows, cols = image.shape
    points = (places[:, ::-1] - (np.array([cols, rows]) - 1) / 2) / (cols / 2)
    return View(points, unit(patches(image, places) @ components()))


@cache
def photograph(name: str) -> Floats:
    """At half its size, in grey, from 0 to 1."""
    grey = load_sample_image(name).mean(axis=2)[:426] / 255
    halved: Floats = grey.reshape(213, 2, 320, 2).mean(axis=(1, 3))
    return halved


def warped(image: Floats, warp: Floats) -> Floats:
    rows, cols = image.shape
    y, x = np.mgrid[:rows, :cols]
    to = (np.column_stack([x.ravel(), y.ravel()]) - (np.array([cols, rows]) - 1) / 2) / (cols / 2)
    source = moved(to, np.linalg.inv(warp)) * (cols / 2) + (np.array([cols, rows]) - 1) / 2
    return map_coordinates(image, source[:, ::-1].T, order=1, mode="reflect").reshape(rows, cols)


def photographs(name: str, rng: np.random.Generator) -> Pair:
    """A photograph and a warp of it, both with noise."""
    image, warp = photograph(name), homography(rng)
    first, second = (view(x + 0.02 * rng.normal(size=x.shape)) for x in (image, warped(image, warp)))
    apart = cdist(moved(first.points, warp), second.points)
    right = (apart < TOLERANCE) & (apart == apart.min(axis=0)) & (apart == apart.min(axis=1, keepdims=True))
    return first, second, right
