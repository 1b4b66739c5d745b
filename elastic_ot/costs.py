"""What moving mass costs: the matrix, its range, and which cells are forbidden."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 16  # entries looked at together, so that validation allocates nothing of the size of the matrix


@dataclass(frozen=True, eq=False)
class DenseCost:
    """A cost matrix in C or Fortran order, float32 or float64; +inf marks a forbidden cell.

    Attributes
    ----------
    matrix : ndarray, shape (n, m)
        The data as given (never copied for its order).
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
