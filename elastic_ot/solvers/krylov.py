"""The reduced Newton system, solved by preconditioned conjugate gradients in blocks that can be interrupted.

Our own few lines rather than scipy's `cg`: at n = 1000 a product takes less than the Python around it, so iterations
run compiled in blocks; the method must stop in the L1 norm that tolerances are stated in, at the edge of a trust
region and at vanishing curvature, none of which a callback can ask for; and importing scipy's costs more than a solve.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..backends.protocol import CONTINUES, Krylov
from ..penalties import Vector

BLOCK = 32  # iterations between looks at the clock
Gradients = Callable[[Krylov, float, float, int], tuple[int, int]]
"""`Backend.sparse_gradients` or `dense_gradients` with its matrix."""


def solve(
    gradients: Gradients,
    rhs: Vector,
    preconditioner: Vector,
    goal: float,
    radius: float,
    limit: int,
    expired: Callable[[], bool],
) -> tuple[Vector, int]:
    """The x with S x = rhs to an L1 residual of `goal`, as far as `radius`, `limit` and the clock allow; and products.

    Entries with preconditioner 0 are outside the system; rhs must be 0 there.
    """
    direction = preconditioner * rhs
    scalars = np.array([float(direction @ rhs)])
    krylov = Krylov(np.zeros_like(rhs), rhs.copy(), direction, preconditioner, scalars)
    products, code = 0, CONTINUES
    if not scalars[0] > 0 or not np.isfinite(scalars[0]):
        return krylov.x, 0
    while code == CONTINUES and products < limit and not expired():
        done, code = gradients(krylov, goal, radius, min(BLOCK, limit - products))
        products += done
    return krylov.x, products
