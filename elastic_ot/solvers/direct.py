"""Newton's matrix factorised: banded where an ordering brings its entries together, as in one dimension, else dense.

That serves where conjugate gradients take long: where epsilon is small and columns are linked one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import Sparse
from ..distributed.ranks import ALONE
from ..problems.penalty import Vector

if TYPE_CHECKING:
    from scipy.sparse import csr_array

DENSE = 1000  # columns up to which the matrix may be stored
FEW_PRODUCTS = 50  # products that are made in any case
PER_CELL, PER_COLUMN = 4e-9, 1e-8  # seconds a product takes, as measured; on any machine their ratios are what counts
PER_CUBE = 1e-11  # of a dense matrix and its factor, a cubed column
PER_LOOK = 1e-7  # of an ordering, a cell
PER_PAIR = 3e-8  # of a banded matrix, two cells of a row
PER_BAND = 2e-9  # of its factor, a column and the square of the bandwidth


@dataclass(eq=False)
class Factorisation:
    """A factorisation of S = diag(diagonal) - P^T diag(row_weight) P on the `free` entries, P a sparse matrix.

    Prices are products with S that take as long.

    Attributes
    ----------
    matrix : Sparse
        Or the backend's own, which then is only passed on to `gram`.
    gram : callable
        `Backend.sparse_gram` with P and its weights.
    look : int
        Price of `price`.
    """

    matrix: Any
    row_weight: Vector
    diagonal: Vector
    free: NDArray[np.bool_]
    gram: Callable[[NDArray[np.float64]], None]
    look: int = field(init=False)
    settle: Callable[[Vector], None] = ALONE.follow_first
    """Makes a solution the same on all processes, see `Ranks.follow_first`."""
    order: NDArray[np.int64] | None = None
    """Of the free columns, where the band is narrow enough."""

    def __post_init__(self) -> None:
        m, cells = self.diagonal.size, int(self.matrix.pointers[-1])
        self.product = PER_CELL * cells + PER_COLUMN * m
        self.dense = FEW_PRODUCTS + PER_CUBE * m**3 / self.product if m <= DENSE else np.inf
        ordering = FEW_PRODUCTS + PER_LOOK * cells / self.product
        self.look = int(min(ordering, self.dense))
        self.ordered = isinstance(self.matrix, Sparse) and 2 * ordering < self.dense

    def price(self) -> float:
        """Return the price of a factorisation, inf where there is none."""
        if not self.ordered:
            return self.dense
        kept = self._kept()
        order, width = _narrowed(kept)
        counts = np.diff(kept.indptr).astype(np.float64)
        seconds = PER_PAIR * float(counts @ counts) + PER_BAND * order.size * float(width + 1) ** 2
        banded = self.look + seconds / self.product
        if banded < self.dense and order.size * (width + 1) <= kept.nnz + 64 * order.size:
            self.order = order
            return banded
        return self.dense

    def solve(self, rhs: Vector, x: Vector) -> None:
        """Write the solution to x, unless rounding has made S indefinite."""
        from scipy.linalg import LinAlgError  # here, because few solves need it

        try:
            if self.order is None:
                self._by_dense(rhs, x)
            else:
                self._by_band(rhs, x)
        except LinAlgError:
            pass
        self.settle(x)

    def _kept(self) -> csr_array:
        from scipy.sparse import csr_array

        cells, shape = int(self.matrix.pointers[-1]), (self.row_weight.size, self.diagonal.size)
        values, indices = self.matrix.values[:cells], self.matrix.indices[:cells]
        whole = csr_array((values, indices, self.matrix.pointers), shape=shape)
        return whole if self.free.all() else whole[:, np.flatnonzero(self.free)]

    def _by_dense(self, rhs: Vector, x: Vector) -> None:
        from scipy.linalg import cho_factor, cho_solve

        free = np.flatnonzero(self.free)
        matrix = np.empty((rhs.size, rhs.size))
        self.gram(matrix)
        np.negative(matrix, out=matrix)
        if free.size < rhs.size:
            matrix = matrix[np.ix_(free, free)]
        matrix[np.diag_indices_from(matrix)] += self.diagonal[free]
        # the transpose of a symmetric matrix is itself in the order that LAPACK overwrites
        factor = cho_factor(matrix.T, overwrite_a=True, check_finite=False)
        x[free] = cho_solve(factor, rhs[free], check_finite=False)

    def _by_band(self, rhs: Vector, x: Vector) -> None:
        from scipy.linalg import solveh_banded

        assert self.order is not None
        places = np.flatnonzero(self.free)[self.order]
        kept = self._kept()[:, self.order]
        gram = (kept.T @ (kept * self.row_weight[:, None])).tocoo()
        below = gram.row >= gram.col
        row, col = gram.row[below], gram.col[below]
        band = np.zeros((int((row - col).max(initial=0)) + 1, places.size))
        band[row - col, col] = -gram.data[below]
        band[0] += self.diagonal[places]
        x[places] = solveh_banded(band, rhs[places], overwrite_ab=True, lower=True, check_finite=False)


def _narrowed(matrix: csr_array) -> tuple[NDArray[np.int64], int]:
    """An order of the columns that brings those of a row together, and the largest distance in it (Cuthill, McKee)."""
    from scipy.sparse import block_array
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    n, m = matrix.shape
    both = block_array([[None, matrix], [matrix.T, None]], format="csr")
    places = reverse_cuthill_mckee(both, symmetric_mode=True)
    order = places[places >= n].astype(np.int64) - n
    rank = np.empty(m, np.int64)
    rank[order] = np.arange(m)
    filled = np.flatnonzero(np.diff(matrix.indptr))
    if not filled.size:
        return order, 0
    ranks, starts = rank[matrix.indices], matrix.indptr[filled]
    return order, int((np.maximum.reduceat(ranks, starts) - np.minimum.reduceat(ranks, starts)).max())
