"""What is known of many problems while they are solved, when to stop, and calls short enough for that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...problems.batch import BatchProblem
from ...problems.penalty import Indices, Vector
from ..history import History
from ..status import Status
from .scaled import BatchTask

CALL_ENTRIES = 3e8  # entries that a call of the backend may read: limits and Ctrl-C wait for it
TINY_PROBLEM, GROUP = 64, 256  # entries up to which problems go side by side, and how many of them


@dataclass(eq=False)
class BatchState:
    """What is known of every problem so far; potentials in kernel units."""

    alpha: Vector
    beta: Vector
    n_iter: Indices
    residual: Vector
    dual: Vector
    status: NDArray[np.object_]
    method: NDArray[np.object_]
    entries: list[tuple[Indices, Vector, Vector, float]] = field(default_factory=list)

    def record(self, seconds: float) -> None:
        self.entries.append((self.n_iter.copy(), self.residual.copy(), self.dual.copy(), seconds))

    def history(self, problem: BatchProblem) -> History:
        """Every field but the seconds with the batch shape behind the rounds."""
        shape = (len(self.entries), *problem.batch)
        iterations, residuals, duals, seconds = ([entry[q] for entry in self.entries] for q in range(4))
        constant = problem.epsilon * problem.reference_mass if self.entries else 0.0
        return History(
            iteration=np.array(iterations, dtype=np.int64).reshape(shape),
            residual=np.array(residuals, dtype=np.float64).reshape(shape),
            dual=np.array([dual + constant for dual in duals], dtype=np.float64).reshape(shape),
            epsilon=np.broadcast_to(problem.epsilon.reshape(problem.batch), shape),
            seconds=np.array(seconds, dtype=np.float64),
            method=np.full(shape[0], "log"),
            products=np.zeros(shape[0], np.int64),
        )


@dataclass(frozen=True)
class BatchLimits:
    """When to stop, who is told, and how updates are damped."""

    tol: float
    max_iter: int
    cols_last: NDArray[np.bool_]
    omega: tuple[float, float] = (1.0, 1.0)
    fast: bool = True
    cold: bool = True
    deadline: float = np.inf
    """A time of `time.perf_counter`."""
    callback: Callable[[int, Vector], object] | None = None

    @property
    def late(self) -> bool:
        return time.perf_counter() >= self.deadline


def state_at(task: BatchTask, alpha: Vector, beta: Vector, status: Status) -> BatchState:
    size = task.problem.size
    return BatchState(
        alpha=alpha,
        beta=beta,
        n_iter=np.zeros(size, np.int64),
        residual=np.full(size, np.inf),
        dual=np.full(size, np.nan),
        status=np.full(size, status, dtype=object),
        method=np.full(size, "log", dtype=object),
    )


def swept(
    task: BatchTask,
    state: BatchState,
    which: Indices,
    goal: Vector | None,
    count: int,
    limits: BatchLimits,
    precision: str,
    cold: bool,
    plans: NDArray[Any] | None = None,
) -> Vector:
    """A few calls of the backend; returns the residuals they saw. A round, which has goals, stops when time is up."""
    residual = np.full(which.size, np.inf)
    sides = task.rows, task.cols, limits.omega, state.alpha, state.beta
    cols_last = limits.cols_last[which]
    for end, mine in (("rows", ~cols_last), ("cols", cols_last)):
        for where in pieces(np.flatnonzero(mine), task.cost[0].size, count):
            if goal is not None and limits.late:
                return residual
            some = which[where]
            done, found = np.zeros(some.size, np.int64), np.full(some.size, np.inf)
            how = goal, count, end, cold, precision
            task.backend.batch_sweeps(task.cost, task.batch, *sides, some, *how, done, found, plans)
            state.n_iter[some] += done
            residual[where] = found
    return residual


def _together(size: int) -> int:
    """Problems of so many entries that a call takes at once, as long as it takes for one."""
    return GROUP if size <= TINY_PROBLEM else 1


def longest_call(task: BatchTask) -> int:
    """Iterations of a call at most."""
    size = task.cost[0].size
    return max(1, int(CALL_ENTRIES / (size * _together(size))))


def pieces(which: Indices, size: int, count: int = 1) -> Iterator[Indices]:
    """Problems of so many entries for one call each, if it reads them so many times."""
    group = _together(size)
    step = group * max(1, int(CALL_ENTRIES / (size * count * group)))
    return (which[i : i + step] for i in range(0, which.size, step))
