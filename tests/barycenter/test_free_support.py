"""Barycenters whose points move: the objective falls, the points rest where they should, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import elastic_ot as eot


def clouds(*sizes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 2)) * scale + centre for n, scale, centre in sizes]


POINTS = clouds((30, 1.0, [0.0, 0.0]), (40, 0.5, [3.0, 1.0]), (25, 1.5, [1.0, -4.0]))


@pytest.mark.parametrize("rows", [eot.Fixed(), eot.KL(5.0)])
def test_objective_falls(rows):
    found = eot.free_barycenter(POINTS, weights=[0.2, 0.3, 0.5], support=15, epsilon=0.3, rows=rows, tol=1e-8)
    assert found.converged
    assert found.n_moves > 3
    assert (np.diff(found.values) <= 1e-7).all()
    assert found.value == found.barycenter.value


def test_points_rest_where_plans_put_them():
    """The gradient in the points, 2 sum_k w_k sum_i P_k,ij (y_j - x_k,i), is small beside its terms."""
    w = np.array([0.2, 0.3, 0.5])
    found = eot.free_barycenter(POINTS, weights=w, support=10, epsilon=0.3, tol=1e-9, move_tol=1e-9, max_moves=2000)
    force, size = np.zeros_like(found.support), 0.0
    for weight, x, plan in zip(w, POINTS, map(found.barycenter.plan, range(3)), strict=True):
        apart = found.support - x[:, None]
        force += 2 * weight * np.einsum("ij,ijd->jd", plan, apart)
        size += weight * (plan * np.abs(apart).sum(axis=2)).sum()
    assert np.abs(force).sum() < 1e-3 * size


def test_one_point_is_the_mean():
    w = np.array([0.2, 0.3, 0.5])
    found = eot.free_barycenter(POINTS, weights=w, support=1, epsilon=0.3)
    assert_allclose(found.support[0], sum(weight * x.mean(axis=0) for weight, x in zip(w, POINTS, strict=True)))
    assert_allclose(found.weights, 1.0)


def test_one_cloud_keeps_its_mean():
    """A move keeps it, and the masses hardly change at the end."""
    x = POINTS[0]
    found = eot.free_barycenter([x], support=x, epsilon=0.01, move_tol=1e-7)
    assert_allclose(found.weights @ found.support, x.mean(axis=0), atol=1e-3)


def test_moved_clouds_move_it():
    shift = np.array([5.0, -2.0])
    plain = eot.free_barycenter(POINTS, support=POINTS[0][:8], epsilon=0.3, tol=1e-10)
    moved = eot.free_barycenter([x + shift for x in POINTS], support=POINTS[0][:8] + shift, epsilon=0.3, tol=1e-10)
    assert_allclose(moved.support, plain.support + shift, atol=1e-6)


def test_limits_and_callback():
    with pytest.warns(eot.ConvergenceWarning, match=r"max_iter reached .* \(2 moves\)"):
        found = eot.free_barycenter(POINTS, support=8, epsilon=0.3, max_moves=2)
    assert found.n_moves == 2
    seen = []
    found = eot.free_barycenter(
        POINTS, support=8, epsilon=0.3, callback=lambda k, value: seen.append((k, value)) or k == 1, on_failure="ignore"
    )
    assert found.status is eot.Status.STOPPED
    assert [k for k, _ in seen] == [0, 1]
    assert [value for _, value in seen] == list(found.values)
    with pytest.raises(eot.ConvergenceError, match="max_iter"):
        eot.free_barycenter(POINTS, support=8, epsilon=0.3, max_moves=1, on_failure="raise")
    found = eot.free_barycenter(POINTS, support=8, epsilon=0.3, time_limit=1e-6, on_failure="ignore")
    assert found.status is eot.Status.TIME_LIMIT


NAN = POINTS[0].copy()
NAN[3, 1] = np.nan


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        ([], {}, "points is empty"),
        ([NAN], {}, r"points\[0\]\[3, 1\] is nan"),
        ([POINTS[0], POINTS[1][:, :1]], {}, r"points\[1\] has shape \(40, 1\); it must be \(n, 2\)"),
        (POINTS, {"support": 0}, "support is 0; draw between 1 and 95"),
        (POINTS, {"support": np.zeros((3, 3))}, r"support has shape \(3, 3\); it must be \(m, 2\)"),
        (POINTS, {"support": np.full((3, 2), np.inf)}, "not finite"),
        (POINTS, {"move_tol": 0.0}, "move_tol is 0"),
        (POINTS, {"max_moves": 0}, "must be an integer >= 1"),
    ],
)
def test_mistakes_are_named(points, options, message):
    with pytest.raises(ValueError, match=message):
        eot.free_barycenter(points, **({"support": 5, "epsilon": 0.1} | options))
