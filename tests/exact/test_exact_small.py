"""Small problems between fixed sides are solved on all of their cells in one call, and what that call leaves is not."""

import pickle

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment

import elastic_ot as eot
from elastic_ot.api.exact_small import exact_small
from elastic_ot.solvers.exact import small
from elastic_ot.solvers.exact.clock import Clock

COSTS = {
    "uniform": lambda rng, n, m: rng.random((n, m)),
    "cloud": lambda rng, n, m: ((rng.random((n, 2))[:, None] - rng.random((m, 2))) ** 2).sum(-1),
    "whole, with ties": lambda rng, n, m: rng.integers(-3, 4, (n, m)).astype(float),
    "floats with ties": lambda rng, n, m: 0.1 * rng.integers(-3, 4, (n, m)),
    "tiny": lambda rng, n, m: 1e-200 * rng.random((n, m)),
    "huge": lambda rng, n, m: 1e200 * rng.random((n, m)),
    "line": lambda rng, n, m: np.abs(np.linspace(0, 1, n)[:, None] - np.linspace(0, 1, m)),
}
WEIGHTS = {
    "equal": lambda rng, n: np.full(n, 1 / n),
    "any": lambda rng, n: rng.dirichlet(np.ones(n)),
    "over decades": lambda rng, n: 10.0 ** -rng.uniform(0, 12, n),
    "ties": lambda rng, n: rng.integers(1, 3, n).astype(float),
}


def problem(seed, costs, weights, largest=14):
    rng = np.random.default_rng([seed, len(costs), len(weights)])
    n, m = rng.integers(1, largest, 2)
    a, b = WEIGHTS[weights](rng, n), WEIGHTS[weights](rng, m)
    return COSTS[costs](rng, n, m), a / a.sum(), b / b.sum()


def assert_optimal(sol, cost, a, b):
    """The plan is one, the potentials are feasible and tight where it is positive, and POT finds no better one."""
    scale = np.abs(cost).max() or 1.0
    np.testing.assert_allclose(sol.plan.sum(1), a, rtol=0, atol=5e-16 * len(a))
    np.testing.assert_allclose(sol.plan.sum(0), b, rtol=0, atol=5e-16 * len(b))
    reduced = cost - sol.f[:, None] - sol.g
    assert reduced.min() >= -4e-16 * scale * (sum(cost.shape) + 1)  # each potential is a sum along a path of the tree
    assert np.abs(reduced[sol.row_ind, sol.col_ind]).max() <= 1e-13 * scale
    assert sol.mass.min() > 0
    assert sol.mass.size <= sum(cost.shape) - 1
    assert (np.diff(sol.row_ind) >= 0).all()
    assert sol.value == pytest.approx((sol.plan * cost).sum(), abs=1e-14 * scale)
    assert sol.gap <= 1e-13 * scale
    assert sol.value == pytest.approx(ot.emd2(a, b, cost / scale) * scale, abs=1e-12 * scale)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("costs", COSTS)
def test_the_plan_is_optimal(costs, weights):
    for seed in range(40):
        cost, a, b = problem(seed, costs, weights)
        assert_optimal(eot.exact(cost, a, b), cost, a, b)


@pytest.mark.parametrize(("costs", "n", "m"), [("uniform", 150, 150), ("cloud", 200, 90), ("line", 120, 120)])
def test_larger_ones(costs, n, m):
    rng = np.random.default_rng(n)
    cost, a, b = COSTS[costs](rng, n, m), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    made = exact_small(cost, a, b, Clock())
    assert made is not None
    assert_optimal(made.one(0), cost, a, b)


def test_equal_weights_are_an_assignment():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        cost = rng.integers(0, 6, (17, 17)).astype(float)
        assert eot.exact(cost).value * 17 == pytest.approx(cost[linear_sum_assignment(cost)].sum(), abs=1e-12)


def test_whole_costs_have_whole_potentials():
    rng = np.random.default_rng(3)
    for size in (9, 2**40):
        sol = eot.exact(rng.integers(0, size, (12, 15)).astype(float))
        assert (sol.f == np.rint(sol.f)).all()
        assert (sol.g == np.rint(sol.g)).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shared", [False, True])
