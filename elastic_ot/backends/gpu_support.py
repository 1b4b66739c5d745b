"""Cells of a support (CSR): found on the device, worked on by the host in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..halves import working_dtype
from .gpu_device import c_type
from .gpu_launches import LOG2E, sized
from .gpu_sides import Sides
from .protocol import CONTINUES, LEFT, REACHED, Array, Krylov, Side, Sparse, Support


class Supports(Sides):
    """The primitives of Newton's sparse systems."""

    def _cell_args(
        self, inv_epsilon: float, alpha: Array, beta: Array, row_least: Array, col_least: Array
    ) -> tuple[Any, ...]:
        vectors = (self._vector(v * LOG2E) for v in (alpha, beta, row_least, col_least))
        return np.float64(inv_epsilon * LOG2E), *vectors

    def support_sizes(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        row_least: Array,
        col_least: Array,
        which: Array,
        sizes: Array,
    ) -> None:
        cost = self._matrix(cost)
        rows, found = self.device.put(which.astype(np.int64)), self.device.empty(which.size, np.int64)
        cells = self._cell_args(inv_epsilon, alpha, beta, row_least, col_least)
        args = cost, np.int64(cost.shape[1]), *cells, rows, np.int64(which.size), found
        self.device.launch(f"count_cells<{c_type(cost)}>", self._row_blocks(which.size), 32, args)
        sizes[:] = self.device.get(found)

    def support_cells(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        row_least: Array,
        col_least: Array,
        support: Support,
    ) -> None:
        cost, stored = self._matrix(cost), int(support.pointers[-1])
        indices, costs = self.device.empty(stored, np.int32), self.device.empty(stored, working_dtype(cost))
        cells = self._cell_args(inv_epsilon, alpha, beta, row_least, col_least)
        pointers = self.device.put(support.pointers.astype(np.int64))
        args = cost, *sized(cost.shape), *cells, pointers, indices, costs
        self.device.launch(f"write_cells<{c_type(cost)}>", self._row_blocks(cost.shape[0]), 32, args)
        support.indices[:stored], support.cost[:stored] = self.device.get(indices), self.device.get(costs)

    def support_sweeps(
        self,
        support: Support,
        inv_epsilon: float,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        log_row: Array,
        log_col: Array,
        previous_alpha: Array,
        log_col_updated: Array,
        count: int,
    ) -> bool:
        cells = _Cells(support.pointers, support.indices)
        cost = support.cost[: cells.stored].astype(np.float64) * inv_epsilon
        row_used, col_used = rows.log_weight > -np.inf, cols.log_weight > -np.inf
        for _ in range(count):
            change = self._step(cols, omega[1], beta, log_col)
            beta += change
            log_col_updated[:] = log_col + change
            reduced = beta[cells.cols] - cost
            top = cells.over_rows(np.maximum, reduced, -np.inf)
            if (row_used & (top == -np.inf)).any():
                return False
            top[top == -np.inf] = 0.0
            with np.errstate(divide="ignore"):
                sums = cells.over_rows(np.add, np.exp(reduced - top[cells.rows]), 0.0)
                log_row[:] = np.where(row_used, np.log(sums) + top + alpha, -np.inf)
            previous_alpha[:] = alpha
            alpha += self._step(rows, omega[0], alpha, log_row)
            support.values[: cells.stored] = np.exp(alpha[cells.rows] + reduced)
            total = cells.over_columns(support.values, beta.size)
            if (col_used & ~((total > 1e-250) & (total < 1e250))).any():
                return False
            log_col[:] = np.log(total, out=np.full_like(total, -np.inf), where=col_used)
        return True

    def _step(self, side: Side, omega: float, alpha: Array, log_sum: Array) -> Array:
        """Change of alpha: omega times the way to the exact update; 0 on removed entries."""
        used = side.log_weight > -np.inf
        old = np.where(used, alpha, 0.0) - np.where(used, side.offset, 0.0)
        target = np.empty_like(old)
        self.potential(side, np.where(used, side.log_weight, 0.0) - np.where(used, log_sum, 0.0) + old, target)
        return np.where(used, omega * (np.where(used, target, 0.0) - old), 0.0)

    def sparsify(self, support: Support, row_least: Array, col_least: Array, out: Sparse) -> None:
        cells = _Cells(support.pointers, support.indices)
        values = support.values[: cells.stored]
        kept = values > np.minimum(row_least[cells.rows], col_least[cells.cols])
        out.pointers[0] = 0
        out.pointers[1:] = np.cumsum(np.bincount(cells.rows[kept], minlength=row_least.size))
        stored = int(out.pointers[-1])
        out.indices[:stored], out.values[:stored] = cells.cols[kept], values[kept]

    def sparse_squares(self, matrix: Sparse, row_weight: Array, out: Array) -> None:
        cells = _Cells(matrix.pointers, matrix.indices)
        out[:] = cells.over_columns(row_weight[cells.rows] * matrix.values[: cells.stored] ** 2, out.size)

    def sparse_gram(self, matrix: Sparse, row_weight: Array, out: Array) -> None:
        cells, values = _Cells(matrix.pointers, matrix.indices), matrix.values
        out[:, :] = 0.0
        for first in range(0, row_weight.size, 1024):  # dense strips
            last = min(first + 1024, row_weight.size)
            part = slice(int(matrix.pointers[first]), int(matrix.pointers[last]))
            strip = np.zeros((last - first, out.shape[1]))
            strip[cells.rows[part] - first, cells.cols[part]] = values[part]
            out += strip.T @ (row_weight[first:last, None] * strip)

    def sparse_gradients(
        self, matrix: Sparse, row_weight: Array, diagonal: Array, krylov: Krylov, goal: float, radius: float, count: int
    ) -> tuple[int, int]:
        cells = _Cells(matrix.pointers, matrix.indices)
        values = matrix.values[: cells.stored]
        x, residual, direction, preconditioner, scalars = krylov
        for done in range(1, count + 1):
            y = row_weight * cells.over_rows(np.add, values * direction[cells.cols], 0.0)
            image = diagonal * direction - cells.over_columns(values * y[cells.rows], x.size)
            curvature = float(direction @ image)
            if not curvature > 0:
                return done, LEFT
            step = scalars[0] / curvature
            x += step * direction
            residual[preconditioner > 0] -= (step * image)[preconditioner > 0]
            largest = float(np.abs(x).max())
            if largest > radius:
                x *= radius / largest
                return done, LEFT
            if float(np.abs(residual).sum()) <= goal:
                return done, REACHED
            energy = float((preconditioner * residual) @ residual)
            direction[:] = preconditioner * residual + (energy / scalars[0]) * direction
            scalars[0] = energy
        return count, CONTINUES


class _Cells:
    """Stored cells of a matrix by rows: where they lie, and sums over rows and columns."""

    def __init__(self, pointers: Array, indices: Array) -> None:
        self.stored = int(pointers[-1])
        self.filled = np.flatnonzero(np.diff(pointers))
        self.first = pointers[self.filled]
        self.size = pointers.size - 1
        self.rows, self.cols = np.repeat(np.arange(self.size), np.diff(pointers)), indices[: self.stored]

    def over_rows(self, ufunc: np.ufunc, values: Array, otherwise: float) -> Array:
        out = np.full(self.size, otherwise)
        if self.filled.size:
            out[self.filled] = ufunc.reduceat(values, self.first)
        return out

    def over_columns(self, values: Array, m: int) -> Array:
        return np.bincount(self.cols, weights=values[: self.stored], minlength=m)
