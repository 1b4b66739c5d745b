"""Potentials of one level continued to the next: affine over every cell, and linear in epsilon.

A potential answers the other side's by a soft minimum, whose slope at a point is the mean slope of the costs to its
partners. So slopes cost one pass over the plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import LOGARITHMIC
from ...problems.penalty import Vector
from ..state import State
from .levels import Level
from .pyramid import Side


@dataclass(frozen=True, eq=False)
class Field:
    """A potential at some points, in units of the cost, with its slopes.

    `spread` is how much the slopes of the costs to its partners differ, at the points where the level ended.
    """

    values: Vector
    slopes: NDArray[np.float64]
    spread: Vector

    def at(self, before: Side, after: Side) -> Field:
        """Return it at the points of a finer side."""
        if before.size == after.size:
            return self
        cells = before.cells_of(after)
        slopes = self.slopes[cells]
        step = after.points - before.points[cells]
        return Field(self.values[cells] + np.einsum("kd,kd->k", slopes, step), slopes, self.spread)


@dataclass(frozen=True, eq=False)
class Guess:
    """Potentials of both sides where a level ended."""

    epsilon: float
    f: Field
    g: Field

    def at(self, before: Level, after: Level) -> Guess:
        """Return them at the points of the next level."""
        return Guess(self.epsilon, self.f.at(before.rows, after.rows), self.g.at(before.cols, after.cols))

    def continued(self, before: Guess | None, epsilon: float) -> tuple[Vector, Vector]:
        """Return potentials for another epsilon, on the line through these and those of the level before."""
        if before is None or before.epsilon == self.epsilon or epsilon == self.epsilon:
            return self.f.values, self.g.values
        weight = (epsilon - self.epsilon) / (self.epsilon - before.epsilon)
        f, g = (
            here.values + weight * (here.values - then.values)
            for here, then in ((self.f, before.f), (self.g, before.g))
        )
        return f, g


def guess_of(level: Level, state: State) -> Guess:
    """Return the potentials of a state whose rows are exact, with their slopes."""
    f, g = state.task.potentials(state.alpha, state.beta)
    plan: Any = state.task.plan
    fields = []
    for values, side, transpose in ((f, state.task.rows, False), (g, state.task.cols, True)):
        slopes, spread = plan.mean_slopes(state.alpha, state.beta, transpose)
        share = side.strength if side.code == LOGARITHMIC else 1.0
        fields.append(Field(np.where(np.isfinite(values), values, 0.0), share * slopes, spread))
    return Guess(level.epsilon, *fields)
