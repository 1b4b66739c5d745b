"""The first factors: random, or by k-means of the pairs of an exact plan between points that stand for many.

Columns of factors that start alike stay alike, for the gradient is the same for both. Clusters of pairs are columns
that differ, on both sides at once, and what each sends it receives.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...costs.base import KnownCost
from ...costs.points import PointCloud
from ...problems.linear import build_linear
from ...problems.penalties import Fixed
from ...problems.penalty import Indices, Vector
from ...problems.problem import Problem
from ..exact.clock import Clock
from ..exact.proved import solve_proved
from .factors import Array
from .k_means import k_means, medoids

PAIRED = 300  # points a side between which a plan is made, or four times the rank
LANDMARKS = 32  # costs to so many points are the coordinates of what has none
SOFTENED = 0.3  # share of each factor that is the product of its sums: no entry begins at 0


class Summary(NamedTuple):
    """Points that stand for all: of each its cluster, and of each cluster a point and its weight."""

    labels: Indices
    points: Indices
    weights: Vector


def summarised(features: Array, weights: Vector, count: int, rng: np.random.Generator) -> Summary:
    """Return clusters of at most `count` points; each point is its own where these are not more."""
    if len(weights) <= count:
        every = np.arange(len(weights), dtype=np.int64)
        return Summary(every, every, weights)
    labels = k_means(features, weights, count, rng)
    points = medoids(features, weights, labels)
    return Summary(labels, points, np.asarray(np.bincount(labels, weights, points.size), np.float64))


def features_of(cost: KnownCost, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return coordinates of rows and columns: those of points, or costs to some of the other side."""
    user: Any = getattr(cost, "user", None)
    if isinstance(user, PointCloud):
        return user.x.astype(np.float64), user.y.astype(np.float64)
    some = [rng.permutation(size)[:LANDMARKS] for size in cost.shape]
    rows, cols = cost.columns(some[1]).T, cost.rows(some[0]).T
    return np.asarray(rows, np.float64), np.asarray(cols, np.float64)


def random_start(a: Vector, b: Vector, rank: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return factors with random shares."""
    return _random(a, rank, rng), _random(b, rank, rng)


def _random(weights: Vector, rank: int, rng: np.random.Generator) -> Array:
    shares: Array = np.abs(rng.normal(size=(weights.size, rank))) + 1.0
    return np.asarray(weights[:, None] * shares / shares.sum(axis=1, keepdims=True))


def paired_start(problem: Problem, rank: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return factors whose columns are clusters of pairs; their row sums are the weights, in equal masses."""
    count = max(PAIRED, 4 * rank)
    mass = float(np.sqrt(problem.a.sum() * problem.b.sum()))
    weights = tuple(x * (mass / x.sum()) for x in (problem.a, problem.b))
    features = features_of(problem.cost, rng)
    sides = tuple(summarised(*given, count, rng) for given in zip(features, weights, strict=True))
    rows, cols, masses = exact_pairs(problem.cost, *sides)
    labels = _labels(problem.shape, sides, (rows, cols, masses), features, rank, rng)
    factors = []
    for side, own, places in zip(sides, weights, (rows, cols), strict=True):
        shares = np.zeros((side.points.size, rank))
        np.add.at(shares, (places, labels), masses)
        total = shares.sum(axis=1, keepdims=True)
        shares = np.divide(shares, total, out=np.full_like(shares, 1.0 / rank), where=total > 0)
        factors.append(own[:, None] * ((1.0 - SOFTENED) * shares[side.labels] + SOFTENED / rank))
    return factors[0], factors[1]


def exact_pairs(cost: KnownCost, first: Summary, second: Summary) -> tuple[Indices, Indices, Vector]:
    """Return the entries of a cheapest plan between two summaries."""
    costs = np.asarray(cost.at(first.points[:, None], second.points[None, :]), np.float64)
    linear, integral = build_linear(costs, first.weights, second.weights, Fixed(), Fixed(), None)
    found = solve_proved(linear, integral, Clock())
    return found.rows.astype(np.int64), found.cols.astype(np.int64), found.masses


def _labels(
    shape: tuple[int, int],
    sides: tuple[Summary, ...],
    pairs: tuple[Indices, Indices, Vector],
    features: tuple[Array, Array],
    rank: int,
    rng: np.random.Generator,
) -> Indices:
    """The column of every pair: with as many as there are points on a side, that of its point there."""
    rows, cols, masses = pairs
    sizes = tuple(side.points.size for side in sides)
    if rank == min(shape) and sizes == shape:
        return cols if shape[1] <= shape[0] else rows
    joined = np.hstack([features[0][sides[0].points[rows]], features[1][sides[1].points[cols]]])
    return k_means(joined, masses, rank, rng)
