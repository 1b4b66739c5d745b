"""The plan of rows that are split over processes: each reads its own, and sums over rows are those of all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np

from ..backends.protocol import TRUST_DOUBLE, TRUST_SINGLE, Array, Backend, Side, Support, Vectors
from ..backends.updates import log_column_sums, update_change
from ..distributed.ranks import Together
from .operator import Gram, PartOperator, Product
from .split_backend import SplitBackend


class SplitScratch(NamedTuple):
    """Work space: that of the own rows, and between what column sums are trusted."""

    own: Any
    trust: tuple[float, float]


@dataclass(frozen=True, eq=False)
class SplitPlan:
    """`PlanOperator` of one process among several.

    Vectors of the rows are those of its own; vectors of the columns are the same on all, and so is all that is computed
    of these alone. An iteration takes one sum over the processes, of the m columns; one in which a column underflows
    as a whole takes a maximum and a sum more. `own` is None where there are no rows.
    """

    own: PartOperator | None
    ranks: Together
    host: Backend
    inv_epsilon: float
    stored: bool
    share_of_cells: float
    shape: tuple[int, int]
    rows: Any = None
    cols: Any = None

    @property
    def backend(self) -> Backend:
        return SplitBackend(self.host, self.ranks, self.shape[0])  # type: ignore[return-value]

    def with_sides(self, rows: Side, cols: Side) -> SplitPlan:
        own = None if self.own is None else cast("PartOperator", self.own.with_sides(rows, cols))
        return replace(self, own=own, rows=rows, cols=cols)

    def scratch(self, fast: bool, brief: bool = False) -> SplitScratch:
        _, tiny, huge = TRUST_SINGLE if fast else TRUST_DOUBLE
        return SplitScratch(None if self.own is None else self.own.scratch(fast, brief), (tiny, huge))

    def sweep(self, omega: tuple[float, float], vectors: Vectors, scratch: SplitScratch, count: int) -> None:
        for _ in range(count):
            self._iterate(omega, vectors, scratch)

    def _iterate(self, omega: tuple[float, float], vectors: Vectors, scratch: SplitScratch) -> None:
        """The columns, on every process; the own rows; and the column sums of all."""
        beta, log_col = vectors.beta, vectors.log_col
        change = update_change(self.cols, omega[1], beta, log_col, self.host.potential)
        beta += change
        np.add(log_col, change, out=vectors.log_col_updated)
        total = np.zeros_like(log_col)
        with self.ranks.noting():
            if self.own is not None:
                self.own.sweep_share(omega[0], vectors, scratch.own, total)
        self.ranks.add(total)
        used, (tiny, huge) = self.cols.log_weight > -np.inf, scratch.trust
        sound = (total > tiny) & (total < huge)
        log_col[:] = np.where(used, np.log(np.where(sound, total, 1.0)), -np.inf)
        if not (sound | ~used).all():
            self._log_column_sums(vectors)

    def _log_column_sums(self, vectors: Vectors) -> None:
        """log_col where a sum vanished or overflowed, in early iterations."""

        def sums(beta: Array, out: Array) -> None:
            self.marginals(vectors.alpha, beta, np.empty_like(vectors.alpha), out)

        log_column_sums(self.cols, vectors.beta, vectors.log_col, lambda out: self.col_max(vectors.alpha, out), sums)

    def marginals(self, alpha: Array, beta: Array, row_sum: Array, col_sum: Array) -> float:
        col_sum[:] = 0.0
        with self.ranks.noting():
            if self.own is not None:
                self.own.marginals(alpha, beta, row_sum, col_sum)
        self.ranks.add(col_sum)
        return 0.0

    def row_max(self, beta: Array, out: Array) -> None:
        with self.ranks.noting():
            if self.own is not None:
                self.own.row_max(beta, out)

    def col_max(self, alpha: Array, out: Array) -> None:
        out[:] = -np.inf
        with self.ranks.noting():
            if self.own is not None:
                self.own.col_max(alpha, out)
        self.ranks.raise_to_most(out)

    def fill(self, alpha: Array, beta: Array, out: Array, coarse: bool = False) -> None:
        with self.ranks.noting():
            if self.own is not None:
                self.own.fill(alpha, beta, out, coarse)

    def part(self, rows: slice, cols: slice, alpha: Array, beta: Array) -> Array:
        assert self.own is not None  # of rows that there are
        return self.own.part(rows, cols, alpha, beta)

    def apply(self, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array) -> None:
        out[...] = 0.0
        with self.ranks.noting():
            if self.own is not None:
                self.own.apply(alpha, beta, x, transpose, out)
        if transpose:
            self.ranks.add(out.reshape(-1))

    def products(self, alpha: Array, beta: Array, fast: bool = False) -> Product:
        product = None if self.own is None else self.own.products(alpha, beta, fast)

        def apply(x: Array, transpose: bool, out: Array) -> None:
            out[...] = 0.0
            with self.ranks.noting():
                if product is not None:
                    product(x, transpose, out)
            if transpose:
                self.ranks.add(out.reshape(-1))

        return apply

    def gram(self, alpha: Array, beta: Array, weight: Array, fast: bool = False) -> Gram:
        own = None if self.own is None else self.own.gram(alpha, beta, weight, fast)

        def gram(x: Array, out: Array) -> None:
            out[:] = 0.0
            with self.ranks.noting():
                if own is not None:
                    own(x, out)
            self.ranks.add(out)

        return gram

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
        sums[1][:] = 0.0
        with self.ranks.noting():
            if self.own is not None:
                self.own.tangent(alpha, beta, bar, shifts, slope, out, sums)
        self.ranks.add(sums[1])

    def rounded_sums(
        self, alpha: Array, beta: Array, parts: tuple[Array, Array, Array, Array], divergence: Array, transport: Array
    ) -> None:
        with self.ranks.noting():
            if self.own is not None:
                self.own.rounded_sums(alpha, beta, parts, divergence, transport)

    def cell_share(self) -> float:
        return self.share_of_cells

    def support_sizes(self, alpha: Array, beta: Array, least: tuple[Array, Array], which: Array, sizes: Array) -> None:
        with self.ranks.noting():
            if which.size and self.own is not None:
                self.own.support_sizes(alpha, beta, least, which, sizes)

    def support_cells(self, alpha: Array, beta: Array, least: tuple[Array, Array], pointers: Array) -> Support:
        if self.own is not None:
            with self.ranks.noting():
                return self.own.support_cells(alpha, beta, least, pointers)
        return Support(pointers, np.empty(0, np.int32), np.empty(0), np.empty(0))

    def least_cells(self, beta: Array, which: Array, indices: Array, least: Array) -> None:
        with self.ranks.noting():
            if self.own is not None:
                self.own.least_cells(beta, which, indices, least)
