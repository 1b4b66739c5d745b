"""Assignments on all cells at once, by shortest paths over whole rows, many in one compiled call.

Whatever is not solved here, or not proved, is left to those who can say why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends import load_assignment
from ...backends.protocol import AssignmentResult, AssignmentRules
from ...problems.problem import Problem
from .bellman import Pairing
from .pricing import NONE, PROOF, Exact
from .reduced import LARGE_OFFSET
from .warm_start import Pause

LINES_AT_ONCE = 1500  # of the shorter side, up to which all cells are as quick as the choice of a few; measured
HARD = 0.4  # of the rows without a column before the first path: the choice of a few cells is quicker
ROWS_READ = 100  # times the number of rows: the same, of the rows read for paths
WORK_BEFORE_PAUSE = 2e9  # n^2 m of the problems solved between two pauses; a second at most
LARGEST_EXACT = 2.0**51  # up to which potentials of integers below 2**50 have exact sums with them


@dataclass(frozen=True, eq=False)
class Assigned:
    """Assignments (B, min(n, m)) of costs (B, n, m) and their potentials; those that are not `solved` are anything."""

    row_ind: Pairing
    col_ind: Pairing
    u: NDArray[np.float64]
    v: NDArray[np.float64]
    solved: NDArray[np.bool_]


def assign_at_once(costs: NDArray[Any], integral: bool, pause: Pause) -> Assigned:
    """The cheapest assignments of costs (B, n, m); `pause` is called about once a second and may raise.

    With `integral` a proof leaves no gap.
    """
    count, n, m = costs.shape
    if n > m:
        turned = assign_at_once(costs.transpose(0, 2, 1), integral, pause)
        order = np.argsort(turned.col_ind, axis=1)
        pairs = np.take_along_axis(turned.col_ind, order, axis=1), np.take_along_axis(turned.row_ind, order, axis=1)
        return Assigned(*pairs, turned.v, turned.u, turned.solved)
    found = _solve(costs, integral, AssignmentRules(LARGE_OFFSET, n, np.iinfo(np.int64).max), pause)
    rows = np.repeat(np.arange(n, dtype=np.intp)[None], count, axis=0)
    return Assigned(rows, found.matches.astype(np.intp, copy=False), found.u, found.v, found.solved)


def assigned_at_once(problem: Problem, integral: bool, pause: Pause) -> Exact | None:
    """The solution of an assignment problem, None where this is not for paths over whole rows."""
    n, m = problem.shape
    if min(n, m) > LINES_AT_ONCE or not problem.cost.stored:
        return None
    matrix = problem.cost.as_matrix()
    turned = n > m or (n == m and not matrix.flags.c_contiguous)
    matrix = matrix.T if turned else matrix
    lines = len(matrix)
    found = _solve(matrix[None], integral, AssignmentRules(LARGE_OFFSET, int(HARD * lines), ROWS_READ * lines), pause)
    if not found.solved[0]:
        return None
    rows, cols = np.arange(lines, dtype=np.int32), found.matches[0].astype(np.int32)
    exact = Exact(rows, cols, np.ones(lines), found.u[0], found.v[0], 1, True, NONE, NONE)
    return exact.transpose() if turned else exact


def _solve(costs: NDArray[Any], integral: bool, rules: AssignmentRules, pause: Pause) -> AssignmentResult:
    """Costs with no more rows than columns; what is solved is proved."""
    count, n, m = costs.shape
    costs = np.require(costs, np.float64, ["C", "A", "W"])
    u, v, facts = np.zeros((count, n)), np.empty((count, m)), np.zeros((count, 4))
    found = AssignmentResult(np.empty((count, n), np.int64), u, v, facts, np.empty(count, np.bool_))
    assignment, step = load_assignment(), max(1, int(WORK_BEFORE_PAUSE // (n * n * m)))
    for at in range(0, count, step):
        pause()
        assignment.solve(costs, rules, found, at, min(at + step, count))
    found.solved[found.solved & ~_proved(found, n, integral)] = False
    return found


def _proved(found: AssignmentResult, n: int, integral: bool) -> NDArray[np.bool_]:
    """Where an assignment costs what its potentials do, to rounding, or exactly."""
    above, total, largest = found.facts[:, 1:].T
    if not integral:
        rounding: NDArray[np.bool_] = above <= PROOF * (total + 1e-3 * n * largest)
        return rounding
    sizes = [np.abs(potential).max(axis=1) for potential in (found.u, found.v)]
    exact: NDArray[np.bool_] = (above == 0) & (np.maximum(*sizes) <= LARGEST_EXACT)
    return exact
