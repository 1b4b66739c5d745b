"""Problems without entropy, validated: assignments, and linear programmes with a lower bound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import as_array, ingest_cost
from ..costs.base import KnownCost, is_cost
from ..costs.blocks import Negative, checked_cost
from ..costs.dense import SCAN_ENTRIES
from ..costs.scan import known_cost
from ..errors import InfeasibleError
from .build import build
from .penalties import AtMost, Fixed
from .problem import Problem

LARGEST_INTEGER = 2**50  # integer, so that sums of a few are exact in float64


def build_linear(cost: Any, a: Any, b: Any, rows: Any, cols: Any, mask: Any) -> tuple[Problem, bool]:
    """The problem without entropy (its epsilon, 1, means nothing), and whether its costs are integers."""
    problem = build(cost, a, b, 1.0, rows, cols, "product", mask)
    for name, given, penalty in (("rows", rows, problem.rows), ("cols", cols, problem.cols)):
        if math.isnan(penalty.kinks()[0]):
            raise ValueError(
                f"{name} is {given!r}, which is not linear; without entropy choose Fixed, TV, Between, AtMost or Free"
            )
    _check_bounded(problem)
    return problem, not is_cost(cost) and _integral("cost", as_array("cost", cost))


def assignment_problem(cost: Any, maximize: bool, mask: Any) -> tuple[Problem, bool]:
    """One unit a row and a column, at most one on the longer side, and whether costs are integers."""
    scanned, integral = _assignment_cost(cost, maximize, mask)
    n, m = scanned.shape
    rows, cols = AtMost() if n > m else Fixed(), AtMost() if m > n else Fixed()
    problem = Problem(scanned, np.ones(n), np.ones(m), 1.0, rows, cols, "product")
    for name, penalty, used in (("row", rows, problem.row_used), ("column", cols, problem.col_used)):
        empty = np.flatnonzero(~used)
        if empty.size and penalty.box()[0] > 0:
            more = f" (and {empty.size - 1} more)" if empty.size > 1 else ""
            raise InfeasibleError(f"{name} {empty[0]}{more} has only forbidden cells, so there is no assignment")
    return problem, integral


def partial_assignment_problem(cost: Any, maximize: bool, mask: Any) -> tuple[Problem | None, bool]:
    """At most one unit a row and a column, and whether costs are integers; None without an allowed cell."""
    if not is_cost(cost) and cost.ndim == 2 and cost.size == 0:
        return None, False
    scanned, integral = _assignment_cost(cost, maximize, mask)
    n, m = scanned.shape
    problem = Problem(scanned, np.ones(n), np.ones(m), 1.0, AtMost(), AtMost(), "product")
    return (problem if scanned.lowest < np.inf else None), integral


def _assignment_cost(cost: Any, maximize: bool, mask: Any) -> tuple[KnownCost, bool]:
    if is_cost(cost):
        n, m = checked_cost(cost)[0]
        return known_cost(Negative(cost) if maximize else cost, mask, np.ones(n, bool), np.ones(m, bool)), False
    array = as_array("cost", cost)
    integral = _integral("cost", array)
    small = integral and array.ndim == 2 and array.size > 0 and _largest(array) <= 2**24
    matrix = ingest_cost(array.astype(np.float32, copy=False) if small else array)  # exact, and half of the memory
    n, m = matrix.shape
    if maximize:
        if np.isposinf(matrix.max()):
            i, j = np.argwhere(np.isposinf(matrix))[0]
            raise ValueError(f"cost[{i}, {j}] is inf; with maximize=True a forbidden pair has -inf")
        own = array.dtype.kind in "biu"  # these are a copy already
        matrix = np.negative(matrix, out=matrix if own else None)
    return known_cost(matrix, mask, np.ones(n, bool), np.ones(m, bool)), integral


def _integral(name: str, array: NDArray[Any]) -> bool:
    """True for integers, which float64 must hold exactly, and for whole numbers in floats, inf among them."""
    if array.dtype.kind == "f":
        return array.ndim == 2 and _whole(array)
    if array.dtype.kind not in "biu":
        return False
    if array.size and array.dtype.itemsize == 8 and _largest(array) > LARGEST_INTEGER:
        i, j = np.argwhere((array > LARGEST_INTEGER) | (array < -LARGEST_INTEGER))[0]
        raise ValueError(
            f"{name}[{i}, {j}] is {array[i, j]}; beyond 2**50 sums of integers are not exact in float64, rescale them"
        )
    return True


def _whole(matrix: NDArray[np.floating]) -> bool:
    """True if all entries but inf are whole and of a size at which sums of a few are exact; mostly one row tells.

    Potentials can then be whole, and paths end at many more cells than they do where sums are rounded.
    """
    matrix = matrix if matrix.flags.c_contiguous else matrix.T
    step = max(1, SCAN_ENTRIES // max(1, matrix.shape[1]))
    for at in [0, *range(1, len(matrix), step)]:
        block = matrix[at : at + step if at else 1]
        sizes = np.abs(block)
        exact = (np.rint(block) == block) & ((sizes <= np.float64(LARGEST_INTEGER)) | np.isinf(sizes))
        if not exact.all():
            return False
    return True


def _largest(array: NDArray[Any]) -> float:
    """The largest number in size; inf does not count."""
    if array.dtype.kind == "f":
        return float(np.abs(array).max(where=np.isfinite(array), initial=0.0))
    return max(-int(array.min()), int(array.max()))


def may_be_huge(matrix: NDArray[Any]) -> bool:
    """Return False if all integers are below `LARGEST_INTEGER` in size; one pass over the bits, if none is negative."""
    if matrix.dtype.itemsize < 8 or matrix.dtype.kind == "f":
        return False
    bits = np.bitwise_or.reduce(matrix, axis=None)
    most = LARGEST_INTEGER
    return not (0 <= bits < most or (bits < 0 and matrix.max() < most and matrix.min() > -most))


def _check_bounded(problem: Problem) -> None:
    """Where both sides let mass grow without bound, no cell may earn more than the sides charge."""
    least = problem.rows.least_potential() + problem.cols.least_potential()
    if not problem.cost.lowest < least:
        return
    working = problem.by_rows
    found = []
    for rows, block in working.cost.strips():
        earning = (block < least) & working.row_used[rows, None] & working.col_used
        if earning.any():
            i, j = np.argwhere(earning)[0]
            found.append((rows.start + i, j, block[i, j]))
            break
    if found:
        i, j, value = found[0]
        i, j = problem.turned(i, j)
        raise ValueError(
            f"cost[{i}, {j}] is {value}, less than the {least:g} that rows={problem.rows!r} and cols={problem.cols!r} "
            f"charge for more mass: the objective has no lower bound"
        )
