"""The comparisons of `helpers.gpu_comparisons` on a CUDA device: `python -m pytest tests/gpu`."""

import gc

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.arrays import devices as memory
from elastic_ot.backends import gpu, load
from helpers.gpu_comparisons import (
    batches,
    builds,
    cells,
    comparisons_of,
    halves,
    newton,
    passes,
    signatures,
    solves,
    sweeps,
    tiles,
)
from helpers.supports import all_cells, run_support
from helpers.sweeps import assert_same, problem, run_log, run_scaling


def connected():
    """The backend, or why there is none."""
    try:
        return load("gpu"), ""
    except eot.BackendUnavailable as error:
        return None, str(error)


BACKEND, REASON = connected()
pytestmark = pytest.mark.skipif(BACKEND is None, reason=REASON)

COMPARISONS = signatures, sweeps, passes, halves, newton, batches, cells, tiles
shim, on_shim = builds.shim, solves.on_shim  # the fixtures that they take
globals().update(comparisons_of(*COMPARISONS, solves))


class Device(gpu.CupyDevice):
    """The current one, with what the tests look at in the shim's; kernels are compiled once for all tests."""

    def __init__(self, order=0, **options):
        vars(self).update(vars(BACKEND.device) | options)
        self.launched = set()

    def launch(self, name, *args):
        super().launch(name, *args)
        self.launched.add(name)


def backend(order=0, how="fused"):
    """What `builds.backend` gives, on the device."""
    return gpu.Gpu(Device(**builds.HOW[how]))


@pytest.fixture(autouse=True)
def _on_the_device(monkeypatch):
    for module in (builds, *COMPARISONS):
        monkeypatch.setattr(module, "backend", backend, raising=False)  # some have it by the fixture only
    monkeypatch.setattr(solves.gpu_shim, "Device", Device)


def test_every_kernel_compiles_and_loads():
    for name in gpu.KERNELS:
        assert BACKEND.device._kernel(name).num_regs > 0


def test_results_do_not_change_from_run_to_run():
    args = problem((1001, 3003), dtype=np.float32)
    first, second = (run_log(BACKEND, *args, 20.0, (1.0, 1.0), 5, True) for _ in range(2))
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, y)


def test_newton_s_cells_stay_on_the_device(monkeypatch):
    """Vectors cross, three of them stacked at most; a system of more than 1000 columns is never factorised."""
    import cupy

    cost, device, crossed, launched = np.random.default_rng(5).random((700, 1100)), BACKEND.device, [], set()
    get, put, pack, launch = device.get, device.put, device.pack, device.launch

    def packing(parts):
        crossed.extend(part.size for part in parts if isinstance(part, np.ndarray))
        return pack(parts)

    def launching(name, *args):
        launched.add(name)
        launch(name, *args)

    monkeypatch.setattr(device, "get", lambda values: (crossed.append(values.size), get(values))[1])
    monkeypatch.setattr(device, "put", lambda values: (crossed.append(values.size), put(values))[1])
    monkeypatch.setattr(device, "pack", packing)
    monkeypatch.setattr(device, "launch", launching)
    options = {"epsilon": 1e-3, "method": "newton", "tol": 1e-9, "on_failure": "raise"}
    found, expected = eot.solve(cupy.asarray(cost), **options), eot.solve(cost, **options)
    assert {"support_rows<double>", "support_columns<double>", "write_entries<double>", "sparse_times"} <= launched
    assert max(crossed) <= 3 * 1100
    np.testing.assert_allclose(cupy.asnumpy(found.plan), expected.plan, rtol=0, atol=1e-8)
    again = eot.solve(cupy.asarray(cost), **options)
    np.testing.assert_array_equal(cupy.asnumpy(again.plan), cupy.asnumpy(found.plan))


@pytest.mark.parametrize("how", builds.HOW)
def test_replayed_iterations_are_those_that_are_launched(how):
    """To the bit: a CUDA graph launches the same kernels with the same arguments."""
    args = problem((301, 403), "kl", "l2", removed=True)
    graphs, plain = backend(how=how), backend(how=how)

    def launched(block, times):
        for _ in range(times):
            block()

    plain.device.repeat = launched
    for count in (3, 20, 71):
        found, expected = (run_log(each, *args, 20.0, (1.0, 1.0), count, False) for each in (graphs, plain))
        assert_same(found, expected, 0, 0)
        on_cells = [run_support(each, all_cells(args[0]), *args[1:], count=count) for each in (graphs, plain)]
        assert on_cells[0][0] is on_cells[1][0] is True
        assert_same(on_cells[0][1], on_cells[1][1], 0, 0)
        outcomes = [run_scaling(each, *args, (1.0, 1.0), count) for each in (graphs, plain)]
        assert outcomes[0][0] == outcomes[1][0]
        assert_same(outcomes[0][1], outcomes[1][1], 0, 0)


def test_streams_are_respected():
    """A stream of the caller's, that does not wait for the default one: graphs and copies wait for its work."""
    import cupy

    cost, row, col, alpha, beta = problem((1001, 3003), dtype=np.float32)
    expected = run_log(BACKEND, cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 9, True)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        there = cupy.zeros(cost.shape, cost.dtype)
        late = cupy.asarray(cost)
        for _ in range(200):  # the stream is busy when the cost is written
            there += 1.0
        there[...] = late
        found = run_log(BACKEND, there, row, col, alpha, beta, 20.0, (1.0, 1.0), 9, True)
    assert_same(found, expected, 0, 0)


