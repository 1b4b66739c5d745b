"""Points that were not in the problem: the rows of the plan that they have by the potentials of the other side."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax

import elastic_ot as eot

RNG = np.random.default_rng(31)
X, Y, NEW = RNG.random((30, 2)), 0.3 + RNG.random((25, 2)), 1.2 * RNG.random((40, 2))
A, B = (w / w.sum() for w in (0.2 + RNG.random(30), 0.2 + RNG.random(25)))
SIDES = {"hard": {}, "soft rows": {"rows": eot.KL(0.3)}, "soft": {"rows": eot.TV(0.5), "cols": eot.KL(0.2)}}


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cosine"])
def test_means_are_under_a_softmax_of_potentials_less_costs(metric, name):
    sol = eot.solve(eot.PointCloud(X, Y, metric), A, B, epsilon=0.1, tol=1e-9, **SIDES[name])
    shares = softmax(np.log(B) + (sol.g - cdist(NEW, Y, metric)) / 0.1, axis=1)
    np.testing.assert_allclose(sol.map_new(NEW), shares @ Y, atol=1e-12)
    back = softmax(np.log(A) + (sol.f - cdist(NEW, X, metric)) / 0.1, axis=1)
    np.testing.assert_allclose(sol.map_new(NEW, axis=0), back @ X, atol=1e-12)
    np.testing.assert_allclose(sol.map_new(NEW, np.arange(25)), shares @ np.arange(25), atol=1e-11)


@pytest.mark.parametrize("options", [*SIDES.values(), {"mass": 0.6}, {"reference": "counting"}])
def test_points_of_the_problem_go_where_the_plan_sends_them(options):
    sol = eot.solve(eot.PointCloud(X, Y), A, B, epsilon=0.05, tol=1e-9, **options)
    np.testing.assert_allclose(sol.map_new(X), sol.barycentric_map(Y), atol=1e-10)
    np.testing.assert_allclose(sol.map_new(Y, axis=0), sol.apply(X, 0) / sol.col_marginal[:, None], atol=1e-10)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_costs_of_what_is_new_stand_for_points(order, dtype):
    cost, new = (np.asarray(cdist(x, Y), dtype, order=order) for x in (X, NEW))
    sol = eot.solve(cost, A, B, epsilon=0.1)
    shares = softmax(np.log(B) + (sol.g - new) / 0.1, axis=1)
    np.testing.assert_allclose(sol.map_new(new, Y), shares @ Y, atol=1e-6 if dtype == np.float32 else 1e-12)
    back = softmax(np.log(A)[:, None] + (sol.f[:, None] - cost[:, :7]) / 0.1, axis=0)
    np.testing.assert_allclose(sol.map_new(cost[:, :7], A, axis=0), A @ back, atol=1e-6)
    np.testing.assert_allclose(sol.map_new(eot.PointCloud(NEW, Y, "euclidean"), Y), shares @ Y, atol=1e-6)


def test_forbidden_and_removed_columns_have_no_share():
    cost = cdist(X, Y)
    weights = np.where(np.arange(25) < 3, 0.0, 1 / 22)
    new = cdist(NEW[:2], Y)
    new[0, 5:], new[1] = np.inf, np.inf
    found = eot.solve(cost, A, weights, epsilon=0.1).map_new(new, np.eye(25))
    assert found[0, 3:5].sum() == pytest.approx(1.0, abs=1e-12)
    assert (found[0, :3] == 0).all()
    assert np.isnan(found[1]).all()


def test_a_point_far_from_all_others_goes_to_the_one_whose_cost_less_potential_is_least():
    sol = eot.solve(eot.PointCloud(X, Y), epsilon=1e-3)
    far = np.array([[1e4, -1e4]])
    nearest = np.argmin(cdist(far, Y, "sqeuclidean")[0] - sol.g)
    np.testing.assert_array_equal(sol.map_new(far), Y[[nearest]])


@pytest.mark.parametrize("metric", ["sqeuclidean", "cityblock", "cosine"])
def test_many_points_are_read_in_a_stream(metric, monkeypatch):
    """With pruned pairs of blocks, for the metrics that have bounds, and without."""
    x, y, new = RNG.random((400, 2)), RNG.random((1500, 2)), 1.5 * RNG.random((1600, 2))
    sol = eot.solve(eot.PointCloud(x, y, metric), epsilon=0.002, tol=1e-3)
    monkeypatch.setattr(eot.PointCloud, "block", lambda *_: pytest.fail("a strip of costs was written out"))
    found = sol.map_new(new)
    shares = softmax((sol.g - cdist(new, y, metric)) / 0.002, axis=1)
    np.testing.assert_allclose(found, shares @ y, atol=1e-9)


def test_problems_of_a_batch_and_tensors():
    batch = eot.solve(eot.PointCloud(np.stack([X, X + 1.0]), Y), epsilon=0.1, tol=1e-9)
    np.testing.assert_allclose(batch[1].map_new(X + 1.0), batch[1].barycentric_map(Y), atol=1e-8)
    torch = pytest.importorskip("torch")
    sol = eot.solve(torch.from_numpy(cdist(X, Y)), epsilon=0.1)
    found = sol.map_new(torch.from_numpy(cdist(NEW, Y)), torch.from_numpy(Y))
    assert isinstance(found, torch.Tensor)
    assert found.shape == (40, 2)


def test_refusals_name_what_is_wrong():
    cloud, matrix = eot.solve(eot.PointCloud(X, Y), epsilon=0.1), eot.solve(cdist(X, Y), epsilon=0.1)
    with pytest.raises(ValueError, match=r"points has shape \(40, 3\).*2 coordinates"):
        cloud.map_new(np.zeros((40, 3)))
    with pytest.raises(ValueError, match="axis is 2"):
        cloud.map_new(NEW, axis=2)
    with pytest.raises(ValueError, match=r"values has shape \(30,\); with axis=1 it must be \(25,\)"):
        cloud.map_new(NEW, A)
    with pytest.raises(TypeError, match="values has dtype <U1"):
        cloud.map_new(NEW, np.full(25, "a"))
    with pytest.raises(
        ValueError, match=r"points has shape \(40, 2\).*the 25 columns have shape \(k, 25\).*PointCloud"
    ):
        matrix.map_new(NEW)
    with pytest.raises(ValueError, match=r"the 30 rows have shape \(30, k\)"):
        matrix.map_new(cdist(NEW, Y), axis=0)
    with pytest.raises(TypeError, match="values is None, and the cost knows no points of the columns"):
        matrix.map_new(cdist(NEW, Y))
