"""`emd`, `emd2` and partial transport by POT's calls, compared with POT and SciPy."""

import numpy as np
import ot
import pytest
from scipy.sparse import coo_array

import elastic_ot.compat.pot as front
from helpers.pot_problems import accuracy, problem


def test_plans_values_and_potentials_are_those_of_pot(arrays):
    p = problem()
    given = [arrays.make(x) for x in (p.a, p.b, p.cost)]
    plan, log = front.emd(*given, log=True)
    theirs, their_log = ot.emd(p.a, p.b, p.cost, log=True)
    tolerance = accuracy(arrays, 1e-12)
    assert plan.dtype == given[0].dtype
    np.testing.assert_allclose(arrays.read(plan), theirs, atol=tolerance)
    assert abs(log["cost"] - their_log["cost"]) < tolerance
    assert abs(float(front.emd2(*given)) - their_log["cost"]) < tolerance
    u, v = arrays.read(log["u"]), arrays.read(log["v"])
    assert (u[:, None] + v <= p.cost + tolerance).all()
    assert abs(u @ p.a + v @ p.b - log["cost"]) < tolerance
    assert abs(u @ p.a - v @ p.b) < tolerance  # centred, as POT's


def test_rows_without_weight_have_potentials_that_their_costs_allow():
    p = problem()
    p.a[[0, 4]] = 0.0
    p.b[2] = 0.0
    p.a, p.b = p.a / p.a.sum(), p.b / p.b.sum()
    _, log = front.emd(p.a, p.b, p.cost, log=True)
    slack = p.cost - log["u"][:, None] - log["v"]
    assert slack.min() > -1e-12
    assert np.abs(slack.min(axis=1)).max() < 1e-12


def test_many_histograms_give_lists():
    p = problem()
    many = np.random.default_rng(1).dirichlet(np.ones(7), 3).T
    theirs = ot.emd2(p.a, many, p.cost)
    np.testing.assert_allclose(front.emd2(p.a, many, p.cost), theirs, atol=1e-12)
    for (cost, log), expected in zip(front.emd2(p.a, many, p.cost, log=True, return_matrix=True), theirs, strict=True):
        assert abs(cost - expected) < 1e-12
        assert abs((log["G"] * p.cost).sum() - expected) < 1e-12


def test_empty_weights_are_uniform():
    p = problem(6, 6)
    np.testing.assert_allclose(front.emd([], [], p.cost), ot.emd([], [], p.cost), atol=1e-15)


def test_masses_and_shapes_that_do_not_fit_are_refused_as_by_pot():
    p = problem()
    with pytest.raises(AssertionError, match="check_marginals"):
        front.emd(p.a, 2 * p.b, p.cost)
    with pytest.raises(AssertionError, match="shape"):
        front.emd2(p.a[:-1], p.b, p.cost)
    np.testing.assert_allclose(
        front.emd(p.a, 2 * p.b, p.cost, check_marginals=False), ot.emd(p.a, p.b, p.cost), atol=1e-12
    )


def test_a_sparse_cost_has_its_cells_only():
    rng = np.random.default_rng(0)
    cells = rng.random((8, 8)) < 0.4
    cells[np.arange(8), rng.permutation(8)] = True
    cost = np.where(cells, rng.random((8, 8)) + 0.1, 0.0)
    plan, log = front.emd([], [], coo_array(cost), log=True)
    theirs, their_log = ot.emd(ot.unif(8), ot.unif(8), coo_array(cost), log=True)
    assert abs(log["cost"] - their_log["cost"]) < 1e-12
    assert (plan.toarray()[~cells] == 0).all()
    assert abs(front.emd2([], [], coo_array(cost)) - their_log["cost"]) < 1e-12


@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_partial_plans_are_those_of_pot(arrays, share):
    p = problem(masses=(1.0, 0.8))
    m = 0.8 * share
    given = [arrays.make(x) for x in (p.a, p.b, p.cost)]
    plan, log = front.partial.partial_wasserstein(*given, m=m, log=True)
    cost = float(ot.partial.partial_wasserstein2(p.a, p.b, p.cost, m=m))
    tolerance = accuracy(arrays, 1e-10)
    plan = arrays.read(plan)
    assert abs(plan.sum() - m) < tolerance
    assert (plan.sum(axis=1) <= p.a + tolerance).all()
    assert (plan.sum(axis=0) <= p.b + tolerance).all()
    assert abs(float(log["partial_w_dist"]) - cost) < tolerance
    assert abs(float(front.partial.partial_wasserstein2(*given, m=m)) - cost) < tolerance


