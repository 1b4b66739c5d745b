"""A cost matrix: where it lies, how it is stored, which entries are masked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import library_of, on_host, row_chunks
from ..arrays.half import finite, is_half, widened, working_dtype
from ..backends import load_for
from .base import STRIP, Cost, KnownCost
from .dense_plan import DensePlan

SCAN_ENTRIES = 1 << 16  # entries looked at together, so that validation allocates nothing of the size of the matrix


@dataclass(frozen=True, eq=False)
class DenseCost(KnownCost):
    """A cost matrix in C or Fortran order; +inf marks a masked entry.

    Attributes
    ----------
    matrix : ndarray, shape (n, m)
        The data as given (never copied for its order), in float32 or float64. On a device of CuPy, and also in float16,
        or in uint16 for the bits of bfloat16.
    lowest, highest : float
        Range of the finite entries.
    row_reach, col_reach : ndarray of bool or None
        Rows and columns with an allowed entry among the partners in use; None if no entry is masked.
    user : Cost or None
        Whose entries were computed once and kept.
    """

    matrix: NDArray[np.floating]
    lowest: float
    highest: float
    row_reach: NDArray[np.bool_] | None = None
    col_reach: NDArray[np.bool_] | None = None
    user: Cost | None = None
    stored: ClassVar[bool] = True

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        n, m = self.matrix.shape
        return n, m

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.matrix.dtype

    @property
    def fortran(self) -> bool:  # type: ignore[override]
        return not self.matrix.flags.c_contiguous

    @property
    def half(self) -> bool:  # type: ignore[override]
        return is_half(self.matrix)

    @property
    def working_dtype(self) -> np.dtype[Any]:
        return working_dtype(self.matrix)

    @property
    def memory(self) -> Any:
        return self.matrix

    def block(self, rows: slice, cols: slice) -> NDArray[Any]:
        return widened(self.matrix[rows, cols])

    def at(self, i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[Any]:
        found: NDArray[Any] = self.matrix[i, j]
        return found

    def plan(self, inv_epsilon: float, rows: Any = None, cols: Any = None) -> DensePlan:
        return DensePlan(self.matrix, inv_epsilon, load_for(self.matrix), rows, cols)

    def empty(self, dtype: Any) -> NDArray[Any]:
        out: NDArray[Any] = load_for(self.matrix).matrix_like(self.matrix, dtype)
        return out

    def as_matrix(self) -> NDArray[np.floating]:
        return self.matrix

    def transpose(self) -> DenseCost:
        return DenseCost(self.matrix.T, self.lowest, self.highest, self.col_reach, self.row_reach)

    def shifted(self, offset: float, dtype: Any = None) -> DenseCost:
        own = self.matrix.dtype if dtype is None else dtype
        taken = self.matrix.dtype.type(offset) if dtype is None else offset
        matrix = np.subtract(self.matrix, taken, dtype=own) if dtype is not None else self.matrix - taken
        return replace(self, matrix=matrix, lowest=self.lowest - offset, highest=self.highest - offset)

    def rows(self, which: NDArray[np.int64]) -> Any:
        return self.matrix[library_of(self.matrix).asarray(which)]

    def columns(self, which: NDArray[np.int64]) -> NDArray[Any]:
        return np.ascontiguousarray(self.matrix[:, which].T)

    def strips(self, entries: int = STRIP) -> Iterator[tuple[slice, NDArray[Any]]]:
        for rows in row_chunks(self.matrix, entries):
            yield rows, widened(self.matrix[rows])

    def allowed_sums(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums of v over the allowed columns of every row, a chunk of rows at a time."""
        return _allowed_sums(self.matrix, v, by_rows=True)

    def allowed_sums_of_columns(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums of u over the allowed rows of every column."""
        return _allowed_sums(self.matrix, u, by_rows=False)


def _allowed_sums(matrix: Any, x: NDArray[np.float64], by_rows: bool) -> NDArray[np.float64]:
    if not matrix.flags.c_contiguous:
        matrix, by_rows = matrix.T, not by_rows
    xp = library_of(matrix)
    x = xp.asarray(x)
    if by_rows:
        found = [finite(matrix[rows]) @ x for rows in row_chunks(matrix, SCAN_ENTRIES)]
        return on_host(xp.concatenate(found))
    total = xp.zeros(matrix.shape[1])
    for rows in row_chunks(matrix, SCAN_ENTRIES):
        total += x[rows] @ finite(matrix[rows])
    return on_host(total)
