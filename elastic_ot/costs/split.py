"""A cost whose rows are split over processes: the own rows, with facts that are those of all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..backends import load
from ..distributed.ranks import Together
from .base import STRIP, Cost, KnownCost
from .blocks import ON_HOST
from .dense_plan import stored_share
from .operator import PartOperator
from .split_plan import SplitPlan
from .tiled_plan import tiled_share


class ByColumns(Cost):
    """A matrix in Fortran order, of which rows are copied when they are read."""

    def __init__(self, matrix: NDArray[Any]) -> None:
        self.matrix, self.shape, self.dtype = matrix, matrix.shape, matrix.dtype

    def block(self, rows: slice, cols: slice) -> NDArray[Any]:
        return np.ascontiguousarray(self.matrix[rows, cols])

    def at(self, i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[Any]:
        found: NDArray[Any] = self.matrix[i, j]
        return found


@dataclass(frozen=True, eq=False)
class SplitCost(KnownCost):
    """The own rows of a cost, and the range and reach of all of it.

    Attributes
    ----------
    own : KnownCost or None
        None of a process that has no rows.
    shape : tuple of int
        (own rows, m).
    count, first, largest_part : int
        Rows of all processes, those of lower ranks, and those of the one that has most.
    in_memory : bool
        All processes have their entries in memory.
    """

    own: KnownCost | None
    together: Together
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    count: int
    first: int
    largest_part: int
    in_memory: bool
    lowest: float
    highest: float
    row_reach: NDArray[np.bool_] | None = None
    col_reach: NDArray[np.bool_] | None = None

    @property
    def stored(self) -> bool:  # type: ignore[override]
        return self.in_memory

    @property
    def ranks(self) -> Together:  # type: ignore[override]
        return self.together

    @property
    def row_count(self) -> int:
        return self.count

    def of_all_rows(self, values: Any) -> Any:
        out = np.zeros((self.count, *values.shape[1:]))
        out[self._place] = values
        self.ranks.add(out.reshape(-1))
        return out

    def of_own_rows(self, values: Any) -> Any:
        return values[self._place]

    def share_of(self, size: int) -> slice:
        """Return the own ones of so many things that are dealt out as the rows are."""
        return slice(self.first * size // self.count, (self.first + self.shape[0]) * size // self.count)

    @property
    def _place(self) -> slice:
        """The own rows among all."""
        return slice(self.first, self.first + self.shape[0])

    @property
    def memory(self) -> Any:
        return ON_HOST if self.own is None else self.own.memory

    def plan(self, inv_epsilon: float, rows: Any = None, cols: Any = None) -> SplitPlan:
        own = None if self.own is None else cast("PartOperator", self.own.plan(inv_epsilon, rows, cols))
        return SplitPlan(own, self.ranks, load(), inv_epsilon, self.stored, self._cell_share(), self.shape, rows, cols)

    def _cell_share(self) -> float:
        """The share of entries that a support may hold: on all processes what is right for the one with most rows."""
        if self.stored:
            return stored_share(self.dtype.itemsize, load().cell_bytes(np.empty(0, self.dtype)))
        return tiled_share(self.largest_part * self.shape[1])

    def block(self, rows: slice, cols: slice) -> NDArray[Any]:
        found: NDArray[Any] = self._part.block(rows, cols)
        return found

    def at(self, i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[Any]:
        return np.asarray(np.empty(0, self.dtype) if self.own is None else self.own.at(i, j))

    @property
    def _part(self) -> KnownCost:
        """The own rows, where something of them was asked for."""
        if self.own is None:
            raise IndexError("this process has no rows")
        return self.own

    def empty(self, dtype: Any) -> Any:
        return np.empty(self.shape, dtype) if self.own is None else self.own.empty(dtype)

    def as_matrix(self) -> Any:
        return np.empty(self.shape, self.dtype) if self.own is None else self.own.as_matrix()

    def transpose(self) -> KnownCost:
        raise ValueError("a cost whose rows are split over processes has no transpose")

    def shifted(self, offset: float, dtype: Any = None) -> SplitCost:
        own = None if self.own is None else self.own.shifted(offset, dtype)
        found = self.dtype if dtype is None else np.dtype(dtype)
        return replace(self, own=own, dtype=found, lowest=self.lowest - offset, highest=self.highest - offset)

    def strips(self, entries: int = STRIP) -> Iterator[tuple[slice, Any]]:
        return iter(()) if self.own is None else self.own.strips(entries)

    def rows(self, which: NDArray[np.int64]) -> Any:
        return np.empty((0, self.shape[1]), self.dtype) if self.own is None else self.own.rows(which)

    def columns(self, which: NDArray[np.int64]) -> Any:
        return np.empty((which.size, 0), self.dtype) if self.own is None else self.own.columns(which)

    def allowed_sums(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.empty(0) if self.own is None else self.own.allowed_sums(v)

    def allowed_sums_of_columns(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.zeros(self.shape[1])
        with self.ranks.noting():
            if self.own is not None:
                out[:] = self.own.allowed_sums_of_columns(u)
        self.ranks.add(out)
        return out
