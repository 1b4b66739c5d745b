"""Exactly so many iterations of many problems, for use inside networks: `budget`, in calls of the batch kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arrays.half import is_single
from ...problems.penalty import Vector
from ..status import Status
from .scaled import BatchTask
from .state import BatchLimits, BatchState, longest_call, swept

SINGLE_RANGE = (
    32.0  # largest cost or first potential, in epsilon, for which arguments of exponentials may be computed in float32
)


def run_batch_budget(
    task: BatchTask, alpha: Vector, beta: Vector, limits: BatchLimits, plans: NDArray[Any] | None = None
) -> BatchState:
    """Exactly max_iter iterations; nothing is measured. `plans` is filled on the way out, if it is given."""
    size = task.problem.size
    spans = task.problem.largest * float(task.batch.inv_epsilon.max())
    starts = () if limits.cold else (alpha, beta)
    spans = max(spans, *(np.abs(x[np.isfinite(x)]).max(initial=0.0) for x in starts), 0.0)
    single = is_single(task.cost) and spans <= SINGLE_RANGE
    precision = "double" if not limits.fast else "single" if single else "mixed"
    unknown, status, method = (np.broadcast_to(np.array(x, dtype=object), size) for x in (np.nan, Status.BUDGET, "log"))
    state = BatchState(alpha, beta, np.zeros(size, np.int64), unknown, unknown, status, method)
    every, left, cold = np.arange(size), limits.max_iter, limits.cold
    longest = longest_call(task)
    both = replace(limits, cols_last=np.ones(size, np.bool_))
    while left > 4 * longest:  # only of huge problems, whose sums then begin anew
        swept(task, state, every, None, longest, both, precision, cold)
        left, cold = left - longest, False
    swept(task, state, every, None, left, limits, precision, cold, plans)
    return state
