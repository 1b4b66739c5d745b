"""Where mass need not be met: cells that divide and die, a share of the mass, outliers."""

import numpy as np
import ot
import pytest
from scipy.optimize import linprog
from scipy.spatial.distance import cdist

import elastic_ot as eot

RNG = np.random.default_rng(11)


def couple_cells(early, late, growth, epsilon, rho):
    """Growth is how many descendants a cell should have, up to a factor; `KL` lets it be wrong, at the price rho."""
    a = growth / growth.sum()
    return eot.solve(eot.PointCloud(early, late), a, epsilon=epsilon, rows=eot.KL(rho))


def descendants(coupling, marked):
    """How the descendants of the marked early cells are distributed over the late ones."""
    mass = coupling.apply(marked, axis=0)
    return mass / mass.sum()


def partial_transport(x, y, share):
    """The cheapest plan that carries so much of the mass; the rest stays where it is."""
    plan = eot.exact(eot.PointCloud(x, y), mass=share)
    return plan.value, plan.row_marginal, plan.col_marginal


def match_within_reach(x, y, reach):
    """Mass that would have to go further than `reach` stays behind, and as much on the other side."""
    price = eot.TV(reach / 2)
    plan = eot.exact(eot.PointCloud(x, y, metric="euclidean"), rows=price, cols=price)
    return plan.row_ind, plan.col_ind, plan.row_marginal


def test_couplings_of_cells_are_those_of_pot():
    early, late, growth = RNG.normal(size=(30, 5)), RNG.normal(size=(50, 5)) + 0.5, RNG.lognormal(size=30)
    coupling = couple_cells(early, late, growth, 0.5, 2.0)
    a, b = growth / growth.sum(), np.full(50, 1 / 50)
    theirs = ot.unbalanced.sinkhorn_knopp_unbalanced(
        a, b, cdist(early, late, "sqeuclidean"), 0.5, (2.0, np.inf), reg_type="kl", stopThr=1e-13, numItermax=100_000
    )
    marked = early[:, 0] > 0
    found = theirs[marked].sum(axis=0)
    assert np.abs(coupling.plan - theirs).sum() < 1e-5
    assert np.abs(descendants(coupling, marked) - found / found.sum()).sum() < 1e-5


def test_a_share_of_the_mass_is_that_of_pot():
    x, y = RNG.normal(size=(25, 2)), RNG.normal(size=(40, 2)) + 2.0
    a, b, cost = np.full(25, 1 / 25), np.full(40, 1 / 40), cdist(x, y, "sqeuclidean")
    value, row_marginal, col_marginal = partial_transport(x, y, 0.6)
    assert value == pytest.approx(ot.partial.partial_wasserstein2(a, b, cost, m=0.6), rel=1e-9)
    assert row_marginal.sum() == pytest.approx(0.6)
    assert (row_marginal <= a + 1e-12).all()
    assert (col_marginal <= b + 1e-12).all()


def test_outliers_stay_behind_and_the_cost_is_that_of_a_linear_programme():
    x = RNG.normal(size=(12, 2))
    y = x[RNG.permutation(12)] + 0.01 * RNG.normal(size=(12, 2))
    x[:2] += 50.0
    rows, cols, row_marginal = match_within_reach(x, y, 5.0)
    assert (row_marginal[:2] == 0).all()
    assert np.allclose(row_marginal[2:], 1 / 12)
    cost = cdist(x, y)  # each unit left behind costs 2.5 on either side
    upper = np.vstack([np.kron(np.eye(12), np.ones(12)), np.kron(np.ones(12), np.eye(12))])
    best = linprog((cost - 5.0).ravel(), A_ub=upper, b_ub=np.full(24, 1 / 12)).fun
    assert ((cost[rows, cols] - 5.0) / 12).sum() == pytest.approx(best, rel=1e-9)
