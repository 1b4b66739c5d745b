"""The primitives of `CloudBackend` in Numba: passes over the plan, split over threads, and what they write to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..protocol import CLIPPED, LOG2E, LOGARITHMIC, TRUST_DOUBLE, TRUST_SINGLE, Array, Side, Vectors
from ..updates import log_column_sums
from .dense import BRIEF_SERIAL_BELOW, LN2, _columns
from .point_blocks import Cloud, by_coordinate
from .point_blocks import cloud as cloud
from .point_blocks import ordered as ordered
from .point_blocks import shifted as shifted
from .point_blocks import transposed as transposed
from .point_nearest import least_cells as least_cells
from .point_nearest import sites as sites
from .point_passes import (
    REMOVED,
    apply_blocks,
    entry_blocks,
    gram_blocks,
    rounded_blocks,
    row_max_blocks,
    slope_blocks,
    sweep_blocks,
)
from .point_prune import prune as prune
from .point_reading import costing_of, reading_of
from .point_support import support_cells as support_cells
from .point_support import support_sizes as support_sizes
from .threads import available, split
from .tiles import BLOCK_POINTS

SINGLE_DIGIT = 2.0**-24  # of a number, to which single precision rounds it
NEEDED = 1e-3  # share of the mass of a block that no trim takes from it
ANY_SUM = 0.0, 0.0, np.inf  # trusts all sums


class _Sweep:
    """Passes at one epsilon with one side of rows, in blocks, and what threads write to."""

    def __init__(self, cloud: Cloud, inv_epsilon: float, side: Side, fast: bool) -> None:
        self.cloud, self.inv_epsilon = cloud, inv_epsilon
        self.reading, self.cols = reading_of(cloud, inv_epsilon, fast), cloud.cols
        rest = 0.0, -np.inf, 0.0
        weight, log_weight, offset = (cloud.rows.in_blocks(x, y) for x, y in zip(side[:3], rest, strict=True))
        self.side = side._replace(weight=weight, log_weight=log_weight, offset=offset)
        self.work = self.reading.work()
        self.acc = np.empty((len(self.work), self.reading.col_norms.size))
        self.masses, self.floor = np.empty(0), _floor(cloud, side)

    def run(
        self, omega: float, trust: tuple[float, float, float], base: Array, alpha: Array, beta: Array
    ) -> tuple[bool, Array, Array]:
        """Whether all sums could be trusted, the updated rows and their sums before, relative to alpha - base."""

        def blocks(t: int, lo: int, hi: int) -> None:
            sound[t] = sweep_blocks(*given, updated, row_sum, self.acc[t], self.masses, self.work[t], trust, lo, hi)

        updated, row_sum = np.full_like(alpha, np.nan), np.full_like(alpha, np.nan)
        sides = self.side, self.floor, omega, base, alpha
        given = self.reading.arguments(beta), self.reading.row_norms, *sides
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
    masses: Array | None = None,
) -> None:
    def largest(out: Array) -> None:
        row_max(transposed(cloud), inv_epsilon, vectors.alpha, out)

    def sums(beta: Array, out: Array) -> None:
        marginals(cloud, inv_epsilon, vectors.alpha, beta, np.empty_like(vectors.alpha), out)

    sweep, points, trust = _Sweep(cloud, inv_epsilon, rows, fast), cloud.rows, TRUST_SINGLE if fast else TRUST_DOUBLE
    alpha, total = points.in_blocks(vectors.alpha, -np.inf), np.empty_like(vectors.log_col)
    floor = _floor(cloud, cols)
    if masses is not None:
        sweep.masses = masses
    for _ in range(count):
        _update_columns(cols, omega[1], floor, vectors)
        previous = alpha
        base, alpha, row_sum = _updated(sweep, omega[0], trust, previous, vectors.beta)
        sweep.column_sums(total)
        if not _logarithms(cols, total, vectors.log_col, trust):
            points.from_blocks(alpha, vectors.alpha)
            log_column_sums(cols, vectors.beta, vectors.log_col, largest, sums)
    _write_rows(sweep, vectors, (alpha, previous, base, row_sum))


def rows_updated(
    cloud: Cloud, inv_epsilon: float, rows: Side, omega: float, vectors: Vectors, fast: bool, out: Array
) -> None:
    """`Shares.cloud_share`."""
    sweep, trust = _Sweep(cloud, inv_epsilon, rows, fast), TRUST_SINGLE if fast else TRUST_DOUBLE
    previous = cloud.rows.in_blocks(vectors.alpha, -np.inf)
    base, alpha, row_sum = _updated(sweep, omega, trust, previous, vectors.beta)
    sweep.column_sums(out)
    _write_rows(sweep, vectors, (alpha, previous, base, row_sum))


def _updated(
    sweep: _Sweep, omega: float, trust: tuple[float, float, float], previous: Array, beta: Array
) -> tuple[Array, Array, Array]:
    """One update of the rows, in blocks: what the plan was computed relative to, the new alpha, and the sums."""
    sound, alpha, row_sum = sweep.run(omega, trust, previous, previous, beta)
    if sound:
        return previous, alpha, row_sum
    # sums that vanish or overflow, in early iterations: rows relative to their largest entries
    tops = _tops(sweep.cloud, sweep.inv_epsilon, beta)
    base = np.where(tops > 0.5 * REMOVED, -LN2 * tops, previous)
    _, alpha, row_sum = sweep.run(omega, ANY_SUM, base, previous, beta)
    return base, alpha, row_sum


def _write_rows(sweep: _Sweep, vectors: Vectors, found: tuple[Array, Array, Array, Array]) -> None:
    """Write what the last update has left of the rows, out of blocks."""
    alpha, previous, base, row_sum = found
    used, log_row = sweep.side.log_weight > -np.inf, np.full_like(alpha, -np.inf)
    with np.errstate(divide="ignore"):
        log_row[used] = np.log(row_sum[used]) + (previous[used] - base[used])
    for x, out in ((alpha, vectors.alpha), (previous, vectors.previous_alpha), (log_row, vectors.log_row)):
        sweep.cloud.rows.from_blocks(x, out)


def _floor(cloud: Cloud, side: Side) -> float:
    """Logarithm of what a row or column may have that is not read, where it may have so little; else -inf.

    One that must have its weight has far more in the end, and whatever is read of it tells where to go.
    """
    firm = side.code == LOGARITHMIC and side.strength == 1.0
    return -np.inf if firm or cloud.pairs is None or not cloud.pairs.floor else float(np.log(cloud.pairs.floor))


def _update_columns(cols: Side, omega: float, floor: float, vectors: Vectors) -> None:
    """One update of the columns; those with less than may not be read move no further than they must, as rows do."""
    beta, log_col, updated = vectors.beta, vectors.log_col, vectors.log_col_updated
    light = np.flatnonzero(((log_col < floor) | np.isneginf(log_col)) & (cols.log_weight > -np.inf))
    if not (omega and light.size):
        _columns(cols, omega, beta, log_col, updated)
        return
    before, sums = beta[light], log_col[light]
    log_col[light] = np.where(np.isneginf(sums), cols.log_weight[light], sums)
    moved, known, rest = beta.copy(), log_col.copy(), updated.copy()
    _columns(cols, omega, beta, log_col, updated)
    most = np.where(np.isneginf(sums), before, beta[light])
    if floor > -np.inf:
        known[light] = floor
        _columns(cols, omega, moved, known, rest)
        most = np.maximum(moved[light], np.minimum(before, most))
    beta[light], log_col[light] = most, sums
    updated[light] = sums + (most - before)


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
        row_max_blocks(arguments, reading.row_norms, base, out, work[t], lo, hi)

    reading = reading_of(cloud, inv_epsilon, single=False)
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
        apply_blocks(arguments, reading.row_norms, alphas, columns, parts[t], products, work[t], lo, hi)

    reading, points, count = reading_of(cloud, inv_epsilon, single=fast), cloud.cols, x.shape[1]
    arguments, work, alphas = reading.arguments(beta), reading.work(), cloud.rows.in_blocks(alpha, -np.inf)
    padded = np.zeros((points.norms.size, count))
    padded[: points.order.size] = np.where((beta == -np.inf)[:, None], 0.0, x)[points.order]
    exponent = np.frexp(np.abs(padded).max(axis=0))[1] if fast else 0  # so that float32 can hold it
    columns = by_coordinate(np.ldexp(padded, -exponent)).astype(reading.number)
    products, parts = np.empty((alphas.size, count)), np.empty((len(work), 16 * reading.height * count))
    reading.split(run)
    cloud.rows.from_blocks(np.ldexp(products, exponent), out)


def gram(
    cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, weight: Array, fast: bool = False
) -> Callable[[Array, Array], None]:
    reading, points, removed = reading_of(cloud, inv_epsilon, single=fast), cloud.cols, np.isneginf(beta)
    arguments, work, alphas = reading.arguments(beta), reading.work(), cloud.rows.in_blocks(alpha, -np.inf)
    weights = cloud.rows.in_blocks(weight, 0.0)
    acc = np.empty((len(work), reading.col_norms.size))

    def product(x: Array, out: Array) -> None:
        used = np.where(removed, 0.0, x)
        exponent = int(np.frexp(np.abs(used).max())[1]) if fast else 0  # so that float32 can hold it
        columns = points.in_blocks(np.ldexp(used, -exponent), 0.0).astype(reading.number)

        def run(t: int, lo: int, hi: int) -> None:
            gram_blocks(arguments, reading.row_norms, alphas, columns, weights, acc[t], work[t], lo, hi)

        reading.split(run)
        points.from_blocks(np.ldexp(acc.sum(axis=0), exponent), out)
        out[removed] = 0.0

    return product


def share(cloud: Cloud) -> float:
    return 1.0 if cloud.pairs is None else cloud.pairs.share


def single_rounding(cloud: Cloud, inv_epsilon: float) -> float:
    reach = 1.0  # of coordinates in their unit
    if cloud.rows.centres.size:  # only offsets in blocks are rounded
        for points in (cloud.rows, cloud.cols):
            assert points.tree is not None
            halves = points.tree.halves[: points.norms.size // BLOCK_POINTS]
            reach *= float(np.sqrt((halves**2).sum(axis=1)).mean())
    return SINGLE_DIGIT * abs(cloud.factor) * inv_epsilon * LOG2E * cloud.power * reach


def pairs_read(cloud: Cloud) -> int:
    return 0 if cloud.pairs is None else int(cloud.pairs.partners.size)


def trim(cloud: Cloud, masses: Array, most: float) -> Cloud:
    if cloud.pairs is None:
        return cloud
    light = np.flatnonzero(masses < _too_heavy(masses, most))
    needed = np.zeros(light.size, np.bool_)  # by blocks that carry little themselves
    for blocks in (cloud.pairs.rows, cloud.pairs.partners):
        needed |= masses[light] >= NEEDED * np.bincount(blocks, masses)[blocks[light]]
    light = light[~needed]
    kept = np.ones(masses.size, np.bool_)
    kept[light] = False
    return cloud._replace(pairs=cloud.pairs.kept(kept, most)) if light.size else cloud


def _too_heavy(masses: Array, most: float) -> float:
    """Return the mass so that all that are below it sum to at most `most`, and with it to more.

    Floating-point numbers >= 0 stand in the order of their leading bits, which are few: only the masses that share
    those of the answer are sorted.
    """
    leading = masses.view(np.int64) >> 48  # sign, exponent and four bits of the fraction
    sums = np.cumsum(np.bincount(leading, masses))
    class_ = int(np.searchsorted(sums, most, side="right"))
    if class_ == sums.size:
        return np.inf
    among = np.sort(masses[leading == class_])
    before = sums[class_ - 1] if class_ else 0.0
    fitting = int(np.searchsorted(np.cumsum(among), most - before, side="right"))
    return float(among[min(fitting, among.size - 1)])


def slopes(cloud: Cloud, inv_epsilon: float, alpha: Array, beta: Array, out: Array, fast: bool = False) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        slope_blocks(arguments, reading.row_norms, alphas, parts[t], found, work[t], lo, hi)

    reading, d = reading_of(cloud, inv_epsilon, single=fast), cloud.centre.size
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
        rounded_blocks(
            costing, reading.pairs.arguments, sides, inv_epsilon, *sums, np.empty(BLOCK_POINTS * BLOCK_POINTS), lo, hi
        )

    reading, (row_factor, col_factor, row_rest, col_rest) = reading_of(cloud, inv_epsilon, single=False), parts
    costing = costing_of(cloud)
    sides = tuple(
        tuple(points.in_blocks(x, rest) for x, rest in zip(vectors, (-np.inf, 0.0, 0.0), strict=True))
        for points, vectors in ((cloud.rows, (alpha, row_factor, row_rest)), (cloud.cols, (beta, col_factor, col_rest)))
    )
    sums = np.empty_like(reading.row_norms), np.empty_like(reading.row_norms)
    reading.split(run)
    for found, out in zip(sums, (divergence, transport), strict=True):
        cloud.rows.from_blocks(found, out)


def entries(cloud: Cloud, x: Array, out: Array) -> None:
    def run(t: int) -> None:
        tile, (lo, hi) = np.empty(BLOCK_POINTS * BLOCK_POINTS), (k * blocks // threads for k in (t, t + 1))
        entry_blocks(costing, cloud.cols.order, out, tile, lo, hi)

    costing, blocks = costing_of(cloud, cloud.blocks_of(x)), cloud.cols.norms.size // BLOCK_POINTS
    threads = 1 if out.size < BRIEF_SERIAL_BELOW // 4 else min(available(), blocks)
    split(run, threads)
