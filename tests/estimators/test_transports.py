"""What the transports do with points, labels and outliers, compared with plans of SciPy and POT."""

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment

import elastic_ot as eot
from elastic_ot.sklearn import AssignmentTransport, SinkhornTransport, UnbalancedTransport


def samples(n=20, m=15, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)), rng.normal(size=(m, 2)) + np.array([2.0, 0.0])


def test_points_go_to_the_mean_of_the_target_under_their_row_of_the_plan():
    X, Xt = samples()
    cost = ot.dist(X, Xt)
    plan = ot.bregman.sinkhorn_log([], [], cost, 0.3, stopThr=1e-13, numItermax=50_000)
    transport = SinkhornTransport(0.3, relative=False, tol=1e-11).fit(X, Xt=Xt)
    np.testing.assert_allclose(transport.coupling_, plan, atol=1e-9)
    np.testing.assert_allclose(transport.transform(X), 20 * plan @ Xt, atol=1e-7)
    np.testing.assert_allclose(transport.inverse_transform(Xt), 15 * plan.T @ X, atol=1e-7)


def test_epsilon_is_relative_to_the_mean_cost():
    X, Xt = samples()
    scale = ot.dist(X, Xt).mean()
    first = SinkhornTransport(0.1).fit(X, Xt=Xt)
    assert abs(first.epsilon_ - 0.1 * scale) < 1e-12
    second = SinkhornTransport(0.1).fit(1000 * X, Xt=1000 * Xt)
    np.testing.assert_allclose(second.transform(1000 * X), 1000 * first.transform(X), rtol=1e-4)


@pytest.mark.parametrize("kind", [SinkhornTransport, UnbalancedTransport])
def test_the_map_of_new_points_passes_through_those_of_the_source(kind):
    X, Xt = samples()
    transport = kind(0.05).fit(X, Xt=Xt)
    exactly = transport.transform(X)
    np.testing.assert_allclose(transport.transform(X[[3, 1]]), exactly[[3, 1]], atol=1e-12)
    np.testing.assert_allclose(transport.transform(X + 1e-7), exactly, atol=1e-5)


def test_the_map_of_a_shifted_gaussian_is_nearly_the_shift():
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(600, 1)), np.array([[-0.5], [0.0], [0.5]])
    moved = SinkhornTransport(0.01).fit(X, Xt=rng.normal(size=(600, 1)) + 3.0).transform(new)
    assert np.abs(moved - new - 3.0).max() < 0.25  # of 600 points each, whose means are 0.04 off


def test_points_of_known_classes_stay_in_them():
    X, Xt = samples(16, 16)
    y, yt = np.arange(16) % 2, (np.arange(16) % 2)[::-1].copy()
    apart = y[:, None] != yt
    plan = SinkhornTransport(0.05, label_cost=np.inf).fit(X, y, Xt=Xt, yt=yt).coupling_
    assert plan[apart].max() == 0
    dearer = SinkhornTransport(0.05, label_cost=1.0).fit(X, y, Xt=Xt, yt=yt).coupling_[apart].sum()
    assert 0 < dearer < SinkhornTransport(0.05).fit(X, Xt=Xt).coupling_[apart].sum()
    exact = AssignmentTransport(label_cost=np.inf).fit(X, y, Xt=Xt, yt=yt).coupling_
    assert exact[apart].max() == 0


def test_unknown_labels_and_labels_of_one_side_change_nothing():
    X, Xt = samples(16, 16)
    unknown = np.full(16, -1)
    plain = SinkhornTransport(0.05).fit(X, Xt=Xt).coupling_
    for y, yt in ((np.arange(16) % 2, unknown), (unknown, np.arange(16) % 2), (np.arange(16) % 2, None)):
        np.testing.assert_allclose(SinkhornTransport(0.05).fit(X, y, Xt=Xt, yt=yt).coupling_, plain, atol=1e-7)


def test_labelled_points_are_carried_by_their_rows():
    X, Xt = samples(16, 16)
    y = np.arange(16) % 2
    transport = SinkhornTransport(0.05).fit(X, y, Xt=Xt, yt=y)
    np.testing.assert_allclose(transport.transform(X), 16 * transport.coupling_ @ Xt, atol=1e-4)
    np.testing.assert_allclose(transport.inverse_transform(Xt), 16 * transport.coupling_.T @ X, atol=1e-4)
    assert transport.transform(X[:3]).shape == (3, 2)


