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

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import plans
from .errors import ConvergenceWarning
from .implicit import LinearSystem
from .memory import library_of, on_host
from .optimum import Optimum, Side, Step
from .penalties import Fixed, Vector
from .problem import Problem

if TYPE_CHECKING:
    from .result import Solution

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gradients:
    """Derivatives in the inputs of a solve, 0 for removed rows, columns and cells.

    Attributes
    ----------
    cost : ndarray, shape (n, m)
        Of CuPy if the cost lies on a device.
    a, b : ndarray, shapes (n,) and (m,)
        With two `Fixed` sides the sums of a and b move together; gradients are those of the potentials' gauge.
    epsilon : float
        At held strengths rho, also where `Elastic` was asked for.
    rows, cols : float
        In the strength rho of the penalty; 0 where it has none.
    """

    cost: Matrix
    a: Vector
    b: Vector
    epsilon: float
    rows: float
    cols: float


@dataclass(frozen=True, eq=False)
class Tangents:
    """Derivatives of a solution along a direction of its inputs, 0 for removed rows, columns and cells.

    Attributes
    ----------
    plan : ndarray, shape (n, m)
        Of CuPy if the cost lies on a device.
    f, g : ndarray, shapes (n,) and (m,)
    """

    plan: Matrix
    f: Vector
    g: Vector


@dataclass(frozen=True, eq=False)
class Direction:
    """Of the inputs; None is 0."""

    cost: Matrix | None = None
    a: Vector | None = None
    b: Vector | None = None
    epsilon: float = 0.0
    rows: float = 0.0
    cols: float = 0.0

    def step(self, problem: Problem) -> Step:
        """What is not n x m, on the rows and columns in use."""
        a, b = (np.zeros(size) if x is None else x for x, size in zip((self.a, self.b), problem.shape, strict=True))
        a, b = np.where(problem.row_used, a, 0.0), np.where(problem.col_used, b, 0.0)
        return Step(a, b, self.epsilon, self.rows, self.cols)


def value_gradients(solution: Solution) -> Gradients:
    """Of the optimal value, by the envelope theorem: only what stands in the objective."""
    _warn_unconverged(solution)
    point = Point(solution)
    problem, rows, cols = point.problem, point.optimum.rows, point.optimum.cols
    f, g = point.optimum.rows.potential, point.optimum.cols.potential
    exponents = float(f @ rows.marginal + g @ cols.marginal) - plans.transport_cost(solution)
    exponents += problem.price * float(rows.marginal.sum())
    entropy = exponents / problem.epsilon - float(rows.marginal.sum()) + problem.reference_mass
    a, b = rows.dual_by_weight(), cols.dual_by_weight()
    if problem.offset:  # belongs to a fixed side
        taken = (problem.offset, 0.0) if isinstance(problem.rows, Fixed) else (0.0, problem.offset)
        a, b = (np.where(side.used, x + y, 0.0) for side, x, y in zip((rows, cols), (a, b), taken, strict=True))
    if point.optimum.product:
        allowed_b, allowed_a = point.allowed_sums(problem.a, problem.b)
        a += problem.epsilon * (np.where(rows.used, allowed_b, 0.0) - rows.over_weights(rows.marginal))
        b += problem.epsilon * (np.where(cols.used, allowed_a, 0.0) - cols.over_weights(cols.marginal))
    strengths = float(rows.value_by_strength()), float(cols.value_by_strength())
    return Gradients(point.oriented(point.plan), a, b, entropy, *strengths)


def pull_back(solution: Solution, plan: Matrix | None, f: Vector | None, g: Vector | None) -> Gradients:
    """Vector-Jacobian product: from dL/dP, dL/df and dL/dg to the derivatives of L in the inputs."""
    _warn_unconverged(solution)
    point = Point(solution)
    found = _pull(point, plan, f, g)
    if point.problem.amount is None:
        return found
    # the price keeps the mass: what it follows
    found = replace(found, cost=found.cost.copy())
    carried = _pull(point, library_of(found.cost).ones_like(found.cost), None, None)
    bars = (f, solution.host.f), (g, solution.host.g)
    halves = sum(0.5 * float(x[np.isfinite(y)].sum()) for x, y in bars if x is not None)
    share = (float(found.cost.sum()) - halves) / _slope(carried)
    return Gradients(*(x - share * y for x, y in zip(_parts(found), _parts(carried), strict=True)))


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
    return Gradients(point.oriented(moved.plan), a, b, moved.dot, float(rows), float(cols))


