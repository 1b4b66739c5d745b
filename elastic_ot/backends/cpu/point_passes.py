"""Passes over a plan between points, of which nothing is stored: serial, some blocks of rows each.

A pass computes the tiles of some rows from left to right (`tiles`), keeps the exponentials until the sums of the rows
are known, and then adds them, each row times the change of its scaling, to its column sums: one read of the points and
one exponential an entry. The rows are so few that their exponentials stay in a cache. Which blocks of columns a block
of rows reads, all or those that may carry mass, is said by a list (`point_lists`).

What is rounded. In double precision everything is computed from coordinates less a common centre. In single precision
a tile holds offsets from the centres of two blocks of neighbours, with X = X' + U and Y = Y' + V for centres U and V,

    a_i + b_j + s <X_i, Y_j> = (a_i + s <X_i, V> - M) + (b_j + s <U, Y_j> - s <U, V> + M) + s <X'_i, Y'_j>,

of which the two brackets are formed in double, 32 numbers each for a pair of blocks, and M is the largest of the
first. In many coordinates there is one centre for all (`point_blocks`).

Arguments that all passes have: `reading`, (kind, scale, rows, cols, b, pairs), a side being (points, what tiles read,
centres) and `pairs` (starts, ends, partners), of which a block of rows reads partners[starts : ends]; and `work`, a
thread's own: (p, lanes, ends, a, sums, w, masses). A strip is as many rows of a block as p has room for.
"""

from __future__ import annotations

import numpy as np

from ..protocol import LOG2E
from .dense import _clear, _potential, exp2, log
from .flags import inner, rows_kernel
from .tiles import (
    BLOCK_POINTS,
    add_columns,
    add_products,
    add_slopes,
    affine,
    entries_of_tile,
    fill_tile,
    largest_of_tile,
)

SUMMED_BLOCKS = 16  # blocks whose row sums are added in the precision of their exponentials
REMOVED = -1e30  # stands for -inf, of which no difference can be formed


@inner
def _ends_of_block(reading, norms, block, partners, base, ends, a):
    """Form what the tiles of 32 rows add to their sums, from everything that is affine in one of its points."""
    _, scale, (x, _, x_centres), (y, _, y_centres), b, _ = reading
    row_ends, col_ends, wide, row_slope, col_slope = ends
    d, blocked, x_place = row_slope.size, x_centres.shape[0] > 0, BLOCK_POINTS * row_slope.size * block
    for r in range(BLOCK_POINTS):
        a[r] = max(base[BLOCK_POINTS * block + r] * LOG2E, REMOVED) - norms[BLOCK_POINTS * block + r]
        wide[r] = a[r]
    for t in range(partners.size):
        c, place, constant = np.int64(partners[t]), BLOCK_POINTS * t, 0.0
        column = BLOCK_POINTS * c
        if blocked:
            for k in range(d):
                row_slope[k] = scale * y_centres[c, k]
                col_slope[k] = scale * x_centres[block, k]
                constant += col_slope[k] * y_centres[c, k]
            affine(a, 0, x, x_place, row_slope, 0.0, wide)
        top = wide[0]
        for r in range(1, BLOCK_POINTS):
            top = max(top, wide[r])
        for r in range(BLOCK_POINTS):
            row_ends[place + r] = wide[r] - top
        if blocked:
            affine(b, column, y, d * column, col_slope, top - constant, col_ends[place : place + BLOCK_POINTS])
        else:
            for j in range(BLOCK_POINTS):
                col_ends[place + j] = b[column + j] + top


@inner
def _fill_strip(reading, block, first, partners, col_ends, begin, lo, hi, work, divided, weights):
    """Fill p with some rows of a block and partners lo to hi, tile by tile: 2^z; and add to their sums.

    p and `col_ends` start with partner `begin`. For `divided` and `weights`, of all columns, see `fill_tile`.
    """
    kind, scale, (_, xs, _), (_, ys, _), _, _ = reading
    p, lanes, ends, _, sums, _, _ = work
    rows, d = sums.size, ends[3].size
    x_place = BLOCK_POINTS * d * block + first
    for piece in range(lo, hi, SUMMED_BLOCKS):
        _clear(lanes)
        for t in range(piece, min(piece + SUMMED_BLOCKS, hi)):
            here, there = BLOCK_POINTS * t + first, BLOCK_POINTS * (t - begin)
            column = BLOCK_POINTS * np.int64(partners[t])
            at = here, col_ends, there, xs, x_place, ys, d * column, d, scale, rows
            fill_tile(kind, ends[0], *at, p, lanes, divided, weights, column)
        for r in range(rows):
            total = 0.0
            for q in range(16 * r, 16 * r + 16):
                total += lanes[q]
            sums[r] += total


