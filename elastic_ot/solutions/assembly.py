"""Solutions made of what a solver found. No arithmetic here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arrays.origin import Origin
from ..problems import masses
from ..problems.penalty import Vector
from ..problems.problem import Problem
from ..solvers.driver import Outcome
from ..solvers.found import Found
from ..solvers.measure import Measure
from ..solvers.methods import RESOLVED
from ..solvers.oriented import outcome_at
from ..solvers.status import Budget, Status
from .solution import Solution


def solution_from(
    problem: Problem,
    outcome: Outcome,
    tol: float,
    origin: Origin,
    budget: Budget | None = None,
    plan: NDArray[np.floating] | None = None,
) -> Solution:
    """Return the solution of an outcome; its `plan` may have been computed along with it."""
    found = outcome.measure
    f, g, r, c = outcome.f, outcome.g, outcome.row_marginal, outcome.col_marginal
    row_offset, col_offset = problem.offsets
    return Solution(
        found=Found(problem, f, g, r, c, budget),
        f=origin.emit(f + row_offset),
        g=origin.emit(g + col_offset),
        row_marginal=origin.emit(r),
        col_marginal=origin.emit(c),
        marginal_error=found.marginal_error,
        residual=found.residual,
        dual_value=found.dual + problem.epsilon * problem.reference_mass + problem.offset_value + problem.price_value,
        status=outcome.status,
        message=_message(outcome, problem, tol) + outcome.remark + masses.note(problem.factor),
        n_iter=outcome.n_iter,
        method=outcome.method,
        history=outcome.history,
        origin=origin,
        known_plan=plan,
    )


def _message(outcome: Outcome, problem: Problem, tol: float) -> str:
    found = outcome.measure
    text = (
        f"{outcome.status.value} ({outcome.method}, {outcome.n_iter} iterations; "
        f"residual {found.residual:.2e}, asked for {tol * found.mass:.2e})"
    )
    return text + _advice(outcome, problem, tol)


def _advice(outcome: Outcome, problem: Problem, tol: float) -> str:
    """What to try, as far as that has not been done already."""
    found = outcome.measure
    if outcome.status is Status.NUMERICAL:
        largest = max(problem.ranks.max(outcome.row_marginal), outcome.col_marginal.max())
        if found.mass == 0:
            return "; costs are so high, next to what the penalties charge, that float64 holds no mass of the plan"
        if not np.isfinite(found.residual) or largest > problem.cost.largest_number:
            return "; the plan overflows its dtype: costs are too far below 0 for these penalties and this epsilon"
        span = _span(problem)
        if outcome.method == "scaling" and span < RESOLVED:
            return "; use method='stabilized', 'log' or 'auto', which hold at any epsilon that float64 resolves"
        return f"; range(cost) / epsilon is {span:.3g}: try a larger epsilon, or exact, which has none"
    if outcome.status is Status.STALLED and not found.resolved(tol):
        return (
            f"; potentials over epsilon are so large that float64 resolves marginals to {found.rounding:.1e} only: try "
            f"a larger epsilon or a larger tol"
        )
    tried = {
        Status.MAX_ITER: "more iterations, a larger epsilon or a larger tol",
        Status.TIME_LIMIT: "more time, a larger epsilon or a larger tol",
        Status.STALLED: "a larger epsilon or a larger tol",
    }
    advice = tried.get(outcome.status)
    return f"; range(cost) / epsilon is {_span(problem):.3g}: try {advice}" if advice else ""


def _span(problem: Problem) -> float:
    """Return the largest exponent of the Gibbs kernel."""
    return (problem.cost.highest - problem.cost.lowest) / problem.epsilon


def solution_of(
    problem: Problem,
    f: Vector,
    g: Vector,
    status: Status | None,
    n_iter: int,
    method: str,
    tol: float,
    budget: Budget | None = None,
    origin: Origin = Origin(),  # noqa: B008 - frozen
) -> Solution:
    """Return a solution with these potentials, in NumPy, measured anew; a status of None is decided by that."""

    def judged(found: Measure) -> Status:
        met = found.meets(tol + 1e-12)  # rounding of the potentials, which stood in other units
        return status or (Status.CONVERGED if met else Status.STALLED)

    outcome = outcome_at(problem, f, g, judged, n_iter, method)
    return solution_from(problem, outcome, tol, origin, budget)
