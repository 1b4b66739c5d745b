"""The costs that are timed, by name, and the weights of those problems that come with their own."""

import math
from collections.abc import Callable
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]


def uniform_cost(rng: np.random.Generator, n: int) -> Array:
    return rng.random((n, n))


def cloud_cost(rng: np.random.Generator, n: int) -> Array:
    """Squared distances between two planar clouds: a square, and a square of half the side within it."""
    x = rng.random((n, 2))
    y = 0.25 + 0.5 * rng.random((n, 2))
    return cdist(x, y, "sqeuclidean")


def plane_cost(rng: np.random.Generator, n: int) -> Array:
    """Squared distances between normal points of the plane, the second cloud shifted by one deviation."""
    return _normal_cost(rng, n, 2)


def space_cost(rng: np.random.Generator, n: int) -> Array:
    return _normal_cost(rng, n, 3)


def _normal_cost(rng: np.random.Generator, n: int, dimension: int) -> Array:
    x, y = rng.normal(size=(n, dimension)), rng.normal(size=(n, dimension)) + 1
    return cdist(x, y, "sqeuclidean")


def line_cost(rng: np.random.Generator, n: int) -> Array:
    """Distances between random points of [0, 1]: W1, where optimal plans are far from unique."""
    return cdist(rng.random((n, 1)), rng.random((n, 1)), "cityblock")


def pixel_l1_cost(rng: np.random.Generator, n: int) -> Array:
    return _pixel_cost(n, "cityblock")


def pixel_l2_cost(rng: np.random.Generator, n: int) -> Array:
    return _pixel_cost(n, "sqeuclidean")


def _pixel_cost(n: int, metric: str) -> Array:
    pixels = np.indices((_side(n), _side(n))).reshape(2, -1).T.astype(np.float64)
    return cdist(pixels, pixels, metric)


def colour_cost(rng: np.random.Generator, n: int) -> Array:
    """Squared RGB distances between pixels sampled from the two photographs of the package."""
    with resources.as_file(resources.files("elastic_ot") / "data" / "photographs.npz") as path, np.load(path) as photos:
        images = [photos[name].reshape(-1, 3) / 255.0 for name in ("china", "flower")]
    x, y = (image[rng.choice(len(image), n, replace=False)] for image in images)
    return cdist(x, y, "sqeuclidean")


def digit_weights(n: int) -> tuple[Array, Array]:
    """The first 3 and the first 5 of scikit-learn's 8 x 8 digits, enlarged bilinearly to n pixels, 784 as in MNIST.

    Each image has mass 1, then 1e-6 is added to every pixel and the mass made 1 again: some peers take the
    logarithm of the weights.
    """
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[digits.target == digit][0] for digit in (3, 5))
    a, b = (np.maximum(zoom(image, _side(n) / 8, order=1), 0.0).ravel() for image in images)
    a, b = (weights / weights.sum() + 1e-6 for weights in (a, b))
    return a / a.sum(), b / b.sum()


def _side(n: int) -> int:
    side = math.isqrt(n)
    if side**2 != n:
        raise ValueError(f"n is {n}; a square image needs a square number of pixels")
    return side


COSTS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "uniform": uniform_cost,
    "cloud": cloud_cost,
    "cloud2": plane_cost,
    "cloud3": space_cost,
    "line": line_cost,
    "digits_l1": pixel_l1_cost,
    "digits_l2": pixel_l2_cost,
    "colours": colour_cost,
}
WEIGHTS: dict[str, Callable[[int], tuple[Array, Array]]] = {"digits_l1": digit_weights, "digits_l2": digit_weights}
