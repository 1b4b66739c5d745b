"""Whether a solution tells the truth about itself, converged or not, judged by the oracle."""

import numpy as np
import pytest

import elastic_ot as eot


def judge(case, solution, tol):
    """Assert that status, residual and certificate tell the truth, and return the true residual."""
    assert isinstance(solution.status, eot.Status)
    assert solution.converged is (solution.status is eot.Status.CONVERGED)
    assert solution.status.value in solution.message
    case = case.rounded_to_dtype
    f, g = solution.f, solution.g
    assert not np.isnan(f).any()
    assert not np.isnan(g).any()
    assert solution.gap >= 0.0
    assert not np.isnan(solution.dual_value)
    with np.errstate(over="ignore"):  # an early iterate may describe a plan that no float holds
        plan = case.plan(f, g)
        largest = 1e150 if case.dtype == np.float64 else float(np.finfo(np.float32).max)
        overflow = not (np.isfinite(plan).all() and plan.sum() < largest)
    if overflow:
        assert not solution.converged or np.isfinite(plan).all()
        return np.inf
    assert np.isfinite(solution.plan).all()
    assert (solution.plan >= 0.0).all()
    mass, rounding = case.unit_of_mass(f, g), case.rounding(f, g)
    # The dual value is what it claims to be whatever the status; sums of terms of these sizes carry their rounding.
    with np.errstate(over="ignore"):
        residual, dual = case.residual(f, g), case.dual(f, g)
    if np.isfinite(dual):
        slack = (rounding + 1e-14) * case.size_of_terms(f, g)
        assert solution.dual_value == pytest.approx(dual, abs=slack)
    else:
        assert solution.dual_value == -np.inf
        assert not solution.converged
    if solution.converged:
        assert residual <= (tol + rounding) * mass + 1e-290
        assert solution.marginal_error <= (tol + rounding) * mass + 1e-290
        assert case.relaxed_gap(f, g) <= tol * case.unit_of_gap(f, g) + slack
    return residual
