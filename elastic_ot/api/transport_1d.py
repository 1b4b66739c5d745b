"""The call `transport_1d`: validate, sort or solve, wrap the result."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ..arrays.ingest import ingest_number, refuse_devices
from ..arrays.origin import origin_of
from ..calls import public
from ..errors import report_failure
from ..problems.line import LineProblem, build_line
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty
from ..solutions.line import LineSolution
from ..solvers.line import solve_line, solve_relaxed_lines
from ..solvers.status import Status
from ..typing import ArrayLike
from .options import check_choice

LEAST_TOLERANCE = 1e-12


@public
def transport_1d(
    x: ArrayLike,
    y: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    metric: str | float = "sqeuclidean",
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    tol: float = 1e-9,
    on_failure: Literal["warn", "raise", "ignore"] = "warn",
) -> LineSolution:
    """Optimal transport between points on the line, without entropy and with a proof.

    Minimises sum abs(x_i - y_j)^p P_ij + phi_rows(P 1) + phi_cols(P^T 1) over plans P >= 0: by sorting where both sides
    are given, exactly, and by an interior-point method in linear time with penalties.

    Parameters
    ----------
    x, y : array_like, shapes (..., n) and (..., m)
        Points, in any order. Leading dimensions are many problems; those of all arguments broadcast.
    a, b : array_like, shapes (..., n) and (..., m), optional
        Weights >= 0, default 1/n and 1/m, with the same sum where both sides are `Fixed`.
    metric : {"sqeuclidean", "euclidean", "cityblock"} or float
        The cost abs(x - y)^p by the name that `PointCloud` has for it, or p >= 1 itself.
    rows, cols : Penalty
        `Fixed` (default), `KL`, `TV`, `L2`, `Between`, `AtMost` or `Free`. Strengths may be arrays with one for every
        problem.
    tol : float
        With penalties: the largest gap, as a share of the value, from 1e-12; 1e-13 of what it costs to move all that
        is given, or nothing, whichever is less, counts as rounding. Sorting is exact to rounding.
    on_failure : {"warn", "raise", "ignore"}
        What happens where a gap is larger in the end.

    Returns
    -------
    LineSolution
        Plan, value, potentials and the gap between them, named as those of `exact`.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value; an exponent below 1, for which sorting is not optimal; `Elastic`,
        which depends on epsilon.
    InfeasibleError
        No plan has the masses that both sides ask for.
    ConvergenceError
        A gap is too large, and ``on_failure="raise"``.

    Warns
    -----
    ConvergenceWarning
        A gap is too large, and ``on_failure="warn"``.

    See Also
    --------
    exact : any cost, and linear penalties, proved to rounding.
    sliced : points in more coordinates, by their projections.

    Notes
    -----
    Computed in double precision, whatever the dtype of the points, in O(n + m) memory a problem. The plan is that of
    the north-west corner of the sorted points between its marginals; equal points keep their order.

    Between given weights it takes O((n + m) log(n + m)) time. The potentials are sums along the staircase, feasible for
    every pair because the sorted costs are a Monge matrix.

    With penalties some tens of steps, each linear in n + m, are made on pairs near the staircase of a coarser problem;
    for p = 1 on links between neighbours on the line. Then all pairs are priced, in O((n + m) log n), and those that
    turn out too cheap join, until the value and the bound of potentials that are feasible everywhere agree.

    References
    ----------
    Mehrotra, *On the implementation of a primal-dual interior point method*, 1992; Séjourné, Vialard, Peyré, *Faster
    unbalanced optimal transport: translation invariant Sinkhorn and 1-D Frank-Wolfe*, 2022, for the same problem with
    `KL`.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> sol = eot.transport_1d([0.0, 2.0, 1.0], [1.5, 0.5])
    >>> sol.plan.round(3)
    array([[0.   , 0.333],
           [0.333, 0.   ],
           [0.167, 0.167]])
    >>> round(sol.value, 6), sol.gap < 1e-12
    (0.25, True)

    The mass of a point far away is given up rather than moved:

    >>> sol = eot.transport_1d([0.0, 1.0, 9.0], [0.5, 1.5], [1, 1, 1], [1, 1], rows=eot.KL(1.0))
    >>> sol.row_marginal.round(3)
    array([1., 1., 0.])

    Many problems at once:

    >>> rng = np.random.default_rng(0)
    >>> eot.transport_1d(rng.random((4, 100)), rng.random(80), metric=1.5).value.shape
    (4,)
    """
    given = {"x": x, "y": y, "a": a, "b": b}
    refuse_devices("transport_1d", **given)
    origin_of(**given)
    check_choice("on_failure", on_failure, ("warn", "raise", "ignore"))
    tolerance = ingest_number("tol", tol)
    if not LEAST_TOLERANCE <= tolerance < 1:
        raise ValueError(f"tol is {tolerance}; it must lie between {LEAST_TOLERANCE} and 1, a share of the value")
    problem = build_line(x, y, a, b, metric, rows, cols)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if problem.relaxed:
            return _relaxed(problem, tolerance, on_failure)
        return _solved(problem)


def _relaxed(problem: LineProblem, tolerance: float, on_failure: str) -> LineSolution:
    found = solve_relaxed_lines(problem, tolerance)
    _refuse_overflow(found.value, found.dual_value)
    gaps = np.maximum(found.value - found.dual_value, 0.0)
    if not found.close.all():
        of = f"of {np.sum(~found.close)} of {found.close.size} problems " if problem.batch else ""
        share = float(np.max(gaps / np.where(found.value > 0, found.value, 1.0), where=~found.close, initial=0.0))
        report_failure(f"the gap {of}is {share:.1e} of the value, more than tol={tolerance:g}; raise tol", on_failure)
    status = Status.OPTIMAL if found.close.all() else Status.STALLED
    return _wrapped(problem, found, found.value, found.transport, found.dual_value, status)


def _solved(problem: LineProblem) -> LineSolution:
    found = solve_line(problem)
    value = (found.mass * found.costs).sum(axis=-1)
    a, b = problem.weights
    dual_value = (a * found.f).sum(axis=-1) + (b * found.g).sum(axis=-1)
    _refuse_overflow(value, dual_value)
    return _wrapped(problem, found, value, value, dual_value, Status.OPTIMAL)


def _refuse_overflow(value: Any, dual_value: Any) -> None:
    if not (np.isfinite(value) & np.isfinite(dual_value)).all():
        raise ValueError("x and y lie so far apart that costs of this metric overflow; rescale the points")


def _wrapped(
    problem: LineProblem, found: Any, value: Any, transport: Any, dual_value: Any, status: Status
) -> LineSolution:
    batch = problem.batch
    f, g = (np.broadcast_to(z, (*batch, z.shape[-1])) for z in (found.f, found.g))
    rows, cols = (np.broadcast_to(z, (*batch, z.shape[-1])) for z in (found.rows, found.cols))
    mass = np.broadcast_to(found.mass, rows.shape)
    if batch:
        transport, value, dual_value = (np.broadcast_to(z, batch) for z in (transport, value, dual_value))
        return LineSolution(problem, f, g, rows, cols, mass, transport, value, dual_value, status)
    here = mass > 0
    numbers = float(transport), float(value), float(dual_value)
    return LineSolution(problem, f, g, rows[here], cols[here], mass[here], *numbers, status)
