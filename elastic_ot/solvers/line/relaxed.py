"""Relaxed transport on the line: penalties in place of one or both given weights.

Given the marginals an optimal plan is a staircase, so what has to be found are the marginals, and potentials tell them.
An interior-point method finds these on the pairs near the staircase of a coarser problem (`levels`, `interior`). Then
all pairs are priced, in O((n + m) log n) because the costs are a Monge matrix; pairs that are too cheap join, and it
goes on until the dual value, for potentials feasible everywhere, and the value of the staircase between the marginals
agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ...backends import load_line
from ...problems.line import Array, power_costs
from .interior import Interior, Links, interior_point
from .levels import Level, around, children, elimination, near, neighbours, once, penalty_value
from .sides import Side, largest_useful, side_of
from .sorting import Indices, Staircase, staircase

MOST_ROUNDS = 25
MOST_TRIES = 4  # where nothing can be added
COARSE_TOLERANCE = 1e-7
SHARE_OF_GAP = 0.3  # of what is allowed: what the interior-point method may leave
LEAST_SHARE_OF_GAP = 1e-4
LESS_OF_GAP = 0.1  # times that, where no pair is too cheap
ROUNDED_GAP = 1e-13  # of what the simplest plan costs: gaps below are rounding


@dataclass(frozen=True, eq=False)
class RelaxedPlan:
    """The staircase of one problem with sorted points, and its proof.

    Attributes
    ----------
    path : Staircase
    costs : ndarray, shape (n + m - 1,)
    f, g : ndarray, shapes (n,) and (m,)
        Potentials, feasible for every pair.
    value, dual_value : float
    transport : float
        <C, P>.
    close : bool
        The gap is at most the tolerance times the value, or `ROUNDED_GAP` times that of the simplest plan.
    """

    path: Staircase
    costs: Array
    f: Array
    g: Array
    value: float
    dual_value: float
    transport: float
    close: bool


def solve_relaxed(level: Level, tolerance: float) -> RelaxedPlan:
    """The optimum of one problem whose points ascend and whose weights are positive."""
    n, m = level.shape
    simple = _simple_plan(level)
    if simple.value == 0.0:  # nothing costs less
        return simple
    if level.exponent == 1.0:
        return _along(level, simple, tolerance)
    if level.smallest:
        rows, cols = (np.ravel(side) for side in np.indices((n, m)))
    else:
        coarse = level.coarser()
        rows, cols = children(coarse, level, solve_relaxed(coarse, COARSE_TOLERANCE).path)
    return _rounds(level, rows, cols, simple, tolerance)


def _along(level: Level, simple: RelaxedPlan, tolerance: float) -> RelaxedPlan:
    """The optimum where costs are distances: mass goes from neighbour to neighbour, and pairs need not be looked for.

    The potentials are values phi(x) and -phi(y) of a function with slopes between -1 and 1.
    """
    links, costs = neighbours(level.x, level.y)
    width = simple.value / level.amount
    order, z = np.arange(links.size), np.full(links.size, level.balance(width))
    sides, best, share = partial(_sides, level, width), simple, SHARE_OF_GAP
    for _ in range(MOST_TRIES):
        enough = share * _allowed(best, simple, tolerance)
        inner = interior_point(links, costs, sides, order, z, width, level.amount, enough)
        best = _better(best, _proved(level, inner), simple, tolerance)
        if best.close:
            break
        share *= LESS_OF_GAP
    return best


def _rounds(level: Level, rows: Indices, cols: Indices, simple: RelaxedPlan, tolerance: float) -> RelaxedPlan:
    """Solve on the pairs, and add those that turn out too cheap, until the proof is close."""
    n, m = level.shape
    width = simple.value / level.amount
    balance = level.balance(width)
    z = np.repeat([balance, -balance], [n, m]) - 0.5 * width
    sides, best, share = partial(_sides, level, width), simple, SHARE_OF_GAP
    for _ in range(MOST_ROUNDS):
        rows, cols = once(rows, cols, m)
        links, order = Links(rows, n + cols, n + m), elimination(rows, cols, n, m)
        allowed = _allowed(best, simple, tolerance)
        inner = interior_point(links, level.costs(rows, cols), sides, order, z, width, level.amount, share * allowed)
        found = _proved(level, inner)
        best = _better(best, found, simple, tolerance)
        if best.close:
            break
        more = _too_cheap(level, inner.f, inner.g, 0.1 * allowed / level.amount)
        if more[0].size == 0:
            if share < LEAST_SHARE_OF_GAP:
                break
            share *= LESS_OF_GAP
            continue
        beside = near(found.path.rows, found.path.cols)
        rows, cols = np.concatenate([rows, more[0], beside[0]]), np.concatenate([cols, more[1], beside[1]])
    return best


def _allowed(best: RelaxedPlan, simple: RelaxedPlan, tolerance: float) -> float:
    """The largest gap of a proof that is close."""
    return max(tolerance * best.value, ROUNDED_GAP * simple.value)


def _better(best: RelaxedPlan, found: RelaxedPlan, simple: RelaxedPlan, tolerance: float) -> RelaxedPlan:
    """The cheaper of the plans beside the larger of the bounds."""
    plan = found if found.value < best.value else best
    proof = found if found.dual_value > best.dual_value else best
    both = replace(plan, f=proof.f, g=proof.g, dual_value=proof.dual_value)
    return replace(both, close=bool(both.value - both.dual_value <= _allowed(both, simple, tolerance)))


def _too_cheap(level: Level, f: Array, g: Array, slight: float) -> tuple[Indices, Indices]:
    """Of every row and column the pair that violates f_i + g_j <= C_ij most, if it does, and its neighbours."""
    most_f, cols = cheapest(level.x, level.y, g, level.exponent)
    most_g, rows = cheapest(level.y, level.x, f, level.exponent)
    of_rows, of_cols = np.flatnonzero(most_f < f - slight), np.flatnonzero(most_g < g - slight)
    return around(np.concatenate([of_rows, rows[of_cols]]), np.concatenate([cols[of_rows], of_cols]), *level.shape)


def _sides(level: Level, width: float, z: Array) -> tuple[Side, Side]:
    n = level.x.size
    return side_of(level.rows, level.a, z[:n], width), side_of(level.cols, level.b, z[n:], width)


def _simple_plan(level: Level) -> RelaxedPlan:
    """The better of two plans, beside potentials 0: all that is given is moved, or nothing."""
    n, m = level.shape
    plans = [_with_marginals(level, *marginals(level, level.a, level.b), np.zeros(n), np.zeros(m))]
    nothing = marginals(level, np.zeros(n), np.zeros(m))
    plans.append(_with_marginals(level, *nothing, np.zeros(n), np.zeros(m)))
    return min(plans, key=lambda plan: plan.value)


def cheapest(x: Array, y: Array, g: Array, exponent: float) -> tuple[Array, Indices]:
    """The largest feasible potentials of x for g, and which y make them so."""
    places = np.empty(x.size, np.int64)
    load_line().cheapest(x, y, g, exponent, places)
    return power_costs(x - y[places], exponent) - g[places], places


def _proved(level: Level, inner: Interior) -> RelaxedPlan:
    """The staircase between marginals near the sums, beside the bound of feasible potentials."""
    least_f, least_g = level.rows.least_potential(), level.cols.least_potential()
    g = np.maximum(inner.g, least_g)
    f, _ = cheapest(level.x, level.y, g, level.exponent)
    f = np.clip(f, least_f, largest_useful(level.rows))
    g = np.minimum(cheapest(level.y, level.x, f, level.exponent)[0], largest_useful(level.cols))
    r, c = marginals(level, inner.r, inner.c)
    return _with_marginals(level, r, c, f, g)


def _with_marginals(level: Level, r: Array, c: Array, f: Array, g: Array) -> RelaxedPlan:
    """The cheapest plan with these marginals, beside the bound of feasible potentials."""
    path = staircase(np.cumsum(r), np.cumsum(c))
    costs = level.costs(path.rows, path.cols)
    transport = float((path.mass * costs).sum())
    value = transport + penalty_value(level.rows, r, level.a) + penalty_value(level.cols, c, level.b)
    dual = float(level.rows.dual(f, level.a).sum() + level.cols.dual(g, level.b).sum())
    return RelaxedPlan(path, costs, f, g, value, dual, transport, value <= dual)


def marginals(level: Level, r: Array, c: Array) -> tuple[Array, Array]:
    """The nearest marginals that both sides allow and that have one total."""
    boxes = [
        (low * weights, high * weights if np.isfinite(high) else np.full(weights.size, np.inf))
        for (low, high), weights in ((level.rows.box(), level.a), (level.cols.box(), level.b))
    ]
    sides = [np.clip(values, *box) for values, box in zip((r, c), boxes, strict=True)]
    totals = [(low.sum(), high.sum()) for low, high in boxes]
    total = float(np.clip(sides[0].sum(), *totals[0]))
    total = float(np.clip(total, *totals[1]))
    r, c = (_with_total(values, *box, total) for values, box in zip(sides, boxes, strict=True))
    return r, c


def _with_total(values: Array, low: Array, high: Array, total: float) -> Array:
    """Values between bounds, moved towards one of them until they have this sum."""
    now = values.sum()
    if total < now:
        room = (values - low).sum()
        return np.asarray(values - (values - low) * (min((now - total) / room, 1.0) if room > 0 else 0.0))
    if total > now:
        if np.isinf(high).any():
            return np.asarray(values * (total / now)) if now > 0 else np.full_like(values, total / values.size)
        room = (high - values).sum()
        return np.asarray(values + (high - values) * (min((total - now) / room, 1.0) if room > 0 else 0.0))
    return values
