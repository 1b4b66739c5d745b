"""Every primitive's formula, once: what a backend must provide, and with which arguments.

Units. Mass is measured in units of the problem's mass and potentials in units of epsilon, so that kernels see numbers
of order one. With `alpha = f / epsilon + rows.offset` and `beta = g / epsilon + cols.offset` every plan is

    P_ij = exp(alpha_i + beta_j - cost_ij * inv_epsilon),        exactly 0 where an argument is -inf.

`cost` is C-contiguous float32 or float64 and may hold +inf; vectors are float64. A removed row has alpha = -inf.
Primitives write into arrays the caller owns and return nothing, except where said.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

Array = Any

LOGARITHMIC, CLIPPED, BOXED, QUADRATIC = 0, 1, 2, 3
"""Codes of the update rules (see `Backend.potential`)."""


class Side(NamedTuple):
    """One marginal as kernels see it; `weight` sums to about one, removed entries have log_weight = -inf."""

    weight: Array
    log_weight: Array
    offset: Array
    code: int
    strength: float
    strength2: float


class Backend(Protocol):
    """What solvers and certificates may call. Names and argument order are the same in every module."""

    def potential(self, side: Side, log_ratio: Array, out: Array) -> None:
        """F maximising the dual for log_ratio = log(weight / s), by the code of the side.

        LOGARITHMIC  F = strength * log_ratio                                   Fixed (1), KL (tau), Free (0)
        CLIPPED      F = clip(log_ratio, -strength, strength)                   TV, strength = rho / epsilon
        BOXED        F = clip(0, strength + log_ratio, strength2 + log_ratio)   Between, logs of lo and hi
        QUADRATIC    weight - strength * F = weight * exp(F - log_ratio)        L2, strength = epsilon / rho
        """

    def scratch(self, shape: tuple[int, int], dtype: Any, fast: bool) -> Any:
        """Work space for the sweeps below, O(threads * m); `fast` allows float32 exponentials for a float32 cost."""

    def row_max(self, cost: Array, inv_epsilon: float, beta: Array, out: Array) -> None:
        """out_i = max_j (beta_j - cost_ij inv_epsilon)."""

    def col_max(self, cost: Array, inv_epsilon: float, alpha: Array, out: Array) -> None:
        """out_j = max_i (alpha_i - cost_ij inv_epsilon)."""

    def log_sweeps(
        self,
        cost: Array,
        inv_epsilon: float,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        log_row: Array,
        log_col: Array,
        previous_alpha: Array,
        log_col_updated: Array,
        scratch: Any,
        count: int,
    ) -> None:
        """`count` full iterations in the log domain, one read of the cost and one exponential an entry each.

        An iteration, with F = alpha - rows.offset, G = beta - cols.offset and `potential` as above:

            G += omega[1] (potential(log b - log_col + G) - G)                   O(m)
            log_row_i = log sum_j P_ij;  previous_alpha = alpha
            F += omega[0] (potential(log a - log_row + F) - F)
            log_col_j = log sum_i P_ij                                           same pass over the cost

        On entry log_col belongs to (alpha, beta); on exit again. log_row belongs to (previous_alpha, beta), and
        log_col_updated to the same pair.
        """

    def scaling_sweeps(
        self,
        kernel: Array,
        base_alpha: Array,
        base_beta: Array,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        log_row: Array,
        log_col: Array,
        previous_alpha: Array,
        log_col_updated: Array,
        scratch: Any,
        count: int,
        limit: float,
    ) -> tuple[int, bool]:
        """The same iterations on a stored kernel = exp(base_alpha_i + base_beta_j - cost_ij inv_epsilon).

        The scalings are u = exp(alpha - base_alpha), v = exp(beta - base_beta). Returns how many iterations were
        completed and whether the kernel still serves: it does not when a scaling left (1/limit, limit) or a sum
        vanished or overflowed. An iteration that failed leaves the vectors as they were before it.
        """

    def plan(self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, out: Array) -> None:
        """out_ij = P_ij, in the dtype of `out`; also how the kernel of `scaling_sweeps` is filled."""

    def marginals(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, row_sum: Array, col_sum: Array
    ) -> None:
        """row_sum_i = sum_j P_ij and col_sum_j = sum_i P_ij in float64, one pass."""

    def apply(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array
    ) -> None:
        """Out = P x (n, k), or P^T x (m, k) with `transpose`; P is never stored."""

    def rounded_sums(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        row_factor: Array,
        col_factor: Array,
        row_rest: Array,
        col_rest: Array,
        divergence: Array,
        transport: Array,
    ) -> None:
        """Row sums of KL(Q | P) and of cost * Q for Q_ij = row_factor_i P_ij col_factor_j + row_rest_i col_rest_j.

        Cells with P = 0 because of a -inf argument are left out of both.
        """
