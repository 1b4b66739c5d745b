"""Sweeps in the log domain and of scalings, against the reference."""

import numpy as np
import pytest

from elastic_ot.backends import gpu, reference
from elastic_ot.backends.gpu import sweeps
from helpers.gpu_comparisons.builds import HOW, LARGE, SHAPES, backend
from helpers.sweeps import RULES, assert_quadratic_roots, assert_same, problem, run_log, run_scaling, side

SOME = "fixed", "kl", "between", "l2"  # of the rules


@pytest.mark.parametrize("rule", RULES)
def test_potential_agrees(rule):
    row = side(np.random.default_rng(1), 40, rule, removed=(3,))
    ratio = np.linspace(-30.0, 30.0, 40)
    found, expected = np.empty(40), np.empty(40)
    backend().potential(row, ratio, found)
    reference.potential(row, ratio, expected)
    # bisection of the reference ends at the spacing of doubles near 30
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


def test_roots_of_the_quadratic_penalty():
    assert_quadratic_roots(backend())


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
