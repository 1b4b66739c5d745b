"""`assign` of many costs of one size: all at once where they are small, one by one where something is unusual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import as_array
from ..solutions.assignment import Assignment
from ..solutions.assignment_batch import BatchAssignment, batch_of
from ..solvers.exact.all_cells import Assigned, assign_at_once
from ..solvers.exact.clock import Clock
from .each import each, of_each
from .scipy_assignment import may_be_huge

Alone = Callable[[NDArray[Any], Any], Assignment]


def assign_many(
    stack: NDArray[Any], maximize: bool, mask: Any, small: bool, clock: Clock, alone: Alone
) -> BatchAssignment:
    """Of costs (B, n, m); `small` ones at once, and by `alone`, of a cost and its mask, what is not solved so."""
    mask = mask if mask is None else as_array("mask", mask)
    mask_of = of_each("mask", mask, 2, len(stack))
    masks = [mask_of(k) for k in range(len(stack))]

    def one(k: int) -> Assignment:
        clock.check()
        return alone(stack[k], masks[k])

    together = _together(stack, maximize, mask, clock) if small else None
    if together is None:
        return batch_of(list(each(range(len(stack)), one)), stack, maximize, masks)
    found, sign = together, -1.0 if maximize else 1.0
    others = np.flatnonzero(~found.solved)
    for k, other in zip(others, each(others.tolist(), one), strict=True):
        found.row_ind[k], found.col_ind[k] = other
    proof = None if others.size else (sign * found.u + 0.0, sign * found.v + 0.0)
    return BatchAssignment(stack, maximize, masks, found.row_ind, found.col_ind, proof)


def _together(stack: NDArray[Any], maximize: bool, mask: Any, clock: Clock) -> Assigned | None:
    """The assignments by one compiled call, None for what has to be looked at one by one: there may be a mistake."""
    integral = stack.dtype.kind in "biu"
    if stack.size == 0 or not (integral or stack.dtype.kind == "f") or may_be_huge(stack):
        return None
    costs = stack
    if maximize:
        costs = np.negative(costs, dtype=np.float64)
    if mask is not None:
        if mask.dtype != np.bool_ or mask.shape not in (stack.shape, stack.shape[1:]) or np.isnan(stack).any():
            return None
        costs = np.where(mask, costs, np.float64(np.inf))
    return assign_at_once(costs, integral, clock.check)
