"""Many clouds at once: points that count, checked, and the costs between them, of which a batch stores all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..backends import load_cloud
from ..backends.protocol import Metric
from .points import PointCloud, distances, in_common, refuse_numbers
from .scan import KEPT_ENTRIES, refuse_mask

LARGEST_STACK = 1 << 27  # costs that a batch of clouds stores, at most


@dataclass(frozen=True, eq=False)
class PointStack:
    """K pairs of clouds; points that no problem counts stand at the first of their cloud.

    Attributes
    ----------
    x, y : ndarray, shapes (X, n, d) and (Y, m, d)
        The clouds as they were given, in C order of their leading dimensions.
    x_of, y_of : ndarray of int, shape (K,)
        Which of them a pair has.
    metric : str
    """

    x: NDArray[Any]
    y: NDArray[Any]
    x_of: NDArray[np.int64]
    y_of: NDArray[np.int64]
    metric: str

    def matrices(self) -> NDArray[np.floating]:
        """Return the costs (K, n, m), each as those of its pair alone."""
        count, n, m = self.x_of.size, self.x.shape[1], self.y.shape[1]
        if count * n * m > LARGEST_STACK:
            raise ValueError(
                f"cost is a PointCloud of {count} x {n} x {m} costs, all of which a batch stores, up to "
                f"{LARGEST_STACK}; solve the clouds one by one, cloud[k] is one of them: then none is stored"
            )
        out = np.empty((count, n, m), self.x.dtype)
        if n * m > KEPT_ENTRIES:
            metric = cast("Metric", self.metric)
            for i, j, costs in zip(self.x_of, self.y_of, out, strict=True):
                load_cloud().entries(load_cloud().cloud(self.x[i], self.y[j], metric), self.x[i], costs)
            return out
        x, y = self.x.astype(np.float64, copy=False), self.y.astype(np.float64, copy=False)
        for i, j, costs in zip(self.x_of, self.y_of, out, strict=True):
            costs[...] = distances(x[i], y[j], self.metric)
        return out

    def alone(self, k: int, n: int, m: int) -> PointCloud:
        """Return the first points of pair k."""
        return PointCloud.of_checked(self.x[self.x_of[k], :n], self.y[self.y_of[k], :m], self.metric)


def stack_of(cloud: PointCloud, batch: tuple[int, ...], row_count: Any = None, col_count: Any = None) -> PointStack:
    """Return the points of a cloud that problems of a batch count; refuses what is wrong with these.

    `batch` is the shape of the batch and `row_count`, `col_count` are the lengths of its problems, in C order; None
    where all points count.
    """
    cloud._refuse_call()
    sides, places = [], []
    for name, points, count in (("x", cloud.x, row_count), ("y", cloud.y, col_count)):
        leading = points.shape[:-2]
        number = np.arange(int(np.prod(leading, dtype=np.int64))).reshape(leading)
        flat = points.reshape(-1, *points.shape[-2:])
        if count is not None:
            longest = np.zeros(number.size, np.int64)
            np.maximum.at(longest, np.broadcast_to(number, batch).reshape(-1), count)
            beyond = np.arange(points.shape[-2]) >= longest[:, None]
            flat = np.where(beyond[..., None], flat[:, :1], flat) if beyond.any() else flat
        refuse_numbers(name, flat.reshape(points.shape), cloud.metric)
        sides.append(flat)
        places.append(np.broadcast_to(number, cloud._batch).reshape(-1))
    x, y = in_common(*sides)
    return PointStack(x, y, places[0], places[1], cloud.metric)


def stored(cost: Any, mask: Any) -> Any:
    """Return the costs (B, n, m) of a cloud with a leading dimension, for calls that take stacks; others as given."""
    if not isinstance(cost, PointCloud) or not cost._batch:
        return cost
    refuse_mask(cost, mask)
    if len(cost._batch) > 1:
        raise ValueError(
            f"cost is a PointCloud with leading dimensions {cost._batch}, and this call takes one; reshape x and y to "
            f"(B, n, d) and (B, m, d)"
        )
    return stack_of(cost, cost._batch).matrices().reshape(cost.shape)
