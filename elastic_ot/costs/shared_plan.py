"""Many plans with one cost and different potentials: their sums are products of one kernel with a matrix."""

from __future__ import annotations

from dataclasses import dataclass

from ..arrays.devices import lies_on_host
from ..backends.protocol import Array
from .base import KnownCost
from .dense import DenseCost
from .grid_plan import GridCost
from .separable import UNDERFLOWING, Separable

FEWEST_PLANS = 3  # plans from which on products of matrices are faster than a sweep of each
LARGEST_KERNEL = 1 << 23  # entries of a matrix whose kernel is stored, four times


@dataclass(frozen=True, eq=False)
class SharedPlan:
    """Sums of P^k_ij = exp(alpha^k_i + beta^k_j - C_ij inv_epsilon), right at any epsilon."""

    forward: Separable
    backward: Separable

    def log_row_sums(self, alphas: Array, betas: Array) -> Array:
        """Return the logarithms of the row sums, shape (K, n)."""
        found: Array = alphas + self.forward.many_log_sums(betas)
        return found

    def log_col_sums(self, alphas: Array, betas: Array) -> Array:
        """Return the logarithms of the column sums, shape (K, m)."""
        found: Array = betas + self.backward.many_log_sums(alphas)
        return found


def shared_plan(cost: KnownCost, inv_epsilon: float, count: int) -> SharedPlan | None:
    """Return the plan of `count` problems with this cost; None where sweeps of each are faster.

    That is where most of the kernel underflows.
    """
    if count < FEWEST_PLANS or cost.masked:
        return None
    if isinstance(cost, GridCost):
        matrices = list(cost.matrices)
    elif isinstance(cost, DenseCost) and lies_on_host(cost.matrix) and cost.entries <= LARGEST_KERNEL:
        if (cost.highest - cost.lowest) * inv_epsilon > UNDERFLOWING:
            return None
        matrices = [cost.matrix.astype(float, copy=False)]
    else:
        return None
    forward = Separable(matrices, inv_epsilon)
    return SharedPlan(forward, forward.transposed())
