"""Forward derivatives and the Hessian of the value: central differences of whole solves, and the transpose of `vjp`."""

import itertools

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.derivatives import linear_system as implicit
from helpers.differences import EPSILON, SPECS, STEP, Setting, UnsettledError, agree, away_from_kinks


class Line(Setting):
    """All inputs of a problem moved at once along one direction."""

    def __init__(self, *args):
        super().__init__(*args)
        rng = np.random.default_rng(7)
        self.epsilon_step = 0.3
        rhos = [0.4 * penalty.rho if hasattr(penalty, "rho") else 0.0 for penalty in (self.rows, self.cols)]
        self.strength_steps = rhos[0], -rhos[1]
        self.other = {
            "cost": rng.normal(size=self.cost.shape),
            "a": rng.normal(size=self.a.size) * self.a,
            "b": rng.normal(size=self.b.size) * self.b,
            "epsilon": -0.2,
            "rows": -rhos[0],
            "cols": 2.0 * rhos[1],
        }
        if self.rows == self.cols == eot.Fixed():
            self.other["b"] += self.b * (self.other["a"].sum() - self.other["b"].sum()) / self.b.sum()

    def at(self, t):
        moved = {}
        for name, step in zip(("rows", "cols"), self.strength_steps, strict=True):
            penalty = getattr(self, name)
            moved[name] = type(penalty)(penalty.rho + t * step) if step else penalty
        return self.solve(t, cost=True, weights=True, epsilon=self.epsilon_step, **moved)

    @property
    def direction(self):
        return {
            "cost": np.where(self.mask, self.cost_step, np.nan),  # what stands under a mask does not matter
            "a": self.a_step,
            "b": self.b_step,
            "epsilon": self.epsilon_step,
            "rows": self.strength_steps[0],
            "cols": self.strength_steps[1],
        }


def settled(rows, cols, reference, masked):
    for seed in range(10):
        line = Line(rows, cols, reference, masked, seed)
        try:
            solution, ends = line.at(0.0), (line.at(STEP), line.at(-STEP))
        except UnsettledError:
            continue
        if away_from_kinks(rows, solution.f) and away_from_kinks(cols, solution.g):
            return line, solution, ends
    raise AssertionError("no seed without a stalled solve or a potential near a kink")


def pairing(gradients, direction):
    """<gradients, direction>, as used cells and rows count."""
    cost = np.nan_to_num(direction["cost"]) * gradients.cost
    numbers = sum(getattr(gradients, name) * direction[name] for name in ("epsilon", "rows", "cols"))
    return cost.sum() + gradients.a @ direction["a"] + gradients.b @ direction["b"] + numbers


@pytest.mark.sampled(2)
@pytest.mark.filterwarnings("ignore::elastic_ot.ConvergenceWarning")  # 1e-13 may end as stalled, at 1e-15 more
@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize("reference", ["product", "counting"])
@pytest.mark.parametrize(("rows", "cols"), list(itertools.product(SPECS, SPECS)), ids=repr)
def test_forward_derivatives_and_hessians(rows, cols, reference, masked):
    line, solution, (up, down) = settled(rows, cols, reference, masked)
    direction = line.direction

    moved = solution.jvp(**direction)
    agree(moved.plan, (up.plan - down.plan) / (2 * STEP))
    used = solution.problem.row_used
    agree(moved.f[used], (up.f[used] - down.f[used]) / (2 * STEP))
    assert not moved.f[~used].any()
    agree(moved.g, (up.g - down.g) / (2 * STEP))

    pulled = solution.vjp(plan=line.plan_bar, f=line.f_bar, g=line.g_bar)
    forward = (line.plan_bar * moved.plan).sum() + line.f_bar @ moved.f + line.g_bar @ moved.g
    assert forward == pytest.approx(pairing(pulled, direction), rel=1e-9, abs=1e-9)

    bent, ends = solution.hvp(**direction), (up.gradients(), down.gradients())
    for name in ("cost", "a", "b", "epsilon", "rows", "cols"):
        agree(np.asarray(getattr(bent, name)), (getattr(ends[0], name) - getattr(ends[1], name)) / (2 * STEP))
    across = pairing(bent, line.other)
    assert across == pytest.approx(pairing(solution.hvp(**line.other), direction), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (1, 5), (5, 1)])
