"""Values and plans compared with SciPy: L-BFGS-B on the dual, assignment and linear programmes in the limit."""

from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from helpers.dual_by_scipy import maximise_dual
from helpers.limit_by_scipy import linear_optimum
from helpers.oracle import PENALTIES, random_case, spec_id

SMALL_EPSILON_METHODS = ["stabilized", "log", "epsilon_scaling", "auto"]
LINEAR = [("Fixed",), ("TV", 0.3), ("Between", 0.6, 1.4), ("AtMost",), ("Free",)]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize("rows", PENALTIES, ids=spec_id)
@pytest.mark.parametrize("cols", PENALTIES, ids=spec_id)
def test_every_pair_has_the_optimum_found_by_lbfgsb_on_the_dual(rows, cols, reference):
    case = random_case(31, 6, 8, rows=rows, cols=cols, reference=reference)
    f, g = maximise_dual(case)
    solution = case.solve(tol=1e-11, on_failure="raise")
    # Any dual value is below any primal one, and the two maxima agree to what L-BFGS-B reaches (1e-8 or better).
    assert case.dual(f, g) <= solution.value + 1e-10
    assert solution.dual_value == pytest.approx(case.dual(f, g), abs=1e-8)
    np.testing.assert_allclose(solution.plan, case.plan(f, g), rtol=0, atol=2e-8)


def square_case(seed, n, **fields):
    return random_case(seed, n, n, **fields).but(a=np.full(n, 1 / n), b=np.full(n, 1 / n))


@pytest.mark.parametrize("method", SMALL_EPSILON_METHODS)
@pytest.mark.parametrize(("n", "seed"), [(5, 36), (8, 40), (20, 40)])
def test_small_epsilon_costs_what_linear_sum_assignment_costs(n, seed, method):
    case = square_case(seed, n, epsilon=1e-3)
    row, col = linear_sum_assignment(case.cost)
    best = case.cost[row, col].mean()
    solution = case.solve(method=method, tol=1e-4, max_iter=100_000, on_failure="raise")
    cost = case.unregularised(solution.rounded_plan(), slack=1e-12)
    # With the product reference the permutation has divergence log n, and this plan is within its gap of the optimum.
    assert best - 1e-12 <= cost <= best + case.epsilon * np.log(n) + solution.gap
    assert solution.transport_cost == pytest.approx(best, abs=case.epsilon * np.log(n) + 1e-3)
    assert (solution.plan.argmax(axis=1) == col).all()
    lower, upper = solution.bounds()
    assert lower <= best + 1e-12
    assert best <= upper + 1e-12


@pytest.mark.parametrize("method", SMALL_EPSILON_METHODS)
def test_small_epsilon_plan_is_the_permutation_of_linear_sum_assignment(method):
    n = 5
    case = square_case(42, n)
    row, col = linear_sum_assignment(case.cost)
    totals = np.sort([case.cost[row, list(p)].mean() for p in permutations(range(n))])
    margin = totals[1] - totals[0]
    # The mass off the best vertex is at most exp(1 + log n - margin/epsilon) (Weed 2018, theorem 5): 2e-12 here.
    case = case.but(epsilon=margin / 30)
    solution = case.solve(method=method, tol=1e-10, max_iter=500_000, on_failure="raise")
    permutation = np.zeros((n, n))
    permutation[row, col] = 1 / n
    np.testing.assert_allclose(solution.plan, permutation, rtol=0, atol=1e-9)


@pytest.mark.parametrize("epsilon", [1e-2, 2e-3])
@pytest.mark.parametrize(
    ("rows", "cols"),
    [
        pytest.param(rows, cols, id=f"{spec_id(rows)}/{spec_id(cols)}")
        for rows in LINEAR
        for cols in LINEAR
        if (rows, cols) != (("Free",), ("Free",))  # unbounded as soon as one cost is negative
    ],
)
def test_small_epsilon_is_linprog(rows, cols, epsilon):
    case = random_case(50, 5, 6, rows=rows, cols=cols, epsilon=epsilon)
    # Negative costs make capacities bind where nothing asks for mass.
    case = case.but(cost=case.cost - 0.2)
    optimum, plan = linear_optimum(case)
    solution = case.solve(tol=1e-6, max_iter=500_000, on_failure="raise")
    attained = case.unregularised(solution.rounded_plan(), slack=1e-12)
    # The entropic optimum is at most the linear plan's entropic value, and this plan is within the gap of it.
    assert optimum - 1e-11 <= attained <= optimum + epsilon * case.divergence(plan) + solution.gap
    lower, upper = solution.bounds()
    assert lower <= optimum + 1e-12
    assert optimum <= upper + 1e-12


@pytest.mark.parametrize("rows", LINEAR, ids=spec_id)
def test_forbidden_cells_are_respected_in_the_linear_limit(rows):
    case = random_case(51, 5, 6, rows=rows, cols=("AtMost",), epsilon=5e-3)
    mask = np.random.default_rng(52).random((5, 6)) > 0.25
    case = case.but(cost=case.cost - 0.2, b=2 * case.b, mask=mask)
    optimum, plan = linear_optimum(case)
    solution = case.solve(tol=1e-9, max_iter=500_000, on_failure="raise")
    assert (solution.plan[~mask] == 0.0).all()
    attained = case.unregularised(solution.rounded_plan(), slack=1e-12)
    assert optimum - 1e-11 <= attained <= optimum + case.epsilon * case.divergence(plan) + solution.gap
