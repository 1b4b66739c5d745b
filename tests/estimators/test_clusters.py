"""Clusters of measures: the best of all partitions, and what belongs to them."""

import itertools

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.sklearn import WassersteinKMeans

RNG = np.random.default_rng(3)
BINS = np.linspace(0.0, 1.0, 9)
COST = (BINS[:, None] - BINS) ** 2
PLACES = np.array([0.1, 0.3, 0.6, 0.9, 0.7])
X = np.exp(-((BINS - PLACES[:, None]) ** 2) / 0.01) + 0.01 * RNG.random((5, 9))
HOW = {"epsilon": 0.01, "tol": 1e-6}


def spread(part):
    """The sum of divergences from a partition's measures to their debiased barycenter, one solve after the other."""
    weights = X[part] / X[part].sum(axis=1, keepdims=True)
    centre = eot.barycenter(COST, weights, debiased=True, **HOW).weights
    return sum(eot.divergence(COST, COST, COST, a=a, b=centre, **HOW).value for a in weights)


@pytest.mark.slow
def test_the_best_of_several_starts_is_the_best_of_all_partitions():
    parts = [[0, *rest] for size in range(4) for rest in itertools.combinations(range(1, 5), size)]
    every = {tuple(part): spread(part) + spread([k for k in range(5) if k not in part]) for part in parts}
    best = min(every, key=every.get)
    found = WassersteinKMeans(2, epsilon=0.01, n_init=3, random_state=0).fit(X)
    assert tuple(np.flatnonzero(found.labels_ == found.labels_[0])) == best
    assert found.inertia_ == pytest.approx(every[best], abs=1e-5)


def test_labels_costs_and_inertia_belong_to_the_centres():
    found = WassersteinKMeans(2, epsilon=0.01, random_state=0).fit(X)
    costs = found.transform(X)
    np.testing.assert_array_equal(found.labels_, costs.argmin(axis=1))
    np.testing.assert_array_equal(found.predict(X), found.labels_)
    assert found.inertia_ == pytest.approx(costs.min(axis=1).sum(), abs=1e-12)
    assert found.score(X) == pytest.approx(-found.inertia_, abs=1e-12)
    np.testing.assert_allclose(found.cluster_centers_.sum(axis=1), 1.0, atol=1e-6)
    for k, centre in enumerate(found.cluster_centers_):
        own = X[found.labels_ == k] / X[found.labels_ == k].sum(axis=1, keepdims=True)
        expected = eot.barycenter(COST, own, debiased=True, **HOW).weights
        np.testing.assert_allclose(centre, expected, atol=1e-4)  # both solved to 1e-6, and blurred kernels are inverted
    assert found.get_feature_names_out().tolist() == ["wassersteinkmeans0", "wassersteinkmeans1"]


def test_rounds_do_not_raise_the_inertia():
    inertia = [
        WassersteinKMeans(3, epsilon=0.01, max_iter=k, tol=0.0, random_state=5).fit(X).inertia_ for k in (1, 2, 3)
    ]
    assert all(later <= before + 1e-6 for before, later in itertools.pairwise(inertia))


def test_as_many_clusters_as_measures_cost_nothing():
    found = WassersteinKMeans(5, epsilon=0.01, random_state=0).fit(X)
    assert sorted(found.labels_) == list(range(5))
    assert found.inertia_ < 1e-5


def test_costs_of_ones_own_decide():
    """Bins on a circle, of which the first and the last are neighbours."""
    apart = np.abs(np.subtract.outer(np.arange(9), np.arange(9)))
    circle = np.minimum(apart, 9 - apart) ** 2.0
    given = np.eye(9)[[0, 8, 4, 5]] + 1e-3
    labels = WassersteinKMeans(2, cost=circle, random_state=0, n_init=3).fit_predict(given)
    assert labels[0] == labels[1] != labels[2] == labels[3]
    labels = WassersteinKMeans(2, cost=eot.PointCloud(np.arange(9.0)[:, None]), random_state=0, n_init=3).fit_predict(
        given
    )
    assert labels[0] != labels[1]


@pytest.mark.parametrize("as_array", [False, True])
def test_clouds_are_clustered_by_their_points(as_array):
    sizes = [12] * 6 if as_array else [8, 12, 10, 14, 9, 11]
    clouds = [RNG.normal(size=(n, 2)) + np.array([8.0 * (k % 2), 0.0]) for k, n in enumerate(sizes)]
    found = WassersteinKMeans(2, epsilon=0.5, random_state=0).fit(np.stack(clouds) if as_array else clouds)
    assert found.labels_.tolist() in ([0, 1] * 3, [1, 0] * 3)
    points = 12 if as_array else 11
    assert found.cluster_centers_.shape == (2, points, 2)
    means = np.einsum("kj,kjc->kc", found.cluster_masses_, found.cluster_centers_)
    expected = [np.mean([x.mean(axis=0) for x in clouds[k::2]], axis=0) for k in found.labels_[:2]]
    # The mean of a barycenter is that of the means; points rest where a move gains less than 1e-4 of squared lengths.
    np.testing.assert_allclose(means, expected, atol=1e-2)
    np.testing.assert_array_equal(found.predict(clouds[:3]), found.labels_[:3])
    y, masses = found.cluster_centers_[0], found.cluster_masses_[0]
    squares = ((clouds[0][:, None] - y) ** 2).sum(axis=2)
    plan = eot.solve(squares, None, masses, epsilon=0.5, tol=1e-8).plan
    reference = np.full((sizes[0], 1), 1 / sizes[0]) * np.full(points, 1 / points)
    cost = (squares * plan).sum() + 0.5 * (plan[plan > 0] * np.log((plan / reference)[plan > 0])).sum()
    assert found.transform(clouds[:1])[0, 0] == pytest.approx(cost, abs=1e-4)


def test_refusals_name_what_is_wrong():
    with pytest.raises(ValueError, match=r"X\[1\] has no mass"):
        WassersteinKMeans(1).fit([[1.0, 2.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match="n_clusters is 7"):
        WassersteinKMeans(7).fit(X)
    with pytest.raises(ValueError, match=r"X\[1\] has shape \(3, 1\); it must be points of 2 coordinates"):
        WassersteinKMeans(1).fit([np.zeros((4, 2)), np.zeros((3, 1))])
    with pytest.raises(ValueError, match="not of the kind that was fitted"):
        WassersteinKMeans(1, epsilon="1x").fit(X).predict([np.zeros((4, 2))])
