"""The CPU kernels against the array-API reference: same names, same arguments, same numbers."""

import inspect

import array_api_strict
import numpy as np
import pytest

from elastic_ot.backends import load, protocol, reference
from elastic_ot.backends.cpu import dense as cpu
from elastic_ot.backends.protocol import Side
from elastic_ot.problems import penalties
from helpers.sweeps import (
    PRIMITIVES,
    RULES,
    SHAPES,
    assert_quadratic_roots,
    assert_same,
    problem,
    run_log,
    run_scaling,
    side,
)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_every_backend_has_the_protocol_s_signature(name):
    wanted = list(inspect.signature(getattr(protocol.Backend, name)).parameters)[1:]
    for backend in (cpu, reference):
        assert list(inspect.signature(getattr(backend, name)).parameters) == wanted


def test_load_gives_the_modules():
    assert load() is cpu
    assert load("reference") is reference


def test_codes_of_penalties_and_kernels_agree():
    names = ("LOGARITHMIC", "CLIPPED", "BOXED", "QUADRATIC")
    assert [getattr(penalties, n) for n in names] == [getattr(protocol, n) for n in names]


@pytest.mark.parametrize("rule", RULES)
def test_potential_agrees(rule):
    row = side(np.random.default_rng(1), 40, rule, removed=(3,))
    ratio = np.linspace(-30.0, 30.0, 40)
    found, expected = np.empty(40), np.empty(40)
    cpu.potential(row, ratio, found)
    reference.potential(row, ratio, expected)
    # bisection of the reference ends at the spacing of doubles near 30
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


def test_roots_of_the_quadratic_penalty():
    assert_quadratic_roots(cpu)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", RULES)
@pytest.mark.parametrize("cols", ["fixed", "kl", "between", "l2"])
def test_log_sweeps_agree(shape, rows, cols):
    args = problem(shape, rows, cols, removed=True)
    found = run_log(cpu, *args, 20.0, (1.0, 1.0), 3, False)
    expected = run_log(reference, *args, 20.0, (1.0, 1.0), 3, False)
    # arguments up to 20 / rounding 2e-16, a few sweeps
    assert_same(found, expected, 1e-12, 1e-12)


def test_log_sweeps_agree_with_relaxation():
    args = problem((13, 29), "kl", "tv")
    assert_same(
        run_log(cpu, *args, 20.0, (1.3, 0.6), 4, False),
        run_log(reference, *args, 20.0, (1.3, 0.6), 4, False),
        1e-12,
        1e-12,
    )


def test_log_sweeps_hold_where_every_exponential_underflows():
    args = problem((13, 29))
    found = run_log(cpu, *args, 1e6, (1.0, 1.0), 3, False)
    expected = run_log(reference, *args, 1e6, (1.0, 1.0), 3, False)
    assert np.isfinite(found[0]).all()
    assert_same(found, expected, 1e-10, 1e-8)  # arguments of 1e6 round at 1e-10


def test_single_precision_sweeps_hold_there_too():
    args = problem((13, 29), dtype=np.float32)
    found = run_log(cpu, *args, 1e4, (1.0, 1.0), 3, True)
    assert_same(found, run_log(reference, *args, 1e4, (1.0, 1.0), 3, False), 0, 5e-6)


def test_single_precision_sweeps_are_close():
    args = problem((401, 503), dtype=np.float32)
    found = run_log(cpu, *args, 20.0, (1.0, 1.0), 3, True)
    expected = run_log(reference, *args, 20.0, (1.0, 1.0), 3, True)
    # float32 exponentials have a relative error of 1e-7, the potentials are logarithms of their sums
    assert_same(found, expected, 0, 5e-6)


