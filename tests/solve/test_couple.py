"""Pairs for flow matching: matchings against SciPy, distributions against plans, entropies against their definition."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import chi2

import elastic_ot as eot
from elastic_ot.plans.sampling import sample_partners


def batches(seed=0, n=40, m=40, d=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)) @ rng.normal(size=(d, d)) + 1.0


def entropy(p):
    p = p[p > 0] / p.sum()
    return -(p * np.log(p)).sum()


def renormalised(plan):
    sides = entropy(plan.sum(axis=1)), entropy(plan.sum(axis=0))
    return (entropy(plan.ravel()) - max(sides)) / min(sides)


def check_distribution(plan, rows, cols):
    """Chi-square over cells that five draws are expected of; a false alarm is one in a million, and seeds are fixed."""
    expected, counts = rows.size * plan / plan.sum(), np.zeros(plan.shape)
    np.add.at(counts, (rows, cols), 1)
    assert counts[plan == 0].sum() == 0
    big = expected >= 5
    counts, expected = (np.append(z[big], z[~big].sum()) for z in (counts, expected))
    used = expected > 0
    statistic = ((counts - expected)[used] ** 2 / expected[used]).sum()
    assert statistic < chi2.ppf(1 - 1e-6, max(used.sum() - 1, 1))


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
def test_a_matching_is_the_cheapest(metric):
    x0, x1 = batches()
    found = eot.couple(x0, x1, metric=metric)
    cost = cdist(x0, x1, metric)
    np.testing.assert_array_equal(found.rows, np.arange(40))
    np.testing.assert_array_equal(np.sort(found.cols), np.arange(40))
    best = cost[linear_sum_assignment(cost)].sum()
    rows, cols = found
    assert cost[rows, cols].sum() == pytest.approx(best, rel=1e-12)
    assert found.transport_cost == pytest.approx(best / 40, rel=1e-12)
    assert found.gap <= 1e-12 * best
    assert found.entropy == 0.0
    assert found.epsilon is None
    np.testing.assert_array_equal(found.plan.argmax(axis=1), cols)


def test_some_pairs_of_a_matching():
    x0, x1 = batches()
    whole = eot.couple(x0, x1)
    some = eot.couple(x0, x1, k=15, seed=1)
    assert np.unique(some.rows).size == some.rows.size == 15
    np.testing.assert_array_equal(some.cols, whole.cols[some.rows])
    many = eot.couple(x0, x1, k=20000, replace=True, seed=2)
    check_distribution(whole.plan, *many)


def test_what_follows_the_first_dimension_is_flattened():
    x0, x1 = batches(d=12)
    flat, shaped = eot.couple(x0, x1), eot.couple(x0.reshape(40, 3, 2, 2), x1.reshape(40, 3, 2, 2))
    np.testing.assert_array_equal(flat.cols, shaped.cols)


@pytest.mark.parametrize(("n", "m"), [(12, 18), (18, 12)])
def test_batches_of_different_sizes_have_an_exact_plan(n, m):
    x0, x1 = batches(3, n, m)
    found = eot.couple(x0, x1, seed=0)
    value = eot.exact(cdist(x0, x1, "sqeuclidean")).value
    assert found.transport_cost == pytest.approx(value, rel=1e-11)
    assert found.entropy == pytest.approx(renormalised(found.plan), abs=1e-12)
    np.testing.assert_array_equal(found.rows, np.arange(n))
    assert (found.plan[found.rows, found.cols] > 0).all()
    check_distribution(found.plan, *eot.couple(x0, x1, k=20000, replace=True, seed=1))
    drawn = [eot.couple(x0, x1, seed=seed) for seed in range(400)]
    check_distribution(found.plan, *(np.concatenate([getattr(d, name) for d in drawn]) for name in ("rows", "cols")))


@pytest.mark.parametrize("replace", [False, True])
def test_pairs_with_entropy_have_the_distribution_of_the_plan(replace):
    x0, x1 = batches(4, 9, 8)
    options = {"method": "entropic", "epsilon": 1.0, "tol": 1e-9, "replace": replace}
    plan = eot.solve(cdist(x0, x1, "sqeuclidean"), epsilon=1.0, tol=1e-9).plan
    if replace:
        check_distribution(plan, *eot.couple(x0, x1, k=20000, seed=0, **options))
        return
    drawn = [eot.couple(x0, x1, seed=seed, **options) for seed in range(1000)]
    assert all((d.rows == np.arange(9)).all() for d in drawn)
    check_distribution(plan, *(np.concatenate([getattr(d, name) for d in drawn]) for name in ("rows", "cols")))


def test_rows_longer_than_a_block_of_places_are_drawn_by_their_shares():
    """One row of 1000 columns, in more than one block, with shares over many decades."""
    rng = np.random.default_rng(0)
    x0, x1 = np.zeros((1, 1)), rng.normal(size=(1000, 1))
    found = eot.couple(x0, x1, method="entropic", epsilon=0.5, rows=eot.Fixed(), cols=eot.Free(), replace=True, k=20000)
    check_distribution(found.plan, *found)


@pytest.mark.parametrize("penalties", [{}, {"rows": eot.KL(1.0), "cols": eot.KL(0.5), "replace": True}])
@pytest.mark.parametrize(("n", "m"), [(30, 30), (20, 35)])
def test_the_entropy_is_that_of_the_plan(penalties, n, m):
    x0, x1 = batches(5, n, m)
    for epsilon in (0.05, 0.5, 5.0, 500.0):
        found = eot.couple(x0, x1, method="entropic", epsilon=epsilon, tol=1e-9, **penalties)
        assert found.entropy == pytest.approx(renormalised(found.plan), abs=1e-9)
        assert 0 <= found.entropy <= 1
        expected = (cdist(x0, x1, "sqeuclidean") * found.plan).sum() / found.plan.sum()
        assert found.transport_cost == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("wanted", [0.03, 0.2, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_an_entropy_that_is_asked_for_is_met_in_any_units(wanted, scale):
    x0, x1 = batches(6)
    found = eot.couple(scale * x0, scale * x1, method="entropic", entropy=wanted, seed=0)
    assert abs(renormalised(found.plan) - wanted) <= 0.01 + 1e-6
    again = eot.couple(scale * x0, scale * x1, method="entropic", epsilon=found.epsilon, seed=0)
    assert again.entropy == pytest.approx(found.entropy, abs=2e-3)  # both within tol of one plan


def test_a_seed_decides_and_generators_go_on():
    x0, x1 = batches(7)
    options = {"method": "entropic", "epsilon": 1.0}
    first, again, other = (eot.couple(x0, x1, seed=seed, **options).cols for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    rng = np.random.default_rng(3)
    assert (eot.couple(x0, x1, seed=rng, **options).cols != eot.couple(x0, x1, seed=rng, **options).cols).any()


def test_a_plan_that_has_not_converged_is_an_error(monkeypatch):
    x0, x1 = batches(8)
    real = eot.solve
    monkeypatch.setattr("elastic_ot.api.couple.solve", lambda *a, **k: real(*a, **k, max_iter=1, method="log"))
    with pytest.raises(eot.ConvergenceError):
        eot.couple(x0, x1, method="entropic", epsilon=1e-3)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.zeros(3), np.zeros((3, 1))), {}, "x0 has shape"),
        ((np.zeros((3, 2)), np.zeros((3, 1))), {}, "points of x0 have 2 coordinates and those of x1 1"),
        ((np.eye(3), np.full((3, 3), np.nan)), {}, r"x1\[0, 0\] is nan"),
        ((np.eye(3), np.eye(3)), {"metric": "haversine"}, "metric is 'haversine'"),
        ((np.zeros((3, 1)), np.zeros((3, 1))), {"method": "sinkhorn"}, "method is 'sinkhorn'"),
        ((np.zeros((3, 1)), np.zeros((3, 1))), {"k": 0}, "k is 0"),
        ((np.zeros((3, 1)), np.zeros((3, 1))), {"k": 4}, "replace=True"),
        ((np.zeros((3, 1)), np.zeros((3, 1))), {"epsilon": 1.0}, "epsilon is 1.0 and method is 'exact'"),
        ((np.zeros((3, 1)), np.zeros((3, 1))), {"method": "entropic"}, "needs one of them"),
        ((np.eye(3), np.eye(3)), {"method": "entropic", "epsilon": 1.0, "entropy": 0.5}, "needs one of them"),
        ((np.eye(3), np.eye(3)), {"method": "entropic", "entropy": 1.0}, "entropy is 1.0"),
        ((np.eye(3)[:1], np.eye(3)), {"method": "entropic", "entropy": 0.5}, "between 1 and 3 points"),
        ((np.zeros((3, 1)), np.zeros((3, 1))), {"method": "entropic", "entropy": 0.5}, "all costs are equal"),
        ((np.eye(3), np.eye(3)), {"method": "entropic", "epsilon": 1.0, "rows": eot.KL(1.0)}, "need replace=True"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        eot.couple(*arguments, **options)


def test_replace_is_a_truth_value():
    with pytest.raises(TypeError, match="replace is 'yes'"):
        eot.couple(np.eye(2), np.eye(2), replace="yes")


def test_points_that_coincide_may_have_no_plan_of_an_entropy():
    """Each point twice: a plan is never sharper than log 2."""
    x0 = np.repeat(np.arange(4.0), 2)[:, None]
    with pytest.raises(eot.ConvergenceError, match="do points coincide"):
        eot.couple(x0, x0, method="entropic", entropy=0.1)


def test_partners_are_drawn_along_rows_that_lie_together():
    found = eot.solve(np.asfortranarray(np.random.default_rng(0).random((3, 4))), epsilon=1.0).found
    with pytest.raises(ValueError, match="pass it in C order"):
        sample_partners(found, np.arange(3), 0)


@pytest.mark.parametrize("d", [128, 300, 512])
@pytest.mark.parametrize("at", [0.0, 100.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_images_are_matched_as_by_their_differences(dtype, at, d):
    """Many coordinates go by products of matrices, far from the origin as well."""
    rng = np.random.default_rng(0)
    x, y = ((at + rng.normal(size=(40, d))).astype(dtype), (at + 1.0 + rng.normal(size=(40, d))).astype(dtype))
    costs = cdist(x.astype(float), y.astype(float), "sqeuclidean")
    rows, cols = linear_sum_assignment(costs)
    found = eot.couple(x, y)
    assert (found.cols == cols).all()
    assert found.transport_cost == pytest.approx(costs[rows, cols].mean(), rel=1e-12)


def test_points_that_nearly_agree_keep_their_digits():
    """Differences of 1e-9 of the coordinates are lost in sums of their squares."""
    rng = np.random.default_rng(0)
    x, order = rng.normal(size=(30, 200)), rng.permutation(30)
    y = x[order] + 1e-9 * rng.normal(size=(30, 200))
    found = eot.couple(x, y)
    assert (order[found.cols] == np.arange(30)).all()
    assert found.transport_cost == pytest.approx(((x - y[found.cols]) ** 2).sum(axis=1).mean(), rel=1e-6)


@pytest.mark.parametrize("wanted", [{"epsilon": 400.0}, {"entropy": 0.5}])
def test_plans_between_images_are_those_of_their_differences(wanted):
    """Squared distances are about 600, give or take 50."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 300)), rng.normal(size=(50, 300))
    found = eot.couple(x, y, method="entropic", tol=1e-9, seed=0, **wanted)
    plan = eot.solve(cdist(x, y, "sqeuclidean"), epsilon=found.epsilon, tol=1e-9).plan
    np.testing.assert_allclose(found.plan, plan, rtol=1e-6)
    if "entropy" in wanted:
        assert abs(renormalised(plan) - wanted["entropy"]) <= 0.01 + 1e-6