def test_shapes_and_orders_have_the_derivatives_of_the_transpose(shape, order):
    rng = np.random.default_rng(3)
    cost, step, bar = rng.random(shape), rng.normal(size=shape), rng.normal(size=shape)
    options = {"epsilon": 0.2, "tol": 1e-13, "on_failure": "ignore"}
    one = eot.solve(np.array(cost, order=order), rows=eot.KL(1.0), cols=eot.L2(2.0), **options)
    other = eot.solve(np.array(cost.T, order="C"), rows=eot.L2(2.0), cols=eot.KL(1.0), **options)
    moved, mirrored = one.jvp(cost=step, rows=0.3, cols=-1.0), other.jvp(cost=step.T, rows=-1.0, cols=0.3)
    np.testing.assert_allclose(moved.plan, mirrored.plan.T, rtol=0, atol=1e-11)
    np.testing.assert_allclose(moved.f, mirrored.g, rtol=0, atol=1e-11)
    bent, mirrored = one.hvp(cost=step, rows=0.3), other.hvp(cost=step.T, cols=0.3)
    np.testing.assert_allclose(bent.cost, mirrored.cost.T, rtol=0, atol=1e-11)
    assert bent.epsilon == pytest.approx(mirrored.epsilon, abs=1e-11)
    assert (moved.plan * bar).sum() == pytest.approx(
        (lambda v: (v.cost * step).sum() + 0.3 * v.rows - v.cols)(one.vjp(plan=bar)), abs=1e-11
    )


def test_the_potentials_stay_in_their_gauge():
    setting = Setting(eot.Fixed(), eot.Fixed(), "product", False)
    solution = setting.solve()
    moved = solution.jvp(cost=setting.cost_step, a=setting.a_step, b=setting.b_step)
    assert setting.b_step @ solution.g + setting.b @ moved.g == pytest.approx(0.0, abs=1e-13)


def test_a_direction_that_parts_fixed_masses_is_refused():
    solution = eot.solve(np.eye(3), epsilon=0.5)
    for ask in (solution.jvp, solution.hvp):
        with pytest.raises(ValueError, match="rows' mass changes by 1 and the columns' by 0"):
            ask(a=[1.0, 0.0, 0.0])


def test_directions_are_checked():
    solution = eot.solve(np.eye(3), epsilon=0.5, rows=eot.KL(1.0))
    with pytest.raises(ValueError, match=r"cost has shape \(2, 3\)"):
        solution.jvp(cost=np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"cols is Fixed\(\), which has no strength"):
        solution.hvp(cols=1.0)
    with pytest.raises(TypeError, match="epsilon must be a real number"):
        solution.jvp(epsilon="more")
    assert not solution.jvp(rows=0.0, cols=0.0).plan.any()


def test_a_budget_has_no_hessian():
    with pytest.raises(ValueError, match="tol=0"):
        eot.solve(np.eye(3), epsilon=0.5, tol=0, max_iter=3).hvp(epsilon=1.0)


def test_derivatives_of_a_solution_that_did_not_converge_warn():
    solution = eot.solve(np.eye(3), [0.5, 0.3, 0.2], epsilon=0.05, tol=1e-12, max_iter=1, on_failure="ignore")
    for ask in (solution.jvp, solution.hvp):
        with pytest.warns(eot.ConvergenceWarning, match="residual"):
            ask(epsilon=1.0)


# The linear system


def by_least_squares(solution, bar):
    """dL/dC from the whole symmetric system, dense, for fixed marginals."""
    plan, n = solution.plan, solution.plan.shape[0]
    matrix = np.block([[np.diag(plan.sum(axis=1)), plan], [plan.T, np.diag(plan.sum(axis=0))]])
    sides = np.concatenate([(plan * bar).sum(axis=1), (plan * bar).sum(axis=0)])
    x = np.linalg.lstsq(matrix, sides, rcond=1e-13)[0]
    return -plan * (bar - x[:n, None] - x[n:]) / solution.epsilon


