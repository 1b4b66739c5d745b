"""`solve` and `solve_sample` by POT's calls: plans, values and attributes, compared with POT."""

import numpy as np
import ot
import pytest

import elastic_ot as eot
import elastic_ot.compat.pot as front
from helpers.pot_problems import accuracy, problem, quiet_pot

MANY = {"max_iter": 100_000, "tol": 1e-13}


def close(arrays, ours, theirs, usual=1e-8):
    tolerance = accuracy(arrays, usual)
    np.testing.assert_allclose(arrays.read(ours.plan), theirs.plan, atol=tolerance)
    assert abs(float(ours.value) - theirs.value) < 3 * tolerance
    assert abs(float(ours.value_linear) - theirs.value_linear) < 3 * tolerance
    for mine, original in zip(ours.marginals, theirs.marginals, strict=True):
        np.testing.assert_allclose(arrays.read(mine), original, atol=tolerance)


@pytest.mark.parametrize("reg_type", ["KL", "entropy"])
def test_balanced_results_are_those_of_pot(arrays, reg_type):
    p = problem()
    given = [arrays.make(x) for x in (p.cost, p.a, p.b)]
    ours = front.solve(*given, reg=0.1, reg_type=reg_type, tol=1e-11)
    theirs = ot.solve(p.cost, p.a, p.b, reg=0.1, reg_type=reg_type, **MANY)
    close(arrays, ours, theirs)
    shift = arrays.read(ours.potential_a) - theirs.potential_a
    assert np.ptp(shift) < accuracy(arrays, 1e-7) * 10
    assert ours.status == "Converged"
    assert "solution" in ours.log


def test_exact_results_are_those_of_pot(arrays):
    p = problem()
    given = [arrays.make(x) for x in (p.cost, p.a, p.b)]
    ours, theirs = front.solve(*given), ot.solve(p.cost, p.a, p.b)
    close(arrays, ours, theirs)
    tolerance = accuracy(arrays, 1e-10)
    assert abs(arrays.read(ours.potential_a) @ p.a + arrays.read(ours.potential_b) @ p.b - theirs.value) < tolerance


@pytest.mark.parametrize("reg_type", ["KL", "entropy"])
@pytest.mark.parametrize("kind", ["KL", "L2"])
def test_relaxed_plans_are_those_of_pot(arrays, kind, reg_type):
    p = problem(masses=(1.0, 1.4))
    given = [arrays.make(x) for x in (p.cost, p.a, p.b)]
    options = {"reg": 0.3, "reg_type": reg_type, "unbalanced": 0.8, "unbalanced_type": kind}
    ours = front.solve(*given, max_iter=10_000, **options)
    with quiet_pot():
        theirs = ot.solve(p.cost, p.a, p.b, max_iter=50_000, tol=1e-13, **options)
    usual = 1e-8 if kind == reg_type == "KL" else 2e-3  # POT's minimiser stops early
    np.testing.assert_allclose(arrays.read(ours.plan), theirs.plan, atol=accuracy(arrays, usual))
    assert abs(float(ours.value_linear) - theirs.value_linear) < 3 * accuracy(arrays, usual)


@pytest.mark.parametrize("unbalanced", [None, 5.0])
def test_methods_and_warm_starts_reach_the_solver(unbalanced):
    p = problem(masses=(1.0, 1.0 if unbalanced is None else 1.4))
    options = {"reg": 0.02, "unbalanced": unbalanced, "method": "log", "max_iter": 20_000, "tol": 1e-6}
    cold = front.solve(p.cost, p.a, p.b, **options)
    assert cold.log["solution"].method == "log"
    warm = front.solve(p.cost, p.a, p.b, potentials_init=cold.potentials, **options)
    assert warm.log["niter"] < cold.log["niter"]
    np.testing.assert_allclose(warm.plan, cold.plan, atol=1e-5)


def test_total_variation_without_entropy_is_exact(arrays):
    p = problem(masses=(1.0, 1.4))
    given = [arrays.make(x) for x in (p.cost, p.a, p.b)]
    ours = front.solve(*given, unbalanced=(0.1, 0.2), unbalanced_type="TV")
    exact = eot.exact(p.cost, p.a, p.b, rows=eot.TV(0.1), cols=eot.TV(0.2))
    assert abs(float(ours.value) - exact.value) < accuracy(arrays, 1e-12)
    assert abs(float(ours.value_linear) - exact.transport_cost) < accuracy(arrays, 1e-12)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("reg", [None, 0.1])
