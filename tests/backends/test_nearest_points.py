"""Searches for the least reduced costs between points, against all pairs by brute force."""

import numpy as np
import pytest

from elastic_ot.backends import load_cloud
from helpers.clouds import FAMILIES, METRICS, costs, pair

N, M, ASKED = 500, 737, 300
ROUNDING = 1e-14  # of the numbers in a reduced cost


def potentials(c, rng):
    """None, of neighbours alike, rough, and some of columns that are left out."""
    smooth = c[:3].max(axis=0)
    return np.zeros(M), smooth, 0.1 * c.max() * rng.normal(size=M), np.where(rng.random(M) < 0.3, -np.inf, smooth)


def found(x, y, metric, v, which, k, backend="cpu", offset=0.0):
    indices, least = np.empty((which.size, k), np.int32), np.empty(which.size)
    kernels = load_cloud(backend)
    kernels.least_cells(metric, (kernels.sites(x), kernels.sites(y)), offset, v, which, indices, least)
    return indices, least


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [1, 2, 3, 8])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_smaller_reduced_cost_is_missed(family, d, metric):
    (x, y), rng = pair(family, N, M, d), np.random.default_rng(1)
    c, which = costs(x, y, metric), rng.permutation(N)[:ASKED]
    for v in potentials(c, rng):
        reduced = c[which] - v
        slack = ROUNDING * (c.max() + np.abs(v[np.isfinite(v)]).max())
        for k in (1, 8, 33):
            indices, least = found(x, y, metric, v, which, k)
            assert all(len(set(row)) == k for row in indices.tolist())
            taken = np.sort(np.take_along_axis(reduced, indices.astype(int), axis=1), axis=1)
            np.testing.assert_allclose(taken, np.sort(reduced, axis=1)[:, :k], rtol=0, atol=slack)
            np.testing.assert_allclose(least, reduced.min(axis=1), rtol=0, atol=slack)


@pytest.mark.parametrize("metric", METRICS)
def test_both_backends_find_the_same(metric):
    x, y = pair(FAMILIES[0], N, M, 2)
    v, which = np.random.default_rng(0).normal(size=M), np.arange(N)
    one, other = (found(x, y, metric, v, which, 5, backend, offset=0.5) for backend in ("cpu", "reference"))
    np.testing.assert_array_equal(np.sort(one[0], axis=1), np.sort(other[0], axis=1))
    np.testing.assert_allclose(one[1], other[1], rtol=1e-14)


def test_no_cell_stands_where_no_column_is_left():
    x, y = pair(FAMILIES[0], N, M, 2)
    v = np.full(M, -np.inf)
    v[[3, 700]] = 0.0
    indices, least = found(x, y, "sqeuclidean", v, np.arange(N), 4)
    assert [sorted(row) for row in indices.tolist()] == N * [[-1, -1, 3, 700]]
    np.testing.assert_array_equal(least, ((x[:, None] - y[None, [3, 700]]) ** 2).sum(axis=2).min(axis=1))
    assert (found(x, y, "sqeuclidean", np.full(M, -np.inf), np.arange(N), 4)[1] == np.inf).all()


def test_equal_cells_are_spread_over_the_columns():
    x = np.random.default_rng(0).random((4096, 2))
    indices, _ = found(x, np.ones((4096, 2)), "euclidean", np.zeros(4096), np.arange(4096), 4)
    assert np.unique(indices).size > 2000


def test_a_million_ties_are_not_looked_at_one_by_one():
    """A row has as many equal cells as there are points, and is done after those it asked for."""
    n = 100_000
    x = np.random.default_rng(0).random((n, 2))
    indices, least = found(x, np.full((n, 2), 0.5), "sqeuclidean", np.zeros(n), np.arange(n), 8)  # 10^10 cells
    np.testing.assert_array_equal(least, ((x - 0.5) ** 2).sum(axis=1))
    assert (indices >= 0).all()
