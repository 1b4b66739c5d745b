"""The comparisons of test_gpu_kernels and test_gpu_solves on a CUDA device: `pytest tests/gpu`."""

import numpy as np
import pytest
import test_gpu_kernels as kernels
import test_gpu_solves as solves
from test_backends import problem, run_log

import elastic_ot as eot
from elastic_ot.backends import gpu, load


def connected():
    """The backend, or why there is none."""
    try:
        return load("gpu"), ""
    except eot.BackendUnavailable as error:
        return None, str(error)


BACKEND, REASON = connected()
pytestmark = pytest.mark.skipif(BACKEND is None, reason=REASON)

OF_THE_SHIM = {
    "test_results_do_not_depend_on_the_order_of_the_threads",
    "test_a_barrier_that_some_threads_never_reach_is_an_error",
    "test_every_kernel_has_been_launched",
}
shim = kernels.shim  # the fixture that they take
globals().update(
    {name: value for name, value in vars(kernels).items() if name.startswith("test_") and name not in OF_THE_SHIM}
)
test_every_method_and_penalty_gives_the_cpu_s_result = solves.test_every_method_and_penalty_gives_the_cpu_s_result
test_small_epsilon_and_float32 = solves.test_small_epsilon_and_float32
test_batches_are_solved_as_on_the_cpu = solves.test_batches_are_solved_as_on_the_cpu
on_shim = solves.on_shim


def backend(order=0, wide=False):
    """What `test_gpu_kernels.backend` gives, on the device."""
    import cupy

    device = gpu.CupyDevice(cupy)
    device.widest = kernels.WIDE if wide else gpu.WIDEST
    return gpu.Gpu(device)


@pytest.fixture(autouse=True)
def _on_the_device(monkeypatch):
    monkeypatch.setattr(kernels, "backend", backend)
    monkeypatch.setattr(solves.gpu_shim, "Device", lambda widest=gpu.WIDEST: backend(wide=widest < gpu.WIDEST).device)


def test_every_kernel_compiles_and_loads():
    for name in gpu.KERNELS:
        assert BACKEND.device._kernel(name).num_regs > 0


def test_results_do_not_change_from_run_to_run():
    args = problem((1001, 3003), dtype=np.float32)
    first, second = (run_log(BACKEND, *args, 20.0, (1.0, 1.0), 5, True) for _ in range(2))
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, y)


def test_large_matrices_are_indexed_in_64_bits():
    """More than 2^31 entries: row sums of a constant cost are known."""
    n, m = 50_000, 45_000
    cost = BACKEND.device.zeros((n, m), np.float32)
    row_sum, col_sum = np.empty(n), np.empty(m)
    BACKEND.marginals(cost, 1.0, np.full(n, -np.log(n)), np.full(m, -np.log(m)), row_sum, col_sum)
    np.testing.assert_allclose(row_sum, 1.0 / n, rtol=1e-10)
    np.testing.assert_allclose(col_sum, 1.0 / m, rtol=1e-10)
