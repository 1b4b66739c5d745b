"""Warm starts: from an answer, from a near problem, from anywhere."""

import numpy as np
import pytest
from oracle import METHODS, random_case


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
