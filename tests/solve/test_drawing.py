"""Pairs drawn from plans: their distribution against the plan, and their memory."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import chi2

import elastic_ot as eot

SIZE = 20_000
SURE = 1 - 1e-6  # of the tests of this file together a false alarm is one in ten thousand, and seeds are fixed


def check(plan, rows, cols):
    """Counts of cells: chi-square over those that five draws are expected of, the others in one."""
    counts, expected = np.zeros(plan.shape), SIZE * plan / plan.sum()
    np.add.at(counts, (rows, cols), 1)
    assert counts[plan == 0].sum() == 0
    big = expected >= 5
    counts, expected = (np.append(x[big], x[~big].sum()) for x in (counts, expected))
    used = expected > 0
    statistic = float(((counts - expected)[used] ** 2 / expected[used]).sum())
    assert statistic < chi2.ppf(SURE, used.sum() - 1)
    assert rows.dtype == cols.dtype == np.int64


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "options", [{}, {"cols": eot.KL(0.3)}, {"rows": eot.AtMost(), "reference": "counting"}], ids=str
)
def test_pairs_have_the_distribution_of_the_plan(order, options):
    rng = np.random.default_rng(0)
    cost, a, b = np.asarray(rng.random((6, 5)), order=order), rng.random(6), rng.random(5)
    cost[0, 1], a[2] = np.inf, 0.0
    sol = eot.solve(cost, 3 * a / a.sum(), 3 * b / b.sum(), epsilon=0.1, **options)
    check(sol.plan, *sol.sample(SIZE, rng=1))


def test_a_batch_draws_from_each_of_its_problems():
    rng = np.random.default_rng(1)
    costs = rng.random((2, 2, 4, 3))
    costs[1, 1, 3] = costs[1, 1, :, 2] = np.nan
    lengths = {"row_lengths": [[4, 4], [4, 3]], "col_lengths": [[3, 3], [3, 2]]}
    sol = eot.solve(costs, epsilon=0.3, **lengths)
    rows, cols = sol.sample(SIZE, rng=2)
    assert rows.shape == cols.shape == (2, 2, SIZE)
    for index in np.ndindex(2, 2):
        check(sol.plan[index], rows[index], cols[index])


def test_rows_that_underflow_are_drawn_by_their_weights():
    """exp of every logarithm is 0 in these rows, and their marginals are what they are."""
    cost = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    sol = eot.solve(cost, np.array([1e-200, 3e-200, 4e-200]), np.array([4e-200, 4e-200]), epsilon=1e-3)
    rows, cols = sol.sample(SIZE, rng=0)
    np.testing.assert_array_equal(cols, rows == 2)
    # binomial with standard deviation sqrt(n p (1 - p)): five of them
    for row, share in enumerate((0.125, 0.375, 0.5)):
        assert abs((rows == row).sum() - share * SIZE) < 5 * np.sqrt(SIZE * share * (1 - share))


def test_draws_are_independent_of_each_other_and_of_their_order():
    sol = eot.solve(np.zeros((2, 2)), epsilon=1.0)
    rows, cols = sol.sample(SIZE, rng=3)
    signs = 1 - 2 * (2 * rows + cols) % 3.0
    # correlation of neighbours: standard deviation 1 / sqrt(n)
    centred = signs - signs.mean()
    assert abs((centred[1:] * centred[:-1]).mean() / centred.var()) < 5 / np.sqrt(SIZE)


def test_a_seed_or_a_generator_decides():
    sol = eot.solve(np.random.default_rng(0).random((5, 5)), epsilon=0.1)
    one, other = sol.sample(50, rng=7), sol.sample(50, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, sol.sample(50, rng=8))
    assert [x.size for x in sol.sample(0)] == [0, 0]


def test_the_plan_is_not_stored():
    n = 3000
    x, y = np.random.default_rng(0).random((2, n))
    cost = np.abs(x[:, None] - y).astype(np.float32)
    sol = eot.solve(cost, epsilon=0.1, tol=1e-2)
    sol.sample(10, rng=0)
    tracemalloc.start()
    rows, cols = sol.sample(5000, rng=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows.max() < n
    assert peak < 0.2 * 4 * n * n  # a fifth of the plan in float32
    assert "plan" not in sol.__dict__


@pytest.mark.parametrize("size", [-1, 2.5, True, "3"])
def test_a_size_is_a_count(size):
    sol = eot.solve(np.zeros((2, 2)), epsilon=1.0)
    with pytest.raises(ValueError, match=r"size is .*; it must be an integer >= 0"):
        sol.sample(size)
    with pytest.raises(ValueError, match=r"size is .*; it must be an integer >= 0"):
        eot.solve(np.zeros((3, 2, 2)), epsilon=1.0).sample(size)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_other_libraries_get_indices_of_numpy(name):
    xp = pytest.importorskip("torch" if name == "torch" else "jax.numpy")
    rows, cols = eot.solve(xp.ones((3, 4)), epsilon=0.5).sample(5)
    assert isinstance(rows, np.ndarray)
    assert (cols < 4).all()
