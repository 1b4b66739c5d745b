"""Assignments with a cost limit: pairs that are not worth it stay unmatched."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import ingest_number
from ..costs.base import entries_of
from ..problems.linear import partial_assignment_problem
from ..problems.penalty import Vector
from ..solutions.assignment import Assignment, total_of
from ..solvers.exact.clock import Clock
from ..solvers.exact.proved import solve_proved


def check_cost_limit(cost_limit: Any, maximize: bool) -> float | None:
    """None where it excludes nothing."""
    if cost_limit is None:
        return None
    limit = ingest_number("cost_limit", cost_limit)
    if math.isnan(limit) or limit == (math.inf if maximize else -math.inf):
        raise ValueError(f"cost_limit is {limit}; it must be a number, beyond which a pair is not worth matching")
    return None if math.isinf(limit) else limit


def assign_within(matrix: Any, maximize: bool, mask: Any, limit: float, clock: Clock) -> Assignment:
    """The least sum of matched costs and of limit / 2 for every row and column without a partner."""
    n, m = matrix.shape if len(matrix.shape) == 2 else (1, 1)
    half = 0.5 * limit
    problem, integral = partial_assignment_problem(matrix, maximize, mask)
    if problem is None:  # nothing can be matched
        none = np.empty(0, np.intp)
        ends = np.full(n, half), np.full(m, half)
        return Assignment(none, none.copy(), matrix, maximize, potentials=ends, unmatched=half * (n + m))
    price = -limit if maximize else limit
    found = solve_proved(problem, integral, clock, price)
    order = np.argsort(found.rows)
    row_ind, col_ind = found.rows[order].astype(np.intp), found.cols[order].astype(np.intp)
    at_rows = not problem.cost.fortran  # which side the price was put on
    u = _within(found.u, price, at_rows, problem.row_used)
    v = _within(found.v, price, not at_rows, problem.col_used)
    return Assignment(
        row_ind,
        col_ind,
        None,
        maximize,
        cost=total_of(entries_of(matrix, row_ind, col_ind)),
        potentials=(-u, -v) if maximize else (u, v),
        unmatched=half * (n + m - 2 * row_ind.size),
    )


def _within(potential: Vector, price: float, whole: bool, used: NDArray[np.bool_]) -> Vector:
    """Potentials of at most half the price, which one side had with the whole price and the other without."""
    return np.where(used, potential + (-0.5 * price if whole else 0.5 * price), 0.5 * price)
