"""A plan that is not stored, by its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .homes import Home


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

    def __getitem__(self, key: Any) -> Any:
        rows, *cols = key if isinstance(key, tuple) else (key,)
        if rows is Ellipsis:
            rows = slice(None)
        found = self.solution.rows(rows) if hasattr(self.solution, "rows") else self.solution.plan[rows]
        found = np.asarray(found)
        return self.home.give(found if not cols else found[..., cols[0]])
