"""Exact plans of a given mass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays.ingest import ingest_number
from ..costs.base import KnownCost
from ..costs.blocks import BlockCost, Bordered
from ..costs.dense import DenseCost
from ..errors import InfeasibleError
from ..problems.penalties import AtMost, Fixed
from ..problems.penalty import Penalty, Vector
from ..problems.problem import Problem
from ..solutions.exact import ExactSolution
from ..solvers.exact.clock import Clock
from ..solvers.exact.pricing import Exact
from ..solvers.exact.proved import refuse_overflow, solve_proved

ROOM_FOR_MASS = 2.0  # times the mass: what a line may send, more than it ever needs to
SUM_ROUNDING = 1e-14  # of the mass: what sums of weights may be off by


def bounded_sides(mass: Any, rows: Penalty, cols: Penalty) -> tuple[Penalty, Penalty]:
    """Both sides send at most their weights when the mass is given."""
    for name, penalty in (("rows", rows), ("cols", cols)):
        if not isinstance(penalty, Fixed | AtMost):
            raise ValueError(f"{name} is {penalty!r} and mass is {mass!r}; with a mass both sides are AtMost()")
    return AtMost(), AtMost()


def exact_of_mass(problem: Problem, mass: Any, integral: bool, clock: Clock) -> ExactSolution:
    """The cheapest plan of this mass: what else rows and columns have goes to a column and a row that cost nothing."""
    amount = _check_mass(mass, problem)
    lowest = problem.cost.lowest
    found = _carried(problem, amount, integral, clock)
    n, m = problem.shape
    f, g, price = _with_price(found.u, found.v, problem, lowest, ROOM_FOR_MASS * amount)
    inside = (found.rows < n) & (found.cols < m)
    rows, cols, masses = found.rows[inside], found.cols[inside], found.masses[inside]
    half = 0.5 * price
    terms = [amount * price]
    for weights, potential, used in ((problem.a, f, problem.row_used), (problem.b, g, problem.col_used)):
        terms += (weights[used] * np.minimum(potential[used] - half, 0.0)).tolist()
    with np.errstate(over="ignore", invalid="ignore"):
        transport = float((masses * problem.cost.at(rows, cols)).sum())
    refuse_overflow(transport, problem)
    return ExactSolution(
        problem=problem,
        f=f,
        g=g,
        row_ind=rows.astype(np.int64),
        col_ind=cols.astype(np.int64),
        mass=masses,
        row_marginal=np.bincount(rows, masses, n).astype(np.float64, copy=False),
        col_marginal=np.bincount(cols, masses, m).astype(np.float64, copy=False),
        transport_cost=transport,
        value=transport,
        dual_value=math.fsum(terms),
        price=price,
    )


def _carried(problem: Problem, amount: float, integral: bool, clock: Clock) -> Exact:
    """The solution with the row and the column more; rounding of the weights may leave room for a little less."""
    for less in (0.0, SUM_ROUNDING * amount):
        try:
            return solve_proved(_extended(problem, amount - less), integral, clock)
        except InfeasibleError:
            continue
    raise InfeasibleError(
        f"mass is {amount:g}, more than the allowed cells can carry between these weights; allow more or lower it"
    )


def _check_mass(mass: Any, problem: Problem) -> float:
    amount = ingest_number("mass", mass)
    if not 0.0 <= amount < math.inf:
        raise ValueError(f"mass is {amount}; it must be finite and >= 0")
    most = min(float(problem.a[problem.row_used].sum()), float(problem.b[problem.col_used].sum()))
    if amount > most * (1.0 + 1e-9):
        raise InfeasibleError(f"mass is {amount:.12g}, and the lighter side has {most:.12g}; lower it")
    return min(amount, most)


def _extended(problem: Problem, amount: float) -> Problem:
    """A row and a column more. Costs begin at 0, so that nothing is lost beside them.

    More mass than asked for would pass between the two, which costs something; rounding of the weights does.
    """
    (n, m), cost = problem.shape, problem.cost
    span = cost.highest - cost.lowest
    corner = span or 1.0
    a, b = np.where(problem.row_used, problem.a, 0.0), np.where(problem.col_used, problem.b, 0.0)
    if amount > 0:  # so much more than it can use would cost the mass its digits
        a, b = np.minimum(a, ROOM_FOR_MASS * amount), np.minimum(b, ROOM_FOR_MASS * amount)
    a, b = np.append(a, max(b.sum() - amount, 0.0)), np.append(b, max(a.sum() - amount, 0.0))
    reach = [
        np.append(np.ones(size, bool) if side is None else side, True)
        for side, size in ((cost.row_reach, n), (cost.col_reach, m))
    ]
    bounds = 0.0, corner, *(reach if cost.masked else (None, None))
    bordered: KnownCost
    if cost.stored:
        matrix = np.zeros((n + 1, m + 1))
        np.subtract(cost.as_matrix(), cost.lowest, out=matrix[:n, :m], dtype=np.float64)
        matrix[n, m] = corner
        bordered = DenseCost(matrix, *bounds)
    else:
        whole = Bordered(cost, cost.lowest, corner)
        bordered = BlockCost(whole, whole.shape, np.dtype(whole.dtype), *bounds)
    return Problem(bordered, a, b, 1.0, Fixed(), Fixed(), "product")


def _with_price(u: Vector, v: Vector, problem: Problem, lowest: float, room: float) -> tuple[Vector, Vector, float]:
    """Potentials of at most half the price of mass, and that price; just half where there is more weight than room.

    u_i + v_0 <= 0 for the column that costs nothing, u_0 + v_j <= 0 for the row, and -u_0 - v_0 is the price.
    """
    used, used_cols = problem.row_used, problem.col_used
    column, row = v[-1], u[-1]
    if np.isneginf(column):  # all that rows have is sent
        column = -u[:-1][used].max()
    if np.isneginf(row):
        row = -v[:-1][used_cols].max()
    price = float(-column - row + lowest)
    below_f = np.where((room > 0) & (problem.a > room), 0.0, np.minimum(u[:-1] + column, 0.0))
    below_g = np.where((room > 0) & (problem.b > room), 0.0, np.minimum(v[:-1] + row, 0.0))
    f = np.where(used, below_f + 0.5 * price, -np.inf)
    return f, np.where(used_cols, below_g + 0.5 * price, -np.inf), price
