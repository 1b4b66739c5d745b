"""Many problems of one shape as frozen data: leading dimensions, shorter ones in a corner of their matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import chunk_of, library_of, on_host
from ..arrays.half import finite, is_half, widened
from ..arrays.ingest import in_order
from ..costs.point_stack import PointStack
from ..costs.scan import Mask
from ..results import one_line
from .build import build_on
from .mixed import penalty_of
from .penalties import Fixed
from .penalty import Penalty, Vector
from .problem import Problem
from .terms import HIGH, Reference, Terms, lies_high

BATCH_CHUNK = 1 << 20  # entries looked at together
SHORT = 8  # entries of a row up to which its sum is taken column by column


@dataclass(frozen=True, eq=False)
class BatchProblem(Terms[Vector]):
    """Problems of one shape (n, m), counted in C order of the batch shape; B is their number.

    Attributes
    ----------
    cost : ndarray, shape (K, n, m)
        The costs that differ; +inf forbids a cell. Of CuPy if they lie on a device, as in `DenseCost`.
    cost_of : ndarray of int, shape (B,)
        Which of them a problem has.
    batch : tuple of int
    a, b : ndarray of float64, shapes (B, n) and (B, m)
        0 beyond the lengths.
    epsilon : ndarray of float64, shape (B,)
    rows, cols : Penalty
        As they hold at each epsilon, for arrays (B, n) and (B, m).
    given : pair of Penalty
        As they were given.
    reference : {"product", "counting"}
    row_count, col_count : ndarray of int, shape (B,)
        Lengths: a problem is the leading corner of its matrix.
    row_used, col_used : ndarray of bool, shapes (B, n) and (B, m)
        Rows and columns with a weight and an allowed cell.
    masked : bool
        Some cell is forbidden.
    largest : float
        The largest finite cost in size.
    offset : ndarray of float64, shape (B,), or None
        As `Problem.offset`; None is 0.
    factor : ndarray of float64, shape (B,), or None
        As `Problem.factor`; None is 1.
    points : PointStack or None
        What the costs lie between, one pair of clouds each, where they were given by points.
    """

    cost: NDArray[np.floating]
    cost_of: NDArray[np.int64]
    batch: tuple[int, ...]
    a: Vector
    b: Vector
    epsilon: Vector
    rows: Penalty
    cols: Penalty
    given: tuple[Penalty, Penalty]
    reference: Reference
    row_count: NDArray[np.int64]
    col_count: NDArray[np.int64]
    row_used: Mask
    col_used: Mask
    masked: bool
    largest: float
    offset: Vector | None = None
    factor: Vector | None = None
    points: PointStack | None = None

    __repr__ = one_line

    def levelled(self, budget: bool = False) -> BatchProblem:
        """Return the problems with costs from 0 on, where what the costs of one have in common would cost them digits.

        That takes one copy of all costs. Ragged batches are returned as they are.
        """
        least = float(self.epsilon.min())
        ragged = (self.row_count < self.cost.shape[1]).any() or (self.col_count < self.cost.shape[2]).any()
        if not self.levels(budget) or ragged or is_half(self.cost) or not self.largest > HIGH * least:
            return self
        low, high = _ranges(self.cost)
        low = np.where(lies_high(low, high, least), low, 0.0)
        if not low.any():
            return self
        taken = library_of(self.cost).asarray(low.astype(self.cost.dtype))
        cost = self.cost - taken[:, None, None]
        largest = float(np.maximum(high - low, np.where(low == 0.0, self.largest, 0.0)).max())
        return replace(self, cost=cost, largest=largest, offset=low[self.cost_of])

    @property
    def offsets(self) -> tuple[Any, Any]:
        """What the potentials (B, n) and (B, m) lack because of `offset`."""
        if self.offset is None:
            return 0.0, 0.0
        return (self.offset[:, None], 0.0) if isinstance(self.rows, Fixed) else (0.0, self.offset[:, None])

    @property
    def offset_value(self) -> Any:
        """What primal and dual values (B,) lack."""
        return 0.0 if self.offset is None else self.offset * self.fixed_mass()

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.batch, *self.cost.shape[1:])

    @property
    def size(self) -> int:
        """The number of problems."""
        return int(self.cost_of.size)

    @staticmethod
    def sums(values: Vector) -> Vector:
        return row_sums(values)

    def allowed(self, weights: Vector, transpose: bool = False) -> Vector:
        if not self.masked:
            return np.repeat(row_sums(weights)[:, None], self.cost.shape[2 if transpose else 1], axis=1)
        xp, out = library_of(self.cost), np.empty((self.size, self.cost.shape[2 if transpose else 1]))
        for part in self.chunks():
            allowed = finite(self.costs(part))
            sums = xp.einsum("bnm,bn->bm" if transpose else "bnm,bm->bn", allowed, xp.asarray(weights[part]))
            out[part] = on_host(sums)
        return out

    def costs(self, part: slice) -> NDArray[np.floating]:
        """Return the costs of the problems `part`, copied, in single precision at least."""
        return widened(self.cost[library_of(self.cost).asarray(self.cost_of[part])])

    def matrices(self, dtype: Any, part: slice = slice(None)) -> NDArray[Any]:
        """Return a matrix for each of the problems `part`, to be written, where the costs lie."""
        size = len(range(*part.indices(self.size)))
        out: NDArray[Any] = library_of(self.cost).empty((size, *self.cost.shape[1:]), dtype)
        return out

    def chunks(self) -> Iterator[slice]:
        """Problems to look at together."""
        step = max(1, chunk_of(self.cost, BATCH_CHUNK) // self.cost[0].size)
        return (slice(k, min(k + step, self.size)) for k in range(0, self.size, step))

    def single(self, k: int) -> Problem:
        """Problem k alone."""
        n, m = int(self.row_count[k]), int(self.col_count[k])
        rows, cols = (penalty_of(penalty, self.batch, k) for penalty in self.given)
        cost = in_order(self.cost[self.cost_of[k], :n, :m])
        epsilon = float(self.epsilon[k])
        problem = build_on(cost, self.a[k, :n], self.b[k, :m], epsilon, rows, cols, self.reference)
        offset, factor = (x if y is None else float(y[k]) for x, y in ((0.0, self.offset), (1.0, self.factor)))
        known: Any = problem.cost
        if self.points is not None:
            known = replace(known, user=self.points.alone(int(self.cost_of[k]), n, m))
        return replace(problem, cost=known, offset=offset, factor=factor)

    def index(self, k: int) -> str:
        """Problem k as users count it."""
        return ", ".join(str(i) for i in np.unravel_index(k, self.batch))

    def label(self, k: int) -> str:
        """How messages about problem k begin."""
        return f"problem [{self.index(k)}]: " if self.batch else ""


def _ranges(stack: NDArray[np.floating]) -> tuple[Vector, Vector]:
    """The least and the largest finite entry of every matrix."""
    xp, low, high = library_of(stack), np.empty(len(stack)), np.empty(len(stack))
    step = max(1, chunk_of(stack, BATCH_CHUNK) // stack[0].size)
    for k in range(0, len(stack), step):
        block = stack[k : k + step]
        allowed = xp.isfinite(block)
        low[k : k + step] = on_host(xp.where(allowed, block, np.inf).min(axis=(1, 2)))
        high[k : k + step] = on_host(xp.where(allowed, block, -np.inf).max(axis=(1, 2)))
    return low, high


def row_sums(values: Vector) -> Vector:
    """Sums over the last axis; where that is short, `sum` takes seven times as long, and `einsum` three times."""
    if values.shape[-1] > SHORT:
        return np.asarray(np.einsum("...i->...", values))
    total = values[..., 0].copy()
    for i in range(1, values.shape[-1]):
        total += values[..., i]
    return total
