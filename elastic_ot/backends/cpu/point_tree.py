"""An order in which neighbours stand together, and the boxes of a tree over it.

Every aligned run of 2^k points is a cell of the tree: halves of a cell are parted along the longest side of its box.
32 points in a row are a block, the leaf that passes over plans read; cells go on below it, down to single points, for
clouds of fewer points (`coarser`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..protocol import Array
from .flags import moves, rows_kernel
from .threads import available, split

THREADED_FROM = 20_000  # points that are ordered on more than one thread
BOX_ROUNDING = 1.0 + 1e-12  # half a box grows by so much, and so holds its points whatever was rounded


@moves
def _halve(x, order, lo, hi):
    """Part rows lo to hi of x along the longest side: the largest power of 2 below their number first; returns where.

    Hoare's selection: in place, and fast where many coordinates are equal.
    """
    d, left = x.shape[1], 1
    while 2 * left < hi - lo:
        left *= 2
    longest, side = 0, -1.0
    for k in range(d):
        low, high = x[lo, k], x[lo, k]
        for i in range(lo + 1, hi):
            low, high = min(low, x[i, k]), max(high, x[i, k])
        if high - low > side:
            longest, side = k, high - low
    first, last, cut = lo, hi - 1, lo + left
    while first < last and side > 0.0:
        pivot, i, j = x[(first + last) >> 1, longest], first, last
        while i <= j:
            while x[i, longest] < pivot:
                i += 1
            while x[j, longest] > pivot:
                j -= 1
            if i <= j:
                for k in range(d):
                    x[i, k], x[j, k] = x[j, k], x[i, k]
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if cut - 1 <= j:
            last = j
        elif cut - 1 >= i:
            first = i
        else:
            break
    return cut


@rows_kernel
def _order_cell(x, order, stack, lo, hi):
    """Put rows lo to hi in order, down to single points."""
    stack[0, 0], stack[0, 1], top = lo, hi, 1
    while top > 0:
        top -= 1
        first, last = stack[top, 0], stack[top, 1]
        if last - first > 1:
            cut = _halve(x, order, first, last)
            stack[top, 0], stack[top, 1] = first, cut
            stack[top + 1, 0], stack[top + 1, 1] = cut, last
            top += 2


@rows_kernel
def _order_top(x, order, lo, hi):
    return _halve(x, order, lo, hi)


def near_order(x: NDArray[np.float64]) -> Any:
    """Return an order in which every aligned run of 2^k points has a small box."""

    def run(t: int) -> None:
        _order_cell(moved, order, np.empty((64, 2), np.int64), bounds[t], bounds[t + 1])

    n = x.shape[0]
    moved, order, bounds = np.array(x, order="C"), np.arange(n), [0, n]
    while n >= THREADED_FROM and len(bounds) <= available():
        cuts = [_order_top(moved, order, lo, hi) for lo, hi in pairwise(bounds)]
        bounds = sorted({*bounds, *cuts})
    split(run, len(bounds) - 1)
    return order


class Tree(NamedTuple):
    """Boxes of all cells of blocks, leaves first: those of 2^k blocks are first[k] : first[k + 1].

    A box is all points within `halves` of its centre, coordinate by coordinate.
    """

    first: Array
    centres: Array
    halves: Array

    @property
    def levels(self) -> int:
        return int(self.first.size) - 1


def tree_of(low: NDArray[np.float64], high: NDArray[np.float64]) -> Tree:
    """Return the tree over blocks with these corners (blocks, d)."""
    lows, highs = [low], [high]
    while len(low) > 1:
        low, high = (np.concatenate([x, x[-1:]]) if len(x) % 2 else x for x in (low, high))
        low, high = np.minimum(low[::2], low[1::2]), np.maximum(high[::2], high[1::2])
        lows.append(low)
        highs.append(high)
    first = np.cumsum([0, *map(len, lows)])
    low, high = np.concatenate(lows), np.concatenate(highs)
    centres = 0.5 * (low + high)
    return Tree(first, centres, np.maximum(high - centres, centres - low) * BOX_ROUNDING)
