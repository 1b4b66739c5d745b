"""benchmarks/gpu and tests/gpu where there is no GPU: they run, on the stand-in, and measure what they say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import benchmarks.gpu.__main__ as run
from benchmarks.gpu import dense, events, small_problems
from elastic_ot.backends import gpu, reference
from helpers import gpu_shim
from helpers.gpu_shim import fake_cupy

ROOT = Path(__file__).parents[2]
NOT_CARRIED = "hypothesis", "ot", "array_api_strict", "jax", "torch", "sklearn", "matplotlib", "tqdm", "cupy"
needs_compiler = pytest.mark.skipif(
    gpu_shim.compiler() is None, reason="needs g++, which builds the kernels for the host"
)


@pytest.fixture
def modules(monkeypatch):
    """(run, dense, small_problems, events) with the stand-in as CuPy."""
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy.module())
    return run, dense, small_problems, events


@needs_compiler
def test_one_command_writes_figures_goals_and_versions(modules, monkeypatch, tmp_path):
    run, dense, _, events = modules
    monkeypatch.setattr(gpu.CupyDevice, "widest", 32)
    monkeypatch.setattr(run, "QUICK_DENSE", [(40, 30), (9, 40)])
    monkeypatch.setattr(run, "QUICK_BATCHES", [((5, 6, 7), 3), ((20, 4, 4), 3)])
    monkeypatch.setattr(events, "FEW", 3)
    monkeypatch.setattr(events, "MANY", 5)
    monkeypatch.setattr(dense, "CHUNK", 7)

    def out_of_memory(cost):
        raise MemoryError("no room")

    loops = {"cupy loop": lambda cost: dense.array_loop(np, fake_cupy.asnumpy(cost)), "torch loop": out_of_memory}
    monkeypatch.setattr(run, "plain_loops", lambda cupy: loops)
    run.main([str(tmp_path), "--quick", "--no-tests"])
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert record["machine"]["device"] == "a stand-in"
    assert record["machine"]["numpy"] == np.__version__
    assert [one["dtype"] for one in record["measured"]["dense"]] == 2 * ["float32", "float64", "float16"]
    first = record["measured"]["dense"][0]
    assert first["absent"] == {"torch loop": "no room"}
    assert set(first["seconds"]) == {"copy", "log", "scaling", "cupy loop"}
    assert {goal["what"].split(": ")[-1] for goal in record["goals"]} >= {
        "share of the copy bandwidth",
        "kernels over a read and a write",
        "memory beyond the cost, in vectors of n + m",
        "identical from run to run",
    }
    met = {goal["what"]: goal["met"] for goal in record["goals"]}
    assert met["identical from run to run"]
    assert met["float32 potentials against the CPU in float64"]
    assert met["40 x 30: memory beyond the cost, in vectors of n + m"]


@needs_compiler
def test_the_plain_loops_compute_the_same_iterations(modules):
    """What is compared with has to do the same work: potentials after seven iterations from zero."""
    _, dense, _, _ = modules
    torch = pytest.importorskip("torch", exc_type=ImportError)
    cost = np.random.default_rng(3).random((13, 17))
    rows, cols = dense.side(13), dense.side(17)
    vectors = [rows.offset.copy(), cols.offset.copy(), *(np.zeros(k) for k in (13, 17, 13, 17))]
    reference.log_sweeps(cost, dense.INV_EPSILON, rows, cols, (1.0, 0.0), *vectors, None, 1)
    reference.log_sweeps(cost, dense.INV_EPSILON, rows, cols, (1.0, 1.0), *vectors, None, 6)
    for loop in (dense.array_loop(np, cost), dense.torch_loop(torch, torch.from_numpy(cost))):
        loop(7)
        alpha, beta = (np.asarray(x) for x in loop.state)
        # the loops end on the columns, sweeps on the rows; constants may move from one side to the other
        shift = alpha[0] - vectors[0][0]
        np.testing.assert_allclose(alpha - shift, vectors[0], rtol=0, atol=1e-12)


@needs_compiler
def test_a_matrix_is_made_in_chunks_that_differ(modules, monkeypatch):
    _, dense, _, _ = modules
    monkeypatch.setattr(dense, "CHUNK", 4)
    device = gpu.connect().device
    cost = device.get(dense.matrix(device, 10, 3, np.float32))
    np.testing.assert_allclose(cost[4:8], cost[:4] * (1.0 - 0.2), rtol=1e-6)
    assert np.isfinite(cost).all()
    assert len(np.unique(cost)) == 30


@needs_compiler
def test_seconds_of_kernels_are_those_of_every_launch(modules):
    _, dense, _, events = modules
    backend = gpu.connect()
    run, _ = dense.log_iterations(backend, dense.matrix(backend.device, 9, 8, np.float64), False)
    with events.kernel_seconds(sys.modules["cupy"], backend.device) as found:
        run(2)
    assert len(found) == 6  # three kernels an iteration
    assert all(x > 0 for x in found)
    assert "launch" not in vars(backend.device)


def test_without_a_device_it_says_so(modules, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy.module(count=0))
    with pytest.raises(SystemExit, match="finds no CUDA device"):
        modules[0].main([str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_the_tests_on_a_device_need_only_what_is_carried_there(tmp_path):
    """They are collected, and skipped for want of CuPy, where the other test dependencies are missing."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({NOT_CARRIED}))\n"
        "import pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-m', '', 'tests/gpu']))"
    )
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "needs CuPy, which cannot be imported" in done.stdout
    assert " skipped" in done.stdout.splitlines()[-1]
