"""The public call: validate, choose a method, run it, wrap the result. No arithmetic here."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from inspect import signature
from typing import Any, Literal

import numpy as np

from ..arrays.ingest import as_array
from ..arrays.libraries import is_bfloat16
from ..arrays.origin import Origin, origin_of
from ..costs.base import is_cost
from ..costs.grid import flat_weights
from ..errors import ConvergenceError, ConvergenceWarning
from ..problems.batch import BatchProblem
from ..problems.build import build
from ..problems.build_batch import build_batch, is_batch
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty, Vector
from ..problems.problem import Problem
from ..problems.terms import Reference
from ..solutions.assembly import solution_from, solution_of
from ..solutions.batch import BatchSolution
from ..solutions.exact import ExactSolution
from ..solutions.solution import Solution
from ..solvers.blocked import refuse_blocked
from ..solvers.driver import Limits, Outcome
from ..solvers.given_mass import PriceSearch, open_sides, with_amount
from ..solvers.methods import Method, choose
from ..solvers.newton import Newton
from ..solvers.oriented import run_budget_oriented, run_oriented
from ..solvers.progress import progress_bar
from ..solvers.small import solve_small
from ..solvers.state import Start
from ..solvers.status import Budget, Status
from .initial import initial
from .multiscale import pruned
from .options import (
    SINGLE_TOL,
    check_budget,
    check_choice,
    check_limits,
    check_method,
    check_relaxation,
    is_budget,
    last_side,
)
from .solve_batch import How, recalled, solve_batch


def solve(
    cost: Any,
    a: Any = None,
    b: Any = None,
    *,
    epsilon: float,
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    reference: Reference = "product",
    mask: Any = None,
    mass: float | None = None,
    method: Method | Newton = "auto",
    relaxation: float | Literal["auto"] = 1.0,
    tol: float = 1e-6,
    max_iter: int = 10_000,
    time_limit: float | None = None,
    init: Solution | ExactSolution | tuple[Any, Any] | None = None,
    end: Literal["rows", "cols"] | None = None,
    row_lengths: Any = None,
    col_lengths: Any = None,
    callback: Callable[[int, Any], object] | None = None,
    progress: bool = False,
    on_failure: Literal["warn", "raise", "ignore"] = "warn",
    comm: Any = None,
) -> Any:
    """Entropic optimal transport with elastic marginals.

    Minimises <C, P> + epsilon KL(P | R) + phi_rows(P 1) + phi_cols(P^T 1) over plans P >= 0.

    Parameters
    ----------
    cost : array_like, shape (n, m) or (..., n, m), or Cost
        Cost of moving a unit of mass from i to j. +inf forbids a cell. C or Fortran order and read-only arrays are
        used in place; float16 is computed in float32, integers in float64. On a CUDA device it is solved there, float16
        and bfloat16 as they lie. With leading dimensions, here or in what follows, it is a batch: they broadcast, and
        the result is a `BatchSolution`. A `Cost` is computed by blocks and never stored, but for a batch of
        `PointCloud`.
    a, b : array_like, shapes (n,) and (m,), or (..., n) and (..., m), optional
        Weights >= 0, default 1/n and 1/m. A zero weight removes its row or column: the plan is exactly 0 there.
    epsilon : float, or array_like of shape (...)
        Strength of the entropy, in the units of the cost, > 0.
    rows, cols : Penalty
        What the marginals P 1 and P^T 1 are asked to be: `Fixed` (default), `KL`, `TV`, `L2`, `Between`, `AtMost`,
        `Free` or `Elastic`. A strength may be an array of shape (...).
    reference : {"product", "counting"}
        R = a b^T (default), or R = 1, the convention of attention. The plan depends on it as soon as a side is
        relaxed.
    mask : array_like of bool, shape (n, m) or (..., n, m), optional
        False forbids a cell; costs one copy of the cost.
    mass : float, optional
        The plan's total mass, given (partial transport). Sides must leave it open: weights of `Fixed` ones, the
        default, are upper bounds then, as of `AtMost`. Not for batches or ``tol=0``.
    method : {"auto", "scaling", "stabilized", "log", "epsilon_scaling", "newton", "multiscale"} or Newton
        How to solve; every method has the same answer. "log" allocates nothing of the size of the cost, "newton" half
        a float64 matrix or the cells that carry mass, "multiscale", which is for a `PointCloud` with a metric that is a
        distance, lists of neighbours, the others one matrix. `Newton(...)` sets the parameters of Newton's method.
    relaxation : float or "auto"
        omega in (0, 2). Below 1 the column update is damped: g <- (1 - omega) g + omega update, rows stay exact.
        Above 1 both sides are over-relaxed, as long as the dual value rises. "auto" chooses omega >= 1 from the rate of
        convergence. It changes the speed of the sweeps, never the answer; Newton's steps have none.
    tol : float
        0 is a budget: exactly `max_iter` iterations, none of them measured, no warning (see `end`); Newton's method and
        epsilon scaling, which have no such iterations, go as far as rounding lets them. Otherwise converged means: on
        the returned potentials the L1 residual of the marginals is <= tol * mass and, with a relaxed side, the gap of
        the relaxed sides is <= tol * max(abs(dual), epsilon * mass), the dual taken without its constant.
    max_iter : int
        Passes over the cost at most; with ``tol=0`` how many.
    time_limit : float, optional
        Seconds at most.
    init : Solution, ExactSolution or (f, g), optional
        Warm start, potentials in cost units; left out if they are so large that epsilon vanishes beside them.
    end : {"rows", "cols"}, optional
        The side that is updated last, and therefore exact; default the only hard one, else the rows. With ``tol=0``
        rows are updated first, so that T iterations are 2 T half steps with ``end="cols"`` and 2 T - 1 with
        ``end="rows"``: a single one is then a row softmax.
    row_lengths, col_lengths : array_like of int, shape (...), optional
        How many rows and columns each problem of a batch has; what lies beyond is not read, and carries nothing.
    callback : callable, optional
        Called as ``callback(iteration, residual)`` every iteration; a true value stops the solve. In a batch the
        residual is an array, and the call comes once a round.
    progress : bool
        Show a tqdm bar of the distance to the tolerance; not in a batch.
    on_failure : {"warn", "raise", "ignore"}
        What to do if the solve ends unconverged.
    comm : communicator, optional
        Rows are split over processes: each passes its own rows of `cost`, `a` and `mask`, or a cost of None if it has
        none, and the same of everything else. A communicator of mpi4py, `torch.distributed` or a process group of it
        (gloo), or an `elastic_ot.distributed.Communicator`. See the page on processes.

    Returns
    -------
    Solution or BatchSolution
        Potentials, marginals, certificate; the plan when asked for.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value.
    InfeasibleError
        No plan meets the hard sides.
    ConvergenceError
        Not converged and ``on_failure="raise"``.

    Warns
    -----
    ConvergenceWarning
        Not converged and ``on_failure="warn"``.

    References
    ----------
    Cuturi, *Sinkhorn distances*, 2013; Chizat, Peyré, Schmitzer, Vialard, *Scaling algorithms for unbalanced optimal
    transport problems*, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> x, y = np.linspace(0, 1, 4), np.linspace(0, 1, 3)
    >>> sol = eot.solve((x[:, None] - y) ** 2, epsilon=0.05)
    >>> sol.status.name, sol.plan.shape
    ('CONVERGED', (4, 3))
    """
    lengths = row_lengths, col_lengths
    return _solve(
        *(cost, a, b, epsilon, rows, cols, reference, mask, mass, lengths),
        method,
        relaxation,
        tol,
        max_iter,
        time_limit,
        init,
        end,
        callback,
        progress,
        on_failure,
        comm,
    )


def solve_with_plan(cost: Any, a: Any, b: Any, *, epsilon: Any, **options: Any) -> Any:
    """`solve` where the plan is wanted in any case: that of a batch's budget comes cheaper with it."""
    return solve_for(cost, a, b, epsilon=epsilon, with_plan=True, **options)


