"""`assign` of many costs of one size: all at once where they are small, one by one where something is unusual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import as_array
from ..solutions.assignment import Assignment
from ..solutions.assignment_batch import BatchAssignment, batch_of
from ..solvers.exact.all_cells import assign_at_once
from ..solvers.exact.clock import Clock
from .each import each, of_each

Alone = Callable[[NDArray[Any], Any], Assignment]


def assign_many(
    stack: NDArray[Any], maximize: bool, mask: Any, together: bool, clock: Clock, alone: Alone
) -> BatchAssignment:
    """Of costs (B, n, m): all `together`, and by `alone`, of a cost and its mask, what is not solved so."""
    mask = mask if mask is None else as_array("mask", mask)
    mask_of = of_each("mask", mask, 2, len(stack))
    masks = [None] * len(stack) if mask is None else [mask_of(k) for k in range(len(stack))]

    def one(k: int) -> Assignment:
        clock.check()
        return alone(stack[k], masks[k])

    found = assign_at_once(stack, maximize, mask, clock.check) if together else None
    if found is None:
        return batch_of(list(each(range(len(stack)), one)), stack, maximize, masks)
    if found.solved.all():
        return BatchAssignment(stack, maximize, masks, found.row_ind, found.col_ind, (found.u, found.v))
    others = np.flatnonzero(~found.solved).tolist()
    for k, other in zip(others, each(others, one), strict=True):
        found.row_ind[k], found.col_ind[k] = other
    return BatchAssignment(stack, maximize, masks, found.row_ind, found.col_ind)
