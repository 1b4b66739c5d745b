"""What has not converged is raised, warned of at the user's line, or kept quiet about: by every public call alike."""

import warnings

import numpy as np
import pytest

import elastic_ot as eot

RNG = np.random.default_rng(8)
X, Y = RNG.normal(size=(12, 2)), RNG.normal(size=(11, 2)) + 1.0
COST = ((X[:, None] - Y) ** 2).sum(axis=2)
SPACE, OTHER = np.abs(X[:, None] - X).sum(axis=2), np.abs(Y[:, None] - Y).sum(axis=2)
HARD = {"epsilon": 0.01, "tol": 1e-12, "max_iter": 1}
CALLS = {
    "solve": lambda **how: eot.solve(COST, **HARD, **how),
    "batch": lambda **how: eot.solve(np.stack([COST, 2.0 * COST]), **HARD, **how),
    "divergence": lambda **how: eot.divergence(eot.PointCloud(X, Y), **HARD, **how),
    "barycenter": lambda **how: eot.barycenter(COST, RNG.dirichlet(np.ones(12), 3), **HARD, **how),
    "free_barycenter": lambda **how: eot.free_barycenter([X, Y], support=X[:5], epsilon=0.1, max_moves=1, **how),
    "gromov": lambda **how: eot.gromov(SPACE, OTHER, **HARD, **how),
    "low_rank": lambda **how: eot.low_rank(COST, 3, tol=1e-12, max_iter=1, init="random", **how),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_failure_is_reported_as_asked(name):
    call = CALLS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.all(call(on_failure="ignore").converged)
    with pytest.warns(eot.ConvergenceWarning) as caught:
        call(on_failure="warn")
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.raises(eot.ConvergenceError, match=r"\w"):
        call(on_failure="raise")