def push_forward(solution: Solution, direction: Direction) -> Tangents:
    """Jacobian-vector product: the derivatives of plan and potentials along a direction of the inputs."""
    _warn_unconverged(solution)
    point = Point(solution)
    moved, f, g = _push(point, direction)
    if point.problem.amount is None:
        return Tangents(point.oriented(moved.plan), f, g)
    plan, mass = moved.plan.copy(), float(moved.rows.sum())
    moved, by_price = _push_price(point)
    share = -mass / float(moved.rows.sum())
    f, g = (np.where(np.isfinite(x), x + share * (y + 0.5), x) for x, y in ((f, by_price[0]), (g, by_price[1])))
    return Tangents(point.oriented(plan + share * moved.plan), f, g)


def _push_price(point: Point) -> tuple[Moved, tuple[Vector, Vector]]:
    """What follows a unit of the price, which lowers all costs."""
    cost = library_of(point.plan).full(point.problem.shape, -1.0)
    moved, f, g = _push(point, Direction(cost=cost))
    return moved, (f, g)


def _slope(carried: Gradients) -> float:
    """The derivative of the mass in the costs, all together."""
    return float(carried.cost.sum())


def _parts(found: Gradients) -> tuple[Any, ...]:
    return found.cost, found.a, found.b, found.epsilon, found.rows, found.cols


def push_value_gradients(solution: Solution, direction: Direction) -> Gradients:
    """The derivative of `value_gradients` along a direction: the Hessian of the optimal value times that."""
    _warn_unconverged(solution)
    point = Point(solution)
    found, mass = _push_gradients(point, direction)
    if point.problem.amount is None:
        return found
    found = replace(found, cost=found.cost.copy())
    lower = Direction(cost=library_of(point.plan).full(point.problem.shape, -1.0))
    by_price, carried = _push_gradients(point, lower)
    share = mass / carried
    return Gradients(*(x - share * y for x, y in zip(_parts(found), _parts(by_price), strict=True)))


def _push_gradients(point: Point, direction: Direction) -> tuple[Gradients, float]:
    """At a held price, and the change of the mass."""
    problem, rows, cols = point.problem, point.optimum.rows, point.optimum.cols
    epsilon, step = problem.epsilon, direction.step(problem)
    moved, f, g = _push(point, direction)
    a = rows.dual_by_weight_step(f, step.a, step.rows)
    b = cols.dual_by_weight_step(g, step.b, step.cols)
    entropy = moved.dot
    if point.optimum.product:
        share_a, share_b = rows.over_weights(rows.marginal), cols.over_weights(cols.marginal)
        allowed_b, allowed_a = point.allowed_sums(problem.a, problem.b)
        step_b, step_a = point.allowed_sums(step.a, step.b)
        a += step.epsilon * (np.where(rows.used, allowed_b, 0.0) - share_a)
        b += step.epsilon * (np.where(cols.used, allowed_a, 0.0) - share_b)
        a += epsilon * (np.where(rows.used, step_b, 0.0) - rows.over_weights(moved.rows - share_a * step.a))
        b += epsilon * (np.where(cols.used, step_a, 0.0) - cols.over_weights(moved.cols - share_b * step.b))
        entropy += float(step.a @ (allowed_b - share_a) + step.b @ (allowed_a - share_b))
    found = Gradients(
        cost=point.oriented(moved.plan),
        a=a,
        b=b,
        epsilon=entropy,
        rows=float(rows.value_by_strength_step(moved.rows, step.a)),
        cols=float(cols.value_by_strength_step(moved.cols, step.b)),
    )
    return found, float(moved.rows.sum())


def _push(point: Point, direction: Direction) -> tuple[Moved, Vector, Vector]:
    """The change of the plan and those of the potentials."""
    optimum, epsilon, step = point.optimum, point.problem.epsilon, direction.step(point.problem)
    wanted = optimum.demand_steps(step)
    _check_masses(optimum, *wanted)
    held = optimum.held(step)
    moved = point.tangent(*held, direction.cost, -step.epsilon)
    x, y = point.solve(epsilon * (wanted[0] - moved.rows), epsilon * (wanted[1] - moved.cols))
    moved = point.tangent(held[0] + x, held[1] + y, direction.cost, -step.epsilon)
    return moved, *optimum.potential_steps(step, x, y)


