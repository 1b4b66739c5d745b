"""Products of costs with few vectors: by factors where a cost has some, along axes, or by blocks read once for both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .base import STRIP, KnownCost
from .dense import DenseCost
from .grid import Grid
from .points import PointCloud

Array = NDArray[np.float64]
FACTORED_METRICS = "sqeuclidean", "dot", "cosine"


class CostProducts(Protocol):
    """What multiplies a cost with vectors on both sides."""

    def both(self, v: Array, u: Array) -> tuple[Array, Array]:
        """Return C v and C^T u, for v of shape (m, r) and u of shape (n, r)."""


def products_of(cost: KnownCost) -> CostProducts:
    """Return what multiplies a cost, read by rows as users see it."""
    user: Any = getattr(cost, "user", None)
    if isinstance(user, PointCloud) and user.metric in FACTORED_METRICS:
        return Factored(*factors(user))
    if isinstance(user, Grid):
        return Summed(user.matrices)
    if isinstance(cost, DenseCost) and cost.matrix.dtype == np.float64:
        return Stored(np.asarray(cost.matrix, np.float64))
    return Streamed(cost)


def factors(cloud: PointCloud) -> tuple[Array, Array]:
    """Return L and R, of few columns, with C = L R^T."""
    x, y = cloud.x.astype(np.float64), cloud.y.astype(np.float64)
    if cloud.metric == "dot":
        return -x, y
    if cloud.metric == "cosine":
        x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
        return np.column_stack([np.ones(len(x)), -x]), np.column_stack([np.ones(len(y)), y])
    centre = 0.5 * (x.mean(axis=0) + y.mean(axis=0))  # squares of large coordinates would cancel
    x, y = x - centre, y - centre
    left = np.column_stack([(x**2).sum(axis=1), np.ones(len(x)), -2.0 * x])
    return left, np.column_stack([np.ones(len(y)), (y**2).sum(axis=1), y])


class Factored:
    """A cost L R^T: two products with a matrix of few columns a side."""

    def __init__(self, left: Array, right: Array) -> None:
        self.left, self.right = left, right

    def both(self, v: Array, u: Array) -> tuple[Array, Array]:
        return self.left @ (self.right.T @ v), self.right @ (self.left.T @ u)


class Summed:
    """A cost that is a sum over axes: on every axis the product with the sums over the others."""

    def __init__(self, matrices: Sequence[Any]) -> None:
        self.matrices = [np.asarray(c, np.float64) for c in matrices]

    def both(self, v: Array, u: Array) -> tuple[Array, Array]:
        return _along_axes(self.matrices, v), _along_axes([c.T for c in self.matrices], u)


def _along_axes(matrices: Sequence[Array], weights: Array) -> Array:
    count = weights.shape[1]
    weights = weights.reshape(*(c.shape[1] for c in matrices), count)
    total = np.zeros((*(c.shape[0] for c in matrices), count))
    for k, c in enumerate(matrices):
        others = tuple(axis for axis in range(len(matrices)) if axis != k)
        total += np.expand_dims(c @ weights.sum(axis=others), others)
    return total.reshape(-1, count)


class Stored:
    """A matrix, in whatever order it lies."""

    def __init__(self, matrix: Array) -> None:
        self.matrix = matrix

    def both(self, v: Array, u: Array) -> tuple[Array, Array]:
        return self.matrix @ v, self.matrix.T @ u


class Streamed:
    """Any other cost, a strip of rows at a time; sums are in double precision."""

    def __init__(self, cost: KnownCost) -> None:
        self.turned = cost.fortran
        self.cost = cost.transpose() if self.turned else cost

    def both(self, v: Array, u: Array) -> tuple[Array, Array]:
        if self.turned:
            v, u = u, v
        forward, backward = np.empty((self.cost.shape[0], v.shape[1])), np.zeros((self.cost.shape[1], u.shape[1]))
        for rows, block in self.cost.strips(STRIP):
            block = np.asarray(block, np.float64)
            forward[rows] = block @ v
            backward += block.T @ u[rows]
        return (backward, forward) if self.turned else (forward, backward)
