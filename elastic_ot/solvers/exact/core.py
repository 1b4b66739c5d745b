"""The few cells on which an exact problem is solved, grown until the others are proved not to matter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Graph, Paths
from ...costs.base import KnownCost
from ...problems.penalty import Indices, Vector

FIRST_CELLS = 32  # cells a row; measured: 16 need more rounds, 48 cost more time
CHOICE = 4  # times so many cells to choose from
COPIED = 1 << 20  # entries of the cost transposed together, for lists of columns
PAUSE_ENTRIES = 1 << 27  # entries of the cost read between two pauses


class Core:
    """Cells of least reduced cost, as the paths read them."""

    def __init__(self, cost: KnownCost, paths: Paths, pause: Callable[[], object]) -> None:
        n, m = cost.shape
        self.cost, self.paths, self.pause = cost, paths, pause
        self.plan = cost.plan(1.0)
        cells, lists = np.empty(0, np.int32), np.full(m, -1, np.int32)
        flow = np.empty(0, np.int64)
        self.graph = Graph(np.zeros(n + 1, np.int64), cells, cells, np.empty(0), flow, lists, cells, cells)

    def grow_rows(self, which: Indices, v: Vector, k: int = FIRST_CELLS) -> Vector:
        """With the k least cells of these rows, in columns with v > -inf; returns the rows' least reduced costs."""
        heads, least = self._least_of_rows(which, v, k)
        self._extend(which, heads, self._costs(which, heads))
        return least

    def add_below(self, which: Indices, u: Vector, v: Vector, k: int) -> None:
        """With cells of these rows whose reduced cost is negative, the k least of them at most."""
        heads, _ = self._least_of_rows(which, v, k)
        values = self._costs(which, heads)
        self._extend(which, np.where(values - v[heads] < u[which, None], heads, np.int32(-1)), values)

    def grow_cols(self, which: Indices, u: Vector, k: int = FIRST_CELLS) -> Vector:
        """With the k least cells of these columns, in rows with u > -inf; returns the columns' least reduced costs."""
        heads, values, least = self._least_of_cols(which, u, k)
        self._extend_cols(which, heads, values)
        return least

    def leave_rows(self, which: Indices, u: Vector, v: Vector, room: int) -> bool:
        """With the `room` cheapest ways out of these rows, to columns with v > -inf; false if there is none."""
        heads, _ = self._least_of_rows(which, v, _share(room, which.size))
        values = self._costs(which, heads)
        self._extend(which, _cheapest(heads, values - u[which, None] - v[heads], room), values)
        return bool((heads >= 0).any())

    def leave_cols(self, which: Indices, u: Vector, v: Vector, room: int) -> bool:
        """With the `room` cheapest ways out of these columns, to rows with u > -inf; false if there is none."""
        heads, values, _ = self._least_of_cols(which, u, _share(room, which.size))
        self._extend_cols(which, _cheapest(heads, values - v[which, None] - u[heads], room), values)
        return bool((heads >= 0).any())

    def _costs(self, which: Indices, heads: NDArray[np.int32]) -> NDArray[np.floating]:
        """The costs of cells of these rows; any number where there is none, which is -1."""
        some = heads if self.cost.stored else np.maximum(heads, 0)  # of a matrix, -1 is the last column
        found: NDArray[np.floating] = self.cost.at(which[:, None], some)
        return found

    def _least_of_rows(self, which: Indices, v: Vector, k: int) -> tuple[NDArray[np.int32], Vector]:
        heads, least = np.empty((which.size, min(k, self.cost.shape[1])), np.int32), np.empty(which.size)
        step = max(1, PAUSE_ENTRIES // self.cost.row_entries)
        for at in range(0, which.size, step):
            self.pause()
            part = slice(at, at + step)
            self.plan.least_cells(v, which[part], heads[part], least[part])
        return heads, least

    def _least_of_cols(
        self, which: Indices, u: Vector, k: int
    ) -> tuple[NDArray[np.int32], NDArray[np.floating], Vector]:
        """Their rows and costs, and the least; some columns of a matrix are copied at a time, to lie in a row."""
        if not self.cost.stored:
            turned = Core(self.cost.transpose(), self.paths, self.pause)
            heads, least = turned._least_of_rows(which, u, k)
            return heads, turned._costs(which, heads), least
        n = self.cost.shape[0]
        heads = np.empty((which.size, min(k, n)), np.int32)
        values, least = np.empty(heads.shape, self.cost.dtype), np.empty(which.size)
        step = max(1, COPIED // n)
        for at in range(0, which.size, step):
            self.pause()
            part = slice(at, at + step)
            block = self.cost.columns(which[part])
            rows = np.arange(block.shape[0])
            self.plan.backend.least_cells(block, u, rows, heads[part], least[part])
            values[part] = np.take_along_axis(block, heads[part].astype(np.int64), axis=1)
        return heads, values, least

    def _extend_cols(self, cols: Indices, heads: NDArray[np.int32], values: NDArray[np.floating]) -> None:
        self.graph = self.paths.transpose(self.graph)
        self._extend(cols, heads, values)
        self.graph = self.paths.transpose(self.graph)

    def least(self, v: Vector) -> Vector:
        """min_j C_ij - v_j over the cells of the core, inf for rows without one."""
        graph = self.graph
        out, filled = np.full(self.cost.shape[0], np.inf), np.diff(graph.pointers) > 0
        if filled.any():
            out[filled] = np.minimum.reduceat(graph.cost - v[graph.heads], graph.pointers[:-1][filled])
        return out

    def _extend(self, rows: Indices, heads: NDArray[np.int32], values: NDArray[np.floating]) -> None:
        place = np.full(self.graph.pointers.size - 1, -1, np.int32)
        place[rows] = np.arange(rows.size, dtype=np.int32)
        self.graph = self.paths.extend(self.graph, place, heads, values.astype(np.float64, copy=False))


def _share(room: int, which: int) -> int:
    """Cells of each of so many rows from which the cheapest are chosen."""
    return max(1, CHOICE * room // which)


def _cheapest(heads: NDArray[np.int32], reduced: NDArray[np.floating], count: int) -> NDArray[np.int32]:
    """Only about so many of the cells, those of least reduced cost."""
    reduced = np.where(heads < 0, np.inf, reduced).ravel()
    if np.isfinite(reduced).sum() <= count:
        return heads
    kept = np.full(reduced.size, -1, np.int32)
    which = np.argpartition(reduced, count)[:count]
    kept[which] = heads.ravel()[which]
    return kept.reshape(heads.shape)
