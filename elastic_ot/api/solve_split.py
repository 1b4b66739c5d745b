"""`solve` where rows are split over processes: agree, refuse together, solve, and measure what needs all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from ..arrays.ingest import refuse_devices
from ..arrays.origin import origin_of
from ..costs.base import is_cost
from ..costs.grid import Grid
from ..costs.relative import absolute_of_ranks, fraction
from ..distributed.adapters import communicator_of
from ..distributed.agreement import refuse_differences
from ..distributed.ranks import Together
from ..errors import report_failure
from ..problems.build_batch import is_batch
from ..problems.build_split import build_split
from ..problems.problem import Problem
from ..solutions.split import SplitSolution, split_solution
from ..solvers.driver import Limits
from ..solvers.methods import choose
from ..solvers.oriented import run_budget_oriented, run_oriented
from ..solvers.progress import progress_bar
from ..solvers.state import Start
from ..solvers.status import Budget
from .initial import initial
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

ONE_BY_ONE = "comm splits the rows of one problem; for a batch, give each process some of its problems, without comm"


class Given(NamedTuple):
    """The arguments of `solve`."""

    cost: Any
    a: Any
    b: Any
    epsilon: Any
    rows: Any
    cols: Any
    reference: Any
    mask: Any
    mass: Any
    lengths: tuple[Any, Any]
    method: Any
    relaxation: Any
    tol: Any
    max_iter: Any
    time_limit: Any
    init: Any
    end: Any
    callback: Any
    progress: Any
    on_failure: Any


def solve_split(comm: Any, given: Given) -> SplitSolution:
    """Return the solution of all rows as this process has it."""
    ranks = Together(communicator_of(comm))
    with ranks.interruptible():
        return _solve(ranks, given)


def _solve(ranks: Together, given: Given) -> SplitSolution:
    omega, origin = 1.0, origin_of()
    limits: tuple[float, int, float | None, Any] = 0.0, 1, None, None
    with ranks.noting():
        check_method(given.method)
        check_choice("on_failure", given.on_failure, ("warn", "raise", "ignore"))
        if given.end is not None:
            check_choice("end", given.end, ("rows", "cols"))
        omega = check_relaxation(given.relaxation, given.method)
        limits = check_limits(given.tol, given.max_iter, given.time_limit, given.callback)
        _refuse(given)
        if isinstance(given.epsilon, str):
            fraction(given.epsilon)
        origin = _origin(given)
    ranks.check()
    tol, max_iter, time_limit, callback = limits
    names = "method", "relaxation", "end", "on_failure"
    shared = {name: getattr(given, name) for name in names}
    shared["epsilon"] = given.epsilon if isinstance(given.epsilon, str) else "a number"
    refuse_differences(ranks, **shared, tol=tol, max_iter=max_iter, time_limit=time_limit, init=_init_kind(given.init))
    given = given._replace(epsilon=absolute_of_ranks(given.epsilon, given.cost, given.mask, ranks))
    problem = build_split(*given[:8], ranks)
    budgeted = is_budget(tol, given.method)
    problem = problem.levelled(budgeted)
    f, g = _initial(given.init, problem, ranks)
    last = last_side(problem, given.end)
    fast = (given.method == "auto" or problem.cost.single) and tol >= SINGLE_TOL
    deadline = np.inf if time_limit is None else time.perf_counter() + time_limit
    start = Start(f, g, last, (max(omega, 1.0), omega), problem.cost.single if budgeted else fast, tol, deadline)
    shared_callback = _shared(ranks, callback)
    if budgeted:
        check_budget(given.relaxation, time_limit, shared_callback, given.progress)
        budget = Budget(max_iter, last, f, g)
        return split_solution(problem, run_budget_oriented(problem, start, max_iter), tol, origin, budget)
    with ExitStack() as stack:
        report = None
        with ranks.noting():
            report = stack.enter_context(progress_bar(given.progress, tol))
        ranks.check()
        within = Limits(tol, max_iter, time_limit, shared_callback, report, given.relaxation == "auto")
        outcome = run_oriented(problem, start, within, lambda stored: choose(given.method, stored, omega, tol))
    solution = split_solution(problem, outcome, tol, origin)
    if not solution.converged:
        report_failure(solution.message, given.on_failure)
    return solution


def _refuse(given: Given) -> None:
    """What rows that are split over processes cannot be solved with."""
    cost = given.cost
    numbers = {"cost": cost, "a": given.a, "b": given.b, "mask": given.mask}
    refuse_devices("solve with comm", **{name: x for name, x in numbers.items() if x is not None and not is_cost(x)})
    read = None if cost is None else cost
    if is_batch(read, given.a, given.b, given.epsilon, given.mask, (given.rows, given.cols), given.lengths):
        raise ValueError(ONE_BY_ONE)
    if given.mass is not None:
        raise ValueError(
            "mass is searched for by many solves; with comm give prices instead: cols=KL(rho) or AtMost(), whose plan "
            "has the mass that pays"
        )
    if given.method == "multiscale":
        raise ValueError(
            "method='multiscale' reads trees of all points of both sides; with comm use 'auto', or solve without comm"
        )
    if isinstance(cost, Grid):
        raise ValueError(
            "a Grid is summed axis by axis, and its rows are no part of that; solve it without comm, or pass the rows "
            "as Grid.block(rows, slice(0, m))"
        )


def _origin(given: Given) -> Any:
    pair = given.init if isinstance(given.init, tuple) and len(given.init) == 2 else (None, None)
    cost = None if is_cost(given.cost) else given.cost
    arrays = {"cost": cost, "a": given.a, "b": given.b, "mask": given.mask}
    return origin_of(**arrays, **{"init[0]": pair[0], "init[1]": pair[1]})


def _init_kind(init: Any) -> str:
    """What must be the same of it everywhere, but for the numbers of g."""
    return "none" if init is None else "given"


def _initial(init: Any, problem: Problem, ranks: Together) -> tuple[Any, Any]:
    """The potentials to start from, whose g is the same on all."""
    f, g = initial(init, problem)
    if init is not None:
        refuse_differences(ranks, init=g)
    return f, g


def _shared(ranks: Together, callback: Callable[[int, float], object] | None) -> Callable[[int, float], object] | None:
    """One callback for all: called on those that have one, and heard on all."""
    if not ranks.any(callback is not None):
        return None

    def call(iteration: int, residual: float) -> bool:
        stopped = False
        with ranks.noting():
            stopped = callback is not None and bool(callback(iteration, residual))
        return ranks.any(stopped)

    return call
