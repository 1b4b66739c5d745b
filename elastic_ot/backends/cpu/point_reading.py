"""A cloud at one epsilon and in one precision: what compiled passes (`point_passes`) get of it, and their threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..protocol import LOG2E, Array
from .dense import BRIEF_SERIAL_BELOW
from .point_blocks import Cloud
from .point_lists import Pairs, every_pair
from .point_passes import REMOVED
from .threads import available, split
from .tiles import BLOCK_POINTS, SQUARES

STRIP_ROWS, HIGH_STRIP_ROWS = 8, 32  # whose exponentials are kept until their sums are known; measured
MANY_COORDINATES = 32  # from which reading points takes longer than reading exponentials, so that strips are high
CANCELLING = 1e6  # largest squared distance over epsilon up to which double precision forgives inner products


class Reading(NamedTuple):
    """A cloud at one epsilon in one precision: what passes get of it, and how many rows a strip has."""

    cloud: Cloud
    pairs: Pairs
    single: bool
    kind: int
    scale: float
    inv2: float
    row_norms: Array
    col_norms: Array
    height: int

    @property
    def threads(self) -> int:
        pairs = self.pairs.pointers
        return 1 if pairs[-1] * BLOCK_POINTS**2 < BRIEF_SERIAL_BELOW else min(available(), pairs.size - 1)

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
        return self.kind, self.scale, rows, cols, b - self.col_norms, self.pairs.arguments

    def work(self) -> list[tuple[Any, ...]]:
        """Memory for every thread."""
        number, d, m = self.number, self.cloud.centre.size, BLOCK_POINTS * self.pairs.longest
        found = []
        for _ in range(self.threads):
            ends = np.empty(m, number), np.empty(m, number), np.empty(BLOCK_POINTS), np.empty(d), np.empty(d)
            strip = np.empty(self.height * m, number), np.zeros(16 * self.height, number)
            own = np.empty(BLOCK_POINTS), np.empty(self.height), np.empty(self.height, number)
            found.append((*strip, ends, *own, np.zeros(self.pairs.longest)))
        return found

    def split(self, run: Callable[[int, int, int], None]) -> None:
        """run(thread, lo, hi) over blocks of rows, with as many pairs each; kernels release the interpreter lock."""
        pointers, threads = self.pairs.pointers, self.threads
        inner = np.searchsorted(pointers, np.linspace(0, pointers[-1], threads + 1)[1:-1])
        bounds = [0, *inner.tolist(), pointers.size - 1]
        split(lambda t: run(t, bounds[t], bounds[t + 1]), threads)


def reading_of(cloud: Cloud, inv_epsilon: float, single: bool) -> Reading:
    """The cloud at one epsilon."""
    inv2, kind, factor = inv_epsilon * LOG2E * cloud.power, cloud.kind, cloud.factor
    norms = [points.single_norms if single else points.norms for points in (cloud.rows, cloud.cols)]
    if cloud.cancels and not single and inv2 > CANCELLING:
        kind, factor, norms = SQUARES, -1.0, [0.0 * x for x in norms]
    height = HIGH_STRIP_ROWS if cloud.centre.size >= MANY_COORDINATES else STRIP_ROWS
    pairs = cloud.pairs or every_pair(*(x.size // BLOCK_POINTS for x in norms))
    return Reading(
        cloud, pairs, single, kind, factor * inv2, inv_epsilon * LOG2E, inv2 * norms[0], inv2 * norms[1], height
    )


def costing_of(cloud: Cloud, xs: Array | None = None) -> tuple[Any, ...]:
    """How tiles compute costs of the rows or of other points, squared distances from differences.

    kind, scale, constant, points, coordinates, and a block of zeros.
    """
    kind, factor = (SQUARES, -1.0) if cloud.cancels else (cloud.kind, cloud.factor)
    points = cloud.rows.points if xs is None else xs
    constants = kind, -factor * cloud.power, -cloud.offset
    return *constants, points, cloud.cols.points, cloud.centre.size, np.zeros(BLOCK_POINTS)
