"""Derivatives of many solves in the points of their clouds, with the batch in front as all others.

`batch` has derivatives in the costs of every problem; they are passed on to its points here, by `cloud`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..costs.point_stack import PointStack
from ..problems.batch import BatchProblem
from ..solvers.found import Found
from .cloud import cloud_of, in_costs, in_points
from .records import Direction, Gradients


class PointBars:
    """Derivatives in the points of every problem, 0 for those beyond its lengths."""

    def __init__(self, problem: BatchProblem, points: PointStack) -> None:
        self.batch = problem.batch
        self.x, self.y = (np.zeros((problem.size, *z.shape[1:])) for z in (points.x, points.y))

    def write(self, k: int, found: Gradients) -> None:
        """Write those of problem k."""
        for whole, part in ((self.x, found.x), (self.y, found.y)):
            assert part is not None
            whole[k, : len(part)] = part

    def slopes(self) -> dict[str, Any]:
        """Return them by their names in `Gradients`."""
        x, y = (z.reshape(*self.batch, *z.shape[1:]) for z in (self.x, self.y))
        return {"cost": None, "x": x, "y": y}


def in_points_of_each(problem: BatchProblem, found: Gradients) -> Gradients:
    """Return derivatives in the points in place of those in the costs (..., n, m), where these lie between points."""
    if problem.points is None:
        return found
    bars, costs = PointBars(problem, problem.points), found._matrix.reshape(-1, *problem.shape[-2:])
    for k, pair in enumerate(problem.cost_of.tolist()):
        n, m = int(problem.row_count[k]), int(problem.col_count[k])
        own = replace(found, cost=costs[k, :n, :m].astype(np.float64, copy=False))
        bars.write(k, in_points(problem.points.alone(pair, n, m), own))
    return replace(found, **bars.slopes())


def on_costs(solved: Found, direction: Direction) -> tuple[Found, Direction]:
    """Return a solution between points, and a direction of these, as those of the matrix of costs."""
    cloud = cloud_of(solved.problem)
    if cloud is None:
        return solved, direction
    return on_matrix(solved), in_costs(cloud, direction)


def on_matrix(solved: Found) -> Found:
    """Return a solution of costs that are stored without the points that they lie between."""
    cost: Any = solved.problem.cost
    return replace(solved, problem=replace(solved.problem, cost=replace(cost, user=None)))
