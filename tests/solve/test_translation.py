"""The constant that is moved from one potential to the other: it has to be right where a penalty has kinks."""

import numpy as np
import pytest

import elastic_ot as eot
from helpers.oracle import METHODS


def tiny_price(rho, epsilon, mass):
    """Columns so cheap to leave that every column potential sits on one of the two kinks, 2 rho apart."""
    rng = np.random.default_rng(401)
    weights = rng.dirichlet(np.ones(90)) * mass
    return rng.random((1, 90)), np.array([mass]), weights, {"epsilon": epsilon, "cols": eot.TV(rho)}


@pytest.mark.parametrize("mass", [1.0, 1e-12])
@pytest.mark.parametrize("method", METHODS)
def test_potentials_that_must_lie_on_both_kinks_are_found(method, mass):
    rho = 0.015
    cost, a, b, options = tiny_price(rho, epsilon=17.0, mass=mass)
    solution = eot.solve(cost, a, b, **options, reference="counting", method=method, tol=1e-9, on_failure="raise")
    # one row: the plan is its softmax, whatever the columns say; those above their weight pay rho, those below earn it
    plan = mass * np.exp(-cost[0] / 17.0) / np.exp(-cost[0] / 17.0).sum()
    far = np.abs(plan - b) > 1e-3 * mass / 90
    np.testing.assert_allclose(solution.plan[0], plan, rtol=2 * rho / 17.0)
    np.testing.assert_allclose(solution.g[far], -rho * np.sign(plan - b)[far], rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_weak_price_against_bounds_does_not_stall(method):
    rng = np.random.default_rng(402)
    cost = -1e-2 * rng.random((60, 90))
    a, b = (1e4 * rng.dirichlet(np.ones(size)) for size in (60, 90))
    penalties = {"rows": eot.TV(1.8e-4), "cols": eot.Between(0.5, 1.5)}
    solution = eot.solve(cost, a, b, epsilon=2.2, **penalties, method=method, on_failure="raise")
    # the reference has mass 1e8 and mass costs nothing beside it: every column is at its upper bound, rows at -rho
    np.testing.assert_allclose(solution.col_marginal, 1.5 * b, rtol=1e-5)
    np.testing.assert_allclose(solution.f, -1.8e-4, rtol=1e-3)
