"""Pairs drawn from a plan of few entries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def sample_entries(
    rows: Indices, cols: Indices, mass: NDArray[np.float64], size: Any, rng: Any
) -> tuple[Indices, Indices]:
    """So many pairs (i, j), independently, with probabilities in the proportions of the masses."""
    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 0:
        raise ValueError(f"size is {size!r}; it must be an integer >= 0")
    total = np.cumsum(mass)
    if total.size == 0:
        raise ValueError("the plan carries no mass; there is nothing to draw")
    drawn = np.searchsorted(total, total[-1] * np.random.default_rng(rng).random(size), side="right")
    drawn = np.minimum(drawn, total.size - 1)  # where the product was rounded up to the total
    return rows[drawn], cols[drawn]


def sample_entry_partners(
    rows: Indices, cols: Indices, mass: NDArray[np.float64], wanted: Indices, rng: Any
) -> Indices:
    """A column for each of the rows `wanted`, drawn by the row's shares; each of these has an entry."""
    order = np.argsort(rows, kind="stable")
    total, sorted_rows = np.cumsum(mass[order]), rows[order]
    first, last = (np.searchsorted(sorted_rows, wanted, side=side) for side in ("left", "right"))
    before = np.where(first > 0, total[first - 1], 0.0)
    target = before + (total[last - 1] - before) * np.random.default_rng(rng).random(wanted.size)
    drawn = np.clip(np.searchsorted(total, target, side="right"), first, last - 1)
    found: Indices = cols[order[drawn]]
    return found
