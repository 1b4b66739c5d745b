"""Derivatives of costs between points, against differences of SciPy's distances."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from elastic_ot.costs.slopes import Pair, slopes_of

METRICS = ("sqeuclidean", "euclidean", "cityblock", "cosine", "dot")
STEP = 1e-6


def costs(metric, x, y):
    return -(x @ y.T) if metric == "dot" else cdist(x, y, metric)


@pytest.fixture
def drawn():
    """Points, a direction of them and weights of the pairs; no coordinates are close to equal."""
    rng = np.random.default_rng(0)
    points = [rng.normal(size=(n, 3)) for n in (5, 7)]
    return points, [rng.normal(size=z.shape) for z in points], rng.normal(size=(5, 7))


def pulled(metric, points, w):
    slopes = slopes_of(metric)
    found = slopes.pull(Pair(*map(slopes.settled, points)), w)
    return [slopes.returned(z, bar) for z, bar in zip(points, found, strict=True)]


def differences(function, points, step):
    up, down = (function([z + sign * STEP * dz for z, dz in zip(points, step, strict=True)]) for sign in (1.0, -1.0))
    return (up - down) / (2 * STEP)


@pytest.mark.parametrize("metric", METRICS)
def test_pull_and_push_are_the_derivative_of_the_cost(metric, drawn):
    points, step, w = drawn
    slopes = slopes_of(metric)
    moved = Pair(*(slopes.moved(z, dz) for z, dz in zip(points, step, strict=True)))
    change = slopes.push(Pair(*map(slopes.settled, points)), moved)
    np.testing.assert_allclose(change, differences(lambda z: costs(metric, *z), points, step), rtol=1e-7, atol=1e-8)
    found = pulled(metric, points, w)
    paired = sum((bar * dz).sum() for bar, dz in zip(found, step, strict=True))
    assert paired == pytest.approx((w * change).sum(), rel=1e-11)


@pytest.mark.parametrize("metric", METRICS)
def test_bend_is_the_derivative_of_pull(metric, drawn):
    points, step, w = drawn
    slopes = slopes_of(metric)
    at = Pair(*map(slopes.settled, points))
    moved = Pair(*(slopes.moved(z, dz) for z, dz in zip(points, step, strict=True)))
    first, second = slopes.pull(at, w), slopes.bend(at, moved, w)
    for side in range(2):
        found = slopes.bent(points[side], step[side], first[side], second[side])
        expected = differences(lambda z, side=side: pulled(metric, z, w)[side], points, step)
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("metric", ["euclidean", "cityblock"])
def test_equal_points_have_no_slope(metric):
    at = Pair(np.ones((1, 2)), np.ones((1, 2)))
    assert not np.any(slopes_of(metric).pull(at, np.ones((1, 1))).x)
    assert slopes_of(metric).push(at, Pair(np.ones((1, 2)), np.zeros((1, 2)))) == 0.0