def _check_masses(optimum: Optimum, rows: Vector, cols: Vector) -> None:
    total = float(np.abs(rows).sum() + np.abs(cols).sum())
    if optimum.rigid.all() and abs(float(rows.sum() - cols.sum())) > 1e-6 * total:
        raise ValueError(
            f"along this direction the rows' mass changes by {rows.sum():g} and the columns' by {cols.sum():g}; both "
            f"are fixed, so a and b must change by the same mass"
        )


@dataclass(frozen=True, eq=False)
class Moved:
    """A change of the plan as kernels store it, its sums in the user's orientation, and <change, log(P / R)>."""

    plan: Matrix
    rows: Vector
    cols: Vector
    dot: float


class Point:
    """A solution, with its plan in float64 and as kernels store it."""

    def __init__(self, solution: Solution) -> None:
        self.view, self.problem = plans.View(solution), solution.problem
        self.plan: Matrix = self.view.matrix(np.float64)
        self.view.plan(self.plan)
        r, c = self._swapped(on_host(self.plan.sum(axis=1)), on_host(self.plan.sum(axis=0)))
        problem, host = self.problem, solution.host
        self.optimum = Optimum(
            Side(problem.rows, problem.a, problem.row_used, host.f, r, problem.epsilon),
            Side(problem.cols, problem.b, problem.col_used, host.g, c, problem.epsilon),
            problem.epsilon,
            problem.reference == "product",
        )

    def _swapped(self, rows: Vector, cols: Vector) -> tuple[Vector, Vector]:
        """Between the orientation of kernels and the user's."""
        return (cols, rows) if self.view.swapped else (rows, cols)

    def oriented(self, matrix: Matrix) -> Matrix:
        """The same for a matrix."""
        return plans.oriented(self.view, matrix)

    @cached_property
    def _logs(self) -> tuple[Vector, Vector]:
        """Those of the reference, in the orientation of kernels; 0 where a row or column is removed."""
        if not self.optimum.product:
            return np.zeros(self.plan.shape[0]), np.zeros(self.plan.shape[1])
        return self._swapped(np.log(self.optimum.rows.weights), np.log(self.optimum.cols.weights))

    @cached_property
    def _out(self) -> Matrix:
        return self.view.matrix(np.float64)

    def tangent(self, x: Vector, y: Vector, bar: Matrix | None, slope: float = 0.0) -> Moved:
        """P * (x 1^T + 1 y^T + slope log(P / R) - bar) / epsilon, which the next call overwrites."""
        view, out = self.view, self._out
        x, y = self._swapped(x, y)
        xp = library_of(out)
        bar = xp.zeros_like(out) if bar is None else xp.ascontiguousarray(self.oriented(bar))
        row_log, col_log = self._logs
        rows, cols, dots = np.empty_like(x), np.empty_like(y), np.empty_like(x)
        cost, inv_epsilon, alpha, beta = view.kernel
        alpha = alpha + np.log(view.problem.mass)
        x, y = x - slope * row_log, y - slope * col_log
        view.task.backend.plan_tangent(cost, inv_epsilon, alpha, beta, bar, x, y, slope, out, rows, cols, dots)
        dot = float(dots.sum() - rows @ row_log - cols @ col_log)
        return Moved(out, *self._swapped(rows, cols), dot)

    def allowed_sums(self, a: Vector, b: Vector) -> tuple[Vector, Vector]:
        """Sums of b over the allowed columns of every row, and of a over the allowed rows of every column."""
        a, b = np.where(self.problem.row_used, a, 0.0), np.where(self.problem.col_used, b, 0.0)
        if not self.problem.cost.masked:
            return np.full_like(a, b.sum()), np.full_like(b, a.sum())
        return self.problem.cost.allowed_sums(b), self.problem.cost.allowed_sums_of_columns(a)

    def solve(self, row_side: Vector, col_side: Vector) -> tuple[Vector, Vector]:
        """The x and y with epsilon A (x; y) = (row_side; col_side), 0 outside of the system."""
        optimum, backend = self.optimum, self.view.task.backend
        system = LinearSystem(self.plan, *self._swapped(*optimum.diagonals), bool(optimum.rigid.all()), backend)
        return self._swapped(*system.solve(*self._swapped(row_side, col_side)))


def _warn_unconverged(solution: Solution) -> None:
    if not solution.converged:
        warnings.warn(
            f"gradients hold at the optimum, and this solution ended with residual {solution.residual:.1e}: "
            f"{solution.message}",
            ConvergenceWarning,
            stacklevel=4,
        )
