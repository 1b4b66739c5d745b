"""How many threads are taken, by what they are limited, and what becomes of an error in one of them."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.backends.cpu import helpers, openmp, threads
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


@pytest.fixture(params=["Python's threads", "OpenMP's threads"])
def kind_of_threads(request, monkeypatch):
    """Either kind; PyTorch need not be there for the second, Numba brings the library."""
    library = openmp.resident() if request.param == "OpenMP's threads" else None
    if library is None and request.param == "OpenMP's threads":
        pytest.skip("GNU's OpenMP library is not loaded")
    monkeypatch.setattr(openmp, "beside_torch", lambda: library)


@pytest.mark.usefixtures("kind_of_threads")
@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_parts_are_done_once_each(count):
    done = np.zeros(count, int)

    def run(part):
        done[part] += 1

    threads.split(run, count)
    assert (done == 1).all()


@SEVERAL
@pytest.mark.usefixtures("kind_of_threads")
def test_parts_run_at_the_same_time():
    both = threading.Barrier(2, timeout=60)
    threads.split(lambda part: both.wait(), 2)  # one thread alone would wait for ever


@pytest.mark.usefixtures("kind_of_threads")
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_an_error_in_one_part_comes_out(error, part):
    def run(k):
        if k == part:
            raise error(f"part {k}")
        time.sleep(0.02)

    with pytest.raises(error, match=f"part {part}"):
        threads.split(run, 3)
    threads.split(lambda k: None, 3)  # and the next is as if nothing had happened


def test_parts_that_no_thread_of_a_region_has_taken_are_done_after_it():
    class Deaf:
        @staticmethod
        def GOMP_parallel(*_):
            """An interrupt came before any part was taken."""

    done, failed = [], []
    openmp.split(Deaf, done.append, 3, failed)
    assert done == [0, 1, 2]
    assert not failed


@SEVERAL
@pytest.mark.usefixtures("kind_of_threads", "sigint_is_heard")
def test_an_interrupt_of_the_user_comes_out_when_the_parts_are_done():
    done, timer = [], threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])

    def run(part):
        time.sleep(0.3)
        done.append(part)

    timer.start()
    with pytest.raises(KeyboardInterrupt):
        threads.split(run, 2)
    timer.join()


@SEVERAL
@pytest.mark.usefixtures("sigint_is_heard")
def test_after_an_interrupt_nothing_is_written_any_more_and_the_next_pass_is_whole(monkeypatch):
    monkeypatch.setattr(openmp, "beside_torch", lambda: None)
    for late, ended in ((0.1, [1]), (0.3, [0, 1])):  # in this thread's own part, and while it waits
        done = []

        def run(part, done=done):
            time.sleep(0.2 + 0.2 * part)
            done.append(part)

        timer = threading.Timer(late, signal.raise_signal, [signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            threads.split(run, 2)
        timer.join()
        assert done == ended
        threads.split(done.append, 3)
        assert sorted(done) == sorted([*ended, 0, 1, 2])


def test_threads_are_kept_for_the_next_pass_and_not_without_end():
    kept, here = helpers.Helpers(), threading.current_thread()
    seen, failed = set(), []
    for _ in range(20):
        kept.split(lambda part: seen.add(threading.current_thread()), 3, failed)
    assert len(seen - {here}) == 2
    meet = threading.Barrier(40, timeout=60)  # 20 threads of the user at the same time, two parts each

    def meet_all(part):
        seen.add(threading.current_thread())
        meet.wait()

    users = [threading.Thread(target=kept.split, args=(meet_all, 2, failed)) for _ in range(20)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    others = seen - {here, *users}
    assert len(others) == 20
    end = time.monotonic() + 60
    while sum(thread.is_alive() for thread in others) > 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(kept.idle) <= sum(thread.is_alive() for thread in others) <= 3
    assert not failed


def test_kept_threads_hold_on_to_no_arrays(monkeypatch):
    monkeypatch.setattr(openmp, "beside_torch", lambda: None)
    array = np.zeros(10)
    gone = weakref.ref(array)
    threads.split(lambda part, array=array: array.sum(), 3)
    del array
    end = time.monotonic() + 30
    while gone() is not None and time.monotonic() < end:
        time.sleep(0.01)
    assert gone() is None


@pytest.mark.usefixtures("kind_of_threads")
@pytest.mark.parametrize("kind", ["large", "batch", "many tiny", "gradients"])
def test_both_kinds_of_threads_compute_the_same(kind, monkeypatch):
    found = work(kind)
    monkeypatch.setattr(openmp, "beside_torch", lambda: None)
    assert work(kind) == found


@pytest.mark.usefixtures("kind_of_threads")
def test_threads_of_the_user_solve_at_the_same_time():
    expected = work("batch")
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, ["batch"] * 12)) == [expected] * 12


@SEVERAL
@pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch")
@pytest.mark.skipif(sys.platform != "linux", reason="where GNU's OpenMP library is known by its name")
@pytest.mark.parametrize("order", ["import torch; eot.get_num_threads()", "eot.get_num_threads(); import torch"])
def test_beside_torch_kernels_run_on_its_threads(order):
    counted = "from elastic_ot.backends.cpu import helpers, openmp, threads; import os"
    counted += "; count = lambda: len(os.listdir('/proc/self/task'))"
    run = "torch.ones(10**7).exp(); before = count(); seen = []; threads.split(lambda part: seen.append(count()), 2)"
    assert number_in(f"{order}; {counted}; {run}; assert openmp.beside_torch(); print(max(seen) - before)") == 0
