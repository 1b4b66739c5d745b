"""Children of a process that has computed on several threads compute too, whichever way they were made.

Each test runs a program of its own, because a process that has once launched OpenMP's threads stays marked; a child
that hangs runs into the time limit.
"""

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1]  # where `helpers` is
SECONDS = 240  # of which nearly all may go into compiling

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

BEGIN = """
import multiprocessing, os, sys, threading, warnings
import numpy as np
import elastic_ot as eot
from helpers.forked_work import KINDS, all_work, work

warnings.filterwarnings("ignore", category=DeprecationWarning)  # fork beside threads: that is what is tested
"""


def run(program, **environment):
    """What the program prints; its threads are two at least where the machine has two."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + textwrap.dedent(program)],
        cwd=HERE,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_computes_what_its_parent_did(method):
    run(f"""
    if __name__ == "__main__":
        expected = all_work()
        with multiprocessing.get_context({method!r}).Pool(2) as pool:
            np.testing.assert_allclose(pool.map(work, KINDS), expected, rtol=1e-9)
            np.testing.assert_allclose(pool.map(work, KINDS), expected, rtol=1e-9)
        np.testing.assert_allclose(all_work(), expected, rtol=0)  # and the parent goes on
    """)


def test_a_child_of_a_child_computes():
    run("""
    expected = all_work()
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild == 0:
            same = np.allclose(all_work(), expected, rtol=1e-9, atol=0)
            os._exit(0 if same else 1)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    assert os.waitpid(child, 0)[1] == 0
    """)


def test_a_fork_amid_solves_of_other_threads_leaves_no_lock_behind():
    run("""
    expected, over = all_work(), threading.Event()
    def solve():
        while not over.is_set():
            work("large")
    others = [threading.Thread(target=solve, daemon=True) for _ in range(2)]
    for thread in others:
        thread.start()
    for _ in range(10):
        child = os.fork()
        if child == 0:
            same = np.allclose(all_work(), expected, rtol=1e-9, atol=0)
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0
    over.set()
    for thread in others:
        thread.join()
    """)


def test_a_fork_amid_a_compilation_leaves_no_lock_behind(tmp_path):
    run(
        """
        import time
        from numba.core.compiler_lock import global_compiler_lock as lock
        import elastic_ot.backends.cpu.batch
        thread = threading.Thread(target=work, args=("many tiny",))
        thread.start()
        while thread.is_alive() and lock._lock.acquire(blocking=False):
            lock._lock.release()
            time.sleep(0.001)
        child = os.fork()
        if child == 0:
            work("small")  # compiles
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
        NUMBA_CACHE_DIR=str(tmp_path),
    )


def test_loky_computes_what_its_parent_did():
    pytest.importorskip("joblib")
    run("""
    import joblib
    if __name__ == "__main__":
        for backend in ("loky", "multiprocessing", "threading"):
            found = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(work)(kind) for kind in KINDS)
            np.testing.assert_allclose(found, all_work(), rtol=1e-9)
    """)


@pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch")
def test_workers_of_a_loader_compute_what_their_parent_did():
    run("""
    import torch
    class Work(torch.utils.data.Dataset):
        def __len__(self):
            return len(KINDS)
        def __getitem__(self, k):
            cost = torch.as_tensor(np.random.default_rng(k).random((20, 50, 50)))
            with_torch = eot.torch.plan(cost, epsilon=0.1, tol=0, max_iter=5).sum()
            return torch.tensor([work(KINDS[k]), float(with_torch)], dtype=torch.float64)
    torch.ones(10**7).exp()  # torch's own team
    expected = np.array([Work()[k].numpy() for k in range(len(KINDS))])
    for _ in range(2):
        loader = torch.utils.data.DataLoader(Work(), num_workers=2, timeout=120)
        np.testing.assert_allclose(np.concatenate([x.numpy() for x in loader]), expected, rtol=1e-9)
    """)
