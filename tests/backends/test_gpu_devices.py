"""What the GPU backend asks of CuPy, on a stand-in with two devices: where things lie, streams, graphs, memory."""

import gc
import sys
import types

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.backends import gpu, load
from elastic_ot.backends.gpu.transfers import Room, rooms
from helpers import gpu_shim
from helpers.batch_sweeps import batch_of, run_batch
from helpers.gpu_shim import fake_cupy
from helpers.gpu_shim.fake_cupy import MACHINE
from helpers.newton_systems import begun, gradients, positive_definite
from helpers.supports import support_by
from helpers.sweeps import assert_same, problem, run_log

pytestmark = pytest.mark.skipif(gpu_shim.compiler() is None, reason="needs g++, which builds the kernels for the host")
SHAPE = (13, 29)


@pytest.fixture
def cupy(monkeypatch):
    fake = fake_cupy.module()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake


def call_all(backend, cost):
    """Every primitive that launches or allocates, on matrices of the device of `backend`."""
    _, row, col, alpha, beta = problem(SHAPE, "kl", "l2", removed=True)
    n, m = SHAPE
    found = run_log(backend, cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 5, False)
    kernel = backend.matrix_like(cost, np.float64)
    backend.plan(cost, 20.0, alpha, beta, backend.matrix_like(cost, np.float64).T.reshape(SHAPE))
    backend.plan(cost, 20.0, alpha, beta, kernel)
    vectors = [x.copy() for x in (alpha, beta, row.log_weight, col.log_weight, alpha, beta)]
    args = row, col, (1.0, 1.0), *vectors, backend.scratch(SHAPE, False)
    backend.scaling_sweeps(kernel, alpha, beta, *args, 7, 1e50)
    sums = np.empty(n), np.empty(m), np.empty(n)
    backend.marginals(cost, 20.0, alpha, beta, *sums[:2])
    backend.apply(cost, 20.0, alpha, beta, np.ones((m, 2)), False, np.empty((n, 2)))
    backend.row_max(cost, 20.0, beta, sums[0])
    backend.col_max(cost, 20.0, alpha, sums[1])
    backend.rounded_sums(cost, 20.0, alpha, beta, alpha, beta, alpha, beta, sums[0], sums[2])
    out, bar = backend.matrix_like(cost, np.float64), backend.device.zeros(SHAPE, np.float64)
    backend.plan_tangent(cost, 20.0, alpha, beta, bar, alpha, beta, 0.0, out, *sums)
    system = positive_definite(SHAPE)
    for kind in ("dense", "sparse"):
        gradients(backend, kind, system)(begun(system[-1], 1.0 / system[4]), 0.0, np.inf, 5)
    support = support_by(backend, cost, alpha, beta, (alpha - np.inf, beta - np.inf))
    vectors = [x.copy() for x in (alpha, beta, alpha, col.log_weight, alpha, beta)]
    assert backend.support_sweeps(support, 20.0, row, col, (1.0, 1.0), *vectors, 5)
    matrix = backend.sparse_like(support)
    backend.sparsify(support, np.zeros(n), np.zeros(m), matrix)
    assert int(matrix.pointers[-1]) > 0  # as the solvers ask for it
    backend.sparse_squares(matrix, np.ones(n), np.empty(m))
    backend.sparse_gram(matrix, np.ones(n), np.empty((m, m)))
    stack, *rest = batch_of(3, (5, 7), "kl")
    held = backend.device.put(stack)
    run_batch(backend, (held, *rest), np.arange(3), None, 4)
    backend.batch_plan(held, rest[0], *rest[3:], backend.device.empty(stack.shape, np.float32))
    return found


def test_a_backend_a_device_the_same_at_every_call(cupy):
    first, second = gpu.connect(0), gpu.connect(1)
    assert first is not second
    assert gpu.connect() is load("gpu") is first
    with cupy.cuda.Device(1):
        assert gpu.connect() is second
    assert (second.device.multiprocessors, second.device.cache) == (4, 1 << 16)  # what the stand-in says of it
    assert second.device.shared > first.device.shared


