"""Assignments of costs of different sizes: arrays are padded, and each problem has its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ..arrays.padding import filled
from ..cached import cached_property
from .assignment import Assignment
from .assignment_batch import BatchAssignment


class RaggedAssignment(BatchAssignment):
    """A `BatchAssignment` of a list: index arrays are -1 and potentials nan beyond what a problem has."""

    def __init__(self, found: Sequence[Assignment]) -> None:
        """Not made by users."""
        self.found = tuple(found)
        self.row_ind, self.col_ind = (filled([one[side] for one in found], -1) for side in (0, 1))

    def __len__(self) -> int:
        return len(self.found)

    @overload
    def __getitem__(self, index: int) -> Assignment: ...

    @overload
    def __getitem__(self, index: slice) -> list[Assignment]: ...

    def __getitem__(self, index: int | slice) -> Assignment | list[Assignment]:
        return list(self.found[index]) if isinstance(index, slice) else self.found[index]

    def __repr__(self) -> str:
        pairs = [one.row_ind.size for one in self.found]
        return f"BatchAssignment({len(self)} problems, {min(pairs)} to {max(pairs)} pairs each, {self.status.name})"

    @cached_property
    def cost(self) -> NDArray[np.float64] | NDArray[np.int64]:
        """Sums of the matched costs, shape (B,)."""
        return np.array([one.cost for one in self.found])

    @cached_property
    def potentials(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The pair (u, v)."""
        u, v = (filled([getattr(one, side) for one in self.found], np.nan) for side in "uv")
        return u, v

    @property
    def gap(self) -> NDArray[np.float64]:
        """abs(cost - sum(u) - sum(v)) of every problem, shape (B,)."""
        return np.array([one.gap for one in self.found])
