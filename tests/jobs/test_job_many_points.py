"""A hundred thousand points on either side, on a laptop: rows of the plan, its large entries, a proof."""

import numpy as np
import pytest

import elastic_ot as eot

RNG = np.random.default_rng(29)


def many_points(x, y, epsilon, which):
    solution = eot.solve(eot.PointCloud(x, y), epsilon=epsilon, tol=1e-3)
    some_rows = solution.rows(which)
    entries = solution.sparse_plan(mass=0.9)
    return solution, some_rows, entries


@pytest.mark.parametrize("n", [3000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_rows_entries_and_certificate_are_those_of_the_potentials(n):
    """Rows are computed again with all their pairs; those of the solution leave out what is proved not to matter."""
    x, y = RNG.random((n, 2)), RNG.random((n, 2)) ** 1.5
    epsilon, which = 2.0 / n, RNG.choice(n, 50, replace=False)
    solution, some_rows, entries = many_points(x, y, epsilon, which)
    squares = ((x[which, None] - y) ** 2).sum(axis=2)
    plan = np.exp((solution.f[which, None] + solution.g - squares) / epsilon) / n**2
    assert solution.converged
    assert solution.marginal_error <= 1e-3
    assert np.abs(some_rows - plan).sum() < 1e-3 * plan.sum()
    kept = entries[which].toarray()
    assert np.allclose(kept[kept > 0], plan[kept > 0], rtol=1e-9, atol=0)
    assert (kept.sum(axis=1) > 0.899 * plan.sum(axis=1)).all()
    assert entries.nnz < 50 * n
