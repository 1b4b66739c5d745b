"""What newcomers write first, and what they are told: the way out, not only what is wrong."""

import re

import numpy as np
import pytest

import elastic_ot as eot

X, Y = np.random.default_rng(1).random((2, 30, 2))
CLOUD = eot.PointCloud(X, Y)
POINTS = "points are passed as PointCloud"


@pytest.mark.parametrize(
    ("call", "way_out"),
    [
        (lambda: eot.solve(X, Y, epsilon=0.1), POINTS),
        (lambda: eot.exact(X, Y), POINTS),
        (lambda: eot.assign(X, Y), POINTS),
        (lambda: eot.gromov(X, Y, epsilon=0.1), POINTS),
        (lambda: eot.divergence(X, Y, epsilon=0.1), "only a PointCloud"),
        (lambda: eot.divergence(CLOUD), "epsilon is missing; give it, or a blur"),
        (lambda: eot.divergence(CLOUD, np.ones(30), np.ones(30), blur=0.1), "Pass weights by name, as a and b"),
        (lambda: eot.PointCloud(X[:, 0], Y[:, 0]), "a point a number is x[:, None]"),
        (lambda: eot.PointCloud(X, Y, metric="l2"), "'euclidean'"),
        (lambda: eot.solve(lambda i, j: abs(i - j), epsilon=0.1), "elastic_ot.FunctionCost"),
        (lambda: eot.assign(lambda i, j: abs(i - j)), "elastic_ot.FunctionCost"),
        (lambda: eot.Grid(np.ones((8, 8))), "the shape of an image"),
        (lambda: eot.solve(CLOUD, epsilon=0.1, rows="kl"), "a penalty such as Fixed() or KL(1.0)"),
        (lambda: eot.exact(CLOUD, rows=eot.KL(1.0)), "choose Fixed, TV, Between, AtMost or Free"),
        (lambda: eot.solve(CLOUD, np.ones(30), epsilon=0.1), "b = b * (a.sum() / b.sum())"),
        (lambda: eot.barycenter(CLOUD, [np.ones(30), np.full(30, 2.0)], epsilon=0.1), "normalise the measures"),
    ],
)
def test_the_message_says_what_to_write(call, way_out):
    with pytest.raises((TypeError, ValueError), match=re.escape(way_out)):
        call()
