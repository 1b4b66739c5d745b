"""The returned plan meets the optimality conditions, for every penalty pair, reference, method and dtype.

The conditions are computed again from the returned potentials and the cost, in float64, by `helpers.oracle.Case`.
"""

import numpy as np
import pytest

from helpers.optimality import PAIRS, check
from helpers.oracle import FIRST_ORDER, METHODS, PENALTIES, random_case, spec_id


@pytest.mark.sampled(3)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize(("rows", "cols"), PAIRS)
def test_float64_plan_is_optimal(rows, cols, reference, method):
    check(random_case(11, rows=rows, cols=cols, reference=reference), 1e-9, method=method)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize(("rows", "cols"), PAIRS)
def test_float32_plan_is_optimal(rows, cols, reference, method):
    check(random_case(12, rows=rows, cols=cols, reference=reference, dtype=np.float32), 1e-5, method=method)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("method", FIRST_ORDER)
@pytest.mark.parametrize("relaxation", [0.5, 1.4])
@pytest.mark.parametrize("rows", PENALTIES, ids=spec_id)
def test_relaxation_changes_the_speed_and_not_the_answer(rows, relaxation, method):
    case = random_case(13, rows=rows, cols=("KL", 0.5))
    damped = check(case, 1e-9, method=method, relaxation=relaxation)
    plain = check(case, 1e-9, method=method)
    np.testing.assert_allclose(damped.plan, plain.plan, atol=1e-8)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rows", PENALTIES, ids=spec_id)
@pytest.mark.parametrize("cols", PENALTIES, ids=spec_id)
def test_forbidden_cells_and_removed_points_keep_the_conditions(rows, cols, method):
    case = random_case(14, rows=rows, cols=cols)
    rng = np.random.default_rng(15)
    a, b, cost = case.a.copy(), case.b.copy(), case.cost.copy()
    a[[2, 7]] = 0.0
    b[4] = 0.0
    a, b = a * case.a.sum() / a.sum(), b * case.b.sum() / b.sum()
    cost[rng.random(cost.shape) < 0.2] = np.inf
    case = case.but(cost=cost, a=a, b=b, mask=rng.random(cost.shape) > 0.1)
    solution = check(case, 1e-9, method=method)
    assert (solution.plan[~case.allowed] == 0.0).all()
    assert (solution.f[[2, 7]] == -np.inf).all()
    assert solution.g[4] == -np.inf


@pytest.mark.sampled(2)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 30), (30, 2)])
@pytest.mark.parametrize("cols", [("Fixed",), ("KL", 0.3), ("TV", 0.2), ("AtMost",)], ids=spec_id)
def test_thin_problems_are_solved(shape, cols, method):
    check(random_case(16, *shape, cols=cols), 1e-9, method=method)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dtype", "tol"), [(np.float64, 1e-9), (np.float32, 1e-5)])
@pytest.mark.parametrize("shape", [(257, 301), (3, 20_001), (20_001, 3)])
@pytest.mark.parametrize("cols", [("Fixed",), ("KL", 0.5), ("AtMost",)], ids=spec_id)
def test_problems_large_enough_for_threads_are_solved(cols, shape, dtype, tol, method):
    check(random_case(19, *shape, cols=cols, dtype=dtype), tol, method=method)


@pytest.mark.parametrize("method", ["stabilized", "log", "epsilon_scaling", "auto"])
@pytest.mark.parametrize("cols", PENALTIES, ids=spec_id)
def test_small_epsilon_is_solved_without_underflow(cols, method):
    # exp(-1/epsilon) is below the smallest double.
    check(random_case(205, 6, 9, cols=cols, epsilon=1.2e-3), 1e-5, method=method, max_iter=200_000)


@pytest.mark.parametrize("lam", [0.0, 1.0])
@pytest.mark.parametrize("reference", ["product", "counting"])
def test_elastic_ends_are_free_and_fixed(lam, reference):
    case = random_case(18, rows=("Fixed",), cols=("Elastic", lam), reference=reference)
    case = case.but(b=case.b / case.b.sum())
    elastic = check(case, 1e-11)
    named = check(case.but(cols=("Fixed",) if lam else ("Free",)), 1e-11)
    np.testing.assert_allclose(elastic.plan, named.plan, rtol=0, atol=1e-15)
