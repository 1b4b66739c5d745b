"""Which blocks of columns each block of rows reads, where a plan between points is not read as a whole."""

from __future__ import annotations

import numpy as np

from ...cached import cached_property
from ..protocol import Array


class Pairs:
    """Pairs of blocks, row by row (CSR): block i of rows reads partners[pointers[i] : pointers[i + 1]].

    `turned` has the same pairs by columns, of which there are `width` blocks. `left` bounds the mass of all others,
    when the list was made, and a row or column may lack about `floor`.
    """

    def __init__(self, pointers: Array, partners: Array, width: int, left: float = 0.0, floor: float = 0.0) -> None:
        self.pointers, self.partners, self.width, self.left, self.floor = pointers, partners, width, left, floor

    @cached_property
    def turned(self) -> Pairs:
        order = np.argsort(self.partners, kind="stable")
        pointers = np.zeros(self.width + 1, np.int64)
        np.cumsum(np.bincount(self.partners, minlength=self.width), out=pointers[1:])
        found = Pairs(pointers, self.rows[order], self.pointers.size - 1, self.left, self.floor)
        found.__dict__["turned"] = self
        return found

    @property
    def rows(self) -> Array:
        """The block of rows of every pair."""
        return np.repeat(np.arange(self.pointers.size - 1, dtype=np.int32), np.diff(self.pointers))

    @property
    def share(self) -> float:
        """How many of all pairs these are."""
        return float(self.partners.size / ((self.pointers.size - 1) * self.width))

    @property
    def longest(self) -> int:
        return int(np.diff(self.pointers).max(initial=0))

    @property
    def arguments(self) -> tuple[Array, Array, Array]:
        """What compiled passes read: where the list of a block starts and ends, and the partners."""
        return self.pointers[:-1], self.pointers[1:], self.partners

    def kept(self, which: Array, less: float) -> Pairs:
        """Some of them; the others carry so much less together."""
        pointers = np.zeros_like(self.pointers)
        np.cumsum(np.bincount(self.rows[which], minlength=pointers.size - 1), out=pointers[1:])
        return Pairs(pointers, self.partners[which], self.width, self.left + less, self.floor)


def every_pair(rows: int, cols: int) -> Pairs:
    """All pairs; one list serves all rows, so that pointers say nothing of its memory."""
    return _Every(rows, cols)


class _Every(Pairs):
    def __init__(self, rows: int, cols: int) -> None:
        super().__init__(cols * np.arange(rows + 1), np.arange(cols, dtype=np.int32), cols)

    @cached_property
    def turned(self) -> Pairs:
        return _Every(self.width, self.pointers.size - 1)

    @property
    def share(self) -> float:
        return 1.0

    @property
    def arguments(self) -> tuple[Array, Array, Array]:
        rows = self.pointers.size - 1
        return np.zeros(rows, np.int64), np.full(rows, self.width), self.partners
