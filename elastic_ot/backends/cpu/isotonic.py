"""Isotonic regression by pooling adjacent violators: which entries of a vector share a value.

The problem is, with s and w that never increase,

    quadratic:  min sum_i (v_i - (s_i - w_i))^2 / 2,            entropic:  min sum_i exp(s_i - v_i) + exp(w_i) v_i,

over v_1 >= ... >= v_n. A block of equal v has the value mean(s - w), or log sum exp(s) - log sum exp(w).
"""

from __future__ import annotations

import numpy as np

from ..protocol import Array
from .flags import rows_kernel, whole
from .threads import available, split

POOLED_SERIAL_BELOW = 1 << 15  # entries of all problems


@whole
def _log_add(x, y):
    high = max(x, y)
    return high + np.log1p(np.exp(min(x, y) - high))


@rows_kernel
def _pool(s, w, entropic, low, high, first, work):
    """Write where the block of each entry begins, for problems low to high; `work` has three rows."""
    n = s.shape[1]
    left, right, value = work[0], work[1], work[2]
    for k in range(low, high):
        begins, count = first[k], 0  # the first `count` entries of it are the beginnings of blocks, while pooling
        for i in range(n):
            a, b, start = s[k, i], w[k, i], i
            now = a - b
            while count > 0 and value[count - 1] < now:
                count -= 1
                if entropic:
                    a, b = _log_add(left[count], a), _log_add(right[count], b)
                    now = a - b
                else:
                    a, b = left[count] + a, right[count] + b
                    now = (a - b) / (i + 1 - begins[count])
                start = begins[count]
            left[count], right[count], value[count], begins[count] = a, b, now, start
            count += 1
        end = n
        for block in range(count - 1, -1, -1):  # from the end: no block begins before its own number
            start = begins[block]
            for i in range(start, end):
                begins[i] = start
            end = start


def block_starts(s: Array, w: Array, entropic: bool) -> Array:
    """The first entry of each entry's block, shape (B, n), of float64 problems (B, n)."""
    first = np.empty(s.shape, np.int64)
    threads = 1 if s.size < POOLED_SERIAL_BELOW else min(available(), len(s))

    def run(part: int) -> None:
        low, high = (len(s) * p // threads for p in (part, part + 1))
        _pool(s, w, entropic, low, high, first, np.empty((3, s.shape[1])))

    split(run, threads)
    return first
