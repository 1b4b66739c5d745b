"""Cells of supports and sparse matrices on a GPU, kept by rows and by columns: both kinds of sum read them in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...arrays.half import working_dtype
from ..protocol import Array
from .device import c_type
from .launches import THREADS, sized
from .sides import Sides

A_THREAD = 4  # cells of a line that a thread has, about
PART = 64  # rows that a block puts in order one after the other, at most while there are blocks for all
SCAN = 512  # threads of the block that makes pointers of sizes


class Lines(NamedTuple):
    """Cells line by line: those of line i are pointers[i] : pointers[i + 1], at the places `others` of the other side.

    Pointers are int64, places int32, and arrays may be longer than pointers[-1].
    """

    pointers: Array
    others: Array
    values: Array

    @property
    def size(self) -> int:
        return int(self.pointers.size) - 1

    @property
    def mean(self) -> int:
        """Cells of a line, at most, on average."""
        return int(self.others.size) // self.size


@dataclass(eq=False)
class DeviceSupport:
    """`protocol.Support` on a device; the values of a line are costs.

    Those of the plan are not stored: they follow from 1 / epsilon and the potentials of the last sweep, in base 2.
    """

    rows: Lines
    cols: Lines
    alpha2: Array
    beta2: Array
    inv2: float = 0.0


class DeviceSparse(NamedTuple):
    """`protocol.Sparse` on a device."""

    rows: Lines
    cols: Lines

    @property
    def pointers(self) -> Array:
        return self.rows.pointers


class Cells(Sides):
    """The primitives that make supports and sparse matrices, but for the choice of cells."""

    def support_of(self, pointers: Array, indices: Array, cost: Array, m: int) -> DeviceSupport:
        rows = Lines(*(self._matrix(values) for values in (pointers, indices, cost)))
        potentials = self._vectors(np.full(rows.size, -np.inf), np.zeros(m))  # a plan of zeros
        return DeviceSupport(rows, self._by_columns(rows, m), *potentials)

    def sparse_of(self, pointers: Array, indices: Array, values: Array, m: int) -> DeviceSparse:
        rows = Lines(*(self._matrix(array) for array in (pointers, indices, values)))
        return DeviceSparse(rows, self._by_columns(rows, m))

    def sparse_like(self, support: DeviceSupport) -> DeviceSparse:
        rows = self._lines(support.rows.size, support.rows.others.size, np.dtype(np.float64))
        return DeviceSparse(rows, self._lines(support.cols.size, support.cols.others.size, np.dtype(np.float64)))

    def cell_bytes(self, cost: Array) -> int:
        support, matrix = 2 * (4 + working_dtype(cost).itemsize), 2 * (4 + 8)
        return int(support + matrix)

    def _lines(self, size: int, cells: int, dtype: np.dtype) -> Lines:
        pointers, others = self.device.empty(size + 1, np.int64), self.device.empty(cells, np.int32)
        return Lines(pointers, others, self.device.empty(cells, dtype))

    def _by_columns(self, rows: Lines, m: int) -> Lines:
        cols = self._lines(m, rows.others.size, rows.values.dtype)
        self._order(rows, cols)
        return cols

    def _order(self, rows: Lines, cols: Lines) -> None:
        """Write the cells by columns, given those by rows.

        Counts take up to 16 bytes a cell, or 1/16 byte an entry of the whole matrix, which is 1/64 of a float32 cost.
        """
        device, (n, m) = self.device, (rows.size, cols.size)
        parts = max(1, min(n, 4 * device.multiprocessors, max(4 * cols.mean, n // PART)))
        counts, sizes = device.zeros((parts, m), np.int32), device.empty(m, np.int64)
        grid, threads, shape = (parts, 1), self._line_threads(rows), sized((n, m))
        device.launch("count_columns", grid, threads, (*rows[:2], *shape, counts))
        device.launch("column_offsets", (-(-m // THREADS), 1), THREADS, (*sized((parts, m)), counts, sizes))
        self._sum_up(sizes, cols.pointers)
        args = *rows, *shape, counts, *cols
        device.launch(f"write_columns<{c_type(rows.values)}>", grid, threads, args)

    def _sum_up(self, sizes: Array, pointers: Array) -> None:
        self.device.launch("running_sums", (1, 1), SCAN, (sizes, np.int64(sizes.size), pointers))

    def _line_threads(self, lines: Lines) -> int:
        return min(THREADS, 32 * max(1, -(-lines.mean // (32 * A_THREAD))))

    def _each_line(self, lines: Lines) -> tuple[tuple[int, int], int]:
        """Blocks and threads of a kernel with a block a line, so many that a device is busy several times over."""
        threads = self._line_threads(lines)
        return (max(1, min(lines.size, 8192 // threads * self.device.multiprocessors)), 1), threads