def test_out_of_memory_is_said_and_leaves_nothing():
    import cupy

    pool = cupy.get_default_memory_pool()
    gc.collect()
    before = pool.used_bytes()
    with pytest.raises(MemoryError, match=r"is out of memory: an array .* needs [\d,]+ bytes"):
        BACKEND.device.empty((1 << 22, 1 << 20), np.float64)
    gc.collect()
    assert pool.used_bytes() == before
    assert BACKEND.device.get(BACKEND.device.zeros(3, np.float64)).sum() == 0.0


def test_memory_beyond_the_cost_is_vectors():
    """At most so many doubles as there are entries in the vectors, times the blocks and a few more."""
    import cupy

    cost, row, col, alpha, beta = problem((3001, 4001), dtype=np.float32)
    there, pool = BACKEND.device.put(cost), cupy.get_default_memory_pool()
    gc.collect()
    pool.free_all_blocks()
    before = pool.total_bytes()
    run_log(BACKEND, there, row, col, alpha, beta, 20.0, (1.0, 1.0), 50, True)
    assert pool.total_bytes() - before <= 8 * 7002 * (4 * BACKEND.device.multiprocessors + 64)


@pytest.mark.parametrize("method", ["log", "auto", "newton"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_cost_in_16_bits_is_solved_as_it_lies(dtype, method):
    """As the same values in float32, tensors of PyTorch in bfloat16."""
    import cupy

    values = cupy.asarray(np.random.default_rng(0).random((1201, 1603)), np.float16)
    half = values
    if dtype == "bfloat16":
        torch = pytest.importorskip("torch")
        half = torch.from_dlpack(values).to(torch.bfloat16)
        values = cupy.from_dlpack(half.float())
    options = {"epsilon": 0.05, "method": method, "tol": 1e-9}
    found, expected = eot.solve(half, **options), eot.solve(values.astype(np.float32), **options)
    pointer = half.data_ptr() if dtype == "bfloat16" else half.data.ptr
    assert found.problem.cost.matrix.data.ptr == pointer
    np.testing.assert_allclose(found.host.f, expected.host.f, rtol=0, atol=1e-8)
    assert found.gap == pytest.approx(expected.gap, abs=1e-8)
    assert found.plan.dtype == half.dtype
    rng = np.random.default_rng(1)
    bar, step = (cupy.asarray(rng.normal(size=values.shape)) for _ in range(2))
    one, other = (x.vjp(plan=bar).cost for x in (found, expected))
    np.testing.assert_allclose(cupy.asnumpy(one), cupy.asnumpy(other), rtol=0, atol=1e-6)
    one, other = (x.jvp(cost=step).f for x in (found, expected))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("options", [{"tol": 0, "max_iter": 5}, {"tol": 1e-6}], ids=str)
def test_a_batch_in_16_bits_is_solved_as_it_lies(dtype, options):
    """Masked, with derivatives, on CuPy's own operations with half precision and its bits."""
    import cupy

    rng = np.random.default_rng(0)
    values, mask = cupy.asarray(rng.random((40, 30, 37)), np.float16), cupy.asarray(rng.random((40, 30, 37)) < 0.9)
    half, allowed = values, mask
    if dtype == "bfloat16":
        torch = pytest.importorskip("torch")
        half, allowed = torch.from_dlpack(values).to(torch.bfloat16), torch.from_dlpack(mask)
        values = cupy.from_dlpack(half.float())
    options = {"epsilon": 0.1, "rows": eot.KL(1.0)} | options
    found = eot.solve(half, mask=allowed, **options)
    expected = eot.solve(values.astype(np.float32), mask=mask, **options)
    assert found.problem.cost.dtype.itemsize == 2
    np.testing.assert_allclose(found.host.f, expected.host.f, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.transport_cost, expected.transport_cost, rtol=1e-5)
    bar = rng.normal(size=(40, 30))
    bars = torch.asarray(bar, device=half.device) if dtype == "bfloat16" else cupy.asarray(bar)
    one, other = found.vjp(f=bars).cost, expected.vjp(f=cupy.asarray(bar)).cost
    np.testing.assert_allclose(cupy.asnumpy(one), cupy.asnumpy(other), rtol=0, atol=1e-4)


def test_validation_of_a_cost_in_16_bits_takes_no_float32_of_it(monkeypatch):
    import cupy

    cost, pool = cupy.ones((8001, 8003), np.float16), cupy.get_default_memory_pool()
    monkeypatch.setattr(memory, "DEVICE_CHUNK", 1 << 18)
    gc.collect()
    pool.free_all_blocks()
    before = pool.total_bytes()
    eot.solve(cost, epsilon=1.0, method="log", tol=1e-5)
    assert pool.total_bytes() - before < 4 * cost.size


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint16])
def test_large_matrices_are_indexed_in_64_bits(dtype):
    """More than 2^31 entries: row sums of a constant cost are known. 0 has the same bits in bfloat16."""
    for n, m in ((50_000, 45_000), (270_000, 8000)):
        cost = BACKEND.device.zeros((n, m), dtype)
        row_sum, col_sum = np.empty(n), np.empty(m)
        BACKEND.marginals(cost, 1.0, np.full(n, -np.log(n)), np.full(m, -np.log(m)), row_sum, col_sum)
        np.testing.assert_allclose(row_sum, 1.0 / n, rtol=1e-10)
        np.testing.assert_allclose(col_sum, 1.0 / m, rtol=1e-10)
