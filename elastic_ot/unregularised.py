"""The exact calls, epsilon = 0: validate, choose who solves, wrap the result."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import as_array, origin_of, refuse_devices
from .certificate import penalty_values, unregularised_dual
from .clock import Clock
from .exact_batches import BatchAssignment, BatchExactSolution, batch_of, each, of_each
from .exact_result import Assignment, ExactSolution, Indices, total_of
from .options import check_time_limit
from .partial import assign_within, bounded_sides, check_cost_limit, exact_of_mass
from .penalties import Fixed, Penalty, Vector
from .problem import assignment_problem, build_linear
from .proved import refuse_overflow, solve_proved
from .scipy_assignment import by_scipy, in_scipys_words
from .solvers.exact import Exact

FEW = 64  # rows or columns whose potentials are found by relaxation
SMALL = 1000  # rows or columns below which SciPy is as fast whatever the cost; measured, see the benchmarks


def assign(
    cost: Any,
    maximize: bool = False,
    *,
    mask: Any = None,
    cost_limit: float | None = None,
    time_limit: float | None = None,
) -> Any:
    """The cheapest one-to-one assignment of rows to columns: SciPy's `linear_sum_assignment` with a proof.

    Minimises the sum of C[i, sigma(i)] over injective maps sigma; with n != m the longer side stays partly unmatched.

    Parameters
    ----------
    cost : array_like, shape (n, m) or (B, n, m)
        Cost of matching i with j. +inf forbids a pair (-inf with `maximize`). Integers are solved exactly; they must
        not exceed 2**50 in size. Integers and `maximize` cost one copy (float32 if it holds them exactly). With a
        leading dimension many problems, and the result is a `BatchAssignment`.
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
    Small problems are solved by SciPy (Crouse, *On implementing 2D rectangular assignment algorithms*, 2016).
    For larger ones annealed entropic potentials choose a few cells a row, shortest augmenting paths solve the problem
    on those, and the rest of the matrix is priced until nothing is left to gain, which proves the result.

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
    if type(cost) is np.ndarray and mask is None is cost_limit is time_limit and cost.ndim == 2:
        if min(cost.shape) < SMALL:  # before anything else: microseconds count
            small = by_scipy(cost, maximize, None, None)
            if small is not None:
                return small
    clock = Clock(check_time_limit(time_limit))
    limit = check_cost_limit(cost_limit, maximize)
    try:
        return _assign(cost, maximize, mask, limit, clock)
    except (ValueError, TypeError) as error:
        raise in_scipys_words(error, cost) from None


def _assign(cost: Any, maximize: bool, mask: Any, limit: float | None, clock: Clock) -> Any:
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
    problem, integral = assignment_problem(matrix, maximize, mask)
    found = solve_proved(problem, integral, clock)
    order = np.argsort(found.rows)
    row_ind, col_ind = found.rows[order].astype(np.intp), found.cols[order].astype(np.intp)
    potentials = _assignment_potentials(found, maximize)
    cost_of_it = total_of(matrix[row_ind, col_ind])
    return Assignment(row_ind, col_ind, None, maximize, cost=cost_of_it, potentials=potentials)


def _assign_each(stack: NDArray[Any], maximize: bool, mask: Any, limit: float | None, clock: Clock) -> BatchAssignment:
    if limit is not None:
        raise ValueError(
            "cost_limit with many problems would match another number of pairs in each; solve one at a time"
        )
    mask_of = of_each("mask", mask if mask is None else as_array("mask", mask), 2, len(stack))

    def one(k: int) -> Any:
        clock.check()
        return _assign(stack[k], maximize, mask_of(k), None, clock)

    return batch_of(list(each(len(stack), one)), stack, maximize, [mask_of(k) for k in range(len(stack))])


