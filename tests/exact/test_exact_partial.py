"""Exact problems that leave mass behind: `cost_limit` of `assign`, `mass` of `exact`, and pairs drawn from a plan."""

import re

import lap
import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import chisquare

import elastic_ot as eot
from helpers.assignments import begin_with_few_cells


@pytest.fixture(autouse=True, scope="module", params=["", "from few cells"])
def solver(request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            begin_with_few_cells(patch)
        yield request.param


def gain(cost, limit):
    """The most that matching saves: a pair of cost C saves limit - C, whoever is left over saves nothing."""
    saved = np.maximum(limit - cost, 0.0)
    return saved[linear_sum_assignment(saved, maximize=True)].sum()


def assert_within(result, cost, limit, allowed=None):
    """Potentials of at most half the limit, tight on pairs and on lines left over; that proves the sum of all."""
    n, m = cost.shape
    rounding = 1e-13 * max(1.0, abs(limit), np.abs(cost[np.isfinite(cost)]).max())
    allowed = np.ones((n, m), bool) if allowed is None else allowed
    slack = cost - result.u[:, None] - result.v
    assert slack[allowed].min(initial=0.0) >= -rounding
    assert np.abs(slack[tuple(result)]).max(initial=0.0) <= rounding
    assert allowed[tuple(result)].all()
    assert (cost[tuple(result)] <= limit + rounding).all()
    for potential, matched in ((result.u, result.row_ind), (result.v, result.col_ind)):
        assert (potential <= 0.5 * limit + rounding).all()
        np.testing.assert_allclose(np.delete(potential, matched), 0.5 * limit, rtol=0, atol=rounding)
        assert np.unique(matched).size == matched.size
    assert result.unmatched_cost == pytest.approx(0.5 * limit * (n + m - 2 * len(result[0])))
    assert result.gap <= (n + m) * rounding


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (5, 11), (11, 5), (60, 80)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pairs_dearer_than_the_limit_stay_apart_as_in_lapx(shape, order):
    for seed, limit in ((0, 0.05), (1, 0.3), (2, 2.0)):
        cost = np.random.default_rng([seed, *shape]).random(shape)
        result = eot.assign(cost.copy(order), cost_limit=limit)
        assert_within(result, cost, limit)
        _, partners, _ = lap.lapjv(cost, extend_cost=True, cost_limit=limit)
        assert result.row_ind.tolist() == np.flatnonzero(partners >= 0).tolist()
        assert result.col_ind.tolist() == partners[partners >= 0].tolist()


@pytest.mark.parametrize("limit", [0, 3, 4, 20, -2])
def test_whole_costs_within_a_whole_limit_are_exact(limit):
    for seed in range(5):
        rng = np.random.default_rng([8, seed])
        cost, mask = rng.integers(-3, 9, (7, 9)), rng.random((7, 9)) < 0.6
        result = eot.assign(cost, mask=mask, cost_limit=limit)
        assert_within(result, cost.astype(float), limit, mask)
        assert result.gap == 0
        assert type(result.cost) is int
        assert limit * len(result[0]) - result.cost == gain(np.where(mask, cost, np.inf), limit)


@pytest.mark.parametrize("offset", [0.0, 1e10, 1e14])
def test_a_limit_beside_an_offset_of_the_costs(offset):
    rng = np.random.default_rng(9)
    grid = rng.integers(0, 100, (12, 15)).astype(float)
    result = eot.assign(grid + offset, cost_limit=20.0 + offset)
    assert (20.0 - grid[tuple(result)]).sum() == gain(grid, 20.0)


def test_the_largest_sum_of_pairs_worth_the_limit():
    rng = np.random.default_rng(10)
    worth = rng.random((8, 6))
    result = eot.assign(worth, maximize=True, cost_limit=0.7)
    assert (worth[tuple(result)] >= 0.7).all()
    assert (worth[tuple(result)] - 0.7).sum() == pytest.approx(gain(-worth, -0.7), rel=1e-14)
    mirrored = eot.assign(-worth, cost_limit=-0.7)
    assert (result.u == -mirrored.u).all()
    assert result.cost == -mirrored.cost


def test_nothing_to_match():
    for result in (
        eot.assign(np.ones((2, 3)), cost_limit=0.5),
        eot.assign(np.full((2, 3), np.inf), cost_limit=0.5),
        eot.assign(np.ones((2, 3)), mask=np.zeros((2, 3), bool), cost_limit=0.5),
    ):
        assert len(result[0]) == len(result[1]) == 0
        assert result.u.tolist() == [0.25, 0.25]
        assert result.unmatched_cost == 1.25
        assert result.gap == 0
    assert eot.assign(np.ones((0, 3)), cost_limit=0.5).unmatched_cost == 0.75


def test_a_limit_that_excludes_nothing():
    cost = np.random.default_rng(11).random((4, 6))
    assert (eot.assign(cost, cost_limit=np.inf).col_ind == eot.assign(cost).col_ind).all()
    assert (eot.assign(cost, True, cost_limit=-np.inf).col_ind == eot.assign(cost, True).col_ind).all()
    for limit, maximize in ((np.nan, False), (-np.inf, False), (np.inf, True)):
        with pytest.raises(ValueError, match=r"^cost_limit"):
            eot.assign(cost, maximize, cost_limit=limit)
    with pytest.raises(TypeError, match="cost_limit"):
        eot.assign(cost, cost_limit="cheap")


@pytest.mark.parametrize("share", [0.0, 1e-3, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (5, 12), (12, 5)])
def test_a_given_mass_is_carried_as_cheaply_as_pot_says(shape, share):
    for seed in range(3):
        rng = np.random.default_rng([12, seed, *shape])
        cost, a, b = rng.random(shape), rng.random(shape[0]), rng.random(shape[1]) * rng.uniform(0.3, 3.0)
        mass = share * min(a.sum(), b.sum())
        sol = eot.exact(cost, a, b, mass=mass)
        best = (cost * ot.partial.partial_wasserstein(a, b, cost, m=mass)).sum() if share else 0.0
        assert sol.value == pytest.approx(best, abs=1e-12)
        assert_of_mass(sol, cost, a, b, mass)


def assert_of_mass(sol, cost, a, b, mass):
    """Potentials of at most half the price of mass, and that where something is left."""
    total, half = a.sum() + b.sum(), 0.5 * sol.price
    rounding = 1e-13 * np.abs(np.concatenate([cost[np.isfinite(cost)], [sol.price]])).max()
    assert sol.mass.sum() == pytest.approx(mass, abs=1e-14 * total)
    assert (cost - sol.f[:, None] - sol.g).min() >= -rounding
    assert np.abs((cost - sol.f[:, None] - sol.g)[sol.row_ind, sol.col_ind]).max(initial=0.0) <= rounding
    for potential, weight, marginal in ((sol.f, a, sol.row_marginal), (sol.g, b, sol.col_marginal)):
        assert (marginal <= weight + 1e-14 * total).all()
        assert (potential <= half + rounding).all()
        left = weight - marginal > 1e-12 * total
        np.testing.assert_allclose(potential[left], half, rtol=0, atol=rounding)
    dual = sol.price * mass + a @ (sol.f - half) + b @ (sol.g - half)
    assert sol.dual_value == pytest.approx(dual, abs=10 * rounding * total)
    assert 0.0 <= sol.gap <= 10 * rounding * total
    assert sol.value == sol.transport_cost


def test_negative_costs_ties_and_an_offset_do_not_change_the_mass():
    rng = np.random.default_rng(13)
    a, b = rng.random(9), rng.random(7)
    grid = rng.integers(0, 4, (9, 7)).astype(float)
    best = (grid * ot.partial.partial_wasserstein(a, b, grid, m=2.0)).sum()
    for offset in (0.0, -2.0, 1e8, -1e8):
        sol = eot.exact(grid + offset, a, b, mass=2.0)
        assert_of_mass(sol, grid + offset, a, b, 2.0)
        assert (sol.mass * grid[sol.row_ind, sol.col_ind]).sum() == pytest.approx(best, abs=1e-12)


def test_the_price_of_mass_is_the_slope_of_the_value():
    rng = np.random.default_rng(14)
    cost, a, b = rng.random((10, 8)), rng.random(10), rng.random(8)
    for mass in (0.5, 1.5, 2.5):
        sol, more = (eot.exact(cost, a, b, mass=s) for s in (mass, mass + 1e-6))
        assert more.value - sol.value == pytest.approx(1e-6 * sol.price, rel=1e-6)


def test_masses_that_no_plan_has():
    cost, a = np.ones((2, 3)), np.array([0.2, 0.3])
    for mass in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match=rf"mass is {mass}"):
            eot.exact(cost, a, mass=mass)
    with pytest.raises(TypeError, match="mass"):
        eot.exact(cost, a, mass="all")
    with pytest.raises(eot.InfeasibleError, match=re.escape("mass is 0.6, and the lighter side has 0.5")):
        eot.exact(cost, a, mass=0.6)
    narrow = np.array([[1, 0, 0], [1, 0, 0]], bool)
    assert eot.exact(cost, a, mask=narrow, mass=1 / 3).value == pytest.approx(1 / 3)
    first, b = (np.array([[1, 0, 0], [1, 1, 1]], bool), np.array([0.1, 0.2, 0.2]))  # row 0 keeps 0.1
    assert eot.exact(cost, a, b, mask=first, mass=0.4).value == pytest.approx(0.4)
    with pytest.raises(eot.InfeasibleError, match=r"mass is 0\.45, more than the allowed cells"):
        eot.exact(cost, a, b, mask=first, mass=0.45)
    with pytest.raises(ValueError, match="mass"):
        eot.exact(cost, a, mass=0.1, cols=eot.TV(1.0))
    assert eot.exact(cost, a, mass=0.1, cols=eot.AtMost()).value == pytest.approx(0.1)


