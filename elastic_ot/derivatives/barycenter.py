"""Derivatives of a barycenter: of the optimal value by the envelope theorem, of its masses b by one linear system.

At the optimum P_k 1 = demand(f_k), P_k^T 1 = b and sum_k w_k g_k = 0, where P_k = a_k exp((f_k + g_k - C_k) / epsilon).
For every transport these are the conditions of `implicit` with b for the columns' demand, so its matrices A_k and
multipliers (x_k, y_k) serve here, too.

Reverse mode. With L = L(b): A_k (x_k; y_k) = (0; w_k h) for one h and sum_k y_k = -dL/db. Then dL/dw_k = <h, g_k>, and
derivatives in the costs and the measures are those of `implicit` with these multipliers.

Forward mode. With T_k the change of plan k at held potentials and t_k that of its rows' demand,
A_k (df_k; dg_k) = (t_k - T_k 1; db - T_k^T 1) and sum_k w_k dg_k = -sum_k dw_k g_k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cached import cached_property
from ..problems.common import CommonProblem
from ..problems.penalty import Vector
from ..results import one_line
from ..solvers.found import Found
from .at import point_at
from .cloud import CloudPoint
from .common_system import CommonSystem
from .linear_system import LinearSystem
from .point import Moved, Point
from .records import Direction, Gradients
from .value import push_value_gradients, value_gradients

SAME_CHANGE = 1e-6  # of what all masses change by together, up to which they change alike


@dataclass(frozen=True, eq=False)
class BarycenterGradients:
    """Derivatives of a function of a barycenter in its inputs: NumPy, float64.

    Attributes
    ----------
    measures : list of ndarray, shapes (n_k,)
        In the weights of every measure, 0 where they are 0. With `Fixed` rows, or others that hold every mass, all
        masses move together, and a constant may pass from one measure to another.
    weights : ndarray, shape (K,)
        In the weights w, as if their sum were free: those of the optimal value are the values of the transports.
    epsilon : float
        At held strengths rho, also where `Elastic` was asked for.
    rows : float
        In the strength rho of the rows' penalty, 0 if it has none.
    costs : list of (ndarray, shape (n_k, m), or None)
        In the costs, each by itself, also where one was given for all: those of the optimal value are w_k P_k. None
        for costs that are not stored.
    x, y : list of (ndarray, shapes (n_k, d) and (m, d), or None)
        In the points of every `PointCloud`, each by itself.
    """

    measures: list[Vector]
    weights: Vector
    epsilon: float
    rows: float = 0.0
    costs: list[NDArray[np.float64] | None] = field(default_factory=list)
    x: list[NDArray[np.float64] | None] = field(default_factory=list)
    y: list[NDArray[np.float64] | None] = field(default_factory=list)

    __repr__ = one_line


@dataclass(frozen=True, eq=False)
class CommonDirection:
    """A direction of the inputs: of every transport (`Direction` without b), and of the weights w."""

    parts: Sequence[Direction]
    weights: Vector


class CommonPoint:
    """A barycenter and its transports, for derivatives.

    Parameters
    ----------
    problem : CommonProblem
    parts : sequence of Found
        The transports to the barycenter, whose references are a_k b^T.
    with_epsilon : bool
        False leaves out the derivative in epsilon, which of a `Grid` takes a pass over all entries.
    """

    def __init__(self, problem: CommonProblem, parts: Sequence[Found], with_epsilon: bool = True) -> None:
        self.problem, self.parts, self.with_epsilon = problem, parts, with_epsilon
        self.weights, self.b = problem.weights, parts[0].problem.b
        self.on = self.b > 0
        self.log_b = np.log(self.b, out=np.zeros_like(self.b), where=self.on)
        self.potentials = np.array([np.where(self.on, part.g, 0.0) for part in parts]) + problem.epsilon * self.log_b
        """g of every measure, for the reference a_k 1^T; 0 where b is."""

    @cached_property
    def points(self) -> list[Point]:
        """The transports."""
        return [point_at(part) for part in self.parts]

    @cached_property
    def systems(self) -> list[LinearSystem]:
        """Their matrices."""
        return [x.system if x.problem.cost.stored else x.operator_system for x in self.points]

    @cached_property
    def system(self) -> CommonSystem:
        """What all derivatives of b solve: of the transports that have a weight."""
        counted = self.weights > 0
        return CommonSystem([x for x, on in zip(self.systems, counted, strict=True) if on], self.weights[counted])

    def pull_back(self, bar: Vector) -> BarycenterGradients:
        """Return derivatives of L from dL/db."""
        bar, counted, found = np.where(self.on, bar, 0.0), self.weights > 0, []
        solved = self.system.solve(np.zeros((int(counted.sum()), bar.size)), -bar)
        steps = np.zeros((counted.size, bar.size))
        steps[counted] = self.weights[counted, None] * solved.steps
        for point, system, y in zip(self.points, self.systems, steps, strict=True):
            x = -system.inverse * system.times(y, False)
            found.append(self._pulled(point, x, y))
        return self._gathered(found, self.potentials @ solved.multiplier / self.problem.epsilon)

    def _pulled(self, point: Point, x: Vector, y: Vector) -> Gradients:
        """Derivatives in the inputs of one transport from its multipliers."""
        moved, optimum = self._moved(point, x, y), point.optimum
        bars = np.zeros_like(x), np.zeros_like(y), np.zeros_like(y)
        a, b, rows, _ = optimum.pull(x, y, bars, -moved.rows, -moved.cols)
        bare = isinstance(moved, _Sums)
        slopes: dict[str, Any] = {"cost": None} if bare else point.slopes(moved.plan)
        slopes = {name: None if z is None else np.array(z) for name, z in slopes.items()}  # the next one overwrites it
        by_epsilon = moved.dot + float(moved.cols @ self.log_b)
        return Gradients(a=a, b=b, epsilon=by_epsilon, rows=float(rows), cols=0.0, **slopes)

    def _moved(self, point: Point, x: Vector, y: Vector) -> Moved:
        """P * (x 1^T + 1 y^T) / epsilon; without the plan where nothing has derivatives in its costs."""
        if point.problem.cost.stored or isinstance(point, CloudPoint):
            return point.tangent(x, y, None)
        optimum, epsilon, system = point.optimum, point.problem.epsilon, point.operator_system
        rows = (x * optimum.rows.marginal + system.times(y, False)) / epsilon
        cols = (y * optimum.cols.marginal + system.times(x, True)) / epsilon
        dot = 0.0
        if self.with_epsilon:
            for part, plan, logs in point.plans():
                dot += float(np.einsum("ij,ij,ij->", plan, logs, x[part, None] + y)) / epsilon
        return _Sums(np.empty((0, 0)), rows, cols, dot)

    def push_forward(self, direction: CommonDirection) -> Vector:
        """Return the derivative of b along a direction."""
        epsilon, sides, masses = self.problem.epsilon, np.zeros_like(self.potentials), np.zeros((2, self.weights.size))
        for k, (point, system) in enumerate(zip(self.points, self.systems, strict=True)):
            step = direction.parts[k].step(point.problem)
            wanted, _ = point.optimum.demand_steps(step)
            rows, cols = self._held(point, point.optimum.held(step)[0], direction.parts[k], step.epsilon)
            masses[:, k] = wanted.sum(), np.abs(wanted).sum()
            sides[k] = -epsilon * cols - system.times(system.inverse * epsilon * (wanted - rows), True)
        counted = self.weights > 0
        if self.system.rigid:
            _refuse_parted(*masses[:, counted])
        solved = self.system.solve(sides[counted], -direction.weights @ self.potentials)
        found: Vector = solved.multiplier / epsilon
        return found

    def _held(self, point: Point, held: Vector, direction: Direction, slope: float) -> tuple[Vector, Vector]:
        """What the plan's marginals change by at held potentials."""
        bar, of_cols = point.bar_of(direction), -slope * self.log_b
        if slope or bar is not None:
            moved = point.tangent(held, of_cols, bar, -slope)
        else:
            moved = self._moved(point, held, of_cols)
        return moved.rows.copy(), moved.cols.copy()

    def value_gradients(self, values: Vector) -> BarycenterGradients:
        """Return derivatives of the optimal value; `values` are those of the transports, which is what w counts."""
        found = [_scaled(self._of_value(k), w) for k, w in enumerate(self.weights)]
        return self._gathered(found, values)

    def push_value_gradients(self, direction: CommonDirection) -> BarycenterGradients:
        """Return the derivative of `value_gradients` along a direction: the Hessian times that.

        The value is the least mean of the transports' over b, so b moves as `push_forward` says, and every transport
        changes as it does when its inputs and b move.
        """
        step, found = self.push_forward(direction), []
        values, excess = np.zeros(self.weights.size), 0.0
        for k, (w, dw) in enumerate(zip(self.weights, direction.weights, strict=True)):
            slopes, own = self._of_value(k), direction.parts[k]
            turned, by_b = self._turned(k, own, step)
            values[k] = _along(slopes, own) + float(self.potentials[k] @ step)
            excess += float(self.b @ (w * by_b + dw * self.potentials[k]))
            found.append(_sum(_scaled(turned, w), _scaled(slopes, dw)))
        if self.system.rigid:  # every transport has a gauge of its own; that of all is sum_k w_k g_k = 0
            shift = excess / float(self.b.sum())
            pairs = zip(found, self.weights, self.parts, strict=True)
            found = [replace(x, a=x.a + w * shift * part.problem.row_used) for x, w, part in pairs]
        return self._gathered(found, values)

    def _of_value(self, k: int) -> Gradients:
        """Those of the optimal value of transport k with the reference a_k 1^T, from those with a_k b^T."""
        part, own, found = self.parts[k].problem, self.problem.parts[k], value_gradients(self.parts[k])
        a = found.a + part.epsilon * np.where(part.row_used, own.partners[0] - part.partners[0], 0.0)
        constant = float(self.b @ self.log_b) + own.reference_mass - part.reference_mass
        return replace(found, a=a, epsilon=found.epsilon + constant)

    def _turned(self, k: int, direction: Direction, step: Vector) -> tuple[Gradients, Vector]:
        """How `_of_value` changes along a direction of its inputs and of b, and how the derivative in b does."""
        part, own, epsilon = self.parts[k].problem, self.problem.parts[k], self.problem.epsilon
        found = push_value_gradients(self.parts[k], replace(direction, b=step))
        da, deps = direction.step(part).a, direction.epsilon
        (by_count, _), (by_rows, by_cols) = own.partners, part.partners
        rows, cols = part.partners_of(da, step)
        a = found.a + np.where(part.row_used, deps * (by_count - by_rows) - epsilon * rows, 0.0)
        entropy = float((self.log_b + self.on) @ step) + float((by_count - by_rows) @ da) - float(by_cols @ step)
        share = np.divide(step, self.b, out=np.zeros_like(step), where=self.on)
        by_b = found.b + deps * (self.log_b + 1.0 - by_cols) + epsilon * (share - cols)
        return replace(found, a=a, epsilon=found.epsilon + entropy), np.where(self.on, by_b, 0.0)

    def _gathered(self, found: Sequence[Gradients], weights: Vector) -> BarycenterGradients:
        return BarycenterGradients(
            measures=[x.a for x in found],
            weights=weights,
            epsilon=float(sum(x.epsilon for x in found)),
            rows=float(sum(x.rows for x in found)),
            costs=[x.cost for x in found],
            x=[x.x for x in found],
            y=[x.y for x in found],
        )


