"""Transport on the line: against linear programmes, other libraries and closed forms, and by its own proof."""

import numpy as np
import ot
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import elastic_ot as eot

METRICS = [1.0, 1.5, 2.0, 3.0]


def problem(seed, n, m, ties=False, zeros=False):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=n), 0.5 + 2.0 * rng.normal(size=m)
    if ties:
        x, y = np.round(2.0 * x), np.round(2.0 * y)
    a, b = rng.random(n), rng.random(m)
    if zeros:
        a[rng.random(n) < 0.3], b[rng.random(m) < 0.3] = 0.0, 0.0
        a[0] = b[-1] = 1.0
    return x, y, a / a.sum(), b / b.sum()


def costs(x, y, p):
    return np.abs(x[:, None] - y) ** p


def assert_proved(sol, x, y, a, b, p):
    """Feasible for every pair, tight where the plan is positive, the right marginals, and equal values."""
    cost = costs(x, y, p)
    rounding = 1e-13 * max(np.abs(cost).max(), np.abs(sol.f).max(), 1e-300) * (1 + len(x) + len(y)) ** 0.5
    reduced = cost - sol.f[:, None] - sol.g
    assert reduced.min() >= -rounding
    assert np.abs(reduced[sol.row_ind, sol.col_ind]).max() <= rounding
    assert (sol.mass > 0).all()
    plan = np.zeros(cost.shape)
    np.add.at(plan, (sol.row_ind, sol.col_ind), sol.mass)
    np.testing.assert_allclose(plan.sum(axis=1), a, rtol=0, atol=1e-14 * len(x))
    np.testing.assert_allclose(plan.sum(axis=0), b, rtol=0, atol=1e-14 * len(y))
    np.testing.assert_array_equal(sol.plan, plan)
    assert sol.value == pytest.approx((plan * cost).sum(), rel=1e-12, abs=rounding)
    assert sol.dual_value == pytest.approx(a @ sol.f + b @ sol.g, rel=1e-12, abs=rounding)
    assert 0 <= sol.gap <= rounding
    assert sol.mass.size <= len(x) + len(y) - 1


