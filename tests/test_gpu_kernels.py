"""The kernels, built for the host, against the array-API reference: no device is needed (see tests/gpu_shim)."""

import inspect

import gpu_shim
import numpy as np
import pytest
from test_backends import PRIMITIVES, RULES, assert_same, problem, run_log, run_scaling, side
from test_backends_newton import KINDS, begun, gradients, positive_definite, run_support, support_by, thresholds

from elastic_ot.backends import gpu, protocol, reference
from elastic_ot.backends.cpu import batch as cpu_batch
from elastic_ot.backends.cpu import dense as cpu
from elastic_ot.backends.gpu import sweeps
from elastic_ot.backends.protocol import LEFT, REACHED, Side

pytestmark = pytest.mark.skipif(gpu_shim.compiler() is None, reason="needs g++, which builds the kernels for the host")

WIDE = 24  # columns from which on rows are taken not to fit the registers of a block
SOME = "fixed", "kl", "between", "l2"  # of the rules
# how rows are read: by a block each, by blocks that share it, by blocks that do not know of each other
HOW = {"fused": {}, "sliced": {"widest": WIDE}, "wide": {"widest": WIDE, "together": 1}}
# one row, one column; rows that are no multiple of those at a barrier nor of a block, columns not of 16 bytes; aligned
SHAPES = [(1, 7), (7, 1), (13, 29), (31, 36), (23, 301)]
LARGE = [(9, 900), (5, 2000), (5, 3001), (5, 5002), (5, 8192)]  # one for each number of columns a thread


def backend(order=0, how="fused"):
    return gpu.Gpu(gpu_shim.Device(order, **HOW[how]))


@pytest.fixture(params=HOW)
def shim(request):
    return backend(how=request.param)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_the_gpu_backend_has_the_protocol_s_signatures(name):
    wanted = list(inspect.signature(getattr(protocol.Backend, name)).parameters)[1:]
    assert list(inspect.signature(getattr(backend(), name)).parameters) == wanted


def test_the_gpu_backend_has_the_batch_protocol_s_signatures():
    for name in ("batch_sweeps", "batch_plan", "batch_marginals", "batch_rounded_sums", "batch_potential"):
        wanted = list(inspect.signature(getattr(protocol.BatchBackend, name)).parameters)[1:]
        assert list(inspect.signature(getattr(backend(), name)).parameters) == wanted


@pytest.mark.parametrize("rule", RULES)
def test_potential_agrees(rule):
    row = side(np.random.default_rng(1), 40, rule, removed=(3,))
    ratio = np.linspace(-30.0, 30.0, 40)
    found, expected = np.empty(40), np.empty(40)
    backend().potential(row, ratio, found)
    reference.potential(row, ratio, expected)
    # bisection of the reference ends at the spacing of doubles near 30
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", RULES)
@pytest.mark.parametrize(("how", "cols"), [*(("fused", cols) for cols in SOME), ("sliced", "l2"), ("wide", "kl")])
def test_log_sweeps_agree(how, shape, rows, cols):
    """Columns are updated by a kernel of their own, however rows are read."""
    shim, args = backend(how=how), problem(shape, rows, cols, removed=True)
    found = run_log(shim, *args, 20.0, (1.0, 1.0), 3, False)
    expected = run_log(reference, *args, 20.0, (1.0, 1.0), 3, False)
    # arguments up to 20 / rounding 2e-16, a few sweeps
    assert_same(found, expected, 1e-12, 1e-12)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("shape", [(31, 36), (23, 301), *LARGE])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fast", [False, True])
def test_log_sweeps_agree_in_every_precision_and_width(shim, shape, dtype, fast):
    args = problem(shape, "kl", "tv", dtype=dtype, removed=True)
    found = run_log(shim, *args, 20.0, (1.3, 0.6), 2, fast)
    expected = run_log(reference, *args, 20.0, (1.3, 0.6), 2, False)
    # float32 exponentials have a relative error of 1e-7, the potentials are logarithms of their sums
    assert_same(found, expected, 0, 5e-6 if fast else 1e-12)


