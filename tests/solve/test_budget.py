"""tol=0: exactly so many iterations, against Sinkhorn's half steps written out again."""

import warnings

import numpy as np
import pytest
from scipy.special import logsumexp

import elastic_ot as eot

SIDES = {"fixed": (eot.Fixed(), 1.0), "kl": (eot.KL(0.3), 0.75), "free": (eot.Free(), 0.0)}  # tau at epsilon = 0.1
EPSILON = 0.1


def problem(seed=0, n=6, m=9):
    rng = np.random.default_rng(seed)
    a, b = rng.random(n) + 0.1, rng.random(m) + 0.1
    return rng.random((n, m)), a / a.sum(), b / b.sum()


def half_steps(cost, a, b, row_tau, col_tau, count):
    """Updates of f, g, f, ... from zero, with respect to the product reference."""
    f, g = np.zeros(a.size), np.zeros(b.size)
    for step in range(count):
        if step % 2 == 0:
            f = -row_tau * EPSILON * logsumexp((g - cost) / EPSILON, b=b, axis=1)
        else:
            g = -col_tau * EPSILON * logsumexp((f[:, None] - cost) / EPSILON, b=a[:, None], axis=0)
    return f, g


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("end", ["rows", "cols"])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("cols", SIDES)
@pytest.mark.parametrize("rows", ["fixed", "kl"])
def test_half_steps_are_counted(rows, cols, count, end, order):
    cost, a, b = problem()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = eot.solve(
            np.array(cost, order=order),
            a,
            b,
            epsilon=EPSILON,
            rows=SIDES[rows][0],
            cols=SIDES[cols][0],
            tol=0,
            max_iter=count,
            end=end,
        )
    f, g = half_steps(cost, a, b, SIDES[rows][1], SIDES[cols][1], 2 * count - (end == "rows"))
    plan = a[:, None] * b * np.exp((f[:, None] + g - cost) / EPSILON)
    # rounding of a few dozen exponentials whose exponents are of order 10
    np.testing.assert_allclose(solution.f, f, rtol=0, atol=1e-13)
    np.testing.assert_allclose(solution.plan, plan, rtol=1e-12)
    np.testing.assert_allclose(solution.row_marginal, plan.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(solution.col_marginal, plan.sum(axis=0), rtol=1e-12)
    assert solution.n_iter == count
    assert solution.status is eot.Status.BUDGET


def test_one_iteration_that_ends_on_rows_is_a_softmax():
    scores, _, _ = problem(1, 4, 5)
    solution = eot.solve(
        -scores,
        np.ones(4),
        np.ones(5),
        epsilon=1.0,
        reference="counting",
        tol=0,
        max_iter=1,
        end="rows",
        cols=eot.Free(),
    )
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(solution.plan, expected, rtol=1e-14)


def test_a_budget_goes_on_from_where_another_ended():
    cost, a, b = problem(2)
    three = eot.solve(cost, a, b, epsilon=EPSILON, tol=0, max_iter=3, end="cols")
    five = eot.solve(cost, a, b, epsilon=EPSILON, tol=0, max_iter=2, end="cols", init=three)
    whole = eot.solve(cost, a, b, epsilon=EPSILON, tol=0, max_iter=5, end="cols")
    np.testing.assert_allclose(five.plan, whole.plan, rtol=1e-12)


def test_enough_iterations_are_the_solution():
    cost, a, b = problem(3)
    budget = eot.solve(cost, a, b, epsilon=EPSILON, tol=0, max_iter=500)
    np.testing.assert_allclose(budget.plan, eot.solve(cost, a, b, epsilon=EPSILON, tol=1e-12).plan, rtol=0, atol=1e-12)
    assert budget.residual < 1e-13
    assert not budget.converged


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"relaxation": "auto"}, "relaxation"),
        ({"relaxation": 1.5}, "relaxation"),
        ({"callback": lambda *_: None}, "callback"),
        ({"time_limit": 1.0}, "time_limit"),
        ({"progress": True}, "progress"),
    ],
)
def test_what_needs_a_look_between_iterations_is_refused(options, named):
    with pytest.raises(ValueError, match=named):
        eot.solve([[0.0, 1.0]], [1.0], epsilon=0.1, tol=0, max_iter=3, **options)


def test_an_unknown_end_is_refused():
    with pytest.raises(ValueError, match="end is 'both'"):
        eot.solve([[0.0, 1.0]], [1.0], epsilon=0.1, end="both")


@pytest.mark.parametrize("end", ["rows", "cols"])
def test_the_end_is_the_exact_side_of_a_converged_solution_too(end):
    cost, a, b = problem(4)
    solution = eot.solve(cost, a, b, epsilon=EPSILON, method="log", tol=1e-3, end=end)
    errors = np.abs(solution.row_marginal - a).sum(), np.abs(solution.col_marginal - b).sum()
    exact, other = errors if end == "rows" else errors[::-1]
    assert exact < 1e-14 < other
