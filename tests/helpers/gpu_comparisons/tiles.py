"""Tiles of K in registers (`batch_tiles` of the GPU kernels), against the CPU's batches."""

import numpy as np
import pytest

from elastic_ot.backends import gpu
from elastic_ot.backends.cpu import batch as cpu_batch
from elastic_ot.backends.gpu.tiles import GENERAL, LEAN, tile_for, tiles_of
from helpers import gpu_shim
from helpers.batch_sweeps import batch_of, run_batch

SHARED = 225 * 1024  # bytes, as a block of sm_90 may ask for
# every tile, filled and not; rows in packs and not; more problems than a block has, and no multiple of them
SHAPES = [(1, 1), (1, 4), (4, 1), (3, 4), (4, 4), (5, 7), (8, 8), (13, 16), (32, 32), (33, 40), (64, 64), (70, 50)]
LARGE = [(128, 100), (130, 255), (256, 256)]


def backend(order=0):
    device = gpu_shim.Device(order)
    device.shared = SHARED
    return gpu.Gpu(device)


def tiled(each):
    """Whether K was made once for every problem: nothing was left for the kernel that makes it again."""
    kinds = {name.split("<")[0] for name in each.device.launched}
    assert "batch_tiles" in kinds
    return "batch_solve" not in kinds


def agree(found, expected, atol):
    np.testing.assert_array_equal(found[2], expected[2])
    for x, y in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=atol)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rule", ["fixed", "kl", "tv", "l2"])
def test_tiles_sweep_as_the_cpu(shape, rule):
    args = batch_of(7, shape, rule, np.float32, ragged=True)
    which, goal = np.array([0, 2, 3, 4, 6]), np.full(7, 1e-4)
    for options in (
        {"goal": None, "count": 4},
        {"goal": None, "count": 5, "end": "cols"},
        {"goal": goal, "count": 400},
        {"goal": goal, "count": 400, "end": "cols"},
        {"goal": None, "count": 3, "omega": (0.8, 1.0), "cold": False},
        {"goal": goal, "count": 400, "omega": (1.0, 0.8)},
    ):
        each = backend()
        found = run_batch(each, args, which, **options, precision="mixed")
        expected = run_batch(cpu_batch, args, which, **options, precision="mixed")
        agree(found, expected, 2e-5)  # float32 sums, a few roundings of 1e-7 an iteration, in units of epsilon
        if options["goal"] is not None:
            np.testing.assert_allclose(found[3], expected[3], rtol=0, atol=2e-5)
        assert tiled(each)


@pytest.mark.parametrize("shape", LARGE)
@pytest.mark.parametrize("rule", ["fixed", "kl"])
def test_large_tiles_sweep_as_the_cpu(shape, rule):
    if tile_for(*shape, rule == "fixed", True, backend().device.shared) is None:
        pytest.skip("the shared memory of this device holds no such tile")
    args = batch_of(4, shape, rule, np.float32)
    for options in ({"goal": None, "count": 3}, {"goal": np.full(4, 1e-3), "count": 30, "end": "cols"}):
        each = backend()
        found = run_batch(each, args, np.arange(4), **options, precision="mixed")
        agree(found, run_batch(cpu_batch, args, np.arange(4), **options, precision="mixed"), 2e-5)
        assert tiled(each)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("shape", [(4, 4), (5, 7), (40, 40)])
def test_costs_of_other_types_are_read_as_they_are(shape, dtype):
    cost, *rest = batch_of(6, shape, "fixed", dtype)
    found = run_batch(backend(), (cost, *rest), np.arange(6), None, 8, precision="mixed")
    exact = run_batch(cpu_batch, (cost.astype(float), *rest), np.arange(6), None, 8, precision="double")
    agree(found, exact, 2e-6)


@pytest.mark.parametrize("shape", [(4, 4), (32, 32), (60, 64)])
def test_potentials_in_float32_are_those_in_float64_to_1e_5_of_the_largest_cost(shape):
    args = batch_of(9, shape, "fixed", np.float32, inv_epsilon=100.0)
    found = run_batch(backend(), args, np.arange(9), None, 20, "cols", precision="mixed")
    exact = run_batch(cpu_batch, (args[0].astype(float), *args[1:]), np.arange(9), None, 20, "cols")
    for x, y in zip(found[:2], exact[:2], strict=True):
        assert np.abs(x - y).max() / args[1].inv_epsilon.max() < 1e-5 * args[0].max()


