"""Entries of a cost that is a sum over axes, one small matrix each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def entries_between(matrices: Sequence[NDArray[Any]], rows: slice, cols: slice) -> NDArray[np.float64]:
    """The sums over axes for some rows and columns, in float64."""
    shape = tuple(c.shape[1] for c in matrices)
    first, line = matrices[0], math.prod(shape[1:])
    # whole lines of the second grid, those of its first axis that the columns lie in, need no index of each entry
    low, high = cols.start // line, -(-cols.stop // line)
    i = np.unravel_index(np.arange(rows.start, rows.stop), tuple(c.shape[0] for c in matrices))
    total = first[i[0], low:high].astype(np.float64).reshape(-1, high - low, *[1] * (len(shape) - 1))
    for k, (c, place) in enumerate(zip(matrices[1:], i[1:], strict=True), start=1):
        total = total + c[place].reshape(len(place), *[-1 if axis == k else 1 for axis in range(len(shape))])
    whole = total.reshape(total.shape[0], -1)
    return np.ascontiguousarray(whole[:, cols.start - low * line : cols.stop - low * line])


def entries_at(matrices: Sequence[NDArray[Any]], i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[np.float64]:
    """The sums over axes for single pairs, in float64."""
    first, second = (
        np.unravel_index(points, tuple(c.shape[side] for c in matrices)) for side, points in enumerate((i, j))
    )
    return np.asarray(sum(c[p, q].astype(np.float64) for c, p, q in zip(matrices, first, second, strict=True)))
