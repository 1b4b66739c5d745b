"""A plan that is not stored, by its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...typing import Array
from .homes import Home

Key: TypeAlias = int | slice | NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class LazyPlan:
    """A plan that is not stored: ``plan[i]``, ``plan[i:j]`` and ``plan[i:j, k]`` compute rows of it.

    Attributes
    ----------
    shape : tuple of int
    """

    solution: Any = field(repr=False)
    home: Home = field(repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        n, m = self.solution.problem.shape
        return n, m

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Key | tuple[Key, Key] | EllipsisType) -> Array:
        rows, *cols = key if isinstance(key, tuple) else (key,)
        if rows is Ellipsis:
            rows = slice(None)
        found = self.solution.rows(rows) if hasattr(self.solution, "rows") else self.solution.plan[rows]
        found = np.asarray(found)
        picked: Array = self.home.give(found if not cols else found[..., cols[0]])
        return picked
