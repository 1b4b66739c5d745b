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
    """All plans end at b, that of b to itself as well, and sum_k w_k g_k is the potential of that one."""
    cost, measures = bumps(3, 40)
    w = np.array([0.2, 0.3, 0.5])
    found = eot.barycenter(cost, measures, w, epsilon=epsilon, debiased=True, tol=1e-7)
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


def test_value_is_the_sum_of_three():
    cost, measures = bumps(2, 30)
    found = eot.barycenter(cost, measures, epsilon=0.05, debiased=True, tol=1e-9)
    b, ones = found.weights, np.ones(30)
    expected = 0.0
    for a, plan in zip(measures, map(found.plan, range(2)), strict=True):
        expected += 0.5 * (
            (cost * plan).sum() + 0.05 * (plan * np.log(plan / np.outer(a, ones)) - plan).sum() + 0.05 * 30
        )
    own = found.self_transport.plan
    expected -= 0.5 * ((cost * own).sum() + 0.05 * (own * np.log(own) - own).sum() + 0.05 * 900)
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert np.isnan(found.gap)
    assert_allclose(own.sum(axis=0), b, atol=1e-8)


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
