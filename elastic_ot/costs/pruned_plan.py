"""The plan between points, read where it carries mass: what is left out is bounded, and counted in every certificate.

A search of the trees over both sides lists the pairs of blocks that may matter at some potentials, and bounds the mass
of all others together (`CloudBackend.prune`). Sweeps and products of a solve read the list that the solver asked for
(`renew`), which is a matter of speed alone. What a solution is judged and described by, marginals, products and
certificates, searches anew at its own potentials.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from ..backends.protocol import Array, Support, Vectors
from .entropy import far_entropy
from .operator import Gram, Product
from .points_plan import PointPlan
from .tiled_plan import SUPPORT_CELLS

STORED_SHARE = 0.08  # of the entries read that carry mass: fewer are swept faster where they are stored; measured
RISEN = 20.0  # nats by which potentials rise at most where a bound serves them: one that underflowed stays 0
LOWERED = 1.0  # nats by which a bound falls at most where potentials fell: the rest would be made of a long list
SEARCHES = 3  # at most, until what is left out is small beside the mass of the plan
SEARCHED_AGAIN = 4.0  # times the mass that may be left out: potentials that moved this far have a search of their own


class Reading:
    """The pairs that a solve reads, and those of the last search."""

    def __init__(self) -> None:
        self.cloud: Any = None
        self.masses: Array | None = None
        """Of its pairs of blocks, in the last sweep."""
        self.searched: tuple[Array, Array, Any, float] | None = None
        self.mass = 1.0
        """Of the plan, as far as it is known: what may be left out is a share of it."""
        self.strictness = 1.0
        """Times the share that sums and certificates may leave out."""


@dataclass(frozen=True, eq=False)
class PrunedPlan(PointPlan):
    """`PlanOperator` for points of which blocks are left out that together carry no more than a share of the mass."""

    share: float = 0.0
    reading: Reading = field(default_factory=Reading)

    def renew(self, alpha: Array, beta: Array, share: float) -> None:
        """Have sweeps and products read what matters at these potentials, but for a share of the mass."""
        self.reading.cloud = self._at(alpha, beta, share)[0]

    @property
    def share_left(self) -> float:
        """The share of the mass that sums and certificates may leave out."""
        return self.share * self.reading.strictness

    def read_all(self) -> None:
        """Have sweeps and products read all pairs."""
        self.reading.cloud = None

    def trim(self, share: float) -> None:
        """Leave out what carried least in the last sweep, so much of the mass together."""
        if self.reading.masses is not None:
            self.reading.cloud = self.kernels.trim(self._read, self.reading.masses, share * self.reading.mass)
            self.reading.masses = None

    @property
    def _read(self) -> Any:
        return self.cloud if self.reading.cloud is None else self.reading.cloud

    def _at(self, alpha: Array, beta: Array, share: float) -> tuple[Any, float]:
        """What to read at these potentials, and a bound on the mass of the rest."""
        known, most = self.reading.searched, share * self.reading.mass
        if known is not None:
            moved = _moved(alpha, known[0]) + _moved(beta, known[1])
            left = known[3] * float(np.exp(min(max(moved, -LOWERED), RISEN)))
            if moved < RISEN and left <= SEARCHED_AGAIN * most:
                return known[2], left
        offsets = tuple(
            np.zeros_like(x) if side is None else side.offset for side, x in ((self.rows, alpha), (self.cols, beta))
        )
        cloud, left = self.kernels.prune(self.cloud, self.inv_epsilon, alpha, beta, cast("Any", offsets), most)
        self.reading.searched = alpha.copy(), beta.copy(), cloud, left
        return cloud, left

    def _plan_at(self, alpha: Array, beta: Array) -> PointPlan:
        return self._plan_of(self._at(alpha, beta, self.share_left)[0])

    def _plan_of(self, cloud: Any) -> PointPlan:
        return PointPlan(self.cost, self.inv_epsilon, self.backend, self.rows, self.cols, cloud)

    def sweep(self, omega: tuple[float, float], vectors: Vectors, scratch: bool, count: int) -> None:
        pairs = self.kernels.pairs_read(self._read)
        self.reading.masses = np.empty(pairs) if pairs else None
        self._plan_of(self._read).sweep_masses(omega, vectors, scratch, count, self.reading.masses)

    def products(self, alpha: Array, beta: Array, fast: bool = False) -> Product:
        return self._plan_of(self._read).products(alpha, beta, fast)

    def gram(self, alpha: Array, beta: Array, weight: Array, fast: bool = False) -> Gram:
        return self._plan_of(self._read).gram(alpha, beta, weight, fast)

    def marginals(self, alpha: Array, beta: Array, row_sum: Array, col_sum: Array) -> float:
        for _ in range(SEARCHES):
            cloud, left = self._at(alpha, beta, self.share_left)
            self._plan_of(cloud).marginals(alpha, beta, row_sum, col_sum)
            mass = float(row_sum.sum())
            self.reading.mass = mass if 0.0 < mass < np.inf else 1.0
            if left <= SEARCHED_AGAIN * self.share_left * self.reading.mass:
                break
        return left

    def apply(self, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array, fast: bool = False) -> None:
        self._plan_at(alpha, beta).apply(alpha, beta, x, transpose, out, fast)

    def slopes(self, alpha: Array, beta: Array, transpose: bool, out: Array, fast: bool) -> None:
        self._plan_at(alpha, beta).slopes(alpha, beta, transpose, out, fast)

    def rounded_sums(
        self, alpha: Array, beta: Array, parts: tuple[Array, Array, Array, Array], divergence: Array, transport: Array
    ) -> None:
        """Write row sums of C * Q and bounds on those of KL(Q | P), see `Backend.rounded_sums`.

        Q = A + B, A the part of diag(row_factor) P diag(col_factor) that is read and B = row_rest col_rest^T.
        """
        cloud, left = self._at(alpha, beta, self.share_left)
        row_factor, col_factor, row_rest, col_rest = parts
        scaled = self._scaled_sums(self._plan_of(cloud), (alpha, beta), row_factor, col_factor, divergence, transport)
        divergence += left / divergence.size
        row_rest, col_rest = np.where(np.isfinite(alpha), row_rest, 0.0), np.where(np.isfinite(beta), col_rest, 0.0)
        if row_rest.any() and col_rest.any():
            costs = self.cost.product_costs(col_rest)
            divergence += far_entropy((alpha, beta), row_rest, col_rest, costs * self.inv_epsilon, scaled)
            transport += row_rest * costs

    def _scaled_sums(
        self,
        plan: PointPlan,
        potentials: tuple[Array, Array],
        row_factor: Array,
        col_factor: Array,
        divergence: Array,
        transport: Array,
    ) -> Array:
        """Write those sums of A, with r = row_factor and c = col_factor, and return its row sums.

        KL is a sum of r p c (log r + log c - 1) + p, and squared distances of points less a centre are products.
        """
        logs = [np.log(np.where(x > 0, x, 1.0)) for x in (row_factor, col_factor)]
        columns, squared = (
            [np.ones_like(col_factor), col_factor, col_factor * logs[1]],
            self.cost.metric == "sqeuclidean",
        )
        x, y = self.cost.centred_points
        if squared:
            columns += [col_factor * (y**2).sum(axis=1), *(col_factor * y.T)]
        out = np.empty((row_factor.size, len(columns)))
        plan.apply(*potentials, np.column_stack(columns), False, out)
        scaled: Array = row_factor * out[:, 1]
        divergence[:] = scaled * (logs[0] - 1.0) + row_factor * out[:, 2] + out[:, 0]
        if squared:
            moved = (x**2).sum(axis=1) * out[:, 1] - 2.0 * (x * out[:, 4:]).sum(axis=1) + out[:, 3]
            transport[:] = row_factor * (moved - self.cost.offset * out[:, 1])
        else:
            nothing = np.zeros_like(row_factor), np.zeros_like(col_factor)
            plan.rounded_sums(*potentials, (row_factor, col_factor, *nothing), np.empty_like(divergence), transport)
        return scaled

    def mean_slopes(self, alpha: Array, beta: Array, transpose: bool) -> tuple[Array, Array]:
        return self._plan_of(self._read).mean_slopes(alpha, beta, transpose)

    def cells(self, alpha: Array, beta: Array, least: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        """Return the cells of `Backend.support_cells`, row by row: where rows begin, columns and costs."""
        cloud, _ = self._at(alpha, beta, self.share_left)
        sizes, pointers = np.empty(alpha.size, np.int64), np.zeros(alpha.size + 1, np.int64)
        given = cloud, self.inv_epsilon, alpha, beta, least
        self.kernels.support_sizes(*given, np.arange(alpha.size), sizes)
        np.cumsum(sizes, out=pointers[1:])
        return pointers, *self.kernels.support_cells(*given, pointers)

    @property
    def share_read(self) -> float:
        """The share of all pairs that sweeps and products read."""
        return self.kernels.share(self._read)

    def cell_share(self) -> float:
        read = STORED_SHARE * self.share_read
        return float(min(read, SUPPORT_CELLS / self.cost.entries))

    def support_sizes(self, alpha: Array, beta: Array, least: tuple[Array, Array], which: Array, sizes: Array) -> None:
        self.kernels.support_sizes(self._read, self.inv_epsilon, alpha, beta, least, which, sizes)

    def support_cells(self, alpha: Array, beta: Array, least: tuple[Array, Array], pointers: Array) -> Support:
        indices, costs = self.kernels.support_cells(self._read, self.inv_epsilon, alpha, beta, least, pointers)
        return self.backend.support_of(pointers, indices, costs, self.cost.shape[1])


def _moved(x: Array, before: Array) -> float:
    """The largest change; negative where everything fell."""
    with np.errstate(invalid="ignore"):
        change = np.where(np.isneginf(x), -np.inf, x - before)
    return float(change.max(initial=-np.inf))
