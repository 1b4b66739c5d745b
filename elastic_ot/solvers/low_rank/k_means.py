"""Weighted k-means: few points that stand for many."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...costs.base import STRIP
from ...problems.penalty import Vector
from .factors import Array

Labels = NDArray[np.int64]
LLOYD_STEPS = 10
LEARNT_FROM = 10  # points a centre, of which centres are learnt


def k_means(points: Array, weights: Vector, count: int, rng: np.random.Generator) -> Labels:
    """Return which of at most `count` centres each point belongs to; the labels in use are 0, 1, ... without a gap."""
    some = np.flatnonzero(weights > 0)
    if some.size > LEARNT_FROM * count:
        share = weights[some] / weights[some].sum()
        some = np.unique(rng.choice(some, LEARNT_FROM * count, p=share))
    centres = _learnt(points[some], weights[some], count, rng)
    found: Labels = np.unique(_nearest(points, centres)[0], return_inverse=True)[1].astype(np.int64).reshape(-1)
    return found


def medoids(points: Array, weights: Vector, labels: Labels) -> Labels:
    """Return the point with weight next to the mean of each cluster, or any where none has weight."""
    count = int(labels.max()) + 1
    mass = np.bincount(labels, weights, count)
    sums = np.stack([np.bincount(labels, weights * column, count) for column in points.T], axis=1)
    means = sums / np.where(mass > 0, mass, 1.0)[:, None]
    apart = ((points - means[labels]) ** 2).sum(axis=1)
    order = np.lexsort((apart, weights <= 0, labels))
    found: Labels = order[np.searchsorted(labels[order], np.arange(count))]
    return found


def _learnt(points: Array, weights: Vector, count: int, rng: np.random.Generator) -> Array:
    """Centres by k-means++ and Lloyd's steps; one that has lost its points moves to where they are worst served."""
    centres = _spread(points, weights, count, rng)
    count = len(centres)
    labels = np.full(len(points), -1)
    for _ in range(LLOYD_STEPS):
        new, apart = _nearest(points, centres)
        if np.array_equal(new, labels):
            break
        labels, mass = new, np.bincount(new, weights, count)
        sums = np.stack([np.bincount(labels, weights * column, count) for column in points.T], axis=1)
        empty = np.flatnonzero(mass == 0)
        centres = sums / np.where(mass > 0, mass, 1.0)[:, None]
        centres[empty] = points[np.argsort(-weights * apart, kind="stable")[: empty.size]]
    return centres


def _spread(points: Array, weights: Vector, count: int, rng: np.random.Generator) -> Array:
    """Centres far apart: each drawn by the squared distance from those before; fewer where points are equal."""
    chosen = [int(rng.choice(len(points), p=weights / weights.sum()))]
    apart = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < count:
        share = weights * apart
        if not share.sum() > 0:
            break
        chosen.append(int(rng.choice(len(points), p=share / share.sum())))
        apart = np.minimum(apart, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]


def _nearest(points: Array, centres: Array) -> tuple[Labels, Vector]:
    """The nearest centre of every point, and the squared distance from it."""
    labels, apart = np.empty(len(points), np.int64), np.empty(len(points))
    own = (centres**2).sum(axis=1)
    for rows in _chunks(len(points), len(centres)):
        squares = own - 2.0 * (points[rows] @ centres.T)
        labels[rows] = squares.argmin(axis=1)
        least = np.take_along_axis(squares, labels[rows, None], axis=1)[:, 0]
        apart[rows] = np.maximum(least + (points[rows] ** 2).sum(axis=1), 0.0)
    return labels, apart


def _chunks(n: int, count: int) -> Iterator[slice]:
    step = max(1, STRIP // count)
    return (slice(i, min(i + step, n)) for i in range(0, n, step))
