"""Sliced transport: against POT, the dense average of the applications, closed forms, and the bounds that it states."""

import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist

import elastic_ot as eot
from elastic_ot.applications import expected_sliced_plan

KINDS = ["mean", "max", "min", "expected"]
EXPONENTS = [1.0, 1.5, 2.0, 3.0]


def clouds(seed, n=30, m=25, d=3):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) @ rng.normal(size=(d, d)) + 0.7
    return x, y, rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))


def exact_value(x, y, a, b, p):
    return eot.exact(cdist(x, y) ** p, a, b).value


@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_sliced_distances_of_pot(p, weighted):
    x, y, *weights = clouds(0)
    a, b = weights if weighted else (None, None)
    found = eot.sliced(x, y, a, b, p=p, projections=40, seed=1)
    given = {"projections": found.directions, "p": p}
    assert found.distance == pytest.approx(ot.sliced_wasserstein_distance(x, y, a, b, **given), rel=1e-11)
    largest = ot.max_sliced_wasserstein_distance(x, y, a, b, **given)
    assert found.values.max() ** (1 / p) == pytest.approx(largest, rel=1e-11)


@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("d", "count"), [(1, 3), (2, 50), (3, 2), (5, 12)])
def test_bounds_hold(p, kind, d, count):
    for seed, weighted in ((0, True), (1, False)):
        x, y, *weights = clouds(seed, d=d)
        a, b = weights if weighted else (None, None)
        found, truth = eot.sliced(x, y, a, b, p=p, kind=kind, projections=count, seed=2), exact_value(x, y, a, b, p)
        rounding = 1e-12 * truth
        assert found.lower_bound <= truth + rounding
        assert found.upper_bound >= truth - rounding
        assert (found.values <= found.lower_bound + rounding).all()
        if kind in ("mean", "max"):
            assert found.value <= found.lower_bound + rounding
        else:
            assert found.value == found.upper_bound


@pytest.mark.parametrize("p", EXPONENTS)
def test_the_bound_of_the_mean_holds_for_directions_that_lean_to_one_side(p):
    x, y, a, b = clouds(3)
    lean = np.random.default_rng(4).normal(size=(3, 30)) + np.array([[4.0], [0.0], [0.0]])
    found = eot.sliced(x, y, a, b, p=p, projections=lean)
    assert found.lower_bound <= exact_value(x, y, a, b, p) * (1 + 1e-12)
    np.testing.assert_allclose(np.linalg.norm(found.directions, axis=0), 1.0, rtol=1e-15)


def test_a_translation_is_known_for_every_direction():
    x = np.random.default_rng(0).normal(size=(60, 4))
    shift = np.array([1.0, -2.0, 0.5, 0.0])
    mean = eot.sliced(x, x + shift, projections=8, seed=0)
    np.testing.assert_allclose(mean.values, (shift @ mean.directions) ** 2, rtol=1e-11, atol=1e-13)
    assert mean.value == pytest.approx(shift @ shift / 4, rel=1e-11)  # two orthonormal bases
    assert mean.lower_bound == pytest.approx(shift @ shift, rel=1e-11)
    largest = eot.sliced(x, x + shift, kind="max", projections=8, seed=0)
    assert largest.value == pytest.approx(shift @ shift, rel=1e-11)
    assert abs(largest.direction @ shift) == pytest.approx(np.linalg.norm(shift), rel=1e-8)


def test_the_variance_of_gaussians_that_differ_along_one_axis():
    levels = np.random.default_rng(0).normal(size=(40000, 2))
    found = eot.sliced(levels, levels[::-1] * [3.0, 1.0], kind="max", projections=4, seed=0)
    assert found.value == pytest.approx(4.0, rel=0.05)  # (3 - 1)^2, to the error of a sample of this size
    assert abs(found.direction[0]) > 0.99


@pytest.mark.parametrize("p", EXPONENTS)
def test_the_ascent_is_at_least_as_good_as_many_directions(p):
    x, y, a, b = clouds(5, d=2)
    angles = np.linspace(0.0, np.pi, 2000)
    brute = eot.sliced(x, y, a, b, p=p, projections=np.stack([np.cos(angles), np.sin(angles)]))
    found = eot.sliced(x, y, a, b, p=p, kind="max", projections=20, seed=0)
    assert found.value >= brute.values.max() * (1 - 1e-5)
    again = eot.sliced(x, y, a, b, p=p, projections=found.direction[:, None])
    assert again.value == pytest.approx(found.value, rel=1e-12)


@pytest.mark.parametrize("kind", ["min", "expected"])
@pytest.mark.parametrize("weighted", [False, True])
def test_plans_move_the_right_masses_and_cost_what_is_said(kind, weighted):
    x, y, *weights = clouds(6)
    a, b = weights if weighted else (np.full(30, 1 / 30), np.full(25, 1 / 25))
    found = eot.sliced(x, y, *(weights if weighted else ()), kind=kind, p=1.5, projections=15, seed=0)
    plan = found.plan
    np.testing.assert_allclose(plan.sum(axis=1), a, rtol=0, atol=1e-14)
    np.testing.assert_allclose(plan.sum(axis=0), b, rtol=0, atol=1e-14)
    assert (found.mass > 0).all()
    assert found.value == pytest.approx((plan * cdist(x, y) ** 1.5).sum(), rel=1e-12)
    np.testing.assert_array_equal(found.sparse_plan().toarray(), plan)
    rows, cols = found.sample(100, 0)
    assert (plan[rows, cols] > 0).all()
    expected = found.costs.min() if kind == "min" else found.costs.mean()
    assert found.value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(20, 20), (12, 18)])
