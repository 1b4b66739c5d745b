"""Whole solves with the launches of a device, against the CPU's."""

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.api import solve_batch as batch_api
from elastic_ot.backends import gpu
from elastic_ot.costs import dense
from helpers import gpu_shim
from helpers.oracle import METHODS, PENALTIES, random_case, spec_id

needs_compiler = pytest.mark.skipif(
    gpu_shim.compiler() is None, reason="needs g++, which builds the kernels for the host"
)


@pytest.fixture
def on_shim(monkeypatch):
    """A context in which solves run on the shim."""

    def use(backend):
        monkeypatch.setattr(dense, "load_for", lambda matrix: backend)
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
def test_batches_are_solved_as_on_the_cpu(on_shim):
    cost = np.random.default_rng(4).random((9, 12, 17))
    expected = eot.solve(cost, epsilon=0.05, cols=eot.KL(0.5), tol=1e-8, on_failure="raise")
    on_shim(gpu.Gpu(gpu_shim.Device()))
    found = eot.solve(cost, epsilon=0.05, cols=eot.KL(0.5), tol=1e-8, on_failure="raise")
    np.testing.assert_allclose(found.plan, expected.plan, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(found.n_iter, expected.n_iter)
