"""Why a solve ended, and how a fixed number of iterations ran."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..problems.penalty import Vector


class Status(Enum):
    """Why a solve ended; the value is the message."""

    OPTIMAL = "optimal: the potentials prove that no plan is cheaper"
    CONVERGED = "converged: the returned potentials meet the tolerance"
    MAX_ITER = "max_iter reached before the tolerance was met"
    TIME_LIMIT = "time_limit reached before the tolerance was met"
    STALLED = "no more progress: the residual stopped falling above the tolerance"
    NUMERICAL = "numerical breakdown: the kernel or a scaling left the range of floating point"
    BUDGET = "ran the number of iterations asked for (tol=0)"
    STOPPED = "stopped by the callback"


@dataclass(frozen=True, eq=False)
class Budget:
    """How a fixed number of iterations ran: from which potentials (None is 0), and the side updated last."""

    count: int
    end: str
    f: Vector | None
    g: Vector | None
