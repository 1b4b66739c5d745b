"""Derivatives of the optimal value, by the envelope theorem, and its Hessian times a direction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..arrays.devices import library_of
from ..problems.penalties import Fixed
from ..solvers.found import Found
from .at import point_at
from .implicit import parts_of, pushed, refuse_price
from .point import Point
from .records import Direction, Gradients


def value_gradients(solved: Found) -> Gradients:
    """Return derivatives of the optimal value, by the envelope theorem: only what stands in the objective counts."""
    point = point_at(solved)
    problem, rows, cols = point.problem, point.optimum.rows, point.optimum.cols
    f, g = point.optimum.rows.potential, point.optimum.cols.potential
    exponents, carried, by_rows = problem.ranks.totals(
        float(f @ rows.marginal), float(rows.marginal.sum()), float(rows.value_by_strength())
    )
    exponents += float(g @ cols.marginal) - point.transport_cost() + problem.price * carried
    entropy = exponents / problem.epsilon - carried + problem.reference_mass
    a, b = rows.dual_by_weight(), cols.dual_by_weight()
    if problem.offset:  # belongs to a fixed side
        taken = (problem.offset, 0.0) if isinstance(problem.rows, Fixed) else (0.0, problem.offset)
        a, b = (np.where(side.used, x + y, 0.0) for side, x, y in zip((rows, cols), (a, b), taken, strict=True))
    if point.optimum.product:
        allowed_b, allowed_a = problem.partners
        a += problem.epsilon * (np.where(rows.used, allowed_b, 0.0) - rows.over_weights(rows.marginal))
        b += problem.epsilon * (np.where(cols.used, allowed_a, 0.0) - cols.over_weights(cols.marginal))
    by_cols = float(cols.value_by_strength())
    return Gradients(a=a, b=b, epsilon=entropy, rows=by_rows, cols=by_cols, **point.value_slopes())


def push_value_gradients(solved: Found, direction: Direction) -> Gradients:
    """The derivative of `value_gradients` along a direction: the Hessian of the optimal value times that."""
    point = point_at(solved)
    found, mass = _push_gradients(point, direction)
    if point.problem.amount is None:
        return found
    refuse_price(point)
    found = replace(found, cost=found._matrix.copy())
    lower = Direction(cost=library_of(point.plan).full(point.problem.shape, -1.0))
    by_price, carried = _push_gradients(point, lower)
    share = mass / carried
    return Gradients(*(x - share * y for x, y in zip(parts_of(found), parts_of(by_price), strict=True)))


def _push_gradients(point: Point, direction: Direction) -> tuple[Gradients, float]:
    """At a held price, and the change of the mass."""
    problem, rows, cols = point.problem, point.optimum.rows, point.optimum.cols
    epsilon, step = problem.epsilon, direction.step(problem)
    moved, f, g = pushed(point, direction)
    a = rows.dual_by_weight_step(f, step.a, step.rows)
    b = cols.dual_by_weight_step(g, step.b, step.cols)
    entropy = moved.dot
    if point.optimum.product:
        share_a, share_b = rows.over_weights(rows.marginal), cols.over_weights(cols.marginal)
        allowed_b, allowed_a = problem.partners
        step_b, step_a = problem.partners_of(step.a, step.b)
        a += step.epsilon * (np.where(rows.used, allowed_b, 0.0) - share_a)
        b += step.epsilon * (np.where(cols.used, allowed_a, 0.0) - share_b)
        a += epsilon * (np.where(rows.used, step_b, 0.0) - rows.over_weights(moved.rows - share_a * step.a))
        b += epsilon * (np.where(cols.used, step_a, 0.0) - cols.over_weights(moved.cols - share_b * step.b))
        entropy += float(step.a @ (allowed_b - share_a) + step.b @ (allowed_a - share_b))
    found = Gradients(
        **point.slopes_step(moved.plan, direction),
        a=a,
        b=b,
        epsilon=entropy,
        rows=float(rows.value_by_strength_step(moved.rows, step.a)),
        cols=float(cols.value_by_strength_step(moved.cols, step.b)),
    )
    return found, float(moved.rows.sum())
