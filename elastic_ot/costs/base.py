"""`Cost`, the base of what users bring, and `KnownCost`: a cost with the facts that problems and solvers ask for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..distributed.ranks import ALONE, Ranks
from .operator import PlanOperator

STRIP = 1 << 20  # entries of a cost that are computed together, where it is not stored
LARGEST_FACTORED = 2048  # points whose kernel is factored, to see whether it is positive: a tenth of a second
LARGEST_PLAN = 1 << 24  # entries of matrices made of a cost that is not stored, at most
LENGTH_POWERS = {"sqeuclidean": 2, "euclidean": 1, "cityblock": 1}  # of a length, that the cost of a metric is


class Cost(ABC):
    """A cost that is computed a block at a time: bring your own.

    A subclass says how large it is and computes blocks. It has every method of `solve`, every penalty, the certificate,
    `Solution.apply`, `Solution.sparse_plan` and ``gradients``, and `assign` and `exact`, without an (n, m) array. An
    iteration takes one call of `block` for every strip of rows, of about a million entries. A cost of at most that many
    entries is computed once and kept.

    Attributes
    ----------
    shape : tuple of int
        (n, m).
    dtype : dtype
        float32 or float64: that of the blocks.

    Notes
    -----
    `block` is called again and again and must return the same numbers each time. Methods that store a kernel
    ("scaling", "stabilized") run in the log domain instead, with the same answer. `Solution.plan`, ``vjp`` and
    whatever else has shape (n, m) is made for up to 2**24 entries; beyond that use `Solution.apply`,
    `Solution.sparse_plan` and `Solution.sample`. `Gradients.cost` of the optimal value is None.

    See Also
    --------
    FunctionCost : the same of a function.
    solve, assign, exact : take it in place of a matrix.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> class GreatCircle(eot.Cost):
    ...     def __init__(self, x, y):
    ...         self.x, self.y, self.shape, self.dtype = x, y, (len(x), len(y)), np.float64
    ...
    ...     def block(self, rows, cols):
    ...         return np.arccos(np.clip(self.x[rows] @ self.y[cols].T, -1.0, 1.0))
    >>> points = np.random.default_rng(0).standard_normal((300, 3))
    >>> points /= np.linalg.norm(points, axis=1, keepdims=True)
    >>> sol = eot.solve(GreatCircle(points[:100], points[100:]), epsilon=0.05)
    >>> sol.converged, sol.apply(points[100:]).shape
    (True, (100, 3))
    """

    shape: tuple[int, int]
    dtype: np.dtype[np.floating] | type[np.floating]
    _mask_advice: ClassVar[str] = "let {name}.block return inf where an entry is forbidden"
    _batch: tuple[int, ...] = ()  # leading dimensions, of a cost that is many problems

    @abstractmethod
    def block(self, rows: slice, cols: slice) -> NDArray[np.floating]:
        """Return the costs of some rows and columns.

        Parameters
        ----------
        rows, cols : slice
            With a start and a stop inside of the shape, and step 1.

        Returns
        -------
        ndarray, shape (rows.stop - rows.start, cols.stop - cols.start)
            Of the cost's dtype; +inf forbids an entry.
        """

    def at(self, i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[np.floating]:
        """Return the costs of single pairs; override it where they are cheaper than the blocks of whole rows.

        Parameters
        ----------
        i, j : ndarray of int, shape (k,)

        Returns
        -------
        ndarray, shape (k,)
        """
        out = np.empty(i.shape, self.dtype)
        for row in np.unique(i):
            here = np.flatnonzero(i == row)
            first, last = int(j[here].min()), int(j[here].max()) + 1
            out[here] = self.block(slice(int(row), int(row) + 1), slice(first, last))[0, j[here] - first]
        return out

    def _refuse_call(self) -> None:  # noqa: B027 - most costs have nothing to refuse
        """Raise if a call that computes with numbers cannot have this cost."""

    def within(self) -> tuple[Cost, Cost] | None:
        """Return the costs within each side, for `divergence`; override it where the cost knows its points.

        Returns
        -------
        tuple of two Cost, of shapes (n, n) and (m, m), or None
            Between the points of the rows, and between those of the columns; both symmetric. None, the default, where
            they are not known: `divergence` then asks for them.
        """
        return None

    def _points(self) -> tuple[Any, Any] | None:
        """Return the points of rows and columns; None where it knows none."""
        return None

    def _of_new(self, points: Any, axis: int) -> Cost:
        """Return the costs of new points in place of the rows' (axis 1) or of the columns' (axis 0); see `_points`."""
        raise TypeError(f"{type(self).__name__} knows its points, and no costs of new ones")

    def _length_power(self) -> int | None:
        """Return the power of a length that costs are; None where they are none."""
        return None

    def _known(self) -> KnownCost | None:
        """Return it with the facts that it knows of itself; None has them looked for in all blocks."""
        return None


class KnownCost(Cost):
    """A cost with its range and its forbidden entries: what is asked of any cost above this layer.

    Attributes
    ----------
    lowest, highest : float
        Range of the finite entries, or bounds on it where these are cheaper.
    row_reach, col_reach : ndarray of bool or None
        Rows and columns with an allowed entry among the partners in use; None if no entry is forbidden.
    stored : bool
        The entries are in memory, so that reading them costs next to nothing.
    fortran : bool
        It is stored by columns, so that its transpose is what kernels should read.
    half : bool
        Entries have 16 bits.
    ranks : Ranks
        What sums over the rows, of which other processes may have some.
    """

    lowest: float
    highest: float
    row_reach: NDArray[np.bool_] | None
    col_reach: NDArray[np.bool_] | None
    stored: ClassVar[bool]
    fortran: bool = False
    half: bool = False
    ranks: Ranks = ALONE

    @property
    def row_count(self) -> int:
        """How many rows there are, those of other processes counted."""
        return self.shape[0]

    def of_all_rows(self, values: Any) -> Any:
        """Return what all rows have, of an array that says what the own ones have."""
        return values

    def of_own_rows(self, values: Any) -> Any:
        """Return what the own rows have, of an array that says what all have."""
        return values

    @property
    def entries(self) -> int:
        """How many there are."""
        return self.row_count * self.shape[1]

    @property
    def work(self) -> int:
        """Entries that a pass over the cost reads, or what takes as long."""
        return self.entries

    @property
    def row_entries(self) -> int:
        """Entries that it takes to find the least ones of a row, or what takes as long."""
        return self.shape[1]

    @property
    def masked(self) -> bool:
        """True if some entry is forbidden."""
        return self.row_reach is not None

    @property
    def symmetric(self) -> bool:
        """True if it is known to equal its transpose, without a look at its entries."""
        return False

    def kernel_is_positive(self, epsilon: float) -> bool:
        """True if exp(-C / epsilon), of a symmetric cost, is known to be positive semidefinite, but for rounding."""
        n = self.shape[0]
        return n <= LARGEST_FACTORED and positive_semidefinite(np.exp((self.lowest - self.as_matrix()) / epsilon))

    @property
    def largest(self) -> float:
        """The largest finite entry in size."""
        return max(abs(self.lowest), abs(self.highest))

    @property
    def working_dtype(self) -> np.dtype[Any]:
        """What is computed with, and what plans are made in: float32 or float64."""
        found: np.dtype[Any] = np.dtype(self.dtype)
        return found

    @property
    def single(self) -> bool:
        """True for costs that float64 is not needed for."""
        return bool(self.working_dtype == np.float32)

    @property
    def largest_number(self) -> float:
        """What a plan made of this cost can hold."""
        return float(np.finfo(self.working_dtype).max)

    @property
    @abstractmethod
    def memory(self) -> Any:
        """An array that lies where matrices of this cost do, whatever its shape."""

    @abstractmethod
    def plan(self, inv_epsilon: float, rows: Any = None, cols: Any = None) -> PlanOperator:
        """Return the operator that reads exp(alpha_i + beta_j - C_ij inv_epsilon); sides are needed by sweeps only."""

    @abstractmethod
    def empty(self, dtype: Any) -> Any:
        """Return a matrix of this shape to be written, where kernels read it."""

    @abstractmethod
    def as_matrix(self) -> Any:
        """Return all entries as one array: the stored ones, or computed where they are not too many."""

    @abstractmethod
    def transpose(self) -> KnownCost:
        """Return it with rows and columns exchanged; nothing of its size is copied."""

    @abstractmethod
    def shifted(self, offset: float, dtype: Any = None) -> KnownCost:
        """Return it less a constant, in `dtype` or its own; a matrix is copied."""

    @abstractmethod
    def strips(self, entries: int = STRIP) -> Iterator[tuple[slice, Any]]:
        """Yield some rows at a time, and their costs in float32 or float64, about so many entries together."""

    @abstractmethod
    def rows(self, which: NDArray[np.int64]) -> Any:
        """Return the costs of some rows, in the dtype in which they lie."""

    @abstractmethod
    def columns(self, which: NDArray[np.int64]) -> Any:
        """Return the costs of some columns, shape (k, n): each lies in a row."""

    @abstractmethod
    def allowed_sums(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sums of v over the allowed columns of every row."""

    @abstractmethod
    def allowed_sums_of_columns(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sums of u over the allowed rows of every column."""


def is_cost(values: Any) -> TypeGuard[Cost]:
    """Return True for a cost by blocks; arrays are told first, because a test for an abstract class takes longer."""
    return not isinstance(values, np.ndarray) and isinstance(values, Cost)


def entries_of(cost: Any, i: NDArray[np.integer], j: NDArray[np.integer]) -> Any:
    """Return single entries of a matrix or of a user's cost."""
    return np.asarray(cost.at(i, j)) if is_cost(cost) else cost[i, j]


def positive_semidefinite(kernel: NDArray[np.float64]) -> bool:
    """True if no eigenvalue of a symmetric matrix is negative by more than rounding makes it."""
    size = kernel.shape[0]
    kernel = kernel + size * np.finfo(np.float64).eps * kernel.diagonal().max() * np.eye(size)
    try:
        np.linalg.cholesky(kernel)
    except np.linalg.LinAlgError:
        return False
    return True
