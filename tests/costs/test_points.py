"""Clouds of points: entries are SciPy's distances, and what is wrong with points is said by argument and index."""

import re

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import elastic_ot as eot
from helpers.array_libraries import LIBRARIES, library

METRICS = ["sqeuclidean", "euclidean", "cityblock", "cosine", "dot"]


def points(n, m, d, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(dtype), (0.3 + rng.normal(size=(m, d))).astype(dtype)


def expected(x, y, metric):
    x, y = x.astype(np.float64), y.astype(np.float64)
    return -(x @ y.T) if metric == "dot" else cdist(x, y, metric)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 3, 20])
@pytest.mark.parametrize("metric", METRICS)
def test_entries_are_scipy_s_distances(metric, d, dtype):
    x, y = points(7, 11, d, dtype)
    cost, matrix = eot.PointCloud(x, y, metric), expected(x, y, metric)
    # entries are rounded to the dtype once; sums of 20 products in double precision come before that
    error = {"rtol": np.finfo(dtype).eps, "atol": 1e-13}
    assert (cost.shape, cost.dtype) == ((7, 11), dtype)
    for rows, cols in ((slice(0, 7), slice(0, 11)), (slice(2, 3), slice(4, 11)), (slice(6, 7), slice(0, 1))):
        found = cost.block(rows, cols)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, matrix[rows, cols], **error)
    i, j = np.array([0, 6, 3, 3]), np.array([10, 0, 2, 2])
    np.testing.assert_allclose(cost.at(i, j), matrix[i, j], **error)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock"])
def test_entries_keep_their_digits_far_from_the_origin(metric):
    x, y = points(7, 11, 3)
    near = eot.PointCloud(np.round(x, 3), np.round(y, 3), metric).block(slice(0, 7), slice(0, 11))
    far = eot.PointCloud(1e6 + np.round(x, 3), 1e6 + np.round(y, 3), metric).block(slice(0, 7), slice(0, 11))
    # coordinates near 1e6 are rounded at 1e-10, differences up to 6 among 3 coordinates are exact from there
    np.testing.assert_allclose(far, near, atol=1e-8)


def test_without_y_both_sides_are_the_same_points():
    x, _ = points(9, 1, 2)
    cost = eot.PointCloud(x)
    assert cost.y is cost.x
    assert cost.shape == (9, 9)
    np.testing.assert_array_equal(np.diag(cost.block(slice(0, 9), slice(0, 9))), 0.0)


@pytest.mark.parametrize("name", LIBRARIES)
def test_points_of_any_library(name):
    xp, (x, y) = library(name), points(6, 5, 2, np.float32)
    found = eot.PointCloud(xp.make(x), xp.make(y))
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found.y, y)


def test_points_that_can_be_read_where_they_lie_are_not_copied():
    x, y = points(6, 5, 2)
    x.flags.writeable = False
    found = eot.PointCloud(x, y)
    assert np.shares_memory(found.x, x)
    assert np.shares_memory(found.y, y)


@pytest.mark.parametrize(
    ("x", "y", "dtype"),
    [
        (np.float32, np.float32, np.float32),
        (np.float16, np.float16, np.float32),
        (np.float32, np.float64, np.float64),
        (np.int32, np.float32, np.float64),
        (np.int64, np.uint8, np.float64),
        (bool, bool, np.float64),
    ],
)
def test_the_dtype_is_that_of_the_points(x, y, dtype):
    cost = eot.PointCloud(np.ones((3, 2), x), np.ones((4, 2), y))
    assert cost.dtype == cost.x.dtype == cost.y.dtype == dtype


@pytest.mark.parametrize("size", [1e19, 1e-16])
def test_float32_points_whose_squares_leave_the_range_are_converted(size):
    x, y = points(5, 6, 2, np.float32)
    cost = eot.PointCloud((size * x).astype(np.float32), (size * y).astype(np.float32))
    assert cost.dtype == np.float64
    solution, scale = eot.solve(cost, epsilon=0.5 * size**2), size**2
    np.testing.assert_allclose(solution.f / scale, eot.solve(eot.PointCloud(x, y), epsilon=0.5).f, atol=1e-5)


REFUSED = {
    "dimensions": (
        lambda x: eot.PointCloud(x, np.ones((4, 5))),
        ValueError,
        "x has shape (3, 2) and y has shape (4, 5); both must have the same number of coordinates",
    ),
    "a vector": (
        lambda x: eot.PointCloud(x, np.ones(4)),
        ValueError,
        "y has shape (4,); it must be points (n, d) or (..., n, d); a point a number is y[:, None]",
    ),
    "a number": (lambda x: eot.PointCloud(1.0), ValueError, "x has shape (); it must be points (n, d) or (..., n, d)"),
    "no clouds": (lambda x: eot.PointCloud(x[None][:0]), ValueError, "x has shape (0, 3, 2); it must be at least one"),
    "clouds that do not broadcast": (
        lambda x: eot.PointCloud(np.stack([x, x]), np.stack([x, x, x])),
        ValueError,
        "x has leading dimensions (2,) and y (3,); they must broadcast",
    ),
    "an index of one cloud": (
        lambda x: eot.PointCloud(x)[0],
        IndexError,
        "the leading dimensions are (); one index for each of them is needed",
    ),
    "no points": (lambda x: eot.PointCloud(x[:0]), ValueError, "x has shape (0, 2); it must be at least one point"),
    "no coordinates": (lambda x: eot.PointCloud(x, x[:, :0]), ValueError, "y has shape (3, 0); it must be at least"),
    "nan": (lambda x: eot.PointCloud(x, put(x, np.nan)), ValueError, "y[1, 0] is nan; coordinates must be finite"),
    "inf": (lambda x: eot.PointCloud(put(x, -np.inf)), ValueError, "x[1, 0] is -inf; coordinates must be finite"),
    "overflow": (
        lambda x: eot.PointCloud(put(x, 1e160)),
        ValueError,
        "x[1, 0] is 1e+160; squared distances overflow float64, divide the points by a constant",
    ),
    "origin": (
        lambda x: eot.PointCloud(x, 0 * x, "cosine"),
        ValueError,
        "y[0] is the origin, whose cosine with another point is not defined; leave it out, or take another metric",
    ),
    "metric": (
        lambda x: eot.PointCloud(x, metric="l1"),
        ValueError,
        "metric is 'l1'; choose from 'sqeuclidean', 'euclidean', 'cityblock', 'cosine', 'dot'",
    ),
    "no metric": (lambda x: eot.PointCloud(x, metric=None), ValueError, "metric is None; choose from 'sqeuclidean'"),
    "complex": (lambda x: eot.PointCloud(x + 1j), TypeError, "x has dtype complex128; it must hold real numbers"),
    "words": (lambda x: eot.PointCloud([["a"]]), TypeError, "x has dtype <U1; it must hold real numbers"),
    "ragged": (lambda x: eot.PointCloud([[1.0], [1.0, 2.0]]), ValueError, "x is not a rectangular array of numbers"),
    "mask": (
        lambda x: eot.solve(eot.PointCloud(x), epsilon=1.0, mask=np.ones((3, 3), bool)),
        ValueError,
        "mask is for a cost matrix; pass the cost as an array, PointCloud.block(slice(0, n), slice(0, m))",
    ),
}


def put(x, value):
    x = x.copy()
    x[1, 0] = value
    return x


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_points_are_refused_with_the_way_out(name):
    make, kind, text = REFUSED[name]
    with pytest.raises(kind, match=re.escape(text)):
        make(np.random.default_rng(0).random((3, 2)))
