"""The objective of the factors: <C, Q diag(1/g) R^T> and penalties of their row sums, with their entropy.

The entropy is KL(Q | a 1^T / r) + KL(R | b 1^T / r) + KL(g | m 1 / r) with m the mass: up to a constant, between fixed
sides, minus the sum of the three entropies in Scetbon, Cuturi, Peyre 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...costs.products import CostProducts
from ...problems.penalty import Vector, relative_entropy
from .factors import Array, Factor, Side
from .projection import Kernel, Projected, project

LEAST_PROGRESS = 1e-15  # share of the way to new factors
AT_BOUND = 1e-9  # relative distance from the least column sum that is none


@dataclass(frozen=True, eq=False)
class Point:
    """Factors, their products with the cost, C R and C^T Q, and the terms of the objective."""

    q: Factor
    r: Factor
    g: Vector
    products: tuple[Array, Array]
    paid: Vector
    """Q_k^T C R_k of every column, which is divided by g_k."""
    transport: float
    penalty: float
    divergence: float
    value: float

    @property
    def slopes(self) -> tuple[Array, Array, Vector]:
        """Derivatives of the transport cost in Q, R and g."""
        return self.products[0] / self.g, self.products[1] / self.g, -self.paid / self.g**2


@dataclass(frozen=True, eq=False)
class Objective:
    """What is minimised."""

    products: CostProducts
    sides: tuple[Side, Side]
    epsilon: float
    mass: float
    """Of the weights; of those of two sides that differ the geometric mean."""
    least: float
    """Bound from below on the entries of g."""

    def at(self, q: Factor, r: Factor, g: Vector, products: tuple[Array, Array] | None = None) -> Point:
        """Return the terms at factors whose column sums are g."""
        if products is None:
            products = self.products.both(r.values, q.values)
        paid = np.einsum("ik,ik->k", q.values, products[0])
        transport, penalty = float((paid / g).sum()), self._penalty(q.sums, r.sums)
        divergence = self._divergence(q, r, g) if self.epsilon else 0.0
        value = transport + penalty + self.epsilon * divergence
        return Point(q, r, g, products, paid, transport, penalty, divergence, value)

    def prox(self, point: Point, eta: float, potentials: tuple[Vector, Vector]) -> Projected | None:
        """Minimise what is linear near a point plus eta KL(X | point); potentials, in cost units, are a guess."""
        count, strength = point.g.size, eta + self.epsilon
        kernels = []
        for side, factor, slope in zip(self.sides, (point.q, point.r), point.slopes[:2], strict=True):
            logs = eta * factor.logs - slope
            if self.epsilon:
                logs += self.epsilon * (side.log_weights - np.log(count))[:, None]
            kernels.append(Kernel(logs / strength, side, strength))
        log_g = eta * np.log(point.g) + self.epsilon * np.log(self.mass / count) - point.slopes[2]
        start = potentials[0] / strength, potentials[1] / strength
        return project((kernels[0], kernels[1]), log_g / strength, self.least, start)

    def toward(self, point: Point, end: Projected) -> tuple[Point, float] | None:
        """Go to `end`, or half of the way, or a quarter, as long as that is better; None if there is no way down.

        The way is one of feasible factors, along which the transport cost of each column is a ratio of polynomials: one
        product with the cost says all of it, and holds those of the next point.
        """
        moves = end.q.values - point.q.values, end.r.values - point.r.values
        moved, way = self.products.both(moves[1], moves[0]), end.g - point.g
        linear = np.einsum("ik,ik->k", moves[0], point.products[0])
        linear += np.einsum("ik,ik->k", point.q.values, moved[0])
        square = np.einsum("ik,ik->k", moves[0], moved[0])

        def value(t: float) -> float:
            g = point.g + t * way
            found = float(((point.paid + t * (linear + t * square)) / g).sum())
            if self.epsilon:
                q, r = point.q.toward(end.q, t), point.r.toward(end.r, t)
                return found + self._penalty(q.sums, r.sums) + self.epsilon * self._divergence(q, r, g)
            ends = ((point.q.sums, end.q.sums), (point.r.sums, end.r.sums))
            return found + self._penalty(*(old + t * (new - old) for old, new in ends))

        t, here = 1.0, value(1.0)
        while t > LEAST_PROGRESS:
            half = value(0.5 * t)
            if here < point.value and here <= half:
                break
            t, here = 0.5 * t, half
        else:
            return None
        products = point.products[0] + t * moved[0], point.products[1] + t * moved[1]
        new = self.at(point.q.toward(end.q, t), point.r.toward(end.r, t), point.g + t * way, products)
        return (new, t) if new.value < point.value else None

    def residual(self, point: Point, potentials: tuple[Vector, Vector]) -> float:
        """Bound what other factors could gain if the transport cost were linear, as near the point: 0 if stationary.

        That problem is convex. Its value is at least that of its dual, at any potentials of the columns; <slopes, X> is
        the transport cost twice, less the transport cost.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # potentials far from good ones prove nothing
            dual = self._entropic_dual(point, *potentials) if self.epsilon else self._linear_dual(point, *potentials)
        return max(point.value - dual, 0.0) if np.isfinite(dual) else np.inf

    def _linear_dual(self, point: Point, first: Vector, second: Vector) -> float:
        slopes = point.slopes
        short = slopes[2] + first + second  # must be >= 0; where g is free it is 0 at the optimum
        kept = (point.g <= self.least * (1.0 + AT_BOUND)) & (short > 0)
        move = np.where(kept, 0.0, 0.5 * short)
        first, second = first - move, second - move
        dual = self.least * float(np.maximum(slopes[2] + first + second, 0.0).sum())
        for side, slope, potentials in zip(self.sides, slopes[:2], (first, second), strict=True):
            f = (slope[side.used] - potentials).min(axis=1)
            dual += float(side.penalty.dual(f, side.weights[side.used]).sum())
        return dual

    def _entropic_dual(self, point: Point, first: Vector, second: Vector) -> float:
        slopes, count, epsilon = point.slopes, point.g.size, self.epsilon
        dual = 0.0
        for side, slope, potentials in zip(self.sides, slopes[:2], (first, second), strict=True):
            logs = (side.log_weights - np.log(count))[:, None] - slope / epsilon
            dual += epsilon * (Kernel(logs, side, epsilon).at(potentials / epsilon).dual + float(side.weights.sum()))
        even, short = np.full(count, self.mass / count), slopes[2] + first + second
        g = np.maximum(even * np.exp(-short / epsilon), self.least)
        return dual + float((short * g + epsilon * relative_entropy(g, even)).sum())

    def _penalty(self, *sums: Vector) -> float:
        """Of row sums; fixed ones are met."""
        return sum(
            float(side.penalty.phi(x[side.used], side.weights[side.used]).sum())
            for side, x in zip(self.sides, sums, strict=True)
            if not side.penalty.hard
        )

    def _divergence(self, q: Factor, r: Factor, g: Vector) -> float:
        total = float(relative_entropy(g, np.full(g.size, self.mass / g.size)).sum())
        for side, factor in zip(self.sides, (q, r), strict=True):
            total += float(relative_entropy(factor.sums[side.used], side.weights[side.used]).sum())
            entropy = (factor.shares * factor.log_shares).sum(axis=1) + np.log(g.size)
            total += float(factor.sums @ entropy)
        return total