@pytest.mark.parametrize("penalty", ["KL", "TV", "L2"])
def test_relaxed_plans_are_those_of_solve(penalty):
    X, Xt = samples()
    transport = UnbalancedTransport(0.2, (0.5, 2.0), penalty=penalty, relative=False, tol=1e-10).fit(X, Xt=Xt)
    kind = getattr(eot, penalty)
    expected = eot.solve(ot.dist(X, Xt), epsilon=0.2, rows=kind(0.5), cols=kind(2.0), tol=1e-10).plan
    np.testing.assert_allclose(transport.coupling_, expected, atol=1e-8)


def test_an_outlier_is_left_out_and_does_not_bend_the_map():
    X = np.random.default_rng(0).normal(size=(40, 1))
    Xt = np.vstack([X + 1.0, np.full((10, 1), 100.0)])
    plain = SinkhornTransport(0.05, relative=False).fit(X, Xt=Xt).transform(X)
    relaxed = UnbalancedTransport(0.05, 2.0, relative=False, penalty="TV").fit(X, Xt=Xt)
    assert plain.max() > 50
    assert relaxed.coupling_[:, 40:].sum() < 1e-12
    assert relaxed.transform(X).max() <= X.max() + 1.0


def test_an_infinite_strength_is_a_side_that_is_met():
    X, Xt = samples()
    transport = UnbalancedTransport(0.1, (np.inf, 0.5)).fit(X, Xt=Xt)
    np.testing.assert_allclose(transport.coupling_.sum(axis=1), np.full(20, 1 / 20), atol=1e-6)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock"])
def test_an_assignment_is_that_of_scipy(metric):
    X, Xt = samples(18, 18)
    transport = AssignmentTransport(metric=metric).fit(X, Xt=Xt)
    cost = ot.dist(X, Xt, metric)
    rows, cols = linear_sum_assignment(cost)
    assert abs((transport.coupling_ * cost).sum() - cost[rows, cols].mean()) < 1e-12
    moved = transport.transform(X)
    assert {tuple(x) for x in moved.round(9)} == {tuple(x) for x in Xt.round(9)}
    np.testing.assert_allclose(transport.inverse_transform(moved), X, atol=1e-12)


def test_a_new_point_moves_as_its_neighbour_does():
    X, Xt = samples(18, 18)
    transport = AssignmentTransport().fit(X, Xt=Xt)
    np.testing.assert_allclose(transport.transform(X + 1e-9) - transport.transform(X), 1e-9, atol=1e-12)


def test_equal_points_have_one_image():
    X = np.array([[0.0], [0.0], [5.0]])
    transport = AssignmentTransport().fit(X, Xt=[[1.0], [2.0], [9.0]])
    np.testing.assert_allclose(transport.transform(X), [[1.5], [1.5], [9.0]])


def test_without_a_target_points_stay():
    X, _ = samples()
    np.testing.assert_allclose(AssignmentTransport().fit(X).transform(X), X, atol=1e-12)
    np.testing.assert_allclose(SinkhornTransport(1e-4).fit(X).transform(X), X, atol=1e-2)


def test_scales_are_means_over_blocks(monkeypatch):
    X, Xt = samples()
    whole = SinkhornTransport(0.1).fit(X, Xt=Xt).scale_
    monkeypatch.setattr("elastic_ot.sklearn.base.ENTRIES_AT_ONCE", 40)
    assert whole == pytest.approx(ot.dist(X, Xt).mean(), rel=1e-12)
    assert SinkhornTransport(0.1).fit(X, Xt=Xt).scale_ == pytest.approx(whole, rel=1e-12)


def test_refusals_name_what_is_wrong():
    X, Xt = samples()
    with pytest.raises(ValueError, match="y has 3 labels for 20 points"):
        SinkhornTransport().fit(X, [0, 1, 2], Xt=Xt, yt=np.zeros(15))
    with pytest.raises(ValueError, match="penalty is 'KLD'"):
        UnbalancedTransport(penalty="KLD").fit(X, Xt=Xt)
    with pytest.raises(ValueError, match="metric"):
        SinkhornTransport(metric="hamming").fit(X, Xt=Xt)
    with pytest.raises(ValueError, match="features"):
        SinkhornTransport().fit(X, Xt=Xt[:, :1])
