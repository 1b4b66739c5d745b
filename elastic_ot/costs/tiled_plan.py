"""The plan of any cost, a strip of rows at a time: every strip is computed, read by the dense kernels and let go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..backends import load_shares
from ..backends.protocol import Array, Backend, Side, Support, Vectors
from ..backends.updates import update_change
from .base import STRIP, KnownCost
from .operator import Gram, Product, gram_of

SUPPORT_CELLS = 1 << 24  # entries of a support, at most
ROWS_BETWEEN = 8  # rows that may be computed in vain between two that are wanted


def strip_of(side: Side, rows: slice) -> Side:
    """Return some entries of a side."""
    return side._replace(weight=side.weight[rows], log_weight=side.log_weight[rows], offset=side.offset[rows])


def tiled_share(entries: int) -> float:
    """Return the share of so many entries that a support may hold, of a cost that is not stored."""
    return min(0.1, SUPPORT_CELLS / entries)


@dataclass(frozen=True, eq=False)
class TiledPlan:
    """`PlanOperator` for a cost that is computed by blocks.

    A pass computes every entry once. Nothing of size n x m is kept; a strip has about `STRIP` entries.
    """

    cost: KnownCost
    inv_epsilon: float
    backend: Backend
    rows: Any = None
    cols: Any = None
    stored: ClassVar[bool] = False
    every: slice = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "every", slice(0, self.cost.shape[1]))

    def with_sides(self, rows: Side, cols: Side) -> TiledPlan:
        return replace(self, rows=rows, cols=cols)

    def scratch(self, fast: bool, brief: bool = False) -> Any:
        n, m = self.cost.shape
        return self.backend.scratch((min(n, max(1, STRIP // m)), m), fast, brief=True)

    def sweep(self, omega: tuple[float, float], vectors: Vectors, scratch: Any, count: int) -> None:
        for _ in range(count):
            self._iterate(omega, vectors, scratch)

    def _iterate(self, omega: tuple[float, float], vectors: Vectors, scratch: Any) -> None:
        """One iteration: the columns, then the rows of every strip and their shares of the column sums."""
        alpha, beta, log_row, log_col, previous, updated = vectors
        change = update_change(self.cols, omega[1], beta, log_col, self.backend.potential)
        beta += change
        np.add(log_col, change, out=updated)
        total, unused = np.full_like(log_col, -np.inf), np.empty_like(log_col)
        for rows, block in self.cost.strips():
            share = np.zeros_like(log_col)
            part = alpha[rows], beta, log_row[rows], share, previous[rows], unused
            sides = strip_of(self.rows, rows), self.cols
            self.backend.log_sweeps(block, self.inv_epsilon, *sides, (omega[0], 0.0), *part, scratch, 1)
            np.logaddexp(total, share, out=total)
        log_col[:] = total

    def sweep_share(self, omega: float, vectors: Vectors, scratch: Any, out: Array) -> None:
        alpha, beta, log_row, log_col, previous, updated = vectors
        part = np.empty_like(out)
        out[:] = 0.0
        for rows, block in self.cost.strips():
            own = Vectors(alpha[rows], beta, log_row[rows], log_col, previous[rows], updated)
            side = strip_of(self.rows, rows)
            load_shares().log_share(block, self.inv_epsilon, side, omega, own, scratch, part)
            out += part

    def marginals(self, alpha: Array, beta: Array, row_sum: Array, col_sum: Array) -> float:
        share = np.empty_like(col_sum)
        col_sum[:] = 0.0
        for rows, block in self.cost.strips():
            self.backend.marginals(block, self.inv_epsilon, alpha[rows], beta, row_sum[rows], share)
            col_sum += share
        return 0.0

    def row_max(self, beta: Array, out: Array) -> None:
        for rows, block in self.cost.strips():
            self.backend.row_max(block, self.inv_epsilon, beta, out[rows])

    def col_max(self, alpha: Array, out: Array) -> None:
        share = np.empty_like(out)
        out[:] = -np.inf
        for rows, block in self.cost.strips():
            self.backend.col_max(block, self.inv_epsilon, alpha[rows], share)
            np.maximum(out, share, out=out)

    def fill(self, alpha: Array, beta: Array, out: Array, coarse: bool = False) -> None:
        for rows, block in self.cost.strips():
            self.backend.plan(block, self.inv_epsilon, alpha[rows], beta, out[rows], coarse=coarse)

    def part(self, rows: slice, cols: slice, alpha: Array, beta: Array) -> Array:
        block = self.cost.block(rows, cols)
        out = np.empty(block.shape)
        self.backend.plan(block, self.inv_epsilon, alpha, beta, out)
        return out

    def apply(self, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array) -> None:
        share = np.empty_like(out) if transpose else out
        if transpose:
            out[:] = 0.0
        for rows, block in self.cost.strips():
            if transpose:
                self.backend.apply(block, self.inv_epsilon, alpha[rows], beta, x[rows], True, share)
                out += share
            else:
                self.backend.apply(block, self.inv_epsilon, alpha[rows], beta, x, False, out[rows])

    def products(self, alpha: Array, beta: Array, fast: bool = False) -> Product:
        return partial(self.apply, alpha, beta)

    def gram(self, alpha: Array, beta: Array, weight: Array, fast: bool = False) -> Gram:
        return gram_of(self.products(alpha, beta, fast), weight, beta.size)

    def tangent(
        self,
        alpha: Array,
        beta: Array,
        bar: Array | None,
        shifts: tuple[Array, Array],
        slope: float,
        out: Array,
        sums: tuple[Array, Array, Array],
    ) -> None:
        (x, y), (row_sum, col_sum, dots), share = shifts, sums, np.empty_like(sums[1])
        col_sum[:] = 0.0
        for rows, block in self.cost.strips():
            bars = np.zeros(block.shape) if bar is None else bar[rows]
            potentials = alpha[rows], beta, bars, x[rows], y, slope
            self.backend.plan_tangent(block, self.inv_epsilon, *potentials, out[rows], row_sum[rows], share, dots[rows])
            col_sum += share

    def rounded_sums(
        self, alpha: Array, beta: Array, parts: tuple[Array, Array, Array, Array], divergence: Array, transport: Array
    ) -> None:
        row_factor, col_factor, row_rest, col_rest = parts
        for rows, block in self.cost.strips():
            factors = row_factor[rows], col_factor, row_rest[rows], col_rest
            self.backend.rounded_sums(
                block, self.inv_epsilon, alpha[rows], beta, *factors, divergence[rows], transport[rows]
            )

    def cell_share(self) -> float:
        return tiled_share(self.cost.entries)

    def support_sizes(self, alpha: Array, beta: Array, least: tuple[Array, Array], which: Array, sizes: Array) -> None:
        for places, rows, block in self._strips_of(which):
            own = which[places] - rows.start
            found = np.empty(own.size, np.int64)
            thresholds = least[0][rows], least[1]
            self.backend.support_sizes(block, self.inv_epsilon, alpha[rows], beta, *thresholds, own, found)
            sizes[places] = found

    def support_cells(self, alpha: Array, beta: Array, least: tuple[Array, Array], pointers: Array) -> Support:
        indices, costs = np.empty(int(pointers[-1]), np.int32), np.empty(int(pointers[-1]), self.cost.dtype)
        for rows, block in self.cost.strips():
            own = pointers[rows.start : rows.stop + 1]
            thresholds = least[0][rows], least[1]
            found = self.backend.support_cells(block, self.inv_epsilon, alpha[rows], beta, *thresholds, own - own[0])
            indices[own[0] : own[-1]], costs[own[0] : own[-1]] = found.indices, found.cost
        return self.backend.support_of(pointers, indices, costs, self.cost.shape[1])

    def least_cells(self, beta: Array, which: Array, indices: Array, least: Array) -> None:
        for places, rows, block in self._strips_of(which):
            own = which[places] - rows.start
            found, values = np.empty((own.size, indices.shape[1]), np.int32), np.empty(own.size)
            self.backend.least_cells(block, beta, own, found, values)
            indices[places], least[places] = found, values

    def _strips_of(self, which: Array) -> Iterator[tuple[Array, slice, Array]]:
        """Yield strips that hold some of the rows `which`: their places in it, the rows of the strip and its costs."""
        m = self.cost.shape[1]
        order, step = np.argsort(which, kind="stable"), max(1, STRIP // m)
        wanted, at = which[order], 0
        while at < wanted.size:
            end = int(np.searchsorted(wanted, wanted[at] + step, side="left"))
            apart = np.flatnonzero(np.diff(wanted[at:end]) > ROWS_BETWEEN)
            end = at + int(apart[0]) + 1 if apart.size else end
            rows = slice(int(wanted[at]), int(wanted[end - 1]) + 1)
            yield order[at:end], rows, self.cost.block(rows, self.every)
            at = end