@pytest.mark.parametrize(("fast", "inv_epsilon", "atol"), [(False, 1e6, 1e-8), (True, 1e4, 5e-6)])
def test_log_sweeps_hold_where_every_exponential_underflows(shim, fast, inv_epsilon, atol):
    args = problem((13, 29), dtype=np.float32 if fast else np.float64)
    found = run_log(shim, *args, inv_epsilon, (1.0, 1.0), 3, fast)
    expected = run_log(reference, *args, inv_epsilon, (1.0, 1.0), 3, False)
    assert np.isfinite(found[0]).all()
    assert_same(found, expected, 1e-10, atol)  # arguments of 1e6 round at 1e-10


def test_iterations_after_one_with_a_vanished_column_are_not_lost(shim):
    """The block stops on the device; the host sums the column again and goes on."""
    cost, row, col, alpha, beta = problem((13, 29), "kl", "kl")
    cost[:, 7] += 60.0  # sums of e^-1200
    found = run_log(shim, cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 6, False)
    expected = run_log(reference, cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 6, False)
    assert_same(found, expected, 1e-12, 1e-11)


@pytest.mark.parametrize("look", [gpu.LOOK, 2])
def test_a_block_stops_where_a_column_vanishes(shim, monkeypatch, look):
    """The first of five iterations: what comes after it, in its block or later ones, must not see its unknown sum."""
    monkeypatch.setattr(sweeps, "LOOK", look)
    cost, row, col, alpha, beta = problem((13, 29), "kl", "kl")
    results = []
    for each in (shim, reference):
        vectors = [alpha.copy(), beta.copy(), np.zeros(13), np.zeros(29), alpha.copy(), np.zeros(29)]
        scratch = each.scratch(cost.shape, False)
        each.log_sweeps(cost, 20.0, row, col, (1.0, 0.0), *vectors, scratch, 1)
        vectors[1][7] -= 700.0  # and no update that would bring it back at once
        vectors[3][7] = col.log_weight[7] - 0.3 / 0.7 * (vectors[1][7] - col.offset[7])
        each.log_sweeps(cost, 20.0, row, col, (1.0, 1.0), *vectors, scratch, 5)
        results.append(vectors)
    assert_same(*results, 1e-11, 1e-11)


@pytest.mark.parametrize("order", [0, 1, 7])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("fast", [False, True])
def test_some_rows_far_from_balance_are_done_again_by_all_threads(order, how, fast):
    """Their columns can be trusted, so that nothing else puts a wrong factor right."""
    cost, row, col, alpha, beta = problem((31, 301), "kl", "kl", dtype=np.float32)
    alpha[[3, 4, 11, 30]] -= [900.0, 800.0, 700.0, 2000.0]
    alpha[5] += 900.0
    found = run_log(backend(order, how), cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 1, fast)
    expected = run_log(reference, cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 1, False)
    assert_same(found, expected, 0, 5e-4 if fast else 1e-9)


def test_a_column_that_vanishes_every_time_costs_a_launch_an_iteration(shim):
    """A column in use that no row reaches: no iteration is sound, and a block is not launched again for each."""
    cost, row, col, alpha, beta = problem((7, 9))
    cost[:, 3] = np.inf
    count, launch = [], shim.device.launch
    shim.device.launch = lambda name, *args: (count.append(name), launch(name, *args))
    with np.errstate(invalid="ignore"):
        run_log(shim, cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 100, False)
    assert count.count("log_sums") < 100 + gpu.LOOK + 2


@pytest.mark.sampled(2)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", ["fixed", "kl", "tv", "l2"])
@pytest.mark.parametrize("cols", ["fixed", "between", "free"])
def test_scaling_sweeps_agree(shim, shape, rows, cols):
    args = problem(shape, rows, cols, removed=True)
    outcome, found = run_scaling(shim, *args, (1.0, 1.0), 3)
    expected_outcome, expected = run_scaling(reference, *args, (1.0, 1.0), 3)
    assert outcome == expected_outcome == (3, True)
    assert_same(found, expected, 1e-12, 1e-12)


