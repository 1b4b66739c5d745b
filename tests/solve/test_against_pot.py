"""Plans and values compared with POT, where POT's own stopping rule reaches its answer.

POT's "kl" is the product reference and its "entropy" the counting one; its KL and TV strengths are rho, and its
L2 penalty is (rho/2) times a square, like ours.
"""

import warnings

import numpy as np
import ot
import pytest

from helpers.oracle import METHODS, random_case

PLAN = 1e-8  # what the project promises; both sides are run to 1e-11 or below
REFERENCES = {"product": "kl", "counting": "entropy"}


def pot_scaling(case, reg_m):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="If reg_type = entropy", category=UserWarning)
        return ot.unbalanced.sinkhorn_knopp_unbalanced(
            case.a,
            case.b,
            case.cost,
            case.epsilon,
            reg_m,
            reg_type=REFERENCES[case.reference],
            numItermax=100_000,
            stopThr=1e-13,
        )


def pot_minimiser(case, reg_m, regm_div, start=None):
    """POT's L-BFGS-B on the primal: a plan and its value."""
    with warnings.catch_warnings():
        # POT passes an option that newer SciPy deprecates.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        plan, log = ot.unbalanced.lbfgsb_unbalanced(
            case.a,
            case.b,
            case.cost,
            case.epsilon,
            reg_m,
            c=case.kernel,
            reg_div="kl",
            regm_div=regm_div,
            G0=start,
            numItermax=100_000,
            stopThr=1e-15,
            log=True,
        )
    return plan, float(log["total_cost"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("epsilon", [1.0, 0.1, 0.02])
@pytest.mark.parametrize("shape", [(20, 20), (13, 31)])
def test_balanced_plan_is_that_of_sinkhorn_log(shape, epsilon, method):
    case = random_case(21, *shape, epsilon=epsilon)
    expected = ot.bregman.sinkhorn_log(case.a, case.b, case.cost, epsilon, stopThr=1e-13, numItermax=100_000)
    for reference in REFERENCES:
        solution = case.but(reference=reference).solve(method=method, tol=1e-11, on_failure="raise")
        np.testing.assert_allclose(solution.plan, expected, rtol=0, atol=PLAN)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("strengths", [(0.5, 0.5), (0.2, 3.0), (np.inf, 0.4), (0.4, np.inf), (10.0, 10.0)])
@pytest.mark.parametrize("epsilon", [1.0, 0.1, 0.03])
def test_kl_relaxed_plan_is_that_of_sinkhorn_knopp_unbalanced(strengths, epsilon, reference, method):
    rows, cols = (("Fixed",) if np.isinf(rho) else ("KL", rho) for rho in strengths)
    case = random_case(22, 15, 11, epsilon=epsilon, rows=rows, cols=cols, reference=reference)
    expected = pot_scaling(case, strengths)
    solution = case.solve(method=method, tol=1e-11, on_failure="raise")
    np.testing.assert_allclose(solution.plan, expected, rtol=0, atol=PLAN)


def check_same_minimum(case, solution, plan, value, accuracy):
    assert value == pytest.approx(case.primal(plan), abs=1e-10), "POT and the oracle disagree on the objective"
    # Ours is a minimum: nothing that POT finds is below it, and what it finds is close above.
    assert solution.dual_value <= value + 1e-12
    assert solution.gap <= 1e-10
    assert value - solution.value <= accuracy
    # Strong convexity: epsilon KL(P | P*) <= excess, and Pinsker's inequality turns this into an L1 bound.
    excess = max(value - solution.dual_value, 0.0) + 1e-14
    mass = max(plan.sum(), solution.plan.sum())
    assert np.abs(plan - solution.plan).sum() <= np.sqrt(2.0 * mass * excess / case.epsilon)


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("penalty", ["KL", "L2"])
@pytest.mark.parametrize("strengths", [(0.5, 0.5), (0.2, 1.5), (0.0, 0.4), (0.3, 0.0)])
def test_smooth_penalties_have_the_minimum_of_lbfgsb_unbalanced(penalty, strengths, reference):
    rows, cols = ((penalty, rho) if rho else ("Free",) for rho in strengths)
    case = random_case(23, 8, 6, rows=rows, cols=cols, reference=reference)
    plan, value = pot_minimiser(case, strengths, penalty.lower())
    for method in METHODS:
        # L-BFGS-B stops when a step gains less than 1e-15 of the value; it gets to about 1e-12.
        check_same_minimum(case, case.solve(method=method, tol=1e-11, on_failure="raise"), plan, value, 1e-10)


@pytest.mark.parametrize("strengths", [(0.01, 0.01), (0.02, 0.03), (0.0, 0.05), (0.05, 0.0)])
def test_tv_has_the_minimum_of_lbfgsb_unbalanced_away_from_its_kink(strengths):
    rows, cols = (("TV", rho) if rho else ("Free",) for rho in strengths)
    case = random_case(23, 8, 6, rows=rows, cols=cols)
    plan, value = pot_minimiser(case, strengths, "tv")
    for method in METHODS:
        check_same_minimum(case, case.solve(method=method, tol=1e-11, on_failure="raise"), plan, value, 1e-10)


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("strengths", [(0.5, 0.5), (0.2, 1.5), (0.05, 0.05), (0.0, 0.4), (0.3, 0.0)])
def test_tv_plan_is_not_improved_by_lbfgsb_unbalanced(strengths, reference):
    # L-BFGS-B stops early at the kink of TV: it proves nothing from afar, but it must find no descent from here.
    rows, cols = (("TV", rho) if rho else ("Free",) for rho in strengths)
    case = random_case(24, 8, 6, rows=rows, cols=cols, reference=reference)
    solution = case.solve(tol=1e-11, on_failure="raise")
    for start in (None, solution.plan):
        _, value = pot_minimiser(case, strengths, "tv", start=start)
        assert solution.dual_value <= value + 1e-12
    assert value - solution.dual_value <= 1e-10
