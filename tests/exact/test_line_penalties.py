"""Penalties on the line: every result by its own proof, linear ones against linear programmes, limits and refusals."""

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import elastic_ot as eot

SIDES = {
    "fixed": eot.Fixed(),
    "kl": eot.KL(0.3),
    "tv": eot.TV(0.4),
    "l2": eot.L2(30.0),
    "at most": eot.AtMost(),
    "between": eot.Between(0.4, 1.7),
    "at least": eot.Between(0.3, np.inf),
    "free": eot.Free(),
}
LINEAR = ("fixed", "tv", "at most", "between", "at least", "free")
PAIRS = [(rows, cols) for rows in SIDES for cols in SIDES if (rows, cols) != ("fixed", "fixed")]


def phi(name, r, a):
    """The penalties by their definitions; bounds are asserted."""
    if name == "kl":
        return 0.3 * (np.where(r > 0, r * np.log(np.where(r > 0, r, 1.0) / a), 0.0) - r + a).sum()
    if name == "tv":
        return 0.4 * np.abs(r - a).sum()
    if name == "l2":
        return 15.0 * ((r - a) ** 2).sum()
    low, high = {"fixed": (1, 1), "at most": (0, 1), "between": (0.4, 1.7), "at least": (0.3, np.inf)}.get(
        name, (0, np.inf)
    )
    assert (r >= low * a - 1e-14).all()
    assert (r <= high * a + 1e-14).all()
    return 0.0


def dual(name, f, a):
    """-phi*(-f), a supremum over marginals r of -f r - phi(r), in closed form."""
    if name == "kl":
        return 0.3 * (a * (1.0 - np.exp(-f / 0.3))).sum()
    if name == "tv":
        assert (f >= -0.4 - 1e-12).all()
        return (a * np.minimum(f, 0.4)).sum()
    if name == "l2":
        r = np.maximum(a - f / 30.0, 0.0)
        return (f * r + 15.0 * (r - a) ** 2).sum()
    low, high = {"fixed": (1, 1), "at most": (0, 1), "between": (0.4, 1.7), "at least": (0.3, 0)}.get(name, (0, 0))
    if not high:
        assert (f >= -1e-14).all()
    return (a * np.where(f < 0, high * f, low * f)).sum()


def problem(seed, n, m, ties=False, zeros=False, mass=1.3):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=n), 0.5 + 1.5 * rng.normal(size=m)
    if ties:
        x, y = np.round(2.0 * x), np.round(2.0 * y)
    a, b = rng.random(n) + 0.01, rng.random(m) + 0.01
    if zeros:
        a[rng.random(n) < 0.3], b[rng.random(m) < 0.3] = 0.0, 0.0
        a[0] = b[-1] = 1.0
    return x, y, a / a.sum(), mass * b / b.sum()


def assert_proved(sol, x, y, a, b, p, sides, tol=1e-9):
    """The plan and the potentials prove each other, all of it computed here."""
    cost = np.abs(x[:, None] - y) ** p
    largest = max(cost.max(), 1.0)
    assert (sol.f[:, None] + sol.g <= cost + 1e-12 * max(largest, np.abs(sol.f).max(), np.abs(sol.g).max())).all()
    used_a, used_b = a > 0, b > 0
    r, c = sol.plan.sum(axis=1), sol.plan.sum(axis=0)
    np.testing.assert_allclose(r, sol.row_marginal, atol=1e-13)
    assert (sol.plan[~used_a] == 0).all()
    assert (sol.plan[:, ~used_b] == 0).all()
    transport = (sol.plan * cost).sum()
    value = transport + phi(sides[0], r[used_a], a[used_a]) + phi(sides[1], c[used_b], b[used_b])
    bound = dual(sides[0], sol.f[used_a], a[used_a]) + dual(sides[1], sol.g[used_b], b[used_b])
    rounding = 1e-12 * largest
    assert sol.transport_cost == pytest.approx(transport, rel=1e-12, abs=rounding)
    assert sol.value == pytest.approx(value, rel=1e-10, abs=rounding)
    assert sol.dual_value == pytest.approx(bound, rel=1e-10, abs=rounding)
    assert -rounding <= value - bound <= tol * abs(value) + rounding
    assert sol.status.name == "OPTIMAL"


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0])
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 60),
    m=st.integers(1, 60),
    sides=st.sampled_from(PAIRS),
    ties=st.booleans(),
    zeros=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_every_solution_is_proved(p, seed, n, m, sides, ties, zeros):
    x, y, a, b = problem(seed, n, m, ties, zeros)
    options = {"metric": p, "rows": SIDES[sides[0]], "cols": SIDES[sides[1]]}
    try:
        sol = eot.transport_1d(x, y, a, b, **options)
    except eot.InfeasibleError:
        assert set(sides) <= {"fixed", "at most", "between", "at least"}
        return
    assert_proved(sol, x, y, a, b, p, sides)


