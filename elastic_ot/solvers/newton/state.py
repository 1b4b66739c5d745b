"""What a Newton solve remembers: the step under trial, the best iterate, and how coarsely it has computed so far."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ...penalties import Vector
from ..annealing import AnnealedState
from ..local import Local
from ..measure import Measure
from ..passes import KernelPasses
from ..task import Task

RADIUS = 64.0  # nats that a step may move a potential at first: far beyond where its model holds


@dataclass(frozen=True, eq=False)
class Step:
    """A Newton step under trial: where it began, and what a share t of it promises."""

    saved: tuple[Vector, ...]
    found: Measure
    x: Vector
    cols: Local
    slope: float
    t: float = 1.0


@dataclass(eq=False)
class NewtonState(AnnealedState):
    """An annealed state with the step under trial and the best iterate on target."""

    wanted_end: str = "rows"
    damping: float = 0.1
    """Share of the diagonal, relative to the residual, that is added to Newton's matrix."""
    radius: float = RADIUS
    """Nats that a step may move a potential."""
    stretch: float = 1.0
    """Factor of the next step."""
    trial: Step | None = None
    steps: int = 0
    """Newton steps at this level."""
    best: float = np.inf
    best_dual: float = -np.inf
    best_vectors: tuple[Vector, ...] | None = None
    mark: float = np.inf
    """The residual at the last progress."""
    idle: int = 0
    waited: int = 0
    """Iterations since the residual has fallen."""
    residual_before: float = np.inf
    visiting: bool = False
    """The support is that of this level only."""
    closing: bool = False
    """The next iteration is a sweep that ends on the columns."""
    stale: bool = False
    """The marginals were computed more coarsely than the next ones will be: nothing may be compared with them."""

    def expired(self) -> bool:
        return time.perf_counter() >= self.deadline

    @property
    def steered(self) -> bool:
        return self.steps > 0

    def close(self) -> bool:
        self.closing = self.wanted_end == "cols" and self.end == "rows"
        return self.closing

    def refine(self) -> bool:
        self.best, self.mark, self.best_dual = np.inf, np.inf, -np.inf
        self.best_vectors, self.idle, self.waited, self.trial = None, 0, 0, None
        if super().refine():
            if not self.passes.truncated:
                self.passes = kernel_passes(self.task, exact=True)
            return True
        if self.passes.exact:
            return False
        self.full_passes()
        self.passes.exact, self.stale = True, True
        return True


def kernel_passes(task: Task, exact: bool) -> KernelPasses:
    return KernelPasses(task.backend.matrix_like(task.cost, np.float32), exact)
