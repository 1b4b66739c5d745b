"""Plans of a given mass: POT's Bregman projections, `exact` in the limit, finite differences for derivatives."""

import numpy as np
import ot
import pytest
from scipy.optimize import linprog

import elastic_ot as eot
from elastic_ot.problems.build import build
from elastic_ot.solvers.feasibility import most_mass

EPSILON = 0.05


def problem(n=7, m=9, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, m)), rng.dirichlet(np.ones(n)), 1.3 * rng.dirichlet(np.ones(m))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("share", [0.2, 0.7, 0.99])
def test_pot_has_the_same_plan(share, order):
    cost, a, b = problem()
    found = eot.solve(
        np.array(cost, order=order),
        a,
        b,
        epsilon=EPSILON,
        mass=share,
        reference="counting",
        tol=1e-9,
        on_failure="raise",
    )
    plan = ot.partial.entropic_partial_wasserstein(a, b, cost, EPSILON, m=share, numItermax=10_000, stopThr=1e-14)
    np.testing.assert_allclose(found.plan, plan, rtol=0, atol=1e-8)
    assert abs(found.row_marginal.sum() - share) <= 1e-9
    assert found.gap <= 1e-7
    assert isinstance(found.price, float)


@pytest.mark.parametrize("side", ["rows", "cols"])
def test_all_of_the_lighter_side_is_a_fixed_side(side):
    cost, a, b = problem()
    cost, a, b = (cost, a, b) if side == "rows" else (cost.T, b, a)
    found = eot.solve(cost, a, b, epsilon=EPSILON, mass=1.0, tol=1e-10)
    fixed = eot.solve(
        cost, a, b, epsilon=EPSILON, tol=1e-10, **{"rows": eot.AtMost(), "cols": eot.AtMost(), side: eot.Fixed()}
    )
    np.testing.assert_allclose(found.plan, fixed.plan, atol=1e-9)


PAIRS = [
    (eot.AtMost(), eot.AtMost()),
    (eot.KL(0.5), eot.AtMost()),
    (eot.TV(0.3), eot.KL(2.0)),
    (eot.L2(1.0), eot.Free()),
    (eot.Between(0.2, 2.0), eot.AtMost()),
]


@pytest.mark.parametrize("method", ["auto", "newton", "log"])
@pytest.mark.parametrize(("rows", "cols"), PAIRS, ids=str)
def test_the_price_is_the_derivative_of_the_value(rows, cols, method):
    cost, a, b = problem(seed=1)
    options = {"epsilon": EPSILON, "rows": rows, "cols": cols, "tol": 1e-11, "method": method, "on_failure": "ignore"}
    low, found, high = (eot.solve(cost, a, b, mass=s, **options) for s in (0.6 - 1e-4, 0.6, 0.6 + 1e-4))
    np.testing.assert_allclose(found.price, (high.value - low.value) / 2e-4, rtol=1e-4, atol=1e-6)
    # the plan is that of the costs less the price, and its formula holds for the potentials
    other = eot.solve(cost - found.price, a, b, **options)
    np.testing.assert_allclose(other.plan, found.plan, rtol=0, atol=1e-8)
    formula = a[:, None] * b * np.exp((found.f[:, None] + found.g - cost) / EPSILON)
    np.testing.assert_allclose(formula, found.plan, rtol=1e-9, atol=1e-300)
    again = eot.solve(cost, a, b, mass=0.6, **options, init=found)
    assert again.n_iter <= found.n_iter
    np.testing.assert_allclose(again.plan, found.plan, atol=1e-8)


def test_bounds_enclose_the_exact_value():
    cost, a, b = problem()
    exact = ot.partial.partial_wasserstein2(a, b, cost, m=0.6)
    for epsilon in (0.1, 1e-2, 1e-3):
        lower, upper = eot.solve(cost, a, b, epsilon=epsilon, mass=0.6, tol=1e-8).bounds()
        assert lower - 1e-9 <= exact <= upper + 1e-6
    assert upper - lower < 5e-3


