"""Derivatives in the points of a cloud: those of a cost matrix, passed on to points a strip of rows at a time.

A change of the plan is never stored: its strips are computed where they are read, for the sums over rows and columns
that the linear system asks for, and for the products with points that derivatives in these are (`costs.slopes`). With
P the plan and c the metric,

    dL/dx_i = sum_j dL/dC_ij dc(x_i, y_j)/dx_i,

where dL/dC is P for the optimal value, and as in `implicit` for a function of the plan and the potentials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..cached import cached_property
from ..costs.base import LARGEST_PLAN
from ..costs.point_cost import PointCost
from ..costs.points import PointCloud
from ..costs.points_plan import PointPlan
from ..costs.slopes import Pair, slopes_of
from ..problems.penalties import Fixed
from ..problems.penalty import Vector
from ..problems.problem import Problem
from ..solvers.found import Found
from .linear_system import LinearSystem
from .point import Moved, Point
from .records import Direction, Gradients, Matrix

SHARE = 0.01  # of the error of a solution's marginals, as small as which an error of its derivatives need not be
SINGLE_ERROR = 1e-5  # of derivatives, relative to the largest, up to which single precision serves float32 points
ROUNDED = 1e-7  # by float32, of a sum of products
UNSHOWN = 2.0  # errors of averages beside those that sums show: measured, up to 1.4 for all metrics
LEAST_SLOPE = float(np.finfo(np.float64).tiny)
Bar = Callable[[slice], Matrix]
"""Some rows of a matrix (n, m)."""


def cloud_of(problem: Problem) -> PointCloud | None:
    """Return the points that a problem's costs lie between, None if it has other costs."""
    user = getattr(problem.cost, "user", None)
    return user if isinstance(user, PointCloud) else None


def same_points(cross: Problem, within_x: Problem, within_y: Problem) -> bool:
    """Return True if all three problems lie between points, and those of two are the ones of the first."""
    between, *within = (cloud_of(problem) for problem in (cross, within_x, within_y))
    if between is None:
        return False
    return all(
        own is not None and np.array_equal(own.x, points) and np.array_equal(own.y, points)
        for own, points in zip(within, (between.x, between.y), strict=True)
    )


class Places:
    """Points and a direction of them as `Slopes` reads them."""

    def __init__(self, cloud: PointCloud, direction: Direction | None = None) -> None:
        self.slopes, self.points = slopes_of(cloud.metric), Pair(*(z.astype(np.float64) for z in (cloud.x, cloud.y)))
        self.at = Pair(*(self.slopes.settled(z) for z in self.points))
        given = (None, None) if direction is None else (direction.x, direction.y)
        steps = (np.zeros_like(z) if step is None else step for z, step in zip(self.points, given, strict=True))
        self.given = Pair(*steps)
        self.moves = any(step is not None for step in given)

    @cached_property
    def step(self) -> Pair:
        """The direction of `at`."""
        return Pair(*(self.slopes.moved(z, step) for z, step in zip(self.points, self.given, strict=True)))

    def costs(self, rows: slice) -> Matrix:
        """The change of some rows of costs."""
        return self.slopes.push(_strip(self.at, rows), _strip(self.step, rows))

    def pulled(self, strips: Iterator[tuple[slice, Matrix]]) -> Pair:
        """Derivatives in the points as `at` has them."""
        return self._summed(strips, lambda rows, w: self.slopes.pull(_strip(self.at, rows), w))

    def bent(self, strips: Iterator[tuple[slice, Matrix]]) -> Pair:
        """The change of `pulled` at held weights."""
        return self._summed(strips, lambda rows, w: self.slopes.bend(_strip(self.at, rows), _strip(self.step, rows), w))

    def returned(self, found: Pair) -> dict[str, Matrix]:
        """Derivatives in the points, by name."""
        x, y = (self.slopes.returned(z, bar) for z, bar in zip(self.points, found, strict=True))
        return {"x": x, "y": y}

    def returned_change(self, found: Pair, change: Pair) -> dict[str, Matrix]:
        """The change of `returned`, given that of what it takes."""
        parts = zip(self.points, self.given, found, change, strict=True)
        x, y = (self.slopes.bent(*part) for part in parts)
        return {"x": x, "y": y}

    def _summed(self, strips: Iterator[tuple[slice, Matrix]], one: Callable[[slice, Matrix], Pair]) -> Pair:
        out = Pair(*(np.zeros_like(z) for z in self.at))
        for rows, weights in strips:
            found = one(rows, weights)
            out.x[rows] = found.x
            out.y[:] += found.y
        return out


