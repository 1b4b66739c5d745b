"""Whole solves with the GPU backend's launches, on the host build of its kernels; what is said without a GPU."""

import subprocess
import sys

import gpu_shim
import numpy as np
import pytest
from gpu_shim import fake_cupy
from oracle import METHODS, PENALTIES, linked_clusters, random_case, spec_id
from test_backends import problem, run_log
from test_backends_newton import begun, positive_definite

import elastic_ot as eot
from elastic_ot import api, assembly, batch_api, plans
from elastic_ot.backends import gpu, load, reference

needs_compiler = pytest.mark.skipif(
    gpu_shim.compiler() is None, reason="needs g++, which builds the kernels for the host"
)


@pytest.fixture
def on_shim(monkeypatch):
    """A context in which solves run on the shim."""

    def use(backend):
        for module in (api, assembly, batch_api, plans):
            monkeypatch.setattr(module, "load_for", lambda matrix: backend)
        monkeypatch.setattr(batch_api, "load_batch_for", lambda stack: backend)

    return use


@pytest.mark.sampled(3)
@needs_compiler
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cols", PENALTIES, ids=spec_id)
def test_every_method_and_penalty_gives_the_cpu_s_result(method, cols, on_shim):
    case = random_case(3, 30, 37, epsilon=0.05, cols=cols)
    expected = case.solve(method=method, tol=1e-9, on_failure="raise")
    on_shim(gpu.Gpu(gpu_shim.Device()))
    found = case.solve(method=method, tol=1e-9, on_failure="raise")
    np.testing.assert_allclose(found.plan, expected.plan, rtol=0, atol=1e-8)
    assert found.value == pytest.approx(expected.value, abs=1e-8)
    if method != "newton":  # whose conjugate gradients add in another order, and stop elsewhere
        assert found.n_iter == expected.n_iter


@needs_compiler
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_epsilon_and_float32(dtype, on_shim):
    cost = np.random.default_rng(2).random((20, 31)).astype(dtype)
    expected = eot.solve(cost, epsilon=2e-3, tol=1e-6, on_failure="raise")
    on_shim(gpu.Gpu(gpu_shim.Device(widest=16)))
    found = eot.solve(cost, epsilon=2e-3, tol=1e-6, on_failure="raise")
    np.testing.assert_allclose(found.plan, expected.plan, rtol=0, atol=2e-6)
    np.testing.assert_allclose(found.apply(np.ones((31, 1)), axis=1), found.row_marginal[:, None], rtol=1e-12)
    lower, upper = found.bounds()
    assert lower <= upper


@needs_compiler
def test_clusters_linked_by_less_than_float32_resolves_converge(on_shim):
    case, _, _ = linked_clusters(2, n=60, m=50)
    init = case.but(epsilon=1.1).solve(tol=1e-6)
    on_shim(gpu.Gpu(gpu_shim.Device()))
    assert case.solve(tol=1e-11, method="newton", init=init, on_failure="raise").converged


@needs_compiler
def test_batches_are_solved_as_on_the_cpu(on_shim):
    cost = np.random.default_rng(4).random((9, 12, 17))
    expected = eot.solve(cost, epsilon=0.05, cols=eot.KL(0.5), tol=1e-8, on_failure="raise")
    on_shim(gpu.Gpu(gpu_shim.Device()))
    found = eot.solve(cost, epsilon=0.05, cols=eot.KL(0.5), tol=1e-8, on_failure="raise")
    np.testing.assert_allclose(found.plan, expected.plan, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(found.n_iter, expected.n_iter)


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