@pytest.mark.parametrize("price", [None, 0.3, -10.0])
def test_a_price_of_mass_decides_as_in_pot(price):
    p = problem()
    plan = front.partial.partial_wasserstein_lagrange(p.a, p.b, p.cost, reg_m=price)
    theirs = ot.partial.partial_wasserstein_lagrange(p.a, p.b, p.cost, reg_m=price)
    paid = p.cost - (p.cost.max() + 1.0 if price is None else price)
    assert abs((plan * paid).sum() - (theirs * paid).sum()) < 1e-12


@pytest.mark.parametrize("method", ["sinkhorn", "sinkhorn_log"])
@pytest.mark.parametrize("reg", [1.0, 0.1])
def test_entropic_partial_plans_are_those_of_pot(arrays, method, reg):
    p = problem(masses=(1.0, 0.8))
    given = [arrays.make(x) for x in (p.a, p.b, p.cost)]
    plan, log = front.partial.entropic_partial_wasserstein(*given, reg, m=0.5, method=method, log=True)
    theirs = ot.partial.entropic_partial_wasserstein(p.a, p.b, p.cost, reg, m=0.5, numItermax=20_000, stopThr=1e-14)
    np.testing.assert_allclose(arrays.read(plan), theirs, atol=accuracy(arrays, 1e-8))
    assert abs(float(log["partial_w_dist"]) - (theirs * p.cost).sum()) < accuracy(arrays, 1e-7)


@pytest.mark.parametrize("m", [-1.0, 2.0, float("nan")])
def test_masses_that_are_not_there_are_refused(m):
    p = problem()
    calls = (
        lambda: front.partial.partial_wasserstein(p.a, p.b, p.cost, m=m),
        lambda: front.partial.entropic_partial_wasserstein(p.a, p.b, p.cost, 1.0, m=m),
    )
    for call in calls:
        with pytest.raises(ValueError, match="m is"):
            call()


def test_costs_between_points_are_those_of_pot(arrays):
    p = problem()
    x, y = arrays.make(p.x), arrays.make(p.y)
    for metric in ("sqeuclidean", "euclidean", "cityblock", "minkowski", "cosine", "correlation"):
        expected = ot.dist(p.x, p.y, metric)
        np.testing.assert_allclose(arrays.read(front.dist(x, y, metric)), expected, atol=accuracy(arrays, 1e-12))
    np.testing.assert_allclose(arrays.read(front.dist(x)), ot.dist(p.x), atol=accuracy(arrays, 1e-12))
    np.testing.assert_allclose(arrays.read(front.unif(4, x)), np.full(4, 0.25))


def test_weights_and_the_order_of_minkowski_are_those_of_pot(arrays):
    p, w = problem(), np.array([0.3, 2.0])
    x, y = arrays.make(p.x), arrays.make(p.y)
    found = front.dist(x, y, "minkowski", p=3, w=arrays.make(w), use_tensor=True)
    expected = ot.dist(p.x, p.y, "minkowski", p=3, w=w)
    np.testing.assert_allclose(arrays.read(found), expected, atol=accuracy(arrays, 1e-12))


def test_scipy_serves_every_library_where_it_is_asked_for(arrays):
    p = problem()
    x, y = arrays.make(p.x), arrays.make(p.y)
    found = front.dist(x, y, "chebyshev", backend="scipy")
    assert type(found) is type(x)
    np.testing.assert_allclose(arrays.read(found), ot.dist(p.x, p.y, "chebyshev"), atol=accuracy(arrays, 1e-12))
    if arrays.name != "numpy":
        with pytest.raises(NotImplementedError, match="backend='scipy'"):
            front.dist(x, y, "chebyshev")
        with pytest.raises(NotImplementedError, match="with weights"):
            front.dist(x, y, "sqeuclidean", w=arrays.make(np.ones(2)))


@pytest.mark.parametrize("call", ["emd", "emd2"])
def test_threads_are_deprecated_as_in_pot(call):
    p = problem()
    with pytest.warns(DeprecationWarning, match="numThreads") as theirs:
        expected = getattr(ot, call)(p.a, p.b, p.cost, numThreads=2)
    with pytest.warns(DeprecationWarning, match="numThreads") as ours:
        found = getattr(front, call)(p.a, p.b, p.cost, numThreads=2)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert [one.filename for one in ours] == [one.filename for one in theirs] == [__file__]
