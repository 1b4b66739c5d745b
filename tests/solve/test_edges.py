"""Edges of the domain: single cells, equal costs, limits of strengths, magnitudes near the ends of floating point."""

import re

import numpy as np
import pytest

import elastic_ot as eot
from helpers.oracle import METHODS, random_case


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1)])
def test_single_rows_and_columns(shape, method):
    case = random_case(134, *shape)
    np.testing.assert_allclose(case.solve(method=method, tol=1e-10).plan, np.outer(case.a, case.b), rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_one_cell_is_solved_in_closed_form(method):
    # r = a exp(-f/rho) and r = a b exp((f - C)/eps), both sides relaxed alike: solve for log r by hand.
    cost, a, b, eps, rho = 0.7, 1.3, 0.6, 0.2, 0.5
    solution = eot.solve(
        [[cost]],
        [a],
        [b],
        epsilon=eps,
        rows=eot.KL(rho),
        cols=eot.KL(rho),
        method=method,
        tol=1e-13,
        on_failure="raise",
    )
    log_r = ((eps + rho) * np.log(a * b) - cost) / (eps + 2 * rho)
    assert solution.plan[0, 0] == pytest.approx(np.exp(log_r), rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_equal_costs_give_the_product_plan(method):
    case = random_case(135).but(cost=np.full((12, 17), 3.25))
    np.testing.assert_allclose(case.solve(method=method, tol=1e-12).plan, np.outer(case.a, case.b), rtol=1e-12)
    zero = case.but(cost=np.zeros((12, 17)))
    np.testing.assert_allclose(zero.solve(method=method, tol=1e-12).plan, np.outer(case.a, case.b), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_one_allowed_cell_per_row_is_a_known_plan(method):
    cost = np.where(np.eye(5, dtype=bool), 2.0, np.inf)
    weights = np.arange(1.0, 6.0) / 15
    solution = eot.solve(cost, weights, weights, epsilon=0.1, method=method, tol=1e-12, on_failure="raise")
    np.testing.assert_allclose(solution.plan, np.diag(weights), rtol=1e-12)
    assert solution.transport_cost == pytest.approx(2.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("cost", "weight"), [(1e300, 1.0), (1e-300, 1.0), (1.0, 1e-300), (1.0, 1e300), (1e300, 1e-300)]
)
def test_extreme_magnitudes_solve_or_say_why_not(cost, weight, method):
    base = random_case(137, 5, 6)
    case = base.but(cost=base.cost * cost, a=base.a * weight, b=base.b * weight, epsilon=0.1 * cost)
    try:
        solution = case.solve(method=method, tol=1e-8, on_failure="ignore")
    except ValueError as refusal:
        reason = str(refusal)
    else:
        reason = ""
    if reason:
        assert re.search(r"cost|epsilon|\ba\b|\bb\b", reason)
        return
    expected = base.solve(tol=1e-10).plan
    if solution.converged:
        np.testing.assert_allclose(solution.plan / weight, expected, rtol=0, atol=1e-6)
    else:
        assert solution.message


@pytest.mark.parametrize("method", ["stabilized", "log", "epsilon_scaling", "auto"])
def test_one_tiny_weight_among_normal_ones_is_met(method):
    case = random_case(138, 6, 7)
    a = case.a.copy()
    a[2] = 1e-300
    case = case.but(a=a / a.sum())
    solution = case.solve(method=method, tol=1e-9, on_failure="raise")
    assert case.residual(solution.f, solution.g) < 2e-9
    assert solution.plan[2].sum() == pytest.approx(case.a[2], rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_huge_cost_among_normal_ones_is_avoided(method):
    case = random_case(131, 9, 14, rows=("KL", 1.0), cols=("KL", 0.5))
    huge, forbidden = case.cost.copy(), case.cost.copy()
    huge[2, 3], forbidden[2, 3] = 1e300, np.inf
    found = case.but(cost=huge).solve(method=method, tol=1e-10, on_failure="raise")
    expected = case.but(cost=forbidden).solve(tol=1e-10, on_failure="raise")
    np.testing.assert_allclose(found.plan, expected.plan, rtol=0, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cols", [eot.KL(1.0), eot.TV(1.0), eot.L2(1.0), eot.AtMost(), eot.Free()], ids=repr)
def test_no_usable_cell_is_the_zero_plan_or_a_refusal(cols, method):
    # Each row and column has an allowed cell, but only with a partner of zero weight.
    cost = np.array([[0.0, np.inf], [np.inf, 0.0]])
    try:
        solution = eot.solve(cost, [1.0, 0.0], [0.0, 1.0], epsilon=1.0, rows=eot.KL(1.0), cols=cols, method=method)
    except eot.InfeasibleError:
        return
    assert (solution.plan == 0.0).all()
    assert np.isneginf(solution.f).all()
    # phi of the zero marginals: 1 of the KL rows, and 1, 1, 1/2 or 0 of the columns.
    assert solution.value - 1.0 in (0.0, 0.5, 1.0)


@pytest.mark.parametrize(("limit", "penalty"), [(0.0, eot.Free()), (np.inf, eot.Fixed())])
@pytest.mark.parametrize("kind", [eot.KL, eot.TV, eot.L2])
def test_the_ends_of_a_strength_are_free_and_fixed(kind, limit, penalty):
    case = random_case(139)
    options = {"epsilon": 0.1, "tol": 1e-9, "on_failure": "raise"}
    for side in ("rows", "cols"):
        end = eot.solve(case.cost, case.a, case.b, **{side: kind(limit)}, **options)
        named = eot.solve(case.cost, case.a, case.b, **{side: penalty}, **options)
        np.testing.assert_array_equal(end.plan, named.plan)


def test_the_ends_of_bounds_are_free_and_fixed():
    case = random_case(139)
    options = {"epsilon": 0.1, "tol": 1e-9, "on_failure": "raise"}
    for bounds, penalty in ((eot.Between(0.0, np.inf), eot.Free()), (eot.Between(1.0, 1.0), eot.Fixed())):
        end = eot.solve(case.cost, case.a, case.b, cols=bounds, **options)
        named = eot.solve(case.cost, case.a, case.b, cols=penalty, **options)
        np.testing.assert_allclose(end.plan, named.plan, rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [6e38, 1e-42])
def test_float32_costs_near_the_ends_of_their_range(scale, method):
    case = random_case(140)
    cost = ((case.cost - 0.5) * scale).astype(np.float32)  # 1e-42 is subnormal, 6e38 spans more than the largest float
    solution = eot.solve(cost, case.a, case.b, epsilon=0.1 * scale, method=method, tol=1e-5, on_failure="raise")
    exact = case.but(cost=cost.astype(float) / scale).solve(tol=1e-10, on_failure="raise")
    np.testing.assert_allclose(solution.plan, exact.plan, rtol=0, atol=1e-4)
