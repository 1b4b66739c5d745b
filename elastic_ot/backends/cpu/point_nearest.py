"""The least reduced costs of a row, C_ij - v_j, by a search of the tree over the columns' points.

Over a cell with centre c the potential is bounded by an affine function: `slope` q, and `top` p with

    v_j <= p + <q, y_j - c>    for the points y_j of the cell.

So no reduced cost of x in the cell is below the least of c(x, c + t) - <q, t> - p over the offsets t in its box, which
is known in O(d). Cells whose bound is not below the k-th least number found so far are left out.

Points are the user's, not those of passes over a plan: reduced costs are differences of large numbers, and are compared
with potentials to their last digits. What rounding of a bound may hide is 2e-15 of the numbers in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from ..protocol import Array, Metric
from .flags import INSIDE, entry_point
from .point_blocks import by_coordinate, filled
from .point_prune import BOUNDS
from .point_search import fitted_slopes
from .point_tree import Tree, near_order, tree_of
from .threads import available, split
from .tiles import ABSOLUTE, BLOCK_POINTS, SQUARES

HIDDEN = 2e-15  # of the numbers in a bound
ALONE_BELOW = 256  # rows
SCATTER = 40503  # near 2^16 over the golden ratio: where in a block rows begin has nothing to do with which they read

# Costs are to the last bit what `costs.point_cost` computes of a pair: nothing here may be rearranged or fused.
inner = njit(forceinline=True, **INSIDE)


class Sites(NamedTuple):
    """One side's points in the order of a tree, blocks of them coordinate after coordinate, and the tree."""

    order: Array
    points: Array
    blocks: Array
    tree: Tree


class Above(NamedTuple):
    """The columns with affine majorants of their potential: what compiled searches read."""

    order: Array
    blocks: Array
    v: Array
    first: Array
    centres: Array
    halves: Array
    slope: Array
    top: Array


def sites(x: Array) -> Sites:
    points = np.ascontiguousarray(x, np.float64)
    order = near_order(points)
    full = filled(points[order])
    blocks = full.reshape(-1, BLOCK_POINTS, points.shape[1])
    return Sites(order, points, by_coordinate(full), tree_of(blocks.min(axis=1), blocks.max(axis=1)))


def least_cells(
    metric: Metric, sides: tuple[Sites, Sites], offset: float, v: Array, which: Array, indices: Array, least: Array
) -> None:
    def run(part: int) -> None:
        _search_rows(kind, rows.points, above, offset, near, indices, least, *scratch(), *bounds[part : part + 2])

    def scratch() -> tuple[Array, Array, Array, Array, Array]:
        k, depth = indices.shape[1], 2 * cols.tree.levels + 2
        floats = np.empty(d), np.empty(BLOCK_POINTS), np.empty(k)
        return *floats, np.empty(depth), np.empty((depth, 2), np.int64)

    (rows, cols), kind = sides, BOUNDS[metric]
    d = rows.points.shape[1]
    above = _above(cols, v)
    place = np.empty(rows.order.size, np.int64)
    place[rows.order] = np.arange(rows.order.size)
    order = np.argsort(place[which], kind="stable")  # neighbours one after the other read the same columns
    near = np.column_stack([order, which[order]])
    threads = 1 if which.size < ALONE_BELOW else available()
    bounds = np.linspace(0, which.size, threads + 1).astype(np.int64)
    split(run, threads)


def _above(cols: Sites, v: Array) -> Above:
    tree, d = cols.tree, cols.points.shape[1]
    blocks = cols.blocks.size // (BLOCK_POINTS * d)
    inside = np.full(blocks * BLOCK_POINTS, -np.inf)
    inside[: v.size] = v[cols.order]
    offsets = cols.blocks.reshape(blocks, d, BLOCK_POINTS) - tree.centres[:blocks, :, None]
    values = inside.reshape(blocks, BLOCK_POINTS)
    live = values > -np.inf
    slope, top = np.zeros(tree.centres.shape), np.full(len(tree.centres), -np.inf)
    slope[:blocks] = fitted_slopes(offsets, live, np.where(live, values, 0.0))
    _majorise(cols.blocks, inside, tree.first, tree.centres, slope, top)
    return Above(cols.order, cols.blocks, inside, tree.first, tree.centres, tree.halves, slope, top)


@entry_point
def _majorise(blocks, v, first, centres, slope, top):
    """Slopes of cells from those of their halves, and the tops of all."""
    d = centres.shape[1]
    for level in range(first.size - 1):
        width = np.int64(1) << level
        for cell in range(first[level + 1] - first[level]):
            place = first[level] + cell
            if level > 0:
                child = first[level - 1] + 2 * cell
                twin = min(child + 1, first[level] - 1)
                for k in range(d):
                    slope[place, k] = 0.5 * (slope[child, k] + slope[twin, k])
            most = -np.inf
            for block in range(cell * width, min((cell + 1) * width, first[1])):
                for r in range(BLOCK_POINTS):
                    above = v[BLOCK_POINTS * block + r]
                    if above > -np.inf:
                        for k in range(d):
                            y = blocks[BLOCK_POINTS * (d * block + k) + r]
                            above -= slope[place, k] * (y - centres[place, k])
                        most = max(most, above)
            top[place] = most


