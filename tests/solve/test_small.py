"""Small problems in one compiled call: the answers of the driver, measured by the same formulas."""

import sys

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.problems.scaled import make_task
from elastic_ot.solvers.returned import certify
from elastic_ot.solvers.small import SMALL_ENTRIES, solve_small

PENALTIES = [eot.Fixed(), eot.KL(0.02), eot.KL(0.7), eot.KL(40.0), eot.Elastic(0.3), eot.Free()]
PAIRS = [(rows, cols) for rows in PENALTIES for cols in PENALTIES]
SHAPES = [(1, 1), (1, 7), (6, 1), (5, 8), (33, 20)]


def random_problem(n, m, seed=0, low=0.0, masses=(1.0, 1.0)):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.2, 1.0, n), rng.uniform(0.2, 1.0, m)
    a, b = (mass * x / x.sum() for mass, x in zip(masses, weights, strict=True))
    return low + rng.random((n, m)), a, b


def the_long_way(cost, a, b, **options):
    """A start of zeros changes nothing but the way."""
    zeros = np.zeros(cost.shape[0]), np.zeros(cost.shape[1])
    return eot.solve(cost, a, b, init=zeros, **options)


def quickly(cost, a, b, epsilon, rows, cols, tol=1e-9, max_iter=10_000):
    return solve_small(cost, a, b, epsilon, (rows, cols), tol, max_iter)


