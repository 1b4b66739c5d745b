"""The loop: mirror descent on the factors, by steps whose length follows what they achieve.

A step goes to the minimum of the linearised objective plus eta KL(X | X_t) (Scetbon, Cuturi, Peyre 2021), or part of
the way there where the objective would rise. The bilinear cost has flat and sharp places: eta is halved after a full
step and doubled after a short one, so that the last steps are those of linear programmes, whose ends are reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..status import Status
from .objective import Objective, Point
from .projection import Projected

LEAST_RANGE = 1e-6  # of a gradient, relative to it: less may be rounding, and is nothing with one column
OTHER_LENGTHS = 60  # other lengths that are tried where a step cannot be made
OTHER_LENGTH = 4.0  # by which they differ
SHORT_SHARE = 0.25  # of a step: if no more was taken, it was too long
NEXT_LENGTH = 2.0  # by which the next one is longer after a full one, and shorter after one too long


class LowRankStep(NamedTuple):
    """An entry of the history."""

    value: float
    residual: float
    step: float
    share: float
    seconds: float


@dataclass(frozen=True)
class LowRankDescent:
    """What the loop is to do; the tolerance is one of the residual itself."""

    step: float
    tol: float
    max_iter: int
    deadline: float
    callback: Callable[[int, float], object] | None = None


@dataclass(frozen=True, eq=False)
class LowRankFound:
    """Where it ended."""

    point: Point
    residual: float
    status: Status
    steps: Sequence[LowRankStep]


def improve(objective: Objective, point: Point, how: LowRankDescent) -> LowRankFound:
    """Return stationary factors, or the last and best ones."""
    return _Run(objective, point, how).run()


def _range(objective: Objective, point: Point) -> float:
    """The range of the gradient, by which steps are measured; within rows where all of a row is met anyway."""
    found, size = 0.0, 0.0
    for side, slopes in zip(objective.sides, point.slopes[:2], strict=True):
        slope = slopes[side.used]
        most = float(np.abs(slope).max())
        found, size = max(found, float(np.ptp(slope, axis=1).max()) if side.penalty.hard else most), max(size, most)
    return max(found, LEAST_RANGE * size) or 1.0


class _Run:
    def __init__(self, objective: Objective, point: Point, how: LowRankDescent) -> None:
        self.objective, self.point, self.how = objective, point, how
        self.began = time.perf_counter()
        self.steps: list[LowRankStep] = []
        self.largest = _range(objective, point)
        self.eta = self.largest / how.step
        zeros = np.zeros(point.g.size)
        self.potentials, self.residual = (zeros, zeros), np.inf

    def run(self) -> LowRankFound:
        status = Status.MAX_ITER
        for count in range(1, self.how.max_iter + 1):
            found, ended = self._step()
            value, share = self.point.value, 0.0 if found is None else found[1]
            seconds = time.perf_counter() - self.began
            self.steps.append(LowRankStep(value, self.residual, self.largest / self.eta, share, seconds))
            stop = self.how.callback is not None and bool(self.how.callback(count, self.residual))
            if ended is not None or stop:
                status = ended or Status.STOPPED
                break
            assert found is not None
            self.point = found[0]
            if share == 1.0:
                self.eta /= NEXT_LENGTH
            elif share < SHORT_SHARE:
                self.eta *= NEXT_LENGTH
            if time.perf_counter() >= self.how.deadline:
                status = Status.TIME_LIMIT
                break
        return LowRankFound(self.point, self.residual, status, self.steps)

    def _step(self) -> tuple[tuple[Point, float] | None, Status | None]:
        """The next point and how much of the way it is; or why there is none."""
        sharp = False
        for _ in range(OTHER_LENGTHS):
            end = self.objective.prox(self.point, self.eta, self.potentials)
            if end is None:
                sharp, self.eta = True, self.eta * OTHER_LENGTH
            else:
                self._measure(end)
                if self.residual <= self.how.tol:
                    return None, Status.CONVERGED
                found = self.objective.toward(self.point, end)
                if found is not None:
                    return found, None
                if sharp:
                    break
                self.eta /= OTHER_LENGTH
            if time.perf_counter() >= self.how.deadline:
                return None, Status.TIME_LIMIT
        return None, Status.STALLED

    def _measure(self, end: Projected) -> None:
        strength = self.eta + self.objective.epsilon
        self.potentials = strength * end.potentials[0], strength * end.potentials[1]
        self.residual = self.objective.residual(self.point, self.potentials)
