"""How cheap any plan can be: a lower bound on transport of any rank, by one pass over the cost from good potentials.

Whatever potentials g the columns have, f_i = min_j C_ij - g_j makes the pair feasible, and its dual value is a bound.
Good ones come from an exact plan where the problem is small, from annealed entropic potentials where its entries are
few, from a multiscale solve of clouds in few coordinates, and from points that stand for many otherwise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...costs.base import LARGEST_PLAN
from ...costs.scan import known_cost
from ...problems.penalties import KL, Fixed
from ...problems.penalty import Vector
from ...problems.problem import Problem
from ..exact.clock import Clock
from ..exact.cloud_start import cloud_potentials, is_searched
from ..exact.proved import solve_proved
from ..exact.warm_start import Levels, anneal
from ..objective import unregularised_dual
from .factors import Array
from .start import features_of, summarised

EXACT_POINTS = 1000  # a side, up to which the exact plan takes less than a second
SUMMARISED = 1000  # points a side that stand for many
BOUND_LEVELS = Levels(0.1, 1e-4, 3.0, 20, 1e-3)  # annealing of potentials, relative to the range of the costs
ROWS_TOGETHER = 64  # of a summary, whose costs are computed at a time


def transport_bound(problem: Problem, seed: int = 0) -> tuple[float, Vector, Vector]:
    """Return a lower bound on <C, P> + phi_a(P 1) + phi_b(P^T 1) over all plans, and the potentials that prove it."""
    f, g = _feasible(problem, _column_potentials(problem, np.random.default_rng(seed)))
    shift = _shift(problem, f, g)
    f, g = f + shift, g - shift
    return unregularised_dual(problem, f, g), f, g


def _column_potentials(problem: Problem, rng: np.random.Generator) -> Vector:
    n, m = problem.shape
    fixed = isinstance(problem.rows, Fixed) and isinstance(problem.cols, Fixed)
    if fixed and max(n, m) <= EXACT_POINTS:
        return solve_proved(problem, False, Clock()).v
    if n * m <= LARGEST_PLAN:
        return _annealed(problem)
    if is_searched(problem.cost):
        return cloud_potentials(problem, _no_pause)
    return _summary_potentials(problem, rng)


def _no_pause() -> None:
    """Nothing interrupts it."""


def _annealed(problem: Problem) -> Vector:
    span = problem.cost.highest - problem.cost.lowest
    found = anneal(problem.by_rows, BOUND_LEVELS, span, None, _no_pause)
    return _least(problem.transpose(), found) if problem.cost.fortran else found


def _summary_potentials(problem: Problem, rng: np.random.Generator) -> Vector:
    """From a plan between points that stand for many: carried over to all columns by the least reduced cost."""
    features = features_of(problem.cost, rng)
    first, second = (
        summarised(x, weights, SUMMARISED, rng) for x, weights in zip(features, (problem.a, problem.b), strict=True)
    )
    costs = np.asarray(problem.cost.at(first.points[:, None], second.points[None, :]), np.float64)
    small = _on(problem, costs, first.weights, second.weights)
    f = _least(small, _column_potentials(small, rng))
    g = np.full(problem.shape[1], np.inf)
    for begin in range(0, f.size, ROWS_TOGETHER):
        some = slice(begin, begin + ROWS_TOGETHER)
        block = np.asarray(problem.cost.rows(first.points[some]), np.float64)
        np.minimum(g, (block - f[some, None]).min(axis=0), out=g)
    return g


def _on(problem: Problem, costs: Array, a: Vector, b: Vector) -> Problem:
    """The same sides between fewer points."""
    return replace(problem, cost=known_cost(costs, None, a > 0, b > 0), a=a, b=b)


def _feasible(problem: Problem, g: Vector) -> tuple[Vector, Vector]:
    """The largest potentials of rows beside those of columns; and these anew, where another pass is cheap."""
    f = _least(problem, g)
    if is_searched(problem.cost) or problem.cost.stored:
        g = _least(problem.transpose(), f)
    return f, g


def _least(problem: Problem, g: Vector) -> Vector:
    """Return min_j C_ij - g_j over the columns in use."""
    working = problem.by_rows
    plan, out = working.cost.plan(1.0), np.empty(problem.shape[0])
    (plan.col_max if problem.cost.fortran else plan.row_max)(np.where(problem.col_used, g, -np.inf), out)
    return -out


def _shift(problem: Problem, f: Vector, g: Vector) -> float:
    """What to add to f and take off g: at the best bound both sides ask for the same mass."""
    softness = sum(1.0 / side.rho for side in (problem.rows, problem.cols) if isinstance(side, KL))
    if softness == 0.0:
        return 0.0
    demands = (
        float(side.demand(potentials[used], weights[used])[0].sum())
        for side, potentials, weights, used in (
            (problem.rows, f, problem.a, problem.row_used),
            (problem.cols, g, problem.b, problem.col_used),
        )
    )
    first, second = demands
    return float(np.log(first / second)) / softness