@rows_kernel
def sweep_blocks(reading, norms, side, floor, omega, base, alpha, updated, row_sum, acc, masses, work, trust, lo, hi):
    """Blocks lo to hi of rows: sums, taken relative to alpha - base, updates, and their share of the column sums.

    A row may have exp(`floor`) that is not read: with less than that it moves no further than it must, whatever the
    rest is. `masses` get those of the tiles in the order of the list, unless they are empty. False as soon as a sum
    cannot be trusted.
    """
    p, _, ends, a, sums, w, tile_masses = work
    (low, tiny, huge), rows = trust, sums.size
    _clear(acc)
    starts, stops, lists = reading[5]
    for block in range(lo, hi):
        partners = lists[starts[block] : stops[block]]
        _ends_of_block(reading, norms, block, partners, base, ends, a)
        for t in range(partners.size):
            tile_masses[t] = 0.0
        for first in range(0, BLOCK_POINTS, rows):
            _clear(sums)
            _fill_strip(reading, block, first, partners, ends[1], 0, 0, partners.size, work, None, None)
            for r in range(rows):
                i = BLOCK_POINTS * block + first + r
                old, total = alpha[i], sums[r]
                updated[i], row_sum[i], w[r] = old, 0.0, 0.0
                if side.log_weight[i] > -np.inf:
                    if not (max(low * side.weight[i], tiny) <= total <= huge):
                        return False
                    potential, target, log_sum = old - side.offset[i], old - side.offset[i], -np.inf
                    if total > 0.0:
                        log_sum = np.log(total) + (old - base[i])
                        ratio = side.log_weight[i] - log_sum + potential
                        target = _potential(side.code, side.strength, side.strength2, side.weight[i], ratio)
                    if log_sum < floor:
                        ratio = side.log_weight[i] - floor + potential
                        least = _potential(side.code, side.strength, side.strength2, side.weight[i], ratio)
                        target = max(least, min(potential, target))
                    updated[i] = side.offset[i] + potential + omega * (target - potential)
                    row_sum[i] = total
                    w[r] = np.exp(updated[i] - base[i]) if total > 0.0 else 0.0
            add_columns(p, w, rows, partners, acc, tile_masses)
        if masses.size:
            for t in range(partners.size):
                masses[starts[block] + t] = tile_masses[t]
    return True


@rows_kernel
def row_max_blocks(reading, norms, base, out, work, lo, hi):
    """The largest z of every row, under the potentials `base`."""
    kind, scale, (_, xs, _), (_, ys, _), _, _ = reading
    _, lanes, ends, a, tops, _, _ = work
    rows, d = tops.size, ends[3].size
    starts, stops, lists = reading[5]
    for block in range(lo, hi):
        partners = lists[starts[block] : stops[block]]
        _ends_of_block(reading, norms, block, partners, base, ends, a)
        for first in range(0, BLOCK_POINTS, rows):
            for q in range(lanes.size):
                lanes[q] = 3.0 * REMOVED
            x_place = BLOCK_POINTS * d * block + first
            for t in range(partners.size):
                place, y_place = BLOCK_POINTS * t, BLOCK_POINTS * d * np.int64(partners[t])
                here = place + first
                largest_of_tile(kind, ends[0], here, ends[1], place, xs, x_place, ys, y_place, d, scale, rows, lanes)
            for r in range(rows):
                top = lanes[16 * r]
                for q in range(16 * r + 1, 16 * r + 16):
                    top = max(top, lanes[q])
                out[BLOCK_POINTS * block + first + r] = top


@inner
def _total_of(parts, place):
    total = 0.0
    for t in range(place, place + 16):
        total += parts[t]
    return total


@rows_kernel
def apply_blocks(reading, norms, alpha, columns, parts, out, work, lo, hi):
    """Rows of P x; `columns` is x in the blocks of y. A few tiles are in memory at a time."""
    p, _, ends, a, sums, _, _ = work
    rows, count = sums.size, out.shape[1]
    starts, stops, lists = reading[5]
    for block in range(lo, hi):
        partners = lists[starts[block] : stops[block]]
        _ends_of_block(reading, norms, block, partners, alpha, ends, a)
        for first in range(0, BLOCK_POINTS, rows):
            _clear(parts)
            _clear(sums)
            for piece in range(0, partners.size, SUMMED_BLOCKS):
                end = min(piece + SUMMED_BLOCKS, partners.size)
                col_ends = ends[1][BLOCK_POINTS * piece :]
                _fill_strip(reading, block, first, partners, col_ends, piece, piece, end, work, None, None)
                add_products(p, rows, columns, count, partners[piece:end], parts)
            for r in range(rows):
                i = BLOCK_POINTS * block + first + r
                for q in range(count):
                    out[i, q] = _total_of(parts, 16 * (count * r + q)) if alpha[i] > -np.inf else 0.0


