"""Two spaces that are compared: energies of plans, and the costs that these are linear in near a plan.

With a loss first(x) + second(y) - left(x) right(y), marginals r and c of P, and K = left(X) P right(Y)^T,

    E(P) = r^T first(X) r + c^T second(Y) c - <K, P>

and its derivative is the cost G = (F + F^T) r 1^T + 1 ((S + S^T) c)^T - K - left(X)^T P right(Y), with F = first(X) and
S = second(Y). E is quadratic, so <G, P> = 2 E(P).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...costs.points import PointCloud
from ...problems.penalty import Indices, Vector
from .losses import Loss

Array = NDArray[np.float64]
RANK = 1e-12  # of the largest: directions in which costs do not differ


class Coupling(NamedTuple):
    """A plan, as far as an energy reads it: its marginals and products with it, or all of it."""

    row_marginal: Vector
    col_marginal: Vector
    product: Callable[[Array], Array]
    """P x."""
    plan: Array | None = None

    def times(self, factor: float) -> Coupling:
        """Return the plan times a number."""
        product, plan = self.product, None if self.plan is None else factor * self.plan
        return Coupling(factor * self.row_marginal, factor * self.col_marginal, lambda x: factor * product(x), plan)


class Linear(NamedTuple):
    """An energy near a plan: its value there, and the cost that is its derivative, with what else is linear."""

    energy: float
    linear: float
    """Of the plan under the linear cost of a fused problem."""
    cost: Any
    """What to solve for: share times the derivative, and the rest of the share times the linear cost."""
    priced: float
    """Of the plan under that cost."""
    rest: Array | None = None
    """The linear part of that cost, of matrices."""

    def times(self, factor: float, share: float) -> Linear:
        """Return the energy near the plan times a number, of matrices."""
        energy, linear, cost = factor**2 * self.energy, factor * self.linear, factor * self.cost
        if self.rest is not None:
            cost += (1.0 - factor) * self.rest
        return Linear(energy, linear, cost, 2.0 * share * energy + (1.0 - share) * linear, self.rest)


class Structure(Protocol):
    """Two spaces and how they are compared."""

    shape: tuple[int, int]

    def at(self, coupling: Coupling) -> Linear:
        """Return the energy near a plan."""

    def eccentricities(self, a: Vector, b: Vector) -> tuple[Vector, Vector]:
        """Return root mean squares of the distances from every point, under weights that sum to 1."""

    def start(self, pairs: tuple[Indices, Indices, Vector], a: Vector, b: Vector) -> Coupling:
        """Return a plan of few entries."""


class Matrices:
    """Spaces given by matrices: three products of matrices an energy."""

    def __init__(self, first: Array, second: Array, loss: Loss, share: float, linear: Array | None) -> None:
        self.spaces, self.loss, self.share, self.linear = (first, second), loss, share, linear
        self.shape = first.shape[0], second.shape[0]
        self.alone = loss.first(first), loss.second(second)
        self.factors = loss.left(first), loss.right(second)
        self.symmetric = all(np.array_equal(x, x.T) for x in (first, second))

    def at(self, coupling: Coupling) -> Linear:
        plan = coupling.plan
        assert plan is not None
        left, right = self.factors
        product = left @ plan @ right.T
        energy, sides = 0.0, []
        for alone, marginal in zip(self.alone, (coupling.row_marginal, coupling.col_marginal), strict=True):
            one = alone @ marginal
            energy += float(marginal @ one)
            sides.append(2.0 * one if self.symmetric else one + marginal @ alone)
        energy -= float(np.einsum("ij,ij->", product, plan))
        product = 2.0 * product if self.symmetric else product + left.T @ plan @ right
        cost = self.share * (sides[0][:, None] + sides[1] - product)
        if self.linear is None:
            return Linear(energy, 0.0, cost, 2.0 * self.share * energy)
        linear, rest = float(np.einsum("ij,ij->", self.linear, plan)), (1.0 - self.share) * self.linear
        cost += rest
        return Linear(energy, linear, cost, 2.0 * self.share * energy + (1.0 - self.share) * linear, rest)

    def eccentricities(self, a: Vector, b: Vector) -> tuple[Vector, Vector]:
        first, second = self.spaces
        return np.sqrt(first**2 @ a), np.sqrt(second**2 @ b)

    def start(self, pairs: tuple[Indices, Indices, Vector], a: Vector, b: Vector) -> Coupling:
        plan = np.zeros(self.shape)
        np.add.at(plan, pairs[:2], pairs[2])
        return Coupling(plan.sum(axis=1), plan.sum(axis=0), lambda x: plan @ x, plan)


class Clouds:
    """Spaces of points with squared distances: no matrix of n x n, n x m or m x m entries.

    With u = |x|^2 a matrix of distances is U S U^T, U = [u, 1, x] and S of d + 2 rows, so K = 2 U S T S V^T for the
    T = U^T P V of a plan: d + 2 products with it. The cost of the next plan is minus an inner product of such rows.

    Between `fixed` sides a sum of terms of each side changes nothing but potentials, so that minus an inner product is
    half a squared distance: of points in few coordinates, which are solved from coarse to fine.
    """

    def __init__(self, x: Array, y: Array, share: float, features: tuple[Array, Array] | None, fixed: bool) -> None:
        self.points = tuple(points - points.mean(axis=0) for points in (x, y))
        self.share, self.features, self.fixed = share, features, fixed
        self.shape = x.shape[0], y.shape[0]
        self.squares = tuple((points**2).sum(axis=1) for points in self.points)
        self.extended = tuple(
            np.column_stack([square, np.ones_like(square), points])
            for square, points in zip(self.squares, self.points, strict=True)
        )

    def at(self, coupling: Coupling) -> Linear:
        u, v = self.extended
        moments = u.T @ coupling.product(v)
        middle = _between(u.shape[1]) @ moments @ _between(v.shape[1])
        rows, cols = (self._fourth(k, x) for k, x in enumerate((coupling.row_marginal, coupling.col_marginal)))
        energy = float(coupling.row_marginal @ rows + coupling.col_marginal @ cols - 2.0 * (middle * moments).sum())
        sides = 2.0 * self.share * rows, 2.0 * self.share * cols
        left, right, linear = 4.0 * self.share * (u @ middle), v, 0.0
        if self.features is not None:
            z, w = self.features
            squares = (z**2).sum(axis=1), (w**2).sum(axis=1)
            parts = coupling.row_marginal @ squares[0], coupling.col_marginal @ squares[1]
            linear = float(parts[0] + parts[1] - 2.0 * (z * coupling.product(w)).sum())
            rest = 1.0 - self.share
            sides = sides[0] + rest * squares[0], sides[1] + rest * squares[1]
            left, right = np.column_stack([left, 2.0 * rest * z]), np.column_stack([right, w])
        priced = 2.0 * self.share * energy + (1.0 - self.share) * linear
        if self.fixed:
            cost, moved = _as_distances(left, right, coupling, priced - _of_sides(sides, coupling))
            return Linear(energy, linear, cost, moved)
        left = np.column_stack([left, -sides[0], -np.ones_like(sides[0])])
        right = np.column_stack([right, np.ones_like(sides[1]), sides[1]])
        return Linear(energy, linear, PointCloud(left, right, "dot"), priced)

    def _fourth(self, k: int, weights: Vector) -> Vector:
        """Return sum_i' w_i' |x_i - x_i'|^4 of every point of a side."""
        x, u = self.points[k], self.squares[k]
        mean, cubes, second = weights @ x, (weights * u) @ x, x.T @ (weights[:, None] * x)
        found: Vector = (
            u**2 * weights.sum()
            + 2.0 * u * (weights @ u)
            + weights @ u**2
            - 4.0 * (u * (x @ mean) + x @ cubes)
            + 4.0 * ((x @ second) * x).sum(axis=1)
        )
        return np.maximum(found, 0.0)

    def eccentricities(self, a: Vector, b: Vector) -> tuple[Vector, Vector]:
        return np.sqrt(self._fourth(0, a)), np.sqrt(self._fourth(1, b))

    def start(self, pairs: tuple[Indices, Indices, Vector], a: Vector, b: Vector) -> Coupling:
        i, j, mass = pairs
        n, m = self.shape

        def product(x: Array) -> Array:
            return np.column_stack([_sums(i, mass * column[j], n) for column in x.T])

        return Coupling(_sums(i, mass, n), _sums(j, mass, m), product)


