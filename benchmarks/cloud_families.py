"""Pairs of clouds: a uniform one, to be moved to one of many shapes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .problems import Array


def uniform(rng: np.random.Generator, n: int, d: int) -> Array:
    return rng.random((n, d))


def mixture(rng: np.random.Generator, n: int, d: int) -> Array:
    centres = 0.2 + 0.6 * rng.random((5, d))
    return centres[rng.integers(0, 5, n)] + 0.08 * rng.normal(size=(n, d))


def sphere(rng: np.random.Generator, n: int, d: int) -> Array:
    x = rng.normal(size=(n, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return 0.5 + 0.5 * x


def clustered(rng: np.random.Generator, n: int, d: int) -> Array:
    """Spacings over four decades."""
    return 10.0 ** rng.uniform(-4, 0, (n, 1)) * rng.normal(size=(n, d))


def displaced(rng: np.random.Generator, n: int, d: int) -> Array:
    """Three sides of the cube away in every coordinate."""
    return 3.0 + mixture(rng, n, d)


FAMILIES: dict[str, Callable[[np.random.Generator, int, int], Array]] = {
    "uniform": uniform,
    "mixture": mixture,
    "sphere": sphere,
    "clustered": clustered,
    "displaced": displaced,
}


@dataclass(frozen=True)
class CloudCase:
    """n points against as many in d coordinates, squared distances, epsilon the square of the blur."""

    family: str
    n: int
    d: int
    blur: float

    @property
    def epsilon(self) -> float:
        return self.blur**2

    def build(self) -> tuple[Array, Array]:
        rng = np.random.default_rng(self.d)
        return rng.random((self.n, self.d)), FAMILIES[self.family](rng, self.n, self.d)
