"""Derivatives of costs between points: from a matrix of weights to the points, and from moved points to the costs.

For weights W, a strip of rows at a time, each metric has three sums over pairs, with c_ij the cost of x_i and y_j:

    pull    sum_j W_ij dc_ij/dx_i  and  sum_i W_ij dc_ij/dy_j
    push    the change of c_ij along a direction (dx, dy)
    bend    the change of `pull` along a direction, at held weights

All are products of matrices, O(n m d). Where a metric has no derivative, at equal points of `euclidean` and equal
coordinates of `cityblock`, 0 stands for it, which is among its subgradients.

Every metric is a homogeneous function of both points, but for a constant, so that `pull` holds its own sum (Euler):
sum_ij W_ij c_ij = (<x, pull_x> + <y, pull_y>) / degree + constant sum W.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


class Pair(NamedTuple):
    """Some points of the rows and all of the columns, (k, d) and (m, d): places, directions or derivatives."""

    x: Matrix
    y: Matrix


def slopes_of(metric: str) -> Slopes:
    """Return the derivatives of a metric, by SciPy's name."""
    return _SLOPES[metric]


class Slopes(ABC):
    """Derivatives of a metric. Points and directions are in float64; W (k, m) are weights of a strip of pairs.

    Attributes
    ----------
    degree, constant : float
        The metric of points times t, as `pull` takes them, is t^degree of what it is less a constant, plus that.
    """

    degree: ClassVar[float] = 2.0
    constant: ClassVar[float] = 0.0

    def settled(self, points: Matrix) -> Matrix:
        """Return points as `pull`, `push` and `bend` take them."""
        return points

    def moved(self, points: Matrix, step: Matrix) -> Matrix:
        """Return the direction of settled points along one of the points."""
        return step

    def returned(self, points: Matrix, found: Matrix) -> Matrix:
        """Return derivatives in the points from those in settled points."""
        return found

    def bent(self, points: Matrix, step: Matrix, found: Matrix, change: Matrix) -> Matrix:
        """Return the change of `returned` along a direction, from that of its argument."""
        return change

    @abstractmethod
    def pull(self, at: Pair, w: Matrix) -> Pair:
        """Return derivatives in the points of sum W * c."""

    @abstractmethod
    def push(self, at: Pair, step: Pair) -> Matrix:
        """Return the change of the costs."""

    @abstractmethod
    def bend(self, at: Pair, step: Pair, w: Matrix) -> Pair:
        """Return the change of `pull` at held weights."""


def _differences(at: Pair, w: Matrix) -> Pair:
    """sum_j w_ij (x_i - y_j), and sum_i w_ij (y_j - x_i)."""
    return Pair(w.sum(axis=1)[:, None] * at.x - w @ at.y, w.sum(axis=0)[:, None] * at.y - w.T @ at.x)


def _along(at: Pair, step: Pair) -> Matrix:
    """<x_i - y_j, dx_i - dy_j>."""
    rows, cols = (np.einsum("kd,kd->k", z, dz) for z, dz in zip(at, step, strict=True))
    found: Matrix = rows[:, None] + cols - at.x @ step.y.T - step.x @ at.y.T
    return found


class _Squared(Slopes):
    """|x - y|^2."""

    def pull(self, at: Pair, w: Matrix) -> Pair:
        return _differences(at, 2.0 * w)

    def push(self, at: Pair, step: Pair) -> Matrix:
        return 2.0 * _along(at, step)

    def bend(self, at: Pair, step: Pair, w: Matrix) -> Pair:
        return _differences(step, 2.0 * w)


class _Euclidean(Slopes):
    """|x - y|, with derivative (x - y) / |x - y|."""

    degree = 1.0

    def pull(self, at: Pair, w: Matrix) -> Pair:
        return _differences(at, w * _inverse_distances(at))

    def push(self, at: Pair, step: Pair) -> Matrix:
        return _along(at, step) * _inverse_distances(at)

    def bend(self, at: Pair, step: Pair, w: Matrix) -> Pair:
        inverse = _inverse_distances(at)
        turned = _differences(step, w * inverse)
        shortened = _differences(at, w * inverse**3 * _along(at, step))
        return Pair(turned.x - shortened.x, turned.y - shortened.y)


def _inverse_distances(at: Pair) -> Matrix:
    """1 / |x_i - y_j|, 0 for equal points."""
    from scipy.spatial.distance import cdist

    found = cdist(at.x, at.y)
    return np.divide(1.0, found, out=np.zeros_like(found), where=found > 0)


class _CityBlock(Slopes):
    """sum_k |x_k - y_k|, with derivative sign(x_k - y_k)."""

    degree = 1.0

    def pull(self, at: Pair, w: Matrix) -> Pair:
        out = Pair(np.empty_like(at.x), np.empty_like(at.y))
        for k in range(at.x.shape[1]):
            signed = w * self._signs(at, k)
            out.x[:, k], out.y[:, k] = signed.sum(axis=1), -signed.sum(axis=0)
        return out

    def push(self, at: Pair, step: Pair) -> Matrix:
        return np.asarray(
            sum(self._signs(at, k) * (step.x[:, k, None] - step.y[:, k]) for k in range(at.x.shape[1])), np.float64
        )

    def bend(self, at: Pair, step: Pair, w: Matrix) -> Pair:
        return Pair(np.zeros_like(at.x), np.zeros_like(at.y))

    def _signs(self, at: Pair, k: int) -> Any:
        return np.sign(at.x[:, k, None] - at.y[:, k])


class _Dot(Slopes):
    """-<x, y>."""

    def pull(self, at: Pair, w: Matrix) -> Pair:
        return Pair(-(w @ at.y), -(w.T @ at.x))

    def push(self, at: Pair, step: Pair) -> Matrix:
        return -(at.x @ step.y.T) - step.x @ at.y.T

    def bend(self, at: Pair, step: Pair, w: Matrix) -> Pair:
        return self.pull(step, w)


class _Cosine(_Dot):
    """1 - <x / |x|, y / |y|>: "dot" of points on the unit sphere, u = x / |x| with du = (dx - u <u, dx>) / |x|."""

    constant = 1.0

    def settled(self, points: Matrix) -> Matrix:
        return np.asarray(points / _lengths(points))

    def moved(self, points: Matrix, step: Matrix) -> Matrix:
        u = self.settled(points)
        return np.asarray((step - u * _dots(u, step)) / _lengths(points))

    def returned(self, points: Matrix, found: Matrix) -> Matrix:
        return self.moved(points, found)  # a projection is its own transpose

    def bent(self, points: Matrix, step: Matrix, found: Matrix, change: Matrix) -> Matrix:
        u, du = self.settled(points), self.moved(points, step)
        turned = -du * _dots(u, found) - u * _dots(du, found)
        stretched = _dots(u, step) * self.returned(points, found)
        return np.asarray(self.returned(points, change) + (turned - stretched) / _lengths(points))


def _lengths(points: Matrix) -> Any:
    return np.linalg.norm(points, axis=1, keepdims=True)


def _dots(x: Matrix, y: Matrix) -> Any:
    return np.einsum("kd,kd->k", x, y)[:, None]


_SLOPES: dict[str, Slopes] = {
    "sqeuclidean": _Squared(),
    "euclidean": _Euclidean(),
    "cityblock": _CityBlock(),
    "dot": _Dot(),
    "cosine": _Cosine(),
}
