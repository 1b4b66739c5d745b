"""The call `assign`: validate, choose who solves, wrap the result."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import as_array, of_points, refuse_devices
from ..arrays.origin import origin_of
from ..calls import public
from ..costs.base import Cost, entries_of, is_cost
from ..costs.point_stack import stored
from ..costs.points import in_double, many_coordinates
from ..problems.linear import assignment_problem
from ..problems.ragged import is_list, part
from ..solutions.assignment import Assignment, total_of
from ..solutions.assignment_batch import BatchAssignment
from ..solutions.assignment_ragged import RaggedAssignment
from ..solvers.exact.all_cells import assigned_at_once
from ..solvers.exact.assignment import assignment_potentials
from ..solvers.exact.clock import Clock
from ..solvers.exact.proved import solve_proved
from ..typing import ArrayLike, ManyMatrices
from .assign_many import assign_many
from .assign_within import assign_within, check_cost_limit
from .each import each
from .options import check_time_limit
from .scipy_assignment import by_scipy, in_scipys_words

SMALL = 128  # rows or columns below which SciPy solves one problem, a square one in 2 ms, without anything compiled
SOLVED_AT_ONCE = 1000  # rows or columns below which a stack of problems is one call


@overload
def assign(  # type: ignore[overload-overlap]
    cost: ManyMatrices,
    maximize: bool = False,
    *,
    mask: ArrayLike | None = None,
    cost_limit: float | None = None,
    time_limit: float | None = None,
) -> BatchAssignment: ...


@overload
def assign(
    cost: ArrayLike | Cost,
    maximize: bool = False,
    *,
    mask: ArrayLike | None = None,
    cost_limit: float | None = None,
    time_limit: float | None = None,
) -> Assignment: ...


@public
def assign(
    cost: ArrayLike | Cost | ManyMatrices,
    maximize: bool = False,
    *,
    mask: ArrayLike | None = None,
    cost_limit: float | None = None,
    time_limit: float | None = None,
) -> Assignment | BatchAssignment:
    """The cheapest one-to-one assignment of rows to columns: SciPy's `linear_sum_assignment` with a proof.

    Minimises the sum of C[i, sigma(i)] over injective maps sigma; with n != m the longer side stays partly unmatched.

    Parameters
    ----------
    cost : array_like, shape (n, m) or (B, n, m), or Cost
        Cost of matching i with j. +inf forbids a pair (-inf with `maximize`). Integers are solved exactly, and so are
        whole numbers in floats; integers must not exceed 2**50 in size. Both and `maximize` cost one copy (float32 if
        it holds them exactly). With a leading dimension many problems, and the result is a `BatchAssignment`; a
        `PointCloud` with one is a stack of matrices. So does a list of matrices or of `PointCloud`, whose sizes may
        differ.
    maximize : bool
        Look for the largest sum instead.
    mask : array_like of bool, shape (n, m), optional
        False forbids a pair; costs one copy of the cost. One for all problems, or (B, n, m).
    cost_limit : float, optional
        A pair costs at most that (is worth at least that with `maximize`), or stays unmatched: every row and every
        column without a partner costs half of it. What is matched then is no more than pays, and may be nothing.
    time_limit : float, optional
        Seconds after which to give up.

    Returns
    -------
    Assignment or BatchAssignment
        The tuple ``(row_ind, col_ind)``, with potentials `u`, `v`, `cost` and `gap`.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value.
    InfeasibleError
        Forbidden pairs leave no assignment of the shorter side; names rows (or columns) that compete for fewer
        partners than they are.
    ConvergenceError
        `time_limit` passed, or rounding leaves a gap, because costs differ by more than float64 can add up.

    Notes
    -----
    A problem whose shorter side has fewer than 128 entries is solved by SciPy (Crouse, *On implementing 2D rectangular
    assignment algorithms*, 2016): nothing has to be compiled for it. Stacks of small ones, and one whose shorter side
    has up to 1500 entries, are solved by compiled shortest augmenting paths over whole rows (Jonker and Volgenant, *A
    shortest augmenting path algorithm for dense and sparse linear assignment problems*, 1987). For larger and harder
    ones annealed entropic potentials choose a few cells a row, shortest augmenting paths solve the problem on those,
    and the rest of the matrix is priced until nothing is left to gain, which proves the result. Of a `PointCloud` whose
    metric is "sqeuclidean", "euclidean" or "cityblock", in up to 8 coordinates, neither
    the cells nor the proof take a pass over all pairs: searches of trees find them, in memory of the order of n + m.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> cost = np.array([[4, 1, 3], [2, 0, 5], [3, 2, 2]])
    >>> result = eot.assign(cost)
    >>> result.cost, int(cost[result].sum())
    (5, 5)
    >>> result.u + result.v[[1, 0, 2]] == cost[result]
    array([ True,  True,  True])
    """
    _refuse_arrays(maximize)
    if type(cost) is np.ndarray and mask is None is cost_limit is time_limit and cost.ndim == 2:
        if min(cost.shape) < SMALL:  # before anything else: microseconds count
            small = by_scipy(cost, maximize, None, None)
            if small is not None:
                return small
    found: Assignment | BatchAssignment = _refused(cost, maximize, mask, cost_limit, time_limit)
    return found


def _refused(cost: Any, maximize: bool, mask: Any, cost_limit: Any, time_limit: Any) -> Any:
    """The assignment, with refusals in the words of SciPy."""
    clock = Clock(check_time_limit(time_limit))
    limit = check_cost_limit(cost_limit, maximize)
    if is_list(cost):
        return _assign_list(cost, maximize, mask, limit, clock)
    try:
        return _assign(cost, maximize, mask, limit, clock)
    except (ValueError, TypeError) as error:
        if is_cost(cost):
            raise
        raise in_scipys_words(error, cost) from None


def _assign(cost: Any, maximize: bool, mask: Any, limit: float | None, clock: Clock) -> Any:
    cost = in_double(stored(cost, mask))
    if is_cost(cost):
        return (
            assign_within(cost, maximize, mask, limit, clock)
            if limit is not None
            else _own(cost, maximize, mask, clock)
        )
    if mask is not None or not isinstance(cost, np.ndarray):
        refuse_devices("assign", cost=cost, mask=mask)
    if mask is not None:
        origin_of(cost=cost, mask=mask)
    matrix = as_array("cost", cost)
    if matrix.ndim == 3:
        return _assign_each(matrix, maximize, mask, limit, clock)
    if limit is not None:
        return assign_within(matrix, maximize, mask, limit, clock)
    if matrix.ndim == 2 and min(matrix.shape) < SMALL:
        small = by_scipy(matrix, maximize, mask, clock)
        if small is not None:
            return small
    if matrix.ndim == 2 and matrix.size == 0:
        none = np.empty(0, np.intp)
        return Assignment(none, none.copy(), matrix, maximize)
    return _own(matrix, maximize, mask, clock)


def _refuse_arrays(maximize: Any) -> None:
    """SciPy's second argument takes what `assign(x, y)` passes there."""
    if maximize is not True and maximize is not False and np.ndim(maximize):
        text = f"maximize has shape {np.shape(maximize)}; it must be True or False{of_points(np.asarray(maximize))}"
        raise ValueError(text)


