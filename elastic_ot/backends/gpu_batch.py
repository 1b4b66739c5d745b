"""Many problems in one launch, a block each."""

from __future__ import annotations

from typing import Any

import numpy as np

from .gpu_device import c_type
from .gpu_launches import THREADS, sized
from .gpu_passes import Passes
from .gpu_sides import Sides
from .protocol import Array, Batch, Side


class Batches(Sides, Passes):
    """`protocol.BatchBackend`."""

    def batch_sweeps(
        self,
        cost: Array,
        batch: Batch,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        which: Array,
        goal: Array | None,
        count: int,
        end: str,
        cold: bool,
        precision: str,
        done: Array,
        residual: Array,
        plans: Array | None = None,
    ) -> None:
        device, cost = self.device, self._matrix(cost)
        n, m = cost.shape[1:]
        fast = precision != "double"
        trust = (1e-4, 1e-28, 1e30, 1e8) if fast else (1e-20, 1e-250, 1e250, 1e100)
        threads = 32 if max(n, m) <= 32 else 64 if max(n, m) <= 64 else 128 if max(n, m) <= 128 else 256
        vectors, entries = 8 * 4 * (n + m), (4 if fast else 8) * n * m
        inside = vectors + entries <= device.shared
        blocks = max(1, min(which.size, (2048 // threads if inside else 2) * device.multiprocessors))
        kernel = None if inside else device.empty((blocks, n, m), np.float32 if fast else np.float64)
        found, errors = device.zeros(which.size, np.int64), self._vector(residual)
        potentials = self._vector(alpha), self._vector(beta)
        args = (
            *(cost, *self._batch_args(batch), *sized((n, m)), *self._batch_side(rows), *self._batch_side(cols)),
            *(np.float64(omega[0]), np.float64(omega[1]), *potentials, device.put(which.astype(np.int64))),
            *(np.int64(which.size), None if goal is None else self._vector(goal), np.int64(count)),
            *(np.int32(end == "cols"), np.int32(cold), *(np.float64(x) for x in trust), kernel, found, errors),
        )
        name = f"batch_solve<{c_type(cost)}, {'float' if fast else 'double'}>"
        device.launch(name, (blocks, 1), threads, args, vectors + (entries if inside else 0))
        for values, on_device in ((alpha, potentials[0]), (beta, potentials[1]), (done, found), (residual, errors)):
            values[...] = device.get(on_device)
        if plans is not None:
            self.batch_plan(cost, batch, alpha + np.log(batch.mass)[:, None], beta, plans)

    def _batch_args(self, batch: Batch) -> tuple[Any, ...]:
        return tuple(self._vectors(*_parts(batch)))

    def batch_plan(self, cost: Array, batch: Batch, alpha: Array, beta: Array, out: Array) -> None:
        cost = self._matrix(cost)
        target, straight = self._target(out)
        *problems, starts, ends = self._vectors(*_parts(batch), alpha, beta)
        args = cost, *problems, *sized(out.shape), starts, ends, target
        name = f"batch_fill_plan<{c_type(cost)}, {c_type(target)}>"
        self.device.launch(name, self._row_blocks(out.shape[0] * out.shape[1]), THREADS, args)
        if not straight:
            self._written(target, out)

    def batch_marginals(
        self, cost: Array, batch: Batch, alpha: Array, beta: Array, which: Array, row_sum: Array, col_sum: Array
    ) -> None:
        cost = self._matrix(cost)
        numbers = which.astype(np.int64)
        *problems, starts, ends, chosen, rows, cols = self._vectors(
            *_parts(batch), alpha, beta, numbers, row_sum, col_sum
        )
        args = cost, *problems, *sized(cost.shape[1:]), starts, ends, chosen, np.int64(which.size), rows, cols
        self.device.launch(f"batch_sums<{c_type(cost)}>", self._row_blocks(which.size), THREADS, args)
        row_sum[...], col_sum[...] = self.device.get_all((rows, cols))

    def batch_rounded_sums(
        self,
        cost: Array,
        batch: Batch,
        alpha: Array,
        beta: Array,
        which: Array,
        row_factor: Array,
        col_factor: Array,
        row_rest: Array,
        col_rest: Array,
        divergence: Array,
        transport: Array,
    ) -> None:
        parts = row_factor, col_factor, row_rest, col_rest, divergence, transport
        for k in which:
            matrix, inv_epsilon = cost[batch.cost_of[k]], float(batch.inv_epsilon[k])
            self.rounded_sums(matrix, inv_epsilon, alpha[k], beta[k], *(part[k] for part in parts))


def _parts(batch: Batch) -> tuple[Array, ...]:
    """What kernels read of it."""
    cost_of, row_count, col_count = (np.asarray(x, np.int64) for x in (batch.cost_of, batch.row_count, batch.col_count))
    return cost_of, batch.inv_epsilon, row_count, col_count
