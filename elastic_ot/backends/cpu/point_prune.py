"""Clouds that read only what may carry mass at some potentials, with a bound on the rest."""

from __future__ import annotations

import numpy as np

from ..protocol import BOUNDED_METRICS, LOG2E, Array
from .point_blocks import Cloud
from .point_guard import NEAR_BEST, complete
from .point_search import SPREAD, majorant, search
from .tiles import ABSOLUTE, BLOCK_POINTS, DISTANCE, SQUARES

UNSEARCHED = 1024  # pairs of blocks that are not searched
WORTH = 0.95  # share of all pairs up to which a list is made: some of them turn out to carry little
BOUNDS = dict(zip(BOUNDED_METRICS, (SQUARES, DISTANCE, ABSOLUTE), strict=True))


def prune(
    cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, offsets: tuple[Array, Array], most: float
) -> tuple[Cloud, float]:
    sides = cloud.rows, cloud.cols
    blocks = [x.norms.size // BLOCK_POINTS for x in sides]
    whole = cloud._replace(pairs=None)
    if cloud.metric not in BOUNDS or None in (x.tree for x in sides) or blocks[0] * blocks[1] <= UNSEARCHED:
        return whole, 0.0
    sigma = inv_epsilon * LOG2E * cloud.power
    if not 0.0 < sigma < np.inf or not 0.0 < most < np.inf:
        return whole, 0.0
    lift = inv_epsilon * LOG2E * cloud.offset  # of costs less a constant
    found = []
    for points, potential, offset, more in zip(sides, (alpha, beta), offsets, (lift, 0.0), strict=True):
        with np.errstate(invalid="ignore"):
            smooth = np.where(potential > -np.inf, potential - offset, 0.0)
        inside = points.in_blocks(potential * LOG2E + more, -np.inf)
        found.append(majorant(points, inside, points.in_blocks(smooth * LOG2E, 0.0)))
    low = float(np.log2(most / (SPREAD * max(blocks))))
    kind = BOUNDS[cloud.metric]
    pairs, *best = search(kind, found, sigma, low, blocks)
    if pairs.share <= WORTH:
        pairs = complete(kind, found, sigma, pairs, [x < low + NEAR_BEST for x in best])
    return (cloud._replace(pairs=pairs), pairs.left) if pairs.share <= WORTH else (whole, 0.0)
