"""What a Newton solve remembers: its stage, the step under trial, and how coarsely it has computed so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from ...problems.penalty import Vector
from ...problems.scaled import Task
from ..annealing import AnnealedState
from ..local import Local
from ..measure import Measure
from ..passes import KernelPasses, OperatorPasses
from .best import Best

STORED = 4_000_000  # entries up to which early levels keep a kernel; above it memory decides, and they use log sweeps
RADIUS = 64.0  # nats that a step may move a potential at first: far beyond where its model holds


class Stage(Enum):
    """Where a solve stands between two iterations, or on the way to the next one (`stages`)."""

    __hash__ = object.__hash__  # of a member's identity: Enum's own hashes its name, in Python

    LOOK = auto()
    VISIT = auto()
    REFINE = auto()
    NARROW = auto()
    STEP = auto()
    SWEEP = auto()
    RENEW = auto()
    DESCEND = auto()
    TRY = auto()
    CLOSE = auto()


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
    """An annealed state at some stage, with the step under trial and the best iterate on target."""

    wanted_end: str = "rows"
    stage: Stage = Stage.LOOK
    put_off: Stage = Stage.LOOK
    """The stage that comes after CLOSE."""
    trial: Step | None = None
    """The step of TRY."""
    steps: int = 0
    """Newton steps at this level."""
    visiting: bool = False
    """The cells were chosen for this level only: whatever reads them, the next one begins at the full cost."""
    damping: float = 0.1
    """Share of the diagonal, relative to the residual, that is added to Newton's matrix."""
    radius: float = RADIUS
    """Nats that a step may move a potential."""
    stretch: float = 1.0
    """Factor of the next step."""
    residual_before: float = np.inf
    """The relative residual where the last step began."""
    best: Best = field(default_factory=Best)

    @property
    def noise(self) -> float:
        """By how much rounding may change the dual, in units of epsilon and the mass; 0 for no more than float64's."""
        return 0.0

    def expired(self) -> bool:
        return self.deadline < np.inf and self.task.problem.ranks.any(time.perf_counter() >= self.deadline)

    @property
    def steered(self) -> bool:
        return self.steps > 0

    def close(self) -> bool:
        if self.wanted_end == "cols" and self.end == "rows":
            self.put_off, self.stage = self.stage, Stage.CLOSE
            return True
        return False

    def refine(self) -> bool:
        """As for every state; nothing that was computed more coarsely is compared with what follows."""
        self.best, self.trial = Best(), None
        if self.stage is Stage.TRY:
            self.stage = Stage.LOOK
        if super().refine():
            if not self.passes.truncated:
                self.passes = kernel_passes(self.task, exact=True)
            return True
        if self.passes.exact:
            return False
        self.full_passes()
        self.passes.exact, self.stage = True, Stage.SWEEP
        return True

    def note_progress(self) -> None:
        """Remember the best iterate; when nothing moves any more, compute more finely or put it back."""
        if not self.trusted():
            return  # what its support tells of it may be far too good
        self.best.note(self.measure(), self.save)
        if not self.best.final or (not self.passes.exact and self.refine()):
            return
        if self.best.vectors is not None:
            self.restore(self.best.vectors)
            self.exhausted = True


def kernel_passes(task: Task, exact: bool) -> KernelPasses | OperatorPasses:
    """Passes that serve Newton's system with the whole plan: a kernel of it, if the cost is stored."""
    if not task.plan.stored:
        return OperatorPasses(exact)
    return KernelPasses(task.problem.cost.empty(np.float32), exact)


def kernel_is_small(task: Task) -> bool:
    """True if levels above the target may keep a kernel, whatever memory the target will have, or need none.

    Where a pass reads far less than all entries, products with the plan are as cheap as sweeps.
    """
    cost = task.problem.cost
    return cost.entries < STORED or cost.work < cost.entries
