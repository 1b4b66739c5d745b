"""Iteration budget, time, callback, progress, history, warm starts, failure policy and interruption."""

import itertools
import signal
import time
import warnings

import numpy as np
import pytest
from oracle import METHODS, random_case

import elastic_ot as eot

HARD_CASE = random_case(101, 30, 30, epsilon=2e-3)  # thousands of iterations without help


@pytest.mark.parametrize("method", METHODS)
def test_max_iter_is_a_hard_limit(method):
    for limit in (1, 7):
        solution = HARD_CASE.solve(method=method, max_iter=limit, on_failure="ignore")
        assert solution.n_iter == limit
        assert solution.status is eot.Status.MAX_ITER
        assert not solution.converged


@pytest.mark.parametrize("method", METHODS)
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


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_is_raised_and_leaves_no_half_written_state(method):
    case = random_case(112, epsilon=0.02)
    expected = case.solve(method=method, tol=1e-8, on_failure="raise")
    cost, a, b = case.cost.copy(), case.a.copy(), case.b.copy()
    f, g = expected.f.copy(), expected.g.copy()

    def interrupt(iteration, residual):
        if iteration == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        case.solve(method=method, init=(0.5 * f, 0.5 * g), tol=1e-15, callback=interrupt, on_failure="ignore")
    assert (case.cost == cost).all()
    assert (case.a == a).all()
    assert (case.b == b).all()
    assert (expected.f == f).all()
    assert (expected.g == g).all()
    again = case.solve(method=method, tol=1e-8, on_failure="raise")
    assert (again.plan == expected.plan).all()


def test_solves_are_reproducible_and_independent():
    case = random_case(113, 40, 50, cols=("KL", 0.5))
    plans = [case.solve(tol=1e-8, on_failure="raise").plan for _ in range(3)]
    for one, other in itertools.pairwise(plans):
        assert (one == other).all()
    plans[0][:] = 0.0
    assert case.solve(tol=1e-8, on_failure="raise").plan.sum() > 0.5


def test_several_threads_may_solve_at_once():
    from concurrent.futures import ThreadPoolExecutor

    cases = [random_case(114 + k, 60, 70, cols=("KL", 0.5)) for k in range(6)]
    alone = [case.solve(tol=1e-8, on_failure="raise").plan for case in cases]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda case: case.solve(tol=1e-8, on_failure="raise").plan, cases))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_large_problems_may_be_solved_in_several_threads():
    from concurrent.futures import ThreadPoolExecutor

    cases = [random_case(121 + k, 300, 400, cols=("KL", 0.5)) for k in range(4)]
    alone = [case.solve(tol=1e-8, on_failure="raise").plan for case in cases]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda case: case.solve(tol=1e-8, on_failure="raise").plan, cases))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_slow_machine_gets_the_same_numbers(method, monkeypatch):
    # Whatever the clock says, iterations, checks and bits are the same.
    case = random_case(122, 20, 30, epsilon=0.02, cols=("KL", 0.5))
    fast = case.solve(method=method, tol=1e-8, on_failure="raise")
    clock = itertools.count(step=1.0)
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    slow = case.solve(method=method, tol=1e-8, on_failure="raise")
    assert slow.n_iter == fast.n_iter
    assert (slow.plan == fast.plan).all()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a POSIX timer")
def test_an_interrupt_in_the_middle_of_a_run_is_answered_soon():
    case = random_case(123, 400, 400, epsilon=1e-4)
    options = {"method": "log", "tol": 1e-15, "relaxation": 0.01, "max_iter": 10**7, "on_failure": "ignore"}
    case.solve(**options | {"max_iter": 2})  # compile

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    start = time.perf_counter()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            case.solve(**options)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    # A block of iterations takes 0.1 s on a free machine.
    assert time.perf_counter() - start < 3.0


def test_solution_fields_cannot_be_reassigned():
    solution = random_case(120).solve(on_failure="raise")
    with pytest.raises(AttributeError):
        solution.f = None
    with pytest.raises(AttributeError):
        solution.status = eot.Status.MAX_ITER