@pytest.mark.parametrize("shape", [(3, 4), (8, 8), (13, 9), (20, 30), (64, 40), (100, 128), (200, 130)])
@pytest.mark.parametrize("lean", [True, False])
def test_the_order_of_threads_changes_no_bit(shape, lean):
    args, goal = batch_of(5, shape, "fixed" if lean else "tv", np.float32, ragged=True), np.full(5, 1e-3)
    results = [
        run_batch(backend(order), args, np.arange(5), None if lean else goal, 4, "cols", precision="mixed")
        for order in (0, 1, 7)
    ]
    for other in results[1:]:
        for x, y in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("shape", [(4, 4), (8, 7), (16, 16), (30, 20)])
@pytest.mark.parametrize("goal", [None, 1e-4])
def test_problems_that_need_another_k_are_done_again_and_the_others_are_not(shape, goal):
    cost, batch, *sides, alpha, beta = batch_of(9, shape, "fixed", np.float32)
    inv_epsilon = batch.inv_epsilon.copy()
    inv_epsilon[[2, 5]] = 1e4
    hard = batch._replace(inv_epsilon=inv_epsilon)
    goals, results = None if goal is None else np.full(9, goal), []
    for problems in (batch, hard):
        each = backend()
        args = cost, problems, *sides, alpha, beta
        results.append(run_batch(each, args, np.arange(9), goals, 30, "cols", precision="mixed"))
        assert tiled(each) == (problems is batch)
    expected = run_batch(
        cpu_batch, (cost, hard, *sides, alpha, beta), np.arange(9), goals, 30, "cols", precision="mixed"
    )
    easy = np.delete(np.arange(9), [2, 5])
    for x, y, z in zip(*results, expected, strict=True):
        np.testing.assert_array_equal(x[easy], y[easy])
        if goal is None:
            # float32 sums, a few roundings of 1e-7 an iteration, in units of epsilon; arguments are in float64
            np.testing.assert_allclose(y, z, rtol=0, atol=2e-5)


@pytest.mark.parametrize("shape", [(4, 4), (6, 5), (30, 20)])
def test_far_potentials_are_left_to_the_careful_kernel(shape):
    cost, batch, *sides, alpha, beta = batch_of(4, shape, "kl", np.float32)
    alpha, beta = alpha + 500.0, beta - 900.0 * np.arange(shape[1])
    args = cost, batch, *sides, alpha, beta
    each = backend()
    found = run_batch(each, args, np.arange(4), None, 6, "cols", cold=False, precision="mixed", omega=(1.0, 0.7))
    expected = run_batch(
        cpu_batch, args, np.arange(4), None, 6, "cols", cold=False, precision="mixed", omega=(1.0, 0.7)
    )
    agree(found, expected, 1e-3)  # arguments of 1e4, in float32 on the CPU
    assert not tiled(each)


@pytest.mark.parametrize("shape", [(4, 4), (7, 6), (40, 30)])
def test_removed_rows_stay_removed_and_closed_cells_empty(shape):
    cost, batch, rows, cols, alpha, beta = batch_of(5, shape, "fixed", np.float32)
    for side, start in ((rows, alpha), (cols, beta)):
        side.weight[:, 1] = 0.0
        side.log_weight[:, 1] = side.offset[:, 1] = start[:, 1] = -np.inf
    cost[:, 0, 2:4] = np.inf
    cost[:, 1] = np.inf
    args = cost, batch._replace(cost_of=np.arange(5)), rows, cols, alpha, beta
    plans = []
    for each in (backend(), cpu_batch):
        out, potentials = np.full(cost.shape, np.nan, np.float32), (alpha.copy(), beta.copy())
        rest = np.zeros(5, np.int64), np.full(5, np.inf), out
        each.batch_sweeps(*(*args[:4], (1.0, 1.0), *potentials, np.arange(5), None, 6, "cols", True, "mixed"), *rest)
        plans.append((*potentials, out))
    for x, y in zip(*plans, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=2e-5)
    assert (plans[0][2][:, 1] == 0.0).all()
    assert (plans[0][2][:, :, 1] == 0.0).all()
    assert (plans[0][2][:, 0, 2:4] == 0.0).all()


