"""How many threads are taken, by what they are limited, and what becomes of an error in one of them."""

import os
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.backends.cpu import threads
from helpers.forked_work import work

HERE = Path(__file__).resolve().parents[1]
SEVERAL = pytest.mark.skipif(eot.get_num_threads() == 1, reason="one thread is all there is")


@pytest.fixture(autouse=True)
def _number_is_put_back():
    before = eot.get_num_threads()
    yield
    eot.set_num_threads(before)


def number_in(program, **environment):
    """What a process of its own prints last, as a number."""
    plain = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", f"import elastic_ot as eot\n{program}"],
        cwd=HERE,
        env=plain | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


NUMBER = "print(eot.get_num_threads())"


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "NUMBA_NUM_THREADS"])
@SEVERAL
def test_the_environment_limits_threads(variable):
    assert number_in(NUMBER, **{variable: "1"}) == 1
    assert number_in(NUMBER) > 1


@pytest.mark.parametrize("value", ["1000", "", "1000,2", "none", "-3", "0"])
def test_what_the_environment_asks_beyond_reason_changes_nothing(value):
    assert number_in(NUMBER, OMP_NUM_THREADS=value) == number_in(NUMBER)


def test_a_thousand_launched_by_numba_are_capped():
    assert number_in(NUMBER, NUMBA_NUM_THREADS="1000") == number_in(NUMBER)


@SEVERAL
def test_threadpoolctl_limits_threads():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    before = eot.get_num_threads()
    with threadpoolctl.threadpool_limits(1, user_api="openmp"):
        assert eot.get_num_threads() == 1
    assert eot.get_num_threads() == before


@SEVERAL
@pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch")
@pytest.mark.parametrize("order", ["import torch; eot.get_num_threads()", "eot.get_num_threads(); import torch"])
def test_torch_and_the_kernels_limit_each_other_as_asked(order):
    assert number_in(f"{order}; torch.set_num_threads(1); {NUMBER}") == 1
    assert number_in(f"{order}; eot.set_num_threads(1); print(torch.get_num_threads())") > 1


@SEVERAL
@pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch")
def test_the_first_launch_leaves_the_limit_of_torch():
    assert (
        number_in("import torch; torch.set_num_threads(1); eot.get_num_threads(); print(torch.get_num_threads())") == 1
    )


def test_the_number_holds_in_every_thread():
    eot.set_num_threads(1)
    found = []
    thread = threading.Thread(target=lambda: found.append(eot.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [1]


@SEVERAL
def test_kernels_run_on_as_many_threads_as_are_set(monkeypatch):
    asked = []
    plain = threads.split
    monkeypatch.setattr("elastic_ot.backends.cpu.batch.split", lambda run, n: (asked.append(n), plain(run, n)))
    for number in (1, 2):
        eot.set_num_threads(number)
        work("batch")
        assert max(asked) == number


def test_more_than_there_are_are_capped_and_this_is_said():
    most = eot.get_num_threads()
    with pytest.warns(RuntimeWarning, match=f"1000 threads were asked for, {most} will be used"):
        assert eot.set_num_threads(1000) == most
    assert eot.get_num_threads() == most


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (None, TypeError)])
def test_a_number_that_is_none_is_refused(n, error):
    before = eot.get_num_threads()
    with pytest.raises(error, match=f"n is {n}"):
        eot.set_num_threads(n)
    assert eot.get_num_threads() == before


@pytest.mark.parametrize("kind", ["large", "batch", "many tiny", "gradients"])
def test_a_number_of_threads_fixes_every_bit(kind):
    for number in {1, eot.get_num_threads()}:
        eot.set_num_threads(number)
        assert work(kind) == work(kind)


def test_parts_are_done_once_each():
    done = np.zeros(5, int)

    def run(part):
        done[part] += 1

    threads.split(run, done.size)
    assert (done == 1).all()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("part", [0, 1])
def test_an_error_in_one_part_comes_out_once_all_are_done(error, part):
    done = []

    def run(k):
        if k == part:
            raise error
        time.sleep(0.05)
        done.append(k)

    with pytest.raises(error):
        threads.split(run, 3)
    assert len(done) == 2
