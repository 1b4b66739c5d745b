"""Sums behind squared distances among many coordinates, some of which each thread takes."""

from __future__ import annotations

import numpy as np

from ..protocol import Array
from .products import multiply
from .threads import available, split

SLICE = 256  # coordinates multiplied at a time; measured


def products(x: Array, y: Array, centre: Array) -> tuple[Array, Array]:
    """Return <x_i, y_j> and |x_i|^2 + |y_j|^2 about a centre, (n, m) each, of points in float32 or float64.

    Each thread has its own sums: three arrays n x m a thread. They are threads of this package, since those of a BLAS
    lose milliseconds to the ones of PyTorch, which a network keeps busy.
    """
    starts = range(0, centre.size, SLICE)
    threads = min(available(), len(starts))
    inner, sizes = np.zeros((2, threads, len(x), len(y)))

    def run(thread: int) -> None:
        sides = np.empty((len(x), SLICE)), np.empty((len(y), SLICE))
        turned, product = np.empty((1, SLICE, len(y))), np.empty((1, len(x), len(y)))
        for first in starts[thread::threads]:
            for side, points in zip(sides, (x, y), strict=True):
                size = min(SLICE, centre.size - first)
                side[:, :size], side[:, size:] = points[:, first : first + size], 0.0
                side[:, :size] -= centre[first : first + size]
            turned[0] = sides[1].T
            multiply(sides[0], turned, product)
            inner[thread] += product[0]
            sizes[thread] += np.vecdot(sides[0], sides[0])[:, None]
            sizes[thread] += np.vecdot(sides[1], sides[1])

    split(run, threads)
    return inner.sum(axis=0), sizes.sum(axis=0)
