"""Launches that the primitives on a GPU share: matrices and vectors on the device, grids, fused sweeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..protocol import Array, Side
from .device import STREAM, Device, shapes_of
from .transfers import Room

THREADS = 256


@dataclass(eq=False)
class Scratch:
    """Exponentials in float32 or not, and which sums are trusted (`cpu.dense.scratch` says why).

    It keeps the sides of the last sweeps, which a solver passes again and again and never writes to, on the device.
    """

    exponential: str
    trust: tuple[np.float64, np.float64, np.float64]
    sides: tuple[Side, Side] | None = field(default=None, init=False)
    side_args: tuple[tuple[Any, ...], tuple[Any, ...]] = field(default=((), ()), init=False)


class Fused(NamedTuple):
    """How a sweep is launched.

    A row is shared by `slices` blocks with up to `most` columns each, `columns` a thread; `bands` of such blocks share
    the rows. If columns = 0 there are too many for that, and rows are worked on in chunks that fit the cache.
    """

    columns: int
    threads: int
    bands: int
    slices: int
    most: int
    chunk: int

    @property
    def reach(self) -> int:
        """Columns that threads look at, those beyond the matrix included."""
        return (self.slices - 1) * self.most + self.columns * self.threads

    @property
    def grid(self) -> tuple[int, int]:
        return self.bands * self.slices, 1

    @property
    def shared(self) -> int:
        return STREAM * self.threads


def sized(values: tuple[int, ...]) -> tuple[np.int64, ...]:
    return tuple(np.int64(x) for x in values)


def packed(side: Side) -> Array:
    """Return the vectors of a side as kernels read them."""
    return np.stack((side.weight, side.log_weight, side.offset))


def rule(side: Side) -> tuple[Any, ...]:
    """Return the numbers of a side, which follow its vectors among the arguments of kernels."""
    return np.int32(side.code), np.float64(side.strength), np.float64(side.strength2)


class Launches:
    """A device, and what every primitive does on it."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def _matrix(self, matrix: Array) -> Array:
        """On the device and C-contiguous, without a copy where it is."""
        return matrix if self.device.holds(matrix) and matrix.flags.c_contiguous else self.device.put(matrix)

    def _target(self, out: Array) -> tuple[Array, bool]:
        """What a kernel writes for `out`, and whether it is `out` itself; kernels write no half precision."""
        half = out.dtype.itemsize < 4
        if self.device.holds(out) and out.flags.c_contiguous and not half:
            return out, True
        return self.device.empty(out.shape, np.float32 if half else out.dtype), False

    def _written(self, values: Array, out: Array) -> None:
        """`values` of the device to `out`, wherever that lies."""
        if self.device.holds(out):
            self.device.copy(values, out)
        else:
            out[...] = self.device.get(values)

    def _vector(self, values: Array) -> Array:
        return self.device.put(np.ascontiguousarray(values, dtype=np.float64))

    def _vectors(self, *parts: Array | Room) -> list[Array]:
        """Return vectors on the device, by one transfer, in float64; integers keep their type, room stays room."""
        return self.device.pack(
            [x if isinstance(x, Room) or x.dtype.kind == "i" else np.asarray(x, dtype=np.float64) for x in parts]
        )

    def _padded(self, values: Array, matrix: Array) -> Array:
        """A vector for the columns of a fused sweep, zeros beyond its end: see kernels/streams.cuh."""
        plan = self._fused(matrix)
        padded = np.zeros(max(values.size, plan.reach))
        padded[: values.size] = values
        return padded

    def _sides(self, scratch: Scratch, rows: Side, cols: Side) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Arguments of a kernel that reads a side, for either: packed vectors, code and strengths."""
        kept = scratch.sides
        if kept is None or kept[0] is not rows or kept[1] is not cols:
            of_rows, of_cols = self._vectors(packed(rows), packed(cols))
            scratch.sides, scratch.side_args = (rows, cols), ((of_rows, *rule(rows)), (of_cols, *rule(cols)))
        return scratch.side_args

    def _row_blocks(self, n: int) -> tuple[int, int]:
        return max(1, min(n, 16 * self.device.multiprocessors)), 1

    def _column_blocks(self, n: int, m: int) -> tuple[int, int]:
        """Blocks over the columns, and parts of the rows, so that narrow matrices keep the device busy, too."""
        across = -(-m // THREADS)
        return across, max(1, min(-(-n // 8), 4 * self.device.multiprocessors // across))

    def _fused(self, matrix: Array) -> Fused:
        (n, m), size, device = matrix.shape, matrix.dtype.itemsize, self.device
        shapes = shapes_of(size)
        slices = -(-m // min(device.widest, shapes[-1][0] * shapes[-1][1]))
        if slices > device.together:
            chunk = max(1, device.cache // 2 // (m * size))
            return Fused(0, THREADS, self._row_blocks(min(n, chunk))[0], 1, m, chunk)
        most = -(-m // (8 * slices)) * 8 if slices > 1 else m  # of which every slice begins as aligned as a row does
        slices = -(-m // most)
        columns, threads = next((c, t) for c, t in shapes if c * t >= most)
        resident = device.multiprocessors * max(1, 512 // threads)
        return Fused(columns, threads, max(1, min(-(-n // 4), resident // slices)), slices, most, n)

    def _columns_of(self, name: str, args: tuple[Any, ...], n: int, like: int, out: Array, top: bool = False) -> None:
        """Column results of a kernel that leaves a part for each share of the rows, as many numbers as `out` has."""
        grid = self._column_blocks(n, like)
        parts = self.device.empty((grid[1], out.size), np.float64)
        self.device.launch(name, grid, THREADS, (*args, parts))
        self._join(parts, out, top)

    def _join(self, parts: Array, out: Array, top: bool = False) -> None:
        count, width = parts.shape
        sizes = sized((count, width))
        if top:
            self.device.launch("max_parts", (-(-width // THREADS), 1), THREADS, (parts, *sizes, out))
        else:
            self.device.launch("sum_parts", (-(-width // 32), 1), THREADS, (parts, *sizes, out))

    def _sweep(
        self,
        matrix: Array,
        fused: str,
        args: tuple[Any, ...],
        wide_rows: tuple[str, tuple[Any, ...]],
        wide_columns: tuple[str, tuple[Any, ...]],
        state: Array,
        kinds: int,
    ) -> tuple[Callable[[], None], Array]:
        """What launches the large kernels of an iteration, and where column sums will lie, a part for each band.

        `kinds` are the numbers that blocks which share a row tell each other of it.
        """
        device, (n, m), plan = self.device, matrix.shape, self._fused(matrix)
        if plan.columns:
            parts, name = device.empty((plan.bands, m), np.float64), f"{fused}, {plan.columns}>"
            sent = device.empty(kinds * n * plan.slices, np.float64) if plan.slices > 1 else None
            fixed = matrix, *sized((n, m, plan.most)), sent, *args, parts, state

            def sweep() -> None:
                if sent is not None:
                    blocks = self._row_blocks(-(-sent.size // THREADS))
                    device.launch("unsend", blocks, THREADS, (np.int64(sent.size), sent, state))
                device.launch(name, plan.grid, plan.threads, fixed, plan.shared)

            return sweep, parts
        across, shares = self._column_blocks(min(n, plan.chunk), m)
        parts = device.empty((shares, m), np.float64)

        def sweep_chunks() -> None:
            for begin in range(0, n, plan.chunk):
                chunk = matrix, *sized((m, begin, min(begin + plan.chunk, n)))
                device.launch(wide_rows[0], (plan.bands, 1), THREADS, (*chunk, *wide_rows[1], state))
                device.launch(wide_columns[0], (across, shares), THREADS, (*chunk, *wide_columns[1], parts, state))

        return sweep_chunks, parts