@pytest.mark.parametrize("epsilon", [0.3, 0.03, 0.005])
@pytest.mark.parametrize("shape", [(30, 40), (40, 30)])
def test_the_system_is_solved_to_rounding(shape, epsilon):
    rng = np.random.default_rng(1)
    solution = eot.solve(rng.random(shape), epsilon=epsilon, tol=1e-12)
    bar = rng.normal(size=shape)
    expected = by_least_squares(solution, bar)
    np.testing.assert_allclose(solution.vjp(plan=bar).cost, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("change", [{"PRODUCTS": 0}, {"PRODUCTS": 3, "DIRECT": 0}], ids=["decomposed", "more products"])
@pytest.mark.parametrize("shape", [(30, 40), (40, 30)])
def test_where_iterations_fail_there_are_other_ways(monkeypatch, shape, change):
    rng = np.random.default_rng(1)
    solution = eot.solve(rng.random(shape), epsilon=0.03, tol=1e-12)
    bar = rng.normal(size=shape)
    expected = solution.vjp(plan=bar).cost
    for name, value in change.items():
        monkeypatch.setattr(implicit, name, value)
    np.testing.assert_allclose(solution.vjp(plan=bar).cost, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_a_system_that_is_not_solved_warns(monkeypatch):
    rng = np.random.default_rng(1)
    solution = eot.solve(rng.random((30, 40)), epsilon=0.01, tol=1e-12)
    for name, value in {"PRODUCTS": 1, "MOST_PRODUCTS": 1, "DIRECT": 0}.items():
        monkeypatch.setattr(implicit, name, value)
    with pytest.warns(eot.ConvergenceWarning, match="linear system"):
        solution.vjp(plan=rng.normal(size=(30, 40)))


@pytest.mark.filterwarnings("ignore::elastic_ot.ConvergenceWarning")
def test_parts_without_a_connection():
    """The potentials of each part may be shifted against each other: plans do not depend on it."""
    rng = np.random.default_rng(5)
    mask = np.kron(np.eye(2, dtype=bool), np.ones((4, 5), bool))
    cost, step, bar = rng.random(mask.shape), rng.normal(size=mask.shape), rng.normal(size=mask.shape)

    def at(t):
        return eot.solve(cost + t * step, epsilon=0.1, mask=mask, tol=1e-13, on_failure="ignore")

    solution = at(0.0)
    moved, pulled = solution.jvp(cost=step), solution.vjp(plan=bar)
    agree(moved.plan, (at(STEP).plan - at(-STEP).plan) / (2 * STEP))
    assert (moved.plan * bar).sum() == pytest.approx((pulled.cost * step).sum(), rel=1e-9)
    assert np.isfinite(solution.vjp(f=rng.normal(size=8)).cost).all()


def test_single_precision_costs_have_double_precision_derivatives():
    rng = np.random.default_rng(6)
    cost, bar = rng.random((20, 30)), rng.normal(size=(20, 30))
    single, double = (
        eot.solve(cost.astype(np.float32).astype(dtype), epsilon=EPSILON, tol=1e-6).vjp(plan=bar)
        for dtype in (np.float32, np.float64)
    )
    assert single.cost.dtype == np.float64
    np.testing.assert_allclose(single.cost, double.cost, rtol=0, atol=1e-4 * np.abs(double.cost).max())


def test_bars_are_not_changed():
    rng = np.random.default_rng(8)
    solution = eot.solve(rng.random((6, 7)), epsilon=0.2, tol=1e-12)
    bar = rng.normal(size=(6, 7))
    kept = bar.copy()
    bar.flags.writeable = False
    solution.vjp(plan=bar)
    solution.jvp(cost=bar)
    np.testing.assert_array_equal(bar, kept)
