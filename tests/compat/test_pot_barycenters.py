"""Barycenters by POT's calls, compared with POT."""

import numpy as np
import ot
import pytest

import elastic_ot.compat.pot as front
from helpers.pot_problems import accuracy, quiet_pot


def histograms(n=30):
    x = np.linspace(0, 1, n)
    A = np.exp(-((x[:, None] - [0.3, 0.6, 0.7]) ** 2) / 0.01) + 1e-3
    return A / A.sum(axis=0), (x[:, None] - x) ** 2


@pytest.mark.parametrize("method", ["sinkhorn", "sinkhorn_log", "sinkhorn_stabilized"])
@pytest.mark.parametrize("weights", [None, [0.2, 0.5, 0.3]])
def test_barycenters_are_those_of_pot(arrays, weights, method):
    A, M = histograms()
    weights = None if weights is None else np.array(weights)
    # The one of POT's methods that is right for unequal weights: the others begin with an unweighted mean.
    theirs = ot.barycenter(A, M, 5e-3, weights, method="sinkhorn_log", stopThr=1e-12, numItermax=50_000)
    made = None if weights is None else arrays.make(weights)
    found, log = front.barycenter(arrays.make(A), arrays.make(M), 5e-3, made, method=method, stopThr=1e-10, log=True)
    np.testing.assert_allclose(arrays.read(found), theirs, atol=accuracy(arrays, 1e-8))
    assert log["solution"].gap < 1e-9


def test_debiased_barycenters_are_those_of_pot():
    A, M = histograms()
    theirs = ot.bregman.barycenter_debiased(A, M, 1e-3, stopThr=1e-13, numItermax=50_000)
    np.testing.assert_allclose(front.bregman.barycenter_debiased(A, M, 1e-3, stopThr=1e-8), theirs, atol=1e-8)


def test_barycenters_of_images_are_those_of_pot():
    rng = np.random.default_rng(0)
    images = rng.random((3, 12, 12)) ** 4
    images /= images.sum(axis=(1, 2), keepdims=True)
    with quiet_pot():
        theirs = ot.bregman.convolutional_barycenter2d(images, 1e-2, stopThr=1e-12)
    found = front.bregman.convolutional_barycenter2d(images, 1e-2, stopThr=1e-10)
    assert found.shape == (12, 12)
    np.testing.assert_allclose(found, theirs, atol=1e-7)
    np.testing.assert_allclose(front.bregman.convolutional_barycenter2d(list(images), 1e-2, stopThr=1e-10), found)


def test_what_does_not_arrive_warns():
    A, M = histograms()
    with pytest.warns(UserWarning, match="residual"):
        front.barycenter(A, M, 1e-3, stopThr=1e-12, numItermax=2)
    with pytest.raises(AssertionError, match="weights"):
        front.barycenter(A, M, 1e-3, [0.5, 0.5])
