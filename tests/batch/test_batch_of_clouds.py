"""Batches of clouds: each problem has the numbers of its cloud alone; points beyond the lengths are not looked at."""

import re

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import elastic_ot as eot
from elastic_ot.costs import point_stack
from helpers.array_libraries import LIBRARIES, library

METRICS = ["sqeuclidean", "euclidean", "cityblock", "cosine", "dot"]
SIDES = [
    (eot.Fixed(), eot.Fixed()),
    (eot.Fixed(), eot.KL(0.7)),
    (eot.TV(0.4), eot.L2(2.0)),
    (eot.Elastic(0.6), eot.Free()),
    (eot.Between(0.7, 1.3), eot.AtMost()),
]
WHOLE = slice(0, 7), slice(0, 9)


def drawn(dtype=np.float64, d=3, seed=0):
    """Points of three clouds and of two others, of which all pairs are problems."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 1, 7, d)).astype(dtype), (0.3 + rng.normal(size=(2, 9, d))).astype(dtype)


def costs(metric, x, y):
    x, y = x.astype(np.float64), y.astype(np.float64)
    return -(x @ y.T) if metric == "dot" else cdist(x, y, metric)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kept", [1 << 20, 0], ids=["by SciPy", "by kernels"])
def test_a_batch_stores_the_distances_of_its_clouds(metric, dtype, kept, monkeypatch):
    monkeypatch.setattr(point_stack, "KEPT_ENTRIES", kept)
    x, y = drawn(dtype)
    solution = eot.solve(eot.PointCloud(x, y, metric), epsilon=1.0)
    assert solution.problem.shape == (3, 2, 7, 9)
    assert solution.plan.dtype == dtype
    for k, (i, j) in enumerate(np.ndindex(3, 2)):
        # rounded once to the dtype; sums of three products come before that
        found, expected = solution.problem.cost[solution.problem.cost_of[k]], costs(metric, x[i, 0], y[j])
        np.testing.assert_allclose(
            found, expected, rtol=np.finfo(dtype).eps, atol=1e-7 if dtype == np.float32 else 1e-13
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("rows", "cols"), SIDES, ids=str)
def test_problems_have_the_numbers_of_their_clouds_alone(metric, rows, cols, dtype):
    x, y = drawn(dtype)
    x[1, 0, 5:] = np.nan
    y[0, 6:] = np.nan
    n, m = np.array([7, 5, 7])[:, None], np.array([6, 9])
    how = {"epsilon": 0.5, "rows": rows, "cols": cols, "tol": 1e-12}
    found = eot.solve(eot.PointCloud(x, y, metric), row_lengths=n, col_lengths=m, **how)
    assert found.converged.all()
    for i, j in np.ndindex(3, 2):
        alone = eot.solve(eot.PointCloud(x[i, 0, : n[i, 0]], y[j, : m[j]], metric), **how)
        # both are solved to 1e-12 of the mass; potentials amplify that by up to epsilon over the least mass
        assert found.value[i, j] == pytest.approx(alone.value, abs=1e-9)
        np.testing.assert_allclose(found[i, j].f, alone.f, rtol=0, atol=1e-9)
        rounding = 0.0 if dtype == np.float64 else 1e-6  # of entries in float32, whose exponents are a few units
        plan = found.plan[i, j, : n[i, 0], : m[j]]
        np.testing.assert_allclose(plan, alone.plan, rtol=rounding, atol=1e-9)
        assert found[i, j].gap == pytest.approx(alone.gap, abs=1e-9)
    assert (found.plan[1, :, 5:] == 0).all()
    np.testing.assert_allclose(found.apply(np.ones((9, 1)))[..., 0], found.row_marginal, rtol=0, atol=1e-12)


def test_one_cloud_with_many_weights_epsilons_strengths_or_lengths_is_a_batch():
    x, y = drawn()
    x, y = x[0, 0], y[0]
    cloud, weights = eot.PointCloud(x, y), np.random.default_rng(1).dirichlet(np.ones(7), 4)
    how = {"epsilon": 0.5, "tol": 1e-12}
    many = eot.solve(cloud, weights, **how)
    assert len(many.problem.cost) == 1  # stored once
    for k, a in enumerate(weights):
        assert many.value[k] == pytest.approx(eot.solve(cloud, a, **how).value, abs=1e-9)
    path = eot.solve(cloud, epsilon=[0.3, 1.0], tol=1e-12)
    assert path.value[0] == pytest.approx(eot.solve(cloud, epsilon=0.3, tol=1e-12).value, abs=1e-9)
    soft = eot.solve(cloud, cols=eot.KL(np.array([0.5, 2.0, 8.0])), **how)
    assert soft.value[1] == pytest.approx(eot.solve(cloud, cols=eot.KL(2.0), **how).value, abs=1e-9)
    short = eot.solve(cloud, row_lengths=[7, 4], **how)
    assert short.value[1] == pytest.approx(eot.solve(eot.PointCloud(x[:4], y), **how).value, abs=1e-9)


def test_a_cloud_is_checked_where_some_problem_counts_its_points():
    x, y = drawn()
    x[1, 0, 4] = np.inf
    cloud = eot.PointCloud(x, y)
    assert eot.solve(cloud, epsilon=1.0, row_lengths=[[7], [4], [7]]).converged.all()
    with pytest.raises(ValueError, match=re.escape("x[1, 0, 4, 0] is inf; coordinates must be finite")):
        eot.solve(cloud, epsilon=1.0, row_lengths=[[7, 7], [4, 5], [7, 7]])


@pytest.mark.parametrize("size", [1e19, 1e-16])
def test_float32_points_whose_squares_leave_the_range_are_converted(size):
    x, y = drawn(np.float32)
    wide = eot.PointCloud((size * x).astype(np.float32), (size * y).astype(np.float32))
    found = eot.solve(wide, epsilon=0.5 * size**2)
    assert found.problem.cost.dtype == np.float64
    np.testing.assert_allclose(found.f / size**2, eot.solve(eot.PointCloud(x, y), epsilon=0.5).f, atol=1e-5)


def test_a_fixed_budget_is_that_of_single_clouds():
    x, y = drawn()
    how = {"epsilon": 0.3, "tol": 0, "max_iter": 3}
    found = eot.solve(eot.PointCloud(x, y), **how)
    for i, j in np.ndindex(3, 2):
        np.testing.assert_allclose(found.plan[i, j], eot.solve(eot.PointCloud(x[i, 0], y[j]), **how).plan, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_entries_and_single_clouds_of_many(metric):
    x, y = drawn()
    cloud = eot.PointCloud(x, y, metric)
    assert cloud.shape == (3, 2, 7, 9)
    assert repr(cloud).startswith("PointCloud(3 x 2 clouds of 7 x 9 points in 3 dimensions, metric=")
    whole = cloud.block(*WHOLE)
    i, j = np.array([0, 6, 3]), np.array([8, 0, 2])
    for index in np.ndindex(3, 2):
        expected = costs(metric, x[index[0], 0], y[index[1]])
        np.testing.assert_allclose(whole[index], expected, rtol=0, atol=1e-13)
        np.testing.assert_allclose(cloud[index].block(*WHOLE), expected, rtol=0, atol=1e-13)
        np.testing.assert_allclose(cloud.at(i, j)[index], expected[i, j], rtol=0, atol=1e-13)
    own = eot.PointCloud(x[:, 0], metric=metric)
    for one in (own, own[2]):
        assert one.y is one.x


@pytest.mark.parametrize("name", LIBRARIES)
def test_points_of_any_library(name):
    xp, (x, y) = library(name), drawn(np.float32)
    found = eot.solve(eot.PointCloud(xp.make(x), xp.make(y)), epsilon=0.5)
    np.testing.assert_array_equal(found.f, eot.solve(eot.PointCloud(x, y), epsilon=0.5).f)


def put(points, index, value):
    points = points.copy()
    points[index] = value
    return points


REFUSED = {
    "nan": (lambda x, y: eot.PointCloud(put(x, (2, 0, 5, 0), np.nan), y), {}, "x[2, 0, 5, 0] is nan; coordinates must"),
    "overflow": (lambda x, y: eot.PointCloud(x, put(y, (1, 3, 2), 1e160)), {}, "y[1, 3, 2] is 1e+160; squared"),
    "origin": (lambda x, y: eot.PointCloud(x, put(y, (1, 3), 0.0), "cosine"), {}, "y[1, 3] is the origin, whose"),
    "mask": (eot.PointCloud, {"mask": np.ones((7, 9), bool)}, "mask is for a cost matrix; pass the cost as an array"),
    "mass": (eot.PointCloud, {"mass": 0.5}, "mass is that of one plan; solve the problems of a batch one by one"),
    "weights": (
        eot.PointCloud,
        {"a": np.full((5, 7), 1 / 7)},
        "cost has leading dimensions (3, 2) and a (5,); they must broadcast",
    ),
    "lengths": (eot.PointCloud, {"row_lengths": [8, 1]}, "row_lengths[0] is 8; it must lie between 1 and 7"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_named_with_its_place(name):
    make, options, text = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(text)):
        eot.solve(make(*drawn()), epsilon=1.0, **options)


def test_more_entries_than_a_batch_stores_are_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(point_stack, "LARGEST_STACK", 6 * 7 * 9)
    x, y = drawn()
    assert eot.solve(eot.PointCloud(x, y), epsilon=1.0).converged.all()
    monkeypatch.setattr(point_stack, "LARGEST_STACK", 6 * 7 * 9 - 1)
    with pytest.raises(ValueError, match=r"6 x 7 x 9 costs, .* up to 377; solve the clouds one by one, cloud\[k\]"):
        eot.solve(eot.PointCloud(x, y), epsilon=1.0)


def test_other_costs_are_still_one_problem():
    with pytest.raises(ValueError, match=r"cost is a Grid, which is one problem; .* \(\.\.\., n, m\) or a PointCloud"):
        eot.solve(eot.Grid((2, 3)), epsilon=[0.1, 0.2])
