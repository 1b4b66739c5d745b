"""Solves in the user's orientation, whichever way a cost is stored.

Kernels read rows that lie together. A cost stored by columns is therefore solved as the transposed problem, with start
and outcome turned round here, and nowhere above: nothing of the size of the cost is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..costs.point_cost import is_pruned
from ..problems.penalty import Vector
from ..problems.problem import Problem
from ..problems.scaled import Task, make_task
from .budget import run_budget
from .driver import Limits, Outcome, Phase, run
from .history import history_of
from .measure import Measure
from .multiscale import solve_ordered
from .returned import certify
from .state import Start
from .status import Status

Choose = Callable[[Problem], Sequence[Phase]]
"""The phases that solve a problem, as it is stored."""


def solve_stored(problem: Problem, start: Start, solve: Callable[[Task, Start], Outcome]) -> Outcome:
    """Return what `solve` finds for the task as it is stored, or with points in order, in terms of `problem`."""
    if is_pruned(problem.cost):
        return solve_ordered(problem, start, solve)
    task = make_task(problem.by_rows)
    if not problem.cost.fortran:
        return solve(task, start)
    return solve(task, start.transpose()).transpose()


def run_oriented(problem: Problem, start: Start, limits: Limits, choose: Choose) -> Outcome:
    """Run the driver: `driver.run` for a problem stored in either way, and for points in any order."""
    return solve_stored(problem, start, lambda task, begin: run(choose(task.problem), task, begin, limits))


def run_budget_oriented(problem: Problem, start: Start, count: int) -> Outcome:
    """Run exactly `count` iterations, the user's rows first."""
    rows_first = not problem.cost.fortran
    return solve_stored(problem, start, lambda task, begin: run_budget(task, begin, count, rows_first))


def outcome_at(
    problem: Problem,
    f: Vector,
    g: Vector,
    status: Callable[[Measure], Status],
    n_iter: int = 0,
    method: str = "recalled",
) -> Outcome:
    """Return given potentials as an outcome: their marginals and measure, and the status that these deserve."""
    first, second, rows, cols, found = certify(make_task(problem.by_rows), *problem.turned(f, g))
    outcome = Outcome(
        first, second, rows, cols, found, status(found), n_iter, method, history_of([], problem.reference_mass)
    )
    return outcome.transpose() if problem.cost.fortran else outcome
