"""What moving mass costs: the matrix, its range, and which cells are forbidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import library_of, on_host, row_chunks
from ..arrays.half import finite

CHUNK = 1 << 16  # entries looked at together, so that validation allocates nothing of the size of the matrix


@dataclass(frozen=True, eq=False)
class DenseCost:
    """A cost matrix in C or Fortran order; +inf marks a forbidden cell.

    Attributes
    ----------
    matrix : ndarray, shape (n, m)
        The data as given (never copied for its order), in float32 or float64. On a device of CuPy, and also in float16,
        or in uint16 for the bits of bfloat16.
    lowest, highest : float
        Range of the finite entries.
    row_reach, col_reach : ndarray of bool or None
        Rows and columns with an allowed cell among the partners in use; None if no cell is forbidden.
    """

    matrix: NDArray[np.floating]
    lowest: float
    highest: float
    row_reach: NDArray[np.bool_] | None = None
    col_reach: NDArray[np.bool_] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        n, m = self.matrix.shape
        return n, m

    @property
    def masked(self) -> bool:
        """True if some cell is forbidden."""
        return self.row_reach is not None

    @property
    def fortran(self) -> bool:
        """True if the matrix is stored by columns, so that its transpose is what kernels should read."""
        return not self.matrix.flags.c_contiguous

    def transpose(self) -> DenseCost:
        return DenseCost(self.matrix.T, self.lowest, self.highest, self.col_reach, self.row_reach)

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
        found = [finite(matrix[rows]) @ x for rows in row_chunks(matrix, CHUNK)]
        return on_host(xp.concatenate(found))
    total = xp.zeros(matrix.shape[1])
    for rows in row_chunks(matrix, CHUNK):
        total += x[rows] @ finite(matrix[rows])
    return on_host(total)
