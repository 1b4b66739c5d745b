"""The reduced Newton system S x = rhs: preconditioned conjugate gradients, or a factorisation where they take longer.

Our own few lines rather than scipy's `cg`: at n = 1000 a product takes less than the Python around it, so iterations
run compiled in blocks; and the method must stop in the L1 norm that tolerances are stated in, at the edge of a trust
region and at vanishing curvature, none of which a callback can ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import CONTINUES, FLOOR, Krylov
from ..problems.penalty import Vector

KRYLOV_BLOCK, KRYLOV_ENTRIES = 32, 2e8  # iterations between looks at the clock, and entries read in them


class Direct(Protocol):
    """A factorisation of S. Its prices are products that take as long."""

    look: int
    """Price of `price`."""

    def price(self) -> float:
        """Return the price of a factorisation; inf where there is none."""

    def solve(self, rhs: Vector, x: Vector) -> None:
        """Write the solution to x, unless rounding has made S indefinite."""


@dataclass(frozen=True, eq=False)
class System:
    """S = diag(diagonal) - G with G = P^T diag(row_weight) P, restricted to the `free` entries.

    Attributes
    ----------
    gradients : callable
        `Backend.sparse_gradients` or `dense_gradients` with its matrix: (krylov, goal, radius, count) -> (done, code).
    squares : ndarray
        The diagonal of G, as far as it matters.
    budget : int
        Products at most.
    direct : Direct or None
        How to factorise S, once so many products were made as that costs.
    entries : int
        What a product reads.
    """

    diagonal: Vector
    free: NDArray[np.bool_]
    gradients: Callable[[Krylov, float, float, int], tuple[int, int]]
    squares: Vector
    budget: int
    direct: Direct | None = None
    entries: int = 0


def solve(system: System, rhs: Vector, goal: float, radius: float, expired: Callable[[], bool]) -> tuple[Vector, int]:
    """The x with S x = rhs to an L1 residual of `goal`, as far as `radius`, budget and clock allow, and products."""
    remainder = np.maximum(system.diagonal - system.squares, FLOOR * system.diagonal)
    preconditioner = np.divide(1.0, remainder, out=np.zeros_like(rhs), where=system.free & (remainder > 0))
    residual = np.where(system.free, rhs, 0.0)
    direction = preconditioner * residual
    krylov = Krylov(np.zeros_like(rhs), residual, direction, preconditioner, np.array([float(direction @ residual)]))
    products, code, block = 0, CONTINUES, max(1, min(KRYLOV_BLOCK, int(KRYLOV_ENTRIES / max(system.entries, 1))))
    if not 0 < krylov.scalars[0] < np.inf:
        return krylov.x, 0

    def spend(budget: float) -> None:
        nonlocal products, code
        limit = int(min(budget, system.budget))
        while code == CONTINUES and products < limit and not expired():
            done, code = system.gradients(krylov, goal, radius, min(block, limit - products))
            products += done

    direct = system.direct
    if direct is not None:
        spend(direct.look)
        price = direct.price() if code == CONTINUES and not expired() else np.inf
        spend(price)
        if code == CONTINUES and price < system.budget and not expired():
            direct.solve(rhs, krylov.x)
            return krylov.x, products
    spend(np.inf)
    return krylov.x, products
