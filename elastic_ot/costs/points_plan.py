"""The plan between points: passes that an iteration, a certificate or a product takes have kernels of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..backends import load, load_cloud
from ..backends.protocol import Array, CloudBackend, Vectors
from .blocks import BlockCost
from .operator import Product
from .tiled_plan import TiledPlan


@dataclass(frozen=True, eq=False)
class PointPlan(TiledPlan):
    """`PlanOperator` for points. What it has no kernel for reads strips of costs, as for any cost."""

    cloud: Any = None

    @property
    def kernels(self) -> CloudBackend:
        """The backend that reads points."""
        return load_cloud()

    def scratch(self, fast: bool, brief: bool = False) -> bool:
        return fast

    def sweep(self, omega: tuple[float, float], vectors: Vectors, scratch: bool, count: int) -> None:
        self.kernels.sweeps(self.cloud, self.inv_epsilon, self.rows, self.cols, omega, vectors, scratch, count)

    def marginals(self, alpha: Array, beta: Array, row_sum: Array, col_sum: Array) -> None:
        self.kernels.marginals(self.cloud, self.inv_epsilon, alpha, beta, row_sum, col_sum)

    def row_max(self, beta: Array, out: Array) -> None:
        self.kernels.row_max(self.cloud, self.inv_epsilon, beta, out)

    def col_max(self, alpha: Array, out: Array) -> None:
        self.kernels.row_max(self.kernels.transposed(self.cloud), self.inv_epsilon, alpha, out)

    def apply(self, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array, fast: bool = False) -> None:
        if transpose:
            self.kernels.apply(self.kernels.transposed(self.cloud), self.inv_epsilon, beta, alpha, x, out, fast)
        else:
            self.kernels.apply(self.cloud, self.inv_epsilon, alpha, beta, x, out, fast)

    def products(self, alpha: Array, beta: Array, fast: bool = False) -> Product:
        return partial(self.apply, alpha, beta, fast=fast)

    def slopes(self, alpha: Array, beta: Array, transpose: bool, out: Array, fast: bool) -> None:
        """Write `CloudBackend.slopes`, of the columns' points with `transpose`."""
        if transpose:
            self.kernels.slopes(self.kernels.transposed(self.cloud), self.inv_epsilon, beta, alpha, out, fast)
        else:
            self.kernels.slopes(self.cloud, self.inv_epsilon, alpha, beta, out, fast)

    def rounded_sums(
        self, alpha: Array, beta: Array, parts: tuple[Array, Array, Array, Array], divergence: Array, transport: Array
    ) -> None:
        self.kernels.rounded_sums(self.cloud, self.inv_epsilon, alpha, beta, parts, divergence, transport)


@dataclass(frozen=True, eq=False)
class PointCost(BlockCost):
    """A cost of points with what is known of it, and the points as kernels read them.

    The plan is that of distances in double precision, also between float32 points: `dtype` is that of plans and
    matrices that are made of it.
    """

    cloud: Any = None

    def plan(self, inv_epsilon: float, rows: Any = None, cols: Any = None) -> PointPlan:
        return PointPlan(replace(self, dtype=np.dtype(np.float64)), inv_epsilon, load(), rows, cols, self.cloud)

    @property
    def symmetric(self) -> bool:
        user: Any = self.user
        return user.y is user.x or np.array_equal(user.x, user.y)

    def block(self, rows: slice, cols: slice) -> NDArray[Any]:
        if cols == slice(0, self.shape[1]):
            return self._entries(self._points()[rows])
        return super().block(rows, cols)

    def rows(self, which: NDArray[np.int64]) -> NDArray[Any]:
        return self._entries(self._points()[which])

    def transpose(self) -> PointCost:
        turned = cast("PointCost", super().transpose())
        return replace(turned, cloud=load_cloud().transposed(self.cloud))

    def shifted(self, offset: float, dtype: Any = None) -> PointCost:
        moved = cast("PointCost", super().shifted(offset, dtype))
        return replace(moved, cloud=load_cloud().shifted(self.cloud, offset))

    def _points(self) -> NDArray[Any]:
        user: Any = self.user
        found: NDArray[Any] = user.y if self.swapped else user.x
        return found

    def _entries(self, points: NDArray[Any]) -> NDArray[Any]:
        """Costs of points and all columns."""
        out = np.empty((points.shape[0], self.shape[1]), self.dtype)
        load_cloud().entries(self.cloud, points, out)
        return out
