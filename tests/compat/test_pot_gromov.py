"""Gromov-Wasserstein by POT's calls, compared with POT."""

import numpy as np
import ot
import pytest

import elastic_ot.compat.pot as front
from helpers.pot_problems import accuracy, quiet_pot

LOSSES = ("square_loss", "kl_loss")


def spaces(n=8, m=6, seed=0, symmetric=True, least=0.0):
    rng = np.random.default_rng(seed)
    x, y = rng.random((n, 2)), rng.random((m, 3))
    C1, C2 = ot.dist(x, x, "euclidean") + least, ot.dist(y, y, "euclidean") + least
    if not symmetric:
        C1, C2 = C1 + 0.3 * rng.random((n, n)), C2 + 0.3 * rng.random((m, m))
    p, q = (w / w.sum() for w in (rng.random(n) + 0.3, rng.random(m) + 0.3))
    return C1, C2, p, q, rng.random((n, m))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("loss_fun", LOSSES)
def test_the_descent_without_entropy_ends_where_that_of_pot_does(arrays, loss_fun, symmetric):
    C1, C2, p, q, M = spaces(symmetric=symmetric)
    made = [arrays.make(x) for x in (C1, C2, p, q)]
    plan, log = front.gromov_wasserstein(*made, loss_fun=loss_fun, log=True)
    theirs, their_log = ot.gromov_wasserstein(C1, C2, p, q, loss_fun=loss_fun, log=True)
    tolerance = accuracy(arrays, 1e-9)
    np.testing.assert_allclose(arrays.read(plan), theirs, atol=tolerance)
    assert abs(float(log["gw_dist"]) - their_log["gw_dist"]) < tolerance
    assert np.all(np.diff(log["loss"]) < 1e-12)
    assert abs(float(front.gromov_wasserstein2(*made, loss_fun=loss_fun)) - their_log["gw_dist"]) < tolerance


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("loss_fun", LOSSES)
def test_fused_descents_end_where_those_of_pot_do(arrays, loss_fun, alpha):
    C1, C2, p, q, M = spaces()
    made = [arrays.make(x) for x in (M, C1, C2, p, q)]
    value, log = front.fused_gromov_wasserstein2(*made, loss_fun=loss_fun, alpha=alpha, log=True)
    tolerance = accuracy(arrays, 1e-9)
    if alpha > 0:
        expected, their_log = ot.fused_gromov_wasserstein2(M, C1, C2, p, q, loss_fun=loss_fun, alpha=alpha, log=True)
        np.testing.assert_allclose(arrays.read(log["T"]), their_log["T"], atol=tolerance)
        assert abs(float(log["lin_loss"]) - their_log["lin_loss"]) < tolerance
    else:  # POT divides by alpha
        expected = ot.emd2(p, q, M)
    assert abs(float(value) - expected) < tolerance
    plan = front.fused_gromov_wasserstein(*made, loss_fun=loss_fun, alpha=alpha)
    np.testing.assert_array_equal(arrays.read(plan), arrays.read(log["T"]))


@pytest.mark.parametrize("loss_fun", LOSSES)
def test_entropic_plans_are_those_of_pot(arrays, loss_fun):
    C1, C2, p, q, M = spaces(least=0.2)
    made = [arrays.make(x) for x in (C1, C2, p, q)]
    options = {"loss_fun": loss_fun, "epsilon": 0.1, "log": True}
    plan, log = front.gromov.entropic_gromov_wasserstein(*made, **options)
    theirs, their_log = ot.gromov.entropic_gromov_wasserstein(C1, C2, p, q, stopThr=1e-13, **options)
    tolerance = accuracy(arrays, 1e-8)
    np.testing.assert_allclose(arrays.read(plan), theirs, atol=tolerance)
    assert abs(float(log["gw_dist"]) - their_log["gw_dist"]) < tolerance
    value, notes = front.gromov.entropic_gromov_wasserstein2(*made, **options)
    assert float(value) == float(log["gw_dist"])
    np.testing.assert_array_equal(arrays.read(notes["T"]), arrays.read(plan))


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_entropic_fused_plans_are_those_of_pot(alpha):
    C1, C2, p, q, M = spaces()
    options = {"epsilon": 0.1, "alpha": alpha, "log": True}
    plan, log = front.gromov.entropic_fused_gromov_wasserstein(M, C1, C2, p, q, **options)
    theirs, their_log = ot.gromov.entropic_fused_gromov_wasserstein(M, C1, C2, p, q, stopThr=1e-13, **options)
    np.testing.assert_allclose(plan, theirs, atol=1e-8)
    assert abs(log["fgw_dist"] - their_log["fgw_dist"]) < 1e-8
    assert abs(front.gromov.entropic_fused_gromov_wasserstein2(M, C1, C2, p, q, **options)[0] - log["fgw_dist"]) < 1e-12


