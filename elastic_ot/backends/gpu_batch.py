"""Many problems in one launch: K in registers, and a block each for those that need more than one K."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .gpu_device import c_type
from .gpu_launches import THREADS, sized
from .gpu_passes import Passes
from .gpu_sides import Sides
from .gpu_tiles import Tile, tile_for
from .protocol import Array, Batch, Side


@dataclass(frozen=True, eq=False)
class _Call:
    """What `batch_sweeps` is asked for; damping, potentials and how long (goals, count, end, cold) on the device."""

    cost: Array
    batch: Batch
    rows: Side
    cols: Side
    damping: tuple[Any, ...]
    potentials: tuple[Array, Array]
    how: tuple[Any, ...]
    fast: bool


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
        potentials = self._vector(alpha), self._vector(beta)
        goals = None if goal is None else self._vector(goal)
        how = goals, np.int64(count), np.int32(end == "cols"), np.int32(cold)
        damping = np.float64(omega[0]), np.float64(omega[1])
        call = _Call(cost, batch, rows, cols, damping, potentials, how, precision != "double")
        lean = goal is None and omega == (1.0, 1.0) and _divide(rows) and _divide(cols)
        n, m = cost.shape[1:]
        tile = tile_for(n, m, lean, cost.dtype == np.float32, device.shared) if call.fast and count > 0 else None
        target, straight, left = None, True, np.arange(which.size)
        if tile is not None:
            if plans is not None and (which.size == len(alpha) or device.holds(plans)):
                target, straight = self._target(plans)
            target = target if target is not None and target.dtype == np.float32 else None
            found, errors = self._launch_tiles(tile, lean, call, which, residual, target)
            done[...], residual[...] = device.get(found), device.get(errors)
            left = np.flatnonzero(done < 0)
        if left.size:  # all of them without a tile
            found, errors = self._launch_blocks(call, which[left], residual[left])
            done[left], residual[left] = device.get(found), device.get(errors)
        for values, on_device in zip((alpha, beta), potentials, strict=True):
            values[...] = device.get(on_device)
        if plans is None:
            return
        starts = alpha + np.log(batch.mass)[:, None]
        if target is None:
            self.batch_plan(cost, batch, starts, beta, plans)
            return
        if left.size:
            self._fill_plans(cost, batch, starts, beta, which[left], target)
        if not straight:
            self._written(target, plans)

    def _launch_tiles(
        self, tile: Tile, lean: bool, call: _Call, which: Array, residual: Array, plans: Array | None
    ) -> tuple[Array, Array]:
        """(done, residual) of some problems, K in registers; done is -1 for those that need more than one K."""
        device, (n, m), size = self.device, call.cost.shape[1:], which.size
        found, errors = device.empty(size, np.int64), self._vector(residual)
        if lean:
            nothing = (None,) * 5  # of a side that is divided by
            sides = self._vector(call.rows.weight), *nothing, self._vector(call.cols.weight), *nothing
        else:
            sides = *self._batch_side(call.rows), *self._batch_side(call.cols)
        chosen = None if _counts(which, len(call.potentials[0])) else device.put(which.astype(np.int64))
        args = (
            *(call.cost, *self._batch_args(call.batch, (n, m)), *sized((n, m)), *sides, *call.damping),
            *(*call.potentials, chosen, np.int64(size), *call.how),
            *(None if plans is None else self._vector(call.batch.mass), plans, found, errors),
        )
        blocks = -(-size // tile.problems)
        if tile.resident:
            blocks = min(blocks, tile.resident * device.multiprocessors)
        name = f"batch_tiles<{c_type(call.cost)}, {tile.arguments}, {'true' if lean else 'false'}>"
        device.launch(name, (blocks, 1), tile.threads, args, tile.shared)
        return found, errors

    def _launch_blocks(self, call: _Call, which: Array, residual: Array) -> tuple[Array, Array]:
        """The same by a block each, which makes K as often as it takes: all of them are done afterwards."""
        device, (n, m) = self.device, call.cost.shape[1:]
        trust = (1e-4, 1e-28, 1e30, 1e8) if call.fast else (1e-20, 1e-250, 1e250, 1e100)
        threads = 32 if max(n, m) <= 32 else 64 if max(n, m) <= 64 else 128 if max(n, m) <= 128 else 256
        vectors, entries = 8 * 4 * (n + m), (4 if call.fast else 8) * n * m
        inside = vectors + entries <= device.shared
        blocks = max(1, min(which.size, (2048 // threads if inside else 2) * device.multiprocessors))
        kernel = None if inside else device.empty((blocks, n, m), np.float32 if call.fast else np.float64)
        found, errors = device.zeros(which.size, np.int64), self._vector(residual)
        args = (
            *(call.cost, *self._batch_args(call.batch), *sized((n, m))),
            *(*self._batch_side(call.rows), *self._batch_side(call.cols), *call.damping, *call.potentials),
            *(device.put(which.astype(np.int64)), np.int64(which.size), *call.how),
            *(*(np.float64(x) for x in trust), kernel, found, errors),
        )
        name = f"batch_solve<{c_type(call.cost)}, {'float' if call.fast else 'double'}>"
        device.launch(name, (blocks, 1), threads, args, vectors + (entries if inside else 0))
        return found, errors

    def _batch_args(self, batch: Batch, shape: tuple[int, ...] | None = None) -> tuple[Any, ...]:
        """What kernels read of it; lists that say what `shape` does of all problems are left out."""
        put = self.device.put
        cost_of, row_count, col_count = (np.ascontiguousarray(x, dtype=np.int64) for x in (batch[0], *batch[2:4]))
        whole = shape is not None and bool((row_count == shape[0]).all() and (col_count == shape[1]).all())
        counts = (None, None) if whole else (put(row_count), put(col_count))
        return (
            None if shape is not None and _counts(cost_of, cost_of.size) else put(cost_of),
            self._vector(batch.inv_epsilon),
            *counts,
        )

    def batch_plan(self, cost: Array, batch: Batch, alpha: Array, beta: Array, out: Array) -> None:
        target, straight = self._target(out)
        self._fill_plans(self._matrix(cost), batch, alpha, beta, None, target)
        if not straight:
            self._written(target, out)

    def _fill_plans(
        self, cost: Array, batch: Batch, alpha: Array, beta: Array, which: Array | None, target: Array
    ) -> None:
        """The plans of some problems, by default of all, in memory of the device."""
        size, n, m = target.shape
        chosen, size = (None, size) if which is None else (self.device.put(which.astype(np.int64)), which.size)
        potentials = self._vector(alpha), self._vector(beta)
        args = cost, *self._batch_args(batch), chosen, *sized((size, n, m)), *potentials, target
        name = f"batch_fill_plan<{c_type(cost)}, {c_type(target)}>"
        self.device.launch(name, self._row_blocks(size * n), THREADS, args)

    def batch_marginals(
        self, cost: Array, batch: Batch, alpha: Array, beta: Array, which: Array, row_sum: Array, col_sum: Array
    ) -> None:
        cost = self._matrix(cost)
        sums = self._vector(row_sum), self._vector(col_sum)
        args = (
            *(cost, *self._batch_args(batch), *sized(cost.shape[1:]), self._vector(alpha), self._vector(beta)),
            *(self.device.put(which.astype(np.int64)), np.int64(which.size), *sums),
        )
        self.device.launch(f"batch_sums<{c_type(cost)}>", self._row_blocks(which.size), THREADS, args)
        row_sum[...], col_sum[...] = self.device.get(sums[0]), self.device.get(sums[1])

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


def _divide(side: Side) -> bool:
    """True if the updates of all problems are divisions."""
    return bool((side.code == 0).all() and (side.strength == 1.0).all())


def _counts(numbers: Array, size: int) -> bool:
    """True if they are 0, 1, 2, ..., size - 1."""
    return numbers.size == size and bool((numbers == np.arange(size)).all())
