"""Many problems in one launch: K in registers, and a block each for those that need more than one K."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..protocol import TRUST_DOUBLE, TRUST_SINGLE, Array, Batch, Side
from .device import c_type
from .launches import THREADS, sized
from .passes import Passes
from .sides import Sides
from .tiles import Tile, tile_for
from .transfers import Room

INT64 = np.dtype(np.int64)


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
        given = () if goal is None else (goal,)
        *held, errors, found, goals = (*self._vectors(alpha, beta, residual, Room(done.shape, INT64), *given), None)[:5]
        how = goals, np.int64(count), np.int32(end == "cols"), np.int32(cold)
        damping = np.float64(omega[0]), np.float64(omega[1])
        call = _Call(cost, batch, rows, cols, damping, (held[0], held[1]), how, precision != "double")
        lean = goal is None and omega == (1.0, 1.0) and _divide(rows) and _divide(cols)
        n, m = cost.shape[1:]
        tile = tile_for(n, m, lean, cost.dtype == np.float32, device.shared) if call.fast and count > 0 else None
        target, straight, left = None, True, np.arange(which.size)
        if tile is not None:
            if plans is not None and (which.size == len(alpha) or device.holds(plans)):
                target, straight = self._target(plans)
            target = target if target is not None and target.dtype == np.float32 else None
            self._launch_tiles(tile, lean, call, which, (target, found, errors))
            alpha[...], beta[...], residual[...], done[...] = device.get_all((*held, errors, found))
            left = np.flatnonzero(done < 0)
        if left.size:  # all of them without a tile
            residual[left], done[left] = device.get_all(self._launch_blocks(call, which[left], residual[left]))
            alpha[...], beta[...] = device.get_all(held)
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
        self, tile: Tile, lean: bool, call: _Call, which: Array, out: tuple[Array | None, Array, Array]
    ) -> None:
        """Launch iterations on some problems with K in registers; write plans, if they are wanted, done and residual.

        done is -1 for those that need more than one K.
        """
        device, (n, m), size = self.device, call.cost.shape[1:], which.size
        if lean:
            nothing = (None,) * 5  # of a side that is divided by
            sides = self._vector(call.rows.weight), *nothing, self._vector(call.cols.weight), *nothing
        else:
            sides = *self._batch_side(call.rows), *self._batch_side(call.cols)
        chosen = None if _counts(which, len(call.potentials[0])) else device.put(which.astype(np.int64))
        args = (
            *(call.cost, *self._batch_args(call.batch, shape=(n, m)), *sized((n, m)), *sides, *call.damping),
            *(*call.potentials, chosen, np.int64(size), *call.how),
            *(None if out[0] is None else self._vector(call.batch.mass), *out),
        )
        blocks = -(-size // tile.problems)
        if tile.resident:
            blocks = min(blocks, tile.resident * device.multiprocessors)
        name = f"batch_tiles<{c_type(call.cost)}, {tile.arguments}, {'true' if lean else 'false'}>"
        device.launch(name, (blocks, 1), tile.threads, args, tile.shared)

    def _launch_blocks(self, call: _Call, which: Array, residual: Array) -> tuple[Array, Array]:
        """Launch a block a problem, which makes K as often as it takes; returns (residual, done) on the device."""
        device, (n, m) = self.device, call.cost.shape[1:]
        trust = (*TRUST_SINGLE, 1e8) if call.fast else (*TRUST_DOUBLE, 1e100)
        threads = 32 if max(n, m) <= 32 else 64 if max(n, m) <= 64 else 128 if max(n, m) <= 128 else 256
        vectors, entries = 8 * 4 * (n + m), (4 if call.fast else 8) * n * m
        inside = vectors + entries <= device.shared
        blocks = max(1, min(which.size, (2048 // threads if inside else 2) * device.multiprocessors))
        kernel = None if inside else device.empty((blocks, n, m), np.float32 if call.fast else np.float64)
        errors, found, chosen = self._vectors(residual, Room(which.shape, INT64), which.astype(np.int64))
        args = (
            *(call.cost, *self._batch_args(call.batch), *sized((n, m))),
            *(*self._batch_side(call.rows), *self._batch_side(call.cols), *call.damping, *call.potentials),
            *(chosen, np.int64(which.size), *call.how),
            *(*(np.float64(x) for x in trust), kernel, found, errors),
        )
        name = f"batch_solve<{c_type(call.cost)}, {'float' if call.fast else 'double'}>"
        device.launch(name, (blocks, 1), threads, args, vectors + (entries if inside else 0))
        return errors, found

    def _batch_args(self, batch: Batch, *more: Array, shape: tuple[int, ...] | None = None) -> list[Any]:
        """Return the arguments that describe the batch to kernels; lists that only repeat `shape` are left out."""
        cost_of, row_count, col_count = (np.asarray(x, np.int64) for x in (batch.cost_of, *batch[2:4]))
        lists: list[Array | None] = [cost_of, batch.inv_epsilon, row_count, col_count]
        if shape is not None and _counts(cost_of, cost_of.size):
            lists[0] = None
        if shape is not None and (row_count == shape[0]).all() and (col_count == shape[1]).all():
            lists[2:] = None, None
        sent = iter(self._vectors(*(x for x in lists if x is not None), *more))
        return [None if x is None else next(sent) for x in (*lists, *more)]

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
        numbers = () if which is None else (which.astype(np.int64),)
        *problems, starts, ends, chosen = (*self._batch_args(batch, alpha, beta, *numbers), None)[:7]
        size = size if which is None else which.size
        args = cost, *problems, chosen, *sized((size, n, m)), starts, ends, target
        name = f"batch_fill_plan<{c_type(cost)}, {c_type(target)}>"
        self.device.launch(name, self._row_blocks(size * n), THREADS, args)

    def batch_marginals(
        self, cost: Array, batch: Batch, alpha: Array, beta: Array, which: Array, row_sum: Array, col_sum: Array
    ) -> None:
        cost = self._matrix(cost)
        more = alpha, beta, which.astype(np.int64), row_sum, col_sum
        *problems, starts, ends, chosen, rows, cols = self._batch_args(batch, *more)
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


def _divide(side: Side) -> bool:
    """True if the updates of all problems are divisions."""
    return bool((side.code == 0).all() and (side.strength == 1.0).all())


def _counts(numbers: Array, size: int) -> bool:
    """True if they are 0, 1, 2, ..., size - 1."""
    return numbers.size == size and bool((numbers == np.arange(size)).all())
