"""The cost between grids with its facts, and its plan: passes that sum over one axis after the other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import load
from ..backends.protocol import Array, Vectors
from ..backends.updates import update_change
from .axes import entries_at, entries_between
from .base import positive_semidefinite
from .blocks import BlockCost
from .entropy import far_entropy
from .operator import Product
from .separable import Products, Separable
from .tiled_plan import TiledPlan

FASTER_PRODUCTS = 8  # times as fast as a sweep over entries is a product of matrices
LARGEST_SUPPORT = 4  # times the work of a sweep, in entries; measured
SEARCHED = 1 << 26  # entries up to which a support may be searched for: that is a pass over all of them


@dataclass(frozen=True, eq=False)
class GridCost(BlockCost):
    """A `Grid` with its facts, transposed or not, less a constant.

    Entries are float64 whatever the grid's dtype: then those of blocks and sums over axes agree.

    Attributes
    ----------
    matrices : tuple of ndarray
        Of what this cost is, the constant taken off the first one.
    """

    matrices: tuple[NDArray[np.float64], ...] = ()

    @property
    def working_dtype(self) -> np.dtype[Any]:
        return self._user_dtype

    @property
    def work(self) -> int:
        return max(sum(self.shape) * max(sum(c.shape) for c in self.matrices) // FASTER_PRODUCTS, sum(self.shape))

    @property
    def symmetric(self) -> bool:
        return all(np.array_equal(c, c.T) for c in self.matrices)

    def kernel_is_positive(self, epsilon: float) -> bool:
        return all(positive_semidefinite(np.exp((c.min() - c) / epsilon)) for c in self.matrices)

    def block(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        return entries_between(self.matrices, rows, cols)

    def at(self, i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[np.float64]:
        return entries_at(self.matrices, i, j)

    def plan(self, inv_epsilon: float, rows: Any = None, cols: Any = None) -> GridPlan:
        return GridPlan(self, inv_epsilon, load(), rows, cols)

    def transpose(self) -> GridCost:
        turned = super().transpose()
        assert isinstance(turned, GridCost)
        return replace(turned, matrices=tuple(np.ascontiguousarray(c.T) for c in self.matrices))

    def shifted(self, offset: float, dtype: Any = None) -> GridCost:
        moved = super().shifted(offset, self.dtype)
        assert isinstance(moved, GridCost)
        return replace(moved, matrices=(self.matrices[0] - offset, *self.matrices[1:]))


@dataclass(frozen=True, eq=False)
class GridPlan(TiledPlan):
    """`PlanOperator` for a cost that is a sum over axes; what iterations and certificates need reads no entry of it."""

    forward: Separable = field(init=False)
    backward: Separable = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "forward", Separable(self.matrices, self.inv_epsilon))
        object.__setattr__(self, "backward", Separable([c.T for c in self.matrices], self.inv_epsilon))

    @property
    def matrices(self) -> tuple[NDArray[np.float64], ...]:
        """The costs along the axes."""
        assert isinstance(self.cost, GridCost)
        return self.cost.matrices

    def scratch(self, fast: bool, brief: bool = False) -> None:
        """Return nothing: a pass makes its own vectors."""

    def _iterate(self, omega: tuple[float, float], vectors: Vectors, scratch: Any) -> None:
        alpha, beta, log_row, log_col, previous, updated = vectors
        change = update_change(self.cols, omega[1], beta, log_col, self.backend.potential)
        beta += change
        np.add(log_col, change, out=updated)
        np.add(alpha, self.forward.log_sums(beta), out=log_row)
        previous[:] = alpha
        alpha += update_change(self.rows, omega[0], alpha, log_row, self.backend.potential)
        np.add(beta, self.backward.log_sums(alpha), out=log_col)

    def marginals(self, alpha: Array, beta: Array, row_sum: Array, col_sum: Array) -> float:
        np.exp(alpha + self.forward.log_sums(beta), out=row_sum)
        np.exp(beta + self.backward.log_sums(alpha), out=col_sum)
        return 0.0

    def cell_share(self) -> float:
        """Return the share that makes a sweep over a support as long as one over the axes, but for huge plans 0."""
        if self.cost.entries > SEARCHED:
            return 0.0
        return min(super().cell_share(), LARGEST_SUPPORT * self.cost.work / self.cost.entries)

    def row_max(self, beta: Array, out: Array) -> None:
        out[:] = self.forward.largest(beta)

    def col_max(self, alpha: Array, out: Array) -> None:
        out[:] = self.backward.largest(alpha)

    def apply(self, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array) -> None:
        kernel, inner, outer = (self.backward, alpha, beta) if transpose else (self.forward, beta, alpha)
        _by_columns(Products(kernel, inner, outer), x, out)

    def products(self, alpha: Array, beta: Array, fast: bool = False) -> Product:
        plain, transposed = Products(self.forward, beta, alpha), Products(self.backward, alpha, beta)
        return lambda x, transpose, out: _by_columns(transposed if transpose else plain, x, out)

    def rounded_sums(
        self, alpha: Array, beta: Array, parts: tuple[Array, Array, Array, Array], divergence: Array, transport: Array
    ) -> None:
        """Write row sums of C * Q, and bounds on those of KL(Q | P), see `Backend.rounded_sums`.

        Q = A + B with A = diag(row_factor) P diag(col_factor) and B = row_rest col_rest^T. Without B it is KL(A | P)
        itself, which is a sum over axes; what B adds is no more than the smaller of two that are, row by row.
        """
        row_factor, col_factor, row_rest, col_rest = parts
        with np.errstate(divide="ignore"):
            log_u, log_v = np.log(row_factor), np.log(col_factor)
        finite_u, finite_v = np.where(row_factor > 0, log_u, 0.0), np.where(col_factor > 0, log_v, 0.0)
        fields = np.stack([np.zeros_like(log_v), finite_v])
        log_sum, (cost, moved) = self.forward.means(beta + log_v, fields, np.array([1.0, 0.0]))
        scaled = row_factor * np.exp(alpha + log_sum)
        plain = np.exp(alpha + (self.forward.log_sums(beta) if log_v.any() else log_sum))
        transport[:] = scaled * cost
        divergence[:] = scaled * (finite_u + moved - 1.0) + plain
        row_rest, col_rest = np.where(np.isfinite(alpha), row_rest, 0.0), np.where(np.isfinite(beta), col_rest, 0.0)
        if row_rest.any() and col_rest.any():
            costs = self._product_costs(col_rest)
            transport += row_rest * costs
            far = far_entropy((alpha, beta), row_rest, col_rest, costs * self.inv_epsilon, scaled)
            near = self._near_entropy((alpha + log_u, beta + log_v), row_rest, col_rest)
            near += row_rest * (finite_u * col_rest.sum() + finite_v @ col_rest)
            divergence += np.minimum(far, np.where(np.isnan(near), np.inf, near))

    def _near_entropy(self, scaled: tuple[Array, Array], row_rest: Array, col_rest: Array) -> Array:
        """Row sums of B^2 / A, small where P covers B: (a + b) log(1 + b / a) <= b + b^2 / a.

        `scaled` are the potentials of A, whose inverse is a sum over axes in the exponent as A is.
        """
        inverse = Separable(self.matrices, -self.inv_epsilon)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            rows, cols = (
                np.where(rest > 0, 2.0 * np.log(rest) - potential, -np.inf)
                for rest, potential in zip((row_rest, col_rest), scaled, strict=True)
            )
            return np.exp(rows + inverse.log_sums(cols))

    def _product_costs(self, col_weight: Array) -> Array:
        """C col_weight: on every axis the product with the sums over the others."""
        matrices = self.matrices
        weight = col_weight.reshape([c.shape[1] for c in matrices])
        total = np.zeros([c.shape[0] for c in matrices])
        for k, c in enumerate(matrices):
            others = tuple(axis for axis in range(weight.ndim) if axis != k)
            total += np.expand_dims(c @ weight.sum(axis=others), tuple(axis for axis in others))
        return total.reshape(-1)


def _by_columns(product: Products, x: Array, out: Array) -> None:
    for q in range(x.shape[1]):
        out[:, q] = product(np.ascontiguousarray(x[:, q]))
