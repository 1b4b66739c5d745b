"""Costs of 16 bits, against the same values in float32."""

import numpy as np
import pytest

from helpers import gpu_shim
from helpers.batch_sweeps import batch_of, run_batch
from helpers.gpu_comparisons.builds import SHAPES, backend, fits
from helpers.supports import cells_of, support_by, thresholds
from helpers.sweeps import problem, run_log


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
