"""What clusters are made of: histograms on common bins, or clouds of points; their costs to centres, and centres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..api.barycenter import barycenter
from ..api.free_barycenter import free_barycenter
from ..api.solve import solve
from ..costs.points import PointCloud
from .base import Array

PROBLEMS_ENTRIES = 2**24  # entries of plans of problems that are solved together


class Measures(Protocol):
    """Measures of one kind, with what a centre of some of them is."""

    def __len__(self) -> int: ...

    def costs(self, centres: Any) -> Array:
        """Return what it costs to carry every measure to every centre, shape (N, K), >= 0."""

    def first(self, which: int, rng: np.random.RandomState) -> Any:
        """Return a measure as a centre."""

    def centre(self, which: NDArray[np.intp], before: Any) -> Any:
        """Return the centre of some measures, which had `before`."""


@dataclass(frozen=True)
class Histograms:
    """Histograms of mass 1 on the points of a symmetric cost; costs are debiased divergences, and so are centres."""

    values: Array
    cost: Any
    epsilon: Any
    tol: float

    def __len__(self) -> int:
        return len(self.values)

    def costs(self, centres: Sequence[Array]) -> Array:
        """Return `Measures.costs`."""
        every = np.stack(centres)
        cross = np.empty((len(self), len(every)))
        step = max(1, PROBLEMS_ENTRIES // (len(every) * self.values.shape[1] ** 2))
        for begin in range(0, len(self), step):
            cross[begin : begin + step] = self._values(self.values[begin : begin + step, None], every[None])
        own, theirs = (self._values(x, x) for x in (self.values, every))
        return np.maximum(cross - 0.5 * own[:, None] - 0.5 * theirs, 0.0)

    def _values(self, a: Array, b: Array) -> Array:
        found = solve(self.cost, a, b, epsilon=self.epsilon, tol=self.tol, on_failure="ignore")
        return np.asarray(found.value)

    def first(self, which: int, rng: np.random.RandomState) -> Array:
        """Return `Measures.first`."""
        return self.values[which]

    def centre(self, which: NDArray[np.intp], before: Array) -> Array:
        """Return `Measures.centre`."""
        how: Any = {"epsilon": self.epsilon, "debiased": True, "tol": self.tol, "on_failure": "ignore"}
        found = barycenter(self.cost, self.values[which], **how)
        return np.asarray(found.weights)


@dataclass(frozen=True)
class Clouds:
    """Clouds of points of equal weights; a centre is a cloud with masses, and costs are squared distances with entropy.

    The entropy is relative to the weights of the cloud and to equal masses of the centre's points, as that of
    `free_barycenter` is but for a constant.
    """

    clouds: list[Array]
    points: int
    """Of a centre."""
    epsilon: float
    tol: float

    def __len__(self) -> int:
        return len(self.clouds)

    def costs(self, centres: Sequence[tuple[Array, Array]]) -> Array:
        """Return `Measures.costs`."""
        return np.array([[self._cost(x, *centre) for centre in centres] for x in self.clouds])

    def _cost(self, x: Array, y: Array, masses: Array) -> float:
        found = solve(PointCloud(x, y), None, masses, epsilon=self.epsilon, tol=self.tol, on_failure="ignore")
        there = masses[masses > 0]
        return float(found.value) + self.epsilon * float(there @ np.log(there * len(masses)))

    def first(self, which: int, rng: np.random.RandomState) -> tuple[Array, Array]:
        """Return `Measures.first`."""
        cloud = self.clouds[which]
        drawn = rng.choice(len(cloud), self.points, replace=len(cloud) < self.points)
        return cloud[drawn], np.full(self.points, 1.0 / self.points)

    def centre(self, which: NDArray[np.intp], before: tuple[Array, Array]) -> tuple[Array, Array]:
        """Return `Measures.centre`."""
        some: Any = [self.clouds[k] for k in which]
        how: Any = {"epsilon": self.epsilon, "tol": self.tol, "on_failure": "ignore"}
        found = free_barycenter(some, support=before[0], **how)
        return found.support, np.asarray(found.weights)
