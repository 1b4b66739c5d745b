"""The call `exact`: validate, solve with a proof, wrap the result."""

from __future__ import annotations

from typing import Any, Unpack, overload

import numpy as np

from ..arrays.ingest import as_array, refuse_devices
from ..arrays.origin import origin_of
from ..calls import public
from ..costs.base import Cost, is_cost
from ..costs.grid import flat_weights
from ..costs.point_stack import stored
from ..costs.points import in_double
from ..problems.linear import build_linear
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty
from ..problems.ragged import is_list, part
from ..solutions.exact import ExactSolution
from ..solutions.exact_batch import BatchExactSolution
from ..solvers.exact.clock import Clock
from ..solvers.exact.proved import refuse_overflow, solve_proved
from ..solvers.objective import penalty_values, unregularised_dual
from ..typing import ArrayLike, ManyMatrices
from .each import each, of_each
from .exact_of_mass import bounded_sides, exact_of_mass
from .exact_small import exact_small
from .options import check_time_limit
from .signatures import ExactOptions


@overload
def exact(  # type: ignore[overload-overlap]
    cost: ManyMatrices, a: ArrayLike | None = None, b: ArrayLike | None = None, **options: Unpack[ExactOptions]
) -> BatchExactSolution: ...


@overload
def exact(
    cost: ArrayLike | Cost, a: ArrayLike | None = None, b: ArrayLike | None = None, **options: Unpack[ExactOptions]
) -> ExactSolution: ...


@public
def exact(
    cost: ArrayLike | Cost | ManyMatrices,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    mask: ArrayLike | None = None,
    mass: ArrayLike | None = None,
    time_limit: float | None = None,
) -> ExactSolution | BatchExactSolution:
    """Unregularised optimal transport, proved optimal: the limit of `solve` as epsilon tends to 0.

    Minimises <C, P> + phi_rows(P 1) + phi_cols(P^T 1) over plans P >= 0, for penalties that make it a linear programme.

    Parameters
    ----------
    cost : array_like, shape (n, m) or (B, n, m), or Cost
        Cost of moving a unit of mass from i to j. +inf forbids a cell. With a leading dimension many problems, and the
        result is a `BatchExactSolution`; a `PointCloud` with one is a stack of matrices. A list of matrices or of
        `PointCloud`, whose sizes may differ, is many problems as well, to which what follows may be lists.
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
    Up to 1000 x 1000 between fixed sides: the network simplex on all cells. Else as for `assign`: annealed entropic
    potentials, an exact method on a few cells (the network simplex where both sides are fixed, else shortest paths),
    and pricing of the rest, by searches of trees where `assign` has them. Masses are integers inside, multiples of
    about 2**-58 of the total.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> far = [[0.1, 5.0], [5.0, 0.1], [5.0, 5.0]]
    >>> sol = eot.exact(far, rows=eot.TV(1.0), cols=eot.AtMost())
    >>> sol.row_marginal.round(3)
    array([0.333, 0.333, 0.   ])
    """
    clock = Clock(check_time_limit(time_limit))
    found: ExactSolution | BatchExactSolution = _solved(cost, a, b, rows, cols, mask, mass, clock)
    return found


def _solved(cost: Any, a: Any, b: Any, rows: Penalty, cols: Penalty, mask: Any, mass: Any, clock: Clock) -> Any:
    if is_list(cost):
        return _of_list(cost, {"a": a, "b": b, "mask": mask, "mass": mass}, (rows, cols), clock)
    cost = in_double(stored(cost, mask))
    if type(rows) is Fixed and type(cols) is Fixed and mask is mass is None:
        clock.check()
        small = exact_small(cost, a, b, clock)
        if small is not None:
            return small.one(0) if cost.ndim == 2 else BatchExactSolution(small)
    refuse_devices("exact", cost=cost, a=a, b=b, mask=mask)
    origin_of(cost=None if is_cost(cost) else cost, a=a, b=b, mask=mask)
    if mass is not None:
        rows, cols = bounded_sides(mass, rows, cols)
    if is_cost(cost):
        a, b = flat_weights(cost, a, b)
        return _exact(cost, a, b, rows, cols, mask, mass, clock)
    stack = as_array("cost", cost)
    if stack.ndim != 3:
        return _exact(stack, a, b, rows, cols, mask, mass, clock)
    count = len(stack)
    if count == 0:
        raise ValueError(f"cost has shape {stack.shape}; it must have at least one problem")
    given = {"a": a, "b": b, "mask": mask, "mass": mass}
    of = [of_each(name, x, RANKS[name], count) for name, x in given.items()]

    def one(k: int) -> ExactSolution:
        a, b, mask, mass = (x(k) for x in of)
        return _exact(stack[k], a, b, rows, cols, mask, mass, clock)

    return BatchExactSolution(tuple(each(range(count), one)))


RANKS = {"a": 1, "b": 1, "mask": 2, "mass": 0}  # of what one problem has


def _of_list(costs: Any, given: dict[str, Any], sides: tuple[Penalty, Penalty], clock: Clock) -> BatchExactSolution:
    """Of costs of different sizes, one after the other."""
    count = len(costs)

    def one(k: int) -> ExactSolution:
        cost = np.asarray(costs[k], np.float64) if isinstance(costs[k], list | tuple) else costs[k]
        own = {name: part(name, values, RANKS[name], k, count) for name, values in given.items()}
        found: ExactSolution = _solved(cost, own["a"], own["b"], *sides, own["mask"], own["mass"], clock)
        return found

    return BatchExactSolution(tuple(each(range(count), one)))


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
        transport = float((found.masses * problem.cost.at(found.rows, found.cols)).sum())
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
