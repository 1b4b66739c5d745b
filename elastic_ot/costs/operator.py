"""How solvers read a plan: the seam between every method and every kind of cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..backends.protocol import Array, Backend, Side, Support, Vectors

Product = Callable[[Array, bool, Array], None]
"""Writes P x, or P^T x: (x, transpose, out), see `PlanOperator.apply`."""
Gram = Callable[[Array, Array], None]
"""Writes P^T (weight * (P x)): (x, out), see `PlanOperator.gram`."""


def gram_of(product: Product, weight: Array, columns: int) -> Gram:
    """Return a `Gram` of two products."""
    rows, cols = np.empty((weight.size, 1)), np.empty((columns, 1))

    def gram(x: Array, out: Array) -> None:
        product(x[:, None], False, rows)
        product(weight[:, None] * rows, True, cols)
        out[:] = cols[:, 0]

    return gram


class PlanOperator(Protocol):
    """P_ij = exp(alpha_i + beta_j - C_ij inv_epsilon) in units of the mass, never stored unless asked for.

    Formulas of the methods are those of the primitives of `backends.protocol.Backend` that have their names. Vectors
    are NumPy arrays, in the orientation in which the cost is stored.

    Attributes
    ----------
    backend : Backend
        What computes on vectors and on stored matrices.
    stored : bool
        The cost is in memory: a pass takes no more than reading it.
    inv_epsilon : float
    """

    @property
    def backend(self) -> Backend: ...

    @property
    def stored(self) -> bool: ...

    @property
    def inv_epsilon(self) -> float: ...

    def with_sides(self, rows: Side, cols: Side) -> PlanOperator:
        """Return the operator for sweeps with other sides."""

    def scratch(self, fast: bool, brief: bool = False) -> Any:
        """Return work space for sweeps, see `Backend.scratch`."""

    def sweep(self, omega: tuple[float, float], vectors: Vectors, scratch: Any, count: int) -> None:
        """Run so many full iterations in the log domain, see `Backend.log_sweeps`: one read of the cost each."""

    def marginals(self, alpha: Array, beta: Array, row_sum: Array, col_sum: Array) -> float:
        """Write the sums of rows and of columns, in double precision; return a bound on the mass they leave out."""

    def row_max(self, beta: Array, out: Array) -> None:
        """Write max_j (beta_j - C_ij inv_epsilon)."""

    def col_max(self, alpha: Array, out: Array) -> None:
        """Write max_i (alpha_i - C_ij inv_epsilon)."""

    def fill(self, alpha: Array, beta: Array, out: Array, coarse: bool = False) -> None:
        """Write the plan, in the dtype of `out`; with `coarse` see `Backend.plan`."""

    def part(self, rows: slice, cols: slice, alpha: Array, beta: Array) -> Array:
        """Return some rows and columns of the plan in float64, given their potentials; on the device of the cost."""

    def apply(self, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array) -> None:
        """Write P x, or P^T x with `transpose`, for x of shape (m, k) or (n, k)."""

    def products(self, alpha: Array, beta: Array, fast: bool = False) -> Product:
        """Return `apply` at these potentials, for many x one after the other; `fast`: float32 will do for it."""

    def gram(self, alpha: Array, beta: Array, weight: Array, fast: bool = False) -> Gram:
        """Return what writes P^T (weight * (P x)) for vectors x, at these potentials; `fast` as in `products`."""

    def tangent(
        self,
        alpha: Array,
        beta: Array,
        bar: Array | None,
        shifts: tuple[Array, Array],
        slope: float,
        out: Array,
        sums: tuple[Array, Array, Array],
    ) -> None:
        """Write a change of the plan, its sums and its dot products, see `Backend.plan_tangent`; a bar of None is 0."""

    def rounded_sums(
        self, alpha: Array, beta: Array, parts: tuple[Array, Array, Array, Array], divergence: Array, transport: Array
    ) -> None:
        """Write row sums of KL(Q | P) and of C * Q for a rounded plan Q, see `Backend.rounded_sums`."""

    def cell_share(self) -> float:
        """Return the share of the entries that a support may hold."""

    def support_sizes(self, alpha: Array, beta: Array, least: tuple[Array, Array], which: Array, sizes: Array) -> None:
        """Write how many entries of the rows `which` exceed thresholds, see `Backend.support_sizes`."""

    def support_cells(self, alpha: Array, beta: Array, least: tuple[Array, Array], pointers: Array) -> Support:
        """Return the support of these entries."""

    def least_cells(self, beta: Array, which: Array, indices: Array, least: Array) -> None:
        """Write the columns of the smallest C_ij - beta_j of some rows, see `Backend.least_cells`."""


class PartOperator(PlanOperator, Protocol):
    """The plan of rows of which others lie elsewhere."""

    def sweep_share(self, omega: float, vectors: Vectors, scratch: Any, out: Array) -> None:
        """Update the rows, and write what they add to the sums of columns, see `Shares.log_share`."""
