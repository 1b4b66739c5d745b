"""Memory: the log method stores nothing of size n x m, scaling one matrix; the plan appears when it is asked for."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import elastic_ot as eot

N, M = 900, 1100
STATM = Path("/proc/self/statm")
PAGE = 4096


def problem(dtype, order):
    rng = np.random.default_rng(191)
    return np.array(rng.random((N, M)), dtype=dtype, order=order)


def read(solution):
    """Everything that needs no plan."""
    assert solution.dual_value <= solution.value
    solution.bounds()
    assert solution.transport_cost > 0.0
    solution.apply(np.ones(solution.g.size))


def peaks(cost, **options):
    """Matrices (of the cost's size) that a solve held: traced NumPy memory, and resident memory while iterating."""
    options = {"epsilon": 0.02, "max_iter": 12, "on_failure": "ignore"} | options
    read(eot.solve(cost[:50, :60], **options))  # compile
    read(eot.solve(cost, **options))  # start the worker threads
    resident = []

    def look(iteration, residual):
        if STATM.exists():
            resident.append(int(STATM.read_text().split()[1]) * PAGE)

    if STATM.exists():
        look(0, 0.0)
    tracemalloc.start()
    try:
        solution = eot.solve(cost, callback=look, **options)
        read(solution)
        _, traced = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    growth = (max(resident) - resident[0]) / cost.nbytes if resident else 0.0
    return traced / cost.nbytes, growth, solution


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("cols", [eot.Fixed(), eot.KL(0.5)], ids=["fixed", "kl"])
def test_log_allocates_nothing_of_the_size_of_the_cost(cols, order, dtype):
    traced, resident, _ = peaks(problem(dtype, order), method="log", cols=cols)
    # Forty float64 vectors of length n + m are a sixth of the float32 matrix; resident memory is noisier.
    assert traced * N * M * np.dtype(dtype).itemsize < 40 * 8 * (N + M)
    assert resident < 0.8


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("order", ["C", "F"])
def test_scaling_allocates_one_matrix(order, dtype):
    traced, resident, _ = peaks(problem(dtype, order), method="scaling")
    assert traced < 1.2
    assert resident < 1.6


@pytest.mark.parametrize("method", ["stabilized", "epsilon_scaling", "auto"])
def test_other_methods_allocate_one_matrix_at_most(method):
    traced, _, _ = peaks(problem(np.float64, "C"), method=method)
    assert traced < 1.2


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("epsilon", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("tol", [1e-6, 1e-10])
def test_newton_allocates_half_a_float64_matrix(tol, epsilon, dtype):
    # Dense plans are kept as a float32 kernel, sparse ones as the cells that carry mass; never both.
    n = 1200
    cost = np.random.default_rng(193).random((n, n)).astype(dtype)
    traced, _, solution = peaks(cost, method="newton", epsilon=epsilon, tol=tol, max_iter=1000)
    assert solution.converged, solution.message
    # Sixty float64 vectors of length n + m are a tenth of the matrix.
    assert traced * cost.nbytes < 0.5 * 8 * n * n + 60 * 8 * (n + n)


def test_the_plan_is_built_when_it_is_asked_for():
    cost = problem(np.float64, "C")
    _, _, solution = peaks(cost, method="log")
    tracemalloc.start()
    try:
        assert solution.plan.shape == cost.shape
        current, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current >= cost.nbytes


def test_a_mask_costs_one_matrix_with_its_temporaries():
    cost = problem(np.float64, "C")
    mask = np.random.default_rng(192).random(cost.shape) > 0.1
    tracemalloc.start()
    try:
        eot.solve(cost, epsilon=0.1, mask=mask, method="log", max_iter=12, on_failure="ignore")
        _, traced = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert traced < 1.5 * cost.nbytes


@pytest.mark.parametrize("cols", [eot.Fixed(), eot.KL(0.5)], ids=["fixed", "kl"])
def test_a_batch_allocates_one_problem_a_thread(cols):
    cost = np.random.default_rng(194).random((64, 128, 128)).astype(np.float32)
    eot.solve(cost[:2], epsilon=0.1, cols=cols).plan  # noqa: B018 - compile
    tracemalloc.start()
    try:
        solution = eot.solve(cost, epsilon=0.1, cols=cols)
        _, traced = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert solution.converged.all()
    # about fifteen float64 vectors of every problem, each a thirtieth of the cost; measured: half of it
    assert traced < 0.7 * cost.nbytes


def test_a_batch_reads_its_plans_some_at_a_time():
    cost = np.random.default_rng(195).random((64, 256, 256)).astype(np.float32)
    solution = eot.solve(cost, epsilon=0.1)
    solution.residual  # noqa: B018 - kept
    tracemalloc.start()
    try:
        solution.transport_cost  # noqa: B018
        solution.apply(np.ones((256, 1)))
        _, traced = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # about 2^20 entries of plan and cost in float64
    assert traced < 4 * 8 * 2**20 + cost.nbytes
