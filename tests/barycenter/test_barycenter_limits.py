"""How a barycenter ends: statuses, warnings, limits, callbacks; and what is refused before it begins."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import elastic_ot as eot
from helpers.barycenters import bumps

COST, MEASURES = bumps(3, 20)


def test_iterations_end():
    with pytest.warns(eot.ConvergenceWarning, match="max_iter reached .* 5 iterations"):
        found = eot.barycenter(COST, MEASURES, epsilon=1e-3, max_iter=5)
    assert found.status is eot.Status.MAX_ITER
    assert not found.converged
    assert found.n_iter == 5
    assert 0 < found.gap < np.inf  # a certificate there is in any case


def test_iterations_end_on_the_way_down():
    with pytest.warns(eot.ConvergenceWarning, match="max_iter"):
        found = eot.barycenter(COST, MEASURES, epsilon=1e-5, max_iter=2, method="epsilon_scaling")
    assert found.n_iter == 2
    assert found.epsilon == 1e-5


def test_time_ends():
    with pytest.warns(eot.ConvergenceWarning, match="time_limit"):
        found = eot.barycenter(COST, MEASURES, epsilon=1e-4, tol=1e-13, time_limit=1e-6)
    assert found.status is eot.Status.TIME_LIMIT


def test_failure_is_raised_or_ignored():
    with pytest.raises(eot.ConvergenceError, match="max_iter"):
        eot.barycenter(COST, MEASURES, epsilon=1e-3, max_iter=2, on_failure="raise")
    assert not eot.barycenter(COST, MEASURES, epsilon=1e-3, max_iter=2, on_failure="ignore").converged


def test_callback_sees_every_iteration_and_stops():
    seen = []

    def callback(iteration, residual):
        seen.append((iteration, residual))
        return iteration == 7

    found = eot.barycenter(COST, MEASURES, epsilon=1e-3, callback=callback, on_failure="ignore")
    assert [iteration for iteration, _ in seen] == list(range(1, 8))
    assert found.status is eot.Status.STOPPED


def test_history_ends_with_the_verdict():
    found = eot.barycenter(COST, MEASURES, epsilon=1e-3)
    assert found.history.residual[-1] == found.residual <= 1e-6
    assert found.history.epsilon[-1] == 1e-3
    assert found.history.dual[-1] + 0.0 == pytest.approx(found.dual_value, rel=1e-12)


def test_tolerance_below_rounding_stalls():
    found = eot.barycenter(COST, MEASURES, epsilon=1e-3, tol=1e-17, on_failure="ignore")
    assert found.status is eot.Status.STALLED
    assert found.residual < 1e-10


def test_repr_says_what_there_is():
    assert repr(eot.barycenter(COST, MEASURES, epsilon=0.1)).startswith(
        "Barycenter(3 measures on 20 points, epsilon=0.1"
    )


NAN, NEGATIVE, HEAVY = MEASURES.copy(), MEASURES.copy(), MEASURES.copy()
NAN[1, 3], NEGATIVE[2, 4], HEAVY[1] = np.nan, -0.25, 2 * HEAVY[1]
BAD = COST.copy()
BAD[2, 5] = np.nan


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((COST, NAN), {}, r"measures\[1\]\[3\] is nan; weights must be finite and >= 0"),
        ((COST, NEGATIVE), {}, r"measures\[2\]\[4\] is -0\.25"),
        ((COST, HEAVY), {}, r"measures\[1\] sums to 2 and measures\[0\] to 1; .*normalise"),
        ((COST, 0 * MEASURES), {}, r"measures\[0\] sums to 0"),
        ((COST, MEASURES[:, :-1]), {}, r"measures\[0\] has 19 entries, cost has 20 rows"),
        ((COST, MEASURES[0]), {}, r"measures has shape \(20,\); it must be \(K, n\)"),
        ((COST,), {}, "measures is None"),
        ((COST, []), {}, "measures is empty"),
        ((BAD, MEASURES), {}, r"cost\[2, 5\] is nan"),
        (([COST, BAD, COST], MEASURES), {}, r"measure 1: cost\[2, 5\] is nan"),
        (([COST, COST[:, :-1]], MEASURES[:2]), {}, r"costs\[1\] has 19 columns and costs\[0\] has 20"),
        (([COST, COST], MEASURES), {}, "3 measures and 2 costs"),
        ((COST[0], MEASURES), {}, r"costs has shape \(20,\)"),
        ((COST[None, None], MEASURES), {}, r"costs has shape \(1, 1, 20, 20\)"),
        ((COST, MEASURES, [0.5, 0.5]), {}, "weights has 2 entries for 3 measures"),
        ((COST, MEASURES, [1.0, -0.5, 0.5]), {}, r"weights\[1\] is -0\.5"),
        ((COST, MEASURES, [0.0, 0.0, 0.0]), {}, "weights sum to 0"),
        ((COST, MEASURES), {"epsilon": 0.0}, "epsilon is 0"),
        ((COST, MEASURES), {"tol": 0}, "tol is 0"),
        ((COST, MEASURES), {"method": "newton"}, "method is 'newton'; choose from"),
        ((COST, MEASURES), {"init": np.zeros((2, 20))}, r"shape \(2, 20\); this problem needs \(3, 20\)"),
        ((COST, MEASURES), {"init": np.full((3, 20), np.nan)}, "init is not finite for measure 0"),
        ((eot.Grid((4, 5)), np.ones((3, 5, 4)) / 20), {}, r"measures\[0\] has shape \(5, 4\); .* \(4, 5\)"),
        ((eot.PointCloud(np.zeros((2, 4, 1)), np.zeros((2, 5, 1))), np.ones((2, 4)) / 4), {}, "pass a list"),
    ],
)
def test_mistakes_are_named(args, options, message):
    with pytest.raises(ValueError, match=message):
        eot.barycenter(*args, **({"epsilon": 0.1} | options))


def test_ranges_of_masses_must_meet():
    with pytest.raises(eot.InfeasibleError, match=r"measures\[1\] asks for a mass of 1\.6 to 2"):
        eot.barycenter(COST, HEAVY, epsilon=0.1, rows=eot.Between(0.8, 1.0))


def test_no_common_column_is_infeasible():
    costs = np.repeat(COST[None, :, :2], 2, axis=0)
    costs[0, :, 0], costs[1, :, 1] = np.inf, np.inf
    with pytest.raises(eot.InfeasibleError, match="no point of the support"):
        eot.barycenter(costs, MEASURES[:2], epsilon=0.1)


def test_a_row_without_a_common_column_is_infeasible():
    costs = np.repeat(COST[None, :, :3], 2, axis=0)
    costs[0, :, 0] = np.inf
    costs[1, 4, 1:] = np.inf
    with pytest.raises(eot.InfeasibleError, match="measure 1: row 4"):
        eot.barycenter(costs, MEASURES[:2], epsilon=0.1)


def test_rows_must_be_a_penalty():
    with pytest.raises(TypeError, match="rows must be a penalty"):
        eot.barycenter(COST, MEASURES, epsilon=0.1, rows="fixed")


def test_inputs_are_left_alone():
    cost, measures = COST.copy(), MEASURES.copy()
    cost.flags.writeable = measures.flags.writeable = False
    eot.barycenter(cost, measures, epsilon=0.01)


@pytest.mark.parametrize("shift", [30.0, 1000.0])
def test_costs_that_lie_high_leave_kl_rows_less_mass(shift):
    """With `KL` a constant c in all costs takes the factor exp(-c / (rho + epsilon)) from every plan."""
    rows = eot.KL(20.0)
    low = eot.barycenter(COST, MEASURES, epsilon=0.05, rows=rows, tol=1e-10)
    high = eot.barycenter(COST + shift, MEASURES, epsilon=0.05, rows=rows, tol=1e-10)
    assert_allclose(high.weights, low.weights * np.exp(-shift / 20.05), rtol=1e-7)


@pytest.mark.parametrize("rows", [eot.Fixed(), eot.KL(0.5), eot.TV(0.5)], ids=str)
def test_potentials_of_a_barycenter_are_its_own_in_one_iteration(rows):
    found = eot.barycenter(COST, MEASURES, epsilon=0.05, rows=rows, tol=1e-10)
    again = eot.barycenter(COST, MEASURES, epsilon=0.05, rows=rows, tol=2e-10, init=np.array(found.g))
    assert again.n_iter == 1
    assert_allclose(again.weights, found.weights, rtol=1e-7)
