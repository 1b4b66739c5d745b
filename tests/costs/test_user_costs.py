"""A cost that has nothing but shape, dtype and block gives what its matrix gives."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.user_costs import METHODS, PAIRS, PENALTIES, three_costs, weights


def whole(cost):
    n, m = cost.shape
    return cost.block(slice(0, n), slice(0, m))


def check(cost, rows, cols, method, epsilon):
    a, b = weights(cost, rows, cols)
    how = {"epsilon": epsilon, "rows": PENALTIES[rows], "cols": PENALTIES[cols], "method": method, "tol": 1e-8}
    found, expected = eot.solve(cost, a, b, **how), eot.solve(whole(cost), a, b, **how)
    assert found.status is expected.status is eot.Status.CONVERGED
    scale = abs(expected.dual_value) + epsilon
    # dual values are lower bounds, each within its gap of the optimum
    assert abs(found.dual_value - expected.dual_value) <= found.gap + expected.gap + 1e-12 * scale
    assert found.gap <= expected.gap + 1e-6 * scale


@pytest.mark.parametrize("k", range(len(METHODS)), ids=METHODS)
def test_every_method_and_pair_of_penalties(k):
    """Every pair with one method, on one of the costs."""
    costs = list(three_costs().values())
    for i, (rows, cols) in enumerate(PAIRS):
        if i % len(METHODS) == k:
            check(costs[i % 3], rows, cols, METHODS[k], epsilon=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["matrix", "sphere", "words"])
@pytest.mark.parametrize("method", METHODS)
def test_every_combination(method, name):
    for rows, cols in PAIRS:
        # Distances of words are up to 6, the others 1 or so; sweeps alone have to get there.
        check(three_costs()[name], rows, cols, method, epsilon=0.2 if name == "words" else 0.05)


@pytest.mark.parametrize("name", ["matrix", "sphere", "words"])
def test_a_small_epsilon(name):
    check(three_costs()[name], "Fixed", "Fixed", "auto", epsilon=1e-3)


@pytest.mark.parametrize("options", [{}, {"rows": eot.KL(0.5)}, {"cols": eot.Between(0.8, 1.2)}])
@pytest.mark.parametrize("name", ["matrix", "sphere", "words"])
def test_what_a_solution_gives(name, options):
    cost = three_costs()[name]
    a, b = weights(cost)
    found, expected = (eot.solve(c, a, b, epsilon=0.1, tol=1e-10, **options) for c in (cost, whole(cost)))
    # Two solutions within 1e-10 of their marginals, whose errors a condition number of 10 or so magnifies.
    single = 1e-6 if cost.dtype == np.float32 else 1e-12  # matrices have the dtype of the cost
    np.testing.assert_allclose(found.plan, expected.plan, atol=max(single, 1e-9))
    np.testing.assert_allclose(found.log_plan, expected.log_plan, atol=1e-5 if cost.dtype == np.float32 else 1e-7)
    assert abs(found.sparse_plan(0.99) - expected.sparse_plan(0.99)).max() <= 1e-9
    for axis in (0, 1):
        x = np.random.default_rng(axis).random((cost.shape[axis], 3))
        np.testing.assert_allclose(found.apply(x, axis=axis), expected.apply(x, axis=axis), atol=1e-9)
    assert found.transport_cost == pytest.approx(expected.transport_cost, abs=1e-9)
    assert found.value == pytest.approx(expected.value, abs=1e-9)
    np.testing.assert_allclose(found.bounds(), expected.bounds(), atol=1e-7)
    np.testing.assert_allclose(found.rounded_plan().sum(axis=1), expected.rounded_plan().sum(axis=1), atol=1e-9)
    assert all(np.array_equal(x, y) for x, y in zip(found.sample(20, rng=0), expected.sample(20, rng=0), strict=True))


@pytest.mark.parametrize("name", ["matrix", "sphere"])
def test_gradients_of_the_value_are_central_differences(name):
    cost = three_costs()[name]
    a, b = weights(cost)

    def value(a=a, b=b, epsilon=0.1, rows=1.0, cols=2.0):
        sides = {"rows": eot.KL(rows), "cols": eot.L2(cols)}
        return eot.solve(cost, a, b, epsilon=epsilon, tol=1e-12, **sides)

    found, h = value().gradients(), 1e-5
    assert found.cost is None
    step = np.zeros_like(a)
    step[3] = h
    assert found.a[3] == pytest.approx((value(a=a + step).value - value(a=a - step).value) / (2 * h), rel=1e-5)
    step = np.zeros_like(b)
    step[4] = h
    assert found.b[4] == pytest.approx((value(b=b + step).value - value(b=b - step).value) / (2 * h), rel=1e-5)
    for field, at in (("epsilon", 0.1), ("rows", 1.0), ("cols", 2.0)):
        difference = (value(**{field: at + h}).value - value(**{field: at - h}).value) / (2 * h)
        assert getattr(found, field) == pytest.approx(difference, rel=1e-5)


def test_derivatives_through_the_plan_are_those_of_the_matrix():
    cost = three_costs()["matrix"]
    a, b = weights(cost)
    found, expected = (eot.solve(c, a, b, epsilon=0.1, tol=1e-12, rows=eot.KL(1.0)) for c in (cost, whole(cost)))
    bar, f = np.random.default_rng(0).random(cost.shape), np.random.default_rng(1).random(cost.shape[0])
    for one, other in (
        (found.vjp(plan=bar, f=f), expected.vjp(plan=bar, f=f)),
        (found.jvp(a=f), expected.jvp(a=f)),
        (found.hvp(epsilon=1.0), expected.hvp(epsilon=1.0)),
    ):
        for name in (x for x, found in vars(one).items() if found is not None):  # points have two more
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-8)


def test_a_number_of_iterations_and_its_derivative():
    cost = three_costs()["matrix"]
    a, b = weights(cost)
    found, expected = (eot.solve(c, a, b, epsilon=0.1, tol=0, max_iter=7) for c in (cost, whole(cost)))
    np.testing.assert_allclose(found.f, expected.f, atol=1e-12)
    f = np.random.default_rng(1).random(cost.shape[0])
    np.testing.assert_allclose(found.vjp(f=f).b, expected.vjp(f=f).b, atol=1e-10)


@pytest.mark.parametrize("name", ["matrix", "sphere", "words"])
def test_exact_transport_and_assignments(name):
    cost = three_costs()[name]
    a, b = weights(cost)
    matrix = whole(cost)
    for options in ({}, {"rows": eot.TV(0.2), "cols": eot.AtMost()}, {"mass": 0.4}):
        found, expected = eot.exact(cost, a, b, **options), eot.exact(matrix, a, b, **options)
        assert found.value == pytest.approx(expected.value, rel=1e-9)
        assert found.gap <= 1e-9 * max(1.0, abs(found.value))
    found = eot.assign(cost)
    assert found.cost == pytest.approx(eot.assign(matrix).cost, rel=1e-6)
    assert found.gap <= 1e-5 * abs(found.cost)
    assert (found.u[:, None] + found.v <= matrix + 1e-6).all()
    assert eot.assign(cost, cost_limit=0.5).cost == pytest.approx(eot.assign(matrix, cost_limit=0.5).cost, rel=1e-6)


def test_a_largest_assignment():
    cost = three_costs()["sphere"]
    assert eot.assign(cost, maximize=True).cost == pytest.approx(eot.assign(whole(cost), maximize=True).cost)


def test_divergences():
    x, y = (three_costs()["sphere"].x, three_costs()["sphere"].y)
    circle = type(three_costs()["sphere"])
    pairs = (x, y), (x, x), (y, y)
    options = {"epsilon": 0.2, "tol": 1e-8}
    found = eot.divergence(*(circle(*pair) for pair in pairs), **options)
    expected = eot.divergence(*(whole(circle(*pair)) for pair in pairs), **options)
    assert found.value == pytest.approx(expected.value, abs=found.gap + expected.gap + 1e-12)


def test_a_given_mass_and_a_common_offset():
    cost = three_costs()["sphere"]
    found, expected = (eot.solve(c, epsilon=0.1, mass=0.5, tol=1e-9) for c in (cost, whole(cost)))
    assert found.price == pytest.approx(expected.price, abs=1e-6)
    high = type(three_costs()["matrix"])(1e6 + whole(cost))
    assert eot.solve(high, epsilon=0.1, tol=1e-9).dual_value == pytest.approx(
        eot.solve(whole(high), epsilon=0.1, tol=1e-9).dual_value, abs=1e-6
    )


def test_blocks_may_be_views_of_memory_that_is_not_to_be_written():
    cost = three_costs()["matrix"]
    cost.matrix.flags.writeable = False
    before = cost.matrix.copy()
    eot.solve(cost, epsilon=0.1)
    assert np.array_equal(cost.matrix, before)


def test_an_iteration_reads_every_entry_once():
    cost = three_costs()["matrix"]
    cost.matrix = np.where(np.isinf(cost.matrix), 1.0, cost.matrix)
    solution = eot.solve(cost, epsilon=0.5, method="log", tol=1e-6)
    looks = 1 + solution.n_iter + 1  # the first pass, the iterations, the certificate
    assert cost.read == looks * cost.matrix.size
