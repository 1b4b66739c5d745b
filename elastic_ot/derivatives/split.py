"""A solution whose rows are split over processes: derivatives of its value, of the own rows or summed over all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..costs.base import STRIP
from ..costs.points import PointCloud
from ..solvers.found import Found
from .cloud import Places
from .point import Point
from .records import Matrix


class SplitPoint(Point):
    """`Point` of one process among several; of a cloud the derivatives in its rows, and in all columns."""

    def __init__(self, solved: Found) -> None:
        super().__init__(solved)
        own: Any = solved.problem.cost
        user = getattr(own.own, "user", None)
        self.cloud = user if isinstance(user, PointCloud) else None
        self.dimensions = int(self.problem.ranks.most(0.0 if self.cloud is None else float(self.cloud.x.shape[1])))

    def value_slopes(self) -> dict[str, Any]:
        """`Point.value_slopes`, in the own rows or points, and in the points of all columns."""
        if not self.dimensions:
            return super().value_slopes()
        x, y = np.zeros((0, self.dimensions)), np.zeros((self.problem.shape[1], self.dimensions))
        with self.problem.ranks.noting():
            if self.cloud is not None:
                places = Places(self.cloud)
                found = places.returned(places.pulled(self._strips()))
                x, y = found["x"], np.ascontiguousarray(found["y"])
        self.problem.ranks.add(y.reshape(-1))
        return {"cost": None, "x": x, "y": y}

    def _strips(self) -> Iterator[tuple[slice, Matrix]]:
        """Yield some rows of the plan at a time, in the user's units of mass."""
        view, (n, m) = self.view, self.problem.shape
        alpha, step = view.alpha + np.log(view.problem.mass), max(1, STRIP // m)
        for first in range(0, n, step):
            rows = slice(first, min(first + step, n))
            yield rows, view.task.plan.part(rows, slice(0, m), alpha[rows], view.beta)
