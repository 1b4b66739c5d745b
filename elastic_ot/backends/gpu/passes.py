"""Passes over the plan on a GPU: maxima, products, the plan, its marginals, its tangent."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..protocol import LOG2E, Array
from .device import c_type
from .launches import THREADS, Launches, sized
from .transfers import Room, rooms


class Passes(Launches):
    """The primitives that read a matrix once."""

    def _plan_args(self, cost: Array, inv_epsilon: float) -> tuple[Any, ...]:
        """Cost and sizes; potentials follow, in base 2 but for alpha."""
        return cost, *sized(cost.shape), np.float64(inv_epsilon * LOG2E)

    def row_max(self, cost: Array, inv_epsilon: float, beta: Array, out: Array) -> None:
        cost = self._matrix(cost)
        n = cost.shape[0]
        potentials, top = self._vectors(beta, *rooms(n))
        args = cost, *sized(cost.shape), np.float64(inv_epsilon), potentials, top
        self.device.launch(f"largest_of_rows<{c_type(cost)}>", self._row_blocks(n), THREADS, args)
        out[:] = self.device.get(top)

    def col_max(self, cost: Array, inv_epsilon: float, alpha: Array, out: Array) -> None:
        cost = self._matrix(cost)
        n, m = cost.shape
        potentials, top = self._vectors(alpha, *rooms(m))
        args = cost, *sized(cost.shape), np.float64(inv_epsilon), potentials
        self._columns_of(f"largest_of_columns<{c_type(cost)}>", args, n, m, top, top=True)
        out[:] = self.device.get(top)

    def least_cells(self, cost: Array, beta: Array, which: Array, indices: Array, least: Array) -> None:
        cost, k, results = (
            self._matrix(cost),
            indices.shape[1],
            (Room(indices.shape, np.dtype(np.int32)), *rooms(which.size)),
        )
        potentials, rows, found, values = self._vectors(beta, which.astype(np.int64), *results)
        args = cost, *sized(cost.shape), potentials, rows, *sized((which.size, k)), found, values
        self.device.launch(f"smallest_cells<{c_type(cost)}>", self._row_blocks(which.size), 32, args)
        indices[...], least[...] = self.device.get_all((found, values))

    def plan(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, out: Array, coarse: bool = False
    ) -> None:
        cost = self._matrix(cost)
        target, straight = self._target(out)
        coarse = coarse and target.dtype == np.float32
        name = f"fill_plan_coarse<{c_type(cost)}>" if coarse else f"fill_plan<{c_type(cost)}, {c_type(target)}>"
        args = *self._plan_args(cost, inv_epsilon), *self._vectors(alpha, beta * LOG2E), target
        self.device.launch(name, self._row_blocks(cost.shape[0]), THREADS, args)
        if not straight:
            self._written(target, out)

    def marginals(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, row_sum: Array, col_sum: Array
    ) -> None:
        cost, plan = self._matrix(cost), self._fused(cost)
        n, m = cost.shape
        beta2 = beta * LOG2E
        starts, ends, *sums = self._vectors(alpha, self._padded(beta2, cost), *rooms(n, m))
        if plan.columns:
            row_parts = self.device.empty((plan.slices, n), np.float64)
            col_parts = self.device.empty((plan.bands, m), np.float64)
            args = cost, *sized((n, m, plan.most)), np.float64(inv_epsilon * LOG2E), starts, ends, row_parts, col_parts
            name = f"plan_sums<{c_type(cost)}, {plan.columns}>"
            self.device.launch(name, plan.grid, plan.threads, args, plan.shared)
            self._join(row_parts, sums[0])
            self._join(col_parts, sums[1])
        else:  # two passes
            args = *self._plan_args(cost, inv_epsilon), starts, ends
            self._times(cost, args, None, 1, sums[0])
            self._transposed_times(cost, args, None, 1, sums[1])
        row_sum[:], col_sum[:] = self.device.get_all(sums)

    def apply(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array
    ) -> None:
        cost = self._matrix(cost)
        *potentials, columns, image = self._vectors(alpha, beta * LOG2E, x, *rooms(out.size))
        args = *self._plan_args(cost, inv_epsilon), *potentials
        times = self._transposed_times if transpose else self._times
        times(cost, args, columns, x.shape[1], image)
        out[:, :] = self.device.get(image).reshape(out.shape)

    def _times(self, cost: Array, args: tuple[Any, ...], x: Array | None, k: int, out: Array) -> None:
        grid = self._row_blocks(cost.shape[0])
        self.device.launch(f"plan_times<{c_type(cost)}>", grid, THREADS, (*args, x, np.int64(k), out))

    def _transposed_times(self, cost: Array, args: tuple[Any, ...], x: Array | None, k: int, out: Array) -> None:
        n, m = cost.shape
        self._columns_of(f"plan_transposed_times<{c_type(cost)}>", (*args, x, np.int64(k)), n, m, out)

    def plan_tangent(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        bar: Array,
        x: Array,
        y: Array,
        slope: float,
        out: Array,
        row_sum: Array,
        col_sum: Array,
        row_dot: Array,
    ) -> None:
        cost, bar = self._matrix(cost), self._matrix(bar)
        n, m = cost.shape
        straight = self.device.holds(out) and out.flags.c_contiguous and out.dtype == np.float64
        target = out if straight else self.device.empty((n, m), np.float64)
        *vectors, cols, total, dot = self._vectors(alpha, beta * LOG2E, x, y, *rooms(m, n, n))
        args = *self._plan_args(cost, inv_epsilon), *vectors[:2], bar, *vectors[2:]
        name = f"tangent_rows<{c_type(cost)}, {c_type(bar)}>"
        self.device.launch(name, self._row_blocks(n), THREADS, (*args, np.float64(slope), target, total, dot))
        self._matrix_transposed_times(target, None, cols)
        col_sum[:], row_sum[:], row_dot[:] = self.device.get_all((cols, total, dot))
        if not straight:
            self._written(target, out)

    def rounded_sums(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        row_factor: Array,
        col_factor: Array,
        row_rest: Array,
        col_rest: Array,
        divergence: Array,
        transport: Array,
    ) -> None:
        cost = self._matrix(cost)
        n = cost.shape[0]
        vectors = alpha, beta, row_factor, col_factor, row_rest, col_rest
        *given, kl, moved = self._vectors(*vectors, *rooms(n, n))
        args = cost, *sized(cost.shape), np.float64(inv_epsilon), *given, kl, moved
        self.device.launch(f"rounded_rows<{c_type(cost)}>", self._row_blocks(n), THREADS, args)
        divergence[:], transport[:] = self.device.get_all((kl, moved))

    def dense_product(self, kernel: Array, x: Array, transpose: bool, out: Array) -> None:
        kernel = self._matrix(kernel)
        vector, image = self._vectors(x, *rooms(out.size))
        if transpose:
            self._matrix_transposed_times(kernel, vector, image)
        else:
            args = kernel, *sized(kernel.shape), vector, image
            self.device.launch(f"matrix_times<{c_type(kernel)}>", self._row_blocks(out.size), THREADS, args)
        out[:] = self.device.get(image)

    def _matrix_transposed_times(self, matrix: Array, x: Array | None, out: Array) -> None:
        n, m = matrix.shape
        self._columns_of(f"matrix_transposed_times<{c_type(matrix)}>", (matrix, *sized((n, m)), x), n, m, out)
