"""A time limit and Ctrl-C end every call within two seconds, whatever it is doing."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import elastic_ot as eot

SLACK = 2.0  # seconds that a call may go on for
LIMIT = 0.2
PRESSED = (
    0.1  # seconds until Ctrl-C, and between two: the quickest calls take thrice as long to find that they are stuck
)


def random_cost(*shape):
    return np.random.default_rng(0).random(shape)


def solve(method, shape=(2500, 2600), epsilon=1e-5, **options):
    """Never done: sums of float64 are not known to 1e-18 of themselves."""
    options = {"epsilon": epsilon, "method": method, "tol": 1e-18, "max_iter": 10**9, "on_failure": "ignore", **options}
    cost = random_cost(*shape)
    return lambda **limit: eot.solve(cost, **options, **limit)


def divergence(n=1500):
    points = random_cost(2, n, 2)
    costs = [((x[:, None] - y) ** 2).sum(-1) for x, y in (points, points[[0, 0]], points[[1, 1]])]
    options = {"epsilon": 1e-6, "tol": 1e-18, "max_iter": 10**9, "on_failure": "ignore"}
    return lambda **limit: eot.divergence(*costs, **options, **limit)


LONG = {
    **{method: solve(method) for method in ("auto", "scaling", "stabilized", "log", "epsilon_scaling")},
    "newton": solve("newton", epsilon=1e-6),
    "masked": solve("log", mask=random_cost(2500, 2600) < 0.9, cols=eot.Between(0.9, 1.1)),
    "relaxed": solve("newton", rows=eot.TV(0.1), cols=eot.KL(10.0)),
    "tiny problems": solve("auto", (50_000, 4, 4), 1e-3),
    "swept": solve("log", (100, 300, 300), 1e-3),
    "large problems": solve("auto", (6, 1200, 1200)),
    "alone": solve("newton", (40, 200, 200)),
    "divergence": divergence(),
}
BUDGETS = {
    "iterations": solve("log", tol=0),
    "iterations of tiny problems": solve("log", (50_000, 4, 4), 1e-1, tol=0, max_iter=10**6),
    "iterations of large problems": solve("log", (4, 1200, 1200), tol=0),
}


QUICK = {"newton", "log", "tiny problems", "divergence", "iterations"}


def chosen(calls):
    """One of each kind by default, the others in the slow run."""
    return [
        pytest.param(call, id=name, marks=() if name in QUICK else pytest.mark.slow) for name, call in calls.items()
    ]


@pytest.mark.parametrize("call", chosen(LONG))
def test_a_time_limit_is_kept(call):
    call(time_limit=1e-3)  # compiles
    began = time.perf_counter()
    found = call(time_limit=LIMIT)
    assert time.perf_counter() - began < LIMIT + SLACK
    assert not np.any(found.converged)
    ended = {found.status} if isinstance(found, eot.Solution) else set(np.ravel(getattr(found, "status", ())))
    assert ended <= {eot.Status.TIME_LIMIT, eot.Status.STALLED}


@pytest.fixture
def pressed():
    """Ctrl-C, pressed again and again: what calls Python from C code may swallow one that comes then."""
    over = threading.Event()

    def interrupt(*_):
        if not over.is_set():
            raise KeyboardInterrupt

    def press():
        while not over.wait(PRESSED):
            os.kill(os.getpid(), signal.SIGINT)

    before, finger = signal.signal(signal.SIGINT, interrupt), threading.Thread(target=press)
    yield finger, over
    over.set()
    if finger.is_alive():
        finger.join()
    signal.signal(signal.SIGINT, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # C code has swallowed one
@pytest.mark.parametrize("call", chosen(LONG | BUDGETS))
def test_ctrl_c_is_heard(call, pressed):
    finger, over = pressed
    if call in LONG.values():
        call(time_limit=1e-3)
    began = time.perf_counter()
    finger.start()
    with pytest.raises(KeyboardInterrupt):
        call()
    over.set()
    assert time.perf_counter() - began < PRESSED + SLACK
