"""The plan between points: passes that an iteration, a certificate or a product takes have kernels of their own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..backends import load_cloud, load_shares
from ..backends.protocol import Array, CloudBackend, Vectors
from .operator import Gram, Product
from .tiled_plan import TiledPlan

SPREAD_ROUNDING = 4e-6  # of squared distances from the centre, by which single precision may change a variance


@dataclass(frozen=True, eq=False)
class PointPlan(TiledPlan):
    """`PlanOperator` for points. What it has no kernel for reads strips of costs, as for any cost."""

    cost: Any
    cloud: Any = None

    @property
    def kernels(self) -> CloudBackend:
        """The backend that reads points."""
        return load_cloud()

    def scratch(self, fast: bool, brief: bool = False) -> bool:
        return fast

    def sweep(self, omega: tuple[float, float], vectors: Vectors, scratch: bool, count: int) -> None:
        self.sweep_masses(omega, vectors, scratch, count, None)

    def sweep_masses(
        self, omega: tuple[float, float], vectors: Vectors, scratch: bool, count: int, masses: Array | None
    ) -> None:
        """Do what `sweep` does; write the masses of pairs of blocks, see `CloudBackend.sweeps`."""
        given = self.cloud, self.inv_epsilon, self.rows, self.cols
        self.kernels.sweeps(*given, omega, vectors, scratch, count, masses)

    def sweep_share(self, omega: float, vectors: Vectors, scratch: bool, out: Array) -> None:
        load_shares().cloud_share(self.cloud, self.inv_epsilon, self.rows, omega, vectors, scratch, out)

    def marginals(self, alpha: Array, beta: Array, row_sum: Array, col_sum: Array) -> float:
        self.kernels.marginals(self.cloud, self.inv_epsilon, alpha, beta, row_sum, col_sum)
        return 0.0

    def row_max(self, beta: Array, out: Array) -> None:
        if not self.cost.searched:
            self.kernels.row_max(self.cloud, self.inv_epsilon, beta, out)
            return
        every = np.arange(out.size)
        self._search(beta / self.inv_epsilon, every, np.empty((out.size, 1), np.int32), out)
        out *= -self.inv_epsilon

    def col_max(self, alpha: Array, out: Array) -> None:
        self.cost.transpose().plan(self.inv_epsilon).row_max(alpha, out)

    def least_cells(self, beta: Array, which: Array, indices: Array, least: Array) -> None:
        if self.cost.searched:
            self._search(beta, which, indices, least)
        else:
            super().least_cells(beta, which, indices, least)

    def _search(self, v: Array, which: Array, indices: Array, least: Array) -> None:
        cost = self.cost
        self.kernels.least_cells(cost.metric, cost.sites, cost.offset, v, which, indices, least)

    def apply(self, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array, fast: bool = False) -> None:
        if transpose:
            self.kernels.apply(self.kernels.transposed(self.cloud), self.inv_epsilon, beta, alpha, x, out, fast)
        else:
            self.kernels.apply(self.cloud, self.inv_epsilon, alpha, beta, x, out, fast)

    def products(self, alpha: Array, beta: Array, fast: bool = False) -> Product:
        return partial(self.apply, alpha, beta, fast=fast)

    def gram(self, alpha: Array, beta: Array, weight: Array, fast: bool = False) -> Gram:
        return self.kernels.gram(self.cloud, self.inv_epsilon, alpha, beta, weight, fast)

    @property
    def single_rounding(self) -> float:
        """By how much single precision may change entries that matter, relative to them."""
        return self.kernels.single_rounding(self.cloud, self.inv_epsilon)

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

    def mean_slopes(self, alpha: Array, beta: Array, transpose: bool) -> tuple[Array, Array]:
        """Return the means of dC_ij/dx_i over the partners of every row, or with `transpose` of every column.

        And how much these slopes differ: their mean squared distance from the mean, or a bound on it. In single
        precision, and 0 where no mass is.
        """
        x, y = self.cost.points[::-1] if transpose else self.cost.points
        if self.cost.metric == "sqeuclidean":
            centre = y.mean(axis=0)
            x, y = x - centre, y - centre
            squares = (y**2).sum(axis=1)
            out = np.empty((x.shape[0], x.shape[1] + 2))
            self.apply(alpha, beta, np.column_stack([y, squares, np.ones(y.shape[0])]), transpose, out, fast=True)
            mass = out[:, -1:]
            means = np.divide(out[:, :-1], mass, out=np.column_stack([x, (x**2).sum(axis=1)]), where=mass > 0)
            centres, square = means[:, :-1], means[:, -1]
            spread = square - (centres**2).sum(axis=1) - SPREAD_ROUNDING * square
            return 2.0 * (x - centres), 4.0 * np.maximum(spread, 0.0)
        out = np.empty((x.shape[0], x.shape[1] + 1))
        self.slopes(alpha, beta, transpose, out, fast=True)
        mass = out[:, -1:]
        found = np.divide(out[:, :-1], mass, out=np.zeros_like(x), where=mass > 0)
        largest = 1.0 if self.cost.metric == "euclidean" else float(x.shape[1])
        return found, np.maximum(largest - (found**2).sum(axis=1), 0.0)