def test_the_expected_plan_is_that_of_the_applications(n, m):
    x, y, *_ = clouds(7, n, m)
    found = eot.sliced(x, y, kind="expected", projections=9, seed=0)
    dense = expected_sliced_plan(x, y, found.directions) / n
    np.testing.assert_allclose(found.plan, dense, rtol=0, atol=1e-15)


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_differences(kind, p):
    x, y, a, b = clouds(8, 8, 7)
    found = eot.sliced(x, y, a, b, kind=kind, p=p, projections=6, seed=0)
    given = {"kind": kind, "p": p, "projections": 6, "seed": 0}
    if found.direction is not None:  # held: another one may become the best, and an ascent ends within its tolerance
        given |= {"projections": found.direction[:, None], "kind": "mean" if kind == "max" else kind}
    rng = np.random.default_rng(1)
    for name in ("x", "y"):
        points = {"x": x, "y": y}
        step = rng.normal(size=points[name].shape)

        def value(t, name=name, step=step, points=points):
            return eot.sliced(*(points | {name: points[name] + t * step}).values(), a, b, **given).value

        slope = (getattr(found.gradients(), name) * step).sum()
        assert (value(1e-6) - value(-1e-6)) / 2e-6 == pytest.approx(slope, rel=1e-5)


def test_the_direction_of_the_largest_value_is_stationary():
    x, y, a, b = clouds(8)
    found, step = eot.sliced(x, y, a, b, kind="max", seed=0), np.random.default_rng(2).normal(size=(30, 3))
    up, down = (eot.sliced(x + t * step, y, a, b, kind="max", seed=0).value for t in (1e-3, -1e-3))
    assert (up - down) / 2e-3 == pytest.approx((found.gradients().x * step).sum(), rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_order_and_translation_change_nothing(kind):
    x, y, a, b = clouds(9)
    found = eot.sliced(x, y, a, b, kind=kind, seed=3).value
    i, j = np.random.default_rng(0).permutation(30), np.random.default_rng(1).permutation(25)
    assert eot.sliced(x[i], y[j], a[i], b[j], kind=kind, seed=3).value == pytest.approx(found, rel=1e-7)
    assert eot.sliced(x + 5, y + 5, a, b, kind=kind, seed=3).value == pytest.approx(found, rel=1e-7)
    assert eot.sliced(2 * x, 2 * y, a, b, kind=kind, seed=3).value == pytest.approx(4 * found, rel=1e-7)


def test_many_directions_are_computed_in_parts(monkeypatch):
    x, y, a, b = clouds(10)
    whole = [eot.sliced(x, y, a, b, kind=kind, projections=21, seed=0) for kind in KINDS]
    slopes = [found.gradients().x for found in whole]
    monkeypatch.setattr("elastic_ot.solvers.sliced.CHUNK_NUMBERS", 300)
    for kind, found, slope in zip(KINDS, whole, slopes, strict=True):
        parts = eot.sliced(x, y, a, b, kind=kind, projections=21, seed=0)
        assert parts.value == pytest.approx(found.value, rel=1e-12)
        np.testing.assert_allclose(parts.gradients().x, slope, rtol=1e-9, atol=1e-12)


def test_directions_are_orthonormal_groups():
    found = eot.sliced(np.zeros((1, 4)), np.ones((1, 4)), projections=10, seed=0).directions
    for group in (found[:, :4], found[:, 4:8], found[:, 8:]):
        np.testing.assert_allclose(group.T @ group, np.eye(group.shape[1]), rtol=0, atol=1e-14)


def test_equal_points_of_one_place():
    x = np.zeros((3, 2))
    for kind in KINDS:
        assert eot.sliced(x, x, kind=kind, seed=0).value == 0.0
        assert (eot.sliced(x, x, kind=kind, p=1.5, seed=0).gradients().x == 0.0).all()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.zeros(3), np.zeros((3, 1))), {}, ValueError, "x has shape"),
        ((np.zeros((2, 3, 1)), np.zeros((3, 1))), {}, ValueError, "it must be points"),
        ((np.zeros((3, 2)), np.zeros((3, 1))), {}, ValueError, "last dimensions must be equal"),
        ((np.full((3, 2), np.nan), np.zeros((3, 2))), {}, ValueError, r"x\[0, 0\] is nan"),
        ((np.zeros((3, 2)), np.zeros((3, 2)), np.ones((1, 3))), {}, ValueError, "a has shape .* vector"),
        ((np.zeros((3, 2)), np.zeros((3, 2)), np.ones(3)), {}, eot.InfeasibleError, "no plan has both"),
        ((np.zeros((3, 2)), np.zeros((3, 2))), {"kind": "median"}, ValueError, "kind is 'median'"),
        ((np.zeros((3, 2)), np.zeros((3, 2))), {"p": 0.5}, ValueError, "p is 0.5"),
        ((np.zeros((3, 2)), np.zeros((3, 2))), {"p": "euclidean"}, TypeError, "p must be a real number"),
        ((np.zeros((3, 2)), np.zeros((3, 2))), {"projections": 0}, ValueError, "projections is 0"),
        ((np.zeros((3, 2)), np.zeros((3, 2))), {"projections": np.ones((3, 2))}, ValueError, r"directions \(2, k\)"),
        ((np.zeros((3, 2)), np.zeros((3, 2))), {"projections": np.zeros((2, 2))}, ValueError, "has the length 0"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, options, error, message):
    with pytest.raises(error, match=message):
        eot.sliced(*arguments, **options)


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_a_distance_has_no_plan(kind):
    found = eot.sliced(np.zeros((3, 2)), np.ones((3, 2)), kind=kind, seed=0)
    for call in (lambda: found.plan, found.sparse_plan, lambda: found.sample(2)):
        with pytest.raises(ValueError, match="has no plan"):
            call()
