"""Which pairs of blocks may carry mass: a search of two trees that bounds, and sums, all that it leaves out.

Over a cell with centre c the potentials, in base 2, are bounded by an affine function: `slope` q, and `top` p with

    sum over the points of the cell of 2^(a_i - <q, x_i - c>)  <=  2^p.

So the mass between two cells is at most 2^(p + p' + the maximum over their boxes of <q, s> + <t, r> - sigma c(s, r)),
s and r being offsets from the two centres, a distance D apart. The maximum is known in O(d) coordinates:

    sqeuclidean   coordinate by coordinate, a concave function of the difference s - r on each edge of a rectangle
    cityblock     coordinate by coordinate, linear on both sides of x = y: the largest of eight corners
    euclidean     |D + s - r| >= <e, D + s - r> for every |e| <= 1, and at least the distance of the boxes

Constant bounds are hopeless here: where the plan moves mass far, potentials change by hundreds of nats within a block.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..protocol import Array
from .flags import inner, rows_kernel
from .point_blocks import Points
from .point_lists import Pairs
from .point_tree import Tree
from .threads import available, split
from .tiles import ABSOLUTE, BLOCK_POINTS, SQUARES

SPREAD = 32.0  # pairs a block for which the mass that may be left out is reserved
GROUPED = 2  # the tree of the columns is searched for 2^GROUPED blocks of rows at a time
LIST_ROOM = 512  # pairs a block for which lists have room at once: pages that nothing is written to take no memory
RIDGE = 1e-3  # of the spread of a block's points, added in every direction: points in a plane say nothing beside it
BOUND_SLACK = 1.001  # bounds are computed with exponents up to 1e12, rounded to their last digit


class Majorant(NamedTuple):
    """Affine bounds of potentials over all cells of a tree, in its order."""

    tree: Tree
    slope: Array
    top: Array


def majorant(points: Points, alpha: Array, smooth: Array) -> Majorant:
    """Bound potentials alpha, in base 2; `smooth` is the part of them that changes little between neighbours.

    Both in blocks, -inf where there is no point. The slopes of a block are those of its least squares fit.
    """
    tree = points.tree
    assert tree is not None
    blocks, d = points.norms.size // BLOCK_POINTS, points.points.size // points.norms.size
    offsets = points.points.reshape(blocks, d, BLOCK_POINTS) - tree.centres[:blocks, :, None]
    live = (alpha > -np.inf).reshape(blocks, BLOCK_POINTS)
    values = np.where(live, smooth.reshape(live.shape), 0.0)
    slope = fitted_slopes(offsets, live, values)
    exponents = alpha.reshape(live.shape) - (slope[:, None] @ offsets)[:, 0]
    top = _log_sums(exponents)
    slopes, tops = [slope], [top]
    for level in range(1, tree.levels):
        lo, hi = tree.first[level - 1], tree.first[level]
        centres, halves, parent = tree.centres[lo:hi], tree.halves[lo:hi], np.arange(hi - lo) >> 1
        above = slope[::2].copy()
        above[: (hi - lo) // 2] = 0.5 * (slope[::2][: (hi - lo) // 2] + slope[1::2])
        moved = (above[parent] * (centres - tree.centres[hi + parent])).sum(axis=1)
        top = top - moved + (np.abs(slope - above[parent]) * halves).sum(axis=1)
        padded = np.append(top, -np.inf) if top.size % 2 else top
        slope, top = above, np.logaddexp2(padded[::2], padded[1::2])
        slopes.append(slope)
        tops.append(top)
    return Majorant(tree, np.concatenate(slopes), np.concatenate(tops))


def fitted_slopes(offsets: Array, live: Array, values: Array) -> NDArray[np.float64]:
    """Slopes of least squares fits to values of the live points of blocks, with offsets (blocks, d, points)."""
    count = np.maximum(live.sum(axis=1), 1)
    mean = np.where(live[:, None], offsets, 0.0).sum(axis=2) / count[:, None]
    parts = np.where(live[:, None], offsets - mean[:, :, None], 0.0)
    spread = parts @ parts.transpose(0, 2, 1)
    ridge = RIDGE * np.trace(spread, axis1=1, axis2=2) / offsets.shape[1]
    spread += np.where(ridge > 0, ridge, 1.0)[:, None, None] * np.eye(offsets.shape[1])
    centred = np.where(live, values - (values.sum(axis=1) / count)[:, None], 0.0)
    return np.asarray(np.linalg.solve(spread, parts @ centred[:, :, None])[:, :, 0])


def _log_sums(exponents: NDArray[np.float64]) -> Any:
    """Logarithms of sums over the last axis, in base 2; -inf where all exponents are."""
    largest = exponents.max(axis=1)
    base = np.where(largest > -np.inf, largest, 0.0)
    with np.errstate(divide="ignore"):
        return base + np.log2(np.exp2(exponents - base[:, None]).sum(axis=1))


# --- the largest exponent between two boxes, serial -------------------------------------------------------------------


@inner
def _squares_bound(c, h, q, i, c2, h2, q2, j, sigma):
    total = 0.0
    for k in range(c.shape[1]):
        apart, a, b, hx, hy = c[i, k] - c2[j, k], q[i, k], q2[j, k], h[i, k], h2[j, k]
        if a + b < 0.0:
            apart, a, b = -apart, -a, -b
        w = min(max(-apart + a / (2.0 * sigma), -hx - hy), hx - hy)
        on_top = a * (w + hy) + b * hy - sigma * (apart + w) ** 2  # r = hy
        w = min(max(-apart - b / (2.0 * sigma), hx - hy), hx + hy)
        aside = a * hx + b * (hx - w) - sigma * (apart + w) ** 2  # s = hx
        total += max(on_top, aside)
    return total


@inner
def _absolute_bound(c, h, q, i, c2, h2, q2, j, sigma):
    total = 0.0
    for k in range(c.shape[1]):
        apart, a, b, hx, hy = c[i, k] - c2[j, k], q[i, k], q2[j, k], h[i, k], h2[j, k]
        most = a * hx + b * hy - sigma * abs(apart + hx - hy)
        most = max(most, a * hx - b * hy - sigma * abs(apart + hx + hy))
        most = max(most, b * hy - a * hx - sigma * abs(apart - hx - hy))
        most = max(most, -a * hx - b * hy - sigma * abs(apart - hx + hy))
        for side in (-1.0, 1.0):
            s = side * hy - apart  # x = y on an edge of the rectangle
            if abs(s) <= hx:
                most = max(most, a * s + b * side * hy)
            r = apart + side * hx
            if abs(r) <= hy:
                most = max(most, a * side * hx + b * r)
        total += most
    return total


@inner
def _distance_bound(c, h, q, i, c2, h2, q2, j, sigma):
    d = c.shape[1]
    apart, between, wanted, reach = 0.0, 0.0, 0.0, 0.0
    for k in range(d):
        x = c[i, k] - c2[j, k]
        apart += x * x
        gap = max(abs(x) - h[i, k] - h2[j, k], 0.0)
        between += gap * gap
        x = 0.5 * (q[i, k] - q2[j, k])
        wanted += x * x
        reach += abs(q[i, k]) * h[i, k] + abs(q2[j, k]) * h2[j, k]
    apart, wanted = np.sqrt(apart), np.sqrt(wanted)
    along = sigma / apart if apart > 0.0 else 0.0
    inside = min(1.0, sigma / wanted) if wanted > 0.0 else 0.0
    straight, guided = 0.0, 0.0
    for k in range(d):
        x, a, b, hx, hy = c[i, k] - c2[j, k], q[i, k], q2[j, k], h[i, k], h2[j, k]
        e = along * x  # sigma times the direction between the centres
        straight += abs(a - e) * hx + abs(b + e) * hy - e * x
        e = inside * 0.5 * (a - b)  # sigma times that in which the potentials change
        guided += abs(a - e) * hx + abs(b + e) * hy - e * x
    return min(reach - sigma * np.sqrt(between), min(straight, guided))


@inner
def bound_of(kind, x, i, y, j, sigma):
    """Base-2 logarithm of a bound on the mass between cells i and j; a side is (centres, halves, slope, top)."""
    (c, h, q, p), (c2, h2, q2, p2) = x, y
    if kind == SQUARES:
        most = _squares_bound(c, h, q, i, c2, h2, q2, j, sigma)
    elif kind == ABSOLUTE:
        most = _absolute_bound(c, h, q, i, c2, h2, q2, j, sigma)
    else:
        most = _distance_bound(c, h, q, i, c2, h2, q2, j, sigma)
    return p[i] + p2[j] + most


@rows_kernel
def _search_groups(kind, x, y, sigma, low, first, first2, stack, candidates, pointers, found, best, best2, lo, hi):
    """Lists of the blocks of rows in groups lo to hi. Returns (their length, what is left out at most).

    What does not fit into `found` is only counted. `best` and `best2` become the largest bounds of blocks.
    """
    top, fill, left, group = first2.size - 2, 0, 0.0, min(GROUPED, first.size - 2)
    for g in range(lo, hi):
        stack[0, 0], stack[0, 1], size, count = top, 0, 1, 0
        while size > 0:
            size -= 1
            level, j = stack[size, 0], stack[size, 1]
            bound = bound_of(kind, x, first[group] + g, y, first2[level] + j, sigma)
            if bound < low:
                left += 2.0**bound
            elif level == 0:
                candidates[count] = j
                count += 1
            else:
                for child in (2 * j + 1, 2 * j):
                    if child < first2[level] - first2[level - 1]:
                        stack[size, 0], stack[size, 1] = level - 1, child
                        size += 1
        for i in range(g << group, min((g + 1) << group, first[1])):
            for u in range(count):
                bound = bound_of(kind, x, i, y, candidates[u], sigma)
                if bound < low:
                    left += 2.0**bound
                else:
                    if fill < found.size:
                        found[fill] = candidates[u]
                    fill += 1
                    best[i] = max(best[i], bound)
                    best2[candidates[u]] = max(best2[candidates[u]], bound)
            pointers[i + 1] = fill
    return fill, left


def search(kind: int, sides: list[Majorant], sigma: float, low: float, blocks: list[int]) -> tuple[Pairs, Array, Array]:
    """Return what may carry 2^low or more, and the largest bound of every block of rows and of columns."""
    x, y = ((side.tree.centres, side.tree.halves, side.slope, side.top) for side in sides)
    first, first2 = (side.tree.first for side in sides)
    group = min(GROUPED, first.size - 2)
    groups, threads = int(first[group + 1] - first[group]), available()
    threads = max(1, min(threads, groups // 4))
    bounds = np.linspace(0, groups, threads + 1).astype(np.int64)
    pointers, capacity = np.zeros(blocks[0] + 1, np.int64), blocks[0] * min(blocks[1], LIST_ROOM) // threads + 1000
    best = np.full(blocks[0], -np.inf)
    while True:
        best2 = np.full((threads, blocks[1]), -np.inf)
        lists = [np.empty(capacity, np.int32) for _ in range(threads)]
        results: list[Any] = [None] * threads

        def run(t: int, lists: list[Array] = lists, results: list[Any] = results, best2: Array = best2) -> None:
            work = np.empty((128, 2), np.int64), np.empty(blocks[1], np.int64)
            results[t] = _search_groups(
                kind,
                x,
                y,
                sigma,
                low,
                first,
                first2,
                *work,
                pointers,
                lists[t],
                best,
                best2[t],
                bounds[t],
                bounds[t + 1],
            )

        split(run, threads)
        sizes = [size for size, _ in results]
        if max(sizes) <= capacity:
            break
        capacity = max(sizes)
    for t in range(1, threads):
        begin, end = (min(int(bounds[k]) << group, blocks[0]) for k in (t, t + 1))
        pointers[begin + 1 : end + 1] += pointers[begin]
    partners = np.concatenate([x[:size] for x, size in zip(lists, sizes, strict=True)])
    left = BOUND_SLACK * float(sum(part for _, part in results))
    return Pairs(pointers, partners, blocks[1], left, SPREAD * 2.0**low), best, best2.max(axis=0)
