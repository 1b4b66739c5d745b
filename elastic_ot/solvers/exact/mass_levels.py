"""Linear penalties as the exact solver sees them: kinks of the potential, levels of mass in between, in integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Nodes
from ...problems.masses import EQUAL, was_single
from ...problems.penalty import Penalty, Vector
from ...problems.problem import Problem

DUST = 2**13  # units of mass that rounding of the weights may explain
FEW_UNITS = 8  # of mass a line, on average, that are few
MASS_BITS = 58  # of the largest mass, as an integer


def snapped(potential: Vector, side: Nodes, tight: float) -> Vector:
    """On the kink, where rounding missed it: beside it other marginals are optimal."""
    for kink in (side.low, side.high):
        if np.isfinite(kink):
            potential = np.where(np.abs(potential - kink) <= tight, kink, potential)
    return potential


def bounded(potential: Vector, side: Nodes) -> Vector:
    """At most the last kink, if beyond it nothing is asked for: the dual is flat there, and digits would be lost."""
    return potential if side.levels[2].any() else np.minimum(potential, side.high)


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


def without_dust(problem: Problem) -> Problem:
    """The same with weight 0 on lines of which no plan can carry a unit of mass: their potentials follow in the end.

    A path to them would cost the others' potentials their digits.
    """
    _, levels_a, levels_b = levels(problem)
    dust_a, dust_b = problem.row_used & ~levels_a.any(axis=0), problem.col_used & ~levels_b.any(axis=0)
    if not (dust_a.any() or dust_b.any()):
        return problem
    reduced = replace(problem, a=np.where(dust_a, 0.0, problem.a), b=np.where(dust_b, 0.0, problem.b))
    if problem.cost.masked:
        row_reach = problem.cost.allowed_sums(np.where(reduced.b > 0, 1.0, 0.0)) > 0
        col_reach = problem.cost.allowed_sums_of_columns(np.where(reduced.a > 0, 1.0, 0.0)) > 0
        if (reduced.row_used & ~row_reach).any() or (reduced.col_used & ~col_reach).any():
            return problem
    return reduced


def few_units(a: Vector, b: Vector) -> bool:
    """True for weights that are small whole multiples of one number: few paths carry them."""
    least = min(a.min(), b.min())
    counts = np.concatenate([a, b]) / (least if least > 0 else np.inf)
    return bool(least > 0 and (counts == np.rint(counts)).all() and counts.sum() <= FEW_UNITS * counts.size)


def levels(problem: Problem) -> tuple[float, NDArray[np.int64], NDArray[np.int64]]:
    """The unit of mass, and both sides' levels in it; sums that must agree do so exactly."""
    a, b = np.where(problem.row_used, problem.a, 0.0), np.where(problem.col_used, problem.b, 0.0)
    raw_a, raw_b = side_levels(problem.rows, a), side_levels(problem.cols, b)
    most = 2.0 * _largest_mass(raw_a, raw_b, problem.cost.lowest < 0)  # more than any plan needs on one row
    unit = 2.0 ** max(np.ceil(np.log2(most)) - MASS_BITS, -1074)
    levels_a, levels_b = (np.rint(np.minimum(raw, most) / unit).astype(np.int64) for raw in (raw_a, raw_b))
    for one, other in ((levels_a, levels_b), (levels_b, levels_a)):
        missing = int(one[2].sum()) - int(np.minimum(other[0], int(most / unit)).astype(object).sum())
        if 0 < missing <= DUST + a.size + b.size:  # the ranges of total mass meet but for rounding
            j = int(other[0].argmax())
            fixed = other[:, j] == other[0, j]
            other[fixed, j] += missing
    return unit, levels_a, levels_b


def rounding(problem: Problem, levels_a: NDArray[np.int64], levels_b: NDArray[np.int64]) -> float:
    """Units of mass by which parts that a mask keeps apart may differ: sums of weights do, by their last bits."""
    least = min(levels_a[0].sum(dtype=np.float64), levels_b[0].sum(dtype=np.float64))
    single = was_single(problem.a) or was_single(problem.b)
    return float(min((sum(problem.shape) + 4) * (2.0**-24 if single else 2.0**-53), EQUAL["float32"]) * least)


def _largest_mass(levels_a: Vector, levels_b: Vector, earning: bool) -> float:
    """No plan carries more: the smaller of the sides' bounds, or what both ask for if no cell earns something."""
    bound, wanted = min(levels_a[0].sum(), levels_b[0].sum()), levels_a[1].sum() + levels_b[1].sum()
    if np.isfinite(bound) and (earning or wanted == 0):
        return float(bound)
    return float(min(bound, wanted)) or 1.0


def side_levels(penalty: Penalty, a: Vector) -> Vector:
    """The marginals of weights a below, between and above the kinks."""
    low, high = penalty.kinks()
    weights = np.where(a > 0, a, 1.0)
    below, above = penalty.demand(np.full_like(a, low), weights), penalty.demand(np.full_like(a, high), weights)
    levels = np.array([below[1], below[0], above[0]])
    levels[:, a == 0] = 0.0
    return levels