def _of_sides(sides: tuple[Vector, Vector], coupling: Coupling) -> float:
    return float(coupling.row_marginal @ sides[0] + coupling.col_marginal @ sides[1])


def _as_distances(left: Array, right: Array, coupling: Coupling, product: float) -> tuple[PointCloud, float]:
    """Return squared distances that are -<left_i, right_j> but for terms of each side, and what the plan pays.

    `product` is what it pays under the inner products. Coordinates are those in which the matrix of these is diagonal,
    centred and of equal spread on both sides: no pair of points is far apart that need not be.
    """
    r, c = coupling.row_marginal, coupling.col_marginal
    (p, middle), (q, other) = np.linalg.qr(left - left.mean(axis=0)), np.linalg.qr(right - right.mean(axis=0))
    product += float((r @ left) @ right.mean(axis=0) + left.mean(axis=0) @ (c @ right))
    product -= float(left.mean(axis=0) @ right.mean(axis=0)) * float(r.sum())
    turn, scale, back = np.linalg.svd(middle @ other.T)
    kept = scale > RANK * scale[0]
    half = np.sqrt(0.5 * scale[kept])
    x, y = (p @ turn[:, kept]) * half, (q @ back[kept].T) * half
    return PointCloud(x, y), product + float(r @ (x**2).sum(axis=1) + c @ (y**2).sum(axis=1))


def _sums(places: Indices, values: Vector, count: int) -> Vector:
    out: Vector = np.bincount(places, values, count).astype(np.float64, copy=False)
    return out


def _between(size: int) -> Array:
    """Return S, for which U S U^T are squared distances."""
    out = -2.0 * np.eye(size)
    out[:2, :2] = [[0.0, 1.0], [1.0, 0.0]]
    return out
