"""A map that is fitted on some points and carries others: colours of all pixels, samples of another domain."""

import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.neighbors import KNeighborsClassifier

import elastic_ot as eot

RNG = np.random.default_rng(13)


def transfer_colours(picture, palette, epsilon, size=500):
    """Fit on a sample of the pixels, then send every pixel to the mean colour of its partners."""
    rng, pixels = np.random.default_rng(0), picture.reshape(-1, 3)
    x = rng.choice(pixels, size)
    y = rng.choice(palette.reshape(-1, 3), size)
    fit = eot.solve(eot.PointCloud(x, y), epsilon=epsilon)
    return fit.map_new(pixels).reshape(picture.shape)


def adapt_domain(source, target, new, epsilon):
    """Points of the source's kind, which need not be in it, are carried to the target."""
    return eot.solve(eot.PointCloud(source, target), epsilon=epsilon).map_new(new)


def test_pixels_go_where_the_potentials_send_them():
    picture, palette = RNG.random((20, 30, 3)) ** 2, RNG.random((25, 20, 3)) ** [0.5, 1.0, 2.0]
    found = transfer_colours(picture, palette, 0.05, size=100)
    rng, pixels = np.random.default_rng(0), picture.reshape(-1, 3)
    x, y = rng.choice(pixels, 100), rng.choice(palette.reshape(-1, 3), 100)
    cost = cdist(x, y, "sqeuclidean")
    _, log = ot.sinkhorn([], [], cost, 0.05, method="sinkhorn_log", stopThr=1e-12, numItermax=10_000, log=True)
    shares = softmax(log["log_v"] - cdist(pixels, y, "sqeuclidean") / 0.05, axis=1)
    assert found.reshape(-1, 3) == pytest.approx(shares @ y, abs=1e-4)


def test_a_classifier_of_the_target_knows_points_of_the_source_that_were_carried():
    """The target is the source, moved: labels are those of three heaps."""
    heaps = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 6.0]])
    labels, of_new = RNG.integers(0, 3, 300), RNG.integers(0, 3, 200)
    source = heaps[labels] + RNG.normal(size=(300, 2))
    new = heaps[of_new] + RNG.normal(size=(200, 2))
    target = heaps[labels] + RNG.normal(size=(300, 2)) + [4.0, -3.0]
    classifier = KNeighborsClassifier(5).fit(target, labels)
    assert (classifier.predict(new) == of_new).mean() < 0.7
    assert (classifier.predict(adapt_domain(source, target, new, 0.1)) == of_new).mean() > 0.95
