"""The costs of the assignment problems, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Matrix = NDArray[Any]
Generator = np.random.Generator
Metric = Literal["sqeuclidean", "cityblock"]

BEYOND_ALL_CELLS = 1600  # points: more than in problems that are solved on all cells at once


@dataclass(frozen=True)
class Costs:
    title: str
    draw: Callable[[Generator, int, int], Matrix]


def uniform(rng: Generator, n: int, m: int) -> Matrix:
    return rng.random((n, m))


def shifted_normal(rng: Generator, n: int, m: int, dimension: int) -> Matrix:
    """Two normal clouds, the second shifted by one deviation along every axis."""
    return cdist(rng.normal(size=(n, dimension)), rng.normal(size=(m, dimension)) + 1, "sqeuclidean")


def same_law(rng: Generator, n: int, m: int, dimension: int, metric: Metric = "sqeuclidean") -> Matrix:
    """Both clouds uniform in the unit cube."""
    return cdist(rng.random((n, dimension)), rng.random((m, dimension)), metric)


def low_rank(rng: Generator, n: int, m: int, rank: int = 5) -> Matrix:
    return rng.normal(size=(n, rank)) @ rng.normal(size=(rank, m))


def integers(rng: Generator, n: int, m: int) -> Matrix:
    return rng.integers(0, 11, (n, m))


def products(rng: Generator, n: int, m: int) -> Matrix:
    """Machol and Wien (1977), *Errors to avoid in solving assignment problems*: hard for shortest paths."""
    return np.multiply.outer(np.arange(1, n + 1), np.arange(1, m + 1))


COSTS = {
    "uniform": Costs("Uniform random costs", uniform),
    "cloud2": Costs("Shifted normal clouds, 2-D", lambda rng, n, m: shifted_normal(rng, n, m, 2)),
    "cloud3": Costs("Shifted normal clouds, 3-D", lambda rng, n, m: shifted_normal(rng, n, m, 3)),
    "cube2": Costs("Uniform clouds, 2-D", lambda rng, n, m: same_law(rng, n, m, 2)),
    "cube3": Costs("Uniform clouds, 3-D", lambda rng, n, m: same_law(rng, n, m, 3)),
    "cube8": Costs("Uniform clouds, 8-D", lambda rng, n, m: same_law(rng, n, m, 8)),
    "line": Costs("Random points of a line, distances", lambda rng, n, m: same_law(rng, n, m, 1, "cityblock")),
    "low_rank": Costs("Product of normal factors, rank 5", low_rank),
    "integers": Costs("Integers 0 to 10", integers),
    "products": Costs("Machol and Wien, i times j", products),
}


@dataclass(frozen=True)
class Case:
    """A problem by name; integer costs are int64 whatever ``dtype``."""

    costs: str
    n: int
    m: int
    dtype: str = "float64"

    def build(self) -> Matrix:
        cost = COSTS[self.costs].draw(np.random.default_rng((self.n, self.m)), self.n, self.m)
        return cost if cost.dtype.kind == "i" else cost.astype(self.dtype, copy=False)

    def __str__(self) -> str:
        size = f"n = {self.n}" if self.n == self.m else f"{self.n} x {self.m}"
        return f"{COSTS[self.costs].title}, {size}{', float32' if self.dtype == 'float32' else ''}"
