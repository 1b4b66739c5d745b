"""What proves a solution: the duality gap and bounds on unregularised transport.

For a plan P = R exp((f + g - C) / epsilon) and any feasible Q,

    primal(Q) - dual(f, g) = epsilon KL(Q | P) + sum over the sides of phi(q) + phi*(-potential) + <potential, q>,

q the marginal of Q on that side, because <C, Q> + epsilon KL(Q | R) = <f, q_a> + <g, q_b> + epsilon (KL(Q | P) - sum P
+ sum R). Every term is >= 0 and computed without cancellation. Q = P unless a hard side is met only to tolerance; then
Q is P rounded.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConvergenceError
from ..problems.penalty import Penalty, Vector
from ..problems.problem import Problem
from ..solvers.found import Found
from ..solvers.objective import penalty_values, unregularised_dual
from .rounding import EXTREMES, Rounding, round_plan
from .view import View, plan_sums


@EXTREMES
def gap(solved: Found, sound: bool) -> float:
    """Return primal minus dual value, inf where no feasible plan is known; `sound`: dual value and residual are finite.

    Where entries are masked and both sides are hard, a feasible plan may take up to 1000 sweeps and 200 steps of
    Newton's method.
    """
    if not sound:
        return float("inf")  # the plan overflows, or the potentials are outside the dual's domain
    view = View(solved)
    problem = view.problem
    try:
        rounding = round_plan(view, coarse=True)
    except ConvergenceError:
        return float("inf")
    of_rows = np.any(rounding.row_factor != 1) or np.any(rounding.row_rest)
    moved = problem.ranks.any(of_rows) or np.any(rounding.col_factor != 1)
    divergence = max(plan_sums(view, rounding.parts)[0], 0.0) if moved else 0.0
    return float(
        problem.epsilon * divergence
        + problem.ranks.totals(
            float(side_gap(problem.rows, problem.mass * rounding.row_marginal, view.f, problem.a, problem.row_used))
        )[0]
        + side_gap(problem.cols, problem.mass * rounding.col_marginal, view.g, problem.b, problem.col_used)
        + _mass_gap(problem, rounding)
    )


def _mass_gap(problem: Problem, rounding: Rounding) -> float:
    """What it costs, to first order, that a given mass is met to tolerance only."""
    if problem.amount is None:
        return 0.0
    return abs(problem.price) * abs(problem.mass * float(rounding.row_marginal.sum()) - problem.amount)


def side_gap(penalty: Penalty, r: Vector, f: Vector, a: Vector, counted: NDArray[np.bool_]) -> Any:
    """Return the gap of a side, of one problem or of each of many, on the entries that are counted."""
    parts = (np.where(counted, x, y) for x, y in ((r, 1.0), (f, 0.0), (a, 1.0)))
    return np.where(counted, penalty.gap(*parts), 0.0).sum(axis=-1)


@EXTREMES
def bounds(solved: Found) -> tuple[float, float]:
    view = View(solved)
    problem = view.problem
    try:
        rounding = round_plan(view)
        r, c = problem.mass * rounding.row_marginal, problem.mass * rounding.col_marginal
        upper = plan_sums(view, rounding.parts)[1] + penalty_values(problem, r, c) + _mass_gap(problem, rounding)
    except ConvergenceError:
        upper = float("inf")
    return float(_lower_bound(view)), math.inf if math.isnan(upper) else float(upper)


def _lower_bound(view: View) -> float:
    """The unregularised dual at u_i = min_j (C_ij - g_j), v_j = min_i (C_ij - u_i), feasible by construction."""
    problem, cost, price = view.problem, view.problem.cost.plan(1.0), view.problem.price
    used_r, used_c = problem.row_used, problem.col_used
    top = np.empty_like(view.g)
    cost.col_max(np.where(used_r, 0.0, -np.inf), top)  # -top: least cost of every column
    g = np.where(used_c, view.g, 0.0)
    g = np.maximum(np.minimum(g, -top - price - problem.rows.least_potential()), problem.cols.least_potential())
    u, v = np.empty_like(view.f), np.empty_like(view.g)
    cost.row_max(np.where(used_c, g + price, -np.inf), u)  # costs are lower by the price
    u = np.where(used_r, -u, 0.0)
    cost.col_max(np.where(used_r, u + price, -np.inf), v)
    v = np.where(used_c, -v, 0.0)
    value = unregularised_dual(problem, u, v) + problem.price_value
    largest = max(abs(problem.cost.lowest), abs(problem.cost.highest), float(np.abs(u).max()), float(np.abs(v).max()))
    return value - 8 * np.finfo(np.float64).eps * largest * max(problem.mass, float(problem.b.sum()))
