"""Derivatives of a solve: of the optimal value (no linear system), and through the plan and the potentials (one).

The optimum satisfies r(f, g) = demand(f) on both sides, with P = R exp((f + g - C) / epsilon). With s = -d demand / d f
and D = diag(marginal + epsilon s), linearising both equations gives the symmetric matrix

    A = [D_a, P; P^T, D_b] / epsilon

that Newton's method solves with. Entries on a kink of their penalty keep their potential and are outside of it.

Reverse mode. For a function L of the plan and the potentials, with M = dL/dP * P, and A (x; y) = (M 1 / epsilon +
dL/df; M^T 1 / epsilon + dL/dg),

    dL/dC = -P * (dL/dP - x 1^T - 1 y^T) / epsilon.

Forward mode. Let T be the change of the plan along a direction of the inputs while free potentials are held, and t that
of the demands. Then A (df; dg) = (t_a - T 1; t_b - T^T 1), and the plan changes by

    T + P * (df 1^T + 1 dg^T) / epsilon.

Source: Luise, Rudi, Pontil, Ciliberto, *Differential properties of Sinkhorn approximation*, 2018, for fixed marginals.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays.devices import library_of
from ..problems.penalty import Vector
from ..solvers.found import Found
from .at import point_at
from .cloud import CloudPoint
from .point import Moved, Point
from .records import Direction, Gradients, Matrix, Tangents
from .sides import Optimum


def pull_back(solved: Found, plan: Matrix | None, f: Vector | None, g: Vector | None) -> Gradients:
    """Vector-Jacobian product: from dL/dP, dL/df and dL/dg to the derivatives of L in the inputs."""
    point = point_at(solved)
    found = _pull(point, plan, f, g)
    if point.problem.amount is None:
        return found
    refuse_price(point)
    # the price keeps the mass: what it follows
    found = replace(found, cost=found._matrix.copy())
    carried = _pull(point, library_of(found.cost).ones_like(found.cost), None, None)
    bars = (f, solved.f), (g, solved.g)
    halves = sum(0.5 * float(x[np.isfinite(y)].sum()) for x, y in bars if x is not None)
    share = (float(found._matrix.sum()) - halves) / _slope(carried)
    return Gradients(*(x - share * y for x, y in zip(parts_of(found), parts_of(carried), strict=True)))


def _pull(point: Point, plan: Matrix | None, f: Vector | None, g: Vector | None) -> Gradients:
    """At a held price."""
    optimum, (n, m), epsilon = point.optimum, point.problem.shape, point.problem.epsilon
    bars = optimum.settle(np.zeros(n) if f is None else f, np.zeros(m) if g is None else g)
    row_side, col_side = epsilon * bars[0], epsilon * bars[1]
    if plan is not None:
        moved = point.tangent(np.zeros(n), np.zeros(m), plan)
        row_side, col_side = row_side - epsilon * moved.rows, col_side - epsilon * moved.cols
    x, y = point.solve(row_side, col_side)
    moved = point.tangent(x, y, plan)
    a, b, rows, cols = optimum.pull(x, y, bars, -moved.rows, -moved.cols)
    slopes = point.slopes(moved.plan)
    return Gradients(a=a, b=b, epsilon=moved.dot, rows=float(rows), cols=float(cols), **slopes)


def push_forward(solved: Found, direction: Direction) -> Tangents:
    """Jacobian-vector product: the derivatives of plan and potentials along a direction of the inputs."""
    point = point_at(solved)
    moved, f, g = pushed(point, direction)
    if point.problem.amount is None:
        return Tangents(point.oriented(moved.plan), f, g)
    refuse_price(point)
    plan, mass = moved.plan.copy(), float(moved.rows.sum())
    moved, by_price = _push_price(point)
    share = -mass / float(moved.rows.sum())
    f, g = (np.where(np.isfinite(x), x + share * (y + 0.5), x) for x, y in ((f, by_price[0]), (g, by_price[1])))
    return Tangents(point.oriented(plan + share * moved.plan), f, g)


def _push_price(point: Point) -> tuple[Moved, tuple[Vector, Vector]]:
    """What follows a unit of the price, which lowers all costs."""
    cost = library_of(point.plan).full(point.problem.shape, -1.0)
    moved, f, g = pushed(point, Direction(cost=cost))
    return moved, (f, g)


def refuse_price(point: Point) -> None:
    """Refuse derivatives of a plan of given mass between points, whose price follows all costs."""
    if isinstance(point, CloudPoint):
        raise ValueError(
            "derivatives through a plan of given mass need a cost matrix; pass PointCloud.block(...) as an array"
        )


def _slope(carried: Gradients) -> float:
    """The derivative of the mass in the costs, all together."""
    return float(carried._matrix.sum())


def parts_of(found: Gradients) -> tuple[Any, ...]:
    """The fields of gradients, to be added one by one."""
    return found.cost, found.a, found.b, found.epsilon, found.rows, found.cols


def pushed(point: Point, direction: Direction) -> tuple[Moved, Vector, Vector]:
    """The change of the plan and those of the potentials."""
    optimum, epsilon, step = point.optimum, point.problem.epsilon, direction.step(point.problem)
    wanted = optimum.demand_steps(step)
    _check_masses(optimum, *wanted)
    held, bar = optimum.held(step), point.bar_of(direction)
    moved = point.tangent(*held, bar, -step.epsilon)
    x, y = point.solve(epsilon * (wanted[0] - moved.rows), epsilon * (wanted[1] - moved.cols))
    moved = point.tangent(held[0] + x, held[1] + y, bar, -step.epsilon)
    return moved, *optimum.potential_steps(step, x, y)


def _check_masses(optimum: Optimum, rows: Vector, cols: Vector) -> None:
    total = float(np.abs(rows).sum() + np.abs(cols).sum())
    if optimum.rigid.all() and abs(float(rows.sum() - cols.sum())) > 1e-6 * total:
        raise ValueError(
            f"along this direction the rows' mass changes by {rows.sum():g} and the columns' by {cols.sum():g}; both "
            f"are fixed, so a and b must change by the same mass"
        )