def test_many_in_one_call_are_what_each_is_alone(dtype, shared):
    rng = np.random.default_rng(5)
    costs = rng.random((50, 9, 7)).astype(dtype)
    a, b = rng.dirichlet(np.ones(9), 50), rng.dirichlet(np.ones(7), 50)
    if shared:
        a, b = a[0], b[0]
    many = eot.exact(costs, a, b)
    assert len(many) == 50
    for k in range(50):
        alone = eot.exact(costs[k], a if shared else a[k], b if shared else b[k])
        for name in ("f", "g", "row_marginal", "col_marginal", "value", "dual_value", "transport_cost", "gap", "plan"):
            assert np.all(getattr(many, name)[k] == getattr(alone, name))
            assert np.all(getattr(many[k], name) == getattr(alone, name))
    assert [one.value for one in many[3:6]] == many.value[3:6].tolist()
    assert isinstance(many[3:6], tuple)
    assert (pickle.loads(pickle.dumps(many)).plan == many.plan).all()
    with pytest.raises(IndexError):
        many[50]


@pytest.mark.parametrize("order", ["C", "F", "strided", "read-only"])
def test_however_a_cost_is_stored(order):
    rng = np.random.default_rng(6)
    cost, a, b = rng.random((8, 11)), rng.dirichlet(np.ones(8)), rng.dirichlet(np.ones(11))
    stored = {"C": cost.copy(), "F": cost.copy("F"), "strided": np.repeat(cost, 2, 1)[:, ::2], "read-only": cost.copy()}
    stored["read-only"].flags.writeable = False
    assert_optimal(eot.exact(stored[order], a, b), cost, a, b)


def test_lines_without_weight_carry_nothing():
    rng = np.random.default_rng(7)
    cost, a, b = rng.random((9, 8)), rng.dirichlet(np.ones(9)), rng.dirichlet(np.ones(8))
    a[[0, 4]], b[[7]] = 0.0, 0.0
    a, b = a / a.sum(), b / b.sum()
    sol = eot.exact(cost, a, b)
    assert np.isneginf(sol.f[[0, 4]]).all()
    assert np.isneginf(sol.g[[7]]).all()
    assert_optimal(eot.exact(cost[a > 0][:, b > 0], a[a > 0], b[b > 0]), cost[a > 0][:, b > 0], a[a > 0], b[b > 0])
    assert sol.value == pytest.approx(ot.emd2(a, b, cost), abs=1e-13)


@pytest.mark.parametrize(
    "change",
    [
        lambda c, a, b: c.__setitem__((1, 2), np.inf),
        lambda c, a, b: c.__setitem__((1, 2), np.nan),
        lambda c, a, b: c.__setitem__((1, 2), 1e300),
        lambda c, a, b: c.__iadd__(1e6),
        lambda c, a, b: a.__setitem__(1, np.nan),
        lambda c, a, b: a.__setitem__(1, -0.1),
        lambda c, a, b: a.__setitem__(1, 0.0),
        lambda c, a, b: a.__setitem__(1, a[1] * 1.001),
    ],
    ids=["forbidden", "nan", "huge", "offset", "nan weight", "negative", "no weight", "other mass"],
)
def test_what_is_unusual_is_left_to_others(change):
    rng = np.random.default_rng(8)
    cost, a, b = rng.random((6, 5)), rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(5))
    assert exact_small(cost, a, b, Clock()) is not None
    change(cost, a, b)
    assert exact_small(cost, a, b, Clock()) is None


def test_the_number_of_a_bad_problem_is_said():
    costs = np.random.default_rng(9).random((4, 3, 3))
    costs[2, 1] = np.inf
    with pytest.raises(eot.InfeasibleError, match="problem 2: row 1"):
        eot.exact(costs)


def test_a_number_that_stands_for_forbidden_hides_no_difference():
    """Rounding of huge potentials must not pass for a proof; the other solver finds the plan."""
    rng = np.random.default_rng(10)
    allowed = rng.random((60, 60)) < 0.2
    np.fill_diagonal(allowed, True)
    cost = rng.random((60, 60))
    best = eot.exact(cost, mask=allowed).value
    for large in (1e6, 1e12, 1e18):
        assert eot.exact(np.where(allowed, cost, large)).value == pytest.approx(best, rel=1e-12)


def test_all_cells_and_few_find_the_same(monkeypatch):
    for seed in range(20):
        cost, a, b = problem(seed, "cloud", "any", 40)
        once = eot.exact(cost, a, b)
        with monkeypatch.context() as patch:
            patch.setattr(small, "CELLS_AT_ONCE", 0)
            few = eot.exact(cost, a, b)
        assert once.value == pytest.approx(few.value, rel=1e-13, abs=1e-15)


def test_masked_costs_of_nothing_have_no_plan_either_way():
    """All costs 0 and whole: what reaches lines that are not served must still count."""
    allowed = np.array([[True, False, False], [True, False, False], [True, True, True]])
    for cost in (np.zeros((3, 3)), np.zeros((3, 3), int)):
        with pytest.raises(eot.InfeasibleError, match=r"rows \[0, 1\]"):
            eot.exact(cost, mask=allowed)
