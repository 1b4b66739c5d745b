"""Whole solves with the GPU backend's launches, on the host build of its kernels; what is said without a GPU."""

import subprocess
import sys

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.backends import gpu, load, reference
from helpers import gpu_shim
from helpers.gpu_comparisons import comparisons_of, solves
from helpers.gpu_comparisons.solves import needs_compiler
from helpers.gpu_shim import fake_cupy
from helpers.newton_systems import begun, positive_definite
from helpers.oracle import linked_clusters
from helpers.sweeps import problem, run_log

on_shim = solves.on_shim  # the fixture that they take
globals().update(comparisons_of(solves))


@needs_compiler
def test_clusters_linked_by_less_than_float32_resolves_converge(on_shim):
    case, _, _ = linked_clusters(2, n=60, m=50)
    init = case.but(epsilon=1.1).solve(tol=1e-6)
    on_shim(gpu.Gpu(gpu_shim.Device()))
    assert case.solve(tol=1e-11, method="newton", init=init, on_failure="raise").converged


@needs_compiler
def test_a_cost_on_the_device_stays_there():
    """Through all that CuPy does, on a stand-in for it: the host never computes with memory of the device."""
    cost, row, col, alpha, beta = problem((13, 29), "kl", "l2", removed=True)
    backend = gpu.Gpu(gpu.CupyDevice(fake_cupy.module()))
    there = fake_cupy.asarray(cost)
    found = run_log(backend, there, row, col, alpha, beta, 20.0, (1.0, 1.0), 3, False)
    expected = run_log(reference, cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 3, False)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)
    kernel = backend.matrix_like(there, np.float32)
    assert isinstance(kernel, fake_cupy.ndarray)
    backend.plan(there, 20.0, alpha, beta, kernel, coarse=True)
    plan = np.empty(cost.shape)
    reference.plan(cost, 20.0, alpha, beta, plan)
    np.testing.assert_allclose(fake_cupy.asnumpy(kernel), plan, rtol=2e-7)
    vectors = [alpha.copy(), beta.copy(), np.zeros(13), col.log_weight.copy(), alpha.copy(), np.zeros(29)]
    args = row, col, (1.0, 1.0), *vectors, backend.scratch(cost.shape, True)
    assert backend.scaling_sweeps(kernel, alpha, beta, *args, 2, 1e50) == (2, True)
    matrix, factor, _, weight, diagonal, exact, rhs = positive_definite((13, 29))
    krylov = begun(rhs, 1.0 / diagonal)
    held = fake_cupy.asarray(matrix)
    assert backend.dense_gradients(held, factor, weight, diagonal, krylov, 1e-12, np.inf, 200)[1] == 1
    np.testing.assert_allclose(krylov.x, np.linalg.solve(exact, rhs), rtol=1e-9, atol=1e-9)
    bar, sums = fake_cupy.asarray(np.zeros(cost.shape)), (np.empty(13), np.empty(29), np.empty(13))
    out = backend.matrix_like(there, np.float64)
    backend.plan_tangent(there, 20.0, alpha, beta, bar, np.ones(13), np.ones(29), 0.0, out, *sums)
    np.testing.assert_allclose(fake_cupy.asnumpy(out), 40.0 * plan, rtol=1e-12)


def test_without_cupy_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    gpu.connect.cache_clear()
    with pytest.raises(eot.BackendUnavailable, match=r"pip install 'elastic-ot\[cuda13x\]'"):
        load("gpu")


@pytest.mark.parametrize("fake", [fake_cupy.module(count=0), fake_cupy.module(error="cudaErrorInsufficientDriver")])
def test_without_a_device_the_message_says_so(fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake)
    gpu.connect.cache_clear()
    with pytest.raises(eot.BackendUnavailable, match="finds no CUDA device"):
        load("gpu")


def test_with_a_device_it_is_connected_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy.module())
    gpu.connect.cache_clear()
    try:
        assert isinstance(load("gpu"), gpu.Gpu)
        assert load("gpu") is load("gpu")
    finally:
        gpu.connect.cache_clear()


def test_the_gpu_backend_imports_no_cupy_until_it_is_asked_for():
    code = "import sys, elastic_ot.backends.gpu as gpu; assert len(gpu.source()) > 0; assert 'cupy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
