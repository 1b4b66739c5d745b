"""Gradients against central differences of whole solves: every pair of penalties, masks, zero weights, references."""

import itertools

import numpy as np
import pytest

import elastic_ot as eot

SPECS = [
    eot.Fixed(),
    eot.KL(0.4),
    eot.KL(3.0),
    eot.L2(5.0),
    eot.TV(0.35),
    eot.TV(0.05),
    eot.Between(0.6, 1.3),
    eot.AtMost(),
    eot.Free(),
]
EPSILON, STEP = 0.15, 1e-5
# Differences of solutions to 1e-13 over 2e-5 are good to 1e-8 and a truncation error of about 1e-7.
ACCURACY = 3e-6


class UnsettledError(Exception):
    """A solve ended at a residual that shows in differences, or a potential is about to leave a kink."""


class Setting:
    """One problem, a function of its solution with random weights, and random directions for its inputs."""

    def __init__(self, rows, cols, reference, masked, seed=0):
        rng = np.random.default_rng(seed)
        n, m = 5, 7
        self.rows, self.cols, self.reference = rows, cols, reference
        self.cost, self.a, self.b = rng.random((n, m)), rng.random(n) + 0.3, rng.random(m) + 0.3
        self.a[3] = 0.0
        self.mask = np.ones((n, m), bool)
        if masked:
            self.mask[0, 1] = self.mask[2, 3] = False
        if rows.hard and cols.hard:
            slack = 1.2 if isinstance(cols, eot.AtMost) else 0.8 if isinstance(rows, eot.AtMost) else 1.0
            self.b *= slack * self.a.sum() / self.b.sum()
        self.plan_bar, self.f_bar, self.g_bar = rng.normal(size=(n, m)), rng.normal(size=n), rng.normal(size=m)
        self.cost_step = rng.normal(size=(n, m))
        self.a_step, self.b_step = rng.normal(size=n) * self.a, rng.normal(size=m) * self.b
        if isinstance(rows, eot.Fixed) and isinstance(cols, eot.Fixed):
            self.b_step -= self.b * (self.b_step.sum() - self.a_step.sum()) / self.b.sum()

    def solve(self, t=0.0, cost=False, weights=False, epsilon=False, rows=None, cols=None):
        solution = eot.solve(
            self.cost + t * self.cost_step if cost else self.cost,
            self.a + t * self.a_step if weights else self.a,
            self.b + t * self.b_step if weights else self.b,
            epsilon=EPSILON + t * epsilon,
            rows=self.rows if rows is None else rows,
            cols=self.cols if cols is None else cols,
            reference=self.reference,
            mask=self.mask,
            tol=1e-13,
            max_iter=200_000,
            on_failure="ignore",
        )
        if solution.residual > 2e-12:
            raise UnsettledError
        return solution

    def functions(self, solution):
        f = np.where(np.isfinite(solution.f), solution.f, 0.0)
        through = (self.plan_bar * solution.plan).sum() + self.f_bar @ f + self.g_bar @ solution.g
        return np.array([solution.dual_value, through])

    def differences(self, solve_at):
        up, down = (self.functions(solve_at(t)) for t in (STEP, -STEP))
        return (up - down) / (2 * STEP)


def away_from_kinks(penalty, potentials):
    """On a kink or well beside it, so that no step crosses one."""
    low, high = penalty.kinks()
    distances = [np.abs(potentials - kink) for kink in (low, high) if np.isfinite(kink)]
    return all(((d < 1e-9) | (d > 1e-3) | np.isinf(d)).all() for d in distances)


def agree(found, expected):
    assert np.abs(found - expected).max() <= ACCURACY * (1.0 + np.abs(expected).max()), (found, expected)


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