@pytest.mark.parametrize("shape", LARGE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scaling_sweeps_agree_in_every_precision_and_width(shim, shape, dtype):
    cost, row, col, alpha, beta = problem(shape, "kl", "l2", removed=True)
    n, m = shape
    kernel = np.empty(shape, dtype)
    shim.plan(cost, 20.0, alpha, beta, kernel, coarse=dtype == np.float32)
    results = []
    for each in (shim, reference):
        vectors = [alpha.copy(), beta.copy(), np.zeros(n), col.log_weight.copy(), alpha.copy(), np.zeros(m)]
        scratch = each.scratch(shape, dtype == np.float32)
        outcome = each.scaling_sweeps(kernel, alpha, beta, row, col, (1.2, 0.8), *vectors, scratch, 2, 1e50)
        assert outcome == (2, True)
        results.append(vectors)
    assert_same(*results, 1e-12, 1e-12)


def test_scaling_sweeps_say_when_a_scaling_leaves_the_limit(shim):
    args = problem((13, 29))
    for each in (shim, reference):
        assert run_scaling(each, *args, (1.0, 1.0), 3, limit=1.0001)[0] == (1, False)


@pytest.mark.parametrize("iterations", [1, 2, 3, 4])
def test_a_failed_scaling_iteration_changes_nothing(shim, iterations):
    """A row that has lost its mass: an iteration passes on what the ones before it have done."""
    cost, row, col, alpha, beta = problem((13, 29))
    for broken in (np.zeros(cost.shape), np.where(np.arange(13)[:, None] == 4, 0.0, 0.1)):
        vectors = [alpha.copy(), beta.copy(), np.zeros(13), np.log(col.weight), alpha.copy(), np.zeros(29)]
        before = [vector.copy() for vector in vectors]
        scratch = shim.scratch(cost.shape, False)
        zeros = np.zeros(13), np.zeros(29)
        outcome = shim.scaling_sweeps(broken, *zeros, row, col, (1.0, 1.0), *vectors, scratch, iterations, 1e50)
        assert outcome == (0, False)
        assert_same(vectors, before, 0, 0)


@pytest.mark.parametrize("count", [9, 10, 70])
def test_scaling_that_fails_later_returns_the_last_sound_iteration(shim, count):
    """Columns ask for 1e60 times what rows have: scalings drift by that, and leave the range after some iterations.

    Counts are odd and even, because two states are written in turn, and one takes several blocks.
    """
    cost, row, col, alpha, beta = problem((13, 29))
    col = col._replace(weight=1e60 * col.weight, log_weight=col.log_weight + np.log(1e60))
    outcomes, states = [], []
    for each in (shim, reference):
        kernel = np.empty(cost.shape)
        base = np.zeros(13), np.zeros(29)
        each.plan(cost, 20.0, *base, kernel)
        vectors = [alpha.copy(), beta.copy(), np.zeros(13), np.log(col.weight), alpha.copy(), np.zeros(29)]
        scratch = each.scratch(cost.shape, False)
        outcomes.append(each.scaling_sweeps(kernel, *base, row, col, (1.0, 1.0), *vectors, scratch, count, 1e300))
        states.append(vectors)
    assert outcomes[0] == outcomes[1]
    assert 1 < outcomes[0][0] < 9
    assert_same(*states, 1e-9, 1e-9)


@pytest.mark.parametrize("shape", [*SHAPES, (67, 900)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_passes_over_the_plan_agree(shape, dtype):
    cost, row, col, alpha, beta = problem(shape, dtype=dtype, removed=True)
    rng = np.random.default_rng(5)
    n, m = shape
    x_m, x_n = rng.random((m, 3)), rng.random((n, 6))
    parts = rng.random(n), rng.random(m), rng.random(n), rng.random(m)
    bar = np.where(np.isinf(cost), np.nan, rng.normal(size=shape))
    results = []
    for each in (backend(), reference):
        plan, row_sum, col_sum = np.empty(shape), np.empty(n), np.empty(m)
        each.plan(cost, 20.0, alpha, beta, plan)
        each.marginals(cost, 20.0, alpha, beta, row_sum, col_sum)
        rows, cols = np.empty((n, 3)), np.empty((m, 6))
        each.apply(cost, 20.0, alpha, beta, x_m, False, rows)
        each.apply(cost, 20.0, alpha, beta, x_n, True, cols)
        row_top, col_top = np.empty(n), np.empty(m)
        each.row_max(cost, 20.0, beta, row_top)
        each.col_max(cost, 20.0, alpha, col_top)
        divergence, transport = np.empty(n), np.empty(n)
        each.rounded_sums(cost, 20.0, alpha, beta, *parts, divergence, transport)
        tangent, sums = np.empty(shape), [np.empty(n), np.empty(m), np.empty(n)]
        each.plan_tangent(cost, 20.0, alpha, beta, bar, x_n[:, 0].copy(), x_m[:, 0].copy(), 0.3, tangent, *sums)
        images = [np.empty(size) for size in (n, m, n, m)]
        stored = plan, plan.astype(np.float32)
        for k, image in enumerate(images):
            each.dense_product(stored[k // 2], (x_m, x_n)[k % 2][:, 1].copy(), k % 2 == 1, image)
        results.append((plan, row_sum, col_sum, rows, cols, row_top, col_top, divergence, transport, tangent, *sums))
        results[-1] += tuple(images)
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def cells_of(each, support):
    """Pointers, indices and costs by rows, on the host."""
    return [each.device.get(array) for array in support.rows]


def in_16_bits(values, kind):
    """Costs of 16 bits as kernels get them, and the same values in float32."""
    if kind == "float16":
        half = values.astype(np.float16)
        return half, half.astype(np.float32)
    bits = gpu_shim.to_brain(values)
    return bits, gpu_shim.of_brain(bits)


HALVES = ["float16", "bfloat16"]


def call_passes(each, cost, row, col, alpha, beta, values):
    """What every primitive that reads a cost makes of it, sweeps included; `values` are those of the cost."""
    n, m = cost.shape
    found = [*run_log(each, cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 2, True)]
    found += run_log(each, cost, row, col, alpha, beta, 1e4, (1.0, 1.0), 2, False)
    vectors = [np.empty(n) for _ in range(8)]
    columns = [np.empty(m) for _ in range(4)]
    plans = np.empty(cost.shape), np.empty(cost.shape, np.float32), np.empty(cost.shape, np.float32)
    for out, coarse in zip(plans, (False, False, True), strict=True):
        each.plan(cost, 20.0, alpha, beta, out, coarse=coarse)
    each.marginals(cost, 20.0, alpha, beta, vectors[0], columns[0])
    products = np.empty((n, 3)), np.empty((m, 5))
    each.apply(cost, 20.0, alpha, beta, np.arange(3.0 * m).reshape(m, 3), False, products[0])
    each.apply(cost, 20.0, alpha, beta, np.arange(5.0 * n).reshape(n, 5), True, products[1])
    each.row_max(cost, 20.0, beta, vectors[1])
    each.col_max(cost, 20.0, alpha, columns[1])
    each.rounded_sums(cost, 20.0, alpha, beta, row.weight, col.weight, row.weight, col.weight, vectors[2], vectors[3])
    bar, tangent = np.ones(cost.shape), np.empty(cost.shape)
    each.plan_tangent(
        *(cost, 20.0, alpha, beta, bar, row.weight, col.weight, 0.3), tangent, vectors[4], columns[2], vectors[5]
    )
    indices = np.empty((n, min(m, 3)), np.int32)
    each.least_cells(cost, beta, np.arange(n), indices, vectors[6])
    cells = cells_of(each, support_by(each, cost, alpha, beta, thresholds(values, alpha, beta, 0.2)))
    return [*found, *plans, *vectors[:7], *columns[:3], *products, tangent, indices, *cells]


def fits(device, shape):
    """True if blocks can keep a row in their registers together."""
    return -(-shape[1] // device.widest) <= device.together


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("shape", [*SHAPES, (5, 900), pytest.param((5, 8192), marks=pytest.mark.slow)])
def test_half_precision_is_that_of_its_values_in_float32(shim, shape, kind):
    """To the bit: it is a way to store a cost, read as it lies. Chunks of wide rows hold more of them."""
    cost, row, col, alpha, beta = problem(shape, "kl", "l2", removed=True)
    half, single = in_16_bits(cost, kind)
    found, expected = (call_passes(shim, x, row, col, alpha, beta, single) for x in (half, single))
    rtol = 0 if fits(shim.device, shape) else 1e-12
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=0)


@pytest.mark.parametrize(
    ("mantissa", "dtype", "inv_epsilon", "largest"),
    [(10, np.float16, 1e-4, 65504.0), (7, np.uint16, 1e-38, (2.0 - 2.0**-7) * 2.0**127)],
    ids=HALVES,
)
def test_half_precision_from_the_least_to_the_largest_number(shim, mantissa, dtype, inv_epsilon, largest):
    infinity = (1 << 15) - (1 << mantissa)  # all bits of the exponent
    bits = np.arange(infinity + 1, dtype=np.uint16)[None]
    values = (bits.view(np.float16) if dtype == np.float16 else gpu_shim.of_brain(bits)).astype(float)
    assert np.isinf(values[0, -1])
    assert values[0, -2] == largest
    top, plan = np.empty(1), np.empty(bits.shape)
    shim.plan(bits.view(dtype), inv_epsilon, np.zeros(1), np.zeros(bits.size), plan)
    np.testing.assert_allclose(plan, np.exp(-inv_epsilon * values), rtol=1e-14)
    negative = (bits[:, :-1] | np.uint16(1 << 15)).view(dtype)
    shim.row_max(negative, 1.0, np.zeros(bits.size - 1), top)
    assert top[0] == largest


def test_a_plan_in_half_precision_is_rounded_from_float32():
    cost, _, _, alpha, beta = problem((13, 29), dtype=np.float16)
    half, single = np.empty(cost.shape, np.float16), np.empty(cost.shape, np.float32)
    for out in (half, single):
        backend().plan(cost, 20.0, alpha, beta, out)
    np.testing.assert_array_equal(half, single.astype(np.float16))


@pytest.mark.parametrize("shape", [*SHAPES, (67, 900)])
def test_marginals_are_sums_of_the_plan(shim, shape):
    """One read of the cost where a row fits the registers, two where it does not."""
    cost, _, _, alpha, beta = problem(shape, removed=True)
    with np.errstate(invalid="ignore"):
        exact = np.exp(alpha[:, None] + beta - 20.0 * cost)
    found = np.empty(shape[0]), np.empty(shape[1])
    shim.device.launched.clear()
    shim.marginals(cost, 20.0, alpha, beta, *found)
    for axis in (0, 1):
        np.testing.assert_allclose(found[axis], exact.sum(axis=1 - axis), rtol=1e-13)
    reads = {name.split("<")[0] for name in shim.device.launched} - {"sum_parts"}
    assert reads == ({"plan_sums"} if fits(shim.device, shape) else {"plan_times", "plan_transposed_times"})


@pytest.mark.parametrize("coarse", [False, True])
def test_a_plan_in_float32_has_exact_zeros(coarse):
    cost, _, _, alpha, beta = problem((13, 29), removed=True)
    plan, exact = np.empty(cost.shape, np.float32), np.empty(cost.shape)
    backend().plan(cost, 20.0, alpha, beta, plan, coarse=coarse)
    reference.plan(cost, 20.0, alpha, beta, exact)
    np.testing.assert_allclose(
        plan, exact, rtol=3e-7 if coarse else 1e-7
    )  # a device's exp2f is good to 2 units in the last place
    assert ((plan == 0) == (exact == 0)).all()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_least_cells_are_the_smallest_reduced_costs(shape, ties):
    rng = np.random.default_rng(3)
    n, m = shape
    cost = rng.integers(0, 4, shape).astype(float) if ties else rng.random(shape)
    if m > 5:
        cost[rng.random(shape) < 0.3] = np.inf
        cost[0, 2:] = np.inf
    beta = np.zeros(m) if ties else rng.random(m)
    beta[-1] = -np.inf if m > 5 else 0.0
    which = np.arange(0, n, 2)
    for k in {1, min(m, 5), min(m, 40)}:
        found = []
        for each in (backend(), reference):
            indices, least = np.empty((which.size, k), np.int32), np.empty(which.size)
            each.least_cells(cost, beta, which, indices, least)
            reduced = np.where(indices < 0, np.inf, cost[which[:, None], indices] - beta[indices])
            assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in indices)
            found.append((np.sort(reduced, axis=1), least))
        np.testing.assert_array_equal(found[0][0], found[1][0])
        np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.sampled(2)
@KINDS
@pytest.mark.parametrize("shape", SHAPES)
def test_conjugate_gradients_solve_the_system(shim, shape, kind):
    system = positive_definite(shape)
    diagonal, matrix, rhs = system[4:]
    krylov = begun(rhs, 1.0 / diagonal)
    done, code = gradients(shim, kind, system)(krylov, 1e-12, np.inf, 300)
    assert code == REACHED
    assert 0 < done <= 300
    # The diagonal exceeds the row sums of P^T W P by 0.01 at least: the inverse is at most 100 in the largest norm.
    np.testing.assert_allclose(krylov.x, np.linalg.solve(matrix, rhs), rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(krylov.residual, rhs - matrix @ krylov.x, atol=1e-12)


@KINDS
def test_iterations_of_conjugate_gradients_agree(shim, kind):
    system = positive_definite((23, 301))
    diagonal, _, rhs = system[4:]
    outside = np.arange(301) % 7 == 0
    found, expected = (begun(rhs, np.where(outside, 0.0, 1.0 / diagonal)) for _ in range(2))
    assert gradients(shim, kind, system)(found, 0.0, np.inf, 4) == (4, 0)
    gradients(reference, kind, system)(expected, 0.0, np.inf, 4)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-13)


@KINDS
def test_conjugate_gradients_stop_at_the_edge_of_the_box_and_without_curvature(shim, kind):
    kernel, factor, sparse, weight, diagonal, matrix, rhs = positive_definite((13, 29))
    radius = 0.5 * np.abs(np.linalg.solve(matrix, rhs)).max()
    found, expected = begun(rhs, 1.0 / diagonal), begun(rhs, 1.0 / diagonal)
    system = kernel, factor, sparse, weight, diagonal
    outcomes = [
        gradients(each, kind, system)(krylov, 1e-12, radius, 50)
        for each, krylov in ((shim, found), (reference, expected))
    ]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1] == LEFT
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-9)
    krylov = begun(np.abs(rhs), 1.0 / diagonal)
    assert gradients(shim, kind, (kernel, factor, sparse, weight, 1e-3 * diagonal))(krylov, 1e-12, np.inf, 9) == (
        1,
        LEFT,
    )
    assert (krylov.x == 0.0).all()


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


# --- many problems ----------------------------------------------------------------------------------------------------


def batch_of(size, shape, rule, dtype=np.float64, ragged=False, seed=0, inv_epsilon=20.0):
    """(cost, batch, sides, alpha, beta): problems that share costs, some smaller than the stack."""
    rng = np.random.default_rng(seed)
    n, m = shape
    cost = rng.random((size, n, m)).astype(dtype)
    counts = (rng.integers((x + 1) // 2, x + 1, size) if ragged else np.full(size, x) for x in shape)
    batch = protocol.Batch(
        rng.integers(0, size, size),
        np.full(size, inv_epsilon) * rng.uniform(0.5, 1.0, size),
        *counts,
        np.full(size, 2.0),
    )
    sides = []
    for lengths, width in zip(batch[2:4], shape, strict=True):
        singles = [side(rng, width, rule, removed=range(k, width)) for k in lengths]
        stacked = [np.stack([getattr(s, name) for s in singles]) for name in ("weight", "log_weight", "offset")]
        code, strength, strength2 = (np.array([s[i] for s in singles]) for i in (3, 4, 5))
        sides.append(Side(*stacked, code.astype(np.int64), strength.astype(float), strength2.astype(float)))
    return cost, batch, *sides, sides[0].log_weight.copy(), sides[1].log_weight.copy()


def run_batch(each, args, which, goal, count, end="rows", cold=True, precision="double", omega=(1.0, 1.0)):
    cost, batch, rows, cols, alpha, beta = args
    alpha, beta = alpha.copy(), beta.copy()
    done, residual = np.zeros(which.size, np.int64), np.full(which.size, np.inf)
    each.batch_sweeps(
        *(cost, batch, rows, cols, omega, alpha, beta, which, goal, count, end, cold, precision, done, residual)
    )
    return alpha, beta, done, residual


@pytest.mark.sampled(2)
@pytest.mark.parametrize("shape", [(1, 3), (5, 3), (13, 29), (40, 33), (70, 50)])
@pytest.mark.parametrize("rule", ["fixed", "kl", "tv", "between", "l2"])
@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_batches_are_swept_as_on_the_cpu(shape, rule, precision):
    dtype = np.float64 if precision == "double" else np.float32
    args = batch_of(7, shape, rule, dtype, ragged=True)
    which, goal = np.array([0, 2, 3, 4, 6]), np.full(7, 1e-4)
    for options in (
        {"goal": None, "count": 4},
        {"goal": goal, "count": 400},
        {"goal": goal, "count": 400, "end": "cols"},
    ):
        found = run_batch(backend(), args, which, **options, precision=precision)
        expected = run_batch(cpu_batch, args, which, **options, precision=precision)
        np.testing.assert_array_equal(found[2], expected[2])
        tolerance = 1e-11 if precision == "double" else 2e-5
        for x, y in zip(found[:2], expected[:2], strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=tolerance)
        if options["goal"] is not None:
            np.testing.assert_allclose(found[3], expected[3], rtol=0, atol=tolerance)


def test_a_budget_s_plans_come_with_it():
    cost, problems, rows, cols, alpha, beta = batch_of(5, (13, 9), "kl", ragged=True)
    plans = []
    for each in (backend(), cpu_batch):
        out, potentials = np.full(cost.shape, np.nan), (alpha.copy(), beta.copy())
        rest = np.zeros(5, np.int64), np.zeros(5), out
        each.batch_sweeps(
            *(cost, problems, rows, cols, (1.0, 1.0), *potentials, np.arange(5), None, 3, "cols", True, "double"), *rest
        )
        plans.append(out)
    np.testing.assert_allclose(plans[0], plans[1], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("inv_epsilon", [3e3, 1e5])
@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_batches_hold_at_small_epsilon(inv_epsilon, precision):
    """Kernels are made again around the potentials reached, rows and columns by their largest entries."""
    args = batch_of(3, (13, 17), "fixed", inv_epsilon=inv_epsilon)
    which = np.arange(3)
    alpha, beta, _, _ = run_batch(backend(), args, which, None, 30, precision=precision)
    cost, batch, rows, cols = args[:4]
    for k in which:
        single = [Side(*(x[k] for x in s)) for s in (rows, cols)]
        first = cost[batch.cost_of[k]][:, 0] * batch.inv_epsilon[k] - args[5][k, 0]
        vectors = [first, args[5][k].copy(), np.zeros(13), np.zeros(17), first.copy(), np.zeros(17)]
        task = cost[batch.cost_of[k]], batch.inv_epsilon[k], *single
        reference.log_sweeps(*task, (1.0, 0.0), *vectors, None, 1)
        reference.log_sweeps(*task, (1.0, 1.0), *vectors, None, 29)
        tolerance = 1e-8 if precision == "double" else 1e-2  # arguments of 1e5 round at 1e-11, and in float32 at 1e-2
        np.testing.assert_allclose(alpha[k], vectors[0], rtol=0, atol=tolerance)
        np.testing.assert_allclose(beta[k], vectors[1], rtol=0, atol=tolerance)


@pytest.mark.parametrize("rule", ["fixed", "kl", "tv", "between", "l2"])
@pytest.mark.parametrize("distance", [50.0, 2000.0])
@pytest.mark.parametrize("omega", [(1.0, 1.0), (1.0, 0.7), (0.6, 1.0)])
@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_batches_hold_from_potentials_that_no_scaling_reaches(rule, omega, precision, distance):
    """Warm starts far away, which a soft penalty leaves slowly: no K serves, and sums are taken in logarithms."""
    dtype = np.float64 if precision == "double" else np.float32
    cost, batch, rows, cols, alpha, beta = batch_of(4, (9, 11), rule, dtype, ragged=True)
    rng = np.random.default_rng(1)
    alpha, beta = alpha + distance * rng.normal(size=alpha.shape), beta + distance * rng.normal(size=beta.shape)
    args, which = (cost, batch, rows, cols, alpha, beta), np.arange(4)
    found = run_batch(backend(), args, which, None, 6, "cols", cold=False, precision=precision, omega=omega)
    assert (found[2] == 6).all()
    tolerance = 1e-11 if precision == "double" else 1e-4  # arguments of 2000 round at 2e-13, float32 sums at 1e-7 each
    for k in which:
        single = [Side(*(x[k] for x in s)) for s in (rows, cols)]
        vectors = [alpha[k], beta[k], np.zeros(9), np.zeros(11), alpha[k].copy(), np.zeros(11)]
        task = cost[batch.cost_of[k]].astype(float), batch.inv_epsilon[k], *single
        for _ in range(6):
            for half in ((omega[0], 0.0), (0.0, omega[1])):
                with np.errstate(over="ignore"):  # in the bisection of the reference
                    reference.log_sweeps(*task, half, *vectors, None, 1)
        for x, y in zip(found, vectors[:2], strict=False):
            np.testing.assert_allclose(x[k], y, rtol=0, atol=tolerance)


@pytest.mark.parametrize("end", ["rows", "cols"])
@pytest.mark.parametrize("rule", ["kl", "tv"])
def test_batches_far_from_balance_stop_where_the_cpu_s_do(rule, end):
    """Residuals of iterations in the log domain are looked at as all others."""
    args = list(batch_of(4, (9, 11), rule, ragged=True))
    rng = np.random.default_rng(1)
    for side_ in (4, 5):
        args[side_] = args[side_] + 2000.0 * rng.normal(size=args[side_].shape)
    which, goal = np.arange(4), np.full(4, 1e-6)
    found = run_batch(backend(), args, which, goal, 300, end, cold=False)
    expected = run_batch(cpu_batch, args, which, goal, 300, end, cold=False)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(3, 4), (13, 29), (40, 90)])
@pytest.mark.parametrize("precision", ["double", "mixed"])
@pytest.mark.parametrize("kind", HALVES)
def test_batches_in_half_precision_are_those_of_their_values_in_float32(shape, precision, kind):
    cost, batch, *rest = batch_of(5, shape, "kl", ragged=True)
    results = []
    for values in in_16_bits(cost, kind):
        args = values, batch, *rest
        results.append(list(run_batch(backend(), args, np.arange(5), np.full(5, 1e-4), 200, precision=precision)))
        out = np.empty(cost.shape, np.float32), np.zeros((5, shape[0])), np.zeros((5, shape[1]))
        backend().batch_plan(values, batch, *rest[2:], out[0])
        backend().batch_marginals(values, batch, *rest[2:], np.arange(5), *out[1:])
        results[-1] += out
    for x, y in zip(*results, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_plans_and_marginals_of_batches(dtype):
    args = batch_of(6, (13, 29), "kl", dtype, ragged=True)
    cost, batch, rows, cols, alpha, beta = args
    which = np.array([1, 2, 5])
    for out_dtype in (np.float32, np.float64):
        plan = np.full(cost.shape, np.nan, out_dtype)
        backend().batch_plan(cost, batch, alpha, beta, plan)
        sums = np.full((6, 13), 9.0), np.full((6, 29), 9.0)
        backend().batch_marginals(cost, batch, alpha, beta, which, *sums)
        for k in range(6):
            exponent = alpha[k][:, None] + beta[k] - cost[batch.cost_of[k]].astype(float) * batch.inv_epsilon[k]
            exact = np.exp(exponent)
            np.testing.assert_allclose(plan[k], exact, rtol=1e-12 if out_dtype == np.float64 else 3e-7)
            for axis in (0, 1):
                expected = exact.sum(axis=1 - axis) if k in which else 9.0
                np.testing.assert_allclose(sums[axis][k], expected, rtol=1e-12)


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


def test_cpu_and_gpu_names_are_those_of_the_protocol():
    names = set(PRIMITIVES)
    assert all(callable(getattr(each, name)) for name in names for each in (cpu, backend()))


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