@inner
def _below_squares(x, centres, halves, slope, cell):
    total = 0.0
    for k in range(x.size):
        apart, q, h = x[k] - centres[cell, k], slope[cell, k], halves[cell, k]
        t = min(max(apart + 0.5 * q, -h), h)
        total += (apart - t) * (apart - t) - q * t
    return total


@inner
def _below_absolute(x, centres, halves, slope, cell):
    total = 0.0
    for k in range(x.size):
        apart, q, h = x[k] - centres[cell, k], slope[cell, k], halves[cell, k]
        t = min(max(apart, -h), h)
        total += min(abs(apart - t) - q * t, min(abs(apart - h) - q * h, abs(apart + h) + q * h))
    return total


@inner
def _below_distance(x, centres, halves, slope, cell):
    """|x - y| is at least its projection on any direction, and at least the distance of the box."""
    apart, between, steep, reach = 0.0, 0.0, 0.0, 0.0
    for k in range(x.size):
        a, q, h = x[k] - centres[cell, k], slope[cell, k], halves[cell, k]
        apart += a * a
        gap = max(abs(a) - h, 0.0)
        between += gap * gap
        steep += q * q
        reach += abs(q) * h
    apart, steep = np.sqrt(apart), np.sqrt(steep)
    along = 1.0 / apart if apart > 0.0 else 0.0
    inside = 1.0 / max(1.0, steep)
    straight, guided = 0.0, 0.0
    for k in range(x.size):
        a, q, h = x[k] - centres[cell, k], slope[cell, k], halves[cell, k]
        e = along * a
        straight += e * a - abs(e + q) * h
        e = -inside * q
        guided += e * a - abs(e + q) * h
    return max(np.sqrt(between) - reach, max(straight, guided))


@inner
def _below(kind, x, above, cell):
    """A bound from below on reduced costs in a cell."""
    top = above.top[cell]
    if top == -np.inf:
        return np.inf
    if kind == SQUARES:
        least = _below_squares(x, above.centres, above.halves, above.slope, cell)
    elif kind == ABSOLUTE:
        least = _below_absolute(x, above.centres, above.halves, above.slope, cell)
    else:
        least = _below_distance(x, above.centres, above.halves, above.slope, cell)
    return (least - top) + HIDDEN * (abs(least) + abs(top))


@inner
def _reduced_of_block(kind, x, above, block, offset, out):
    d = x.size
    for r in range(BLOCK_POINTS):
        out[r] = 0.0
    for k in range(d):
        place = BLOCK_POINTS * (d * block + k)
        for r in range(BLOCK_POINTS):
            apart = x[k] - above.blocks[place + r]
            out[r] += abs(apart) if kind == ABSOLUTE else apart * apart
    place = BLOCK_POINTS * block
    for r in range(BLOCK_POINTS):
        cost = out[r] if kind == SQUARES or kind == ABSOLUTE else np.sqrt(out[r])
        out[r] = (cost - offset) - above.v[place + r]


@inner
def _replace_largest(values, indices, value, index):
    """The root of a heap, whose root is the largest, gives way."""
    size, k = values.size, 0
    while True:
        child = 2 * k + 1
        if child >= size:
            break
        if child + 1 < size and values[child + 1] > values[child]:
            child += 1
        if values[child] <= value:
            break
        values[k], indices[k] = values[child], indices[child]
        k = child
    values[k], indices[k] = value, index


@entry_point
def _search_rows(kind, points, above, offset, near, indices, least, x, reduced, values, bounds, stack, lo, hi):
    """Parts lo to hi of the rows; which of equal cells come first depends on the row."""
    root = above.first.size - 2
    for t in range(lo, hi):
        q, i = near[t, 0], near[t, 1]
        found = indices[q]
        for k in range(x.size):
            x[k] = points[i, k]
        for k in range(values.size):
            values[k], found[k] = np.inf, -1
        best = np.inf
        stack[0, 0], stack[0, 1], bounds[0], size = root, 0, -np.inf, 1
        while size > 0:
            size -= 1
            level, cell = stack[size, 0], stack[size, 1]
            if not bounds[size] < values[0] + offset:
                continue
            if level == 0:
                _reduced_of_block(kind, x, above, cell, offset, reduced)
                shift = (i * SCATTER >> 16) & (BLOCK_POINTS - 1)
                for r in range(BLOCK_POINTS):
                    turned = (r + shift) & (BLOCK_POINTS - 1)
                    if reduced[turned] < values[0]:
                        _replace_largest(values, found, reduced[turned], np.int32(BLOCK_POINTS * cell + turned))
                        best = min(best, reduced[turned])
                continue
            child, last = 2 * cell, above.first[level] - above.first[level - 1]
            first = _below(kind, x, above, above.first[level - 1] + child)
            second = _below(kind, x, above, above.first[level - 1] + child + 1) if child + 1 < last else np.inf
            second_first = first > second or (first == second and (i >> (level - 1)) & 1 == 1)
            for turn in range(2):  # the nearer one is put on top
                one = (turn == 0) == second_first
                if one or child + 1 < last:
                    stack[size, 0], stack[size, 1] = level - 1, child if one else child + 1
                    bounds[size] = first if one else second
                    size += 1
        for k in range(values.size):
            if found[k] >= 0:
                found[k] = above.order[found[k]]
        least[q] = best
