"""The gap, the rounded plan and the bounds on unregularised transport, at convergence and before it."""

import numpy as np
import pytest
from scipy.special import rel_entr

import elastic_ot as eot
from helpers.limit_by_scipy import linear_optimum
from helpers.oracle import HARD, METHODS, PENALTIES, ULP64, random_case, spec_id

SOFT = [spec for spec in PENALTIES if spec[0] not in HARD]
LINEAR = [("Fixed",), ("TV", 0.3), ("Between", 0.6, 1.4), ("AtMost",), ("Free",)]
STEPS = [1, 2, 5, 20, 2000]


def early(case, steps, **options):
    return case.solve(max_iter=steps, tol=1e-12, on_failure="ignore", **options)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rows", PENALTIES, ids=spec_id)
@pytest.mark.parametrize("cols", PENALTIES, ids=spec_id)
def test_the_optimum_lies_between_the_dual_value_and_the_value_at_every_step(rows, cols, method):
    case = random_case(91, 6, 8, rows=rows, cols=cols)
    best = case.solve(tol=1e-12, on_failure="raise")
    for steps in STEPS:
        solution = early(case, steps, method=method)
        assert solution.dual_value <= best.value + 1e-12
        assert best.dual_value <= solution.value + 1e-12
        assert solution.gap >= 0.0
        if np.isfinite(solution.value):
            assert solution.gap == pytest.approx(solution.value - solution.dual_value, abs=1e-13)


@pytest.mark.parametrize("rows", SOFT, ids=spec_id)
@pytest.mark.parametrize("cols", SOFT, ids=spec_id)
def test_the_gap_bounds_the_divergence_from_the_optimal_plan(rows, cols):
    case = random_case(92, 6, 8, rows=rows, cols=cols)
    best = case.solve(tol=1e-12, on_failure="raise")
    for steps in STEPS:
        solution = early(case, steps)
        plan = solution.plan
        divergence = (rel_entr(plan, best.plan) - plan + best.plan).sum()
        assert case.epsilon * divergence <= solution.gap + 1e-12


@pytest.mark.parametrize("steps", STEPS)
def test_the_gap_of_fixed_rows_and_kl_columns_has_a_closed_form(steps):
    case = random_case(93, rows=("Fixed",), cols=("KL", 0.7))
    solution = early(case, steps, method="log")
    attained, wanted = solution.col_marginal, case.b * np.exp(-solution.g / 0.7)
    closed_form = 0.7 * (rel_entr(attained, wanted) - attained + wanted).sum()
    assert solution.gap == pytest.approx(closed_form, rel=1e-6, abs=1e-14)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("rows", PENALTIES, ids=spec_id)
@pytest.mark.parametrize("cols", PENALTIES, ids=spec_id)
@pytest.mark.parametrize("steps", [1, 3, 2000])
def test_the_rounded_plan_meets_every_hard_side(rows, cols, dtype, steps):
    case = random_case(94, rows=rows, cols=cols, dtype=dtype)
    exact = case.rounded_to_dtype
    rounded = np.asarray(early(case, steps).rounded_plan(), dtype=float)
    assert (rounded >= 0.0).all()
    # 17 terms a sum, each rounded once, in double precision whatever the cost is in.
    slack = 20 * ULP64 * case.mass
    for spec, weight, axis in exact.sides:
        if spec[0] == "Fixed":
            np.testing.assert_allclose(rounded.sum(axis=axis), weight, rtol=0, atol=slack)
        elif spec[0] == "Between":
            assert (rounded.sum(axis=axis) >= spec[1] * weight - slack).all()
            assert (rounded.sum(axis=axis) <= spec[2] * weight + slack).all()


@pytest.mark.parametrize("steps", [1, 2, 5, 2000])
def test_rounding_moves_no_more_than_twice_the_marginal_error(steps):
    case = random_case(95, epsilon=0.05)
    solution = early(case, steps, method="log")
    error = case.residual(solution.f, solution.g)
    assert solution.marginal_error == pytest.approx(error, rel=1e-9, abs=1e-13)
    # Altschuler, Weed and Rigollet (2017), lemma 7.
    assert np.abs(solution.rounded_plan() - solution.plan).sum() <= 2.0 * error + 1e-14


