"""A cost of points with its facts: what problems and solvers ask of it, and clouds of fewer points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from ..backends import load, load_cloud
from ..backends.protocol import BOUNDED_METRICS, Array, Metric
from .blocks import BlockCost
from .points_plan import PointPlan
from .pruned_plan import SEARCHED_AGAIN, PrunedPlan

SEARCHED_COORDINATES = 8  # of points, up to which boxes of neighbours tell them from others
NEIGHBOURS, SAMPLED = 3, 1000  # the nearest points that are near, and points that are asked for theirs
SEARCHED_ENTRIES = 4096  # of a row, that take about as long as a search


@dataclass(frozen=True, eq=False)
class PointCost(BlockCost):
    """A cost of points with what is known of it, and the points as kernels read them.

    The plan is that of distances in double precision, also between float32 points: `dtype` is that of plans and
    matrices that are made of it. Unless `share` is 0, what reads the plan may leave out so much of its mass.
    """

    cloud: Any = None
    share: float = 0.0

    def plan(self, inv_epsilon: float, rows: Any = None, cols: Any = None) -> PointPlan:
        given = replace(self, dtype=np.dtype(np.float64)), inv_epsilon, load(), rows, cols, self.cloud
        return PrunedPlan(*given, self.share) if self.share else PointPlan(*given)

    def pruned(self, share: float) -> PointCost:
        """Return it with plans that may leave out so much of their mass where they are read."""
        return replace(self, share=share)

    @property
    def left_share(self) -> float:
        """The share of a plan's mass that may be left out at most, when it is measured."""
        return SEARCHED_AGAIN * self.share

    @property
    def metric(self) -> str:
        user: Any = self.user
        found: str = user.metric
        return found

    def kernel_is_positive(self, epsilon: float) -> bool:
        """Those of distances and their squares are, in any dimension (Schoenberg 1938)."""
        return self.metric in BOUNDED_METRICS or super().kernel_is_positive(epsilon)

    @property
    def points(self) -> tuple[Array, Array]:
        """Those of rows and columns in double precision."""
        x, y = self._given
        return np.asarray(x, np.float64), np.asarray(y, np.float64)

    @property
    def centred_points(self) -> tuple[Array, Array]:
        """The same less a common centre, whose products cancel less."""
        x, y = self.points
        centre = 0.5 * (x.mean(axis=0) + y.mean(axis=0))
        return x - centre, y - centre

    @property
    def _given(self) -> tuple[NDArray[Any], NDArray[Any]]:
        user: Any = self.user
        return (user.y, user.x) if self.swapped else (user.x, user.y)

    def product_costs(self, weights: Array) -> Array:
        """Return C weights, or for distances a bound from above: their mean is at most the root of that of squares."""
        (x, y), total = self.centred_points, float(weights.sum())
        first, second = weights @ y, weights @ y**2
        squares = np.maximum(total * x**2 - 2.0 * x * first + second, 0.0)  # coordinate by coordinate
        if self.metric == "sqeuclidean":
            found = squares.sum(axis=1)
        elif self.metric == "euclidean":
            found = np.sqrt(total * squares.sum(axis=1))
        else:
            found = np.sqrt(total * squares).sum(axis=1)
        return np.asarray(found - self.offset * total)

    @property
    def searched(self) -> bool:
        """True if a search of trees finds the least entries of rows."""
        return self.metric in BOUNDED_METRICS and self._given[0].shape[1] <= SEARCHED_COORDINATES

    @property
    def sites(self) -> tuple[Any, Any]:
        """The points of both sides as searches read them."""
        user: Any = self.user
        found: tuple[Any, Any] = user.sites
        return found[::-1] if self.swapped else found

    def spacing(self) -> float:
        """Return about the cost between neighbours of one side, the wider one's; 0 where all points are the same."""
        found = 0.0
        for side in self.sites:
            n = side.order.size
            some = side.order[:: max(1, n // SAMPLED)]
            near, least = np.empty((some.size, min(NEIGHBOURS + 1, n)), np.int32), np.empty(some.size)
            load_cloud().least_cells(cast("Metric", self.metric), (side, side), 0.0, np.zeros(n), some, near, least)
            user: Any = self.user
            costs = user.paired(side.points[some][:, None], side.points[near]).max(axis=1)
            found = max(found, float(np.median(costs[costs > 0]))) if costs.any() else found
        return found

    @property
    def row_entries(self) -> int:
        return min(SEARCHED_ENTRIES, self.shape[1]) if self.searched else self.shape[1]

    def at(self, i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[Any]:
        user: Any = self.user
        x, y = (np.asarray(z[k], np.float64) for z, k in zip(self._given, (i, j), strict=True))
        found = _differences(x, y, self.metric) if self.searched else user.paired(x, y)
        return np.asarray(found - self.offset, self.dtype)

    @property
    def symmetric(self) -> bool:
        user: Any = self.user
        return user.y is user.x or np.array_equal(user.x, user.y)

    def block(self, rows: slice, cols: slice) -> NDArray[Any]:
        if cols == slice(0, self.shape[1]):
            return self._entries(self._given[0][rows])
        return super().block(rows, cols)

    def rows(self, which: NDArray[np.int64]) -> NDArray[Any]:
        return self._entries(self._given[0][which])

    def transpose(self) -> PointCost:
        turned = cast("PointCost", super().transpose())
        return replace(turned, cloud=load_cloud().transposed(self.cloud))

    def shifted(self, offset: float, dtype: Any = None) -> PointCost:
        moved = cast("PointCost", super().shifted(offset, dtype))
        return replace(moved, cloud=load_cloud().shifted(self.cloud, offset))

    def _entries(self, points: NDArray[Any]) -> NDArray[Any]:
        """Costs of points and all columns."""
        out = np.empty((points.shape[0], self.shape[1]), self.dtype)
        load_cloud().entries(self.cloud, points, out)
        return out


def _differences(x: NDArray[np.float64], y: NDArray[np.float64], metric: str) -> Any:
    """Costs to the last bit of what searches compute: summed in the order of the coordinates."""
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape)[:-1])
    for k in range(x.shape[-1]):
        apart = x[..., k] - y[..., k]
        total += np.abs(apart) if metric == "cityblock" else apart * apart
    return np.sqrt(total) if metric == "euclidean" else total


def is_pruned(cost: Any) -> TypeGuard[PointCost]:
    """Return True for a cost of which blocks may be left out."""
    return isinstance(cost, PointCost) and cost.share > 0
