"""The primitives of `CloudBackend` in Numba: passes over a plan between points, of which nothing is stored.

A thread takes some rows at a time, computes their tiles from left to right (`tiles`), keeps the exponentials until the
sums of the rows are known, and then adds them, each row times the change of its scaling, to its column sums: one read
of the points and one exponential an entry. The rows are so few that their exponentials stay in its cache.

What is rounded. In double precision everything is computed from coordinates less a common centre. In single precision
a tile holds offsets from the centres of two blocks of neighbours, with X = X' + U and Y = Y' + V for centres U and V,

    a_i + b_j + s <X_i, Y_j> = (a_i + s <X_i, V> - M) + (b_j + s <U, Y_j> - s <U, V> + M) + s <X'_i, Y'_j>,

of which the two brackets are formed in double, 32 numbers each for a pair of blocks, and M is the largest of the
first. In many coordinates there is one centre for all (`point_blocks`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..protocol import CLIPPED, LOG2E, TRUST_DOUBLE, TRUST_SINGLE, Array, Side, Vectors
from ..updates import log_column_sums
from .dense import BRIEF_SERIAL_BELOW, LN2, _clear, _columns, _potential, exp2, inner, log, rows_kernel
from .point_blocks import Cloud, by_coordinate
from .point_blocks import cloud as cloud
from .point_blocks import shifted as shifted
from .point_blocks import transposed as transposed
from .threads import available, split
from .tiles import (
    BLOCK_POINTS,
    SQUARES,
    add_columns,
    add_products,
    add_slopes,
    affine,
    entries_of_tile,
    fill_tile,
    largest_of_tile,
)

STRIP_ROWS, HIGH_STRIP_ROWS = 8, 32  # whose exponentials are kept until their sums are known; measured
MANY_COORDINATES = 32  # from which reading points takes longer than reading exponentials, so that strips are high
SUMMED_BLOCKS = 16  # blocks whose row sums are added in the precision of their exponentials
ANY_SUM = 0.0, 0.0, np.inf  # trusts all sums
REMOVED = -1e30  # stands for -inf, of which no difference can be formed
CANCELLING = 1e6  # largest squared distance over epsilon up to which double precision forgives inner products


# --- passes over blocks of rows, serial -------------------------------------------------------------------------------
# `reading` is what all of them get: (kind, scale, rows, cols, b), a side being (points, what tiles read, centres).
# `work` is a thread's own: (p, lanes, ends, a, sums, w). A strip is as many rows of a block as p has room for.


@inner
def _ends_of_block(reading, norms, block, base, ends, a):
    """Form what the tiles of 32 rows add to their sums, from everything that is affine in one of its points."""
    _, scale, (x, _, x_centres), (y, _, y_centres), b = reading
    row_ends, col_ends, wide, row_slope, col_slope = ends
    d, blocked, x_place = row_slope.size, x_centres.shape[0] > 0, BLOCK_POINTS * row_slope.size * block
    for r in range(BLOCK_POINTS):
        a[r] = max(base[BLOCK_POINTS * block + r] * LOG2E, REMOVED) - norms[BLOCK_POINTS * block + r]
        wide[r] = a[r]
    for c in range(b.size // BLOCK_POINTS):
        column, constant = BLOCK_POINTS * c, 0.0
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
            row_ends[column + r] = wide[r] - top
        if blocked:
            affine(b, column, y, d * column, col_slope, top - constant, col_ends[column : column + BLOCK_POINTS])
        else:
            for j in range(BLOCK_POINTS):
                col_ends[column + j] = b[column + j] + top


@inner
def _fill_strip(reading, block, first, col_ends, begin, lo, hi, work, divided):
    """Fill p with some rows of a block and blocks lo to hi of columns, tile by tile: 2^z; and add to their sums.

    p and `col_ends` start with column `begin`. For `divided` see `fill_tile`.
    """
    kind, scale, (_, xs, _), (_, ys, _), _ = reading
    p, lanes, ends, _, sums, _ = work
    rows, d = sums.size, ends[3].size
    x_place = BLOCK_POINTS * d * block + first
    for piece in range(lo, hi, SUMMED_BLOCKS):
        _clear(lanes)
        for c in range(piece, min(piece + SUMMED_BLOCKS, hi)):
            column = BLOCK_POINTS * c
            here, there, y_place = column + first, column - begin, d * column
            fill_tile(kind, ends[0], here, col_ends, there, xs, x_place, ys, y_place, d, scale, rows, p, lanes, divided)
        for r in range(rows):
            total = 0.0
            for q in range(16 * r, 16 * r + 16):
                total += lanes[q]
            sums[r] += total


@rows_kernel
def _sweep_blocks(reading, norms, side, omega, base, alpha, updated, row_sum, acc, work, trust, lo, hi):
    """Blocks lo to hi of rows: sums, taken relative to alpha - base, updates, and their share of the column sums.

    False as soon as a sum cannot be trusted.
    """
    p, _, ends, a, sums, w = work
    (low, tiny, huge), rows, blocks = trust, sums.size, reading[4].size // BLOCK_POINTS
    _clear(acc)
    for block in range(lo, hi):
        _ends_of_block(reading, norms, block, base, ends, a)
        for first in range(0, BLOCK_POINTS, rows):
            _clear(sums)
            _fill_strip(reading, block, first, ends[1], 0, 0, blocks, work, None)
            for r in range(rows):
                i = BLOCK_POINTS * block + first + r
                old, total = alpha[i], sums[r]
                updated[i], row_sum[i], w[r] = old, 0.0, 0.0
                if side.log_weight[i] > -np.inf:
                    if not (max(low * side.weight[i], tiny) <= total <= huge):
                        return False
                    potential = old - side.offset[i]
                    ratio = side.log_weight[i] - (np.log(total) + (old - base[i])) + potential
                    target = _potential(side.code, side.strength, side.strength2, side.weight[i], ratio)
                    updated[i] = side.offset[i] + potential + omega * (target - potential)
                    row_sum[i], w[r] = total, np.exp(updated[i] - base[i])
            add_columns(p, w, rows, acc)
    return True


@rows_kernel
def _row_max_blocks(reading, norms, base, out, work, lo, hi):
    """The largest z of every row, under the potentials `base`."""
    kind, scale, (_, xs, _), (_, ys, _), b = reading
    _, lanes, ends, a, tops, _ = work
    rows, d = tops.size, ends[3].size
    for block in range(lo, hi):
        _ends_of_block(reading, norms, block, base, ends, a)
        for first in range(0, BLOCK_POINTS, rows):
            for q in range(lanes.size):
                lanes[q] = 3.0 * REMOVED
            x_place = BLOCK_POINTS * d * block + first
            for column in range(0, b.size, BLOCK_POINTS):
                row = column + first
                largest_of_tile(kind, ends[0], row, ends[1], column, xs, x_place, ys, d * column, d, scale, rows, lanes)
            for r in range(rows):
                top = lanes[16 * r]
                for q in range(16 * r + 1, 16 * r + 16):
                    top = max(top, lanes[q])
                out[BLOCK_POINTS * block + first + r] = top


@rows_kernel
def _apply_blocks(reading, norms, alpha, columns, parts, out, work, lo, hi):
    """Rows of P x; `columns` is x in the blocks of y. A few tiles are in memory at a time."""
    p, _, ends, a, sums, _ = work
    rows, count, blocks = sums.size, out.shape[1], reading[4].size // BLOCK_POINTS
    width = BLOCK_POINTS * count
    for block in range(lo, hi):
        _ends_of_block(reading, norms, block, alpha, ends, a)
        for first in range(0, BLOCK_POINTS, rows):
            _clear(parts)
            _clear(sums)
            for piece in range(0, blocks, SUMMED_BLOCKS):
                end = min(piece + SUMMED_BLOCKS, blocks)
                begin = BLOCK_POINTS * piece
                _fill_strip(reading, block, first, ends[1][begin:], begin, piece, end, work, None)
                add_products(p, rows, columns[width * piece : width * end], count, parts)
            for r in range(rows):
                i = BLOCK_POINTS * block + first + r
                for q in range(count):
                    total, place = 0.0, 16 * (count * r + q)
                    for t in range(place, place + 16):
                        total += parts[t]
                    out[i, q] = total if alpha[i] > -np.inf else 0.0


@rows_kernel
def _slope_blocks(reading, norms, alpha, parts, out, work, lo, hi):
    """Rows of what `CloudBackend.slopes` writes, a few tiles at a time."""
    kind, _, (_, xs, _), (_, ys, _), b = reading
    p, _, ends, a, sums, _ = work
    rows, d, blocks = sums.size, ends[3].size, b.size // BLOCK_POINTS
    width = BLOCK_POINTS * d
    for block in range(lo, hi):
        _ends_of_block(reading, norms, block, alpha, ends, a)
        for first in range(0, BLOCK_POINTS, rows):
            _clear(parts)
            _clear(sums)
            for piece in range(0, blocks, SUMMED_BLOCKS):
                end = min(piece + SUMMED_BLOCKS, blocks)
                begin = BLOCK_POINTS * piece
                _fill_strip(reading, block, first, ends[1][begin:], begin, piece, end, work, True)
                add_slopes(kind, p, rows, xs, width * block + first, ys[width * piece : width * end], d, parts)
            for r in range(rows):
                i = BLOCK_POINTS * block + first + r
                used = alpha[i] > -np.inf
                out[i, d] = sums[r] if used else 0.0
                for k in range(d):
                    total, place = 0.0, 16 * (d * r + k)
                    for t in range(place, place + 16):
                        total += parts[t]
                    out[i, k] = total if used else 0.0


@rows_kernel
def _entry_blocks(costing, zeros, order, out, tile, lo, hi):
    """Costs of some rows and of blocks lo to hi of columns, which stand in some order."""
    kind, scale, constant, xs, ys, d = costing
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
def _rounded_blocks(costing, sides, inv_epsilon, divergence, transport, tile, lo, hi):
    """Blocks lo to hi of rows of `CloudBackend.rounded_sums`; `sides` has potentials, factors and rests in blocks."""
    kind, scale, constant, xs, ys, d, zeros = costing
    (alpha, row_factor, row_rest), (beta, col_factor, col_rest) = sides
    for row in range(BLOCK_POINTS * lo, BLOCK_POINTS * hi, BLOCK_POINTS):
        for r in range(BLOCK_POINTS):
            divergence[row + r], transport[row + r] = 0.0, 0.0
        for first in range(0, beta.size, BLOCK_POINTS):
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


# --- the functions of `protocol` --------------------------------------------------------------------------------------


class Reading(NamedTuple):
    """A cloud at one epsilon in one precision: what passes get of it, and how many rows a strip has."""

    cloud: Cloud
    single: bool
    kind: int
    scale: float
    inv2: float
    row_norms: Array
    col_norms: Array
    height: int

    @property
    def blocks(self) -> int:
        return int(self.row_norms.size) // BLOCK_POINTS

    @property
    def threads(self) -> int:
        entries = self.row_norms.size * self.col_norms.size
        return 1 if entries < BRIEF_SERIAL_BELOW else min(available(), self.blocks)

    @property
    def number(self) -> Any:
        """The dtype of what belongs to pairs of points."""
        return np.float32 if self.single else np.float64

    def arguments(self, beta: Array) -> tuple[Any, ...]:
        """What compiled passes know of the cloud and of the columns' potentials."""
        rows, cols = (
            (x.points, x.single if self.single else x.points, x.centres[: None if self.single else 0])
            for x in (self.cloud.rows, self.cloud.cols)
        )
        order, b = self.cloud.cols.order, np.full(self.col_norms.size, REMOVED)
        b[: order.size] = np.maximum(beta[order] * LOG2E, REMOVED) + self.inv2 * self.cloud.offset
        return self.kind, self.scale, rows, cols, b - self.col_norms

    def work(self) -> list[tuple[Any, ...]]:
        """Memory for every thread."""
        number, d, m = self.number, self.cloud.centre.size, self.col_norms.size
        found = []
        for _ in range(self.threads):
            ends = np.empty(m, number), np.empty(m, number), np.empty(BLOCK_POINTS), np.empty(d), np.empty(d)
            strip = np.empty(self.height * m, number), np.zeros(16 * self.height, number)
            found.append((*strip, ends, np.empty(BLOCK_POINTS), np.empty(self.height), np.empty(self.height, number)))
        return found

    def split(self, run: Callable[[int, int, int], None]) -> None:
        """run(thread, lo, hi) over blocks of rows; the kernels release the interpreter lock."""
        blocks, threads = self.blocks, self.threads
        split(lambda t: run(t, t * blocks // threads, (t + 1) * blocks // threads), threads)


def _reading(cloud: Cloud, inv_epsilon: float, single: bool) -> Reading:
    inv2, kind, factor = inv_epsilon * LOG2E * cloud.power, cloud.kind, cloud.factor
    norms = [points.single_norms if single else points.norms for points in (cloud.rows, cloud.cols)]
    if cloud.cancels and not single and inv2 > CANCELLING:
        kind, factor, norms = SQUARES, -1.0, [0.0 * x for x in norms]
    height = HIGH_STRIP_ROWS if cloud.centre.size >= MANY_COORDINATES else STRIP_ROWS
    return Reading(cloud, single, kind, factor * inv2, inv_epsilon * LOG2E, inv2 * norms[0], inv2 * norms[1], height)


class _Sweep:
    """Passes at one epsilon with one side of rows, in blocks, and what threads write to."""

    def __init__(self, cloud: Cloud, inv_epsilon: float, side: Side, fast: bool) -> None:
        self.reading, self.cols = _reading(cloud, inv_epsilon, fast), cloud.cols
        rest = 0.0, -np.inf, 0.0
        weight, log_weight, offset = (cloud.rows.in_blocks(x, y) for x, y in zip(side[:3], rest, strict=True))
        self.side = side._replace(weight=weight, log_weight=log_weight, offset=offset)
        self.work = self.reading.work()
        self.acc = np.empty((len(self.work), self.reading.col_norms.size))

    def run(
        self, omega: float, trust: tuple[float, float, float], base: Array, alpha: Array, beta: Array
    ) -> tuple[bool, Array, Array]:
        """Whether all sums could be trusted, the updated rows and their sums before, relative to alpha - base."""

        def blocks(t: int, lo: int, hi: int) -> None:
            sound[t] = _sweep_blocks(*given, updated, row_sum, self.acc[t], self.work[t], trust, lo, hi)

        updated, row_sum = np.full_like(alpha, np.nan), np.full_like(alpha, np.nan)
        given = self.reading.arguments(beta), self.reading.row_norms, self.side, omega, base, alpha
        sound = [True] * len(self.work)
        self.reading.split(blocks)
        return all(sound), updated, row_sum

    def column_sums(self, out: Array) -> None:
        self.cols.from_blocks(self.acc.sum(axis=0), out)


def sweeps(
    cloud: Cloud,
    inv_epsilon: float,
    rows: Side,
    cols: Side,
    omega: tuple[float, float],
    vectors: Vectors,
    fast: bool,
    count: int,
) -> None:
    def largest(out: Array) -> None:
        row_max(transposed(cloud), inv_epsilon, vectors.alpha, out)

    def sums(beta: Array, out: Array) -> None:
        marginals(cloud, inv_epsilon, vectors.alpha, beta, np.empty_like(vectors.alpha), out)

    sweep, points, trust = _Sweep(cloud, inv_epsilon, rows, fast), cloud.rows, TRUST_SINGLE if fast else TRUST_DOUBLE
    alpha, total = points.in_blocks(vectors.alpha, -np.inf), np.empty_like(vectors.log_col)
    for _ in range(count):
        _columns(cols, omega[1], vectors.beta, vectors.log_col, vectors.log_col_updated)
        previous, base = alpha, alpha
        sound, alpha, row_sum = sweep.run(omega[0], trust, base, previous, vectors.beta)
        if not sound:  # sums that vanish or overflow, in early iterations: rows relative to their largest entries
            base = -LN2 * _tops(cloud, inv_epsilon, vectors.beta)
            _, alpha, row_sum = sweep.run(omega[0], ANY_SUM, base, previous, vectors.beta)
        sweep.column_sums(total)
        if not _logarithms(cols, total, vectors.log_col, trust):
            points.from_blocks(alpha, vectors.alpha)
            log_column_sums(cols, vectors.beta, vectors.log_col, largest, sums)
    used, log_row = sweep.side.log_weight > -np.inf, np.full_like(alpha, -np.inf)
    log_row[used] = np.log(row_sum[used]) + (previous[used] - base[used])
    for x, out in ((alpha, vectors.alpha), (previous, vectors.previous_alpha), (log_row, vectors.log_row)):
        points.from_blocks(x, out)


def _logarithms(cols: Side, total: Array, log_col: Array, trust: tuple[float, float, float]) -> bool:
    """Logarithms of column sums; true if all of them can be trusted."""
    used, (_, tiny, huge) = cols.log_weight > -np.inf, trust
    sound = (total > tiny) & (total < huge)
    log_col[:] = np.where(used, np.log(np.where(sound, total, 1.0)), -np.inf)
    return bool(np.all(sound | ~used))


def marginals(cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, row_sum: Array, col_sum: Array) -> None:
    nothing = np.zeros_like(alpha)
    still = Side(nothing, np.where(np.isneginf(alpha), -np.inf, 0.0), nothing, CLIPPED, 0.0, 0.0)
    sweep, alphas = _Sweep(cloud, inv_epsilon, still, fast=False), cloud.rows.in_blocks(alpha, -np.inf)
    _, _, sums = sweep.run(0.0, ANY_SUM, alphas, alphas, beta)  # an iteration that moves nothing
    cloud.rows.from_blocks(sums, row_sum)
    sweep.column_sums(col_sum)
    col_sum[np.isneginf(beta)] = 0.0


def _tops(cloud: Cloud, inv_epsilon: float, beta: Array) -> Array:
    """Largest entries of rows in base 2, in blocks."""

    def run(t: int, lo: int, hi: int) -> None:
        _row_max_blocks(arguments, reading.row_norms, base, out, work[t], lo, hi)

    reading = _reading(cloud, inv_epsilon, single=False)
    arguments, work = reading.arguments(beta), reading.work()
    out, base = np.empty_like(reading.row_norms), np.zeros_like(reading.row_norms)
    reading.split(run)
    return out


def row_max(cloud: Cloud, inv_epsilon: float, beta: Array, out: Array) -> None:
    cloud.rows.from_blocks(_tops(cloud, inv_epsilon, beta), out)
    out[:] = np.where(out > 0.5 * REMOVED, LN2 * out, -np.inf)


def apply(
    cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, x: Array, out: Array, fast: bool = False
) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        _apply_blocks(arguments, reading.row_norms, alphas, columns, parts[t], products, work[t], lo, hi)

    reading, points, count = _reading(cloud, inv_epsilon, single=fast), cloud.cols, x.shape[1]
    arguments, work, alphas = reading.arguments(beta), reading.work(), cloud.rows.in_blocks(alpha, -np.inf)
    padded = np.zeros((points.norms.size, count))
    padded[: points.order.size] = np.where((beta == -np.inf)[:, None], 0.0, x)[points.order]
    exponent = np.frexp(np.abs(padded).max(axis=0))[1] if fast else 0  # so that float32 can hold it
    columns = by_coordinate(np.ldexp(padded, -exponent)).astype(reading.number)
    products, parts = np.empty((alphas.size, count)), np.empty((len(work), 16 * reading.height * count))
    reading.split(run)
    cloud.rows.from_blocks(np.ldexp(products, exponent), out)


def slopes(cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, out: Array, fast: bool = False) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        _slope_blocks(arguments, reading.row_norms, alphas, parts[t], found, work[t], lo, hi)

    reading, d = _reading(cloud, inv_epsilon, single=fast), cloud.centre.size
    arguments, work, alphas = reading.arguments(beta), reading.work(), cloud.rows.in_blocks(alpha, -np.inf)
    found, parts = np.empty((alphas.size, d + 1)), np.empty((len(work), 16 * reading.height * d))
    reading.split(run)
    cloud.rows.from_blocks(found, out)


def rounded_sums(
    cloud: Cloud,
    inv_epsilon: float,
    alpha: Array,
    beta: Array,
    parts: tuple[Array, Array, Array, Array],
    divergence: Array,
    transport: Array,
) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        _rounded_blocks(costing, sides, inv_epsilon, *sums, np.empty(BLOCK_POINTS * BLOCK_POINTS), lo, hi)

    reading, (row_factor, col_factor, row_rest, col_rest) = _reading(cloud, inv_epsilon, single=False), parts
    costing = *_costing(cloud, cloud.rows.points), np.zeros(BLOCK_POINTS)
    sides = tuple(
        tuple(points.in_blocks(x, rest) for x, rest in zip(vectors, (-np.inf, 0.0, 0.0), strict=True))
        for points, vectors in ((cloud.rows, (alpha, row_factor, row_rest)), (cloud.cols, (beta, col_factor, col_rest)))
    )
    sums = np.empty_like(reading.row_norms), np.empty_like(reading.row_norms)
    reading.split(run)
    for found, out in zip(sums, (divergence, transport), strict=True):
        cloud.rows.from_blocks(found, out)


def _costing(cloud: Cloud, xs: Array) -> tuple[Any, ...]:
    """How tiles compute costs, squared distances from differences: kind, scale, constant, points, coordinates."""
    kind, factor = (SQUARES, -1.0) if cloud.cancels else (cloud.kind, cloud.factor)
    return kind, -factor * cloud.power, -cloud.offset, xs, cloud.cols.points, cloud.centre.size


def entries(cloud: Cloud, x: Array, out: Array) -> None:
    def run(t: int) -> None:
        tile, (lo, hi) = np.empty(BLOCK_POINTS * BLOCK_POINTS), (k * blocks // threads for k in (t, t + 1))
        _entry_blocks(costing, np.zeros(BLOCK_POINTS), cloud.cols.order, out, tile, lo, hi)

    costing, blocks = _costing(cloud, cloud.blocks_of(x)), cloud.cols.norms.size // BLOCK_POINTS
    threads = 1 if out.size < BRIEF_SERIAL_BELOW // 4 else min(available(), blocks)
    split(run, threads)