def test_proximal_steps_are_those_of_pot():
    C1, C2, p, q, M = spaces()
    options = {"epsilon": 0.05, "solver": "PPA", "max_iter": 12, "tol": 0.0}
    plan = front.gromov.entropic_gromov_wasserstein(C1, C2, p, q, **options)
    with quiet_pot():
        theirs = ot.gromov.entropic_gromov_wasserstein(C1, C2, p, q, stopThr=1e-13, numItermax=20_000, **options)
    np.testing.assert_allclose(plan, theirs, atol=1e-8)


def test_a_start_is_read_and_must_be_a_plan():
    C1, C2, p, q, M = spaces(6, 6)
    order = np.array([3, 1, 5, 0, 2, 4])
    C2, even = C1[np.ix_(order, order)], np.full(6, 1 / 6)
    start = np.zeros((6, 6))
    start[order, np.arange(6)] = 1 / 6
    assert front.gromov_wasserstein2(C1, C2, even, even, G0=start) < 1e-15
    with pytest.raises(AssertionError, match="G0"):
        front.gromov_wasserstein(C1, C2, even, even, G0=2 * start)


@pytest.mark.parametrize("loss", ["L2", "KL"])
@pytest.mark.parametrize("reg", [None, 0.1])
@pytest.mark.parametrize("fused", [False, True])
def test_results_are_those_of_solve_gromov(loss, reg, fused):
    C1, C2, p, q, M = spaces(least=0.2)
    options = {"M": M if fused else None, "a": p, "b": q, "loss": loss, "reg": reg, "alpha": 0.4}
    ours, theirs = front.solve_gromov(C1, C2, **options), ot.solve_gromov(C1, C2, **options)
    np.testing.assert_allclose(ours.plan, theirs.plan, atol=1e-6)
    assert abs(ours.value - theirs.value) < 1e-6
    assert abs(ours.value_quad - theirs.value_quad) < 1e-6
    if fused:
        assert abs(ours.value_linear - theirs.value_linear) < 1e-6
    np.testing.assert_allclose(ours.marginal_a, p, atol=1e-6)


def test_a_share_of_0_is_linear():
    C1, C2, p, q, M = spaces()
    assert abs(front.solve_gromov(C1, C2, M, p, q, alpha=0).value - ot.emd2(p, q, M)) < 1e-12
    theirs = ot.solve(M, p, q, reg=0.1, reg_type="entropy", max_iter=10_000)
    assert abs(front.solve_gromov(C1, C2, M, p, q, alpha=0, reg=0.1).value - theirs.value) < 1e-6


def test_refusals_name_what_is_wrong():
    C1, C2, p, q, M = spaces()
    with pytest.raises(ValueError, match="loss_fun"):
        front.gromov_wasserstein(C1, C2, p, q, "cubic")
    with pytest.raises(ValueError, match="alpha"):
        front.fused_gromov_wasserstein(M, C1, C2, p, q, alpha=1.5)
    with pytest.raises(ValueError, match="solver"):
        front.gromov.entropic_gromov_wasserstein(C1, C2, p, q, solver="BCD")
    with pytest.raises(TypeError, match="armijio"):
        front.gromov_wasserstein(C1, C2, p, q, armijio=True)
    for options in (
        {"unbalanced": 0.5, "unbalanced_type": "TV"},
        {"unbalanced_type": "partial"},
        {"loss": "L1"},
        {"reg_type": "L2"},
    ):
        with pytest.raises(NotImplementedError, match=r"sides|loss|reg_type"):
            front.solve_gromov(C1, C2, **options)
