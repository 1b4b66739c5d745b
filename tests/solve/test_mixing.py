"""Which problems with a small epsilon "auto" leaves to sweeps, and what it costs where that was wrong."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import elastic_ot as eot
from elastic_ot.solvers import methods

N = 600


def factors(rank):
    rng = np.random.default_rng(rank)
    return np.abs(rng.normal(size=(N, rank)) @ rng.normal(size=(rank, N)))


def outliers():
    return np.random.default_rng(0).exponential(size=(N, N)) ** 3


def plane():
    rng = np.random.default_rng(0)
    return cdist(rng.random((N, 2)), rng.random((N, 2)), "sqeuclidean")


def line():
    rng = np.random.default_rng(0)
    return cdist(rng.random((N, 1)), rng.random((N, 1)), "cityblock")


def independent():
    return np.random.default_rng(0).random((N, N))


def solved(cost, share, **options):
    return eot.solve(cost, epsilon=share * cost.max(), **options)


@pytest.mark.parametrize("cost", [factors(4), factors(10), outliers()], ids=["rank 4", "rank 10", "outliers"])
def test_sweeps_serve_at_a_small_epsilon_where_they_converge_fast(cost):
    found = solved(cost, 2e-3)
    assert found.method == "stabilized"
    assert found.n_iter <= 30
    plan = found.plan
    assert np.abs(plan.sum(0) - 1 / N).sum() + np.abs(plan.sum(1) - 1 / N).sum() <= 1e-6
    newton = solved(cost, 2e-3, method="newton", tol=1e-9)
    assert np.abs(plan - newton.plan).sum() <= 1e-4  # the marginals' 1e-6 over one less the rate of sweeps


@pytest.mark.parametrize(
    ("cost", "share"),
    [(plane(), 4e-3), (line(), 4e-3), (independent(), 1e-3), (factors(4), 1e-5)],
    ids=["plane", "line", "independent", "one partner"],
)
def test_nothing_is_tried_where_sweeps_would_be_slow(cost, share):
    assert set(solved(cost, share).history.method) == {"newton"}


def test_columns_that_lie_together_and_weights_of_zero_change_nothing():
    cost = factors(10)
    a = np.full(N, 1.0)
    a[::7] = 0.0
    for given in (cost, np.asfortranarray(cost)):
        found = eot.solve(given, a / a.sum(), epsilon=2e-3 * cost.max())
        assert found.method == "stabilized"
        assert found.marginal_error <= 1e-6
        assert not found.plan[::7].any()


def test_a_trial_that_fails_costs_two_iterations_and_newton_begins_afresh(monkeypatch):
    cost = plane()
    alone = solved(cost, 1e-3)
    monkeypatch.setattr(methods, "seems_well_mixed", lambda problem: True)
    found = solved(cost, 1e-3)
    looks = list(found.history.method)
    assert looks[:2] == ["stabilized"] * 2
    assert set(looks[2:]) == {"newton"}
    assert found.n_iter == alone.n_iter + 2
    assert np.array_equal(found.f, alone.f)