@pytest.mark.parametrize(("rows", "cols"), PAIRS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_answer_is_that_of_the_driver(rows, cols, shape):
    cost, a, b = random_problem(*shape, masses=(2.0, 2.0))
    options = {"epsilon": 0.2, "rows": rows, "cols": cols, "tol": 1e-10, "on_failure": "raise"}
    found, expected = eot.solve(cost, a, b, **options), the_long_way(cost, a, b, **options)
    np.testing.assert_allclose(found.plan, expected.plan, rtol=1e-7)
    np.testing.assert_allclose(
        found.plan, np.outer(a, b) * np.exp((found.f[:, None] + found.g - cost) / 0.2), rtol=1e-12
    )
    np.testing.assert_allclose(found.f, expected.f, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.g, expected.g, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.dual_value, expected.dual_value, rtol=1e-8, atol=1e-8)
    assert found.residual <= 1e-10 * 2.0 * 1.0001 or found.residual <= 1e-10 * found.row_marginal.sum() * 1.0001
    assert -1e-12 <= found.gap <= 1e-7


@pytest.mark.parametrize(("rows", "cols"), PAIRS, ids=str)
def test_it_is_measured_as_every_solution(rows, cols):
    cost, a, b = random_problem(9, 12, seed=1, masses=(3.0, 3.0))
    small = quickly(cost, a, b, 0.3, rows, cols, tol=1e-5)
    assert small is not None
    f, g, row_marginal, col_marginal, expected = certify(make_task(small.problem), small.outcome.f, small.outcome.g)
    found = small.outcome.measure
    np.testing.assert_allclose(small.outcome.row_marginal, row_marginal, rtol=1e-13)
    np.testing.assert_allclose(small.outcome.col_marginal, col_marginal, rtol=1e-13)
    np.testing.assert_allclose(small.outcome.f, f, rtol=0, atol=1e-14)
    np.testing.assert_allclose(small.outcome.g, g, rtol=0, atol=1e-14)
    # a residual is a sum of small differences, of marginals that are 3 together
    assert found.residual == pytest.approx(expected.residual, rel=1e-8, abs=1e-14)
    assert found.marginal_error == pytest.approx(expected.marginal_error, rel=1e-8, abs=1e-14)
    assert found.relaxed_gap == pytest.approx(expected.relaxed_gap, rel=1e-4, abs=1e-14)
    assert found.dual == pytest.approx(expected.dual, rel=1e-12)
    assert found.mass == pytest.approx(expected.mass, rel=1e-13)
    assert found.rounding == pytest.approx(expected.rounding, rel=1e-10)
    assert found.relaxed == expected.relaxed


@pytest.mark.parametrize(
    "store", [np.asfortranarray, lambda x: np.repeat(x, 2, axis=1)[:, ::2], np.float32, "readonly"]
)
def test_however_a_matrix_is_stored(store):
    cost, a, b = random_problem(14, 11, seed=2)
    cost = np.round(8 * cost) / 8  # float32 holds it
    if store == "readonly":
        stored = cost.copy()
        stored.flags.writeable = False
    else:
        stored = store(cost)
    expected = eot.solve(cost, a, b, epsilon=0.1, tol=1e-9)
    found = eot.solve(stored, a, b, epsilon=0.1, tol=1e-9)
    assert found.plan.dtype == stored.dtype
    np.testing.assert_allclose(found.plan, expected.plan, rtol=1e-6)
    np.testing.assert_allclose(found.f, expected.f, rtol=0, atol=1e-9)


@pytest.mark.parametrize("low", [-7.0, 30.0, 1e3])
def test_a_constant_is_part_of_the_potentials(low):
    cost, a, b = random_problem(8, 9, seed=3)
    plain, moved = (eot.solve(c, a, b, epsilon=0.1, tol=1e-10, on_failure="raise") for c in (cost, cost + low))
    np.testing.assert_allclose(moved.plan, plain.plan, rtol=1e-8)
    np.testing.assert_allclose(moved.f, plain.f + low, rtol=0, atol=1e-9)
    assert abs(b @ plain.g) < 1e-12
    assert abs(b @ moved.g) < 1e-12


def test_masses_equal_but_for_rounding_are_made_equal():
    cost, a, b = random_problem(6, 7, seed=4)
    small = quickly(cost, a, b * (1 + 3e-10), 0.1, eot.Fixed(), eot.Fixed())
    assert small is not None
    assert small.problem.factor == pytest.approx(1 - 3e-10, abs=1e-14)
    np.testing.assert_allclose(small.problem.b, b, rtol=1e-14)
    assert quickly(cost, a, b * (1 + 3e-9), 0.1, eot.Fixed(), eot.Fixed()) is None
    with pytest.raises(eot.InfeasibleError):
        eot.solve(cost, a, b * (1 + 3e-3), epsilon=0.1)


def unusual():
    cost, a, b = random_problem(5, 6, seed=5)
    masked, nan = cost.copy(), cost.copy()
    masked[1, 2], nan[1, 2] = np.inf, np.nan
    yield "masked", (masked, a, b, 0.1, eot.Fixed(), eot.Fixed())
    yield "nan", (nan, a, b, 0.1, eot.Fixed(), eot.Fixed())
    yield "a weight of 0", (cost, a * (np.arange(5) != 2), b, 0.1, eot.KL(1.0), eot.Fixed())
    yield "a negative weight", (cost, a - 0.3, b, 0.1, eot.KL(1.0), eot.Fixed())
    yield "a weight of nan", (cost, a + np.nan, b, 0.1, eot.KL(1.0), eot.Fixed())
    yield "an endless weight", (cost, a + np.inf, b, 0.1, eot.KL(1.0), eot.Fixed())
    yield "other penalties", (cost, a, b, 0.1, eot.TV(0.3), eot.Fixed())
    yield "a tiny epsilon", (cost, a, b, 1e-3, eot.Fixed(), eot.Fixed())
    yield "an epsilon below 0", (cost, a, b, -1.0, eot.Fixed(), eot.Fixed())
    yield "weights of another length", (cost, b, b, 0.1, eot.Fixed(), eot.Fixed())
    yield "lists", (cost.tolist(), a, b, 0.1, eot.Fixed(), eot.Fixed())
    yield "complex costs", (cost * 1j, a, b, 0.1, eot.Fixed(), eot.Fixed())
    yield "costs far from 0 beside a penalty", (cost + 1e3, a, b, 0.1, eot.KL(1.0), eot.Fixed())
    yield "costs far from 0", (cost + 1e6, a, b, 0.1, eot.Fixed(), eot.Fixed())
    yield "a stack", (cost[None], a, b, 0.1, eot.Fixed(), eot.Fixed())
    yield "a strength for each", (cost, a, b, 0.1, eot.KL(np.array([0.1, 0.2])), eot.Fixed())
    yield "no penalty", (cost, a, b, 0.1, "Fixed", eot.Fixed())
    single = cost.astype(np.float32), 1e39 * a, 1e39 * b
    yield "a plan that its dtype cannot hold", (*single, 0.1, eot.Fixed(), eot.Fixed())
    yield "a large matrix", (np.ones((1, SMALL_ENTRIES + 1)), None, None, 0.1, eot.Fixed(), eot.Fixed())


UNUSUAL = dict(unusual())


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_goes_the_long_way(name):
    assert quickly(*UNUSUAL[name]) is None


def test_few_iterations_are_not_exceeded():
    cost, a, b = random_problem(12, 12, seed=6)
    needed = eot.solve(cost, a, b, epsilon=0.1).n_iter
    assert eot.solve(cost, a, b, epsilon=0.1, max_iter=needed).converged
    short = eot.solve(cost, a, b, epsilon=0.1, max_iter=needed - 2, on_failure="ignore")
    assert short.status is eot.Status.MAX_ITER
    assert short.n_iter == needed - 2


def test_slow_problems_are_left_to_newtons_method():
    x = np.linspace(0, 1, 250)
    cost = (x[:, None] - x) ** 2
    assert quickly(cost, None, None, 0.0051, eot.Fixed(), eot.Fixed(), tol=1e-13) is None
    assert eot.solve(cost, epsilon=0.0051, tol=1e-13, on_failure="raise").method == "newton"


def test_the_history_leads_to_the_answer():
    cost, a, b = random_problem(30, 25, seed=7)
    found = eot.solve(cost, a, b, epsilon=0.02, rows=eot.KL(2.0), tol=1e-8)
    history = found.history
    assert (np.diff(history.iteration) > 0).all()
    assert history.iteration[-1] == found.n_iter
    assert (np.diff(history.dual) > -1e-12).all()
    assert history.dual[-1] == pytest.approx(found.dual_value, rel=1e-6)
    assert history.residual[-1] <= 1e-8 * a.sum() < history.residual[0]
    assert (np.diff(history.seconds) > 0).all()


def test_what_users_change_afterwards_is_not_what_was_solved():
    cost, a, b = random_problem(5, 5, seed=8)
    found = eot.solve(cost, a, b, epsilon=0.1)
    a[:], b[:] = 7.0, 9.0
    assert found.problem.a.sum() == pytest.approx(1.0)
    assert found.gap < 1e-6


def test_python_has_little_to_do():
    cost, a, b = random_problem(20, 20, seed=9)
    eot.solve(cost, a, b, epsilon=0.2)
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        solution = eot.solve(cost, a, b, epsilon=0.2)
        assert solution.plan.shape == (20, 20)
    finally:
        sys.setprofile(None)
    assert calls < 300  # 1600 on the long way
