"""Passes over the plan on a GPU: maxima, products, the plan, its marginals, its tangent."""

from __future__ import annotations

from typing import Any

import numpy as np

from .gpu_device import c_type
from .gpu_launches import LOG2E, THREADS, Launches, sized
from .protocol import Array


class Passes(Launches):
    """The primitives that read a matrix once."""

    def _plan_args(self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array) -> tuple[Any, ...]:
        """Cost, sizes and potentials, in base 2 but for alpha."""
        return (
            *(cost, *sized(cost.shape), np.float64(inv_epsilon * LOG2E)),
            *(self._vector(alpha), self._vector(beta * LOG2E)),
        )

    def row_max(self, cost: Array, inv_epsilon: float, beta: Array, out: Array) -> None:
        cost = self._matrix(cost)
        n = cost.shape[0]
        top = self.device.empty(n, np.float64)
        args = cost, *sized(cost.shape), np.float64(inv_epsilon), self._vector(beta), top
        self.device.launch(f"largest_of_rows<{c_type(cost)}>", self._row_blocks(n), THREADS, args)
        out[:] = self.device.get(top)

    def col_max(self, cost: Array, inv_epsilon: float, alpha: Array, out: Array) -> None:
        cost = self._matrix(cost)
        n, m = cost.shape
        args = cost, *sized(cost.shape), np.float64(inv_epsilon), self._vector(alpha)
        out[:] = self.device.get(self._columns_of(f"largest_of_columns<{c_type(cost)}>", args, n, m, m, top=True))

    def least_cells(self, cost: Array, beta: Array, which: Array, indices: Array, least: Array) -> None:
        cost, k = self._matrix(cost), indices.shape[1]
        found, values = self.device.empty(indices.shape, np.int32), self.device.empty(which.size, np.float64)
        rows = self.device.put(which.astype(np.int64))
        args = cost, *sized(cost.shape), self._vector(beta), rows, *sized((which.size, k)), found, values
        self.device.launch(f"smallest_cells<{c_type(cost)}>", self._row_blocks(which.size), 32, args)
        indices[...], least[...] = self.device.get(found), self.device.get(values)

    def plan(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, out: Array, coarse: bool = False
    ) -> None:
        cost = self._matrix(cost)
        target, straight = self._target(out)
        coarse = coarse and target.dtype == np.float32
        name = f"fill_plan_coarse<{c_type(cost)}>" if coarse else f"fill_plan<{c_type(cost)}, {c_type(target)}>"
        args = *self._plan_args(cost, inv_epsilon, alpha, beta), target
        self.device.launch(name, self._row_blocks(cost.shape[0]), THREADS, args)
        if not straight:
            self._written(target, out)

    def marginals(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, row_sum: Array, col_sum: Array
    ) -> None:
        cost, plan = self._matrix(cost), self._fused(cost)
        if not plan.columns:  # two passes
            args = self._plan_args(cost, inv_epsilon, alpha, beta)
            row_sum[:] = self.device.get(self._times(cost, args, None, 1))[:, 0]
            col_sum[:] = self.device.get(self._transposed_times(cost, args, None, 1))
            return
        n, m = cost.shape
        sums = self.device.empty((plan.slices, n), np.float64), self.device.empty((plan.bands, m), np.float64)
        potentials = self._vector(alpha), self._padded(beta * LOG2E, cost)
        args = cost, *sized((n, m, plan.most)), np.float64(inv_epsilon * LOG2E), *potentials, *sums
        name = f"plan_sums<{c_type(cost)}, {plan.columns}>"
        self.device.launch(name, plan.grid, plan.threads, args, plan.shared)
        row_sum[:], col_sum[:] = (self.device.get(self._joined(parts)) for parts in sums)

    def apply(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array
    ) -> None:
        cost = self._matrix(cost)
        args, columns = self._plan_args(cost, inv_epsilon, alpha, beta), self._vector(x)
        times = self._transposed_times if transpose else self._times
        out[:, :] = self.device.get(times(cost, args, columns, x.shape[1])).reshape(out.shape)

    def _times(self, cost: Array, args: tuple[Any, ...], x: Array | None, k: int) -> Array:
        out = self.device.empty((cost.shape[0], k), np.float64)
        grid = self._row_blocks(cost.shape[0])
        self.device.launch(f"plan_times<{c_type(cost)}>", grid, THREADS, (*args, x, np.int64(k), out))
        return out

    def _transposed_times(self, cost: Array, args: tuple[Any, ...], x: Array | None, k: int) -> Array:
        n, m = cost.shape
        return self._columns_of(f"plan_transposed_times<{c_type(cost)}>", (*args, x, np.int64(k)), n, m * k, m)

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
        total, dot = self.device.empty(n, np.float64), self.device.empty(n, np.float64)
        args = *self._plan_args(cost, inv_epsilon, alpha, beta), bar, self._vector(x), self._vector(y)
        results = np.float64(slope), target, total, dot
        name = f"tangent_rows<{c_type(cost)}, {c_type(bar)}>"
        self.device.launch(name, self._row_blocks(n), THREADS, (*args, *results))
        col_sum[:] = self.device.get(self._matrix_transposed_times(target, None))
        row_sum[:], row_dot[:] = self.device.get(total), self.device.get(dot)
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
        kl, moved = self.device.empty(n, np.float64), self.device.empty(n, np.float64)
        vectors = (self._vector(v) for v in (alpha, beta, row_factor, col_factor, row_rest, col_rest))
        args = cost, *sized(cost.shape), np.float64(inv_epsilon), *vectors, kl, moved
        self.device.launch(f"rounded_rows<{c_type(cost)}>", self._row_blocks(n), THREADS, args)
        divergence[:], transport[:] = self.device.get(kl), self.device.get(moved)

    def dense_product(self, kernel: Array, x: Array, transpose: bool, out: Array) -> None:
        kernel, vector = self._matrix(kernel), self._vector(x)
        if transpose:
            out[:] = self.device.get(self._matrix_transposed_times(kernel, vector))
            return
        n = kernel.shape[0]
        image = self.device.empty(n, np.float64)
        args = kernel, *sized(kernel.shape), vector, image
        self.device.launch(f"matrix_times<{c_type(kernel)}>", self._row_blocks(n), THREADS, args)
        out[:] = self.device.get(image)

    def _matrix_transposed_times(self, matrix: Array, x: Array | None) -> Array:
        n, m = matrix.shape
        args = matrix, *sized(matrix.shape), x
        return self._columns_of(f"matrix_transposed_times<{c_type(matrix)}>", args, n, m, m)
