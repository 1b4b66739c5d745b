"""SciPy's `linear_sum_assignment`: small problems are its, and what it says to a mistake is said here, too."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import as_array, ingest_mask
from ..errors import InfeasibleError
from ..problems.linear import may_be_huge
from ..solutions.assignment import Assignment
from ..solvers.exact.bellman import Pairing
from ..solvers.exact.clock import Clock
from ..solvers.exact.reduced import LARGE_OFFSET, spread

BRIEF_FOR_SCIPY = 7e8  # n^2 m up to which SciPy takes less than a second at worst; measured 0.9 s


def in_scipys_words(error: ValueError | TypeError, cost: Any) -> ValueError | TypeError:
    """The error, with what SciPy says to the same mistake in front: whoever looks for that finds it."""
    words = _words(error, cost)
    return type(error)(f"{words}: {error}") if words else error


def _words(error: Exception, cost: Any) -> str:
    """What the installed SciPy says to the same mistake, empty where it would not see one."""
    try:
        _scipy()(_example(error, cost), False)
    except (ValueError, TypeError) as its:
        return str(its)
    return ""


def _example(error: Exception, cost: Any) -> NDArray[Any]:
    """A small cost with the same mistake; one without any, where it is of another kind."""
    if isinstance(error, InfeasibleError):
        return np.array([[np.inf]])
    try:
        matrix = as_array("cost", cost)
    except (ValueError, TypeError):
        matrix = np.asarray(cost) if isinstance(cost, np.ndarray) else np.zeros((1, 1))
    if matrix.ndim not in (2, 3) or matrix.dtype.kind not in "biuf":
        return np.zeros((1,) * (2 if matrix.ndim == 3 else matrix.ndim), matrix.dtype)
    if str(error).rpartition("cost[")[2].partition("; ")[0].endswith(("inf", "nan")):
        return np.array([[np.nan]])
    return np.zeros((1, 1))


@cache
def _scipy() -> Callable[[NDArray[Any], bool], tuple[Pairing, Pairing]]:
    """Imported once, on first use: a look-up in each call would cost a tenth of a small one."""
    from scipy.optimize import linear_sum_assignment

    return cast("Callable[[NDArray[Any], bool], tuple[Pairing, Pairing]]", linear_sum_assignment)


def by_scipy(matrix: NDArray[Any], maximize: bool, mask: Any, clock: Clock | None) -> Assignment | None:
    """None where SciPy refuses: our own checks then say what is wrong."""
    if matrix.dtype.kind not in "biuf":
        return None
    allowed, numbers = None, matrix
    if mask is not None:
        if np.isnan(matrix).any():
            return None
        allowed = ingest_mask(mask, matrix)
        numbers = np.where(allowed, matrix, -np.inf if maximize else np.inf)
    try:
        if numbers.dtype.kind == "f":
            numbers = _without_offset(numbers, maximize)
        if min(matrix.shape) * matrix.size < BRIEF_FOR_SCIPY:
            row_ind, col_ind = _scipy()(numbers, maximize)
        else:
            row_ind, col_ind = (clock or Clock()).watch(_scipy(), numbers, maximize)
    except (ValueError, TypeError):
        return None
    if may_be_huge(matrix):
        return None
    return Assignment(row_ind, col_ind, matrix, maximize, allowed)


def _without_offset(numbers: NDArray[Any], maximize: bool) -> NDArray[Any]:
    """The same less what all have in common, if they hardly differ beside it: SciPy's sums would lose these digits."""
    if not numbers.size:
        return numbers
    one, other = numbers.item(0), numbers.item(numbers.size - 1)
    if not abs(one) < LARGE_OFFSET * abs(one - other) < math.inf:
        costs = -numbers if maximize else numbers
        finite = costs[np.isfinite(costs)].astype(np.float64)
        if finite.size:
            lowest, highest = float(finite.min()), float(finite.max())
            if abs(lowest) > LARGE_OFFSET * spread(costs, lowest, highest):
                return numbers.astype(np.float64) - (-lowest if maximize else lowest)
    return numbers
