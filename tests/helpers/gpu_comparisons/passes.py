"""Passes over the plan, against the reference and NumPy."""

import numpy as np
import pytest

from elastic_ot.backends import reference
from helpers.gpu_comparisons.builds import SHAPES, backend, fits
from helpers.sweeps import problem


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
