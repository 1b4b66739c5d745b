"""Plans of few columns, Q diag(1/g) R^T: factors brought to their sums to the last digits, and pairs drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problems.penalty import Indices, Vector
from .feasible import complete, scale

Array = NDArray[np.float64]


def rounded_factors(
    q: Array, r: Array, g: Vector, sums: tuple[Vector | None, Vector | None]
) -> tuple[Array, Array, Vector]:
    """Return factors near these with the same column sums g and these row sums, where a side has any.

    The plan has the row sums of a factor because the column sums of the other one are g.
    """
    mass = next((float(x.sum()) for x in sums if x is not None), float(g.sum()))
    g = g * (mass / g.sum())
    found = []
    for factor, wanted in zip((q, r), sums, strict=True):
        rounded = factor.copy()
        if wanted is None:
            scale(rounded, g, 0)
        else:
            complete(rounded, wanted, g)
        found.append(rounded)
    return found[0], found[1], g


def sample_factors(q: Array, r: Array, g: Vector, size: Any, rng: Any) -> tuple[Indices, Indices]:
    """So many pairs (i, j) drawn from the plan: a column by its share, then its ends by theirs."""
    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 0:
        raise ValueError(f"size is {size!r}; it must be an integer >= 0")
    generator = np.random.default_rng(rng)
    counts = generator.multinomial(size, g / g.sum())
    ends = []
    for factor in (q, r):
        drawn = [_drawn(column, count, generator) for column, count in zip(factor.T, counts, strict=True)]
        ends.append(np.concatenate(drawn))
    order = generator.permutation(ends[0].size)
    return ends[0][order], ends[1][order]


def _drawn(weights: Vector, count: int, rng: np.random.Generator) -> Indices:
    total = np.cumsum(weights)
    places = np.searchsorted(total, total[-1] * rng.random(count), side="right")
    found: Indices = np.minimum(places, int(np.searchsorted(total, total[-1])))
    return found
