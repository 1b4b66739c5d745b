"""The founding note's update v <- (b / K^T u)^lam v^(1-lam), written out, against relaxation=lam and Elastic(lam)."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import kl_div

import elastic_ot as eot
from helpers.oracle import FIRST_ORDER, METHODS

N, EPSILON = 7, 0.2
COST = np.random.default_rng(71).random((N, N))
ONES = np.ones(N)
FIXED_RULE_METHODS = ["scaling", "stabilized", "log"]


def literal(lam, steps, a=ONES, b=ONES, v=ONES):
    """The plan after `steps` row updates and `steps` - 1 damped column updates, and u and v."""
    gibbs = np.exp(-COST / EPSILON)
    u = a / (gibbs @ v)
    for _ in range(steps - 1):
        v = (b / (gibbs.T @ u)) ** lam * v ** (1.0 - lam)
        u = a / (gibbs @ v)
    return u[:, None] * gibbs * v, u, v


def solve(steps=10_000, **options):
    options = {"reference": "counting", "tol": 1e-15, "on_failure": "ignore"} | options
    weights = options.pop("a", ONES), options.pop("b", ONES)
    return eot.solve(COST, *weights, epsilon=EPSILON, max_iter=steps, **options)


@pytest.mark.parametrize("method", FIXED_RULE_METHODS)
@pytest.mark.parametrize("lam", [0.1, 0.25, 0.5, 0.9, 1.0])
def test_every_step_is_that_of_the_literal_rule(lam, method):
    for steps in range(1, 13):
        plan, u, v = literal(lam, steps)
        solution = solve(steps, relaxation=lam, method=method)
        assert solution.n_iter == steps
        assert solution.status is eot.Status.MAX_ITER
        # A dozen steps of rounding errors of 1e-16 each.
        np.testing.assert_allclose(solution.plan, plan, rtol=1e-12)
        # The note ends on the columns and leaves the rows off 1; ending on the rows, they are exact.
        np.testing.assert_allclose(solution.plan.sum(axis=1), 1.0, rtol=1e-13)
        # Potentials are eps log u and eps log v, up to the one constant that leaves the plan unchanged.
        constant = solution.g[0] - EPSILON * np.log(v[0])
        np.testing.assert_allclose(solution.g, EPSILON * np.log(v) + constant, atol=1e-13)
        np.testing.assert_allclose(solution.f, EPSILON * np.log(u) - constant, atol=1e-13)


@pytest.mark.parametrize("method", FIXED_RULE_METHODS)
def test_weights_and_the_product_reference_follow_the_same_rule(method):
    rng = np.random.default_rng(72)
    a, b = rng.dirichlet(ONES), rng.dirichlet(ONES)
    for steps in range(1, 8):
        # g = 0 with the product reference is v = b.
        plan, _, _ = literal(0.3, steps, a, b, v=b)
        solution = solve(steps, a=a, b=b, relaxation=0.3, method=method, reference="product")
        np.testing.assert_allclose(solution.plan, plan, rtol=1e-12)


def test_a_callback_sees_the_row_exact_plan_of_every_step():
    seen = []
    solve(6, relaxation=0.4, method="log", callback=lambda iteration, residual: seen.append((iteration, residual)))
    assert [iteration for iteration, _ in seen] == [1, 2, 3, 4, 5, 6]
    for iteration, residual in seen:
        plan, _, _ = literal(0.4, iteration)
        assert residual == pytest.approx(np.abs(plan.sum(axis=0) - 1.0).sum(), rel=1e-9)


@pytest.mark.parametrize("method", FIRST_ORDER)
@pytest.mark.parametrize("lam", [0.05, 0.3, 0.7, 1.0, 1.3])
def test_its_fixed_point_is_the_doubly_stochastic_matrix_for_every_lam(lam, method):
    expected, _, _ = literal(1.0, 5000)
    np.testing.assert_allclose(expected.sum(axis=0), 1.0, rtol=1e-13)
    solution = solve(relaxation=lam, method=method, tol=1e-12, on_failure="raise")
    np.testing.assert_allclose(solution.plan, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(solution.plan.sum(axis=0), 1.0, atol=1e-11)
    np.testing.assert_allclose(solution.plan.sum(axis=1), 1.0, atol=1e-11)


@pytest.mark.parametrize("method", FIRST_ORDER)
def test_damping_and_the_elastic_penalty_compose_to_the_elastic_plan(method):
    # g <- (1 - w) g + w tau eps (log b - log s), written for v = exp(g / eps).
    gibbs, w, tau, v = np.exp(-COST / EPSILON), 0.4, 0.6, ONES
    for _ in range(500):
        u = 1.0 / (gibbs @ v)
        v = v ** (1.0 - w) * (1.0 / (gibbs.T @ u)) ** (w * tau)
    expected = u[:, None] * gibbs * v
    solution = solve(relaxation=w, cols=eot.Elastic(tau), method=method, tol=1e-12, on_failure="raise")
    np.testing.assert_allclose(solution.plan, expected, rtol=0, atol=1e-10)
    # The fixed point of the exponent: g = rho log(b / c) with rho = eps tau / (1 - tau).
    rho = EPSILON * tau / (1.0 - tau)
    np.testing.assert_allclose(solution.g, -rho * np.log(expected.sum(axis=0)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_elastic_0_is_the_row_softmax(method):
    logits = -COST / EPSILON
    softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax /= softmax.sum(axis=1, keepdims=True)
    solution = solve(cols=eot.Elastic(0.0), method=method, tol=1e-12, on_failure="raise")
    np.testing.assert_allclose(solution.plan, softmax, rtol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_elastic_1_is_the_doubly_stochastic_matrix(method):
    expected, _, _ = literal(1.0, 5000)
    solution = solve(cols=eot.Elastic(1.0), method=method, tol=1e-12, on_failure="raise")
    np.testing.assert_allclose(solution.plan, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_elastic_is_continuous_and_monotone_from_softmax_to_doubly_stochastic(method):
    lams = np.concatenate([np.linspace(0.0, 1.0, 21), [1e-6, 1.0 - 1e-6, 1e-12, 1.0 - 1e-12]])
    lams.sort()
    plans = [solve(cols=eot.Elastic(lam), method=method, tol=1e-11, on_failure="raise").plan for lam in lams]
    errors = np.array([kl_div(plan.sum(axis=0), ONES).sum() for plan in plans])
    # A dearer penalty is a smaller one, so KL(c | 1) falls with lam; plans move in proportion to lam.
    assert (np.diff(errors) <= 1e-10).all()
    jumps = np.array([np.abs(late - early).sum() for early, late in pairwise(plans)])
    assert (jumps <= 10.0 * N * np.diff(lams) + 1e-9).all()
    assert errors[0] > 0.01
    assert errors[-1] < 1e-20


def test_elastic_holds_tau_and_kl_holds_rho_when_epsilon_changes():
    # The cheapest column of every row is the first one: the row-wise argmax is far from a permutation.
    cost = np.array([[0.0, 1.0, 1.2], [0.1, 0.5, 1.1], [0.2, 0.9, 1.0]])
    ones, rho = np.ones(3), 20.0
    small = {"epsilon": 1e-3, "reference": "counting", "tol": 1e-9, "max_iter": 200_000, "on_failure": "raise"}
    elastic = eot.solve(cost, ones, ones, cols=eot.Elastic(0.5), **small)
    np.testing.assert_allclose(elastic.plan, np.eye(3)[cost.argmin(axis=1)], atol=1e-6)
    held = eot.solve(cost, ones, ones, cols=eot.KL(rho), **small)
    np.testing.assert_allclose(held.plan.sum(axis=0), 1.0, atol=0.1)