@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
def test_results_of_points_are_those_of_pot(arrays, metric, reg, lazy):
    p = problem()
    given = [arrays.make(x) for x in (p.x, p.y, p.a, p.b)]
    ours = front.solve_sample(*given, metric=metric, reg=reg, lazy=lazy, tol=None if reg is None else 1e-11)
    theirs = ot.solve(ot.dist(p.x, p.y, metric), p.a, p.b, reg=reg, **({} if reg is None else MANY))
    tolerance = accuracy(arrays, 1e-9)
    assert abs(float(ours.value) - theirs.value) < 3 * tolerance
    assert abs(float(ours.value_linear) - theirs.value_linear) < 3 * tolerance
    if lazy:
        np.testing.assert_allclose(arrays.read(ours.lazy_plan[:]), theirs.plan, atol=tolerance)
        np.testing.assert_allclose(arrays.read(ours.lazy_plan[1:3, 2]), theirs.plan[1:3, 2], atol=tolerance)
        assert ours.lazy_plan.shape == (9, 7)
        assert len(ours.lazy_plan) == 9
    if not lazy or reg is None:
        np.testing.assert_allclose(arrays.read(ours.plan), theirs.plan, atol=tolerance)
    np.testing.assert_allclose(arrays.read(ours.marginal_b), p.b, atol=tolerance)


def test_the_entropy_of_lazy_values_is_that_of_stored_ones():
    p = problem()
    for reg_type in ("KL", "entropy"):
        options = {"reg": 0.1, "reg_type": reg_type, "tol": 1e-11}
        lazy, stored = (front.solve_sample(p.x, p.y, p.a, p.b, lazy=x, **options).value for x in (True, False))
        assert abs(lazy - stored) < 1e-9


def test_debiased_values_are_those_of_pot():
    p = problem()
    ours = front.solve_sample(p.x, p.y, p.a, p.b, reg=0.2, debias=True, tol=1e-11)
    theirs = ot.solve_sample(p.x, p.y, p.a, p.b, reg=0.2, debias=True, **MANY)
    assert abs(ours.value - theirs.value) < 1e-8
    assert abs(ours.value - eot.divergence(eot.PointCloud(p.x, p.y), a=p.a, b=p.b, epsilon=0.2).value) < 1e-6


def test_sparse_plans_are_plans(arrays):
    p = problem()
    given = [arrays.make(x) for x in (p.cost, p.a, p.b)]
    found = front.solve(*given, reg=0.1)
    sparse = found.sparse_plan
    dense = sparse.to_dense() if arrays.name == "torch" else sparse.toarray()
    np.testing.assert_array_equal(np.asarray(dense), arrays.read(found.plan))
    assert front.solve_sample(p.x, p.y, lazy=True).sparse_plan.shape == (9, 7)


def test_refusals_name_the_way_out():
    p = problem()
    for options, message in (
        ({"reg": 1.0, "reg_type": "L2"}, "reg_type"),
        ({"reg": 1.0, "reg_type": (sum, sum)}, "reg_type"),
        ({"reg": 1.0, "unbalanced": 1.0, "unbalanced_type": "cubes"}, "unbalanced_type"),
        ({"unbalanced": 1.0, "unbalanced_type": "cubes"}, "unbalanced_type"),
    ):
        with pytest.raises(NotImplementedError, match=message):
            front.solve(p.cost, **options)
    with pytest.raises(ValueError, match="grad"):
        front.solve(p.cost, reg=1.0, grad="unroll")
    with pytest.raises(ValueError, match="last_step"):
        front.solve(p.cost, reg=1.0, grad="last_step", max_iter=0)
    for options, message in (
        ({"method": "gaussian"}, "POT"),
        ({"method": "1d"}, "transport_1d"),
        ({"method": "geomloss"}, "SamplesLoss"),
        ({"lazy": True, "unbalanced": 1.0, "reg": 1.0}, "balanced"),
        ({"lazy": True, "reg": 1.0, "reg_type": "L2"}, "reg_type"),
        ({"debias": "split"}, "debias"),
    ):
        with pytest.raises(NotImplementedError, match=message):
            front.solve_sample(p.x, p.y, **options)


@pytest.mark.parametrize("as_object", [False, True])
def test_a_scaler_is_applied_to_both_clouds(arrays, as_object):
    p = problem()
    x, y = arrays.make(p.x), arrays.make(p.y)
    scale = ot.utils.DataScaler(norm="l2")
    found = front.solve_sample(x, y, reg=0.1, scaler=scale if as_object else scale.transform)
    theirs = ot.solve_sample(scale.transform(p.x), scale.transform(p.y), reg=0.1, **MANY)
    np.testing.assert_allclose(arrays.read(found.plan), theirs.plan, atol=accuracy(arrays, 1e-8))
    with pytest.raises(ValueError, match="scaler is 3"):
        front.solve_sample(x, y, scaler=3)