def solve_for(
    cost: Any, a: Any, b: Any, *, epsilon: Any, with_plan: bool = False, precision: str = "", **options: Any
) -> Any:
    """`solve` for callers that know more: that the plan is wanted, or a dtype that weights had before."""
    given = _defaults() | options
    lengths = given.pop("row_lengths"), given.pop("col_lengths")
    given |= {"cost": cost, "a": a, "b": b, "epsilon": epsilon, "lengths": lengths}
    return _solve(**given, with_plan=with_plan, precision=precision)


@cache
def _defaults() -> dict[str, Any]:
    return {name: parameter.default for name, parameter in signature(solve).parameters.items()}


def _solve(
    cost: Any,
    a: Any,
    b: Any,
    epsilon: Any,
    rows: Penalty,
    cols: Penalty,
    reference: Reference,
    mask: Any,
    mass: Any,
    lengths: tuple[Any, Any],
    method: Method | Newton,
    relaxation: Any,
    tol: float,
    max_iter: int,
    time_limit: float | None,
    init: Any,
    end: Literal["rows", "cols"] | None,
    callback: Any,
    progress: bool,
    on_failure: str,
    comm: Any = None,
    with_plan: bool = False,
    precision: str = "",
) -> Any:
    if comm is not None:
        from .solve_split import Given, solve_split  # here, because few solves need it

        return solve_split(
            comm,
            Given(
                *(cost, a, b, epsilon, rows, cols, reference, mask, mass, lengths),
                *(method, relaxation, tol, max_iter, time_limit, init, end, callback, progress, on_failure),
            ),
        )
    check_method(method)
    check_choice("on_failure", on_failure, ("warn", "raise", "ignore"))
    if end is not None:
        check_choice("end", end, ("rows", "cols"))
    omega = check_relaxation(relaxation, method)
    limits = check_limits(tol, max_iter, time_limit, callback)
    asked = mask, mass, end, time_limit, callback, progress or None, *lengths
    plain = method == "auto" and relaxation == 1 and tol > 0 and all(option is None for option in asked)
    plain = plain and str(reference) == "product"

    a, b = flat_weights(cost, a, b)
    origin = _origin(cost, a, b, mask, init)

    def quickly() -> Solution | None:
        """In one compiled call, if that is the right way for this problem."""
        if not plain or origin.index is not None:
            return None
        read = _read("cost", cost), _read("a", a), _read("b", b)
        found = solve_small(*read, epsilon, (rows, cols), limits[0], limits[1])
        return None if found is None else solution_from(found.problem, found.outcome, tol, origin, plan=found.plan)

    solution = quickly() if init is None else None
    if solution is not None:
        return solution
    with origin.here():
        if is_batch(cost, a, b, epsilon, mask, (rows, cols), lengths):
            if progress:
                raise ValueError("progress shows one problem; for a batch use callback")
            if mass is not None:
                raise ValueError("mass is that of one plan; solve the problems of a batch one by one")
            if method == "multiscale":
                raise ValueError("method='multiscale' solves one cloud; solve the clouds of a batch one by one")
            budgeted = is_budget(tol, method)
            batch = build_batch(cost, a, b, epsilon, rows, cols, reference, mask, *lengths, precision)
            batch = batch.levelled(budgeted)
            if budgeted:
                check_budget(relaxation, time_limit, callback, progress)
            how = How(method, relaxation, omega, *limits, end, on_failure, budgeted, with_plan)
            return solve_batch(batch, how, init, origin)
        budgeted = is_budget(tol, method)
        if mass is not None:
            if budgeted:
                raise ValueError("tol=0 runs max_iter iterations, which know no mass; give a tol > 0")
            rows, cols = open_sides(rows, cols)
        problem = build(cost, a, b, epsilon, rows, cols, reference, mask, precision)
        problem = (problem if budgeted else pruned(problem, cost, method, omega, tol)).levelled(budgeted)
        if mass is not None:
            problem = with_amount(problem, mass)
            if isinstance(init, Solution):
                problem = replace(problem, price=init.problem.price)
        f, g = initial(init, problem)
        solution = quickly() if init is not None and f is None else None
        if solution is not None:
            return solution
        last = last_side(problem, end)
        start = Start(
            f=f,
            g=g,
            end=last,
            omega=(max(omega, 1.0), omega),
            fast=(method in ("auto", "multiscale") or problem.cost.single) and tol >= SINGLE_TOL,
            tol=tol,
            deadline=np.inf if time_limit is None else time.perf_counter() + time_limit,
        )
        if budgeted:
            check_budget(relaxation, time_limit, callback, progress)
            start = replace(start, fast=problem.cost.single)
            outcome = run_budget_oriented(problem, start, max_iter)
            return solution_from(problem, outcome, tol, origin, Budget(max_iter, last, f, g))

        def solved(at: Problem, f: Vector | None, g: Vector | None, limits: Limits) -> Outcome:
            begin = replace(start, f=f, g=g)
            found = run_oriented(at, begin, limits, lambda stored: choose(method, stored, omega, tol))
            refuse_blocked(found.blocked)
            return found

        with progress_bar(progress, tol) as report:
            within = Limits(*limits, progress=report, adaptive=relaxation == "auto")
            if mass is None:
                outcome = solved(problem, f, g, within)
            else:
                problem, outcome = PriceSearch(problem, within, solved).run(f, g, problem.price)
        solution = solution_from(problem, outcome, tol, origin)
        if not solution.converged and on_failure != "ignore":
            if on_failure == "raise":
                raise ConvergenceError(solution.message)
            warnings.warn(solution.message, ConvergenceWarning, stacklevel=3)
        return solution