@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize("rows", LINEAR)
@pytest.mark.parametrize("cols", ["tv", "between", "free"])
def test_linear_penalties_have_the_value_of_the_linear_programme(p, rows, cols):
    x, y, a, b = problem(3, 35, 50)
    options = {"rows": SIDES[rows], "cols": SIDES[cols]}
    cost = np.abs(x[:, None] - y) ** p
    expected = eot.exact(cost, a, b, **options).value
    rounding = 2e-13 * cost.max()
    assert eot.transport_1d(x, y, a, b, metric=p, **options).value == pytest.approx(expected, rel=2e-9, abs=rounding)


def test_relative_entropy_has_the_value_of_majorisation_and_of_small_epsilon():
    x, y, a, b = problem(4, 30, 40)
    cost = (x[:, None] - y) ** 2
    sol = eot.transport_1d(x, y, a, b, rows=eot.KL(1.0), cols=eot.KL(1.0))
    plan = ot.unbalanced.mm_unbalanced(a, b, cost, reg_m=1.0, div="kl", numItermax=20000, stopThr=1e-12)
    r, c = plan.sum(axis=1), plan.sum(axis=0)
    value = (plan * cost).sum() + sum((z * np.log(z / w) - z + w).sum() for z, w in ((r, a), (c, b)))
    assert sol.value <= value * (1 + 1e-9)
    assert sol.value == pytest.approx(value, rel=1e-4)
    entropic = eot.solve(cost, a, b, epsilon=1e-4, rows=eot.KL(1.0), cols=eot.KL(1.0), method="newton", tol=1e-8)
    np.testing.assert_allclose(sol.row_marginal, entropic.row_marginal, atol=2e-3)


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_a_strong_penalty_tends_to_given_weights(p):
    x, y, a, b = problem(5, 40, 30, mass=1.0)
    fixed = eot.transport_1d(x, y, a, b, metric=p)
    strong = eot.transport_1d(x, y, a, b, metric=p, rows=eot.KL(1e5), cols=eot.KL(1e5))
    # to first order: what is gained is half of sum(a f^2) / rho on either side, for potentials that balance the masses
    f, g = fixed.f, fixed.g
    shift = (b @ g - a @ f) / 2.0
    gain = (a @ (f + shift) ** 2 + b @ (g - shift) ** 2) / 2e5
    assert 0 < fixed.value - strong.value < 1.01 * gain
    infinite = eot.transport_1d(x, y, a, b, metric=p, rows=eot.KL(np.inf), cols=eot.TV(np.inf))
    assert infinite.value == pytest.approx(fixed.value, rel=1e-9)


def test_one_pair_in_closed_form():
    """The mass z between two points solves d + rho log(z / a) + rho log(z / b) = 0."""
    d, rho, a, b = 0.7, 0.4, 2.0, 0.5
    sol = eot.transport_1d([0.0], [d], [a], [b], metric=1, rows=eot.KL(rho), cols=eot.KL(rho), tol=1e-12)
    assert sol.mass[0] == pytest.approx(np.sqrt(a * b) * np.exp(-d / (2 * rho)), rel=1e-6)
    far = eot.transport_1d([0.0], [d], [a], [b], metric=1, rows=eot.TV(0.3), cols=eot.TV(0.3))
    assert far.mass.size == 0 or far.mass[0] < 1e-9
    assert far.value == pytest.approx(0.3 * (a + b))


def test_points_that_are_all_one():
    sol = eot.transport_1d(np.zeros(4), np.zeros(3), rows=eot.KL(1.0), cols=eot.KL(2.0), b=np.full(3, 1.0))
    assert sol.row_marginal.sum() == pytest.approx(3.0 ** (2 / 3), rel=1e-4)  # z with log z + 2 log(z / 3) = 0
    assert sol.transport_cost == 0.0


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_many_problems_are_each_their_own(p):
    rng = np.random.default_rng(6)
    x, y, a = rng.normal(size=(2, 3, 20)), rng.normal(size=15), rng.random((3, 20))
    rows, cols = eot.KL(np.array([0.1, 1.0, 10.0])), eot.TV(0.5)
    many = eot.transport_1d(x, y, a, metric=p, rows=rows, cols=cols)
    assert many.value.shape == (2, 3)
    for k in np.ndindex(2, 3):
        one = eot.transport_1d(x[k], y, a[k[1]], metric=p, rows=eot.KL(rows.rho[k[1]]), cols=cols)
        assert many.value[k] == one.value
        np.testing.assert_array_equal(many[k].plan, one.plan)
        assert many[k].problem.rows == eot.KL(rows.rho[k[1]])
        np.testing.assert_array_equal(many.f[k], one.f)


