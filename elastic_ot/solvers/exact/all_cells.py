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
from ...problems.linear import may_be_huge
from ...problems.penalty import Vector
from .bellman import Pairing
from .pricing import PROOF
from .reduced import LARGE_OFFSET
from .warm_start import Pause

LINES_AT_ONCE = 1500  # of the shorter side, up to which all cells are as quick as the choice of a few; measured
LINES_IF_CONTESTED = 1800  # of either side, the same where the choice of a few would need annealing
CONTESTED = 0.45, 0.58  # distinct cheapest columns, of the rows: below they are hard, above no annealing is needed
HARD = 0.4  # of the rows without a column before the first path: the choice of a few cells is quicker
ROWS_READ = 100  # times the number of rows: the same, of the rows read for paths
ENDLESS = 2**62  # rows that no problem has to read
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


def assign_at_once(
    stack: NDArray[Any], maximize: bool, mask: NDArray[np.bool_] | None, pause: Pause, patient: bool = True
) -> Assigned | None:
    """The best assignments of costs (B, n, m), None for what has to be looked at one by one: there may be a mistake.

    The mask is for all or for each. `pause` is called about once a second and may raise. Problems that are hard for
    this method are solved if `patient`.
    """
    integral = stack.dtype.kind in "biu"
    if stack.size == 0 or not (integral or stack.dtype.kind == "f") or may_be_huge(stack):
        return None
    costs = np.negative(stack, dtype=np.float64) if maximize else stack
    if mask is not None:
        if mask.dtype != np.bool_ or mask.shape not in (stack.shape, stack.shape[1:]) or np.isnan(stack).any():
            return None
        costs = np.where(mask, costs, np.float64(np.inf))
    found = _by_rows(costs, integral, pause, patient)
    return Assigned(found.row_ind, found.col_ind, 0.0 - found.u, 0.0 - found.v, found.solved) if maximize else found


def assigned_at_once(
    matrix: NDArray[Any], maximize: bool, mask: NDArray[np.bool_] | None, pause: Pause
) -> tuple[tuple[Pairing, Pairing], tuple[Vector, Vector]] | None:
    """Pairs and potentials of one problem, None where it is large or hard, or there may be a mistake."""
    if matrix.ndim != 2:
        return None
    if min(matrix.shape) > LINES_AT_ONCE and (mask is not None or not _contested(matrix, maximize)):
        return None
    found = assign_at_once(matrix[None], maximize, mask, pause, patient=False)
    if found is None or not found.solved[0]:
        return None
    return (found.row_ind[0], found.col_ind[0]), (found.u[0], found.v[0])


def _contested(matrix: NDArray[Any], maximize: bool) -> bool:
    """True if rows share their cheapest columns as much as is worth the paths; every second row, and half of them."""
    if max(matrix.shape) > LINES_IF_CONTESTED or matrix.dtype.kind not in "biuf":
        return False
    if matrix.shape[0] > matrix.shape[1] or not matrix.flags.c_contiguous:
        matrix = matrix.T
    part = matrix[::2, : matrix.shape[1] // 2]
    cheapest = part.argmax(axis=1) if maximize else part.argmin(axis=1)
    least, most = CONTESTED
    return bool(least <= np.unique(cheapest).size / cheapest.size < most)


def _by_rows(costs: NDArray[Any], integral: bool, pause: Pause, patient: bool) -> Assigned:
    """The cheapest assignments, by rows or by columns, whichever are fewer or lie together."""
    count, n, m = costs.shape
    if n > m or (n == m and costs[0].flags.f_contiguous and not costs[0].flags.c_contiguous):
        turned = _by_rows(costs.transpose(0, 2, 1), integral, pause, patient)
        order = np.argsort(turned.col_ind, axis=1)
        row_ind, col_ind = (np.take_along_axis(side, order, axis=1) for side in (turned.col_ind, turned.row_ind))
        return Assigned(row_ind, col_ind, turned.v, turned.u, turned.solved)
    waiting, read = (n, ENDLESS) if patient else (int(HARD * n), ROWS_READ * n)
    found = _solve(costs, integral, AssignmentRules(LARGE_OFFSET, waiting, read), pause)
    rows = np.repeat(np.arange(n, dtype=np.intp)[None], count, axis=0)
    return Assigned(rows, found.matches.astype(np.intp, copy=False), found.u, found.v, found.solved)


def _solve(costs: NDArray[Any], integral: bool, rules: AssignmentRules, pause: Pause) -> AssignmentResult:
    """Costs with no more rows than columns; what is solved is proved."""
    count, n, m = costs.shape
    costs = np.require(costs, np.float64, ["C", "A"])
    u, v, facts = np.zeros((count, n)), np.empty((count, m)), np.zeros((count, 4))
    found = AssignmentResult(np.empty((count, n), np.int64), u, v, facts, np.empty(count, np.bool_))
    assignment, step = load_assignment(), max(1, int(WORK_BEFORE_PAUSE // (n * n * m)))
    for at in range(0, count, step):
        pause()
        assignment.solve(costs, rules, found, at, min(at + step, count))
    np.logical_and(found.solved, _proved(found, n, integral), out=found.solved)
    return found


def _proved(found: AssignmentResult, n: int, integral: bool) -> NDArray[np.bool_]:
    """Where an assignment costs what its potentials do, to rounding, or exactly."""
    above, total, largest = (found.facts[:, k] for k in (1, 2, 3))
    if not integral:
        rounding: NDArray[np.bool_] = above <= PROOF * (total + 1e-3 * n * largest)
        return rounding
    sizes = [np.abs(potential).max(axis=1) for potential in (found.u, found.v)]
    exact: NDArray[np.bool_] = (above == 0) & (np.maximum(*sizes) <= LARGEST_EXACT)
    return exact