def _read(name: str, values: Any) -> Any:
    """An array that offers its memory, read; anything else as it is."""
    if type(values) is np.ndarray or not hasattr(values, "__dlpack__") or is_bfloat16(values):
        return values
    return as_array(name, values)


def recall(
    problem: Problem,
    f: Vector,
    g: Vector,
    tol: float = 1e-6,
    max_iter: int = 10_000,
    method: Method | Newton = "auto",
    end: Literal["rows", "cols"] | None = None,
) -> Solution:
    """The solution with these potentials, which an earlier solve with these options has found: measured, not solved."""
    budget = Budget(max_iter, last_side(problem, end), None, None) if is_budget(tol, method) else None
    return solution_of(problem, f, g, Status.BUDGET if budget else None, 0, "recalled", tol, budget)


def recall_batch(
    problem: BatchProblem,
    f: Any,
    g: Any,
    tol: float = 1e-6,
    max_iter: int = 10_000,
    method: Method | Newton = "auto",
    end: Literal["rows", "cols"] | None = None,
) -> BatchSolution:
    """`recall` for a batch."""
    first, second = (np.asarray(x, dtype=np.float64).reshape(problem.size, -1) for x in (f, g))
    budget = Budget(max_iter, end or "mixed", None, None) if is_budget(tol, method) else None
    return recalled(problem, first, second, tol, end, budget)


def _origin(cost: Any, a: Any, b: Any, mask: Any, init: Any) -> Origin:
    pair = init if isinstance(init, tuple) and len(init) == 2 else (None, None)
    cost = None if is_cost(cost) else cost
    return origin_of(cost=cost, a=a, b=b, mask=mask, **{"init[0]": pair[0], "init[1]": pair[1]})
