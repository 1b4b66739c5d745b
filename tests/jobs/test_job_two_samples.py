"""Two samples of points: how far are they apart, and how does one become the other?"""

import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

import elastic_ot as eot

RNG = np.random.default_rng(7)
METRICS = "euclidean", "sqeuclidean"
TIGHT = {"method": "sinkhorn_log", "stopThr": 1e-13, "numItermax": 100_000}


def entropic_cost(x, y, epsilon):
    solution = eot.solve(eot.PointCloud(x, y), epsilon=epsilon)
    return solution.transport_cost


def wasserstein(x, y, a=None, b=None):
    """W1 and W2: of plain distances, and the root of that of squared ones."""
    w1 = eot.exact(eot.PointCloud(x, y, metric="euclidean"), a, b).value
    w2 = eot.exact(eot.PointCloud(x, y), a, b).value ** 0.5
    return w1, w2


def distance_on_the_line(x, y, a=None, b=None):
    return eot.transport_1d(x, y, a, b, metric="euclidean").value


def flow(x, y, steps, blur):
    """Points of x move down the gradient of the Sinkhorn divergence, towards y."""
    values = []
    for _ in range(steps):
        apart = eot.divergence(eot.PointCloud(x, y), blur=blur)
        values.append(apart.value)
        x = x - len(x) / 2 * apart.gradients().x
    return x, values


def test_entropic_cost_is_that_of_pot():
    x, y = RNG.normal(size=(60, 3)), RNG.normal(size=(45, 3)) + 0.5
    theirs = ot.sinkhorn2([], [], cdist(x, y, "sqeuclidean"), 0.5, **TIGHT)
    assert entropic_cost(x, y, 0.5) == pytest.approx(theirs, rel=1e-4)  # the plan is solved to an L1 error of 1e-6


@pytest.mark.parametrize("weights", ["equal", "of their own"])
def test_wasserstein_distances_are_those_of_pot(weights):
    x, y = RNG.normal(size=(50, 2)), RNG.normal(size=(70, 2)) + 1.0
    a, b = (RNG.dirichlet(np.ones(k)) for k in (50, 70)) if weights == "of their own" else (None, None)
    plain, squares = (ot.emd2([] if a is None else a, [] if b is None else b, cdist(x, y, m)) for m in METRICS)
    assert wasserstein(x, y, a, b) == pytest.approx((plain, squares**0.5), rel=1e-10)


def test_a_shift_moves_by_its_length():
    x = RNG.normal(size=(40, 2))
    assert wasserstein(x, x + np.array([0.3, 0.4])) == pytest.approx((0.5, 0.5), rel=1e-10)


def test_distance_on_the_line_is_that_of_scipy():
    x, y = RNG.normal(size=300), RNG.exponential(size=200)
    a, b = RNG.dirichlet(np.ones(300)), RNG.dirichlet(np.ones(200))
    assert distance_on_the_line(x, y) == pytest.approx(wasserstein_distance(x, y), rel=1e-12)
    assert distance_on_the_line(x, y, a, b) == pytest.approx(wasserstein_distance(x, y, a, b), rel=1e-12)


def test_a_flow_of_the_divergence_carries_one_cloud_to_the_other():
    x, y = RNG.normal(size=(80, 2)), RNG.normal(size=(80, 2)) * [0.3, 1.5] + 3.0
    moved, values = flow(x, y, 10, blur=0.5)
    assert values[0] == pytest.approx(debiased(x, y, 0.25), rel=1e-5)
    assert (np.diff(values) < 0).all()
    assert np.allclose(moved.mean(axis=0), y.mean(axis=0), atol=1e-3)
    assert ot.emd2([], [], cdist(moved, y, "sqeuclidean")) < 0.02 * ot.emd2([], [], cdist(x, y, "sqeuclidean"))


def debiased(x, y, epsilon):
    """The divergence by POT's plans, with the entropy relative to the product of the weights."""
    values = []
    for pair in ((x, y), (x, x), (y, y)):
        cost = cdist(*pair, "sqeuclidean")
        plan = ot.sinkhorn([], [], cost, epsilon, **TIGHT)
        values.append((plan * cost).sum() + epsilon * (plan * np.log(plan * plan.size)).sum())
    return values[0] - values[1] / 2 - values[2] / 2
