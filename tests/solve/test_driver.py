"""Iteration budget, time, callback, progress, history and what happens on failure."""

import time
import warnings

import numpy as np
import pytest

import elastic_ot as eot
from helpers.oracle import FIRST_ORDER, METHODS, random_case

HARD_CASE = random_case(101, 30, 30, epsilon=2e-3)  # thousands of iterations without help


@pytest.mark.parametrize("method", METHODS)
def test_max_iter_is_a_hard_limit(method):
    for limit in (1, 7):
        solution = HARD_CASE.solve(method=method, max_iter=limit, on_failure="ignore")
        assert solution.n_iter == limit
        assert solution.status is eot.Status.MAX_ITER
        assert not solution.converged


@pytest.mark.parametrize("method", FIRST_ORDER)
def test_time_limit_stops_in_time_and_says_so(method):
    HARD_CASE.solve(method=method, max_iter=1, on_failure="ignore")  # compile first
    start = time.perf_counter()
    solution = HARD_CASE.solve(
        method=method, time_limit=0.2, tol=1e-15, relaxation=1e-3, max_iter=10**9, on_failure="ignore"
    )
    elapsed = time.perf_counter() - start
    assert solution.status is eot.Status.TIME_LIMIT
    # An iteration here takes microseconds; the rest is for a busy machine.
    assert 0.1 < elapsed < 5.0
    assert np.isfinite(solution.plan).all()


@pytest.mark.parametrize("method", METHODS)
def test_callback_is_called_at_every_iteration_in_order(method):
    calls = []
    case = random_case(102)
    solution = case.solve(method=method, tol=1e-9, callback=lambda *call: calls.append(call), on_failure="raise")
    iterations, residuals = zip(*calls, strict=True)
    assert list(iterations) == list(range(1, solution.n_iter + 1))
    assert all(isinstance(i, int) for i in iterations)
    assert all(isinstance(r, float) and r >= 0.0 for r in residuals)
    assert residuals[-1] == pytest.approx(case.residual(solution.f, solution.g), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_true_return_of_the_callback_stops(method):
    solution = HARD_CASE.solve(method=method, callback=lambda iteration, residual: iteration == 5, on_failure="ignore")
    assert solution.status is eot.Status.STOPPED
    assert solution.n_iter == 5
    assert not solution.converged


def test_a_false_return_of_the_callback_goes_on():
    for value in (None, False, 0, np.False_):
        solution = random_case(102).solve(callback=lambda iteration, residual, v=value: v, on_failure="raise")
        assert solution.converged


@pytest.mark.parametrize("method", METHODS)
def test_callback_changes_no_number(method):
    case = random_case(103)
    plain = case.solve(method=method, tol=1e-8, on_failure="raise")
    watched = case.solve(method=method, tol=1e-8, callback=lambda *call: None, progress=False, on_failure="raise")
    np.testing.assert_allclose(watched.plan, plain.plan, rtol=0, atol=1e-7)
    assert watched.status is plain.status


def test_an_error_in_the_callback_is_the_callers():
    def broken(iteration, residual):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        random_case(103).solve(callback=broken)


def test_failure_warns_by_default_with_the_reason_and_the_residual():
    with pytest.warns(eot.ConvergenceWarning, match=r"(?i)iteration") as caught:
        solution = HARD_CASE.solve(max_iter=3)
    assert len(caught) == 1
    # The warning points at the call, not into the package.
    assert caught[0].filename.endswith("oracle.py")
    assert not solution.converged


def test_failure_may_raise_or_be_ignored():
    with pytest.raises(eot.ConvergenceError, match=r"(?i)iteration"):
        HARD_CASE.solve(max_iter=3, on_failure="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HARD_CASE.solve(max_iter=3, on_failure="ignore")


def test_success_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for policy in ("warn", "raise", "ignore"):
            assert random_case(104).solve(on_failure=policy).converged


def test_progress_shows_a_bar_on_stderr_and_nothing_otherwise(capfd):
    random_case(104).solve(tol=1e-7, progress=True, on_failure="raise")
    out, err = capfd.readouterr()
    assert out == ""
    # The bar knows how far the tolerance is: it starts empty, ends full and names the target.
    assert "0%" in err
    assert "100%" in err
    assert "1.0e-07" in err
    HARD_CASE.solve(max_iter=200, on_failure="ignore")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", METHODS)
def test_history_is_a_table_of_the_run(method):
    case = random_case(105, epsilon=0.02)
    solution = case.solve(method=method, tol=1e-9, on_failure="raise")
    history = solution.history
    columns = [history.iteration, history.residual, history.dual, history.epsilon, history.seconds]
    assert {len(column) for column in columns} == {len(history)}
    assert len(history) >= 1
    assert history.iteration[-1] == solution.n_iter
    assert (np.diff(history.iteration) > 0).all()
    assert (np.diff(history.seconds) >= 0).all()
    assert (np.diff(history.epsilon) <= 0).all()
    assert history.epsilon[-1] == case.epsilon
    assert history.dual[-1] == pytest.approx(solution.dual_value, abs=1e-12)
    assert all(np.isfinite(column).all() for column in columns)


@pytest.mark.parametrize("method", ["scaling", "stabilized", "log"])
@pytest.mark.parametrize("cols", [("Fixed",), ("KL", 0.7), ("TV", 0.3), ("AtMost",)])
def test_the_dual_value_never_falls(cols, method):
    case = random_case(106, cols=cols, epsilon=0.03)
    history = case.solve(method=method, tol=1e-10, callback=lambda *call: None, on_failure="raise").history
    # An exact alternate maximisation; sums of order 1 round to 1e-15.
    assert (np.diff(history.dual) >= -1e-13).all()


def test_annealing_lowers_epsilon_to_the_target():
    history = HARD_CASE.solve(method="epsilon_scaling", on_failure="raise").history
    assert history.epsilon[0] > 10 * HARD_CASE.epsilon
    assert history.epsilon[-1] == HARD_CASE.epsilon
