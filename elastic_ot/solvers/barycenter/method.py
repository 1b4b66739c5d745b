"""The loop: levels of epsilon, accelerated sweeps with their safeguard, and the last word of a certificate."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...problems.common import CommonProblem
from ...problems.penalty import Vector
from ...problems.problem import Problem
from ..anderson import Mixing
from ..annealing import FIRST_LEVEL
from ..driver import RETRIES, SWEEP_PATIENCE, Limits, Outcome
from ..history import Entry, History, history_of
from ..measure import RISE, Measure
from ..oriented import outcome_at
from ..status import Status
from .debiased_bound import debiased_bound
from .iterate import Iterate, Look, Potentials

GROWTH = 3.0  # of the least residual since steps are mixed, from which on their mixture has done harm
LEVEL_SWEEPS, LEVEL_RESIDUAL, LEVEL_FACTOR = 20, 0.01, 4.0  # an annealing level: its end, and the next epsilon
FEWEST_LEVELS = 3  # the one asked for included: fewer save no iteration
MEMORY = 10  # steps that are mixed; measured: 5 take a fifth more iterations, 20 a tenth fewer at three times the work
DEBIASED_PATIENCE = (
    1000  # iterations without progress that count as stalled: residuals rise for hundreds, no dual tells
)


@dataclass(frozen=True, eq=False)
class CommonOutcome:
    """What the loop found: potentials, every transport to the barycenter as it is certified, and why it stopped."""

    potentials: Potentials
    parts: list[Outcome]
    own: Outcome | None
    dual: float
    residual: float
    status: Status
    n_iter: int
    method: str
    history: History


def run_common(
    problem: CommonProblem, start: tuple[Vector | None, Vector | None], annealed: bool, fast: bool, limits: Limits
) -> CommonOutcome:
    """Sweep until all column marginals agree to the tolerance, as `limits` allow."""
    return _Run(problem, start, annealed, fast, limits).run()


class _Before(NamedTuple):
    """An iterate, and its plain update."""

    look: Look
    saved: tuple[Any, ...]
    plain: Vector


def _harmed(before: Look, found: Look, least: float) -> bool:
    """True if the dual fell and the residual rose, or that rose by much; without a dual, which is nan, that alone."""
    fell = found.dual < before.dual - RISE * abs(before.dual)
    return fell or not found.residual <= GROWTH * least


class _Run:
    def __init__(
        self,
        problem: CommonProblem,
        start: tuple[Vector | None, Vector | None],
        annealed: bool,
        fast: bool,
        limits: Limits,
    ) -> None:
        self.began = time.perf_counter()
        self.target, self.limits, self.tol, self.retries = problem, limits, limits.tol, 0
        self.levels = _levels(problem) if annealed else [problem.epsilon]
        self.method = "epsilon_scaling" if len(self.levels) > 1 else "log"
        self.iterate = Iterate(problem.at(self.levels[0]), *start, fast)
        self.iteration, self.log, self.mixing = 0, list[Entry](), Mixing(MEMORY)
        self.best, self.best_dual, self.best_at = np.inf, -np.inf, 0
        self.before: _Before | None = None
        self.least = np.inf  # residual since steps are mixed
        self.patience = SWEEP_PATIENCE if problem.own is None else DEBIASED_PATIENCE
        self.warm = start[0] is not None

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def run(self) -> CommonOutcome:
        self._rows(balanced=not self.warm)  # a translation by rows that are none yet would take the start away
        for epsilon in self.levels[1:]:
            status = self._level()
            if status is not None:
                return self._finish(status)
            self.iterate.descend(self.target.at(epsilon))
            self.mixing.clear()
            self.before, self.least = None, np.inf
            self._rows()
        return self._converge()

    def _level(self) -> Status | None:
        """A few sweeps at a larger epsilon; a status if the solve ends there."""
        for _ in range(LEVEL_SWEEPS):
            found = self._look()
            stopped = self._stopped(found)
            if stopped is not None:
                return stopped
            if found.residual <= LEVEL_RESIDUAL * found.mass:
                break
            if not self._step(found):
                return Status.NUMERICAL
        return None

    def _converge(self) -> CommonOutcome:
        while True:
            found = self._look()
            outcome = self._met(found)
            if outcome is not None:
                return outcome
            stopped = self._stopped(found)
            if stopped is not None:
                return self._finish(stopped)
            if self._stalled(found):
                if not self.iterate.fast:
                    return self._finish(Status.STALLED)
                self._sharpen()
            elif not self._step(found):
                return self._finish(Status.NUMERICAL)

    def _step(self, found: Look) -> bool:
        """An iteration: the columns by a mixture of updates, or by the plain one if the last mixture has done harm."""
        iterate, before = self.iterate, self.before
        if before is not None and self.mixing.mixes and _harmed(before.look, found, self.least):
            iterate.restore(before.saved)
            iterate.columns = before.plain
            self.mixing.shorten()
            self.before, self.least = None, np.inf
            self._rows()
            return True
        if not np.isfinite(found.residual):
            return False
        self.least = min(self.least, found.residual)
        with np.errstate(all="ignore"):
            plain = iterate.updated_columns()
            self.before = _Before(found, iterate.save(), plain)
            iterate.columns = self.mixing.step(iterate.columns, plain, iterate.importance())
        self._rows()
        return True

    def _rows(self, balanced: bool = True) -> None:
        with np.errstate(all="ignore"):  # extreme potentials; what comes of them is measured
            if balanced:
                self.iterate.balance()
            self.iterate.update_rows()
        self.iteration += 1

    def _look(self) -> Look:
        found, epsilon = self.iterate.look(), self.iterate.problem.epsilon
        self.log.append(Entry(self.iteration, found.residual, found.dual, epsilon, self.seconds, self.method, 0))
        return found

    def _late(self) -> bool:
        return self.limits.time_limit is not None and self.seconds >= self.limits.time_limit

    def _stopped(self, found: Look) -> Status | None:
        limits = self.limits
        if limits.callback is not None and limits.callback(self.iteration, found.residual):
            return Status.STOPPED
        if self.iteration >= limits.max_iter:
            return Status.MAX_ITER
        return Status.TIME_LIMIT if self._late() else None

    def _stalled(self, found: Look) -> bool:
        rise = RISE * max(abs(found.dual), self.target.epsilon * found.mass)
        if found.residual < 0.99 * self.best or found.dual > self.best_dual + rise:
            self.best, self.best_at = min(found.residual, self.best), self.iteration
            self.best_dual = max(found.dual, self.best_dual)
        return self.iteration - self.best_at > max(self.patience, self.iteration // 2)

    def _sharpen(self) -> None:
        """On in double precision."""
        self.iterate.sharpen()
        self.mixing.clear()
        self.before, self.least, self.best_at = None, np.inf, self.iteration
        with np.errstate(all="ignore"):
            self.iterate.update_rows()

    def _met(self, found: Look) -> CommonOutcome | None:
        """The outcome, if the potentials to be returned meet the tolerance; else changes what must change to go on."""
        if not found.residual <= self.tol * found.mass:
            return None
        outcome = self._finish(Status.CONVERGED)
        if outcome.status is Status.CONVERGED:
            return outcome
        if self.retries == RETRIES:
            return self._finish(Status.STALLED)
        self.retries += 1
        self.tol *= 0.5
        return None

    def _finish(self, status: Status) -> CommonOutcome:
        """Certify the iterate: every plan at the barycenter that is returned, measured anew in double precision."""
        target = self.target
        if self.iterate.problem.epsilon != target.epsilon:
            self.iterate.descend(target)
        if self.iterate.fast:
            self._sharpen()
        with np.errstate(all="ignore"):
            potentials = self.iterate.potentials()
            parts = [
                self._certified(target.transport(k, potentials.b), f, g, status)
                for k, (f, g) in enumerate(zip(potentials.f, potentials.g, strict=True))
            ]
            own = None
            if potentials.h is not None:
                h = potentials.h
                own = self._certified(target.self_transport(potentials.b), h, h, status, own=True)
            found = self.iterate.look()
        every = parts if own is None else [*parts, own]
        residual = max(part.measure.residual for part in every)
        converged = all(part.status is Status.CONVERGED for part in every)
        if not np.isfinite(residual) or not potentials.b.sum() > 0:
            status = Status.NUMERICAL
        elif status is not Status.STOPPED:
            status = Status.CONVERGED if converged else Status.STALLED if status is Status.CONVERGED else status
        if self.log:
            self.log[-1] = Entry(self.iteration, residual, found.dual, target.epsilon, self.seconds, self.method, 0)
        history = history_of(self.log, target.reference_mass)
        dual = found.dual + target.epsilon * target.reference_mass + target.offset_value
        if own is not None:
            with np.errstate(all="ignore"):
                dual = debiased_bound(target, self.iterate, potentials)
        return CommonOutcome(potentials, parts, own, dual, residual, status, self.iteration, self.method, history)

    def _certified(self, problem: Problem, f: Vector, g: Vector, status: Status, own: bool = False) -> Outcome:
        """A transport to b, whose reference a b^T takes epsilon log b from g; from f as well of one of b to `own`."""
        shift = np.zeros_like(problem.b)
        np.log(problem.b, out=shift, where=problem.b > 0)
        shift *= problem.epsilon
        missed = Status.STALLED if status is Status.CONVERGED else status

        def judged(found: Measure) -> Status:
            return Status.CONVERGED if found.meets(self.limits.tol) else missed

        return outcome_at(problem, f - shift if own else f, g - shift, judged, self.iteration, self.method)


def _levels(problem: CommonProblem) -> list[float]:
    levels = [problem.epsilon]
    first = FIRST_LEVEL * problem.span
    while levels[0] * LEVEL_FACTOR <= first:
        levels.insert(0, levels[0] * LEVEL_FACTOR)
    return levels if len(levels) >= FEWEST_LEVELS else levels[-1:]
