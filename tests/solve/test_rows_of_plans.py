"""Rows of a plan, and barycentric maps, are those of the plan written out."""

import numpy as np
import pytest

import elastic_ot as eot


def solved(kind):
    rng = np.random.default_rng(0)
    x, y, a = rng.random((9, 2)), rng.random((7, 2)), rng.random(9)
    a[3] = 0.0
    cost = ((x[:, None] - y) ** 2).sum(axis=2)
    given = {
        "rows": cost,
        "columns": np.asfortranarray(cost),
        "single": cost.astype(np.float32),
        "points": eot.PointCloud(x, y),
    }[kind]
    return eot.solve(given, a, epsilon=0.05, rows=eot.KL(1.0), tol=1e-9), y


@pytest.mark.parametrize("kind", ["rows", "columns", "single", "points"])
def test_rows_are_those_of_the_plan(kind):
    sol, y = solved(kind)
    bound = {"rtol": 1e-5, "atol": 1e-8} if kind == "single" else {"rtol": 1e-11, "atol": 1e-300}
    for which in (0, -1, slice(2, 5), [4, 4, 0], np.array([3])):
        np.testing.assert_allclose(sol.rows(which), sol.plan[which], **bound)
    mean = sol.barycentric_map(y)
    used = sol.row_marginal > 0
    np.testing.assert_allclose(mean[used], sol.apply(y)[used] / sol.row_marginal[used, None], rtol=1e-12)
    assert np.isnan(mean[3]).all()
    np.testing.assert_allclose(sol.barycentric_map(y[:, 0]), mean[:, 0], rtol=1e-12)


def test_rows_that_are_not_there_are_refused():
    sol, _ = solved("rows")
    for which, message in ((9, "which is 9"), ([[0]], r"which has shape \(1, 1\)"), ("a", "which is 'a'")):
        with pytest.raises(IndexError, match=message):
            sol.rows(which)


def test_large_clouds_have_rows_without_a_matrix():
    rng = np.random.default_rng(1)
    x, y = rng.random((1500, 2)), rng.random((1300, 2))
    sol = eot.solve(eot.PointCloud(x, y), epsilon=0.1, tol=1e-4)
    assert not sol.problem.cost.stored
    np.testing.assert_allclose(sol.rows([5, 1400]).sum(axis=1), sol.row_marginal[[5, 1400]], rtol=1e-6)
