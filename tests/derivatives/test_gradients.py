"""Gradients against central differences of whole solves: every pair of penalties, masks, zero weights, references."""

import itertools

import numpy as np
import pytest

import elastic_ot as eot
from helpers.differences import SPECS, Setting, UnsettledError, agree, away_from_kinks


@pytest.mark.sampled(2)
@pytest.mark.filterwarnings("ignore::elastic_ot.ConvergenceWarning")  # 1e-13 may end as stalled, at 1e-15 more
@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize(("rows", "cols"), list(itertools.product(SPECS, SPECS)), ids=repr)
def test_gradients_are_those_of_central_differences(rows, cols, reference, masked):
    for seed in range(10):
        try:
            return assert_differences(Setting(rows, cols, reference, masked, seed))
        except UnsettledError:
            continue
    raise AssertionError("no seed without a stalled solve or a potential near a kink")


def assert_differences(setting):
    solution = setting.solve()
    if not (away_from_kinks(setting.rows, solution.f) and away_from_kinks(setting.cols, solution.g)):
        raise UnsettledError
    value = solution.gradients()
    through = solution.vjp(plan=setting.plan_bar, f=setting.f_bar, g=setting.g_bar)
    pair = value, through
    step = np.where(setting.mask, setting.cost_step, 0.0)
    agree([(x.cost * step).sum() for x in pair], setting.differences(lambda t: setting.solve(t, cost=True)))
    weights = [x.a @ setting.a_step + x.b @ setting.b_step for x in pair]
    agree(weights, setting.differences(lambda t: setting.solve(t, weights=True)))
    agree([x.epsilon for x in pair], setting.differences(lambda t: setting.solve(t, epsilon=True)))
    for name in ("rows", "cols"):
        penalty = getattr(setting, name)
        if hasattr(penalty, "rho"):
            expected = setting.differences(
                lambda t, name=name, penalty=penalty: setting.solve(**{name: type(penalty)(penalty.rho + t)})
            )
            agree([getattr(x, name) for x in pair], expected)


def test_the_gradient_of_the_value_in_the_cost_is_the_plan():
    solution = Setting(eot.Fixed(), eot.KL(0.4), "product", True).solve()
    assert np.array_equal(solution.gradients().cost, solution.plan)


def test_removed_rows_and_cells_have_no_gradient():
    setting = Setting(eot.Fixed(), eot.Fixed(), "product", True)
    found = setting.solve().vjp(plan=setting.plan_bar)
    assert np.isfinite(found.cost).all()
    assert (found.cost[3] == 0).all()
    assert (found.cost[~setting.mask] == 0).all()
    assert found.a[3] == 0


def test_transposing_the_problem_transposes_the_gradients():
    rng = np.random.default_rng(2)
    cost, bar = rng.random((4, 6)), rng.normal(size=(4, 6))
    one = eot.solve(cost, epsilon=0.2, rows=eot.KL(1.0), cols=eot.Fixed(), tol=1e-13).vjp(plan=bar)
    other = eot.solve(cost.T, epsilon=0.2, rows=eot.Fixed(), cols=eot.KL(1.0), tol=1e-13).vjp(plan=bar.T)
    np.testing.assert_allclose(one.cost, other.cost.T, rtol=0, atol=1e-10)
    np.testing.assert_allclose(one.a, other.b, rtol=0, atol=1e-10)
    assert one.rows == pytest.approx(other.cols, abs=1e-10)


def test_gradients_of_a_solution_that_did_not_converge_warn_with_the_residual():
    solution = eot.solve(np.eye(3), [0.5, 0.3, 0.2], epsilon=0.05, tol=1e-12, max_iter=1, on_failure="ignore")
    assert not solution.converged
    for ask in (solution.gradients, lambda: solution.vjp(f=np.ones(3))):
        with pytest.warns(eot.ConvergenceWarning, match="residual"):
            ask()


def test_a_derivative_of_another_shape_is_refused():
    solution = eot.solve(np.eye(3), epsilon=0.5)
    with pytest.raises(ValueError, match=r"plan has shape \(2, 3\)"):
        solution.vjp(plan=np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"g has shape \(2,\)"):
        solution.vjp(g=np.ones(2))