def test_a_float32_cost_with_double_arithmetic_is_exact():
    args = problem((401, 503), dtype=np.float32)
    found = run_log(cpu, *args, 20.0, (1.0, 1.0), 3, False)
    assert_same(found, run_log(reference, *args, 20.0, (1.0, 1.0), 3, False), 1e-12, 1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", ["fixed", "kl", "tv", "l2"])
@pytest.mark.parametrize("cols", ["fixed", "between", "free"])
def test_scaling_sweeps_agree(shape, rows, cols):
    args = problem(shape, rows, cols, removed=True)
    outcome, found = run_scaling(cpu, *args, (1.0, 1.0), 3)
    expected_outcome, expected = run_scaling(reference, *args, (1.0, 1.0), 3)
    assert outcome == expected_outcome == (3, True)
    assert_same(found, expected, 1e-12, 1e-12)


def test_scaling_sweeps_are_log_sweeps():
    args = problem((13, 29), "kl", "l2")
    _, found = run_scaling(cpu, *args, (1.2, 0.8), 3)
    assert_same(found, run_log(cpu, *args, 20.0, (1.2, 0.8), 3, False), 1e-12, 1e-12)


def test_scaling_sweeps_say_when_a_scaling_leaves_the_limit():
    args = problem((13, 29))
    for backend in (cpu, reference):
        assert run_scaling(backend, *args, (1.0, 1.0), 3, limit=1.0001)[0] == (1, False)


def test_a_failed_scaling_iteration_changes_nothing():
    cost, row, col, alpha, beta = problem((13, 29))
    for backend in (cpu, reference):
        kernel, zero_n, zero_m = np.zeros(cost.shape), np.zeros(13), np.zeros(29)
        vectors = [alpha.copy(), beta.copy(), zero_n.copy(), np.log(col.weight), alpha.copy(), zero_m.copy()]
        before = [vector.copy() for vector in vectors]
        scratch = backend.scratch(cost.shape, False)
        outcome = backend.scaling_sweeps(kernel, zero_n, zero_m, row, col, (1.0, 1.0), *vectors, scratch, 5, 1e50)
        assert outcome == (0, False)
        assert_same(vectors, before, 0, 0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_passes_over_the_plan_agree(shape, dtype):
    cost, row, col, alpha, beta = problem(shape, dtype=dtype, removed=True)
    rng = np.random.default_rng(5)
    n, m = shape
    x_m, x_n = rng.random((m, 3)), rng.random((n, 2))
    parts = rng.random(n), rng.random(m), rng.random(n), rng.random(m)
    bar = np.where(np.isinf(cost), np.nan, rng.normal(size=shape))
    results = []
    for backend in (cpu, reference):
        plan, row_sum, col_sum = np.empty(shape), np.empty(n), np.empty(m)
        backend.plan(cost, 20.0, alpha, beta, plan)
        backend.marginals(cost, 20.0, alpha, beta, row_sum, col_sum)
        rows, cols = np.empty((n, 3)), np.empty((m, 2))
        backend.apply(cost, 20.0, alpha, beta, x_m, False, rows)
        backend.apply(cost, 20.0, alpha, beta, x_n, True, cols)
        row_top, col_top = np.empty(n), np.empty(m)
        backend.row_max(cost, 20.0, beta, row_top)
        backend.col_max(cost, 20.0, alpha, col_top)
        divergence, transport = np.empty(n), np.empty(n)
        backend.rounded_sums(cost, 20.0, alpha, beta, *parts, divergence, transport)
        tangent, sums = np.empty(shape), [np.empty(n), np.empty(m), np.empty(n)]
        backend.plan_tangent(cost, 20.0, alpha, beta, bar, x_n[:, 0].copy(), x_m[:, 0].copy(), 0.3, tangent, *sums)
        images = [np.empty(size) for size in (n, m, n, m)]
        stored = plan, plan.astype(np.float32)
        for k, image in enumerate(images):
            backend.dense_product(stored[k // 2], (x_m, x_n)[k % 2][:, 1].copy(), k % 2 == 1, image)
        results.append((plan, row_sum, col_sum, rows, cols, row_top, col_top, divergence, transport, tangent, *sums))
        results[-1] += tuple(images)
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("removed", [False, True])
def test_marginals_that_overflow_spoil_no_others(removed):
    # Rows are added four at a time: the one that overflows lies where the buffer of a later one does.
    cost, beta = np.zeros((5 + 4 * removed, 6)), np.zeros(6)
    alpha = np.zeros(len(cost))
    alpha[2], beta[1] = 750.0, 1.0
    if removed:
        alpha[6] = -np.inf
    beta[4] = -800.0
    rows, cols = np.empty(len(cost)), np.empty(6)
    cpu.marginals(cost, 1.0, alpha, beta, rows, cols)
    assert not np.isnan(rows).any()
    assert not np.isnan(cols).any()
    assert min(rows[2], cols[1]) > 1e300
    np.testing.assert_allclose(np.delete(rows, [2, 6][: 1 + removed]), 4.0 + np.e, rtol=1e-14)
    np.testing.assert_allclose(cols[4], np.exp(-50.0), rtol=1e-13)


def test_forbidden_and_removed_cells_are_exactly_zero():
    cost, _, _, alpha, beta = problem((13, 29), removed=True)
    plan = np.empty(cost.shape)
    cpu.plan(cost, 20.0, alpha, beta, plan)
    gone = np.isinf(cost) | np.isneginf(alpha)[:, None] | np.isneginf(beta)
    assert (plan[gone] == 0).all()
    assert (plan[~gone] > 0).all()


def test_reference_runs_on_the_array_api_standard():
    cost, row, col, alpha, beta = problem((13, 29), "kl", "l2", removed=True)
    expected = run_log(reference, cost, row, col, alpha, beta, 20.0, (1.0, 1.0), 2, False)
    xp = array_api_strict
    sides = [Side(*(xp.asarray(v) for v in s[:3]), *s[3:]) for s in (row, col)]
    vectors = [
        xp.asarray(v) for v in (alpha.copy(), beta.copy(), np.zeros(13), np.zeros(29), alpha.copy(), np.zeros(29))
    ]
    strict_cost = xp.asarray(cost)
    reference.log_sweeps(strict_cost, 20.0, *sides, (1.0, 0.0), *vectors, None, 1)
    reference.log_sweeps(strict_cost, 20.0, *sides, (1.0, 1.0), *vectors, None, 2)
    assert_same([np.asarray(v) for v in vectors], expected, 1e-14, 1e-14)


def test_results_do_not_change_from_run_to_run():
    """Threads own fixed rows and their sums are added in a fixed order."""
    args = problem((401, 503))
    first, second = (run_log(cpu, *args, 20.0, (1.0, 1.0), 5, False) for _ in range(2))
    assert_same(first, second, 0, 0)


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
    for k in {1, min(m, 5), m}:
        found = []
        for backend in (cpu, reference):
            indices, least = np.empty((which.size, k), np.int32), np.empty(which.size)
            backend.least_cells(cost, beta, which, indices, least)
            reduced = np.where(indices < 0, np.inf, cost[which[:, None], indices] - beta[indices])
            assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in indices)
            found.append((np.sort(reduced, axis=1), least))
        np.testing.assert_array_equal(found[0][0], found[1][0])
        np.testing.assert_array_equal(found[0][1], found[1][1])
