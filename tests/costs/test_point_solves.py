"""Solves on points give what solves on the matrix of their distances give, by kernels that store none."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import elastic_ot as eot
from elastic_ot.costs.point_cost import PointCost
from helpers.user_costs import METHODS, PAIRS, PENALTIES

METRICS = ["sqeuclidean", "euclidean", "cityblock", "cosine", "dot"]


def points(n=43, m=37, d=3, dtype=np.float64):
    rng = np.random.default_rng(3)
    return (rng.random((n, d)) - 0.5).astype(dtype), (rng.random((m, d)) - 0.3).astype(dtype)


def matrix(cloud):
    """All costs in double precision, by SciPy."""
    x, y = cloud.x.astype(np.float64), cloud.y.astype(np.float64)
    return -(x @ y.T) if cloud.metric == "dot" else cdist(x, y, cloud.metric)


def weights(cloud, rows="Fixed", cols="Fixed"):
    """Weights with a zero on each side, of different masses where capacities leave room."""
    rng = np.random.default_rng(7)
    a, b = (0.5 + rng.random(size) for size in cloud.shape)
    a[4] = b[0] = 0.0
    return (1.5 if rows == "AtMost" else 1.0) * a / a.sum(), (1.5 if cols == "AtMost" else 1.0) * b / b.sum()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_of_iterations_ends_at_the_same_potentials(metric, dtype):
    """For every pair of penalties, which take turns with the metrics."""
    cloud = eot.PointCloud(*points(dtype=dtype), metric)
    single = dtype == np.float32
    for k, (rows, cols) in enumerate(PAIRS):
        if k % len(METRICS) != METRICS.index(metric):
            continue
        a, b = weights(cloud, rows, cols)
        how = {"epsilon": 0.05, "rows": PENALTIES[rows], "cols": PENALTIES[cols], "tol": 0, "max_iter": 20}
        found, expected = eot.solve(cloud, a, b, **how), eot.solve(matrix(cloud), a, b, **how)
        used = slice(5, None), slice(1, None)
        # float32 rounds exponents, up to 60, at 4e-6; 20 iterations do not magnify that much
        for one, other in ((found.f[used[0]], expected.f[used[0]]), (found.g[used[1]], expected.g[used[1]])):
            np.testing.assert_allclose(one, other, atol=1e-5 if single else 1e-9)
        np.testing.assert_allclose(found.row_marginal, expected.row_marginal, atol=1e-4 if single else 1e-9)


def check(cloud, rows, cols, method, epsilon=0.05, tol=1e-8):
    a, b = weights(cloud, rows, cols)
    how = {"epsilon": epsilon, "rows": PENALTIES[rows], "cols": PENALTIES[cols], "method": method, "tol": tol}
    found, expected = eot.solve(cloud, a, b, **how), eot.solve(matrix(cloud), a, b, **how)
    assert found.status is expected.status is eot.Status.CONVERGED
    scale = abs(expected.dual_value) + epsilon
    # dual values are lower bounds, each within its gap of the optimum
    assert abs(found.dual_value - expected.dual_value) <= found.gap + expected.gap + 1e-12 * scale
    assert found.gap <= expected.gap + 10 * tol * scale


@pytest.mark.parametrize("k", range(len(METHODS)), ids=METHODS)
def test_every_method_and_pair_of_penalties(k):
    """Every pair with one method, on one of the metrics."""
    for i, (rows, cols) in enumerate(PAIRS):
        if i % len(METHODS) == k:
            check(eot.PointCloud(*points(), METRICS[i % len(METRICS)]), rows, cols, METHODS[k])


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", METHODS)
def test_every_combination(method, metric):
    for rows, cols in PAIRS:
        check(eot.PointCloud(*points(), metric), rows, cols, method)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("metric", METRICS)
def test_every_tolerance_in_both_dtypes(metric, tol, dtype):
    check(eot.PointCloud(*points(dtype=dtype), metric), "Fixed", "KL", "auto", tol=tol)


@pytest.mark.parametrize("epsilon", [1e-4, 1e-2])
@pytest.mark.parametrize("pair", range(0, len(PAIRS), 3))
def test_loose_tolerances_are_for_sweeps(pair, epsilon):
    rows, cols = PAIRS[pair]
    cloud, (a, b) = eot.PointCloud(*points()), weights(eot.PointCloud(*points()), rows, cols)
    found = eot.solve(cloud, a, b, epsilon=epsilon, rows=PENALTIES[rows], cols=PENALTIES[cols], tol=0.02)
    assert found.status is eot.Status.CONVERGED
    assert found.residual <= 0.02 * max(found.row_marginal.sum(), a.sum())
    ways = set(found.history.method)
    assert "newton" not in ways or len(ways) > 1
    how = {"rows": PENALTIES[rows], "cols": PENALTIES[cols], "method": "newton", "on_failure": "ignore"}
    newton = eot.solve(cloud, a, b, epsilon=epsilon, **how)
    assert found.dual_value <= newton.value + 1e-12
    assert found.value >= newton.dual_value - 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_sweeps_that_come_no_further_make_room_for_newton(seed):
    x, rng = np.linspace(0.0, 1.0, 60)[:, None], np.random.default_rng(seed)
    a, b = rng.random(60) ** 4, rng.random(60) ** 4
    found = eot.solve(eot.PointCloud(x**2, x, "dot"), a / a.sum(), b / b.sum(), epsilon=5e-7, tol=0.01)
    assert found.status is eot.Status.CONVERGED
    assert found.method == "newton"


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("epsilon", [1e-3, 100.0])
def test_small_and_large_epsilons(metric, epsilon):
    check(eot.PointCloud(*points(), metric), "Fixed", "Fixed", "auto", epsilon)


@pytest.mark.parametrize("d", [1, 8, 9, 70])
def test_few_and_many_coordinates(d):
    check(eot.PointCloud(*points(70, 80, d)), "Fixed", "Fixed", "auto", epsilon=0.05 * d)


def test_one_cloud_on_both_sides():
    x, _ = points()
    check(eot.PointCloud(x), "Fixed", "Fixed", "auto")
    check(eot.PointCloud(x), "KL", "KL", "log")


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.ones((5, 2)), np.ones((7, 2))),  # a constant cost
        (np.repeat(np.arange(3.0), 20)[:, None], np.repeat(np.arange(4.0), 10)[:, None]),  # points several times
        (np.zeros((1, 3)), np.random.default_rng(0).random((9, 3))),
        (np.random.default_rng(0).random((9, 3)), np.zeros((1, 3))),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_points_and_one_point(x, y, dtype):
    cloud = eot.PointCloud(x.astype(dtype), y.astype(dtype))
    found, expected = (eot.solve(c, epsilon=0.1, tol=1e-6) for c in (cloud, matrix(cloud)))
    assert found.converged
    assert abs(found.value - expected.value) <= found.gap + expected.gap + 1e-12
    np.testing.assert_allclose(found.plan, expected.plan, atol=1e-6)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock"])
def test_points_far_from_the_origin(metric):
    near, far = (eot.PointCloud(*(np.round(z, 4) + t for z in points()), metric) for t in (0.0, 1e5))
    found, expected = (eot.solve(cloud, epsilon=0.05, tol=1e-9) for cloud in (far, near))
    np.testing.assert_allclose(found.f, expected.f, atol=1e-8)  # coordinates near 1e5 round at 1e-11


@pytest.mark.parametrize("options", [{}, {"rows": eot.KL(0.5)}, {"cols": eot.Between(0.8, 1.2)}])
@pytest.mark.parametrize("metric", METRICS)
def test_what_a_solution_gives(metric, options):
    cloud = eot.PointCloud(*points(), metric)
    a, b = weights(cloud)
    found, expected = (eot.solve(c, a, b, epsilon=0.05, tol=1e-11, **options) for c in (cloud, matrix(cloud)))
    # two solutions within 1e-11 of their marginals, whose errors a condition number of 100 or so magnifies
    np.testing.assert_allclose(found.plan, expected.plan, atol=1e-9)
    np.testing.assert_allclose(found.log_plan, expected.log_plan, atol=1e-6)
    assert abs(found.sparse_plan(0.99) - expected.sparse_plan(0.99)).max() <= 1e-9
    for axis in (0, 1):
        for columns in ((), (3,)):
            x = np.random.default_rng(axis).random((cloud.shape[axis], *columns))
            np.testing.assert_allclose(found.apply(x, axis=axis), expected.apply(x, axis=axis), atol=1e-9)
    for name in ("transport_cost", "value", "dual_value"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-9)
    np.testing.assert_allclose(found.bounds(), expected.bounds(), atol=1e-7)
    np.testing.assert_allclose(found.rounded_plan(), expected.rounded_plan(), atol=1e-9)
    assert len(found.history.residual) >= 1
    assert found.residual <= 1e-11 * max(1.0, a.sum())
    one, other = found.gradients(), expected.gradients()
    assert one.cost is None
    for name in ("a", "b", "epsilon"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-8)


def test_potentials_of_one_solve_begin_another():
    cloud = eot.PointCloud(*points())
    first = eot.solve(cloud, epsilon=0.05, tol=1e-9)
    again = eot.solve(cloud, epsilon=0.05, tol=1e-8, init=first)
    assert again.n_iter <= 2
    np.testing.assert_allclose(again.f, first.f, atol=1e-8)


def test_a_solve_that_runs_out_of_iterations_says_so():
    cloud = eot.PointCloud(*points())
    with pytest.warns(eot.ConvergenceWarning):
        found = eot.solve(cloud, epsilon=1e-3, method="log", max_iter=3)
    assert found.status is eot.Status.MAX_ITER
    assert found.marginal_error > 1e-6


@pytest.mark.parametrize("metric", METRICS)
def test_exact_transport_and_assignments(metric):
    cloud = eot.PointCloud(*points(), metric)
    a, b = weights(cloud)
    for options in ({}, {"rows": eot.TV(0.2), "cols": eot.AtMost()}, {"mass": 0.4}):
        found, expected = eot.exact(cloud, a, b, **options), eot.exact(matrix(cloud), a, b, **options)
        assert found.value == pytest.approx(expected.value, rel=1e-9)
    assert eot.assign(cloud).cost == pytest.approx(eot.assign(matrix(cloud)).cost, rel=1e-6)
    largest = eot.assign(cloud, maximize=True).cost
    assert largest == pytest.approx(eot.assign(matrix(cloud), maximize=True).cost, rel=1e-6)


def test_divergences_and_a_given_mass():
    x, y = points()
    clouds = eot.PointCloud(x, y), eot.PointCloud(x), eot.PointCloud(y)
    found = eot.divergence(*clouds, epsilon=0.05, tol=1e-8)
    expected = eot.divergence(*map(matrix, clouds), epsilon=0.05, tol=1e-8)
    assert abs(found.value - expected.value) <= found.gap + expected.gap + 1e-12
    found, expected = (eot.solve(c, epsilon=0.05, mass=0.5, tol=1e-9) for c in (clouds[0], matrix(clouds[0])))
    assert found.price == pytest.approx(expected.price, abs=1e-6)


@pytest.mark.parametrize("d", [1, 3, 30])
@pytest.mark.parametrize("metric", METRICS)
def test_the_range_is_bounded_without_looking_at_entries(metric, d):
    for shift in (0.0, 5.0):
        cloud = eot.PointCloud(points(d=d)[0], points(d=d)[1] + shift, metric)
        known, entries = cloud._known(), matrix(cloud)
        error = 1e-12 * np.abs(entries).max()
        assert known.lowest <= entries.min() + error
        assert known.highest >= entries.max() - error
        assert known.highest - known.lowest <= 12 * np.ptp(entries)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("metric", METRICS)
def test_entries_of_the_cost_behind_a_cloud(metric, swapped):
    cloud = eot.PointCloud(*points(), metric)
    known = cloud._known().shifted(0.25)
    known, expected = (known.transpose(), matrix(cloud).T - 0.25) if swapped else (known, matrix(cloud) - 0.25)
    assert isinstance(known, PointCost)
    n, m = known.shape
    for rows, cols in ((slice(0, n), slice(0, m)), (slice(3, 9), slice(0, m)), (slice(2, 4), slice(5, 8))):
        np.testing.assert_allclose(known.block(rows, cols), expected[rows, cols], atol=1e-13)
    which = np.array([5, 0, 5])
    np.testing.assert_allclose(known.rows(which), expected[which], atol=1e-13)
    np.testing.assert_allclose(known.columns(which), expected[:, which].T, atol=1e-13)
    np.testing.assert_allclose(known.at(which, which[::-1]), expected[which, which[::-1]], atol=1e-13)
