"""`sinkhorn` and its family by POT's calls, compared with POT."""

import inspect

import numpy as np
import ot
import pytest

import elastic_ot as eot
import elastic_ot.compat.pot as front
from helpers.pot_problems import EXACTLY, accuracy, problem

METHODS = ("sinkhorn", "sinkhorn_log", "sinkhorn_stabilized", "sinkhorn_epsilon_scaling", "greenkhorn")
CALLS = [
    (module, name)
    for module in ("bregman", "unbalanced", "partial", "gromov", "lp", "solvers", "utils")
    for name in getattr(getattr(front, module), "__all__", ("emd", "emd2") if module == "lp" else ("dist", "unif"))
    if name != "OTResult"
]


@pytest.mark.parametrize(("module", "name"), CALLS)
def test_a_call_begins_with_the_arguments_of_the_original(module, name):
    ours = inspect.signature(getattr(getattr(front, module), name)).parameters
    theirs = inspect.signature(getattr(getattr(ot, module), name)).parameters
    own = ("use_tensor", "nx", "backend", "kwargs_solve", "kwargs_solver")
    theirs = [x for x in theirs.values() if x.name not in own]
    shared = [ours[x.name] for x in theirs if x.name in ours]
    assert [x.name for x in shared] == [x.name for x in theirs]
    assert list(ours)[: len(theirs)] == [x.name for x in theirs]
    for mine, original in zip(shared, theirs, strict=True):
        assert mine.default == original.default


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reg", [1.0, 0.05])
def test_plans_and_costs_are_those_of_pot(arrays, method, reg):
    p = problem()
    given = [arrays.make(x) for x in (p.a, p.b, p.cost)]
    expected = ot.bregman.sinkhorn_log(p.a, p.b, p.cost, reg, **EXACTLY)
    plan = front.sinkhorn(*given, reg, method=method, stopThr=1e-11)
    assert isinstance(plan, arrays.kind)
    assert plan.dtype == given[2].dtype
    np.testing.assert_allclose(arrays.read(plan), expected, atol=accuracy(arrays, 1e-10))
    cost = front.sinkhorn2(*given, reg, method=method, stopThr=1e-11)
    assert abs(float(cost) - float((expected * p.cost).sum())) < accuracy(arrays, 1e-9)


def test_logarithms_of_scalings_are_those_of_pot():
    p = problem()
    _, theirs = ot.bregman.sinkhorn_log(p.a, p.b, p.cost, 0.05, log=True, **EXACTLY)
    plan, ours = front.bregman.sinkhorn_log(p.a, p.b, p.cost, 0.05, log=True, stopThr=1e-12)
    shift = ours["log_u"] - theirs["log_u"]
    assert np.ptp(shift) < 1e-8
    assert np.abs(ours["log_v"] - theirs["log_v"] + shift.mean()).max() < 1e-8
    np.testing.assert_allclose(ours["u"][:, None] * np.exp(-p.cost / 0.05) * ours["v"], plan, rtol=1e-7)
    np.testing.assert_array_equal(ours["alpha"], 0.05 * ours["log_u"])
    assert ours["err"][-1] <= 1e-12
    assert ours["solution"].converged


def test_a_warm_start_in_scalings_is_read(arrays):
    p = problem()
    given = [arrays.make(x) for x in (p.a, p.b, p.cost)]
    _, theirs = ot.bregman.sinkhorn_log(p.a, p.b, p.cost, 0.02, log=True, **EXACTLY)
    warm = tuple(arrays.make(theirs[name]) for name in ("log_u", "log_v"))
    _, cold = front.sinkhorn(*given, 0.02, log=True, method="log", stopThr=1e-6)
    _, log = front.sinkhorn(*given, 0.02, log=True, method="log", stopThr=1e-6, warmstart=warm)
    assert log["niter"] < cold["niter"]


def test_many_histograms_give_their_costs(arrays):
    p = problem()
    rng = np.random.default_rng(1)
    many = rng.dirichlet(np.ones(7), 4).T
    expected = [(ot.bregman.sinkhorn_log(p.a, b, p.cost, 0.1, **EXACTLY) * p.cost).sum() for b in many.T]
    given = [arrays.make(x) for x in (p.a, many, p.cost)]
    found, log = front.sinkhorn(*given, 0.1, stopThr=1e-10, log=True)
    np.testing.assert_allclose(arrays.read(found), expected, atol=accuracy(arrays, 1e-8))
    assert log["u"].shape == (9, 4)
    assert log["v"].shape == (7, 4)
    np.testing.assert_allclose(arrays.read(front.sinkhorn2(*given, 0.1, stopThr=1e-10)), arrays.read(found))


