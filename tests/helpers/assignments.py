"""Assignment problems of many kinds, and what proves a result optimal, computed again from its potentials."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from elastic_ot.solvers.exact import all_cells, small
from elastic_ot.solvers.exact import pricing as exact
from elastic_ot.solvers.exact.core import Core

TIGHT = 3e-13  # of the largest number: the solver takes 1e-13 for rounding, for two potentials, and sums here round


def begin_with_few_cells(patch):
    """Make the solver start with two cells a row, so that the rest has to be priced many times."""
    for grow in (Core.grow_rows, Core.grow_cols):
        patch.setattr(grow, "__defaults__", (2,))
    patch.setattr(exact, "LOOK_CELLS", 2)  # two, because the spread of a row's cheapest costs sets the scale
    patch.setattr(exact, "AGAIN", 1)
    choose_cells(patch)


def choose_cells(patch):
    """Make the solver choose some cells of small problems, too, of which it takes all at once otherwise."""
    patch.setattr(small, "CELLS_AT_ONCE", 0)
    patch.setattr(all_cells, "LINES_AT_ONCE", 0)
    patch.setattr(all_cells, "LINES_IF_CONTESTED", 0)


def cloud(rng, n, m):
    """Squared distances of points in the unit square."""
    return ((rng.random((n, 2))[:, None] - rng.random((m, 2))) ** 2).sum(axis=-1)


FAMILIES = {
    "uniform": lambda rng, n, m: rng.random((n, m)),
    "cloud": cloud,
    "negative": lambda rng, n, m: -100.0 * rng.random((n, m)),
    "integers with ties": lambda rng, n, m: rng.integers(0, 5, (n, m)),
    "large integers": lambda rng, n, m: rng.integers(-(10**9), 10**9, (n, m)),
    "floats with ties": lambda rng, n, m: 0.1 * rng.integers(0, 5, (n, m)),
    "line": lambda rng, n, m: np.abs(rng.random(n)[:, None] - rng.random(m)),
    "constant": lambda rng, n, m: np.full((n, m), 0.3),
    "Machol-Wien": lambda rng, n, m: np.outer(np.arange(1, n + 1), np.arange(1, m + 1)),
    "low rank": lambda rng, n, m: rng.normal(size=(n, 2)) @ rng.normal(size=(2, m)),
    "single precision": lambda rng, n, m: rng.random((n, m), dtype=np.float32),
    "many magnitudes": lambda rng, n, m: 10.0 ** rng.uniform(-12.0, 6.0, (n, m)),
}


def feasible_mask(rng, n, m, share=0.4):
    """Some cells allowed, those of a random assignment among them."""
    mask = rng.random((n, m)) < share
    k = min(n, m)
    mask[rng.permutation(n)[:k], rng.permutation(m)[:k]] = True
    return mask


def as_floats(cost, maximize=False, mask=None):
    """The cost with forbidden pairs at inf, -inf where the largest sum is looked for."""
    cost = np.asarray(cost).astype(float)
    return cost if mask is None else np.where(mask, cost, -np.inf if maximize else np.inf)


def matched_sum(cost, result):
    """Of integers without rounding."""
    matched = np.asarray(cost)[result[0], result[1]]
    return sum(matched.tolist()) if matched.dtype.kind in "biu" else float(matched.sum(dtype=float))


def assert_matching(result, shape):
    row_ind, col_ind = result
    assert row_ind.dtype == col_ind.dtype == np.intp
    assert row_ind.size == col_ind.size == min(shape)
    assert (np.diff(row_ind) > 0).all()
    assert np.unique(col_ind).size == col_ind.size
    for indices, size in ((row_ind, shape[0]), (col_ind, shape[1])):
        assert ((indices >= 0) & (indices < size)).all()


def assert_proved(result, cost, maximize=False, mask=None):
    """Feasible potentials that are tight on the matching; exactly so for integers."""
    cost = np.asarray(cost)
    n, m = cost.shape
    assert_matching(result, cost.shape)
    assert result.u.shape == (n,)
    assert result.v.shape == (m,)
    sign = -1.0 if maximize else 1.0
    reduced = sign * (as_floats(cost, maximize, mask) - result.u[:, None] - result.v)
    assert np.isfinite(reduced[tuple(result)]).all(), "a forbidden pair is matched"
    integral = cost.dtype.kind in "biu"
    finite = np.abs(as_floats(cost, maximize, mask))
    largest = max(finite[np.isfinite(finite)].max(), np.abs(result.u).max(), np.abs(result.v).max())
    rounding = 0.0 if integral else TIGHT * largest
    assert reduced.min() >= -rounding
    assert np.abs(reduced[tuple(result)]).max() <= rounding
    assert result.cost == matched_sum(cost, result)
    assert result.gap <= min(n, m) * rounding
    if integral:
        assert type(result.cost) is int
    longer, matched = (result.v, result.col_ind) if n < m else (result.u, result.row_ind)
    if n != m:
        assert (sign * longer <= 0.0).all()
        assert np.abs(np.delete(longer, matched)).max() <= rounding


def assert_as_cheap_as_scipy(result, cost, maximize=False, mask=None):
    floats = as_floats(cost, maximize, mask)
    best = matched_sum(cost, linear_sum_assignment(floats, maximize))
    # A proved float optimum is within its gap of the best, and SciPy's sums round like ours.
    rounding = 0.0 if isinstance(best, int) else TIGHT * np.abs(floats[tuple(result)]).sum() + result.gap
    assert abs(result.cost - best) <= rounding
