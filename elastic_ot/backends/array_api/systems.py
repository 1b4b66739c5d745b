"""The linear systems of implicit differentiation on the array API standard, many at once.

Conjugate gradients go on in lock-step until every problem is done; one that is takes steps of 0 from then on, so that
its result does not depend on the others.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from array_api_compat import array_namespace

from ..protocol import FLOOR, PRODUCTS, ROUNDING, ROUNDS, SOUND, UNSOUND, Array, BatchSystem
from .matrices import times, totals, transposed_times, weighed, where

SYSTEM_LOOK = 8  # products between two looks at whether a problem is left


class System(NamedTuple):
    """Plans in float64, D_a^-1, D_b, which systems are rigid (b, 1), and the inverse of about the diagonal of S."""

    plan: Array
    inverse: Array
    diagonal: Array
    rigid: Array
    preconditioner: Array

    def solve(self, row_side: Array, col_side: Array) -> tuple[Array, Array, Array]:
        """(x, y), 0 where they do not solve the system to rounding, and where they do (b, 1)."""
        xp = array_namespace(col_side)
        size = _sum(xp.abs(where(self.inverse > 0.0, row_side)))
        size = size + _sum(xp.abs(where(self.diagonal > 0.0, col_side)))
        y, left = xp.zeros_like(col_side), xp.full_like(size, float(PRODUCTS))
        x, residual = self._completed(row_side, col_side, y)
        solved = size < 0.0
        for _ in range(ROUNDS):  # a further one where rounding has built up
            change, left = self._improved(where(~solved, residual), ROUNDING * size, left)
            y = y + change
            x, residual = self._completed(row_side, col_side, y)
            rounding = 1e-14 * _sum(self.diagonal * xp.abs(y))
            solved = _sum(xp.abs(residual)) <= xp.minimum(SOUND * size + rounding, UNSOUND * size)
        return where(solved, x), where(solved, y), solved

    def _completed(self, row_side: Array, col_side: Array, y: Array) -> tuple[Array, Array]:
        """The x that goes with y, and what is left of the columns' side."""
        x = self.inverse * (row_side - times(self.plan, y))
        return x, self._projected(col_side - self.diagonal * y - transposed_times(self.plan, x))

    def _projected(self, residual: Array) -> Array:
        """On free columns; without its constant part, which no rigid system can take up."""
        residual = where(self.diagonal > 0.0, residual)
        weight = _sum(self.diagonal)
        return residual - self.diagonal * where(self.rigid, _sum(residual) / where(weight > 0.0, weight, 1.0))

    def _improved(self, residual: Array, goal: Array, left: Array) -> tuple[Array, Array]:
        """What conjugate gradients on S find from 0, with so many products `left`, and how many are left then."""
        xp = array_namespace(residual)
        x, direction = xp.zeros_like(residual), self.preconditioner * residual
        norm = _sum(direction * residual)
        active = (norm > 0.0) & (norm < math.inf) & (left > 0.0)
        for done in range(PRODUCTS):
            if done % SYSTEM_LOOK == 0 and not bool(xp.any(active)):
                break
            gram = transposed_times(self.plan, self.inverse * times(self.plan, direction))
            image = where(self.preconditioner > 0.0, self.diagonal * direction - gram)
            left = left - xp.astype(active, xp.float64)
            curvature = _sum(direction * image)
            active = active & (curvature > 0.0)
            step = where(active, norm / where(active, curvature, 1.0))
            x, residual = x + step * direction, residual - step * image
            active = active & (_sum(xp.abs(residual)) > goal) & (left > 0.0)
            scaled = self.preconditioner * residual
            product = _sum(scaled * residual)
            direction = scaled + where(active, product / where(active, norm, 1.0)) * direction
            norm = where(active, product)
        return x, left


def system(plan: Array, diagonals: tuple[Array, Array], rigid: Array) -> System:
    xp, (rows, cols) = array_namespace(plan), diagonals
    inverse = _inverse(rows)
    rest = cols - transposed_times(plan * plan, inverse)
    return System(plan, inverse, cols, rigid, _inverse(xp.maximum(rest, FLOOR * cols)))


def pull_back(
    system: System, log_plan: Array, bar: Array | None, sides: tuple[Array, Array], inv_epsilon: Array
) -> BatchSystem:
    """`protocol.BatchDerivatives.batch_pull_back`, 0 where it is not sound."""
    plan, (row_side, col_side) = system.plan, sides
    xp = array_namespace(plan)
    moved = None if bar is None else weighed(plan, bar)
    if moved is not None:
        row_side, col_side = row_side + xp.sum(moved, axis=2), col_side + xp.sum(moved, axis=1)
    x, y, solved = system.solve(row_side, col_side)
    change = x[:, :, None] + y[:, None, :]
    change *= plan
    if moved is not None:
        change -= where(solved[:, :, None], moved)
    change *= inv_epsilon[:, None, None]
    sums = xp.sum(change, axis=2), xp.sum(change, axis=1)
    return BatchSystem(change, *sums, x, y, totals(change * log_plan), solved[:, 0])


def _sum(x: Array) -> Array:
    return array_namespace(x).sum(x, axis=1, keepdims=True)


def _inverse(x: Array) -> Array:
    """0 where x is."""
    return where(x > 0.0, 1.0 / where(x > 0.0, x, 1.0))
