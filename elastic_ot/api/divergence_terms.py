"""The terms of a divergence: how each is solved, and what they make together."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays.origin import Origin
from ..costs.point_cost import is_pruned
from ..errors import report_failure
from ..problems.penalty import Vector
from ..problems.problem import Problem
from ..problems.scaled import Task
from ..solutions.assembly import solution_from
from ..solutions.divergence import Divergence
from ..solutions.solution import Solution
from ..solvers.blocked import refuse_blocked
from ..solvers.driver import Limits, Outcome
from ..solvers.methods import Method, choose
from ..solvers.newton import Newton
from ..solvers.oriented import solve_stored
from ..solvers.state import Start
from ..solvers.symmetric import solve_from, solve_symmetric
from .options import SINGLE_TOL, last_side

DIFFERENCE_ROUNDING = 1e-14  # of the terms that the dual values are sums of: what a difference of them may be off by


@dataclass(frozen=True)
class Terms:
    """How each term is solved; dual values come without the constant epsilon sum(R)."""

    method: Method | Newton
    limits: Limits
    deadline: float
    origin: Origin

    def divergence(self, problem: Problem, problem_x: Problem, problem_y: Problem, on_failure: str) -> Divergence:
        """Return the divergence that three problems make; say so where one is not solved."""
        self_x, dual_x = self.self_term(problem_x)
        self_y, dual_y = self.self_term(problem_y)
        cross, dual = self.cross_term(problem, self_x.host.f, self_y.host.g)
        lift = problem.offset_value - 0.5 * (problem_x.offset_value + problem_y.offset_value)
        value = dual - 0.5 * (dual_x + dual_y) + lift  # the constants epsilon sum(R) cancel
        hidden = DIFFERENCE_ROUNDING * (_size(cross) + 0.5 * (_size(self_x) + _size(self_y))) + _left_out(cross)
        if -hidden <= value < 0:
            value = 0.0
        found = self.made(value, cross, self_x, self_y)
        if not found.converged and on_failure != "ignore":
            parts = (("cost_xy", cross), ("cost_xx", self_x), ("cost_yy", self_y))
            text = "; ".join(f"the term of {name}: {part.message}" for name, part in parts if not part.converged)
            report_failure(text, on_failure)
        return found

    def made(self, value: float, cross: Any, self_x: Any, self_y: Any) -> Divergence:
        """Return what users get."""
        return Divergence(value, cross, self_x, self_y, self.origin)

    def self_term(self, problem: Problem) -> tuple[Solution, float]:
        """Return the solution of a measure against itself, and its dual value."""
        limits = self._limits_now()

        def solve(task: Task, start: Start) -> Outcome:
            return solve_symmetric(task, start, limits, choose(self.method, task.problem, 1.0, limits.tol))

        outcome = solve_stored(problem, self._start(problem, "rows"), solve)
        return self.solution(problem, outcome), outcome.measure.dual

    def cross_term(self, problem: Problem, f: Vector, g: Vector) -> tuple[Solution, float]:
        """Return the solution between both, from these potentials, and the best dual value known."""
        limits = self._limits_now()
        duals: list[float] = []

        def solve(task: Task, start: Start) -> Outcome:
            phases = choose(self.method, task.problem, 1.0, limits.tol)
            found, dual = solve_from(task, start, limits, phases)
            duals.append(dual)
            return found

        start = replace(self._start(problem, last_side(problem, None)), f=f, g=g)
        outcome = solve_stored(problem, start, solve)
        return self.solution(problem, outcome), duals[0]

    def _start(self, problem: Problem, end: str) -> Start:
        fast = (self.method in ("auto", "multiscale") or problem.cost.single) and self.limits.tol >= SINGLE_TOL
        return Start(None, None, end, (1.0, 1.0), fast, self.limits.tol, self.deadline)

    def _limits_now(self) -> Limits:
        if self.limits.time_limit is None:
            return self.limits
        left = max(self.deadline - time.perf_counter(), 1e-3)  # too little for anything but saying so
        return Limits(self.limits.tol, self.limits.max_iter, left)

    def solution(self, problem: Problem, outcome: Outcome) -> Solution:
        """Return an outcome as users get it."""
        refuse_blocked(outcome.blocked)
        return solution_from(problem, outcome, self.limits.tol, self.origin)


def _left_out(solution: Solution) -> float:
    """By how much the dual value is lower because of pairs that are not read."""
    problem = solution.problem
    return problem.epsilon * problem.mass * problem.cost.left_share if is_pruned(problem.cost) else 0.0


def _size(solution: Solution) -> float:
    """What the terms of a dual value add up to, without their signs; costs where there is mass are no larger."""
    host, problem = solution.host, solution.problem
    used_r, used_c = problem.row_used, problem.col_used
    r, c = host.row_marginal[used_r], host.col_marginal[used_c]
    with np.errstate(over="ignore", invalid="ignore"):
        of_rows, mass = problem.ranks.totals(float(r @ np.abs(host.f[used_r])), float(r.sum()))
        terms = of_rows + c @ np.abs(host.g[used_c]) + problem.epsilon * mass
    return float(terms + abs(solution.dual_value))
