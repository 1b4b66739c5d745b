"""The reduced Newton system S x = rhs: preconditioned conjugate gradients, or a factorisation where that takes less.

Our own few lines rather than scipy's `cg`: at n = 1000 a product takes less than the Python around it, so iterations
run compiled in blocks; and the method must stop in the L1 norm that tolerances are stated in, at the edge of a trust
region and at vanishing curvature, none of which a callback can ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import CONTINUES, Krylov
from ..penalties import Vector

BLOCK = 32  # iterations between looks at the clock
FLOOR = 1e-3  # share of its diagonal that the preconditioner keeps at least


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
    gram : callable or None
        Makes G itself, where solving directly takes less time than going on after the budget is spent.
    """

    diagonal: Vector
    free: NDArray[np.bool_]
    gradients: Callable[[Krylov, float, float, int], tuple[int, int]]
    squares: Vector
    budget: int
    gram: Callable[[], NDArray[np.float64]] | None = None


def solve(system: System, rhs: Vector, goal: float, radius: float, expired: Callable[[], bool]) -> tuple[Vector, int]:
    """The x with S x = rhs to an L1 residual of `goal`, as far as `radius`, budget and clock allow, and products."""
    remainder = np.maximum(system.diagonal - system.squares, FLOOR * system.diagonal)
    preconditioner = np.divide(1.0, remainder, out=np.zeros_like(rhs), where=system.free & (remainder > 0))
    residual = np.where(system.free, rhs, 0.0)
    direction = preconditioner * residual
    krylov = Krylov(np.zeros_like(rhs), residual, direction, preconditioner, np.array([float(direction @ residual)]))
    products, code = 0, CONTINUES
    if not 0 < krylov.scalars[0] < np.inf:
        return krylov.x, 0
    while code == CONTINUES and products < system.budget and not expired():
        done, code = system.gradients(krylov, goal, radius, min(BLOCK, system.budget - products))
        products += done
    if code == CONTINUES and system.gram is not None and not expired():
        _factorise(system, rhs, krylov.x)
    return krylov.x, products


def _factorise(system: System, rhs: Vector, x: Vector) -> None:
    """Write the solution to x, unless rounding has made S indefinite."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve  # here, because few solves need it

    assert system.gram is not None
    free = np.flatnonzero(system.free)
    matrix = system.gram()
    np.negative(matrix, out=matrix)
    if free.size < rhs.size:
        matrix = matrix[np.ix_(free, free)]
    matrix[np.diag_indices_from(matrix)] += system.diagonal[free]
    try:
        # the transpose of a symmetric matrix is itself in the order that LAPACK overwrites
        factor = cho_factor(matrix.T, overwrite_a=True, check_finite=False)
        x[free] = cho_solve(factor, rhs[free], check_finite=False)
    except LinAlgError:
        return
