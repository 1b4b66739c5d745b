"""Relaxed transport on the line: prices over all pairs, and symmetric systems within an envelope. Compiled.

What they compute is stated in `protocol.Line`.
"""

from __future__ import annotations

import math

from numba import njit

from .flags import INSIDE, OUTSIDE

compiled = njit(**OUTSIDE)
inner = njit(forceinline=True, **INSIDE)

NO_UNKNOWN = 1e128  # a pivot that makes an unknown 0, and whose square is a number


@inner
def _power(distance, exponent):
    if exponent == 2.0:
        return distance * distance
    return distance if exponent == 1.0 else distance**exponent


@compiled
def cheapest(x, y, g, exponent, places):
    """See `protocol.Line`: rows at odd multiples of a stride lie between those that were found before."""
    n, m = x.size, y.size
    stride = 1
    while 2 * stride <= n:
        stride *= 2
    while stride > 0:
        for i in range(stride - 1, n, 2 * stride):
            j = places[i - stride] if i >= stride else 0
            last = places[i + stride] if i + stride < n else m - 1
            least = math.inf
            place = j
            while j <= last:
                price = _power(abs(x[i] - y[j]), exponent) - g[j]
                if price < least:
                    least, place = price, j
                j += 1
            places[i] = place
        stride //= 2


@compiled
def factorise(values, first, start):
    """See `protocol.Line`: Cholesky's method, row by row."""
    for k in range(first.size):
        row = start[k] - first[k]
        for i in range(first[k], k):
            other = start[i] - first[i]
            total = values[row + i]
            for j in range(max(first[k], first[i]), i):
                total -= values[row + j] * values[other + j]
            values[row + i] = total / values[other + i]
        pivot = values[row + k]
        for j in range(first[k], k):
            pivot -= values[row + j] ** 2
        values[row + k] = math.sqrt(pivot) if pivot > 0.0 else NO_UNKNOWN


@compiled
def substitute(values, first, start, x):
    """See `protocol.Line`."""
    n = first.size
    for k in range(n):
        row = start[k] - first[k]
        for j in range(first[k], k):
            x[k] -= values[row + j] * x[j]
        x[k] /= values[row + k]
    for k in range(n - 1, -1, -1):
        row = start[k] - first[k]
        x[k] /= values[row + k]
        for j in range(first[k], k):
            x[j] -= values[row + j] * x[k]
