"""Derivatives of many solves in the points of their clouds: what each problem has, summed over those that share points.

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


class PointSums:
    """Derivatives in the points as they were given: sums over the problems that share them, 0 for those left out."""

    def __init__(self, problem: BatchProblem, points: PointStack) -> None:
        self.points, self.cost_of = points, problem.cost_of
        self.x, self.y = np.zeros(points.x.shape), np.zeros(points.y.shape)

    def add(self, k: int, found: Gradients) -> None:
        """Add those of problem k."""
        pair = self.cost_of[k]
        for whole, of, part in ((self.x, self.points.x_of, found.x), (self.y, self.points.y_of, found.y)):
            assert part is not None
            whole[of[pair], : len(part)] += part

    def slopes(self) -> dict[str, Any]:
        """Return them by their names in `Gradients`."""
        sides = zip("xy", (self.x, self.y), self.points.leading, strict=True)
        return {"cost": None} | {name: z.reshape(*leading, *z.shape[1:]) for name, z, leading in sides}


def in_points_of_each(problem: BatchProblem, found: Gradients) -> Gradients:
    """Return derivatives in the points in place of those in the costs (..., n, m), where these lie between points."""
    if problem.points is None:
        return found
    sums, costs = PointSums(problem, problem.points), found.cost.reshape(-1, *problem.shape[-2:])
    for k, pair in enumerate(problem.cost_of.tolist()):
        n, m = int(problem.row_count[k]), int(problem.col_count[k])
        own = replace(found, cost=costs[k, :n, :m].astype(np.float64, copy=False))
        sums.add(k, in_points(problem.points.alone(pair, n, m), own))
    return replace(found, **sums.slopes())


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