def test_rounding_keeps_zero_weights_empty():
    case = random_case(96)
    a, b = case.a.copy(), case.b.copy()
    a[3] = b[5] = 0.0
    case = case.but(a=a / a.sum(), b=b / b.sum())
    rounded = early(case, 2).rounded_plan()
    assert (rounded[3] == 0.0).all()
    assert (rounded[:, 5] == 0.0).all()
    np.testing.assert_allclose(rounded.sum(axis=0), case.b, atol=1e-15)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("rows", PENALTIES, ids=spec_id)
@pytest.mark.parametrize("cols", [("Fixed",), ("Between", 0.6, 1.4), ("Between", 0.5, np.inf)], ids=spec_id)
@pytest.mark.parametrize("epsilon", [1e-3, 1e-1])
def test_marginals_far_from_their_goal_leave_no_false_certificate(epsilon, rows, cols, dtype):
    # One step from a wild start: some marginals underflow to 0, others reach 1e17 or more.
    case = random_case(94, 5, 6, rows=rows, cols=cols, epsilon=epsilon, dtype=dtype)
    optimum = case.solve(tol=1e-5, max_iter=200_000, on_failure="ignore")
    rng = np.random.default_rng(95)
    for _ in range(2):
        spread = 300.0 * epsilon
        init = spread * rng.normal(size=5), spread * rng.normal(size=6)
        for method in METHODS:
            solution = early(case, 1, method=method, init=init)
            lower, upper = solution.bounds()
            assert lower <= upper + 1e-6
            assert solution.gap >= 0.0
            assert solution.dual_value <= optimum.value * (1.0 + 1e-9)
            if solution.gap < np.inf:
                # A dual value of -1e280 leaves value = dual_value + gap no digits.
                assert solution.value >= optimum.dual_value - 1e-9 - 1e-12 * solution.gap
                rounded = solution.rounded_plan()
                assert (rounded >= 0.0).all()
                slack = 1e-9 * rounded.sum() + 1e-12
                assert np.isfinite(case.rounded_to_dtype.unregularised(rounded, slack=slack))


HARD = [(("Fixed",), ("AtMost",)), (("Between", 0.6, 1.4), ("AtMost",)), (("AtMost",), ("AtMost",))]
HARD += [(rows, ("KL", 0.7)) for rows, _ in HARD]
MORE = [(rows, ("Between", 0.6, 1.4)) for rows, _ in HARD[:3]]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("rows", "cols"), [*HARD, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in MORE)])
def test_forbidden_cells_and_wild_starts_leave_no_false_certificate(rows, cols):
    # Where the plan underflows on the allowed cells no scaling makes it feasible: no bound and no rounded plan then.
    rng = np.random.default_rng(96)
    for seed in range(12):
        n, m = int(rng.integers(1, 8)), int(rng.integers(1, 8))
        mask = rng.random((n, m)) > 0.3
        case = random_case(seed, n, m, rows=rows, cols=cols, epsilon=5e-4, mask=mask)
        for method in METHODS:
            init = 0.05 * rng.normal(size=n), 0.05 * rng.normal(size=m)
            try:
                solution = early(case, int(rng.integers(1, 4)), method=method, init=init)
            except eot.InfeasibleError:
                continue
            lower, upper = solution.bounds()
            assert lower <= upper + 1e-9
            assert solution.gap >= 0.0
            if solution.gap < np.inf:
                rounded = solution.rounded_plan()
                assert (rounded >= 0.0).all()
                assert (rounded[~mask] == 0.0).all()
                assert np.isfinite(case.unregularised(rounded, slack=1e-9 * rounded.sum()))


