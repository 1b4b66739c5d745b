"""Debiased barycenters: their equations recomputed, POT, and what they are for."""

from __future__ import annotations

import warnings

import numpy as np
import ot
import pytest
from numpy.testing import assert_allclose

import elastic_ot as eot
from helpers.barycenters import bumps, plan_of


@pytest.mark.parametrize("epsilon", [0.02, 2e-3])
def test_equations_hold(epsilon):
    """All plans end at b, that of b to itself as well, and sum_k w_k g_k is its potential, but for a step."""
    cost, measures = bumps(3, 40)
    w = np.array([0.2, 0.3, 0.5])
    found = eot.barycenter(cost, measures, w, epsilon=epsilon, debiased=True, tol=5e-8)
    assert found.converged
    b, h = found.weights, w @ np.array(found.g)
    for a, f, g in zip(measures, found.f, found.g, strict=True):
        plan = plan_of(cost, a, f, g, epsilon)
        assert np.abs(plan.sum(axis=0) - b).sum() < 1e-7
        assert np.abs(plan.sum(axis=1) - a).sum() < 1e-7
    own = np.exp((h[:, None] + h - cost) / epsilon)
    assert np.abs(own.sum(axis=0) - b).sum() < 1e-7


def test_equals_pot():
    cost, measures = bumps(2, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its tolerance is met in no number of iterations
        theirs = ot.bregman.barycenter_debiased(measures.T.copy(), cost, 1e-3, stopThr=1e-14, numItermax=3000)
    ours = eot.barycenter(cost, measures, epsilon=1e-3, debiased=True, tol=1e-7)
    assert np.abs(ours.weights - theirs).sum() < 3e-5


def test_entropy_does_not_blur():
    """Of equal Gaussians it is that Gaussian, where the biased one is wider."""
    x = np.linspace(-3, 3, 120)
    a = np.exp(-(x**2) / (2 * 0.4**2))
    measures, cost = np.repeat(a[None] / a.sum(), 2, axis=0), (x[:, None] - x) ** 2
    sharp = eot.barycenter(cost, measures, epsilon=0.1, debiased=True).weights
    blurred = eot.barycenter(cost, measures, epsilon=0.1).weights
    assert np.sqrt(sharp @ x**2) == pytest.approx(0.4, rel=1e-3)
    assert blurred @ x**2 == pytest.approx(0.4**2 + 0.05, rel=0.02)


def relative_entropy_transport(cost, a, b, epsilon):
    """<C, P> + epsilon KL(P | a b^T) at its minimum, by plain iterations on positive weights."""
    on, v = b > 0, np.ones(int((b > 0).sum()))
    kernel = np.exp(-cost[:, on] / epsilon)
    for _ in range(20_000):
        u = 1.0 / (kernel @ (b[on] * v))
        before, v = v, 1.0 / (kernel.T @ (a * u))
        if np.abs(v / before - 1.0).max() < 1e-13:
            break
    plan = (a * u)[:, None] * kernel * (b[on] * v)
    ratio = np.log(u)[:, None] + np.log(kernel) + np.log(v)
    return float((cost[:, on] * plan).sum() + epsilon * ((plan * ratio).sum() - plan.sum() + a.sum() * b.sum()))


def objective(cost, measures, weights, b, epsilon):
    kept = b > 0
    own = relative_entropy_transport(cost[np.ix_(kept, kept)], b[kept], b[kept], epsilon)
    each = [relative_entropy_transport(cost, a, b, epsilon) for a in measures]
    return float(weights @ np.array(each)) - 0.5 * own


@pytest.mark.parametrize("mass", [1.0, 3.0])
def test_value_is_the_sum_of_three(mass):
    cost, measures = bumps(2, 30)
    found = eot.barycenter(cost, mass * measures, epsilon=0.05, debiased=True, tol=1e-8)
    expected = objective(cost, mass * measures, found.measure_weights, found.weights, 0.05)
    assert found.value == pytest.approx(expected, abs=1e-8)
    assert_allclose(found.self_transport.plan.sum(axis=0), found.weights, atol=1e-7)


@pytest.mark.parametrize("tol", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("mass", [1.0, 3.0])
def test_nothing_is_below_the_bound(mass, tol):
    """Whatever measure is tried: mixtures, single points, better barycenters; and the bound comes near the best."""
    cost, measures = bumps(3, 25)
    measures, w, rng = mass * measures, np.array([0.2, 0.3, 0.5]), np.random.default_rng(0)
    found = eot.barycenter(cost, measures, w, epsilon=0.03, debiased=True, tol=tol)
    better = eot.barycenter(cost, measures, w, epsilon=0.03, debiased=True, tol=1e-7)
    tried = [*(mass * np.eye(25)), *measures, mass * rng.dirichlet(np.full(25, 0.3), 10)[0], better.weights]
    tried += [0.9 * better.weights + 0.1 * other for other in tried[:3]]
    values = [objective(cost, measures, w, b, 0.03) for b in tried]
    assert min(values) >= found.dual_value - 1e-10 * mass
    assert found.value >= better.dual_value - 1e-10 * mass
    assert 0 <= better.gap <= 1e-5 * better.value
    assert found.gap == pytest.approx(found.value - found.dual_value)


def test_the_bound_of_grids_clouds_and_moved_costs_is_that_of_the_matrix():
    x, measures = np.linspace(0, 1, 25), bumps(2, 25)[1]
    cost = (x[:, None] - x) ** 2
    options = {"epsilon": 0.02, "debiased": True, "tol": 1e-6}
    plain = eot.barycenter(cost, measures, **options)
    assert 0 <= plain.gap < 1e-5
    costs = {
        "grid": eot.Grid((x,)),
        "cloud": eot.PointCloud(x[:, None], x[:, None]),
        "far": cost + 50.0,
        "each": [cost, cost + 1.0],
    }
    for name, other in costs.items():
        within = {"debiased": cost} if name == "each" else {}
        found = eot.barycenter(other, measures, **options | within)
        more = {"far": 25.0, "each": 0.5}.get(name, 0.0)  # the half that is left of it; half of that of one measure
        assert found.value == pytest.approx(plain.value + more, abs=1e-6), name
        assert 0 <= found.gap < 1e-5, name
        assert found.dual_value <= plain.value + more + 1e-9, name


def test_where_there_is_no_bound():
    """Sides that are relaxed, forbidden entries, and kernels with negative eigenvalues."""
    cost, measures = bumps(2, 20)
    options = {"epsilon": 0.05, "debiased": True, "tol": 1e-4, "on_failure": "ignore"}
    relaxed = eot.barycenter(cost, measures, rows=eot.KL(1.0), **options)
    far = eot.barycenter(np.where(cost > 0.9, np.inf, cost), measures, **options)
    fourth = eot.barycenter(np.abs(np.arange(20.0)[:, None] - np.arange(20.0)) ** 4 / 19**4, measures, **options)
    assert (
        np.linalg.eigvalsh(np.exp(-(np.abs(np.arange(20.0)[:, None] - np.arange(20.0)) ** 4) / 19**4 / 0.05)).min()
        < -0.1
    )
    for found in (relaxed, far, fourth):
        assert np.isnan(found.dual_value)
        assert np.isnan(found.gap)
        assert np.isfinite(found.value)


def test_costs_within_are_given_known_or_the_same():
    x, y = np.linspace(0, 1, 20), np.linspace(0, 1, 25)
    measures = bumps(2, 20)[1]
    cost, within = (x[:, None] - y) ** 2, (y[:, None] - y) ** 2
    given = eot.barycenter(cost, measures, epsilon=0.02, debiased=within)
    cloud = eot.barycenter(eot.PointCloud(x[:, None], y[:, None]), measures, epsilon=0.02, debiased=True)
    grid = eot.barycenter(eot.Grid((x,), (y,)), measures, epsilon=0.02, debiased=True)
    for other in (cloud, grid):
        assert_allclose(other.weights, given.weights, atol=1e-6)


def test_costs_within_are_refused_where_they_are_none():
    cost, measures = np.random.default_rng(0).random((6, 6)), np.full((2, 6), 1 / 6)
    with pytest.raises(ValueError, match="debiased=matrix"):
        eot.barycenter(cost, measures, epsilon=0.1, debiased=True)
    with pytest.raises(ValueError, match=r"debiased\[\d, \d\] is .* must be symmetric"):
        eot.barycenter(cost, measures, epsilon=0.1, debiased=cost)
    with pytest.raises(ValueError, match=r"shape \(5, 5\)"):
        eot.barycenter(cost, measures, epsilon=0.1, debiased=np.zeros((5, 5)))