@pytest.mark.parametrize(("rows", "cols"), PAIRS[:4], ids=str)
def test_derivatives_by_finite_differences(rows, cols):
    cost, a, b = problem(5, 6, seed=2)
    rng = np.random.default_rng(3)
    options = {"rows": rows, "cols": cols, "tol": 1e-12, "method": "newton", "on_failure": "ignore"}
    bars = rng.standard_normal((5, 6)), rng.standard_normal(5), rng.standard_normal(6)
    steps = rng.standard_normal((5, 6)), 0.1 * rng.standard_normal(5) * a, 0.1 * rng.standard_normal(6) * b, 0.01
    h = 1e-5

    def at(t):
        moved = (x + t * step for x, step in zip((cost, a, b, EPSILON), steps, strict=True))
        c, p, q, epsilon = moved
        return eot.solve(c, p, q, epsilon=epsilon, mass=0.6, **options)

    def weigh(found):
        return (bars[0] * found.plan).sum() + bars[1] @ found.f + bars[2] @ found.g

    here, up, down = at(0.0), at(h), at(-h)
    direction = dict(zip(("cost", "a", "b", "epsilon"), steps, strict=True))
    pulled = here.vjp(*bars)
    expected = (weigh(up) - weigh(down)) / (2 * h)
    got = (pulled.cost * steps[0]).sum() + pulled.a @ steps[1] + pulled.b @ steps[2] + pulled.epsilon * steps[3]
    np.testing.assert_allclose(got, expected, rtol=2e-4)
    pushed = here.jvp(**direction)
    np.testing.assert_allclose(pushed.plan, (up.plan - down.plan) / (2 * h), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(pushed.f, (up.f - down.f) / (2 * h), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(pushed.g, (up.g - down.g) / (2 * h), rtol=1e-3, atol=1e-5)
    value = here.gradients()
    slope = (value.cost * steps[0]).sum() + value.a @ steps[1] + value.b @ steps[2] + value.epsilon * steps[3]
    np.testing.assert_allclose(slope, (up.value - down.value) / (2 * h), rtol=1e-4)
    bent, one, other = here.hvp(**direction), up.gradients(), down.gradients()
    np.testing.assert_allclose(bent.cost, (one.cost - other.cost) / (2 * h), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(bent.a, (one.a - other.a) / (2 * h), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(bent.epsilon, (one.epsilon - other.epsilon) / (2 * h), rtol=1e-3, atol=1e-4)


def test_masks_limit_the_mass():
    cost = np.array([[0.0, np.inf], [0.0, np.inf], [np.inf, 1.0]])
    found = eot.solve(cost, epsilon=0.1, mass=0.8, tol=1e-9)  # 1/2 through the first column, 1/3 through the second
    assert found.converged
    np.testing.assert_allclose(found.plan.sum(), 0.8, atol=1e-8)
    with pytest.raises(eot.InfeasibleError, match=r"the allowed cells carry at most 0\.83"):
        eot.solve(cost, epsilon=0.1, mass=0.9)


def test_the_largest_mass_under_a_mask_is_that_of_linear_programming():
    rng = np.random.default_rng(3)
    for _ in range(5):
        cost, a, b = np.where(rng.random((6, 8)) < 0.3, 0.0, np.inf), rng.random(6), rng.random(8)
        i, j = np.nonzero(np.isfinite(cost))
        sums = np.concatenate([np.arange(6)[:, None] == i, np.arange(8)[:, None] == j])
        expected = -linprog(-np.ones(i.size), sums, np.concatenate([a, b])).fun
        problem = build(cost, a, b, 0.1, eot.AtMost(), eot.AtMost(), "product", None)
        assert most_mass(problem) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    ("mass", "error", "text"),
    [
        (0.0, ValueError, "positive and finite"),
        (-1.0, ValueError, "positive and finite"),
        (np.nan, ValueError, "positive and finite"),
        (1.1, eot.InfeasibleError, r"mass is 1.1; rows=AtMost\(\) and cols=AtMost\(\) allow 0 to 1"),
        ("much", TypeError, "mass"),
    ],
)
def test_refusals(mass, error, text):
    cost, a, b = problem()
    with pytest.raises(error, match=text):
        eot.solve(cost, a, b, epsilon=0.1, mass=mass)


def test_what_knows_no_mass_says_so():
    cost, a, b = problem()
    with pytest.raises(ValueError, match="one by one"):
        eot.solve(cost[None], a, b, epsilon=0.1, mass=0.5)
    with pytest.raises(ValueError, match="know no mass"):
        eot.solve(cost, a, b, epsilon=0.1, mass=0.5, tol=0)
