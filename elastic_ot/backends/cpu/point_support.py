"""The cells of a plan between points that carry mass, found in the pairs of blocks that a cloud reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..protocol import Array
from .flags import inner, rows_kernel
from .point_blocks import Cloud
from .point_reading import costing_of, reading_of
from .tiles import BLOCK_POINTS, entries_of_tile


@inner
def _above(costs, place, constant, inv_epsilon, alpha, beta, least, col_least, column):
    """How many of 32 entries of a row exceed the lower of two thresholds: without branches, for vectors."""
    count = 0.0
    for j in range(BLOCK_POINTS):
        exponent = alpha + beta[column + j] - (costs[place + j] + constant) * inv_epsilon
        count += 1.0 if exponent > min(least, col_least[column + j]) else 0.0
    return count


@rows_kernel
def _size_blocks(costing, lists, inv_epsilon, rows, cols, wanted, sizes, tile, lo, hi):
    """How many cells of every row of some blocks exceed the thresholds; a side is (potentials, thresholds)."""
    (kind, scale, constant, xs, ys, d, zeros), (starts, stops, partners) = costing, lists
    (alpha, row_least), (beta, col_least) = rows, cols
    for block in range(lo, hi):
        if not wanted[block]:
            continue
        row = BLOCK_POINTS * block
        for r in range(BLOCK_POINTS):
            sizes[row + r] = 0
        for t in range(starts[block], stops[block]):
            column = BLOCK_POINTS * np.int64(partners[t])
            entries_of_tile(kind, zeros, 0, zeros, 0, xs, d * row, ys, d * column, d, scale, BLOCK_POINTS, tile)
            for r in range(BLOCK_POINTS):
                i = row + r
                sizes[i] += np.int64(
                    _above(
                        tile, BLOCK_POINTS * r, constant, inv_epsilon, alpha[i], beta, row_least[i], col_least, column
                    )
                )


@rows_kernel
def _cell_blocks(costing, lists, inv_epsilon, rows, cols, places, order, indices, costs, tile, lo, hi):
    """Write these cells, those of row i from places[i] on, which is moved along."""
    (kind, scale, constant, xs, ys, d, zeros), (starts, stops, partners) = costing, lists
    (alpha, row_least), (beta, col_least) = rows, cols
    for block in range(lo, hi):
        row = BLOCK_POINTS * block
        for t in range(starts[block], stops[block]):
            column = BLOCK_POINTS * np.int64(partners[t])
            entries_of_tile(kind, zeros, 0, zeros, 0, xs, d * row, ys, d * column, d, scale, BLOCK_POINTS, tile)
            for r in range(BLOCK_POINTS):
                i, place = row + r, BLOCK_POINTS * r
                if _above(tile, place, constant, inv_epsilon, alpha[i], beta, row_least[i], col_least, column) == 0.0:
                    continue
                for j in range(BLOCK_POINTS):
                    cost = tile[place + j] + constant
                    if alpha[i] + beta[column + j] - cost * inv_epsilon > min(row_least[i], col_least[column + j]):
                        k = places[i]
                        indices[k], costs[k], places[i] = order[column + j], cost, k + 1


def _arguments(cloud: Cloud, alpha: Array, beta: Array, least: tuple[Array, Array]) -> tuple[Any, ...]:
    rows, cols = (
        (points.in_blocks(potential, -np.inf), points.in_blocks(threshold, np.inf))
        for points, potential, threshold in ((cloud.rows, alpha, least[0]), (cloud.cols, beta, least[1]))
    )
    return rows, cols


def support_sizes(
    cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, least: tuple[Array, Array], which: Array, sizes: Array
) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        tile = np.empty(BLOCK_POINTS * BLOCK_POINTS)
        _size_blocks(costing, reading.pairs.arguments, inv_epsilon, rows, cols, wanted, found, tile, lo, hi)

    reading, costing = reading_of(cloud, inv_epsilon, single=False), costing_of(cloud)
    rows, cols = _arguments(cloud, alpha, beta, least)
    asked = np.zeros(alpha.size)
    asked[which] = 1.0
    wanted = cloud.rows.in_blocks(asked, 0.0).reshape(-1, BLOCK_POINTS).any(axis=1)
    found = np.zeros(rows[0].size, np.int64)
    reading.split(run)
    ordered = np.empty(alpha.size, np.int64)
    cloud.rows.from_blocks(found, ordered)
    sizes[:] = ordered[which]


def support_cells(
    cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, least: tuple[Array, Array], pointers: Array
) -> tuple[Array, Array]:
    def run(t: int, lo: int, hi: int) -> None:
        tile = np.empty(BLOCK_POINTS * BLOCK_POINTS)
        _cell_blocks(costing, reading.pairs.arguments, *given, places, order, indices, costs, tile, lo, hi)

    reading, costing = reading_of(cloud, inv_epsilon, single=False), costing_of(cloud)
    given = inv_epsilon, *_arguments(cloud, alpha, beta, least)
    places = np.zeros(cloud.rows.norms.size, np.int64)
    places[: alpha.size] = pointers[cloud.rows.order]
    order = np.zeros(cloud.cols.norms.size, np.int64)
    order[: beta.size] = cloud.cols.order
    indices, costs = np.empty(int(pointers[-1]), np.int32), np.empty(int(pointers[-1]))
    reading.split(run)
    return indices, costs