def test_empty_weights_are_uniform_and_lists_are_arrays():
    p = problem()
    expected = ot.sinkhorn([], [], p.cost, 0.1, **EXACTLY)
    np.testing.assert_allclose(front.sinkhorn([], [], p.cost.tolist(), 0.1, stopThr=1e-11), expected, atol=1e-10)


def test_whole_numbers_give_floats(arrays):
    cost = np.array([[0, 2, 3], [1, 0, 4]])
    expected = ot.sinkhorn([], [], cost.astype(float), 1.0, **EXACTLY)
    plan, log = front.sinkhorn([], [], arrays.make(cost), 1.0, stopThr=1e-11, log=True)
    np.testing.assert_allclose(arrays.read(plan), expected, atol=accuracy(arrays, 1e-9))
    exact = front.emd([], [], arrays.make(cost))
    np.testing.assert_allclose(arrays.read(exact), ot.emd([], [], cost.astype(float)), atol=accuracy(arrays, 1e-12))


def test_a_zero_weight_leaves_its_row_empty():
    p = problem()
    p.a[2] = 0.0
    plan, log = front.sinkhorn(p.a, p.b * p.a.sum(), p.cost, 0.1, log=True)
    assert (plan[2] == 0).all()
    assert log["u"][2] == 0
    assert np.isfinite(log["v"]).all()


def test_small_reg_is_solved_where_pot_is_not_finite():
    p = problem()
    plan, log = front.sinkhorn(p.a, p.b, p.cost, 1e-4, numItermax=100_000, log=True)
    np.testing.assert_allclose(plan.sum(axis=0), p.b, atol=1e-8)
    assert np.isfinite(log["log_u"]).all()
    assert (plan * p.cost).sum() <= ot.emd2(p.a, p.b, p.cost) + 1e-3


def test_what_does_not_arrive_warns_unless_it_shall_not():
    p = problem()
    with pytest.warns(UserWarning, match="iterations"):
        front.sinkhorn(p.a, p.b, p.cost, 0.01, numItermax=1, stopThr=0)
    front.sinkhorn(p.a, p.b, p.cost, 0.01, numItermax=1, stopThr=0, warn=False)


def test_verbose_prints_a_table(capsys):
    p = problem()
    front.sinkhorn(p.a, p.b, p.cost, 0.1, verbose=True)
    assert "It.  |Err" in capsys.readouterr().out


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
def test_empirical_plans_are_those_of_pot(arrays, metric, lazy):
    p = problem()
    x, y = arrays.make(p.x), arrays.make(p.y)
    cost = ot.dist(p.x, p.y, metric)
    expected = ot.bregman.sinkhorn_log([], [], cost, 0.1, **EXACTLY)
    found = front.bregman.empirical_sinkhorn(x, y, 0.1, metric=metric, isLazy=lazy, stopThr=1e-11)
    if lazy:
        log_u, log_v = map(arrays.read, found)
        found = np.exp(log_u[:, None] + log_v - cost / 0.1)
    tolerance = accuracy(arrays, 1e-9)
    np.testing.assert_allclose(arrays.read(found), expected, atol=tolerance)
    loss = front.bregman.empirical_sinkhorn2(x, y, 0.1, metric=metric, isLazy=lazy, stopThr=1e-11)
    assert abs(float(loss) - (expected * cost).sum()) < tolerance


def test_the_empirical_divergence_is_that_of_pot():
    p = problem()
    options = {"numIterMax": 100_000, "stopThr": 1e-12, "log": True}
    theirs, log = ot.bregman.empirical_sinkhorn_divergence(p.x, p.y, 0.2, **options)
    ours, notes = front.bregman.empirical_sinkhorn_divergence(p.x, p.y, 0.2, **options)
    assert abs(ours - theirs) < 1e-9
    assert set(log) <= set(notes)
    assert front.bregman.empirical_sinkhorn_divergence(p.x, p.x, 0.2) == 0


def test_refusals_name_what_is_wrong():
    p = problem()
    with pytest.raises(ValueError, match="method is 'foo'"):
        front.sinkhorn(p.a, p.b, p.cost, 0.1, method="foo")
    with pytest.raises(TypeError, match="stopthr"):
        front.sinkhorn(p.a, p.b, p.cost, 0.1, stopthr=1e-9)
    with pytest.raises(ValueError, match="epsilon"):
        front.sinkhorn(p.a, p.b, p.cost, 0)
    with pytest.raises(eot.InfeasibleError):
        front.sinkhorn(p.a, 2 * p.b, p.cost, 0.1)
    with pytest.raises(ValueError, match="metric"):
        front.bregman.empirical_sinkhorn(p.x, p.y, 0.1, metric="hamming", isLazy=True)
