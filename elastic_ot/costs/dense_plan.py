"""The plan of a matrix, read by the fused kernels of the backend that can read it where it lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..arrays.devices import library_of
from ..backends import load_shares
from ..backends.protocol import Array, Backend, Side, Support, Vectors
from .operator import Gram, Product, gram_of

SUPPORT_SHARE = 0.45  # of the cost's memory that a support may take, together with a sparse matrix of it


def stored_share(entry: int, cell: int) -> float:
    """Return the share of stored entries that a support may hold, by the bytes of an entry and of a cell of it."""
    return float(SUPPORT_SHARE * entry / cell)


@dataclass(frozen=True, eq=False)
class DensePlan:
    """`PlanOperator` for a matrix that is stored by rows."""

    matrix: Array
    inv_epsilon: float
    backend: Backend
    rows: Any = None
    cols: Any = None
    stored: ClassVar[bool] = True

    def with_sides(self, rows: Side, cols: Side) -> DensePlan:
        return replace(self, rows=rows, cols=cols)

    def scratch(self, fast: bool, brief: bool = False) -> Any:
        return self.backend.scratch(self.matrix.shape, fast, brief=brief)

    def sweep(self, omega: tuple[float, float], vectors: Vectors, scratch: Any, count: int) -> None:
        self.backend.log_sweeps(self.matrix, self.inv_epsilon, self.rows, self.cols, omega, *vectors, scratch, count)

    def sweep_share(self, omega: float, vectors: Vectors, scratch: Any, out: Array) -> None:
        load_shares().log_share(self.matrix, self.inv_epsilon, self.rows, omega, vectors, scratch, out)

    def marginals(self, alpha: Array, beta: Array, row_sum: Array, col_sum: Array) -> float:
        self.backend.marginals(self.matrix, self.inv_epsilon, alpha, beta, row_sum, col_sum)
        return 0.0

    def row_max(self, beta: Array, out: Array) -> None:
        self.backend.row_max(self.matrix, self.inv_epsilon, beta, out)

    def col_max(self, alpha: Array, out: Array) -> None:
        self.backend.col_max(self.matrix, self.inv_epsilon, alpha, out)

    def fill(self, alpha: Array, beta: Array, out: Array, coarse: bool = False) -> None:
        self.backend.plan(self.matrix, self.inv_epsilon, alpha, beta, out, coarse=coarse)

    def part(self, rows: slice, cols: slice, alpha: Array, beta: Array) -> Array:
        block = library_of(self.matrix).ascontiguousarray(self.matrix[rows, cols])
        out = self.backend.matrix_like(block, np.float64)
        self.backend.plan(block, self.inv_epsilon, alpha, beta, out)
        return out

    def apply(self, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array) -> None:
        self.backend.apply(self.matrix, self.inv_epsilon, alpha, beta, x, transpose, out)

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
        bar = library_of(out).zeros_like(out) if bar is None else bar
        self.backend.plan_tangent(self.matrix, self.inv_epsilon, alpha, beta, bar, *shifts, slope, out, *sums)

    def rounded_sums(
        self, alpha: Array, beta: Array, parts: tuple[Array, Array, Array, Array], divergence: Array, transport: Array
    ) -> None:
        self.backend.rounded_sums(self.matrix, self.inv_epsilon, alpha, beta, *parts, divergence, transport)

    def cell_share(self) -> float:
        return stored_share(self.matrix.dtype.itemsize, self.backend.cell_bytes(self.matrix))

    def support_sizes(self, alpha: Array, beta: Array, least: tuple[Array, Array], which: Array, sizes: Array) -> None:
        self.backend.support_sizes(self.matrix, self.inv_epsilon, alpha, beta, *least, which, sizes)

    def support_cells(self, alpha: Array, beta: Array, least: tuple[Array, Array], pointers: Array) -> Support:
        return self.backend.support_cells(self.matrix, self.inv_epsilon, alpha, beta, *least, pointers)

    def least_cells(self, beta: Array, which: Array, indices: Array, least: Array) -> None:
        self.backend.least_cells(self.matrix, beta, which, indices, least)
