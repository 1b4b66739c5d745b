"""Sweeps of a batch from potentials far from balance, which a soft penalty leaves slowly, against the reference.

There K holds what no plan has: its entries are never 0, and scalings of e^50 make that visible; and float32 cannot hold
the scalings. An iteration that cannot be trusted has to be done again, in the log domain.
"""

import numpy as np
import pytest
from scipy.special import logsumexp

import elastic_ot as eot
from elastic_ot.backends import reference
from elastic_ot.backends.cpu import batch as cpu_batch
from elastic_ot.backends.protocol import Side
from helpers.batch_sweeps import batch_of, run_batch

RULES = ["fixed", "kl", "tv", "between", "l2"]
SINGLE = 2e-7  # of a sum in float32, and of what potentials as large as the exponents of "single" round to


def swept(args, omega, count, end):
    """The same iterations by the reference, in float64."""
    cost, batch, rows, cols, *starts = args
    alphas, betas = (start.copy() for start in starts)
    for k, (alpha, beta) in enumerate(zip(alphas, betas, strict=True)):
        single = [Side(*(x[k] for x in s)) for s in (rows, cols)]
        vectors = [alpha, beta, np.zeros_like(alpha), np.zeros_like(beta), alpha.copy(), np.zeros_like(beta)]
        task = cost[batch.cost_of[k]].astype(float), batch.inv_epsilon[k], *single
        halves = [(omega[0], 0.0), (0.0, omega[1])] * count
        for half in halves[: len(halves) - (end == "rows")]:
            with np.errstate(over="ignore"):  # in the bisection of the reference
                reference.log_sweeps(*task, half, *vectors, None, 1)
    return alphas, betas


# side by side, and by rows
@pytest.mark.sampled(3)
@pytest.mark.parametrize("shape", [(5, 6), pytest.param((9, 11), marks=pytest.mark.slow), (40, 33)])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("omega", [(1.0, 1.0), (1.0, 0.7), (0.6, 1.0)])
@pytest.mark.parametrize("precision", ["double", "mixed", "single"])
def test_sweeps_from_far_away_are_those_of_the_reference(precision, omega, rule, shape):
    args = batch_of(4, shape, rule, np.float64 if precision == "double" else np.float32, ragged=True)
    rng = np.random.default_rng(1)
    directions = [rng.normal(size=x.shape) for x in args[4:]]
    for far in (5.0, 50.0, 200.0, 2000.0):
        start = *args[:4], *(x + far * d for x, d in zip(args[4:], directions, strict=True))
        for count, end in ((1, "cols"), (2, "rows"), (6, "cols")):
            found = run_batch(cpu_batch, start, np.arange(4), None, count, end, False, precision, omega)
            assert (found[2] == count).all()
            # Exponents of some thousand round at 1e-12 and, if they are in float32, at 1e-7 of themselves.
            exponents = SINGLE * 10.0 * far if precision == "single" else 0.0
            tolerance = 1e-10 if precision == "double" else 50 * SINGLE + exponents
            for x, y in zip(found[:2], swept(start, omega, count, end), strict=True):
                np.testing.assert_allclose(x, y, rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", [(5, 6), (40, 33)])  # side by side, and by rows
def test_a_cold_start_with_damped_rows_begins_where_none_is_given(shape):
    """Before the columns' potentials the rows' are C_i0 / epsilon - beta_0, whatever alpha holds."""
    cost, batch, rows, cols, alpha, beta = batch_of(4, shape, "kl", ragged=True)
    guesses = cost[batch.cost_of, :, 0] * batch.inv_epsilon[:, None] - beta[:, :1]
    starts = np.where(rows.log_weight > -np.inf, guesses, -np.inf)
    expected = swept((cost, batch, rows, cols, starts, beta), (0.6, 1.0), 3, "cols")
    for other in (alpha, np.where(alpha > -np.inf, 1e3, -np.inf)):
        args = cost, batch, rows, cols, other, beta
        found = run_batch(cpu_batch, args, np.arange(4), None, 3, "cols", True, "double", (0.6, 1.0))
        for x, y in zip(found[:2], expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-10)


UPDATES = {
    "Fixed": (eot.Fixed(), lambda h, epsilon: h),
    "KL": (eot.KL(0.7), lambda h, epsilon: 0.7 / (0.7 + epsilon) * h),
    "TV": (eot.TV(0.4), lambda h, epsilon: np.clip(h, -0.4, 0.4)),
}


@pytest.mark.parametrize("shape", [(5, 6), (9, 12)])
@pytest.mark.parametrize("cols", UPDATES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("end", ["rows", "cols"])
def test_a_budget_from_potentials_far_away_is_right(end, dtype, cols, shape):
    rng = np.random.default_rng(2)
    cost, epsilon = rng.random((3, *shape)).astype(dtype), 0.1
    (rows, row_update), (cols, col_update) = UPDATES["KL"], UPDATES[cols]
    for far in (50.0, 200.0, 2000.0):
        f, g = (epsilon * far * rng.normal(size=(3, size)) for size in shape)
        for count in (1, 3, 8):
            options = {"epsilon": epsilon, "rows": rows, "cols": cols, "tol": 0, "max_iter": count, "end": end}
            found = eot.solve(cost, init=(f, g), **options)
            x, y = f, g
            for iteration in range(count):
                x = row_update(-epsilon * logsumexp((y[:, None] - cost) / epsilon, axis=2, b=1 / shape[1]), epsilon)
                if end == "cols" or iteration + 1 < count:
                    y = col_update(
                        -epsilon * logsumexp((x[..., None] - cost) / epsilon, axis=1, b=1 / shape[0]), epsilon
                    )
            atol = 1e-10 if dtype is np.float64 else 50 * SINGLE * epsilon
            np.testing.assert_allclose(found.f, x, rtol=0, atol=atol)
            np.testing.assert_allclose(found.g, y, rtol=0, atol=atol)
