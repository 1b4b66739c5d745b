"""Gradients of the optimal value against differences of it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import elastic_ot as eot
from helpers.barycenters import bumps

EPSILON, STEP = 0.05, 1e-5


def value(cost, measures, w, epsilon=EPSILON, rows=None):
    options = {"epsilon": epsilon, "rows": rows or eot.Fixed(), "tol": 1e-12, "on_failure": "ignore"}
    return eot.barycenter(cost, measures, w, **options).dual_value


@pytest.mark.parametrize("rows", [eot.Fixed(), eot.KL(0.3), eot.L2(1.0), eot.TV(1.0), eot.Elastic(0.7)])
def test_gradients_are_differences(rows):
    rng = np.random.default_rng(0)
    cost, measures = bumps(3, 20)
    cost, w = cost + 0.3, np.array([0.2, 0.3, 0.5])
    found = eot.barycenter(cost, measures, w, epsilon=EPSILON, rows=rows, tol=1e-12, on_failure="ignore")
    slopes = found.gradients()

    step = rng.normal(size=measures.shape) * measures
    if isinstance(rows, eot.Fixed | eot.TV):  # a firm TV holds the masses, too
        step -= step.sum(axis=1, keepdims=True) * measures
    ahead, behind = (value(cost, measures + t * step, w, rows=rows) for t in (STEP, -STEP))
    expected = (ahead - behind) / (2 * STEP)
    assert sum(x @ y for x, y in zip(slopes.measures, step, strict=True)) == pytest.approx(expected, rel=1e-5, abs=1e-8)

    step = rng.normal(size=3)
    step -= step.mean()
    ahead, behind = (value(cost, measures, w + t * step, rows=rows) for t in (STEP, -STEP))
    assert slopes.weights @ step == pytest.approx((ahead - behind) / (2 * STEP), rel=1e-5, abs=1e-8)

    if not isinstance(rows, eot.Elastic):  # whose strength moves with epsilon
        ahead, behind = (value(cost, measures, w, EPSILON + t, rows) for t in (STEP, -STEP))
        assert slopes.epsilon == pytest.approx((ahead - behind) / (2 * STEP), rel=1e-6)


def test_value_is_the_mean_of_the_transports():
    """The value is homogeneous in w (Euler)."""
    cost, measures = bumps(3, 20)
    found = eot.barycenter(cost, measures, [0.2, 0.3, 0.5], epsilon=EPSILON, tol=1e-10)
    assert found.gradients().weights @ found.measure_weights == pytest.approx(found.value, rel=1e-9)


def test_gradients_where_columns_and_rows_are_not_used():
    rng = np.random.default_rng(1)
    cost, measures = bumps(2, 15)
    cost[:, 4], measures[0, 7] = np.inf, 0.0
    measures /= measures.sum(axis=1, keepdims=True)
    found = eot.barycenter(cost, measures, epsilon=EPSILON, tol=1e-12, on_failure="ignore")
    slopes = found.gradients()
    assert slopes.measures[0][7] == 0
    step = rng.normal(size=measures.shape) * measures
    step -= step.sum(axis=1, keepdims=True) * measures
    ahead, behind = (value(cost, measures + t * step, None) for t in (STEP, -STEP))
    expected = (ahead - behind) / (2 * STEP)
    assert_allclose(sum(x @ y for x, y in zip(slopes.measures, step, strict=True)), expected, rtol=1e-5)


def test_debiased_has_none():
    cost, measures = bumps(2, 15)
    found = eot.barycenter(cost, measures, epsilon=EPSILON, debiased=True)
    with pytest.raises(ValueError, match="debiased=False"):
        found.gradients()


def test_unconverged_gradients_warn():
    cost, measures = bumps(2, 15)
    found = eot.barycenter(cost, measures, epsilon=1e-3, max_iter=3, on_failure="ignore")
    with pytest.warns(eot.ConvergenceWarning, match="max_iter"):
        found.gradients()