@pytest.mark.parametrize("p", METRICS)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), m=st.integers(1, 12), ties=st.booleans(), zeros=st.booleans())
@settings(max_examples=30, deadline=None)
def test_every_solution_is_proved_and_has_the_value_of_the_linear_programme(p, seed, n, m, ties, zeros):
    x, y, a, b = problem(seed, n, m, ties, zeros)
    sol = eot.transport_1d(x, y, a, b, metric=p)
    assert_proved(sol, x, y, a, b, p)
    assert sol.value == pytest.approx(eot.exact(costs(x, y, p), a, b).value, rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("n", [1, 5, 40])
@pytest.mark.parametrize("m", [1, 5, 33])
def test_equal_weights_by_default(n, m):
    x, y, *_ = problem(3, n, m)
    assert_proved(eot.transport_1d(x, y), x, y, np.full(n, 1 / n), np.full(m, 1 / m), 2.0)


@pytest.mark.parametrize("p", METRICS)
def test_values_and_plans_of_pot(p):
    x, y, a, b = problem(5, 60, 45)
    sol = eot.transport_1d(x, y, a, b, metric=p)
    assert sol.value == pytest.approx(ot.emd2_1d(x, y, a, b, metric="minkowski", p=p), rel=1e-12)
    assert sol.value == pytest.approx(float(ot.wasserstein_1d(x, y, a, b, p=p)), rel=1e-12)
    np.testing.assert_allclose(sol.plan, ot.emd_1d(x, y, a, b, metric="minkowski", p=p), rtol=0, atol=1e-14)


@pytest.mark.parametrize("metric", ["euclidean", "cityblock", 1])
def test_the_distance_of_scipy(metric):
    x, y, a, b = problem(6, 70, 50)
    expected = scipy.stats.wasserstein_distance(x, y, a, b)
    assert eot.transport_1d(x, y, a, b, metric=metric).value == pytest.approx(expected, rel=1e-12)


def test_a_translation_costs_its_square():
    x = np.random.default_rng(0).normal(size=200)
    assert eot.transport_1d(x, x + 3.0).value == pytest.approx(9.0, rel=1e-13)
    assert eot.transport_1d(x, x + 3.0, metric=1).value == pytest.approx(3.0, rel=1e-13)


def test_quantiles_of_two_gaussians_have_the_distance_of_the_closed_form():
    levels = (np.arange(20000) + 0.5) / 20000
    x = scipy.stats.norm.ppf(levels, 1.0, 0.5)
    y = scipy.stats.norm.ppf(levels, -1.0, 2.0)
    assert eot.transport_1d(x, y).value == pytest.approx(4.0 + 1.5**2, rel=1e-3)  # tails between the quantiles are cut


@pytest.mark.parametrize("p", METRICS)
def test_order_scale_and_translation(p):
    x, y, a, b = problem(8, 30, 20)
    value = eot.transport_1d(x, y, a, b, metric=p).value
    rng = np.random.default_rng(1)
    i, j = rng.permutation(30), rng.permutation(20)
    assert eot.transport_1d(x[i], y[j], a[i], b[j], metric=p).value == pytest.approx(value, rel=1e-12)
    assert eot.transport_1d(y, x, b, a, metric=p).value == pytest.approx(value, rel=1e-12)
    assert eot.transport_1d(-x, -y, a, b, metric=p).value == pytest.approx(value, rel=1e-12)
    assert eot.transport_1d(3 * x + 7, 3 * y + 7, a, b, metric=p).value == pytest.approx(3**p * value, rel=1e-11)
    assert eot.transport_1d(x, y, 5 * a, 5 * b, metric=p).value == pytest.approx(5 * value, rel=1e-12)


def test_many_problems_are_those_one_by_one():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 1, 9)), rng.normal(size=(3, 7))
    a, b = rng.random((3, 9)), rng.random(7)
    a, b = a / a.sum(axis=-1, keepdims=True), b / b.sum()
    sol = eot.transport_1d(x, y, a, b, metric=1.5)
    assert sol.value.shape == sol.gap.shape == (2, 3)
    assert sol.plan.shape == (2, 3, 9, 7)
    grads = sol.gradients()
    for k in np.ndindex(2, 3):
        one = eot.transport_1d(x[k[0], 0], y[k[1]], a[k[1]], b, metric=1.5)
        assert_proved(sol[k], x[k[0], 0], y[k[1]], a[k[1]], b, 1.5)
        np.testing.assert_allclose(sol.plan[k], one.plan, rtol=0, atol=1e-15)
        np.testing.assert_allclose(sol.f[k], one.f, rtol=0, atol=1e-13)
        np.testing.assert_allclose(sol.row_marginal[k], a[k[1]], rtol=0, atol=1e-15)
        assert sol.value[k] == pytest.approx(one.value, rel=1e-13)
        np.testing.assert_allclose(grads.x[k], one.gradients().x, rtol=0, atol=1e-13)
        np.testing.assert_allclose(grads.y[k], sol[k].gradients().y, rtol=0, atol=1e-13)


def test_one_set_of_weights_of_many_points_and_many_weights_of_one_set():
    rng = np.random.default_rng(3)
    x, y, a = rng.normal(size=(4, 6)), rng.normal(size=5), rng.dirichlet(np.ones(6), 4)
    for points, weights in ((x, a[0]), (x[0], a), (x, None)):
        sol = eot.transport_1d(points, y, weights)
        assert sol.f.shape == (4, 6)
        assert sol.g.shape == (4, 5)
        for k in range(4):
            w = None if weights is None else np.broadcast_to(weights, (4, 6))[k]
            one = eot.transport_1d(np.broadcast_to(points, (4, 6))[k], y, w)
            assert sol.value[k] == pytest.approx(one.value, rel=1e-13)
            np.testing.assert_allclose(sol.g[k], one.g, rtol=0, atol=1e-13)


@pytest.mark.parametrize("p", METRICS)
def test_gradients_are_finite_differences(p):
    x, y, a, b = problem(9, 12, 9)
    sol, step = eot.transport_1d(x, y, a, b, metric=p), 1e-6
    grads = sol.gradients()
    for k in range(3):
        for points, slopes in ((x, grads.x), (y, grads.y)):
            moved = [points + s * step * np.eye(points.size)[k] for s in (1, -1)]
            pairs = [(z, y) if points is x else (x, z) for z in moved]
            up, down = (eot.transport_1d(*pair, a, b, metric=p).value for pair in pairs)
            assert slopes[k] == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-8)


