"""Many problems in one launch: K in registers, and a block each for those that need more than one K."""

from __future__ import annotations

from typing import Any

import numpy as np

from .gpu_device import c_type
from .gpu_launches import THREADS, sized
from .gpu_passes import Passes
from .gpu_sides import Sides
from .gpu_tiles import Tile, tile_for
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
        lean = goal is None and omega == (1.0, 1.0) and _divide(rows) and _divide(cols)
        tile = tile_for(n, m, lean, device.shared) if precision != "double" and count > 0 else None
        potentials = self._vector(alpha), self._vector(beta)
        how = None if goal is None else self._vector(goal), np.int64(count), np.int32(end == "cols"), np.int32(cold)
        damping = np.float64(omega[0]), np.float64(omega[1])
        target, straight = (None, True) if tile is None or plans is None else self._target(plans)
        direct = target is not None and target.dtype == np.float32 and (straight or which.size == len(alpha))
        if tile is not None:
            problems = cost, *self._batch_args(batch, (n, m)), *sized((n, m))
            sides = (None,) * 12 if lean else (*self._batch_side(rows), *self._batch_side(cols))
            if lean:
                sides = (self._vector(rows.weight), *sides[1:6], self._vector(cols.weight), *sides[7:])
            masses = self._vector(batch.mass) if direct else None
            last = masses, target if direct else None
            found, errors = self._launch_tiles(tile, lean, problems, sides, damping, potentials, which, how, last)
            done[...] = device.get(found)
            if goal is not None:
                residual[...] = device.get(errors)
            left = np.flatnonzero(done < 0)
        else:
            left = np.arange(which.size)
        if left.size:
            problems = cost, *self._batch_args(batch), *sized((n, m))
            sides = *self._batch_side(rows), *self._batch_side(cols)
            fast = precision != "double"
            found, errors = self._launch_blocks(
                fast, problems, sides, damping, potentials, which[left], how, residual[left]
            )
            done[left], residual[left] = device.get(found), device.get(errors)
        for values, on_device in zip((alpha, beta), potentials, strict=True):
            values[...] = device.get(on_device)
        if plans is None:
            return
        starts = alpha + np.log(batch.mass)[:, None]
        if not direct:
            self.batch_plan(cost, batch, starts, beta, plans)
            return
        if left.size:
            self._fill_plans(cost, batch, starts, beta, which[left], target)
        if not straight:
            self._written(target, plans)

    def _launch_tiles(
        self,
        tile: Tile,
        lean: bool,
        problems: tuple[Any, ...],
        sides: tuple[Any, ...],
        damping: tuple[Any, ...],
        potentials: tuple[Array, Array],
        which: Array,
        how: tuple[Any, ...],
        last: tuple[Any, ...],
    ) -> tuple[Array, Array]:
        """(done, residual) of the problems, K in registers; done is -1 for those that need more."""
        device, size = self.device, which.size
        found, errors = device.empty(size, np.int64), self._vector(np.full(size, np.inf))
        chosen = None if _counts(which, len(potentials[0])) else device.put(which.astype(np.int64))
        args = (*problems, *sides, *damping, *potentials, chosen, np.int64(size), *how, *last, found, errors)
        blocks = -(-size // tile.problems)
        if tile.resident:
            blocks = min(blocks, tile.resident * device.multiprocessors)
        name = f"batch_tiles<{c_type(problems[0])}, {tile.arguments}, {'true' if lean else 'false'}>"
        device.launch(name, (blocks, 1), tile.threads, args, tile.shared)
        return found, errors

    def _launch_blocks(
        self,
        fast: bool,
        problems: tuple[Any, ...],
        sides: tuple[Any, ...],
        damping: tuple[Any, ...],
        potentials: tuple[Array, Array],
        which: Array,
        how: tuple[Any, ...],
        residual: Array,
    ) -> tuple[Array, Array]:
        """The same by a block each, which makes K as often as it takes; all problems are done afterwards."""
        device, (n, m) = self.device, problems[0].shape[1:]
        trust = (1e-4, 1e-28, 1e30, 1e8) if fast else (1e-20, 1e-250, 1e250, 1e100)
        threads = 32 if max(n, m) <= 32 else 64 if max(n, m) <= 64 else 128 if max(n, m) <= 128 else 256
        vectors, entries = 8 * 4 * (n + m), (4 if fast else 8) * n * m
        inside = vectors + entries <= device.shared
        blocks = max(1, min(which.size, (2048 // threads if inside else 2) * device.multiprocessors))
        kernel = None if inside else device.empty((blocks, n, m), np.float32 if fast else np.float64)
        found, errors = device.zeros(which.size, np.int64), self._vector(residual)
        chosen = device.put(which.astype(np.int64)), np.int64(which.size)
        limits = (np.float64(x) for x in trust)
        args = (*problems, *sides, *damping, *potentials, *chosen, *how, *limits, kernel, found, errors)
        name = f"batch_solve<{c_type(problems[0])}, {'float' if fast else 'double'}>"
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
