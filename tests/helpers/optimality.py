"""The promises of a solution that has converged, judged by the oracle."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.oracle import PENALTIES, ULP64, spec_id

PAIRS = [pytest.param(rows, cols, id=f"{spec_id(rows)}/{spec_id(cols)}") for rows in PENALTIES for cols in PENALTIES]


def check(case, tol, **options):
    solution = case.solve(tol=tol, on_failure="raise", **options)
    exact = case.rounded_to_dtype
    f, g = solution.f, solution.g
    plan, mass, rounding = exact.plan(f, g), exact.unit_of_mass(f, g), exact.rounding(f, g)
    slack = (rounding + 1e-14) * exact.size_of_terms(f, g)

    # The promise of `converged`, measured on what is returned, in float64 for a float32 cost as well.
    assert solution.converged
    assert solution.status is eot.Status.CONVERGED
    assert exact.residual(f, g) <= (tol + rounding) * mass
    assert exact.relaxed_gap(f, g) <= tol * exact.unit_of_gap(f, g) + slack

    # The plan is the one that the potentials describe, rounded to the dtype of the cost.
    assert solution.plan.dtype == case.dtype
    ulp = float(np.finfo(case.dtype).eps)
    assert np.abs(solution.plan - plan).sum() <= (ulp + rounding) * plan.sum()
    np.testing.assert_allclose(solution.row_marginal, plan.sum(axis=1), rtol=0, atol=rounding * mass)
    np.testing.assert_allclose(solution.col_marginal, plan.sum(axis=0), rtol=0, atol=rounding * mass)
    assert solution.transport_cost == pytest.approx(exact.transport_cost(plan), rel=rounding + 1e-14)

    # A hard side is met by the rounded plan to rounding, not to the tolerance; then primal and dual are comparable.
    primal = exact.primal(solution.rounded_plan(), slack=(20 * ULP64 + rounding) * mass)
    assert np.isfinite(primal)
    assert solution.dual_value == pytest.approx(exact.dual(f, g), abs=slack)
    assert solution.value == pytest.approx(primal, abs=slack)
    assert solution.gap >= 0.0
    assert solution.gap == pytest.approx(primal - exact.dual(f, g), abs=2 * slack)
    return solution