def test_pairs_are_drawn_by_their_mass():
    rng = np.random.default_rng(15)
    sol = eot.exact(rng.random((6, 5)), rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(5)))
    rows, cols = sol.sample(50_000, rng=1)
    assert rows.shape == cols.shape == (50_000,)
    counts = np.zeros((6, 5))
    np.add.at(counts, (rows, cols), 1)
    assert (counts[sol.plan == 0.0] == 0).all()
    kept = sol.plan > 0.0
    expected = sol.plan[kept] / sol.plan.sum() * 50_000
    assert chisquare(counts[kept], expected).pvalue > 1e-3  # seeded: the same draw always
    again = sol.sample(50_000, rng=np.random.default_rng(1))
    assert (again[0] == rows).all()
    assert "plan" not in eot.exact(np.eye(3)).__dict__
    assert sol.sample(0)[0].size == 0
    for size in (-1, 1.5, True):
        with pytest.raises(ValueError, match="size"):
            sol.sample(size)
    with pytest.raises(ValueError, match="no mass"):
        eot.exact(np.ones((2, 2)), rows=eot.TV(0.1), cols=eot.TV(0.1)).sample(1)


@pytest.mark.parametrize("mass", [1e-6, 1e-20, 1e-200])
def test_a_mass_far_below_the_weights_keeps_its_digits(mass):
    cost = np.random.default_rng(16).random((4, 5))
    sol = eot.exact(cost, mass=mass)
    assert sol.mass.sum() == pytest.approx(mass, rel=1e-15)
    assert sol.value == pytest.approx(mass * cost.min(), rel=1e-14)
    assert sol.price == pytest.approx(cost.min(), rel=1e-14)
    assert sol.gap <= 1e-14 * mass
