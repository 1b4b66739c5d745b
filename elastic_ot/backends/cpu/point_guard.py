"""Partners for blocks that carry too little mass to be listed: their sums are small, but potentials need them.

A row whose sum is 0 has no potential. So every block has the partners whose bounds come near its largest one, also
where these are too small to matter for anything else: where penalties let blocks carry next to nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..protocol import Array
from .flags import rows_kernel
from .point_lists import Pairs
from .point_search import Majorant, bound_of

NEAR_BEST = 10.0  # powers of 2 by which the bound of a partner may stay behind the largest
MOST_PARTNERS = 64  # of a block that none would have


@rows_kernel
def _find_partners(kind, x, y, sigma, which, first2, stack, found, counts):
    """For every block in `which`, blocks of columns whose bound is near the largest."""
    top = first2.size - 2
    for q in range(which.size):
        i, best, count = which[q], -np.inf, 0
        for collecting in range(2):
            stack[0, 0], stack[0, 1], size = top, 0, 1
            while size > 0:
                size -= 1
                level, j = stack[size, 0], stack[size, 1]
                bound = bound_of(kind, x, i, y, first2[level] + j, sigma)
                if (collecting == 0 and bound <= best) or (collecting == 1 and bound < best - NEAR_BEST):
                    continue
                if level > 0:
                    nearest, other = 2 * j, 2 * j + 1
                    if other < first2[level] - first2[level - 1]:
                        below = first2[level - 1]
                        if bound_of(kind, x, i, y, below + other, sigma) > bound_of(
                            kind, x, i, y, below + nearest, sigma
                        ):
                            nearest, other = other, nearest
                        stack[size, 0], stack[size, 1] = level - 1, other
                        size += 1
                    stack[size, 0], stack[size, 1] = level - 1, nearest
                    size += 1
                elif collecting == 0:
                    best = bound
                elif count < found.shape[1]:
                    found[q, count] = j
                    count += 1
        counts[q] = count if best > -np.inf else 0


def complete(kind: int, sides: list[Majorant], sigma: float, pairs: Pairs, light: list[Array]) -> Pairs:
    """Return the pairs and partners for `light` blocks of rows and of columns."""
    height, width = pairs.pointers.size - 1, pairs.width
    found = [(pairs.rows, pairs.partners)]
    for turned, which in zip((False, True), map(np.flatnonzero, light), strict=True):
        first, second = sides[::-1] if turned else sides
        lines, partners = _partners_of(kind, first, second, sigma, which[first.top[which] > -np.inf])
        found.append((partners, lines) if turned else (lines, partners))
    if all(rows.size == 0 for rows, _ in found[1:]):
        return pairs
    places = np.unique(np.concatenate([rows.astype(np.int64) * width + cols for rows, cols in found]))
    pointers = np.zeros(height + 1, np.int64)
    np.cumsum(np.bincount(places // width, minlength=height), out=pointers[1:])
    return Pairs(pointers, (places % width).astype(np.int32), width, pairs.left, pairs.floor)


def _partners_of(kind: int, x: Majorant, y: Majorant, sigma: float, which: Array) -> tuple[Array, Array]:
    found, counts = np.empty((which.size, MOST_PARTNERS), np.int64), np.zeros(which.size, np.int64)
    sides: list[Any] = [(side.tree.centres, side.tree.halves, side.slope, side.top) for side in (x, y)]
    _find_partners(kind, *sides, sigma, which, y.tree.first, np.empty((128, 2), np.int64), found, counts)
    taken = np.arange(MOST_PARTNERS) < counts[:, None]
    return np.repeat(which, counts), found[taken]