def test_a_row_that_reaches_nothing_is_what_the_cpu_makes_of_it():
    cost, *rest = batch_of(3, (4, 4), "kl", np.float32)
    cost[1, 2] = np.inf
    rest[0] = rest[0]._replace(cost_of=np.arange(3))
    each = backend()
    found = run_batch(each, (cost, *rest), np.arange(3), None, 4, "cols", precision="mixed")
    expected = run_batch(cpu_batch, (cost, *rest), np.arange(3), None, 4, "cols", precision="mixed")
    reached = np.ones((3, 4), bool)
    reached[1, 2] = False
    np.testing.assert_allclose(found[0][reached], expected[0][reached], rtol=0, atol=2e-5)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=2e-5)
    assert not tiled(each)


@pytest.mark.parametrize("shape", [(4, 4), (5, 7), (8, 8), (20, 32), (40, 50), (100, 128), (256, 252)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_plans_come_out_of_the_registers(shape, dtype):
    """One problem needs another K; its plan is written by another kernel."""
    cost, batch, *rest, alpha, beta = batch_of(4, shape, "fixed", np.float32, ragged=True)
    inv_epsilon = batch.inv_epsilon.copy()
    inv_epsilon[1] = 300.0
    batch = batch._replace(inv_epsilon=inv_epsilon)
    each, out = backend(), np.full(cost.shape, np.nan, dtype)
    done, residual = np.zeros(4, np.int64), np.full(4, np.inf)
    each.batch_sweeps(
        *(cost, batch, *rest, (1.0, 1.0), alpha, beta, np.arange(4), None, 5, "rows", True, "mixed", done, residual),
        out,
    )
    assert (done == 5).all()
    for k in range(4):
        exponent = alpha[k][:, None] + beta[k] - cost[batch.cost_of[k]].astype(float) * batch.inv_epsilon[k]
        exact = 2.0 * np.exp(exponent)
        exact[batch.row_count[k] :] = 0.0
        exact[:, batch.col_count[k] :] = 0.0
        # K ends at 2^-126 of the largest entry of a row
        np.testing.assert_allclose(out[k], exact, rtol=3e-6, atol=1e-13)
    written = {name.split("<")[0] for name in each.device.launched}
    assert dtype == np.float64 or "batch_fill_plan" not in written or not tiled(each)


def test_weights_too_small_for_float32_are_left_to_the_careful_kernel():
    cost, batch, rows, cols, alpha, beta = batch_of(3, (4, 4), "fixed", np.float32)
    for side in (rows, cols):
        side.weight[0, 0] = 1e-30
        side.log_weight[0, 0] = np.log(1e-30)
    each, args = backend(), (cost, batch, rows, cols, alpha, beta)
    found = run_batch(each, args, np.arange(3), None, 4, "cols", precision="mixed")
    agree(found, run_batch(cpu_batch, args, np.arange(3), None, 4, "cols", precision="mixed"), 1e-4)
    assert not tiled(each)


def test_where_shared_memory_is_short_no_tile_is_taken():
    assert tile_for(256, 256, True, True, SHARED) is LEAN[-1]
    assert tile_for(256, 256, True, False, SHARED) is GENERAL[-1]
    assert tile_for(256, 256, True, True, 100 * 1024) is None
    assert tile_for(257, 4, True, True, SHARED) is None
    assert tile_for(3, 5, True, True, SHARED) == LEAN[1]


def test_every_tile_has_been_launched():
    launched = set()
    for lean, rule in ((True, "fixed"), (False, "kl")):
        for dtype in (np.float16, np.uint16, np.float32, np.float64):  # zeros as bits of bfloat16
            for tile in tiles_of(lean, dtype == np.float32):
                shape = tile.sets * tile.warps * tile.rows, tile.lanes * tile.cols
                each = backend()
                run_batch(each, batch_of(1, shape, rule, dtype), np.arange(1), None, 1, precision="mixed")
                launched |= each.device.launched
    assert {name for name in gpu.KERNELS if name.startswith("batch_tiles")} <= launched
