"""Warm starts: from an answer, from a near problem, from anywhere."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.oracle import METHODS, random_case


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cols", [("Fixed",), ("KL", 0.7), ("AtMost",)])
def test_a_warm_start_from_the_answer_is_the_answer(cols, method):
    case = random_case(107, cols=cols, epsilon=0.02)
    first = case.solve(tol=1e-9, on_failure="raise")
    for init in (first, (first.f, first.g), (first.f.tolist(), first.g.tolist())):
        again = case.solve(method=method, init=init, tol=1e-8, on_failure="raise")
        assert again.n_iter <= 3
        np.testing.assert_allclose(again.plan, first.plan, rtol=0, atol=1e-7)


def test_a_warm_start_from_a_near_problem_saves_iterations():
    first = random_case(108, epsilon=0.01).solve(method="log", tol=1e-8, on_failure="raise")
    near = random_case(108, epsilon=0.0099)
    cold = near.solve(method="log", tol=1e-8, on_failure="raise")
    warm = near.solve(method="log", init=first, tol=1e-8, on_failure="raise")
    assert warm.n_iter < 0.8 * cold.n_iter
    np.testing.assert_allclose(warm.plan, cold.plan, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_any_finite_start_leads_to_the_answer(method):
    case = random_case(109, cols=("KL", 0.5))
    expected = case.solve(tol=1e-10, on_failure="raise").plan
    rng = np.random.default_rng(110)
    for spread in (0.1, 5.0):
        init = spread * rng.normal(size=12), spread * rng.normal(size=17)
        solution = case.solve(method=method, init=init, tol=1e-10, max_iter=100_000, on_failure="raise")
        np.testing.assert_allclose(solution.plan, expected, rtol=0, atol=1e-8)


def test_a_start_with_removed_points_is_accepted():
    case = random_case(111)
    a = case.a.copy()
    a[4] = 0.0
    case = case.but(a=a / a.sum())
    first = case.solve(tol=1e-9, on_failure="raise")
    assert np.isneginf(first.f[4])
    assert case.solve(init=first, tol=1e-8, on_failure="raise").n_iter <= 3
    # A point that was removed before and has weight now starts from the update, not from -inf.
    full = random_case(111)
    revived = full.solve(init=first, tol=1e-9, on_failure="raise")
    np.testing.assert_allclose(revived.plan, full.solve(tol=1e-9, on_failure="raise").plan, rtol=0, atol=1e-8)


@pytest.mark.parametrize("size", [1e12, 1e20, 1e100, 1e300])
@pytest.mark.parametrize("method", [method for method in METHODS if method != "scaling"])
@pytest.mark.parametrize("cols", [("Fixed",), ("KL", 0.7), ("Between", 0.5, 2.0)])
def test_a_start_beside_which_epsilon_vanishes_changes_nothing(cols, method, size):
    case = random_case(110, cols=cols, epsilon=0.1)
    rng = np.random.default_rng(110)
    n, m = case.cost.shape
    wild = size * rng.random(n), -size * rng.random(m)
    answer = case.solve(method=method, on_failure="raise")
    found = case.solve(method=method, init=wild, on_failure="raise")
    np.testing.assert_allclose(found.plan, answer.plan, rtol=1e-9)  # sums of threads may come in another order


def test_in_a_batch_only_the_problem_whose_start_says_nothing_begins_anew():
    case = random_case(111, epsilon=0.1)
    costs = np.stack([case.cost, case.cost])
    near = eot.solve(case.cost, case.a, case.b, epsilon=0.1, tol=1e-9)
    init = np.stack([near.f, 1e25 * np.arange(near.f.size)]), np.stack([near.g, near.g])
    solution = eot.solve(costs, case.a, case.b, epsilon=0.1, init=init, tol=1e-8, on_failure="raise")
    assert solution.n_iter[0] < solution.n_iter[1]
    np.testing.assert_allclose(solution.plan, np.stack([near.plan, near.plan]), rtol=0, atol=1e-6)
