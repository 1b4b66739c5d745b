"""The GPU kernels, built for the host, against the array-API reference: no device is needed (helpers/gpu_shim)."""

import numpy as np
import pytest

from elastic_ot.backends import gpu, protocol
from elastic_ot.backends.protocol import Side
from helpers import gpu_shim
from helpers.batch_sweeps import batch_of, run_batch
from helpers.gpu_comparisons import batches, builds, comparisons_of, halves, newton, passes, signatures, sweeps
from helpers.gpu_comparisons.builds import HOW, backend
from helpers.newton_systems import begun, gradients, positive_definite
from helpers.supports import cells_of, run_support, support_by
from helpers.sweeps import RULES, problem, run_log, run_scaling

pytestmark = pytest.mark.skipif(gpu_shim.compiler() is None, reason="needs g++, which builds the kernels for the host")
shim = builds.shim  # the fixture that they take
globals().update(comparisons_of(signatures, sweeps, passes, halves, newton, batches))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("order", [1, 7])
def test_results_do_not_depend_on_the_order_of_the_threads(order, how):
    """Whatever runs first between two barriers, every bit is the same: sums are taken in a fixed order."""
    cost, row, col, alpha, beta = problem((31, 301), "kl", "l2", dtype=np.float32, removed=True)
    results = []
    for each in (backend(how=how), backend(order, how)):
        found = run_log(each, cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 2, True)
        found += run_log(each, cost, row, col, alpha, beta, 1e4, (1.0, 1.0), 1, True)
        found += run_scaling(each, cost, row, col, alpha, beta, (1.0, 1.0), 2)[1]
        sums = [np.empty(31) for _ in range(5)] + [np.empty(301) for _ in range(2)]
        each.marginals(cost, 20.0, alpha, beta, sums[0], sums[5])
        parts = row.weight, col.weight, row.weight, col.weight
        each.rounded_sums(cost, 20.0, alpha, beta, *parts, sums[1], sums[2])
        slopes = np.zeros(cost.shape), row.weight, col.weight, 0.3, np.empty(cost.shape)
        each.plan_tangent(cost, 20.0, alpha, beta, *slopes, sums[3], sums[6], sums[4])
        args = batch_of(3, (40, 90), "kl", ragged=True)
        for goal in (None, np.full(3, 1e-6)):
            sums += run_batch(each, args, np.arange(3), goal, 30, end="cols", omega=(1.0, 0.8))
        system = positive_definite((31, 301))
        krylov = begun(system[-1], 1.0 / system[4])
        gradients(each, "dense", system)(krylov, 0.0, np.inf, 3)
        results.append([*found, *sums, *krylov])
    for x, y in zip(*results, strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_barrier_that_some_threads_never_reach_is_an_error(tmp_path):
    """The shim finds what would hang a device: it proves something only if it can fail."""
    source = tmp_path / "broken.cpp"
    source.write_text(
        f'#include "{gpu_shim.HERE / "cuda_shim.h"}"\n'
        "void broken(int) { if (threadIdx.x < 7) __shfl_xor_sync(0xffffffffu, 1.0, 1); __syncthreads(); }\n"
        "void sound(int) { if (threadIdx.x < 32) __shfl_xor_sync(0xffffffffu, 1.0, 1); __syncthreads(); }\n"
        "int main() { int x = 0; void* args[] = {&x};\n"
        "  return 10 * shim::launch(&sound, 1, 1, 64, 0, 0, args) + shim::launch(&broken, 1, 1, 64, 0, 0, args); }\n"
    )
    assert gpu_shim.run(source) == 1


# More than 2^32 entries, which even unsigned ints cannot count; the last row and columns belong to the last blocks.
VAST = 33 << 18, 512


def last_row(each, matrix, call):
    """What `call` makes of the last row of `matrix`, all others being removed, or of that row alone."""
    n, m = matrix.shape
    rng = np.random.default_rng(4)
    cost, beta = rng.random(m).astype(matrix.dtype), rng.random(m)
    matrix[-1] = cost
    alpha, row_weight = np.full(n, -np.inf), np.zeros(n)
    alpha[-1], row_weight[-1] = 25.0, 1.0
    row_log = np.full(n, -np.inf)
    row_log[-1] = 0.0
    col_weight = np.full(m, 1.0 / m)
    row = Side(row_weight, row_log, row_log.copy(), *RULES["kl"])
    col = Side(col_weight, np.log(col_weight), np.log(col_weight), *RULES["kl"])
    return call(each, matrix, row, col, alpha, beta)


def sweeps_of(each, matrix, row, col, alpha, beta):
    n, m = matrix.shape
    found = []
    for fast in (False, True):
        vectors = [alpha.copy(), beta.copy(), np.zeros(n), col.log_weight.copy(), alpha.copy(), np.zeros(m)]
        scratch = each.scratch(matrix.shape, fast)
        each.log_sweeps(matrix, 20.0, row, col, (1.0, 1.0), *vectors, scratch, 1)
        found += vectors
    vectors = [alpha.copy(), beta.copy(), np.zeros(n), col.log_weight.copy(), alpha.copy(), np.zeros(m)]
    outcome = each.scaling_sweeps(matrix, alpha, beta, row, col, (1.0, 1.0), *vectors, scratch, 1, 1e50)
    return [*found, *vectors, np.array(outcome)]


def passes_of(each, matrix, row, col, alpha, beta):
    n, m = matrix.shape
    rows, cols = [np.zeros(n) for _ in range(8)], [np.zeros(m) for _ in range(5)]
    like = each.matrix_like if hasattr(each, "matrix_like") else lambda cost, dtype: np.zeros(cost.shape, dtype)
    plan, coarse, out = like(matrix, np.float32), like(matrix, np.float32), like(matrix, np.float64)
    each.plan(matrix, 20.0, alpha, beta, plan)
    each.plan(matrix, 20.0, alpha, beta, coarse, coarse=True)
    each.marginals(matrix, 20.0, alpha, beta, rows[0], cols[0])
    each.row_max(matrix, 20.0, beta, rows[1])
    each.col_max(matrix, 20.0, alpha, cols[1])
    product, transposed = np.zeros((n, 1)), np.zeros((m, 1))
    each.apply(matrix, 20.0, alpha, beta, np.arange(m, dtype=float)[:, None], False, product)
    each.apply(matrix, 20.0, alpha, beta, np.ones((n, 1)), True, transposed)
    each.rounded_sums(matrix, 20.0, alpha, beta, row.weight, col.weight, row.weight, col.weight, rows[2], rows[3])
    each.plan_tangent(matrix, 20.0, alpha, beta, matrix, row.weight, beta, 0.3, out, rows[4], cols[2], rows[5])
    each.dense_product(matrix, beta, False, rows[6])
    each.dense_product(matrix, np.ones(n), True, cols[3])
    indices, sizes = np.zeros((1, 3), np.int32), np.zeros(1, np.int64)
    each.least_cells(matrix, beta, np.array([n - 1]), indices, rows[7][-1:])
    least = np.zeros(n), np.full(m, 15.0)
    each.support_sizes(matrix, 20.0, alpha, beta, *least, np.array([n - 1]), sizes)
    stored = int(sizes[0])
    pointers = np.zeros(n + 1, np.int64)
    pointers[-1] = stored
    cells = cells_of(each, each.support_cells(matrix, 20.0, alpha, beta, *least, pointers))
    results = [*rows[:8], *cols[:4], product[:, 0], transposed[:, 0], np.sort(indices[0]), *cells[1:], sizes]
    return [*results, plan[-1], coarse[-1], out[-1]]


# of blocks that share a row all would have to run
@pytest.mark.parametrize("call", [pytest.param(sweeps_of, marks=pytest.mark.slow), passes_of])
@pytest.mark.parametrize("how", ["fused", pytest.param("wide", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
def test_matrices_of_more_than_2_32_entries_are_indexed_in_64_bits(call, how, dtype):
    device = gpu_shim.Vast(**HOW[how])
    found = last_row(gpu.Gpu(device), device.zeros(VAST, dtype), call)
    expected = last_row(backend(how=how), np.zeros((1, VAST[1]), dtype), call)
    for x, y in zip(found, expected, strict=True):
        end = min(32, y.size)  # a block of the kernels that join the parts
        # sums over the parts of a thousand blocks, of which all but one are 0, are exact
        np.testing.assert_allclose(x[-end:], y[-end:], rtol=1e-12)


def test_batches_of_more_than_2_32_entries_are_indexed_in_64_bits():
    """One problem with the last of so many costs, then the last of so many problems."""
    size, n, m = (1 << 20) + 1, 64, 64
    device = gpu_shim.Vast()
    each, costs = gpu.Gpu(device), device.zeros((size, n, m), np.float32)
    cost, batch, *rest = batch_of(1, (n, m), "kl", np.float32)
    costs[-1] = cost[0]
    results = []
    for stack, last in ((costs, size - 1), (cost, 0)):
        problems = batch._replace(cost_of=np.array([last]))
        results.append(list(run_batch(each, (stack, problems, *rest), np.arange(1), None, 4, precision="mixed")))
        sums, plan = (np.zeros((1, n)), np.zeros((1, m))), np.zeros((1, n, m), np.float32)
        each.batch_marginals(stack, problems, *rest[2:], np.arange(1), *sums)
        each.batch_plan(stack, problems, *rest[2:], plan)
        results[-1] += [*sums, plan[0, -1]]
    for x, y in zip(*results, strict=True):
        np.testing.assert_array_equal(x, y)
    device.multiprocessors = size * n // 16 + 1  # as many blocks as rows of all plans
    many = protocol.Batch(*(np.zeros(size, np.int64), np.ones(size), np.full(size, n), np.full(size, m), np.ones(size)))
    out = device.zeros((size, n, m), np.float32)
    each.batch_plan(cost, many, np.zeros((size, n)), np.zeros((size, m)), out)
    np.testing.assert_allclose(out[-1, -1], np.exp(-cost[0, -1].astype(float)), rtol=1e-6)


def stored_problem(shape, dtype):
    """A problem whose cost is in `dtype`, np.uint16 being the bits of bfloat16."""
    if dtype != np.uint16:
        return problem(shape, dtype=dtype)
    cost, *rest = problem(shape)
    return gpu_shim.to_brain(cost), *rest


def test_every_kernel_has_been_launched():
    """All instantiations are run against the reference, each at least once; this test gives them their turn."""
    device = gpu_shim.Device()
    shapes = [(5, 30), (5, 900), (5, 8192)]
    for how in HOW:
        device.widest, device.together = gpu.WIDEST, gpu_shim.Device.together
        vars(device).update(HOW[how])
        each = gpu.Gpu(device)
        for shape in shapes[: 3 if how == "fused" else 1]:
            for dtype in (np.float16, np.uint16, np.float32, np.float64):
                cost, row, col, alpha, beta = stored_problem(shape, dtype)
                for fast in (False, True):
                    run_log(each, cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 1, fast)
                each.marginals(cost, 20.0, alpha, beta, np.empty(shape[0]), np.empty(shape[1]))
                if np.dtype(dtype).itemsize == 2:  # costs only
                    continue
                vectors = [x.copy() for x in (alpha, beta, row.log_weight, col.log_weight, alpha, beta)]
                finite = np.where(np.isinf(cost), dtype(0), cost)
                each.scaling_sweeps(
                    finite, alpha, beta, row, col, (1.0, 1.0), *vectors, each.scratch(shape, False), 1, 1e50
                )
                krylov = begun(np.ones(shape[1]), np.ones(shape[1]))
                each.dense_gradients(finite, *(np.ones(k) for k in (shape[1], *shape)), krylov, 0.0, np.inf, 1)
    for dtype in (np.float16, np.uint16, np.float32, np.float64):
        cost, row, col, alpha, beta = stored_problem(shapes[0], dtype)
        n, m = cost.shape
        for other in (np.float32, np.float64):
            each.plan(cost, 20.0, alpha, beta, np.empty(cost.shape, other), coarse=True)
            each.plan(cost, 20.0, alpha, beta, np.empty(cost.shape, other))
            sums = np.empty(n), np.empty(m), np.empty(n)
            bar = np.zeros(cost.shape, other)
            each.plan_tangent(cost, 20.0, alpha, beta, bar, alpha, beta, 0.0, np.empty(cost.shape), *sums)
        each.marginals(cost, 20.0, alpha, beta, np.empty(n), np.empty(m))
        each.row_max(cost, 20.0, beta, np.empty(n))
        each.col_max(cost, 20.0, alpha, np.empty(m))
        each.apply(cost, 20.0, alpha, beta, np.ones((m, 1)), False, np.empty((n, 1)))
        each.apply(cost, 20.0, alpha, beta, np.ones((n, 1)), True, np.empty((m, 1)))
        if np.dtype(dtype).itemsize > 2:
            each.dense_product(cost, beta, False, np.empty(n))
            each.dense_product(cost, alpha, True, np.empty(m))
        each.rounded_sums(cost, 20.0, alpha, beta, alpha, beta, alpha, beta, np.empty(n), np.empty(n))
        support = support_by(each, cost, alpha, beta, (alpha - np.inf, beta - np.inf))
        run_support(each, cells_of(each, support), row, col, alpha, beta, count=1)
        each.potential(row, alpha, np.empty(n))
        each.least_cells(cost, beta, np.arange(n), np.empty((n, 2), np.int32), np.empty(n))
        for precision, out in (("double", np.float64), ("mixed", np.float32)):
            args = batch_of(2, (3, 300), "kl", dtype)  # wider than a tile
            run_batch(each, args, np.arange(2), None, 2, precision=precision)
            each.batch_plan(args[0], args[1], *args[4:], np.empty(args[0].shape, out))
        each.batch_marginals(args[0], args[1], *args[4:], np.arange(2), np.empty((2, 3)), np.empty((2, 300)))
    system = positive_definite((5, 30))
    gradients(each, "sparse", system)(begun(system[-1], 1.0 / system[4]), 0.0, np.inf, 1)
    matrix = each.sparse_of(*system[2], 30)
    each.sparse_squares(matrix, np.ones(5), np.empty(30))
    each.sparse_gram(matrix, np.ones(5), np.empty((30, 30)))
    tiles = {name for name in gpu.KERNELS if name.startswith("batch_tiles")}  # test_gpu_batches.py launches those
    assert set(gpu.KERNELS) - device.launched - tiles == set()
