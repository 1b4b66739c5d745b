"""One solve, or those of a batch: choose a method, run it, wrap the result. No arithmetic here."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ..arrays.ingest import as_array
from ..arrays.libraries import is_bfloat16
from ..arrays.origin import Origin, origin_of
from ..costs.base import is_cost
from ..costs.grid import flat_weights
from ..costs.relative import absolute
from ..errors import report_failure
from ..problems.build import build
from ..problems.build_batch import build_batch, is_batch
from ..problems.penalty import Penalty, Vector
from ..problems.problem import Problem
from ..problems.ragged import is_list, padded
from ..problems.terms import Reference
from ..solutions.assembly import solution_from
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
from ..solvers.status import Budget
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
from .solve_batch import How, solve_batch


def solve_any(
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
    """The call `solve`, whose `lengths` are those of rows and of columns."""
    if is_list(cost):
        cost, a, b, mask, *own = padded(cost, a, b, mask, lengths)
        lengths = own[0], own[1]
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

    if isinstance(epsilon, str):
        epsilon = absolute(epsilon, cost, mask, lengths)
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
        if not solution.converged:
            report_failure(solution.message, on_failure)
        return solution


def _read(name: str, values: Any) -> Any:
    """An array that offers its memory, read; anything else as it is."""
    if type(values) is np.ndarray or not hasattr(values, "__dlpack__") or is_bfloat16(values):
        return values
    return as_array(name, values)


def _origin(cost: Any, a: Any, b: Any, mask: Any, init: Any) -> Origin:
    pair = init if isinstance(init, tuple) and len(init) == 2 else (None, None)
    cost = None if is_cost(cost) else cost
    return origin_of(cost=cost, a=a, b=b, mask=mask, **{"init[0]": pair[0], "init[1]": pair[1]})