class _Sums(Moved):
    """A `Moved` without the plan."""


def _refuse_parted(masses: Vector, sizes: Vector) -> None:
    off = np.abs(masses - masses[0])
    if off.max() > SAME_CHANGE * sizes.sum():
        k = int(off.argmax())
        raise ValueError(
            f"along this direction the mass of measure {k} changes by {masses[k]:g} and that of another by "
            f"{masses[0]:g}; these rows hold every mass, and a barycenter has one: change all by the same"
        )


OF_GRADIENTS = ("cost", "a", "b", "epsilon", "rows", "cols", "x", "y")


def _scaled(found: Gradients, by: float) -> Gradients:
    scaled: dict[str, Any] = {name: None if (x := getattr(found, name)) is None else by * x for name in OF_GRADIENTS}
    return Gradients(**scaled)


def _sum(one: Gradients, other: Gradients) -> Gradients:
    pairs = ((name, getattr(one, name), getattr(other, name)) for name in OF_GRADIENTS)
    summed: dict[str, Any] = {name: None if x is None else x + y for name, x, y in pairs}
    return Gradients(**summed)


def _along(slopes: Gradients, direction: Direction) -> float:
    """What a function with these derivatives changes by along a direction."""
    pairs = ((getattr(slopes, name), getattr(direction, name)) for name in OF_GRADIENTS)
    return sum(float(np.sum(x * step)) for x, step in pairs if x is not None and step is not None)
