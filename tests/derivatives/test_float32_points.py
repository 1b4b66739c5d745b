"""Derivatives of the optimal value in float32 points: in single precision where that is enough, and then to 1e-5."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import elastic_ot as eot
from elastic_ot.costs import scan
from elastic_ot.costs.points_plan import PointPlan
from elastic_ot.costs.slopes import Pair, slopes_of

METRICS = ("sqeuclidean", "euclidean", "cityblock", "cosine", "dot")


@pytest.fixture(autouse=True)
def nothing_is_stored(monkeypatch):
    monkeypatch.setattr(scan, "KEPT_ENTRIES", 0)


@pytest.fixture
def passes(monkeypatch):
    """Whether passes over the plan were in single precision, one after the other."""
    seen, apply, slopes = [], PointPlan.apply, PointPlan.slopes

    def applied(*arguments, fast=False):
        seen.append(fast)
        return apply(*arguments, fast=fast)

    def sloped(*arguments):
        seen.append(arguments[-1])
        return slopes(*arguments)

    monkeypatch.setattr(PointPlan, "apply", applied)
    monkeypatch.setattr(PointPlan, "slopes", sloped)
    return seen


def drawn(d, dtype, shift=0.3):
    rng = np.random.default_rng(0)
    return rng.random((150, d)).astype(dtype), (shift + 0.5 * rng.random((170, d))).astype(dtype)


def expected(sol, metric, x, y, epsilon):
    """Derivatives of <C, P> at the plan of the potentials, from its matrix."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    cost = -(x @ y.T) if metric == "dot" else cdist(x, y, metric)
    plan = np.exp((sol.found.f[:, None] + sol.found.g - cost) / epsilon) / cost.size
    slopes = slopes_of(metric)
    found = slopes.pull(Pair(slopes.settled(x), slopes.settled(y)), plan)
    return slopes.returned(x, found.x), slopes.returned(y, found.y)


def error(sol, metric, x, y, epsilon):
    """The largest, relative to the largest derivative of the side."""
    found, wanted = sol.gradients(), expected(sol, metric, x, y, epsilon)
    return max(np.abs(p - q).max() / np.abs(q).max() for p, q in zip((found.x, found.y), wanted, strict=True))


@pytest.mark.parametrize("epsilon", [0.05, 0.005])
@pytest.mark.parametrize("d", [2, 16])
@pytest.mark.parametrize("metric", METRICS)
def test_derivatives_in_float32_points_are_good_to_1e_5(metric, d, epsilon):
    x, y = drawn(d, np.float32)
    sol = eot.solve(eot.PointCloud(x, y, metric), epsilon=epsilon, tol=1e-4)
    assert error(sol, metric, x, y, epsilon) <= 1e-5


@pytest.mark.parametrize("metric", METRICS)
def test_single_precision_is_taken_where_it_is_enough(passes, metric):
    for dtype, fast in ((np.float32, True), (np.float64, False)):
        x, y = drawn(3, dtype)
        sol = eot.solve(eot.PointCloud(x, y, metric), epsilon=0.05, tol=1e-4, method="log")
        passes.clear()
        sol.gradients()
        assert passes == [fast, fast]  # rows, and columns


def test_double_precision_is_taken_where_it_is_not_enough(passes):
    """Each point of a lattice goes to its neighbour, 1e-4 away: float32 makes 1e-3 of that of coordinates up to 1."""
    x = (0.2 * np.indices((5, 5, 5)).reshape(3, -1).T).astype(np.float32)
    y = x + np.float32(1e-4)
    sol = eot.solve(eot.PointCloud(x, y), epsilon=2e-3, tol=1e-6, method="log")
    passes.clear()
    assert error(sol, "sqeuclidean", x, y, 2e-3) <= 1e-9
    assert passes == [True, True, False, False]


def test_distances_of_near_points_keep_their_directions():
    """Each point of a lattice goes to its neighbour, 1e-4 away, some 1000 units in the last place of coordinates."""
    x = (0.2 * np.indices((5, 5, 5)).reshape(3, -1).T).astype(np.float32)
    y = x + np.float32(1e-4)
    sol = eot.solve(eot.PointCloud(x, y, "euclidean"), epsilon=0.02, tol=1e-6, method="log")
    assert error(sol, "euclidean", x, y, 0.02) <= 1e-5


def test_one_pass_is_enough_for_a_cloud_and_itself(passes):
    x, _ = drawn(3, np.float64)
    sol = eot.divergence(eot.PointCloud(x, x[:100]), epsilon=0.05, tol=1e-4)
    passes.clear()
    sol.gradients()
    assert len(passes) == 4  # two between the clouds, one within each