def test_potentials_are_derivatives_in_the_weights():
    x, y, a, b = problem(10, 8, 6)
    sol, step = eot.transport_1d(x, y, a, b), 1e-7
    direction = np.zeros(8)
    direction[[1, 4]] = 1.0, -1.0
    change = eot.transport_1d(x, y, a + step * direction, b).value - sol.value
    assert change / step == pytest.approx(sol.f[1] - sol.f[4], abs=1e-6)


def test_single_precision_is_computed_in_double():
    x, y, a, b = problem(11, 50, 40)
    narrow = [z.astype(np.float32) for z in (x, y, a, b)]
    sol = eot.transport_1d(*narrow)
    wide = [z.astype(np.float64) for z in narrow]
    wide[3] *= wide[2].sum() / wide[3].sum()
    assert sol.f.dtype == np.float64
    assert sol.value == pytest.approx(ot.emd2_1d(*wide), rel=1e-12)


def test_large_offsets_and_many_points_keep_the_proof():
    rng = np.random.default_rng(12)
    x, y = rng.normal(size=4000), 1e4 + rng.normal(size=3000)
    assert_proved(eot.transport_1d(x, y), x, y, np.full(4000, 1 / 4000), np.full(3000, 1 / 3000), 2.0)


def test_pairs_are_drawn_in_the_proportions_of_the_plan():
    x, y, a, b = problem(13, 4, 3)
    sol = eot.transport_1d(x, y, a, b)
    rows, cols = sol.sample(40000, 0)
    drawn = np.bincount(3 * rows + cols, minlength=12).reshape(4, 3) / 40000
    np.testing.assert_allclose(drawn, sol.plan, rtol=0, atol=5 * 0.5 / 200)  # five standard deviations
    np.testing.assert_array_equal(sol.sparse_plan().toarray(), sol.plan)


def test_input_is_not_changed():
    given = problem(14, 6, 6)
    before = [z.copy() for z in given]
    for z in given:
        z.flags.writeable = False
    eot.transport_1d(*given)
    for z, old in zip(given, before, strict=True):
        np.testing.assert_array_equal(z, old)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0.0, np.nan], [1.0]), {}, r"x\[1\] is nan; points must be finite"),
        (([[0.0], [1.0]], [[np.inf]]), {}, r"y\[0, 0\] is inf"),
        (([], [1.0]), {}, r"x has shape \(0,\)"),
        ((1.0, [1.0]), {}, r"x has shape \(\)"),
        (([0.0, 1.0], [1.0], [0.5, -0.5]), {}, r"a\[1\] is -0.5; weights must be finite and >= 0"),
        (([0.0, 1.0], [1.0], [1.0]), {}, r"a has shape \(1,\), x has 2 points"),
        (([0.0, 1.0], [1.0], [0.0, 0.0]), {}, "a sums to 0"),
        (([[0.0, 1.0]] * 2, [1.0], [[1.0, 0.0], [0.0, 0.0]]), {}, r"a\[1\] sums to 0"),
        (([0.0, 1.0], [1.0], [1.0, 1.0]), {}, "no plan has both"),
        (([[0.0]] * 2, [1.0], [[1.0], [2.0]]), {}, "problem 1: .*no plan has both"),
        ((np.zeros((2, 3)), np.zeros((4, 3))), {}, "leading dimensions must broadcast"),
        (([0.0], [1.0]), {"metric": 0.5}, "metric is 0.5; an exponent must be finite and >= 1"),
        (([0.0], [1.0]), {"metric": "cosine"}, "metric is 'cosine'; choose from 'sqeuclidean'"),
        (([0.0], [1e200]), {}, "rescale the points"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        eot.transport_1d(*arguments, **options)


def test_complex_points_are_refused():
    with pytest.raises(TypeError, match="x has dtype complex128"):
        eot.transport_1d(np.array([1j]), [1.0])


def test_many_problems_have_no_single_plan_to_draw_from():
    sol = eot.transport_1d([[0.0], [1.0]], [2.0])
    for call in (lambda: sol.sample(3), sol.sparse_plan):
        with pytest.raises(ValueError, match=r"take solution\[k\]"):
            call()
    with pytest.raises(IndexError, match="one index for each"):
        sol[0, 0]