def _assign_list(costs: Any, maximize: bool, mask: Any, limit: float | None, clock: Clock) -> BatchAssignment:
    """Of costs of different sizes, one after the other; of one size as a stack."""
    count = len(costs)
    alike = not any(map(is_cost, costs)) and len({np.shape(cost) for cost in costs}) == 1
    if alike and limit is None and not isinstance(mask, list | tuple):
        found: BatchAssignment = _assign(np.stack([as_array("cost", x) for x in costs]), maximize, mask, None, clock)
        return found

    def one(k: int) -> Assignment:
        alone: Assignment = _assign(costs[k], maximize, part("mask", mask, 2, k, count), limit, clock)
        return alone

    return RaggedAssignment(list(each(range(count), one)))


def _own(cost: Any, maximize: bool, mask: Any, clock: Clock) -> Assignment:
    """By our own solvers."""
    known = mask if mask is None or is_cost(cost) else as_array("mask", mask)
    found = None if is_cost(cost) else assigned_at_once(cost, maximize, known, clock.check)
    if found is None and many_coordinates(cost) and not maximize:
        matrix = assignment_problem(cost, maximize, mask)[0].cost
        found = assigned_at_once(matrix.as_matrix(), maximize, None, clock.check) if matrix.stored else None
    if found is None:
        problem, integral = assignment_problem(cost, maximize, mask)
        exact = solve_proved(problem, integral, clock)
        order = np.argsort(exact.rows)
        pairs = exact.rows[order].astype(np.intp), exact.cols[order].astype(np.intp)
        found = pairs, assignment_potentials(exact, maximize)
    (row_ind, col_ind), potentials = found
    total = total_of(entries_of(cost, row_ind, col_ind))
    return Assignment(row_ind, col_ind, None, maximize, cost=total, potentials=potentials)


def _assign_each(stack: NDArray[Any], maximize: bool, mask: Any, limit: float | None, clock: Clock) -> BatchAssignment:
    if limit is not None:
        raise ValueError(
            "cost_limit with many problems would match another number of pairs in each; solve one at a time"
        )
    together = min(stack.shape[1:]) < SOLVED_AT_ONCE
    return assign_many(
        stack, maximize, mask, together, clock, lambda cost, of: _assign(cost, maximize, of, None, clock)
    )