def test_a_converged_masked_problem_has_a_finite_certificate():
    case = random_case(97, 9, 9)
    mask = np.random.default_rng(98).random((9, 9)) > 0.3
    np.fill_diagonal(mask, True)
    solution = case.but(mask=mask).solve(tol=1e-10, on_failure="raise")
    assert 0.0 <= solution.gap <= 1e-7
    assert (solution.rounded_plan()[~mask] == 0.0).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("rows", "cols"),
    [
        pytest.param(rows, cols, id=f"{spec_id(rows)}/{spec_id(cols)}")
        for rows in LINEAR
        for cols in LINEAR
        if (rows, cols) != (("Free",), ("Free",))
    ],
)
def test_bounds_enclose_the_linear_programme_at_every_step(rows, cols, dtype):
    case = random_case(99, 5, 6, rows=rows, cols=cols, epsilon=0.02, dtype=dtype)
    case = case.but(cost=case.cost - 0.2)
    optimum, _ = linear_optimum(case.rounded_to_dtype)
    # The rounded plan is of the cost's dtype, and its feasibility with it.
    slack = 1e-12 if dtype == np.float64 else 1e-6
    for steps in STEPS:
        lower, upper = early(case, steps).bounds()
        assert lower <= optimum + 1e-12
        assert optimum <= upper + slack


# Elastic is left out: it names another penalty at every epsilon.
@pytest.mark.parametrize("rows", PENALTIES[:-1], ids=spec_id)
@pytest.mark.parametrize("cols", PENALTIES[:-1], ids=spec_id)
def test_bounds_hold_for_every_penalty_and_tighten_with_epsilon(rows, cols):
    case = random_case(100, 6, 8, rows=rows, cols=cols)
    widths, lowers, uppers = [], [], []
    for epsilon in (0.3, 0.03, 0.003):
        solution = case.but(epsilon=epsilon).solve(tol=1e-6, max_iter=200_000, on_failure="raise")
        lower, upper = solution.bounds()
        assert upper <= case.unregularised(solution.rounded_plan(), slack=1e-12) + 1e-11
        widths.append(upper - lower)
        lowers.append(lower)
        uppers.append(upper)
    # All enclose the same optimum.
    assert max(lowers) <= min(uppers) + 1e-12
    # The upper bound is within epsilon KL(plan | R) of the optimum, at most epsilon log(n m / least weight) here,
    # and so is the lower one.
    assert widths[-1] <= 0.003 * 2 * np.log(48 / 0.02) * case.mass + 1e-5


def masked_case(seed, rows, cols):
    """A third of the cells forbidden, and a plan that proves the marginals possible."""
    rng = np.random.default_rng(seed)
    cost = np.where(rng.random((20, 30)) < 0.3, np.inf, rng.random((20, 30)))
    plan = np.where(np.isinf(cost), 0.0, rng.random((20, 30)))
    plan /= plan.sum()
    return cost, plan.sum(axis=1), plan.sum(axis=0), {"rows": rows, "cols": cols}


@pytest.mark.parametrize("epsilon", [1e-2, 1e-3, 2e-4])
@pytest.mark.parametrize(
    ("rows", "cols"),
    [
        (eot.Fixed(), eot.Fixed()),
        (eot.Between(0.9, 1.1), eot.Fixed()),
        (eot.AtMost(), eot.Between(0.9, 1.1)),
        (eot.AtMost(), eot.AtMost()),
    ],
    ids=str,
)
def test_with_forbidden_cells_the_certificate_is_finite_at_small_epsilon_too(rows, cols, epsilon):
    cost, a, b, penalties = masked_case(96, rows, cols)
    solution = eot.solve(cost, a, b, epsilon=epsilon, **penalties, on_failure="raise")
    assert solution.gap <= 1e-5
    rounded = solution.rounded_plan()
    assert (rounded[np.isinf(cost)] == 0).all()
    rounding = 1e-13 + 2e-15 / epsilon  # potentials over epsilon are that much, and stored to 1e-16 of it
    for penalty, marginal, weights in ((rows, rounded.sum(axis=1), a), (cols, rounded.sum(axis=0), b)):
        lo, hi = penalty.box()
        assert np.maximum(lo * weights - marginal, marginal - hi * weights).clip(0).sum() <= rounding


def test_bounds_are_floats_even_where_float64_ends():
    cost = np.random.default_rng(99).random((60, 11))
    a, b = np.full(60, 1e12 / 60), np.full(11, 1e12 / 11)
    penalties = {"rows": eot.KL(1e-2), "cols": eot.TV(10.0)}
    lower, upper = eot.solve(cost, a, b, epsilon=60.0, reference="counting", **penalties).bounds()
    assert type(lower) is float
    assert type(upper) is float
    assert lower <= upper
