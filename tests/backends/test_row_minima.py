"""The vectors of shortest paths over whole rows, number by number in NumPy."""

import numpy as np
import pytest
from numba import njit

from elastic_ot.backends.cpu.row_minima import cheapest, relax

SIZES = [1, 3, 4, 5, 8, 17, 64, 101]


@njit
def call_cheapest(c, v, held):
    return cheapest(c, v, held)


@njit
def call_relax(c, v, held, distance, ahead, h, row):
    return relax(c, v, held, distance, ahead, h, row)


def place_of(x, held):
    """Of the least a free one, and then the first."""
    least = np.flatnonzero(x == x.min())
    free = least[held[least] == 0]
    return (free if free.size else least)[0]


def problem(size, seed):
    """Few different numbers, so that many are equal; some forbidden, some columns out of the search."""
    rng = np.random.default_rng([size, seed])
    c, v = rng.integers(0, 4, (2, size)).astype(float)
    c[rng.random(size) < 0.2], v[rng.random(size) < 0.2] = np.inf, -np.inf
    return c, v, np.where(rng.random(size) < 0.6, np.inf, 0.0), rng


@pytest.mark.parametrize("size", SIZES)
def test_the_cheapest_column_is_a_free_one_where_there_is_one(size):
    for seed in range(20):
        c, v, held, _ = problem(size, seed)
        least, place = call_cheapest(c, v, held)
        assert least == (c - v).min()
        if least < np.inf:
            assert place == place_of(c - v, held)


@pytest.mark.parametrize("size", SIZES)
def test_distances_fall_with_the_row_ahead_where_that_is_shorter(size):
    for seed in range(20):
        c, v, held, rng = problem(size, seed)
        before = np.where(rng.random(size) < 0.3, np.inf, rng.integers(0, 8, size).astype(float))
        through = c - v + 2.0
        beyond = np.full(size + 8, 7.0)  # what lies behind must not be written
        distance, ahead = beyond[:size], np.full(size, -1.0)
        distance[:] = before
        least, place = call_relax(c, v, held, distance, ahead, 2.0, 5.0)
        after = np.minimum(before, through)
        assert (distance == after).all()
        assert (ahead == np.where(through < before, 5.0, -1.0)).all()
        assert (beyond[size:] == 7.0).all()
        assert least == after.min()
        if least < np.inf:
            assert place == place_of(after, held)
