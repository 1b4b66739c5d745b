"""Derivatives in the points of a cloud: those in its matrix, passed on; and finite differences of other solves."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import elastic_ot as eot
from elastic_ot.costs import scan
from elastic_ot.costs.slopes import Pair, slopes_of

METRICS = ("sqeuclidean", "euclidean", "cityblock", "cosine", "dot")
SIDES = [
    (eot.Fixed(), eot.Fixed()),
    (eot.Fixed(), eot.KL(0.7)),
    (eot.KL(0.5), eot.KL(2.0)),
    (eot.Elastic(0.6), eot.Free()),
    (eot.L2(1.0), eot.Fixed()),
]
TOL = 1e-13


@pytest.fixture(params=["computed once", "strip by strip"], autouse=True)
def storage(request, monkeypatch):
    """Small clouds are solved as matrices; with no entry kept they are computed whenever they are read, in strips."""
    if request.param == "strip by strip":
        monkeypatch.setattr(scan, "KEPT_ENTRIES", 0)
        monkeypatch.setattr("elastic_ot.derivatives.point.STRIP", 60)


def drawn(seed=0, n=9, m=12, d=3):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.3
    a, b = rng.uniform(0.5, 1.5, n), rng.uniform(0.5, 1.5, m)
    return x, y, a / a.sum(), b / b.sum()


def costs(metric, x, y):
    return -(x @ y.T) if metric == "dot" else cdist(x, y, metric)


def passed_on(metric, x, y, by_cost):
    """The derivatives in the points of a function of the matrix."""
    slopes = slopes_of(metric)
    found = slopes.pull(Pair(slopes.settled(x), slopes.settled(y)), by_cost)
    return slopes.returned(x, found.x), slopes.returned(y, found.y)


def both(metric, rows, cols, **options):
    """A solution between points, and that of their matrix."""
    x, y, a, b = drawn()
    how = {"epsilon": 0.6, "rows": rows, "cols": cols, "tol": TOL, **options}
    cloud = eot.solve(eot.PointCloud(x, y, metric), a, b, **how)
    return (x, y), cloud, eot.solve(costs(metric, x, y), a, b, **how)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("rows", "cols"), SIDES, ids=str)
def test_gradients_are_those_of_the_matrix(metric, rows, cols):
    points, cloud, dense = both(metric, rows, cols)
    found, expected = cloud.gradients(), dense.gradients()
    assert found.cost is None
    for one, other in zip((found.x, found.y), passed_on(metric, *points, expected.cost), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.a, expected.a, rtol=0, atol=1e-9)
    assert found.epsilon == pytest.approx(expected.epsilon, abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("rows", "cols"), SIDES, ids=str)
def test_vjp_and_jvp_are_those_of_the_matrix(metric, rows, cols):
    (x, y), cloud, dense = both(metric, rows, cols)
    rng = np.random.default_rng(1)
    bars = {"f": rng.normal(size=len(x)), "g": rng.normal(size=len(y)), "plan": rng.normal(size=(len(x), len(y)))}
    found, expected = cloud.vjp(**bars), dense.vjp(**bars)
    for one, other in zip((found.x, found.y), passed_on(metric, x, y, expected.cost), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.b, expected.b, rtol=0, atol=1e-8)
    assert found.epsilon == pytest.approx(expected.epsilon, abs=1e-8)
    steps = rng.normal(size=x.shape), rng.normal(size=y.shape)
    moved = cloud.jvp(x=steps[0], y=steps[1], epsilon=0.3)
    paired = (bars["plan"] * moved.plan).sum() + bars["f"] @ moved.f + bars["g"] @ moved.g
    expected_pair = (found.x * steps[0]).sum() + (found.y * steps[1]).sum() + 0.3 * found.epsilon
    assert paired == pytest.approx(expected_pair, abs=1e-7)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("rows", "cols"), SIDES[:3], ids=str)
def test_hvp_is_a_difference_of_gradients(metric, rows, cols):
    x, y, a, b = drawn(3)
    rng = np.random.default_rng(4)
    dx, dy = rng.normal(size=x.shape), rng.normal(size=y.shape)

    def solved(t):
        cloud = eot.PointCloud(x + t * dx, y + t * dy, metric)
        return eot.solve(cloud, a, b, epsilon=0.6, rows=rows, cols=cols, tol=TOL)

    found = solved(0.0).hvp(x=dx, y=dy)
    up, down = (solved(sign * 1e-5).gradients() for sign in (1.0, -1.0))
    for name in ("x", "y"):
        expected = (getattr(up, name) - getattr(down, name)) / 2e-5
        np.testing.assert_allclose(getattr(found, name), expected, rtol=0, atol=1e-6)
    assert found.cost is None


@pytest.mark.parametrize("metric", METRICS)
def test_iterations_between_points_are_differentiated_too(metric):
    (x, y), cloud, dense = both(metric, eot.Fixed(), eot.KL(1.0), tol=0, max_iter=4)
    bar, rng = np.random.default_rng(5).normal(size=(len(x), len(y))), np.random.default_rng(6)
    found = cloud.vjp(plan=bar)
    for one, other in zip((found.x, found.y), passed_on(metric, x, y, dense.vjp(plan=bar).cost), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11)
    step = rng.normal(size=x.shape)
    assert (cloud.jvp(x=step).plan * bar).sum() == pytest.approx((found.x * step).sum(), abs=1e-11)


def test_zero_weights_have_no_part_in_it():
    x, y, a, b = drawn(7)
    a[2] = 0.0
    a /= a.sum()
    sol = eot.solve(eot.PointCloud(x, y), a, b, epsilon=0.5, tol=TOL)
    assert not sol.gradients().x[2].any()
    assert not sol.vjp(f=np.ones(len(x))).x[2].any()
    assert np.isfinite(sol.vjp(plan=np.ones((len(x), len(y)))).y).all()


def test_directions_belong_to_the_kind_of_cost():
    (x, y), cloud, dense = both("sqeuclidean", eot.Fixed(), eot.Fixed())
    with pytest.raises(ValueError, match="cost is a direction of a matrix and the cost is a PointCloud"):
        cloud.jvp(cost=np.ones((len(x), len(y))))
    with pytest.raises(ValueError, match="x is a direction of points and the cost is a matrix"):
        dense.hvp(x=x)
    with pytest.raises(ValueError, match=r"y has shape \(9, 3\)"):
        cloud.hvp(y=x)


def test_a_given_mass_needs_a_matrix():
    x, y, a, b = drawn()
    sol = eot.solve(eot.PointCloud(x, y), a, b, epsilon=0.5, mass=0.6, tol=1e-10)
    with pytest.raises(ValueError, match="need a cost matrix"):
        sol.vjp(f=np.ones(len(x)))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("far", [0.0, 10.0])
def test_the_derivative_in_epsilon_is_the_entropy_of_the_plan(metric, far):
    """The transport cost in it is read off the derivatives in the points; large inner products are levelled."""
    x, y, a, b = drawn()
    x, y = x + far, y + far
    sol = eot.solve(eot.PointCloud(x, y, metric), a, b, epsilon=0.6, tol=1e-12)
    plan = sol.plan
    entropy = float((plan * np.log(plan / np.outer(a, b))).sum() - plan.sum() + 1.0)
    # marginals are off by tol, and count times the potentials over epsilon
    assert sol.gradients().epsilon == pytest.approx(entropy, abs=1e-11 * (10 + np.abs(costs(metric, x, y)).max()))