def test_a_device_that_is_not_there_is_refused(cupy):
    for index in (2, -1):
        with pytest.raises(eot.BackendUnavailable, match=rf"no CUDA device {index}; this machine has 2"):
            gpu.connect(index)


@pytest.mark.parametrize("index", [0, 1])
def test_everything_happens_on_the_backend_s_device(cupy, index):
    """Whatever device is current at the call; the stand-in refuses to launch with arrays of another one."""
    backend = gpu.connect(index)
    there = backend.device.put(problem(SHAPE, removed=True)[0])
    MACHINE.events.clear()
    with cupy.cuda.Device(1 - index):
        call_all(backend, there)
        assert MACHINE.device == 1 - index
    assert {device for _, device, _ in MACHINE.events} == {index}


def test_an_array_of_another_device_is_copied(cupy):
    first, second = gpu.connect(0), gpu.connect(1)
    cost = problem(SHAPE, removed=True)[0]
    there = first.device.put(cost)
    assert first.device.holds(there)
    assert not second.device.holds(there)
    assert_same(call_all(second, there), call_all(first, there), 0, 0)


def test_everything_goes_to_the_current_stream(cupy):
    """A stream of its own is for captures, on which nothing runs."""
    backend = gpu.connect()
    there = backend.device.put(problem(SHAPE, removed=True)[0])
    mine = cupy.cuda.Stream()
    MACHINE.events.clear()
    MACHINE.ran.clear()
    with mine:
        call_all(backend, there)
    assert len(MACHINE.events) > 100
    others = {stream for _, _, stream in MACHINE.events} - {mine}
    assert MACHINE.ran == {mine}
    assert all(stream.non_blocking and not stream.default for stream in others)


@pytest.mark.parametrize("count", [1, 2, 3, 12, 65])
def test_iterations_are_launched_by_the_host_a_few_times_and_replayed_then(cupy, count):
    """Three kernels an iteration: once to load them, once more for the graph; blocks of up to two are launched."""
    cost, row, col, alpha, beta = problem(SHAPE, "kl", "l2", removed=True)
    backend = gpu.connect()
    vectors = [alpha.copy(), beta.copy(), np.zeros(13), col.log_weight.copy(), alpha.copy(), np.zeros(29)]
    exact = [x.copy() for x in vectors]
    backend.log_sweeps(cost, 20.0, row, col, (1.0, 1.0), *vectors, backend.scratch(SHAPE, False), count)
    named = [what for what, _, _ in MACHINE.events]
    whole, rest = divmod(count, gpu.LOOK)
    assert named.count("log_sums") == 2 * whole + min(rest, 2)
    assert named.count("graph") == (gpu.LOOK - 1) * whole + (rest - 1 if rest > 2 else 0)
    plain = gpu.Gpu(gpu_shim.Device())
    plain.log_sweeps(cost, 20.0, row, col, (1.0, 1.0), *exact, plain.scratch(SHAPE, False), count)
    assert_same(vectors, exact, 0, 0)


@pytest.mark.parametrize("count", [1, 4, 5, 12, 13, 66, 131])
def test_replayed_scalings_stop_where_launched_ones_do(cupy, count):
    """Pairs of iterations are replayed, because they write two sets of vectors in turn."""
    cost, row, col, alpha, beta = problem(SHAPE, "tv", "fixed")
    row = row._replace(strength=400.0, offset=np.where(np.arange(13) == 2, 0.0, row.offset))
    cost[2] += 20.0  # its scaling underflows after some iterations
    zeros, results = (np.zeros(13), np.zeros(29)), []
    for backend in (gpu.connect(), gpu.Gpu(gpu_shim.Device())):
        kernel = np.empty(SHAPE)
        backend.plan(cost, 20.0, *zeros, kernel)
        for limit in (1e300, 1e12):
            vectors = [alpha.copy(), beta.copy(), np.zeros(13), np.log(col.weight), alpha.copy(), np.zeros(29)]
            args = row, col, (1.0, 1.9), *vectors, backend.scratch(SHAPE, False), count, limit
            results.append((*vectors, backend.scaling_sweeps(kernel, *zeros, *args)))
    for found, expected in zip(results[:2], results[2:], strict=True):
        assert found[-1] == expected[-1]
        assert_same(found[:-1], expected[:-1], 0, 0)


