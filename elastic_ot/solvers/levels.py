"""Linear penalties as the exact solver sees them: kinks of the potential, levels of mass in between, in integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import Nodes
from ..penalties import Penalty, Vector
from ..problem import Problem

DUST = 2**13  # units of mass that rounding of the weights may explain
MASS_BITS = 58  # of the largest mass, as an integer


def snapped(potential: Vector, side: Nodes, tight: float) -> Vector:
    """On the kink, where rounding missed it: beside it other marginals are optimal."""
    for kink in (side.low, side.high):
        if np.isfinite(kink):
            potential = np.where(np.abs(potential - kink) <= tight, kink, potential)
    return potential


def asked(nodes: Nodes) -> NDArray[np.int64]:
    """The smallest marginals that the potentials allow."""
    x, levels = nodes.potential, nodes.levels
    asked: NDArray[np.int64] = np.where(x < nodes.low, levels[0], np.where(x < nodes.high, levels[1], levels[2]))
    return asked


def met(nodes: Nodes) -> bool:
    """True if every marginal is among those that its potential allows."""
    x, levels, r = nodes.potential, nodes.levels, nodes.marginal
    most = np.where(x <= nodes.low, levels[0], np.where(x <= nodes.high, levels[1], levels[2]))
    return bool(((asked(nodes) <= r) & (r <= most)).all())


def resolved(weights: Vector) -> Vector:
    """Positive weights at least a unit of mass, so that logarithms and ratios of them are harmless."""
    least = 2.0**-MASS_BITS * weights.max()
    return np.where((weights > 0) & (weights < least), least, weights)


def levels(problem: Problem) -> tuple[float, NDArray[np.int64], NDArray[np.int64]]:
    """The unit of mass, and both sides' levels in it; sums that must agree do so exactly."""
    a, b = np.where(problem.row_used, problem.a, 0.0), np.where(problem.col_used, problem.b, 0.0)
    most = 2.0 * _largest_mass(problem, a, b)  # more than any plan needs on one row
    unit = 2.0 ** max(np.ceil(np.log2(most)) - MASS_BITS, -1074)
    levels_a, levels_b = _side_levels(problem.rows, a, most, unit), _side_levels(problem.cols, b, most, unit)
    for one, other in ((levels_a, levels_b), (levels_b, levels_a)):
        missing = int(one[2].sum()) - int(np.minimum(other[0], int(most / unit)).astype(object).sum())
        if 0 < missing <= DUST + a.size + b.size:  # the ranges of total mass meet but for rounding
            j = int(other[0].argmax())
            fixed = other[:, j] == other[0, j]
            other[fixed, j] += missing
    return unit, levels_a, levels_b


def _largest_mass(problem: Problem, a: Vector, b: Vector) -> float:
    """No plan carries more, or needs to: a bound of one side holds for the other."""
    (lo_a, hi_a), (lo_b, hi_b) = problem.rows.box(), problem.cols.box()
    bound = min(hi_a * float(a.sum()), hi_b * float(b.sum()))
    return bound if np.isfinite(bound) else float((1.0 + lo_a) * a.sum() + (1.0 + lo_b) * b.sum())


def _side_levels(penalty: Penalty, a: Vector, most: float, unit: float) -> NDArray[np.int64]:
    low, high = penalty.kinks()
    weights = np.where(a > 0, a, 1.0)
    below, above = penalty.demand(np.full_like(a, low), weights), penalty.demand(np.full_like(a, high), weights)
    levels = np.array([below[1], below[0], above[0]])
    levels[:, a == 0] = 0.0
    whole: NDArray[np.int64] = np.rint(np.minimum(levels, most) / unit).astype(np.int64)
    return whole
