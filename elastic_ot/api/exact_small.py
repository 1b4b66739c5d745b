"""Small plain arrays for `exact`: looked at and solved in one compiled call, before anything else."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.ingest import put_weights
from ..problems.masses import SAME_MASS
from ..solutions.exact_many import ManyExact
from ..solvers.exact.clock import Clock
from ..solvers.exact.small import is_small, solve_small


def exact_small(cost: Any, a: Any, b: Any, clock: Clock) -> ManyExact | None:
    """Between fixed sides, of costs (n, m) or (B, n, m). None where anything is unusual: that is for others to see."""
    if type(cost) is not np.ndarray or cost.dtype.char not in "fd" or not cost.dtype.isnative:
        return None
    stack = cost[None] if cost.ndim == 2 else cost
    if stack.ndim != 3 or stack.size == 0 or not (stack.flags.c_contiguous and stack.flags.aligned):
        return None
    count, n, m = stack.shape
    weights = np.empty((count, n + m))
    put = weights[0] if cost.ndim == 2 else weights
    if not (put_weights(a, put[..., :n]) and put_weights(b, put[..., n:])):
        return None
    if not is_small(n, m, weights):
        return None
    sums_a, sums_b = weights[:, :n].sum(axis=1), weights[:, n:].sum(axis=1)
    factors = np.ones(count)
    if (sums_a != sums_b).any():
        if not (np.abs(sums_a - sums_b) <= SAME_MASS * np.minimum(sums_a, sums_b)).all():
            return None
        np.divide(sums_a, sums_b, out=factors)
        weights[:, n:] *= factors[:, None]
    found = solve_small(stack, weights, clock.check)
    return ManyExact(stack, weights, factors, found) if found.solved.all() else None
