"""The cost between the same points in another order, or between fewer of them: what multiscale methods solve for."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from ..backends import load_cloud
from ..backends.protocol import Array, Metric
from .point_cost import PointCost
from .points import PointCloud


def in_order(cost: PointCost) -> tuple[PointCost, Array, Array]:
    """Return it with points in an order in which every aligned run of 2^k has a small box, and both orders."""
    cloud, rows, cols, x, y = load_cloud().ordered(cost.cloud)
    return replace(cost, cloud=cloud, swapped=False, user=PointCloud.of_checked(x, y, cost.metric)), rows, cols


def between(cost: PointCost, x: Array, y: Array, ordered: bool = True) -> PointCost:
    """Return the cost between other points no further from each other, which stand in such an order if `ordered`."""
    points = PointCloud.of_checked(x, y, cost.metric)
    cloud = load_cloud().cloud(x, y, cast("Metric", cost.metric), ordered=ordered)
    cloud = load_cloud().shifted(cloud, cost.offset) if cost.offset else cloud
    return replace(cost, cloud=cloud, swapped=False, user=points, shape=(len(x), len(y)))
