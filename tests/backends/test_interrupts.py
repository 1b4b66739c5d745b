"""Ctrl-C while Numba is imported, compiles or loads: it is answered a moment later, and the next call is as ever."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from elastic_ot.backends.interrupts import interrupts_kept

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C goes to all processes of a console there")


@pytest.fixture(autouse=True)
def heard_at_all():
    """The suite may have been started with SIGINT ignored, as programs in the background are."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press():
    signal.raise_signal(signal.SIGINT)


def test_it_is_answered_once_the_body_is_done():
    done = []

    def body():
        with interrupts_kept:
            with interrupts_kept:
                press()
                done.append("inner")
            press()
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        body()
    assert done == ["inner", "outer"]
    with interrupts_kept:  # no press is left over
        done.append("after")


def test_it_is_answered_where_the_body_asks_for_it():
    done = []

    def body():
        with interrupts_kept:
            interrupts_kept.answer()
            press()
            done.append("before")
            interrupts_kept.answer()
            done.append("not reached")

    with pytest.raises(KeyboardInterrupt):
        body()
    assert done == ["before"]


def test_a_handler_of_the_users_answers():
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with interrupts_kept:
            press()
            assert not heard
        assert heard == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_keep_nothing():
    inside, over = threading.Event(), threading.Event()

    def body():
        with interrupts_kept:
            inside.set()
            over.wait()

    thread = threading.Thread(target=body)
    thread.start()
    inside.wait()
    with pytest.raises(KeyboardInterrupt):
        press()
    over.set()
    thread.join()


PRESSED_AT_EVENTS = """
import itertools, signal, sys
import numpy as np
import elastic_ot as eot
from elastic_ot.backends import load

kind = sys.argv[1]
load()  # Numba, and what listens to it
from numba.core import event

class Finger(event.Listener):
    seen, pressed_at = 0, 1
    def on_start(self, event):
        self.seen += 1
        if self.seen == self.pressed_at:
            self.pressed_at += 1 + self.seen // 8  # ever rarer, so that it ends
            signal.raise_signal(signal.SIGINT)
    on_end = on_start

finger = Finger()
event.register(kind, finger)
heard = 0
for _ in itertools.count():
    try:
        found = eot.solve(np.arange(600.0).reshape(20, 30) % 7, epsilon=0.1, method="log")
        break
    except KeyboardInterrupt:
        heard += 1
print(heard, finger.seen, found.converged)
"""


@pytest.mark.parametrize(
    "kind", ["numba:llvm_lock", "numba:compiler_lock", pytest.param("numba:run_pass", marks=pytest.mark.slow)]
)
def test_every_press_while_kernels_are_made_ready_is_survived(kind, tmp_path):
    """LLVM's lock is taken for each call into it, where an interrupt would be swallowed or leave the lock taken."""
    own_cache = {"NUMBA_CACHE_DIR": str(tmp_path)} if kind == "numba:run_pass" else {}  # so that it compiles
    ran = subprocess.run(
        [sys.executable, "-c", PRESSED_AT_EVENTS, kind],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | own_cache,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    heard, events, converged = ran.stdout.split()
    assert "ignored" not in ran.stderr
    assert converged == "True"
    assert 0 < int(heard) <= int(events)
