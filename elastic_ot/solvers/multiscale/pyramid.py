"""Clouds of fewer points: the centroids of cells of a tree, the larger ones where that will do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...problems.penalty import Indices, Vector

FEWEST = 16  # points that no cells are made of


@dataclass(frozen=True, eq=False)
class Side:
    """Points of one side at one resolution.

    Attributes
    ----------
    points : ndarray, shape (k, d)
    weights, counts : ndarray, shape (k,)
        Sums over the points of a cell, and how many these are that carry weight.
    starts : ndarray of int, shape (k,)
        Where each cell begins in the order of all points.
    """

    points: NDArray[np.float64]
    weights: Vector
    counts: Vector
    starts: Indices

    @property
    def size(self) -> int:
        return self.weights.size

    def cells_of(self, finer: Side) -> Indices:
        """Return the cell that each point of a finer one lies in."""
        return np.searchsorted(self.starts, finer.starts, side="right") - 1


class Pyramid:
    """Centroids of 1, 2, 4, ... consecutive points, their weights and mean squared radii."""

    def __init__(self, points: NDArray[np.float64], weights: Vector) -> None:
        counts = _counts(weights)
        radii = np.zeros(len(points))
        self.levels = [(points, weights, counts, radii)]
        while len(points) > FEWEST:
            if len(points) % 2:
                points = np.concatenate([points, points[-1:]])
                weights, counts, radii = (np.append(x, 0.0) for x in (weights, counts, radii))
            total = weights[::2] + weights[1::2]
            t = np.divide(weights[1::2], total, out=np.full_like(total, 0.5), where=total > 0)
            apart = points[1::2] - points[::2]
            spread = (1 - t) * radii[::2] + t * radii[1::2] + t * (1 - t) * np.einsum("kd,kd->k", apart, apart)
            radii = np.maximum(spread, np.maximum(radii[::2], radii[1::2]))  # grow towards the root
            points, weights, counts = points[::2] + t[:, None] * apart, total, counts[::2] + counts[1::2]
            self.levels.append((points, weights, counts, radii))

    def cut(self, radius: float, within: Bounds | None = None) -> Side:
        """Return the largest cells of a mean squared radius of at most `radius`; those without weight stand apart.

        They lie `within` cells of a side, with bounds of their own on the radius.
        """
        parts: list[tuple[Indices, NDArray[np.float64], Vector, Vector]] = []
        above = None
        for k in range(len(self.levels) - 1, -1, -1):
            points, weights, counts, radii = self.levels[k]
            fits = radii <= radius
            if within is not None:
                fits &= within.allow(k, radii)
            taken = fits if above is None else fits & ~np.repeat(above, 2)[: len(points)]
            which = np.flatnonzero(taken)
            parts.append((which << k, points[which], weights[which], counts[which]))
            above = fits
        starts, found, weights, counts = (np.concatenate(x) for x in zip(*parts, strict=True))
        order = np.argsort(starts, kind="stable")
        return Side(found[order], weights[order], counts[order], starts[order])


class Bounds:
    """The cells of a side, with the mean squared radius that cells inside of each may have."""

    def __init__(self, side: Side, radii: Vector, count: int) -> None:
        self.cells = np.repeat(np.arange(side.size), np.diff(side.starts, append=count))  # of every point
        self.radii = radii

    def allow(self, k: int, radii: Vector) -> NDArray[np.bool_]:
        """Which of the cells of 2^k points lie inside of one cell, and are small enough."""
        first = self.cells[:: 1 << k]
        last = self.cells[np.minimum(np.arange(1, radii.size + 1) << k, self.cells.size) - 1]
        inside: NDArray[np.bool_] = (first == last) & (radii <= self.radii[first])
        return inside


def whole(points: NDArray[np.float64], weights: Vector) -> Side:
    """Return all points, each a cell of its own."""
    return Side(points, weights, _counts(weights), np.arange(len(points)))


def _counts(weights: Vector) -> Vector:
    return (weights > 0).astype(np.float64)
