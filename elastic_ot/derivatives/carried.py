"""Derivatives of what a plan carries, P v for v of shape (m, k), where the bar of the plan has rank k.

Of one problem or of a batch, which stores matrices of its costs' size anyway.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problems.penalty import Vector
from ..solvers.batch.found import BatchFound
from . import batch
from .at import point_at
from .cloud import CloudPoint, cloud_of, in_points
from .implicit import pull_back, pushed
from .records import Direction, Gradients, Matrix
from .unrolled import pull_back_iterations


class Outer:
    """The matrix u v^T for u (n, k) and v (m, k), some rows at a time."""

    def __init__(self, u: Matrix, v: Matrix) -> None:
        self.u, self.v = u, v

    def __call__(self, rows: slice) -> Matrix:
        """Return some rows."""
        found: Matrix = self.u[rows] @ self.v.T
        return found


def pull_carried(solution: Any, right: Matrix, bar: Matrix, f: Vector, g: Vector) -> Gradients:
    """Return derivatives of L in the inputs from dL/d(P v), dL/df and dL/dg; `right` is v."""
    if isinstance(solution.found, BatchFound):
        return batch.pull_back(solution.found, bar @ np.swapaxes(right, -1, -2), f, g)
    outer: Any = Outer(bar, right)
    found, cloud = solution.found, cloud_of(solution.found.problem)
    if found.budget is None:
        return pull_back(found, outer, f, g)
    pulled = pull_back_iterations(found, outer(slice(0, bar.shape[0])), f, g)
    return pulled if cloud is None else in_points(cloud, pulled)


def push_carried(solution: Any, right: Matrix, along: dict[str, Any]) -> tuple[Matrix, Vector, Vector]:
    """Return the change of P v at a held v, and those of f and g, along a direction of the inputs."""
    if isinstance(solution.found, BatchFound):
        tangents: Any = batch.push_forward(solution.found, **along)
        return tangents.plan @ right, tangents.f, tangents.g
    if solution.found.budget is not None:
        moved = solution.jvp(**along)
        return moved.plan @ right, moved.f, moved.g
    point = point_at(solution.found)
    assert isinstance(point, CloudPoint)
    change, f, g = pushed(point, Direction(**along))
    plan: Any = change.plan
    return np.concatenate([strip @ right for _, strip in plan.strips()]), f, g
