"""A constant that all costs have in common changes nothing next to a fixed side but its potentials and the value.

Costs are multiples of 2**-12 below 1 and offsets are integers, so that sums are exact and both solves see equal costs.
"""

import numpy as np
import pytest

import elastic_ot as eot

OFFSETS = [2.0**20, -(2.0**33), 2.0**39]
SIDES = {
    "fixed": (eot.Fixed(), eot.Fixed()),
    "soft columns": (eot.Fixed(), eot.KL(0.7)),
    "soft rows": (eot.KL(0.4), eot.Fixed()),
    "bounds": (eot.Fixed(), eot.Between(0.5, 1.5)),
}
EPSILON = 0.0625


def problem(shape=(12, 9)):
    rng = np.random.default_rng(5)
    cost = rng.integers(0, 2**12, shape) / 2.0**12
    a, b = rng.dirichlet(np.ones(shape[-2])), rng.dirichlet(np.ones(shape[-1]))
    return cost, a, b


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES)
@pytest.mark.parametrize("method", ["auto", "log", "newton"])
def test_a_solve_is_that_of_the_differences(method, sides, order, offset):
    cost, a, b = problem()
    options = {"epsilon": EPSILON, "rows": sides[0], "cols": sides[1], "tol": 1e-9, "method": method}
    high = eot.solve(np.array(cost + offset, order=order), a, b, **options, on_failure="raise")
    low = eot.solve(np.array(cost, order=order), a, b, **options)
    np.testing.assert_allclose(high.plan, low.plan, rtol=1e-7, atol=0)
    first = isinstance(sides[0], eot.Fixed)
    moved = (offset, 0.0) if first else (0.0, offset)
    mass = low.row_marginal.sum() if first else low.col_marginal.sum()
    close = {"rtol": 0, "atol": 1e-8 + 2e-15 * abs(offset)}
    np.testing.assert_allclose(high.f, low.f + moved[0], **close)
    np.testing.assert_allclose(high.g, low.g + moved[1], **close)
    for name in ("dual_value", "value", "transport_cost"):
        np.testing.assert_allclose(getattr(high, name), getattr(low, name) + offset * mass, **close)
    np.testing.assert_allclose(high.bounds(), np.array(low.bounds()) + offset * mass, **close)
    assert high.gap <= max(2 * low.gap, 1e-8)
    one, other = high.gradients(), low.gradients()
    np.testing.assert_allclose(one.a, other.a + moved[0], **close)
    np.testing.assert_allclose(one.b, other.b + moved[1], **close)
    np.testing.assert_allclose(one.epsilon, other.epsilon, rtol=1e-6)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES)
def test_potentials_begin_where_another_solve_ended(sides, offset):
    cost, a, b = problem()
    options = {"epsilon": EPSILON, "rows": sides[0], "cols": sides[1], "tol": 1e-9, "method": "log"}
    high = eot.solve(cost + offset, a, b, **options)
    assert eot.solve(cost + offset, a, b, **options, init=high, on_failure="raise").n_iter <= 3
    many = eot.solve((cost + offset)[None], a, b, **options, init=high, on_failure="raise")
    assert many.n_iter <= 10


@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES)
@pytest.mark.parametrize("mask", [False, True])
def test_each_problem_of_a_batch_has_its_own(mask, sides):
    cost, a, b = problem((5, 12, 9))
    if mask:
        cost[:, np.arange(9), np.arange(9)] = np.inf
    offsets = np.array([0.0, 3.0, *OFFSETS])
    options = {"epsilon": EPSILON, "rows": sides[0], "cols": sides[1], "tol": 1e-9}
    high = eot.solve(cost + offsets[:, None, None], a, b, **options, on_failure="raise")
    for k, offset in enumerate(offsets):
        low, one = eot.solve(cost[k], a, b, **options), high[k]
        mass = low.row_marginal.sum() if isinstance(sides[0], eot.Fixed) else low.col_marginal.sum()
        close = {"rtol": 0, "atol": 1e-7 + 2e-15 * abs(offset)}
        np.testing.assert_allclose(high.plan[k], low.plan, rtol=1e-6, atol=1e-9)
        moved = (offset, 0.0) if isinstance(sides[0], eot.Fixed) else (0.0, offset)
        for f, g in ((high.f[k], high.g[k]), (one.f, one.g)):
            np.testing.assert_allclose(f, low.f + moved[0], **close)
            np.testing.assert_allclose(g, low.g + moved[1], **close)
        for name in ("dual_value", "value", "transport_cost"):
            for found in (getattr(high, name)[k], getattr(one, name)):
                np.testing.assert_allclose(found, getattr(low, name) + offset * mass, **close)
    gradients = high.gradients()
    np.testing.assert_allclose(gradients.a[4], high[4].gradients().a, rtol=1e-7, atol=1e-9)


def test_float32_costs_keep_what_they_hold():
    cost, a, b = problem()
    steps = np.rint(64 * cost) / 64  # float32 holds these plus 2**17 exactly
    high = eot.solve((steps + 2.0**17).astype(np.float32), a, b, epsilon=EPSILON, tol=1e-7, on_failure="raise")
    low = eot.solve(steps, a, b, epsilon=EPSILON, tol=1e-9)
    np.testing.assert_allclose(high.plan, low.plan, rtol=1e-4)


def test_a_number_of_iterations_stays_what_it_is():
    """With a soft first side the constant is no change of the first update's potentials, so it is not taken off."""
    cost, a, b = problem()
    options = {"epsilon": EPSILON, "tol": 0, "max_iter": 3}
    for sides in SIDES.values():
        found = eot.solve(cost + 2.0**12, a, b, rows=sides[0], cols=sides[1], **options)
        many = eot.solve((cost + 2.0**12)[None], a, b, rows=sides[0], cols=sides[1], **options)
        np.testing.assert_allclose(found.plan, many.plan[0], rtol=1e-8, atol=1e-300)


@pytest.mark.parametrize("offset", OFFSETS)
def test_divergences_take_it_off_each_cost(offset):
    rng = np.random.default_rng(6)
    x, y = rng.integers(0, 64, 8) / 64.0, rng.integers(0, 64, 7) / 64.0
    costs = [np.abs(p[:, None] - q) for p, q in ((x, y), (x, x), (y, y))]
    options = {"epsilon": EPSILON, "tol": 1e-9, "on_failure": "raise"}
    low, high = eot.divergence(*costs, **options), eot.divergence(*(c + offset for c in costs), **options)
    np.testing.assert_allclose(high.value, low.value, rtol=1e-6, atol=1e-9)
    mixed = eot.divergence(costs[0] + offset, *costs[1:], **options)
    np.testing.assert_allclose(mixed.value, low.value + offset, rtol=2e-15, atol=1e-8)
    np.testing.assert_allclose(mixed.cross.f, low.cross.f + offset, rtol=2e-15, atol=1e-7)