def exact(
    cost: Any,
    a: Any = None,
    b: Any = None,
    *,
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    mask: Any = None,
    mass: float | None = None,
    time_limit: float | None = None,
) -> Any:
    """Unregularised optimal transport, proved optimal: the limit of `solve` as epsilon tends to 0.

    Minimises <C, P> + phi_rows(P 1) + phi_cols(P^T 1) over plans P >= 0, for penalties that make it a linear programme.

    Parameters
    ----------
    cost : array_like, shape (n, m) or (B, n, m)
        Cost of moving a unit of mass from i to j. +inf forbids a cell. With a leading dimension many problems, and the
        result is a `BatchExactSolution`.
    a, b : array_like, shapes (n,) and (m,), optional
        Weights >= 0, default 1/n and 1/m. Of many problems the same for all, or (B, n) and (B, m); so with `mask` and
        `mass`.
    rows, cols : Penalty
        `Fixed` (default), `TV`, `Between`, `AtMost` or `Free`. `KL`, `L2` and `Elastic` are not linear.
    mask : array_like of bool, shape (n, m), optional
        False forbids a cell; costs one copy of the cost.
    mass : float, optional
        Transport so much and no more (partial transport): weights are then upper bounds, `rows` and `cols` stay at
        their default or are `AtMost`. At most the mass of the lighter side; costs one copy of the cost.
    time_limit : float, optional
        Seconds after which to give up: there is no result without a proof.

    Returns
    -------
    ExactSolution or BatchExactSolution
        The plan (few entries), potentials, the gap between them.

    Raises
    ------
    ValueError, TypeError
        Bad input, a penalty that is not linear, or an objective without a lower bound.
    InfeasibleError
        No plan meets the hard sides, naming the rows or columns, or none has that `mass`.
    ConvergenceError
        `time_limit` passed, or rounding leaves a gap, because costs differ by more than float64 can add up.

    See Also
    --------
    solve : with entropy; `Solution.bounds` brackets the value of this problem.

    Notes
    -----
    As for `assign`: annealed entropic potentials, an exact method on a few cells (the network simplex where both sides
    are fixed, else shortest paths), and pricing of the rest. Masses are integers inside, multiples of about 2**-58 of
    the total.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> far = [[0.1, 5.0], [5.0, 0.1], [5.0, 5.0]]
    >>> sol = eot.exact(far, rows=eot.TV(1.0), cols=eot.AtMost())
    >>> sol.row_marginal.round(3)
    array([0.333, 0.333, 0.   ])
    """
    clock = Clock(check_time_limit(time_limit))
    refuse_devices("exact", cost=cost, a=a, b=b, mask=mask)
    origin_of(cost=cost, a=a, b=b, mask=mask)
    if mass is not None:
        rows, cols = bounded_sides(mass, rows, cols)
    stack = as_array("cost", cost)
    if stack.ndim != 3:
        return _exact(stack, a, b, rows, cols, mask, mass, clock)
    count = len(stack)
    if count == 0:
        raise ValueError(f"cost has shape {stack.shape}; it must have at least one problem")
    of = [
        of_each(name, x, rank, count)
        for name, x, rank in (("a", a, 1), ("b", b, 1), ("mask", mask, 2), ("mass", mass, 0))
    ]

    def one(k: int) -> ExactSolution:
        a, b, mask, mass = (x(k) for x in of)
        return _exact(stack[k], a, b, rows, cols, mask, mass, clock)

    return BatchExactSolution(tuple(each(count, one)))


def _exact(
    cost: Any, a: Any, b: Any, rows: Penalty, cols: Penalty, mask: Any, mass: Any, clock: Clock
) -> ExactSolution:
    problem, integral = build_linear(cost, a, b, rows, cols, mask)
    if mass is not None:
        return exact_of_mass(problem, mass, integral, clock)
    found = solve_proved(problem, integral, clock)
    n, m = problem.shape
    row_marginal = np.bincount(found.rows, found.masses, n).astype(np.float64, copy=False)
    col_marginal = np.bincount(found.cols, found.masses, m).astype(np.float64, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        transport = float((found.masses * problem.cost.matrix[found.rows, found.cols]).sum())
        value = transport + penalty_values(problem, row_marginal, col_marginal)
        dual_value = unregularised_dual(problem, found.u, found.v)
    refuse_overflow(value, problem)
    return ExactSolution(
        problem=problem,
        f=found.u,
        g=found.v,
        row_ind=found.rows.astype(np.int64),
        col_ind=found.cols.astype(np.int64),
        mass=found.masses,
        row_marginal=row_marginal,
        col_marginal=col_marginal,
        transport_cost=transport,
        value=value,
        dual_value=dual_value,
    )


def potentials_of(
    matrix: NDArray[Any], maximize: bool, mask: NDArray[np.bool_] | None, pair: tuple[Indices, Indices]
) -> tuple[Vector, Vector]:
    """Potentials that prove an assignment optimal: of a few lines from the pairs themselves, else whichever it is."""
    if matrix.size == 0:
        return np.zeros(matrix.shape[0]), np.zeros(matrix.shape[1])
    if min(matrix.shape) <= FEW:
        u, v = BatchAssignment(matrix[None], maximize, [mask], pair[0][None], pair[1][None]).potentials
        return u[0], v[0]
    return _assignment_potentials(solve_proved(*assignment_problem(matrix, maximize, mask), Clock()), maximize)


def _assignment_potentials(found: Exact, maximize: bool) -> tuple[Vector, Vector]:
    u, v = np.where(np.isfinite(found.u), found.u, 0.0), np.where(np.isfinite(found.v), found.v, 0.0)
    if u.size < v.size:
        v = np.minimum(v, 0.0)
    elif u.size > v.size:
        u = np.minimum(u, 0.0)
    return (-u, -v) if maximize else (u, v)
