"""`time_limit` and Ctrl-C end `assign` and `exact` soon, in whatever they are just doing."""

import itertools
import os
import subprocess
import sys
import time

import numpy as np
import pytest

import elastic_ot as eot
import helpers
from elastic_ot.api import scipy_assignment
from elastic_ot.backends.cpu import paths
from elastic_ot.solvers.exact import clock, small
from helpers.slow_exact import CALLS, line


@pytest.mark.parametrize("call", CALLS)
def test_a_time_limit_is_kept_and_named(call):
    eot.exact(*line(5)), eot.exact(*line(5), rows=eot.TV(0.4), cols=eot.AtMost())  # compiled
    began = time.perf_counter()
    with pytest.raises(eot.ConvergenceError, match=r"time_limit of 0\.02 s"):
        CALLS[call](time_limit=0.02)
    assert time.perf_counter() - began < 2.0


def test_a_limit_that_suffices_changes_nothing():
    cost, a, b = line(40)
    assert (eot.exact(cost, a, b, time_limit=60.0).f == eot.exact(cost, a, b).f).all()
    assert eot.assign(cost, time_limit=60.0).col_ind.tolist() == eot.assign(cost).col_ind.tolist()
    assert eot.exact(cost, a, b, time_limit=np.inf).value == eot.exact(cost, a, b).value


@pytest.mark.parametrize("limit", [0.0, -1.0, np.nan])
def test_limits_that_are_none(limit):
    for call in (eot.exact, eot.assign):
        with pytest.raises(ValueError, match="time_limit"):
            call(np.eye(3), time_limit=limit)
        with pytest.raises(TypeError, match="time_limit"):
            call(np.eye(3), time_limit="soon")


@pytest.mark.parametrize("sides", [{}, {"rows": eot.TV(0.4), "cols": eot.AtMost()}], ids=["simplex", "paths"])
def test_every_stage_looks_at_the_clock(sides, monkeypatch):
    """Each look may be the one at which the limit has passed: whichever it is, it is the error of the limit."""
    monkeypatch.setattr(paths, "PIECE", 1000)
    monkeypatch.setattr(small, "CELLS_AT_ONCE", 0)
    cost, a, b = line(60)
    looks = []
    monkeypatch.setattr(clock.Clock, "check", lambda self: looks.append(sys._getframe(1).f_code.co_name))
    eot.exact(cost, a, b, **sides)
    assert {"_least_of_rows", "_run", "balance" if not sides else "ship"} <= set(looks)
    for last in range(0, len(looks), max(1, len(looks) // 10)):
        count = itertools.count()

        def check(self, last=last, count=count):
            if next(count) == last:
                raise KeyboardInterrupt

        monkeypatch.setattr(clock.Clock, "check", check)
        with pytest.raises(KeyboardInterrupt):
            eot.exact(cost, a, b, **sides)


def test_what_scipy_raises_in_a_thread_is_raised():
    def fails():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        clock.Clock().watch(fails)
    assert clock.Clock(10.0).watch(max, 1, 2) == 2


def test_the_thread_is_used_where_scipy_may_take_long(monkeypatch):
    used = []
    watch = clock.Clock.watch
    monkeypatch.setattr(clock.Clock, "watch", lambda self, *a: used.append(a[1].shape) or watch(self, *a))
    cost = np.random.default_rng(1).random((20, 30))
    expected = eot.assign(cost).col_ind
    monkeypatch.setattr(scipy_assignment, "BRIEF_FOR_SCIPY", 100)
    assert (eot.assign(cost).col_ind == expected).all()
    assert used == [(20, 30)]


CHILD = """
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # the suite may have been started with SIGINT ignored
sys.path.insert(0, {tests!r})
import elastic_ot as eot
from helpers.slow_exact import CALLS, line, slow_assignment
eot.exact(*line(5)), eot.exact(*line(5), rows=eot.TV(0.4), cols=eot.AtMost())
eot.assign(slow_assignment(1000))  # what is compiled may swallow an interrupt in a finaliser
def interrupt():
    time.sleep(0.1)
    global sent
    sent = time.perf_counter()
    signal.raise_signal(signal.SIGINT)
for name in sys.argv[1:]:
    threading.Thread(target=interrupt, daemon=True).start()
    began = time.perf_counter()
    try:
        CALLS[name]()
        print("done", time.perf_counter() - began)
    except KeyboardInterrupt:
        print("interrupted", time.perf_counter() - sent)
"""


def test_ctrl_c_is_answered_within_two_seconds():
    """Calls that would take many times as long as the interrupt waits."""
    code = CHILD.format(tests=os.path.dirname(helpers.__path__[0]))
    done = subprocess.run([sys.executable, "-c", code, *CALLS], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [word for word, _ in lines] == ["interrupted"] * len(CALLS), done.stdout
    assert max(float(seconds) for _, seconds in lines) < 2.0