def _strip(pair: Pair, rows: slice) -> Pair:
    return Pair(pair.x[rows], pair.y)


@dataclass(frozen=True, eq=False)
class Change:
    """P * (x 1^T + 1 y^T + slope log(P / R) - bar) / epsilon, strip by strip."""

    point: CloudPoint
    x: Vector
    y: Vector
    bar: Bar | None
    slope: float

    def strips(self) -> Iterator[tuple[slice, Matrix]]:
        """Yield some rows at a time."""
        for rows, moved, _ in self.with_logs():
            yield rows, moved

    def with_logs(self) -> Iterator[tuple[slice, Matrix, Matrix]]:
        """Yield some rows of it, and of log(P / R)."""
        epsilon = self.point.problem.epsilon
        for rows, plan, logs in self.point.plans():
            moved = (self.x[rows] / epsilon)[:, None] + self.y / epsilon + (self.slope / epsilon) * logs
            if self.bar is not None:
                moved -= self.bar(rows) / epsilon
            moved *= plan
            yield rows, moved, logs


class CloudPoint(Point):
    """A solution between points; the plan of a `Moved` is a `Change`."""

    def __init__(self, solved: Found, cloud: PointCloud) -> None:
        super().__init__(solved)
        self.cloud = cloud

    @cached_property
    def places(self) -> Places:
        """The points."""
        return Places(self.cloud)

    def tangent(self, x: Vector, y: Vector, bar: Any, slope: float = 0.0) -> Moved:
        """`Point.tangent`; `bar` is a matrix, or a function that returns some rows of one."""
        rows_of = bar if bar is None or callable(bar) else partial(_rows_of, bar)
        change = Change(self, x, y, rows_of, slope)
        rows, cols, dot = np.zeros_like(x), np.zeros_like(y), 0.0
        for strip, moved, logs in change.with_logs():
            rows[strip] = moved.sum(axis=1)
            cols += moved.sum(axis=0)
            dot += float(np.einsum("ij,ij->", moved, logs))
        plan: Any = change
        return Moved(plan, rows, cols, dot)

    @cached_property
    def system(self) -> LinearSystem:
        """`Point.system`, by products that compute the plan where it is not stored."""
        return super().system if self.problem.cost.stored else self.operator_system

    def bar_of(self, direction: Direction) -> Bar | None:
        """`Point.bar_of`: what the costs do when the points move."""
        places = Places(self.cloud, direction)
        return places.costs if places.moves else None

    def oriented(self, matrix: Any) -> Any:
        """The change as a matrix, None if that were too large."""
        if not isinstance(matrix, Change):
            return super().oriented(matrix)
        if self.problem.cost.entries > LARGEST_PLAN:
            return None
        return np.concatenate([moved for _, moved in matrix.strips()])

    def slopes(self, change: Any) -> dict[str, Any]:
        """`Point.slopes`, in the points."""
        return {"cost": None, **self.places.returned(self.places.pulled(change.strips()))}

    def value_slopes(self) -> dict[str, Any]:
        """`Point.value_slopes`, in the points."""
        return {"cost": None, **self.places.returned(self._value_pulled)}

    def slopes_step(self, change: Any, direction: Direction) -> dict[str, Any]:
        """`Point.slopes_step`: the plan changes, and so does what the points see of it."""
        found = self.places.pulled(change.strips())
        places = Places(self.cloud, direction)
        if not places.moves:
            return {"cost": None, **self.places.returned(found)}
        bent = places.bent((rows, plan) for rows, plan, _ in self.plans())
        found = Pair(*(x + y for x, y in zip(found, bent, strict=True)))
        return {"cost": None, **places.returned_change(self._value_pulled, found)}

    @property
    def _symmetric(self) -> bool:
        """True if the plan equals its transpose, as that of a cloud to itself does in a divergence."""
        same = np.array_equal(self.solved.f, self.solved.g) and np.array_equal(self.problem.a, self.problem.b)
        return same and self.problem.cost.symmetric

    def transport_cost(self) -> float:
        """`Point.transport_cost`; what the points see of the plan holds it, so it takes no pass of its own."""
        cost = self.problem.cost
        if not isinstance(cost, PointCost):  # stored
            return super().transport_cost()
        pulled, slopes, mass = self._value_pulled, self.places.slopes, float(self.optimum.rows.marginal.sum())
        places = self.places.at
        if self.cloud.metric == "sqeuclidean":  # does not depend on the origin: near it, fewer digits cancel
            centre = 0.5 * (places.x.mean(axis=0) + places.y.mean(axis=0))
            places = Pair(*(z - centre for z in places))
        seen = sum(float(np.einsum("kd,kd->", z, bar)) for z, bar in zip(places, pulled, strict=True))
        return seen / slopes.degree + (slopes.constant - cost.offset) * mass

    @cached_property
    def _value_pulled(self) -> Pair:
        """What `Slopes.pull` makes of the plan, by one pass for either side where it is not stored."""
        if self.problem.cost.stored:
            return self.places.pulled((rows, plan) for rows, plan, _ in self.plans())
        if self.problem.cost.single:
            found, error = self._passed(fast=True)
            if error <= max(SINGLE_ERROR, SHARE * self._missed):
                return found
        return self._passed(fast=False)[0]

    @property
    def _missed(self) -> float:
        """What marginals of fixed sides are off, relative to the mass: as exact as that derivatives are at best."""
        problem, found = self.problem, self.solved
        sides = (problem.rows, problem.a, found.row_marginal), (problem.cols, problem.b, found.col_marginal)
        off = (np.abs(marginal - weights).sum() for side, weights, marginal in sides if isinstance(side, Fixed))
        return float(sum(off)) / problem.mass

    def _passed(self, fast: bool) -> tuple[Pair, float]:
        """`_value_pulled` by passes over the plan, and an estimate of its error, relative to the largest of a side.

        Sums of rounded entries, which a pass gives as well, differ from the marginals by about what other averages over
        the same entries are wrong by, but for the size of what is averaged.
        """
        marginals = self.optimum.rows.marginal, self.optimum.cols.marginal
        (x, y), error = self.places.at, 0.0
        found: list[Matrix] = []
        if self.cloud.metric == "sqeuclidean":  # does not depend on the origin: near it, fewer digits cancel
            centre = 0.5 * (x.mean(axis=0) + y.mean(axis=0))
            x, y = x - centre, y - centre
        for own, other, marginal in zip((x, y), (y, x), marginals, strict=True):
            pulled, sums, size = self._side(own, other, bool(found), fast)
            wrong = UNSHOWN * size * float((np.abs(sums - marginal) + ROUNDED * marginal).max())
            error = max(error, wrong / (_largest(pulled) or LEAST_SLOPE))
            found.append(pulled)
            if self._symmetric:
                found.append(pulled.copy())
                break
        return Pair(*found), error

    def _side(self, own: Matrix, other: Matrix, transpose: bool, fast: bool) -> tuple[Matrix, Vector, float]:
        """Derivatives in the points of one side, sums of the plan, and how large what it averages may be."""
        plan, metric, potentials = self.view.task.plan, self.cloud.metric, self._potentials
        out = np.empty((own.shape[0], own.shape[1] + 1))
        means, sums = out[:, :-1], out[:, -1]
        if metric in ("euclidean", "cityblock"):
            assert isinstance(plan, PointPlan)
            plan.slopes(*potentials, transpose, out, fast)
            return means, sums, 1.0
        plan.products(*potentials, fast)(np.column_stack([other, np.ones(other.shape[0])]), transpose, out)
        if metric == "sqeuclidean":
            return 2.0 * (sums[:, None] * own - means), sums, 2.0 * (_largest(own) + _largest(other))
        return -means, sums, _largest(other)

    @property
    def _potentials(self) -> tuple[Vector, Vector]:
        """Those of the plan in the user's units of mass."""
        return self.view.alpha + np.log(self.view.problem.mass), self.view.beta


def _largest(x: Matrix) -> float:
    return float(np.abs(x).max())


def _rows_of(matrix: Matrix, rows: slice) -> Matrix:
    return matrix[rows]


def in_points(cloud: PointCloud, found: Gradients) -> Gradients:
    """Return derivatives in the points in place of those in the costs between them."""
    places, whole = Places(cloud), slice(0, cloud.shape[0])
    slopes: dict[str, Any] = {"cost": None, **places.returned(places.pulled(iter([(whole, found._matrix)])))}
    return replace(found, **slopes)


def in_costs(cloud: PointCloud, direction: Direction) -> Direction:
    """Return the direction with the costs that follow the points."""
    places = Places(cloud, direction)
    if not places.moves:
        return direction
    return replace(direction, cost=places.costs(slice(0, cloud.shape[0])), x=None, y=None)
