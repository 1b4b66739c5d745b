"""Sums over one axis of a grid in the log domain, fibre by fibre: right where products of exponentials underflow.

A fibre t has the numbers of one line of the grid, and c (n, m) is the cost along its axis. Elementary functions are
those of `dense`. Numba's cache watches this file only: after a change of `dense` in a checkout, delete the cache
(`__pycache__`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..protocol import LOG2E, Array
from .dense import BRIEF_SERIAL_BELOW, LN2, _largest, log
from .flags import rows_kernel
from .products import multiply as multiply
from .threads import available, split
from .vectors import fill

NEGLIGIBLE_BITS = 64.0  # bits below the largest term at which others are left out
TERMS = 16  # terms that are left out together


@rows_kernel
def _exp_rows(t, scalars, vectors2, out, lo, hi):
    for r in range(lo, hi):
        period = scalars.size
        fill(t[r], -LOG2E, vectors2[r // period], scalars[r % period] * LOG2E, out[r])


@rows_kernel
def _log_rows(sums, scalars, vectors, out, lo, hi):
    for r in range(lo, hi):
        x, y, shift, scalar = sums[r], out[r], vectors[r // scalars.size], scalars[r % scalars.size]
        for j in range(x.size):
            value = log(x[j]) + (scalar + shift[j])  # computed in any case, so that LLVM vectorises it
            y[j] = value if x[j] > 0.0 else -np.inf


@rows_kernel
def _max_fibres(t, c, scale, out, lo, hi):
    for f in range(lo, hi):
        for i in range(c.shape[0]):
            out[f, i] = _largest(c[i], scale, t[f])


@rows_kernel
def _sum_fibres(t2, c, scale2, wanted, log_sum, first, last, p, lo, hi):
    """See `fibre_sums`; t2 and scale2 are in base 2."""
    for f in range(lo, hi):
        for i in range(c.shape[0]):
            if not wanted[f, i]:
                continue
            top = _largest(c[i], scale2, t2[f])
            begin, end = 0, c.shape[1]
            if top == -np.inf:
                log_sum[f, i], first[f, i], last[f, i] = -np.inf, 0, 0
                continue
            while _largest(c[i, begin : begin + TERMS], scale2, t2[f, begin : begin + TERMS]) < top - NEGLIGIBLE_BITS:
                begin += TERMS
            while True:
                before = max(end - TERMS, begin)
                if _largest(c[i, before:end], scale2, t2[f, before:end]) >= top - NEGLIGIBLE_BITS:
                    break
                end = before
            total = fill(c[i, begin:end], scale2, t2[f, begin:end], -top, p[begin:end])
            log_sum[f, i], first[f, i], last[f, i] = np.log(total) + top * LN2, begin, end


@rows_kernel
def _mean_fibres(t2, c, scale2, wanted, log_sum, first, last, fields, slopes, means, p, lo, hi):
    """See `fibre_means`; t2 and scale2 are in base 2."""
    for f in range(lo, hi):
        for i in range(c.shape[0]):
            if not wanted[f, i]:
                continue
            begin, end = first[f, i], last[f, i]
            if begin < end:
                fill(c[i, begin:end], scale2, t2[f, begin:end], -log_sum[f, i] * LOG2E, p[begin:end])
            for q in range(slopes.size):
                mean = 0.0
                for j in range(begin, end):
                    mean += p[j] * (fields[q, f, j] + slopes[q] * c[i, j])
                means[q, f, i] = mean


def _over_fibres(run: Callable[[int, int, int], None], fibres: int, entries: int) -> None:
    """run(thread, lo, hi) over blocks of fibres."""
    threads = 1 if entries < BRIEF_SERIAL_BELOW else min(available(), fibres)
    split(lambda k: run(k, k * fibres // threads, (k + 1) * fibres // threads), threads)


def exponentials(t: Array, scalars: Array, vectors: Array, out: Array) -> None:
    """out[r, j] = exp(t[r, j] + scalars[r % p] + vectors[r // p, j]), with p the number of scalars.

    Without AVX-512, what is less than exp(-707) is that.
    """
    vectors2 = vectors * LOG2E
    _over_fibres(lambda k, lo, hi: _exp_rows(t, scalars, vectors2, out, lo, hi), t.shape[0], t.size)


def logarithms(sums: Array, scalars: Array, vectors: Array, out: Array) -> None:
    """out[r, j] = log(sums[r, j]) + scalars[r % p] + vectors[r // p, j], -inf where a sum is 0."""
    _over_fibres(lambda k, lo, hi: _log_rows(sums, scalars, vectors, out, lo, hi), sums.shape[0], sums.size)


def fibre_max(t: Array, c: Array, scale: float, out: Array) -> None:
    """out[f, i] = max_j (t[f, j] - c[i, j] scale)."""
    _over_fibres(lambda k, lo, hi: _max_fibres(t, c, scale, out, lo, hi), t.shape[0], t.shape[0] * c.size)


def fibre_sums(t: Array, c: Array, scale: float, wanted: Array, log_sum: Array, first: Array, last: Array) -> None:
    """Write log_sum[f, i] = log sum_j exp(t[f, j] - c[i, j] scale) where wanted, relative to the largest term.

    Terms before first[f, i] and from last[f, i] on are below 2^-64 of the largest, and left out.
    """
    t2, scale2 = t * LOG2E, scale * LOG2E

    def run(k: int, lo: int, hi: int) -> None:
        _sum_fibres(t2, c, scale2, wanted, log_sum, first, last, np.empty(c.shape[1]), lo, hi)

    _over_fibres(run, t.shape[0], int(wanted.sum()) * c.shape[1])


def fibre_means(
    t: Array,
    c: Array,
    scale: float,
    wanted: Array,
    sums: tuple[Array, Array, Array],
    fields: Array,
    slopes: Array,
    means: Array,
) -> None:
    """Write means[q, f, i] = sum_j w_j (fields[q, f, j] + slopes[q] c[i, j]) with the terms of `fibre_sums` as weights.

    `sums` is what that has written; its terms over their sum are the w_j.
    """
    t2, scale2, (log_sum, first, last) = t * LOG2E, scale * LOG2E, sums

    def run(k: int, lo: int, hi: int) -> None:
        _mean_fibres(t2, c, scale2, wanted, log_sum, first, last, fields, slopes, means, np.empty(c.shape[1]), lo, hi)

    _over_fibres(run, t.shape[0], int(wanted.sum()) * c.shape[1])
