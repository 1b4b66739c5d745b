"""Batches, against the CPU's and the reference."""

import numpy as np
import pytest

from elastic_ot.backends import reference
from elastic_ot.backends.cpu import batch as cpu_batch
from elastic_ot.backends.protocol import Side
from helpers.batch_sweeps import batch_of, run_batch
from helpers.gpu_comparisons.builds import backend


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