def test_a_block_that_fails_while_it_is_captured_ends_the_capture(cupy):
    device, calls = gpu.connect().device, []

    def block():
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        device.repeat(block, 9)
    assert MACHINE.stream.default
    assert all(stream.captured is None for stream in MACHINE.created)


# --- transfers --------------------------------------------------------------------------------------------------------


def transfers(call):
    """How many copies to the device and from it."""
    MACHINE.events.clear()
    call()
    named = [what for what, _, _ in MACHINE.events]
    return named.count("put"), named.count("get")


def sweeps_of(backend, count, row, col):
    """Callables that sweep with the same sides and scratch again and again, in the log domain and on a kernel."""
    cost, _, _, alpha, beta = problem(SHAPE, removed=True)
    cost, scratch = backend.device.put(cost), backend.scratch(SHAPE, False)
    kernel = backend.matrix_like(cost, np.float64)
    backend.plan(cost, 20.0, alpha, beta, kernel)
    start = alpha, beta, np.zeros(13), col.log_weight, alpha, np.zeros(29)
    log, scaled = ([x.copy() for x in start] for _ in range(2))

    def in_the_log_domain():
        backend.log_sweeps(cost, 20.0, row, col, (1.0, 1.0), *log, scratch, count)
        return log

    def on_a_kernel():
        args = row, col, (1.0, 1.0), *scaled, scratch, count, 1e50
        assert backend.scaling_sweeps(kernel, alpha, beta, *args) == (count, True)
        return scaled

    return in_the_log_domain, on_a_kernel


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("count", [1, 50, 64, 65, 200])
def test_sweeps_cross_once_each_way_and_sides_once_a_solve(cupy, which, count):
    """Between blocks of 64 iterations only the flags come back."""
    _, row, col, _, _ = problem(SHAPE, "kl", "l2", removed=True)
    sweep = sweeps_of(gpu.connect(), count, row, col)[which]
    blocks = -(-count // gpu.LOOK)
    assert transfers(sweep) == (2, blocks)
    assert transfers(sweep) == (1, blocks)


@pytest.mark.parametrize("which", [0, 1])
def test_other_sides_are_sent_anew(cupy, which):
    """As at the next level of an annealing, with the same scratch."""
    row, col = problem(SHAPE, "kl", "l2", removed=True)[1:3]
    other = col._replace(strength=0.5 * col.strength, offset=col.offset + 0.1)
    backend, plain = gpu.connect(), gpu.Gpu(gpu_shim.Device())
    cost, _, _, alpha, beta = problem(SHAPE, removed=True)
    zeros, results = (np.zeros(13), np.zeros(29)), []
    kernel = np.empty(SHAPE)
    plain.plan(cost, 20.0, *zeros, kernel)
    for each, fresh in ((backend, False), (plain, True)):
        scratch = each.scratch(SHAPE, False)
        vectors = [alpha.copy(), beta.copy(), np.zeros(13), col.log_weight.copy(), alpha.copy(), np.zeros(29)]
        for cols in (col, other, col):
            scratch = each.scratch(SHAPE, False) if fresh else scratch
            if which:
                each.scaling_sweeps(kernel, *zeros, row, cols, (1.0, 1.0), *vectors, scratch, 3, 1e300)
            else:
                each.log_sweeps(cost, 20.0, row, cols, (1.0, 1.0), *vectors, scratch, 3)
        results.append(vectors)
    assert_same(*results, 0, 0)


@pytest.mark.parametrize(("kilobytes", "widest"), [(48, 1024), (64, 2048), (99, 8192), (227, 8192)])
def test_rows_of_a_block_are_as_wide_as_its_shared_memory_allows(cupy, monkeypatch, kilobytes, widest):
    """They are read ahead into it. So much have the chips up to sm_72, sm_75, sm_86 and sm_90."""
    attributes = cupy.cuda.Device(0).attributes | {"MaxSharedMemoryPerBlockOptin": kilobytes * 1024}
    monkeypatch.setattr(cupy.cuda, "Device", lambda index: types.SimpleNamespace(attributes=attributes))
    assert gpu.CupyDevice(cupy).widest == widest


def test_sides_leave_the_device_with_the_scratch(cupy):
    row, col = problem(SHAPE, removed=True)[1:3]
    sweep = sweeps_of(gpu.connect(), 5, row, col)[0]
    sweep()
    del sweep
    gc.collect()
    assert MACHINE.used == [0, 0]


@pytest.mark.parametrize("wide", [False, True])
def test_every_primitive_crosses_once_each_way(cupy, monkeypatch, wide):
    if wide:
        monkeypatch.setattr(gpu.CupyDevice, "widest", 8)
    backend = gpu.connect()
    cost, row, _, alpha, beta = problem(SHAPE, "kl", "l2", removed=True)
    cost, (n, m) = backend.device.put(cost), SHAPE
    rows, cols, more = np.empty(n), np.empty(m), np.empty(n)
    out, bar = backend.matrix_like(cost, np.float64), backend.device.zeros(SHAPE, np.float64)
    kernel, *rest = positive_definite(SHAPE)
    kernel = backend.device.put(kernel)
    system = begun(rest[-1], 1.0 / rest[3])
    stack, batch, *_, starts, ends = batch_of(3, (5, 7), "kl")
    stack, k, plans = backend.device.put(stack), np.arange(3), backend.device.empty(stack.shape, np.float64)
    found = np.empty((n, 4), np.int32)
    both_ways = {
        "dense_gradients": lambda: gradients(backend, "dense", (kernel, *rest))(system, 0.0, np.inf, 50),
        "marginals": lambda: backend.marginals(cost, 20.0, alpha, beta, rows, cols),
        "apply": lambda: backend.apply(cost, 20.0, alpha, beta, np.ones((m, 2)), False, np.empty((n, 2))),
        "applied back": lambda: backend.apply(cost, 20.0, alpha, beta, np.ones((n, 2)), True, np.empty((m, 2))),
        "row_max": lambda: backend.row_max(cost, 20.0, beta, rows),
        "col_max": lambda: backend.col_max(cost, 20.0, alpha, cols),
        "least_cells": lambda: backend.least_cells(cost, beta, np.arange(n), found, rows),
        "plan_tangent": lambda: backend.plan_tangent(
            cost, 20.0, alpha, beta, bar, alpha, beta, 0.0, out, rows, cols, more
        ),
        "rounded_sums": lambda: backend.rounded_sums(cost, 20.0, *(alpha, beta) * 3, rows, more),
        "dense_product": lambda: backend.dense_product(cost, beta, False, rows),
        "transposed product": lambda: backend.dense_product(cost, alpha, True, cols),
        "potential": lambda: backend.potential(row, alpha, rows),
        "batch_marginals": lambda: backend.batch_marginals(stack, batch, starts, ends, k, starts.copy(), ends.copy()),
    }
    assert {name: transfers(call) for name, call in both_ways.items()} == dict.fromkeys(both_ways, (1, 1))
    assert transfers(lambda: backend.plan(cost, 20.0, alpha, beta, out)) == (1, 0)
    assert transfers(lambda: backend.batch_plan(stack, batch, starts, ends, plans)) == (1, 0)


def test_packed_arrays_are_whole_and_begin_at_lines_of_the_cache(cupy):
    """Whatever their type, shape and order, and beside room of any size."""
    device = gpu.connect().device
    rng = np.random.default_rng(0)
    given = [
        rng.normal(size=17),
        rng.normal(size=(3, 5)).T,
        np.arange(5, dtype=np.int32),
        rng.normal(size=0),
        np.broadcast_to(np.arange(4), (2, 4)),
        rng.normal(size=9).astype(np.float32)[::2],
    ]
    parts = [Room((3,)), *given[:3], Room((2, 7), np.dtype(np.int32)), *given[3:], *rooms(33)]
    MACHINE.events.clear()
    arrays = device.pack(parts)
    assert [what for what, _, _ in MACHINE.events] == ["empty", "put"]
    assert [(x.shape, x.dtype) for x in arrays] == [(x.shape, x.dtype) for x in parts]
    assert {(x.data.ptr - arrays[0].data.ptr) % 128 for x in arrays} == {0}
    sent = [*arrays[1:4], *arrays[5:8]]
    assert sum(x.nbytes for x in sent) == sum(x.nbytes for x in given)
    for some in (slice(None), slice(2, 3), slice(2, 5), slice(None, None, -1)):
        for found, expected in zip(device.get_all(sent[some]), given[some], strict=True):
            np.testing.assert_array_equal(found, expected, strict=True)


def test_room_alone_sends_nothing(cupy):
    device = gpu.connect().device
    assert transfers(lambda: device.pack(rooms(5, 100))) == (0, 0)


# --- out of memory ----------------------------------------------------------------------------------------------------


def test_what_the_pool_keeps_for_later_is_given_back_before_memory_has_run_out(cupy):
    device = gpu.connect().device
    MACHINE.limit, MACHINE.cached[0] = 100_000, 60_000
    for make in (device.empty, device.zeros):
        MACHINE.cached[0] = 60_000
        assert make((100, 100), np.float64).shape == (100, 100)  # 80,000 bytes
    MACHINE.cached[0] = 60_000
    np.testing.assert_array_equal(device.get(device.put(np.arange(10_000.0))), np.arange(10_000.0))


def test_out_of_memory_says_how_much_is_needed_and_what_to_do(cupy):
    device = gpu.connect(1).device
    MACHINE.limit = 100_000
    message = (
        r"CUDA device 1 is out of memory: an array \(200, 100\) of float64 needs 160,000 bytes, 100,000 of 100,000 are "
        r"free; .* pass the cost in float32, float16 or bfloat16"
    )
    for make in (
        lambda: device.empty((200, 100), np.float64),
        lambda: device.zeros((200, 100), np.float64),
        lambda: device.put(np.ones((200, 100))),
    ):
        with pytest.raises(MemoryError, match=message):
            make()


@pytest.mark.parametrize("limit", [1000, 4000, 5000, 6000, 7000])
def test_nothing_stays_allocated_after_it(cupy, limit):
    """Whichever array is the first that does not fit."""
    backend = gpu.connect()
    cost, row, col, alpha, beta = problem(SHAPE, removed=True)
    MACHINE.limit = limit
    with pytest.raises(MemoryError, match="CUDA device 0 is out of memory"):
        run_log(backend, cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 5, False)
    gc.collect()
    assert MACHINE.used[0] == 0
    MACHINE.limit = float("inf")
    found = run_log(backend, cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 5, False)
    plain = run_log(gpu.Gpu(gpu_shim.Device()), cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 5, False)
    assert_same(found, plain, 0, 0)


def test_arrays_of_a_call_are_gone_when_it_returns(cupy):
    backend = gpu.connect()
    call_all(backend, backend.device.put(problem(SHAPE, removed=True)[0]))
    gc.collect()
    assert MACHINE.used == [0, 0]
