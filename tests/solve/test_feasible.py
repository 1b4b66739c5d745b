"""A rounded plan meets hard sides to the last digits, by exact sums of its entries, light rows and columns included."""

import math

import numpy as np
import pytest

import elastic_ot as eot

UNIT = 2.0**-53
SIZES = [(1, 1), (1, 7), (7, 1), (5, 6), (40, 30), (130, 210)]
WEIGHTS = {
    "uniform": lambda rng, n: np.ones(n),
    "random": lambda rng, n: rng.dirichlet(np.ones(n)),
    "tiny": lambda rng, n: np.where(np.arange(n) % 3 == 1, 1e-200, 1.0),
    "decades": lambda rng, n: 10.0 ** rng.uniform(-30.0, 0.0, n),
}
SIDES = [
    (eot.Fixed(), eot.Fixed()),
    (eot.Fixed(), eot.KL(0.5)),
    (eot.L2(2.0), eot.Fixed()),
    (eot.Fixed(), eot.AtMost()),
    (eot.Between(0.7, 1.2), eot.Fixed()),
]


def largest_error(plan, axis, lower, upper):
    """How far sums leave [lower, upper], in units in the last place of the ends, relative to each."""
    lines = np.asarray(plan, float) if axis == 1 else np.asarray(plan, float).T
    attained = np.array([math.fsum(line) for line in lines.tolist()])
    below = np.divide(lower - attained, lower, out=np.zeros_like(lower), where=lower > 0)
    return max(below.max(), ((attained - upper) / upper).max()) / UNIT


def assert_met(solution, rows, cols):
    plan, problem = solution.rounded_plan(), solution.problem
    assert (np.asarray(plan) >= 0.0).all()
    for penalty, weights, axis in ((rows, problem.a, 1), (cols, problem.b, 0)):
        if penalty.hard:
            lo, hi = penalty.box()
            error = largest_error(plan, axis, lo * weights, hi * weights)
            # A sum is known to one rounding an addition, and what is done by it costs a few more.
            assert error <= sum(plan.shape) + 16


def solved(cost, a, b, steps, **options):
    options = {"epsilon": 0.02, "method": "log", "tol": 0.0, "max_iter": steps, "on_failure": "ignore"} | options
    return eot.solve(cost, a, b, **options)


@pytest.mark.parametrize("steps", [1, 30])
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_hard_sides_are_met_to_the_last_digits(dtype, kind, steps):
    rng = np.random.default_rng(7)
    for n, m in SIZES:
        a, b = WEIGHTS[kind](rng, n), WEIGHTS[kind](rng, m)
        a, b = 3.0 * a / a.sum(), 3.0 * b / b.sum()
        for order in "CF":
            cost = np.asarray(rng.random((n, m)), dtype, order=order)
            for rows, cols in SIDES:
                assert_met(solved(cost, a, b, steps, rows=rows, cols=cols), rows, cols)


@pytest.mark.parametrize("kind", ["uniform", "random", "decades"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_hard_sides_are_met_where_cells_are_forbidden(dtype, kind):
    rng = np.random.default_rng(8)
    for n, m in SIZES:
        for band in (False, True):
            near = np.abs(np.arange(n)[:, None] / n - np.arange(m) / m) <= max(2 / n, 2 / m, 0.1)
            mask = near if band else (rng.random((n, m)) < 0.4) | near
            plan = mask * np.outer(WEIGHTS[kind](rng, n), WEIGHTS[kind](rng, m)) * rng.uniform(0.5, 1.5, (n, m))
            a, b = plan.sum(axis=1), plan.sum(axis=0)
            if kind == "decades" and band:
                continue  # weights of 1e-60 between others: the plan underflows where mass has to go
            for order in "CF":
                cost = np.asarray(rng.random((n, m)), dtype, order=order)
                for rows, cols in SIDES[:2]:
                    solution = solved(cost, a, b, 2000, mask=mask, tol=1e-6, method="auto", rows=rows, cols=cols)
                    assert_met(solution, rows, cols)
                    assert (np.asarray(solution.rounded_plan())[~mask] == 0.0).all()


def test_a_tree_of_a_mask_that_disagrees_by_rounding_spreads_it():
    """Two blocks, whose weights sum to the same only but for the last digit."""
    a, b = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.1 + 0.2, 1e-12, 0.3 + 0.4 - 1e-12])
    mask = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 1, 1]], bool)
    solution = solved(np.random.default_rng(9).random((4, 3)), a, b, 50, mask=mask)
    assert_met(solution, eot.Fixed(), eot.Fixed())


def test_batches_hand_out_the_same():
    rng = np.random.default_rng(10)
    a, b = WEIGHTS["decades"](rng, 30), WEIGHTS["random"](rng, 20)
    a, b = a / a.sum(), b / b.sum()
    solution = eot.solve(
        rng.random((3, 30, 20)).astype(np.float32), a, b, epsilon=0.05, tol=0.0, max_iter=3, on_failure="ignore"
    )
    plans = solution.rounded_plan()
    for k in range(3):
        np.testing.assert_array_equal(plans[k], solution[k].rounded_plan())
        assert largest_error(plans[k], 1, a, a) <= 66
        assert largest_error(plans[k], 0, b, b) <= 66
