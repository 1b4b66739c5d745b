"""Shared test settings: seeded examples without deadlines, no window, no global random numbers."""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.register_assert_rewrite("helpers")  # before any of them is imported
from helpers import gpu_shim  # noqa: E402

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # on a machine that has little but a GPU (docs/gpu.rst)
    pass
else:
    settings.register_profile(
        "seeded",
        deadline=None,
        max_examples=25,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("seeded")

# The benchmarks belong to the checkout, not to the package. Last, so that an installed elastic_ot is the one tested.
sys.path.append(str(Path(__file__).resolve().parents[1]))

os.environ.setdefault("MPLBACKEND", "Agg")  # no window opens during the tests


def pytest_configure(config):
    """The first process of a session makes a folder for all, workers and programs that tests start."""
    if gpu_shim.SHARED not in os.environ:
        folder = tempfile.mkdtemp(prefix="elastic_ot_tests_")
        ours = {gpu_shim.SHARED: folder, "MPLCONFIGDIR": folder}  # Matplotlib keeps no settings
        os.environ.update(ours)
        config.add_cleanup(lambda: (shutil.rmtree(folder, ignore_errors=True), [os.environ.pop(x) for x in ours]))


def pytest_sessionstart(session):
    """What one process compiles, the others load from Numba's cache, in place of compiling it at the same time."""
    if "PYTEST_XDIST_WORKER" not in os.environ or sys.platform == "win32":
        return
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.dispatcher import Dispatcher

    compile_ = Dispatcher.compile
    outermost = [True]

    @functools.wraps(compile_)
    def compile_once(self, signature):
        with global_compiler_lock:
            if not outermost[0]:  # one lock a process, so that no two wait for each other
                return compile_(self, signature)
            outermost[0] = False
            name = f"{self.py_func.__module__}.{self.py_func.__qualname__}"
            try:
                with gpu_shim.shared_folder() as folder, gpu_shim.only_one(folder, name):
                    return compile_(self, signature)
            finally:
                outermost[0] = True

    Dispatcher.compile = compile_once


def pytest_collection_finish(session):
    """GPU kernels are built for the host while other tests run: it takes half a minute, of one core."""
    first = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
    wanted = any(item.path.name.startswith("test_gpu_") for item in session.items)
    if first and wanted and gpu_shim.compiler() and not session.config.option.collectonly:
        threading.Thread(target=_build_kernels, daemon=True).start()


def _build_kernels():
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # said by the tests that need them
        gpu_shim.library()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of tests marked `sampled(k)` combinations stay whose positions sum to a multiple of k; the others are slow.

    So every value of a parameter is still met, and pairs of values of two parameters wherever a third has k of them.
    """
    for item in items:
        if mark := item.get_closest_marker("sampled"):
            lists = (marker.args for marker in item.iter_markers("parametrize"))
            if sum(_position(item.callspec.params, *x) for x in lists) % mark.args[0]:
                item.add_marker(pytest.mark.slow)


def _position(params, names, values):
    """Which of the values, or tuples of values, a test has."""
    names = names.replace(" ", "").split(",") if isinstance(names, str) else names
    rows = (getattr(value, "values", value if len(names) > 1 else (value,)) for value in values)
    return next(k for k, row in enumerate(rows) if all(params[x] is y for x, y in zip(names, row, strict=True)))


_BEGINNINGS = {}


@pytest.fixture(autouse=True)
def _generators_of_modules_begin_anew(request):
    """A module's RNG draws the same numbers in a test whichever tests ran before it, in this worker or another."""
    generator = getattr(getattr(request, "module", None), "RNG", None)
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        bits.state = _BEGINNINGS.setdefault(request.module.__name__, bits.state)


@pytest.fixture(autouse=True)
def _global_generator_is_untouched():
    """Nothing in the package may draw from, or reseed, NumPy's global generator."""
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    yield
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.fixture
def sigint_is_heard():
    """A shell without job control starts background commands with SIGINT ignored, and Python keeps that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
