"""What would cost potentials their digits is taken out of an exact problem, and put back into its solution.

That is an offset of all costs: C_ij = D + C'_ij, with potentials u_i = D + u'_i, moves the kinks of the rows' penalty
from x to x - D and changes nothing else; differences of floats of about one size are exact, so C' is. Of costs far
smaller than D few digits are left: what is found is then checked with C, and the problem solved as it is if that fails.
And it is lines with less weight than a unit of mass, which no plan serves, however far they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Paths
from ...problems.penalty import Penalty, Vector
from ...problems.problem import Problem
from .mass_levels import without_dust
from .pricing import Exact, Solve, allowed
from .warm_start import Pause

LARGE_OFFSET = 64.0  # times the differences of the costs: an offset worth a copy
SPREAD_ROWS, CHEAP = 64, 8  # rows looked at, and the cheapest cells of each: others may stand for forbidden ones


def solve_exactly(problem: Problem, paths: Paths, integral: bool, pause: Pause, price: float = 0.0) -> Exact:
    """The optimum and its proof; `integral` and `pause` as for `Solve`. The rows' kinks lie higher by `price`."""
    offset = _offset(problem, integral, price)
    if offset:
        found = _solve_without(offset, problem, paths, integral, pause, price)
        near_zero = offset < 0 and problem.cost.highest > 0.5 * offset  # costs that may have lost digits
        if integral or not near_zero or _allowed(found, problem):
            return found
    return _solve(problem, paths, integral, pause, (-price, 0.0))


def _solve_without(offset: float, problem: Problem, paths: Paths, integral: bool, pause: Pause, price: float) -> Exact:
    """The same, of costs less this offset."""
    at_rows = price != 0 or _bears(problem.rows)
    moved = (offset - price, 0.0) if at_rows else (0.0, offset)
    low, high = sorted((0.5 * offset, 2.0 * offset))
    exact = low <= problem.cost.lowest and problem.cost.highest <= high
    cost = problem.cost.shifted(offset, problem.cost.dtype if exact else np.float64)  # one copy
    found = _solve(replace(problem, cost=cost), paths, integral, pause, moved)
    if not at_rows:
        return replace(found, v=found.v + offset)
    u = found.u + offset
    return replace(found, u=np.where(found.u == 0.0 - moved[0], price, u) if price else u)  # not a digit of the price


def _allowed(found: Exact, problem: Problem) -> bool:
    """True if the potentials are feasible, or there are none."""
    if found.blocked.size or found.blocked_cols.size:
        return True
    return all(allowed(block, found.u[rows], found.v) for rows, block in problem.cost.strips())


def _solve(problem: Problem, paths: Paths, integral: bool, pause: Pause, moved: tuple[float, float]) -> Exact:
    reduced = without_dust(problem)
    found = Solve(reduced, paths, integral, pause, moved).run()
    return found if reduced is problem else _completed(found, problem, reduced)


def _completed(found: Exact, problem: Problem, reduced: Problem) -> Exact:
    """With potentials of the lines left out, the largest that the others allow."""
    cost, (n, m) = problem.cost.plan(1.0), problem.shape
    top_u, top_v = np.empty(n), np.empty(m)
    cost.row_max(found.v, top_u)
    u = np.where(problem.row_used & ~reduced.row_used, _at_most(-top_u, problem.rows), found.u)
    cost.col_max(u, top_v)
    v = np.where(problem.col_used & ~reduced.col_used, _at_most(-top_v, problem.cols), found.v)
    return replace(found, u=u, v=v)


def _at_most(potential: Vector, penalty: Penalty) -> Vector:
    """The best potentials below these for lines without mass."""
    best = potential if penalty.box()[0] > 0 else np.minimum(potential, penalty.kinks()[1])
    return np.where(np.isfinite(best), best, 0.0)


def _offset(problem: Problem, integral: bool, price: float) -> float:
    """The offset, 0 if it is small, or if neither side can take it."""
    lowest = problem.cost.lowest
    bears = price != 0 or _bears(problem.rows) or _bears(problem.cols)
    if not bears or not abs(lowest) > LARGE_OFFSET * _spread(problem):
        return 0.0
    if lowest > 0:
        return lowest
    return lowest + 1.0 if integral else float(np.nextafter(lowest, np.inf))  # cells that earn something still do


def _bears(penalty: Penalty) -> bool:
    """True if the side asks for mass at any price: its potentials then are as large as the costs."""
    return penalty.box()[0] > 0


def _spread(problem: Problem) -> float:
    cost, (n, _) = problem.cost, problem.shape
    if abs(cost.lowest) > LARGE_OFFSET * (cost.highest - cost.lowest):
        return cost.highest - cost.lowest
    return cheap_spread(cost.rows(np.arange(0, n, max(1, n // SPREAD_ROWS))), cost.lowest)


def spread(matrix: NDArray[np.floating], lowest: float, highest: float) -> float:
    """How much more than the least of all costs the cheap cells of a row cost."""
    if abs(lowest) > LARGE_OFFSET * (highest - lowest):
        return highest - lowest
    return cheap_spread(matrix[:: max(1, len(matrix) // SPREAD_ROWS)], lowest)


def cheap_spread(rows: NDArray[np.floating], lowest: float) -> float:
    """How much more than the least of all costs the cheap cells of some rows cost."""
    m = rows.shape[1]
    cheap = np.partition(rows, min(CHEAP, m) - 1, axis=1)[:, min(CHEAP, m) - 1].astype(np.float64)
    cheap = cheap[np.isfinite(cheap)]
    return float(np.median(cheap) - lowest) if cheap.size else np.inf
