"""The linear system of a barycenter's derivatives: those of K transports, coupled by their columns.

With the rows eliminated as in `linear_system`, S_k = D_b - P_k^T D_k^-1 P_k, a direction of the inputs asks for

    S_k v_k = r_k + lambda for all k,   sum_k w_k v_k = q,

v_k the change of g_k and lambda / epsilon that of b, which is the multiplier: the v_k minimise the mean of
v_k^T S_k v_k / 2 - r_k^T v_k. It is solved by conjugate gradients in the subspace sum_k w_k v_k = 0, preconditioned by
the diagonals of S_k in that subspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..backends.protocol import FLOOR, ROUNDING, SOUND, UNSOUND
from ..errors import warn_user
from ..problems.penalty import Vector
from .linear_system import MOST_PRODUCTS, LinearSystem

RESIDUAL_EVERY = 50  # iterations between residuals that are computed anew, free of what rounding has built up
ROUNDS_IN_VAIN = 4  # such looks without progress after which rounding is taken for all that is left


class Solved(NamedTuple):
    """The changes v_k (K, m), and the multiplier lambda (m,); both 0 outside of the system."""

    steps: Vector
    multiplier: Vector


class CommonSystem:
    """The system of K plans with weights w of sum 1, all positive."""

    def __init__(self, systems: Sequence[LinearSystem], weights: Vector) -> None:
        self.systems, self.weights = systems, weights
        self.free = np.logical_and.reduce([system.free for system in systems])
        self.diagonals = np.array([system.col_diagonal for system in systems])
        rests = np.array([system.reduced.diagonal - system.reduced.squares for system in systems])
        rests = np.where(self.free, np.maximum(rests, FLOOR * self.diagonals), 1.0)
        self.inverse = np.where(self.free, 1.0 / rests, 0.0)
        total = weights @ self.inverse
        self.shares = np.where(self.free, self.inverse / np.where(self.free, total, 1.0), 0.0)
        self.rigid = all(system.rigid for system in systems)

    def solve(self, sides: Vector, constraint: Vector) -> Solved:
        """Return v and lambda for r (K, m) and q (m,)."""
        sides, constraint = (np.where(self.free, x, 0.0) for x in (sides, constraint))
        v = np.repeat(constraint[None], len(self.systems), axis=0)
        residual = self._residual(sides, v)
        size = self._size(residual) + self._size(sides) + self._size(self.diagonals * constraint)
        best, least, since, products = v, self._open(residual), 0, 0
        while least > ROUNDING * size and since < ROUNDS_IN_VAIN and products < MOST_PRODUCTS:
            v = self._iterate(v, residual, ROUNDING * size)
            v += constraint - self.weights @ v
            products += RESIDUAL_EVERY
            residual = self._residual(sides, v)
            left = self._open(residual)
            since = 0 if left < 0.5 * least else since + 1
            if left < least:
                best, least = v, left
            if least <= SOUND * size and since:
                break
        if least > UNSOUND * size:
            warn_user(
                f"the linear system of the barycenter's derivative was solved to {least / size:.1e} only: epsilon is "
                f"too small, or parts of the problem are hardly connected"
            )
        return Solved(best, -self._mean(self._residual(sides, best)))

    def _iterate(self, v: Vector, residual: Vector, goal: float) -> Vector:
        """Conjugate gradients from v."""
        v, residual = v.copy(), self._projected(residual)
        step = self._preconditioned(residual)
        direction, slope = step, self._dot(residual, step)
        for _ in range(RESIDUAL_EVERY):
            if not slope > 0 or self._size(residual) <= goal:
                break
            curved = self._times(direction)
            curvature = self._dot(direction, curved)
            if not curvature > 0:
                break
            length = slope / curvature
            v += length * direction
            residual = self._projected(residual - length * curved)
            step = self._preconditioned(residual)
            before, slope = slope, self._dot(residual, step)
            direction = step + (slope / before) * direction
        return v

    def _times(self, v: Vector) -> Vector:
        """S_k v_k of all k."""
        found = self.diagonals * v
        for one, system, x in zip(found, self.systems, v, strict=True):
            one -= system.times(system.inverse * system.times(x, False), True)
        return np.where(self.free, found, 0.0)

    def _residual(self, sides: Vector, v: Vector) -> Vector:
        residual = sides - self._times(v)
        if self.rigid:  # S_k 1 = 0: all must have one sum
            sums = residual.sum(axis=1)
            off = sums - self.weights @ sums
            residual = residual - self.diagonals * (off / (self.diagonals * self.free).sum(axis=1))[:, None]
        return np.where(self.free, residual, 0.0)

    def _mean(self, residual: Vector) -> Vector:
        """Return the part of residuals that lambda takes, -lambda."""
        found: Vector = self.weights @ (self.shares * residual)
        return found

    def _projected(self, residual: Vector) -> Vector:
        """Return what lambda cannot take: products with directions in the subspace do not see the rest."""
        found: Vector = residual - self._mean(residual)
        return found

    def _preconditioned(self, residual: Vector) -> Vector:
        found: Vector = self.inverse * self._projected(residual)
        return found

    def _open(self, residual: Vector) -> float:
        return self._size(self._projected(residual))

    def _size(self, values: Vector) -> float:
        return float(self.weights @ np.abs(values).sum(axis=1))

    def _dot(self, x: Vector, y: Vector) -> float:
        return float(self.weights @ np.einsum("kj,kj->k", x, y))
