"""One-to-one matching: forbidden pairs, large clouds, keypoints of which some have no partner."""

import itertools

import numpy as np
import pytest

import elastic_ot as eot
from elastic_ot.applications import match

RNG = np.random.default_rng(2)


def match_workers(cost, allowed):
    """Workers in rows, jobs in columns, more workers than jobs; `allowed` is False where a pair may not be."""
    workers, jobs = eot.assign(cost, mask=allowed)
    return dict(zip(jobs.tolist(), workers.tolist(), strict=True))


def match_points(x, y):
    matching = eot.assign(eot.PointCloud(x, y))
    return matching.col_ind, matching.cost, matching.gap


def match_keypoints(descriptors0, descriptors1, dustbin):
    """Pairs that are each other's best; who matches nobody goes to the dustbin."""
    scores = descriptors0 @ descriptors1.T
    found = match(scores, dustbin=dustbin, epsilon=0.1)
    kept = found.matches0 >= 0
    return np.nonzero(kept)[0], found.matches0[kept]


def test_workers_are_matched_as_the_best_of_all_matchings():
    cost, allowed = RNG.random((7, 4)), RNG.random((7, 4)) < 0.6
    found = match_workers(cost, allowed)
    every = (
        (cost[list(workers), range(4)].sum(), workers)
        for workers in itertools.permutations(range(7), 4)
        if allowed[list(workers), range(4)].all()
    )
    assert tuple(found[job] for job in range(4)) == min(every)[1]


def test_20000_points_are_matched_and_proved():
    x = RNG.random((20_000, 2))
    order = RNG.permutation(20_000)
    y = x[order] + [1.0, -2.0]
    col_ind, cost, gap = match_points(x, y)
    assert (order[col_ind] == np.arange(20_000)).all()
    assert cost == pytest.approx(20_000 * 5.0, rel=1e-9)
    assert gap <= 1e-9 * cost


def test_keypoints_that_both_images_show_are_matched():
    descriptors = np.linalg.qr(RNG.normal(size=(32, 32)))[0]
    first = descriptors[:24]
    second = descriptors[RNG.permutation(np.arange(8, 32))] + 0.02 * RNG.normal(size=(24, 32))
    rows, cols = match_keypoints(first, second, dustbin=0.5)
    assert rows.tolist() == list(range(8, 24))
    assert (np.abs(first[rows] - second[cols]).max(axis=1) < 0.1).all()