@rows_kernel
def gram_blocks(reading, norms, alpha, columns, weight, acc, work, lo, hi):
    """Some blocks' share of P^T diag(weight) P v, v the `columns`: the exponentials of a strip serve both products."""
    p, _, ends, a, sums, w, tile_masses = work
    rows = sums.size
    _clear(acc)
    starts, stops, lists = reading[5]
    for block in range(lo, hi):
        partners = lists[starts[block] : stops[block]]
        _ends_of_block(reading, norms, block, partners, alpha, ends, a)
        for first in range(0, BLOCK_POINTS, rows):
            _clear(sums)
            _fill_strip(reading, block, first, partners, ends[1], 0, 0, partners.size, work, None, columns)
            for r in range(rows):
                i = BLOCK_POINTS * block + first + r
                w[r] = weight[i] * sums[r] if alpha[i] > -np.inf else 0.0
            add_columns(p, w, rows, partners, acc, tile_masses)


@rows_kernel
def slope_blocks(reading, norms, alpha, parts, out, work, lo, hi):
    """Rows of what `CloudBackend.slopes` writes, a few tiles at a time."""
    kind, _, (_, xs, _), (_, ys, _), _, _ = reading
    p, _, ends, a, sums, _, _ = work
    rows, d = sums.size, ends[3].size
    starts, stops, lists = reading[5]
    for block in range(lo, hi):
        partners = lists[starts[block] : stops[block]]
        _ends_of_block(reading, norms, block, partners, alpha, ends, a)
        for first in range(0, BLOCK_POINTS, rows):
            _clear(parts)
            _clear(sums)
            for piece in range(0, partners.size, SUMMED_BLOCKS):
                end = min(piece + SUMMED_BLOCKS, partners.size)
                col_ends = ends[1][BLOCK_POINTS * piece :]
                _fill_strip(reading, block, first, partners, col_ends, piece, piece, end, work, True, None)
                add_slopes(kind, p, rows, xs, BLOCK_POINTS * d * block + first, ys, d, partners[piece:end], parts)
            for r in range(rows):
                i = BLOCK_POINTS * block + first + r
                used = alpha[i] > -np.inf
                out[i, d] = sums[r] if used else 0.0
                for k in range(d):
                    out[i, k] = _total_of(parts, 16 * (d * r + k)) if used else 0.0


@rows_kernel
def entry_blocks(costing, order, out, tile, lo, hi):
    """Costs of some rows and of blocks lo to hi of columns, which stand in some order."""
    kind, scale, constant, xs, ys, d, zeros = costing
    n, m = out.shape
    for row in range(0, n, BLOCK_POINTS):
        rows = min(BLOCK_POINTS, n - row)
        for column in range(BLOCK_POINTS * lo, BLOCK_POINTS * hi, BLOCK_POINTS):
            last = min(BLOCK_POINTS, m - column)
            entries_of_tile(kind, zeros, 0, zeros, 0, xs, d * row, ys, d * column, d, scale, (rows + 7) // 8 * 8, tile)
            for r in range(rows):
                line, place = out[row + r], BLOCK_POINTS * r
                for j in range(last):
                    line[order[column + j]] = tile[place + j] + constant


@inner
def _rounded_line(costs, inv_epsilon, alpha, beta, row_factor, col_factor, row_rest, col_rest):
    """What 32 entries of a row add to KL(Q | P) and to <C, Q>."""
    kl, moved = 0.0, 0.0
    for j in range(BLOCK_POINTS):
        exponent = alpha + beta[j] - costs[j] * inv_epsilon
        p = exp2(exponent * LOG2E)
        q = row_factor * p * col_factor[j] + row_rest * col_rest[j]
        inside = exponent > -np.inf and q > 1e-300
        ratio = log(q if inside else 1.0) - (exponent if inside else 0.0)
        kl += q * ratio - q + p if inside else p
        moved += q * costs[j] if inside else 0.0
    return kl, moved


@rows_kernel
def rounded_blocks(costing, lists, sides, inv_epsilon, divergence, transport, tile, lo, hi):
    """Blocks lo to hi of rows of `CloudBackend.rounded_sums`; `sides` has potentials, factors and rests in blocks."""
    (kind, scale, constant, xs, ys, d, zeros), (starts, stops, partners) = costing, lists
    (alpha, row_factor, row_rest), (beta, col_factor, col_rest) = sides
    for block in range(lo, hi):
        row = BLOCK_POINTS * block
        for r in range(BLOCK_POINTS):
            divergence[row + r], transport[row + r] = 0.0, 0.0
        for t in range(starts[block], stops[block]):
            first = BLOCK_POINTS * np.int64(partners[t])
            last = first + BLOCK_POINTS
            entries_of_tile(kind, zeros, 0, zeros, 0, xs, d * row, ys, d * first, d, scale, BLOCK_POINTS, tile)
            for q in range(tile.size):
                tile[q] += constant
            for r in range(BLOCK_POINTS):
                i = row + r
                if alpha[i] > -np.inf:
                    kl, moved = _rounded_line(
                        tile[BLOCK_POINTS * r : BLOCK_POINTS * r + BLOCK_POINTS],
                        inv_epsilon,
                        alpha[i],
                        beta[first:last],
                        row_factor[i],
                        col_factor[first:last],
                        row_rest[i],
                        col_rest[first:last],
                    )
                    divergence[i] += kl
                    transport[i] += moved
