"""Compiling beforehand, what is said of it, and that no cache, however it was left, stands in the way of a solve."""

import gc
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numba import njit
from numba.extending import overload

import elastic_ot as eot
from elastic_ot.backends.cpu import compiling
from elastic_ot.cli import main as cli

PACKAGE = Path(eot.__file__).parent
SOLVE = "import elastic_ot as eot; print(eot.solve([[0.0, 1.0], [1.0, 0.0]], epsilon=1.0).value)"
REPORT = "from elastic_ot.backends.cpu import compiling; import json; print(json.dumps(compiling.compiled()))"
COMMAND = "import sys; from elastic_ot.cli.main import main; sys.exit(main(sys.argv[1:]))"


def start(program, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(program, *arguments, **environment):
    """(stdout, stderr) of a process that has to succeed."""
    process = start(program, *arguments, **environment)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    """A cache of one solve by the command line, with what the first and the second process said."""
    folder = tmp_path_factory.mktemp("cache")
    cost = folder / "cost.csv"
    cost.write_text("0,1\n1,0\n")
    arguments = (COMMAND, "solve", str(cost), "--epsilon", "1")
    environment = {"NUMBA_CACHE_DIR": str(folder)}
    return folder, *(run(*arguments, **environment) for _ in range(2))


def test_the_first_process_says_what_it_compiles_and_that_it_happens_once(cold):
    folder, (_, said), _ = cold
    lines = said.splitlines()
    assert lines
    for line in lines:
        assert line.startswith("elastic-ot: compiling ")
        assert "once" in line
        assert str(folder) in line


def test_the_second_process_compiles_nothing_and_says_nothing(cold):
    _, (first, _), (second, said) = cold
    assert said == ""
    assert first.splitlines()[:-1] == second.splitlines()[:-1]  # but the seconds


@pytest.mark.slow
def test_a_cache_of_another_version_is_ignored(cold, tmp_path):
    folder = shutil.copytree(cold[0], tmp_path / "cache")
    indices = list(folder.rglob("*.nbi"))
    assert indices
    for index in indices:
        with index.open("rb") as file:
            pickle.load(file)
            rest = file.read()
        index.write_bytes(pickle.dumps("0.0.1") + rest)
    out, _ = run(f"{SOLVE}; {REPORT}", NUMBA_CACHE_DIR=str(folder))
    value, names = out.splitlines()
    assert float(value) == pytest.approx(eot.solve([[0.0, 1.0], [1.0, 0.0]], epsilon=1.0).value, rel=1e-9)
    assert json.loads(names)


@pytest.mark.slow
def test_a_cache_of_another_processor_is_ignored(cold):
    out, _ = run(f"{SOLVE}; {REPORT}", NUMBA_CACHE_DIR=str(cold[0]), NUMBA_CPU_NAME="generic")
    value, names = out.splitlines()
    assert float(value) == pytest.approx(eot.solve([[0.0, 1.0], [1.0, 0.0]], epsilon=1.0).value, rel=1e-9)
    assert json.loads(names)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_compilation_leaves_no_broken_cache(tmp_path):
    process = start(COMMAND, "compile", NUMBA_CACHE_DIR=str(tmp_path))
    deadline = time.monotonic() + 200
    while not list(tmp_path.rglob("*.nbc")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None
    process.kill()
    process.communicate()
    out, _ = run(SOLVE, NUMBA_CACHE_DIR=str(tmp_path))
    assert float(out) == pytest.approx(eot.solve([[0.0, 1.0], [1.0, 0.0]], epsilon=1.0).value, rel=1e-9)


@pytest.mark.slow
def test_a_read_only_installation_has_its_cache_in_the_home_of_the_user(tmp_path):
    site = tmp_path / "site"
    shutil.copytree(PACKAGE, site / "elastic_ot", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (site / "elastic_ot").rglob("*"):
        if folder.is_dir():
            (folder / "__pycache__").touch()  # a file: nothing can be written below, not even by root
    home = tmp_path / "home"
    home.mkdir()
    where = "from elastic_ot.backends.cpu import compiling; print(compiling.folder())"
    environment = {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1", "HOME": str(home), "XDG_CACHE_HOME": str(home)}
    out, _ = run(f"{SOLVE}; {where}", NUMBA_CACHE_DIR="", **environment)
    folder = Path(out.splitlines()[-1])
    assert folder.is_relative_to(home)
    assert list(folder.glob("*.nbi"))


CALLS = """
import warnings
import numpy as np
import elastic_ot as eot
warnings.simplefilter("ignore")
rng = np.random.default_rng(8)
for dtype in (np.float32, np.float64):
    for n, m in ((9, 12), (80, 90), (700, 600), (1300, 1200)):
        cost = rng.random((n, m)).astype(dtype)
        for order in ("C", "F"):
            eot.solve(np.array(cost, order=order), epsilon=0.05, rows=eot.KL(1.0)).plan
        solution = eot.solve(cost, epsilon=0.1, cols=eot.AtMost())
        solution.gap, solution.apply(np.ones(m))
"""


@pytest.mark.slow
def test_after_precompile_first_calls_compile_nothing(tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    run("import elastic_ot as eot; assert eot.precompile().kernels", **environment)
    assert json.loads(run(f"{CALLS}\n{REPORT}", **environment)[0]) == []


def test_the_command_compiles_what_it_is_asked_for_and_says_where(capsys):
    eot.precompile("solve", "assign")
    assert cli.main(["compile", "--assign"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("0 kernels compiled in ")
    assert captured.out.rstrip().endswith(eot.precompile("assign").folder)
    assert captured.err == ""


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="part 'tourch' is unknown; choose from solve, clouds, batch, torch, jax"):
        eot.precompile("tourch")
    assert cli.main(["compile", "--tourch"]) == 2


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_while_a_kernel_is_compiled_and_is_then_as_before(enabled):
    seen = []

    def probe(x):
        raise AssertionError("for compiled code")

    @overload(probe)
    def _probe(x):
        seen.append(gc.isenabled())
        return lambda x: x

    def kernel(x):
        return probe(x)

    kernel.__module__ = compiling.__name__
    (gc.enable if enabled else gc.disable)()
    try:
        assert njit(kernel)(3) == 3
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
    assert seen
    assert not any(seen)
