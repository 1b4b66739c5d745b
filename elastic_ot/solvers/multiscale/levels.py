"""The problems that lead from few points at a large epsilon to the one that was asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...cached import cached_property
from ...costs.ordered_points import between
from ...costs.point_cost import PointCost
from ...problems.penalty import Vector
from ...problems.problem import Problem
from ...problems.scaled import Task, make_task
from .pyramid import Bounds, Pyramid, Side, whole

FACTOR = 4.0  # from the epsilon of one level to that of the next
CELL_RADIUS = 0.1  # mean squared radius of a cell, in squared blurs: potentials are affine over a cell all the more
SLOPE_RADIUS = 1.0  # mean squared radius times that of slopes: points of a cell must prefer the same partners
FIRST_RANGE = 0.3  # of the costs, the first epsilon at least


@dataclass(frozen=True, eq=False)
class Level:
    """A problem between cells, or on target between points."""

    rows: Side
    cols: Side
    task: Task
    last: bool

    @property
    def epsilon(self) -> float:
        return self.task.problem.epsilon


class Levels:
    """All levels of a problem whose points stand in order."""

    def __init__(self, task: Task) -> None:
        problem = task.problem
        assert isinstance(problem.cost, PointCost)
        self.task, self.cost = task, problem.cost
        span, epsilon = problem.cost.highest - problem.cost.lowest, problem.epsilon
        steps = max(0, int(np.ceil(np.log(max(FIRST_RANGE * span / epsilon, 1.0)) / np.log(FACTOR))))
        self.epsilons = [epsilon * FACTOR**k for k in range(steps, -1, -1)]

    @cached_property
    def pyramids(self) -> tuple[Pyramid, Pyramid]:
        """Those of rows and columns; a warm start needs none."""
        x, y = self.cost.points
        return Pyramid(x, self.task.problem.a), Pyramid(y, self.task.problem.b)

    @property
    def count(self) -> int:
        """One for every epsilon, and the last one with all points."""
        return len(self.epsilons) + 1

    def level(self, k: int, above: Level | None = None, spreads: tuple[Vector, Vector] | None = None) -> Level:
        """Return level k, 0 being the coarsest; `spreads` are those of the slopes where the level above ended."""
        if k == self.count - 1:
            (x, y), problem = self.cost.points, self.task.problem
            return Level(whole(x, problem.a), whole(y, problem.b), self.task, last=True)
        epsilon = self.epsilons[k]
        length = epsilon if self.cost.metric == "sqeuclidean" else epsilon**2
        radius = CELL_RADIUS * length
        bounds: list[Bounds | None] = [None, None]
        if above is not None and spreads is not None:
            bounds = [
                _bounds(side, count, spread, SLOPE_RADIUS * epsilon * above.epsilon, radius)
                for side, count, spread in zip((above.rows, above.cols), self.cost.shape, spreads, strict=True)
            ]
        rows, cols = (pyramid.cut(radius, within) for pyramid, within in zip(self.pyramids, bounds, strict=True))
        return Level(rows, cols, _task_between(self.task.problem, self.cost, rows, cols, epsilon), last=False)


def _bounds(side: Side, count: int, spread: Vector, most: float, radius: float) -> Bounds | None:
    """Bounds on radii, so that radius and spread multiply to `most`; None where all cells of `radius` keep them."""
    if not (spread * radius > most).any():
        return None
    allowed = np.divide(most, spread, out=np.full_like(spread, np.inf), where=spread > 0)
    return Bounds(side, allowed, count)


def _task_between(problem: Problem, cost: PointCost, rows: Side, cols: Side, epsilon: float) -> Task:
    found = between(cost, rows.points, cols.points)
    coarse = replace(problem, cost=found, a=rows.weights, b=cols.weights, epsilon=epsilon)
    task = make_task(coarse)
    if problem.reference == "product":
        return task
    with np.errstate(divide="ignore"):  # R = 1 sums to the number of pairs
        moved = [
            side._replace(offset=side.offset + np.log(part.counts))
            for side, part in ((task.rows, rows), (task.cols, cols))
        ]
    return replace(task, rows=moved[0], cols=moved[1], plan=task.plan.with_sides(*moved))
