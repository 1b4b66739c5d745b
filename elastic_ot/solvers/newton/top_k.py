"""Newton's matrix made of the largest entries of every row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...arrays.devices import library_of
from ...problems.penalty import Vector
from ..krylov import System
from ..passes import sparse_system
from ..state import State

PLAN_PART = 1 << 18  # entries of the plan looked at together


def top_k_system(state: State, row_weight: Vector, diagonal: Vector, free: NDArray[np.bool_], k: int) -> System:
    """Newton's matrix of the k largest entries of every row, a chunk of rows at a time."""
    task = state.task
    n, m = task.problem.shape
    k, xp = min(k, m), library_of(task.problem.cost.memory)
    indices, values = xp.empty((n, k), np.int32), xp.empty((n, k), np.float64)
    step = max(1, PLAN_PART // m)
    for i in range(0, n, step):
        rows = slice(i, min(i + step, n))
        block = task.plan.part(rows, slice(0, m), state.alpha[rows], state.beta)
        largest = xp.argpartition(block, m - k, axis=1)[:, m - k :]
        indices[rows], values[rows] = largest, xp.take_along_axis(block, largest, axis=1)
    matrix = task.backend.sparse_of(np.arange(0, n * k + 1, k), indices.reshape(-1), values.reshape(-1), m)
    return sparse_system(state, matrix, row_weight, diagonal, free)
