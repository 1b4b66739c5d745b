"""A solve leaves nothing behind: interruptions, threads and repetition change no number."""

import itertools
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import elastic_ot as eot
from helpers.oracle import METHODS, random_case


@pytest.mark.usefixtures("sigint_is_heard")
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
    cases = [random_case(114 + k, 60, 70, cols=("KL", 0.5)) for k in range(6)]
    alone = [case.solve(tol=1e-8, on_failure="raise").plan for case in cases]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda case: case.solve(tol=1e-8, on_failure="raise").plan, cases))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_large_problems_may_be_solved_in_several_threads():
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
