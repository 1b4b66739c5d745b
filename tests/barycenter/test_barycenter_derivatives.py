"""Derivatives of the barycenter's masses, and second ones of the value, against differences."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import elastic_ot as eot
from helpers.barycenters import bumps

EPSILON, STEP = 0.05, 1e-5
SIDES = [eot.Fixed(), eot.KL(0.3), eot.L2(1.0), eot.TV(1.0)]
X = np.linspace(0, 1, 18)


def solved(costs, measures, w, epsilon=EPSILON, rows=eot.Fixed()):  # noqa: B008 - frozen
    return eot.barycenter(costs, measures, w, epsilon=epsilon, rows=rows, tol=1e-13, on_failure="ignore")


def problem(seed=0, held=True):
    """Costs for each of three measures, these, weights, and a direction of all; with `held`, that keeps the masses."""
    rng = np.random.default_rng(seed)
    cost, measures = bumps(3, X.size, seed)
    costs = cost + 0.1 * rng.random((3, *cost.shape))
    step = rng.normal(size=measures.shape) * measures
    if held:
        step += (0.3 - step.sum(axis=1, keepdims=True)) * measures  # all masses grow alike
    return costs, measures, np.array([0.2, 0.3, 0.5]), (rng.normal(size=costs.shape), step, rng.normal(size=3))


def settle(found):
    """The solution, taken for converged: 1e-13 is beyond what rounding grants every problem."""
    object.__setattr__(found, "status", eot.Status.CONVERGED)
    return found


@pytest.mark.parametrize("rows", SIDES, ids=str)
def test_masses_move_as_differences_say(rows):
    costs, measures, w, (dc, da, dw) = problem()
    found = settle(solved(costs, measures, w, rows=rows))

    def difference(along):
        ahead, behind = (
            solved(
                costs + t * dc * along[0],
                measures + t * da * along[1],
                w + t * dw * along[2],
                EPSILON + t * along[3],
                rows,
            ).weights
            for t in (STEP, -STEP)
        )
        return (ahead - behind) / (2 * STEP)

    for along in np.eye(4):
        step = {"costs": dc * along[0], "measures": da * along[1], "weights": dw * along[2], "epsilon": along[3]}
        expected = difference(along)
        assert_allclose(found.jvp(**step), expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("rows", SIDES, ids=str)
@pytest.mark.parametrize("kind", ["each", "one", "clouds", "grid"])
def test_reverse_is_the_transpose_of_forward(rows, kind):
    rng = np.random.default_rng(3)
    costs, measures, w, (dc, da, dw) = problem(1)
    step = {"measures": da, "weights": dw, "epsilon": 0.7}
    if isinstance(rows, eot.KL | eot.TV | eot.L2):
        step["rows"] = -0.4
    given = costs
    if kind == "each":
        step["costs"] = dc
    if kind == "one":
        given, step["costs"] = costs[0], dc[0]
    if kind == "clouds":
        points, support = rng.normal(size=(3, X.size, 2)), rng.normal(size=(20, 2))
        given = [eot.PointCloud(x, support) for x in points]
        step["x"], step["y"] = rng.normal(size=points.shape), [rng.normal(size=support.shape)] * 3
    if kind == "grid":
        given = eot.Grid([3, 6])
    found = settle(solved(given, measures, w, rows=rows, epsilon=0.3 if kind == "clouds" else EPSILON))
    bar = rng.normal(size=found.weights.size)
    slopes = found.vjp(bar)
    pairs = {
        "measures": (slopes.measures, da),
        "weights": (slopes.weights, dw),
        "epsilon": (slopes.epsilon, 0.7),
        "rows": (slopes.rows, step.get("rows", 0.0)),
    }
    if "costs" in step:
        pairs["costs"] = (slopes.costs, step["costs"])
    if "x" in step:
        pairs |= {"x": (slopes.x, step["x"]), "y": (slopes.y, step["y"])}
    total = sum(float(np.sum(np.asarray(one) * other)) for one, other in pairs.values())
    assert total == pytest.approx(float(bar @ found.jvp(**step)), rel=1e-8)
    for name, (one, other) in pairs.items():
        alone = float(bar @ found.jvp(**{name: step[name]})) if name in step else 0.0
        assert float(np.sum(np.asarray(one) * other)) == pytest.approx(alone, rel=1e-7, abs=1e-9), name


@pytest.mark.parametrize("rows", SIDES, ids=str)
def test_gradients_of_the_value_move_as_differences_say(rows):
    costs, measures, w, (dc, da, dw) = problem(2)
    found = settle(solved(costs, measures, w, rows=rows))
    turned = found.hvp(costs=dc, measures=da, weights=dw, epsilon=0.2)
    ahead, behind = (
        settle(solved(costs + t * dc, measures + t * da, w + t * dw, EPSILON + t * 0.2, rows)).gradients()
        for t in (STEP, -STEP)
    )
    scale = np.array([1 + t * dw.sum() for t in (STEP, -STEP)])  # w is divided by its sum, its gradients are not
    along = [np.array(da)]
    for name in ("costs", "epsilon"):
        one, other = (np.array(getattr(x, name)) * s for x, s in zip((ahead, behind), scale, strict=True))
        expected = (one - other) / (2 * STEP)
        assert_allclose(getattr(turned, name), expected, atol=1e-5 * np.abs(expected).max())
    for step in along:
        one, other = (
            sum(x @ y for x, y in zip(g.measures, step, strict=True)) * s
            for g, s in zip((ahead, behind), scale, strict=True)
        )
        moved = sum(x @ y for x, y in zip(turned.measures, step, strict=True))
        assert moved == pytest.approx((one - other) / (2 * STEP), rel=1e-5)
    assert_allclose(turned.weights, (ahead.weights - behind.weights) / (2 * STEP), rtol=1e-4, atol=1e-6)


def test_measures_without_weight_columns_without_mass_and_masked_entries():
    rng = np.random.default_rng(5)
    costs, measures, _, (_, da, dw) = problem(3)
    costs[:, :, 4], costs[1, 2, 7:9], measures[0, 7] = np.inf, np.inf, 0.0
    measures /= measures.sum(axis=1, keepdims=True)
    w, dw = np.array([0.4, 0.6, 0.0]), np.array([0.3, -0.2, 0.5])
    da[0, 7], bar = 0.0, rng.normal(size=X.size)
    da += (0.3 - da.sum(axis=1, keepdims=True)) * measures
    found = settle(solved(costs, measures, w))
    ahead, behind = (
        settle(solved(costs, measures + t * da, w + t * np.array([0.3, -0.2, 0.0]), EPSILON + t)) for t in (STEP, -STEP)
    )
    expected = (ahead.weights - behind.weights) / (2 * STEP)
    step = {"measures": da, "weights": np.array([0.3, -0.2, 0.0]), "epsilon": 1.0}
    assert_allclose(found.jvp(**step), expected, atol=1e-6 * np.abs(expected).max())
    ahead = settle(solved(costs, measures, w + STEP * dw))  # a weight of 0 can only grow
    assert_allclose(found.jvp(weights=dw), (ahead.weights - found.weights) / STEP, atol=2e-4)
    slopes = found.vjp(bar)
    assert slopes.measures[0][7] == 0
    assert not slopes.measures[2].any()
    assert (slopes.costs[1][2, 7:9] == 0).all()
    assert slopes.weights @ dw == pytest.approx(bar @ found.jvp(weights=dw), rel=1e-8)
    by_value = found.gradients()
    ahead, behind = (solved(costs, measures, w, EPSILON + t).dual_value for t in (STEP, -STEP))
    assert by_value.epsilon == pytest.approx((ahead - behind) / (2 * STEP), rel=1e-6)


def test_all_masses_growing_alike_scales_the_barycenter():
    costs, measures, w, _ = problem(4)
    found = settle(solved(costs, measures, w))
    assert_allclose(found.jvp(measures=measures), found.weights, rtol=1e-9)
    value = sum(x @ a for x, a in zip(found.gradients().measures, measures, strict=True))
    ahead, behind = (solved(costs, (1 + t) * measures, w).dual_value for t in (STEP, -STEP))
    assert value == pytest.approx((ahead - behind) / (2 * STEP), rel=1e-6)


def test_one_measure_is_a_transport_to_free_columns():
    """With K = 1 the columns are free, g = 0 and b_j = sum_i a_i softmax(-C_i / epsilon)_j."""
    costs, measures, _, (dc, da, _) = problem(6)
    found = solved(costs[:1], measures[:1], [1.0])
    share = np.exp(-costs[0] / EPSILON)
    share /= share.sum(axis=1, keepdims=True)
    assert_allclose(found.jvp(measures=da[:1]), da[0] @ share, atol=1e-10)
    pull = -(dc[0] - (share * dc[0]).sum(axis=1, keepdims=True)) / EPSILON
    assert_allclose(found.jvp(costs=dc[:1]), measures[0] @ (share * pull), atol=1e-9)


def test_what_has_no_derivative_is_refused():
    costs, measures, w, (_, da, _) = problem(held=False)
    found = settle(solved(costs, measures, w))
    with pytest.raises(ValueError, match=r"along this direction the mass of measure .* change all by the same"):
        found.jvp(measures=da)
    with pytest.raises(ValueError, match="measures has 2 directions for 3 measures"):
        found.jvp(measures=da[:2])
    with pytest.raises(ValueError, match=r"measure 0: rows is Fixed.*no strength"):
        found.jvp(rows=1.0)
    cost, measures = bumps(2, 15)
    debiased = eot.barycenter(cost, measures, epsilon=EPSILON, debiased=True)
    for derivative in (debiased.gradients, debiased.jvp, debiased.hvp, lambda: debiased.vjp(np.ones(15))):
        with pytest.raises(ValueError, match="debiased=False"):
            derivative()
