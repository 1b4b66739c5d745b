"""Images and histograms: their distance, all distances among many, and their mean."""

import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

import elastic_ot as eot

RNG = np.random.default_rng(3)
TIGHT = {"method": "sinkhorn_log", "stopThr": 1e-13, "numItermax": 100_000}
DIGITS = load_digits()


def image_distance(image, other, blur):
    """The Sinkhorn divergence of two grey images; its square root is a length, the side of the image being 1."""
    a, b = image / image.sum(), other / other.sum()
    return eot.divergence(eot.Grid(image.shape), a=a, b=b, blur=blur).value


def all_distances(histograms, cost, epsilon):
    """The entropic cost between each two of the histograms, on one cost."""
    h = histograms / histograms.sum(axis=1, keepdims=True)
    return eot.solve(cost, h[:, None], h[None, :], epsilon=epsilon).transport_cost


def mean_image(images, epsilon):
    measures = images / images.sum(axis=(1, 2), keepdims=True)
    found = eot.barycenter(eot.Grid(images.shape[1:]), measures, epsilon=epsilon)
    return found.weights.reshape(images.shape[1:])


def test_distance_of_a_moved_square_is_how_far_it_moved():
    image, other = np.zeros((32, 32)), np.zeros((32, 32))
    image[4:12, 4:12] = other[18:26, 18:26] = 200.0
    assert image_distance(image, other, blur=0.1) == pytest.approx(2 * (14 / 32) ** 2, rel=1e-3)


def test_all_distances_are_those_of_pot():
    histograms = RNG.random((30, 12)) ** 4
    cost = np.abs(np.arange(12.0)[:, None] - np.arange(12.0))
    found = all_distances(histograms, cost, 0.5)
    assert found.shape == (30, 30)
    h = histograms / histograms.sum(axis=1, keepdims=True)
    for i, j in ((0, 0), (1, 5), (29, 2)):
        theirs = ot.sinkhorn2(h[i], h[j], cost, 0.5, **TIGHT)
        assert found[i, j] == pytest.approx(theirs, rel=1e-4)


def test_mean_image_is_that_of_pot():
    images = DIGITS.images[DIGITS.target == 3][:5]
    found = mean_image(images, epsilon=0.01)
    measures = (images / images.sum(axis=(1, 2), keepdims=True)).reshape(5, -1)
    cost = cdist(pixels((8, 8)), pixels((8, 8)), "sqeuclidean")
    theirs = ot.barycenter(measures.T, cost, 0.01, stopThr=1e-12, numItermax=10_000)
    assert np.abs(found.ravel() - theirs).sum() < 1e-3


def pixels(shape):
    """Centres of pixels in the unit square, in C order."""
    return np.stack(np.meshgrid(*[(np.arange(k) + 0.5) / k for k in shape], indexing="ij"), axis=-1).reshape(-1, 2)