def test_sizes_from_which_levels_are_made():
    rng = np.random.default_rng(7)
    for n, m in ((41, 41), (300, 7), (7, 300), (700, 450)):
        x, y = rng.normal(size=n), rng.normal(1.0, 2.0, size=m)
        a, b = rng.random(n), rng.random(m)
        a, b = a / a.sum(), 1.3 * b / b.sum()
        sol = eot.transport_1d(x, y, a, b, rows=SIDES["kl"], cols=SIDES["tv"])
        assert_proved(sol, x, y, a, b, 2.0, ("kl", "tv"))


def test_derivatives_in_the_points():
    x, y, a, b = problem(8, 12, 9)

    def value(x):
        return eot.transport_1d(x, y, a, b, rows=SIDES["kl"], cols=SIDES["kl"], tol=1e-12).value

    found = eot.transport_1d(x, y, a, b, rows=SIDES["kl"], cols=SIDES["kl"], tol=1e-12).gradients().x
    step = 1e-4
    for i in range(3):
        there, back = x.copy(), x.copy()
        there[i], back[i] = x[i] + step, x[i] - step
        assert found[i] == pytest.approx((value(there) - value(back)) / (2 * step), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"rows": eot.Elastic(0.5)}, ValueError, "no epsilon; choose KL"),
        ({"rows": "kl"}, TypeError, "rows must be a penalty"),
        ({"cols": eot.KL([1.0, 2.0])}, ValueError, r"strengths for problems \(2,\)"),
        ({"cols": eot.KL([1.0, np.inf]), "x": [[0.0, 1.0]] * 2}, ValueError, "problem 1 has no penalty"),
        ({"cols": eot.KL(1.0), "tol": 0.0}, ValueError, "tol is 0.0"),
        ({"cols": eot.KL(1.0), "on_failure": "hope"}, ValueError, "on_failure"),
        ({"cols": eot.AtMost(), "a": [2.0, 1.0]}, eot.InfeasibleError, "no plan has both"),
        ({"cols": eot.Between(2.0, 3.0), "rows": eot.AtMost()}, eot.InfeasibleError, "no plan has both"),
    ],
)
def test_refusals(options, error, match):
    with pytest.raises(error, match=match):
        eot.transport_1d(**{"x": [0.0, 1.0], "y": [0.5, 2.0], **options})


def test_an_impossible_problem_of_many_is_named():
    with pytest.raises(eot.InfeasibleError, match="problem 1: "):
        eot.transport_1d([0.0, 1.0], [0.5], [[0.1, 0.1], [2.0, 1.0]], cols=eot.AtMost())


@pytest.mark.parametrize("far", [1e3, 1e8, 1e12, 1e100])
@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize("rho", [1e-12, 1.0, 1e12])
def test_no_scale_makes_a_gap_pass_for_rounding(far, p, rho):
    """A point far away must not decide what is rounding: what calls itself optimal has a small gap."""
    options = {"metric": p, "rows": eot.KL(rho), "cols": eot.TV(1.0), "on_failure": "ignore"}
    sol = eot.transport_1d([0.0, far], [1.0, 5.0], **options)
    nothing = rho + 1.0
    assert sol.value <= nothing * (1 + 1e-12)
    assert sol.status.name != "OPTIMAL" or sol.gap <= 1e-9 * sol.value + 1e-13 * nothing


@pytest.mark.slow
@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize("rho", [0.01, 0.3, 100.0])
def test_ten_thousand_points(p, rho):
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=10_000), rng.normal(1.0, 2.0, size=9_000)
    # for strong penalties rounding of the Newton steps of so many points leaves about 1e-9 of the value
    sol = eot.transport_1d(x, y, rows=eot.KL(rho), cols=eot.KL(rho), metric=p, tol=1e-8)
    assert sol.gap <= 1e-8 * sol.value
    rows = rng.integers(0, 10_000, 500)
    assert (sol.f[rows, None] + sol.g <= np.abs(x[rows, None] - y) ** p + 1e-11).all()
