"""The only loop: runs a method in blocks of iterations, measures, decides when to stop, certifies the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..problems.penalties import Fixed
from ..problems.penalty import Vector
from ..problems.scaled import Task, make_task
from .acceleration import damped, settled_relaxation, translation
from .feasibility import Blocked, blocked, crowded, may_be_blocked
from .history import Entry, History, history_of
from .light import with_light, without_light
from .log_domain import LogDomain
from .measure import RISE, Measure
from .returned import centred, certify
from .state import Solver, Start, State
from .status import Status

BLOCK_ENTRIES = 1e8  # entries a block reads: it cannot be interrupted, so Ctrl-C and limits wait for about 0.1 s
LONGEST_BLOCK = 50
TRANSLATED_BLOCK = 20  # with a relaxed side, which is translated between blocks; measured: up to here no slower
SWEEP_PATIENCE = 200  # iterations without progress that count as stalled; half the iterations done, if that is more
NEGLIGIBLE = 0.01  # imbalance of the masses, relative to the residual, below which a translation is not worth a search
RESIDUAL_ROUNDING = 1e-9  # residual that rounding may explain, relative to the mass
LOOKS, LAST_LOOKS = 4, 10  # before a method is judged by its rate
SUSPECT, SURE = 400, 100  # iterations after which a mask may be to blame, and before giving up is asked for certain
LOST = 100  # iterations after which a plan without any mass, as float64 holds it, is not believed to get some
RETRIES = 3  # times the loop goes on when the returned potentials miss the tolerance that the iterate had met


@dataclass(frozen=True)
class Limits:
    """When to stop, and who is told on the way."""

    tol: float
    max_iter: int
    time_limit: float | None = None
    callback: Callable[[int, float], object] | None = None
    progress: Callable[[int, Measure], object] | None = None
    adaptive: bool = False
    """Choose the relaxation from the rate of convergence."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the loop found: potentials in cost units, their own marginals and measure, and why it stopped."""

    f: Vector
    g: Vector
    row_marginal: Vector
    col_marginal: Vector
    measure: Measure
    status: Status
    n_iter: int
    method: str
    history: History
    blocked: Blocked | None = None
    """Why there is no plan."""
    remark: str = ""
    """What else there is to say of the method, for the message."""

    def transpose(self) -> Outcome:
        """Return the outcome for the transposed problem."""
        sides = {"f": self.g, "g": self.f, "row_marginal": self.col_marginal, "col_marginal": self.row_marginal}
        return replace(self, **sides, blocked=self.blocked and self.blocked.transpose())  # type: ignore[arg-type]


class Phase(NamedTuple):
    """A method and its name; with `patience` it gives way to the next one when more iterations than that are left.

    `relaxing` sweeps choose their relaxation from the rate of convergence, also if the limits do not ask for it. A
    `trial` is judged as soon as it has a rate. Where either stands when it gives way is no good place to start from.
    """

    name: str
    solver: Solver
    patience: float = np.inf
    relaxing: bool = False
    trial: bool = False


def run(phases: Sequence[Phase], task: Task, start: Start, limits: Limits) -> Outcome:
    """Solve `task` by the first method that can.

    One that breaks down, finishes its part or is slower than its patience passes on to the next.
    """
    heavy = without_light(task.problem)
    if heavy is task.problem:
        return _Run(phases, task, start, limits).run()
    found = _Run(phases, make_task(heavy), start, limits).run()
    with np.errstate(all="ignore"):  # potentials of a solve that broke down
        f, g = with_light(task, heavy, found.f, found.g)
    f, g, rows, cols, certified = certify(task, f, g)
    found = replace(found, f=f, g=g, row_marginal=rows, col_marginal=cols, measure=certified)
    if found.status is not Status.CONVERGED or certified.meets(limits.tol):
        return found
    return _Run(phases, task, replace(start, f=f, g=g), limits).run()


class _Run:
    """One solve. `state` is the only thing that methods change."""

    state: State

    def __init__(self, phases: Sequence[Phase], task: Task, start: Start, limits: Limits) -> None:
        self.began = time.perf_counter()
        self.task, self.first, self.limits, self.ranks = task, start, limits, task.problem.ranks
        self.log: list[Entry] = []
        self.products, self.adapted_at, self.certified = 0, 0, np.inf
        self.tol, self.retries = limits.tol, 0
        self.aim = limits.tol
        self.iteration, self.scale = 0, 0.0
        self.least = np.inf  # residual at the epsilon asked for, and the vectors or potentials that had it
        self.kept: tuple[Vector, ...] | None = None
        self.kept_before: tuple[Vector, Vector] | None = None
        self.carried = 0
        self.suspect = SUSPECT if may_be_blocked(task.problem) else np.inf
        self.waiting = list(phases)
        self._begin(start)

    def run(self) -> Outcome:
        while True:
            if self._over():
                if not self.waiting:
                    return self._outcome(Status.NUMERICAL)
                if self.iteration >= self.limits.max_iter:
                    return self._outcome(Status.MAX_ITER)
                self._begin(self._handover() if self.state.finished else self.first)
                continue
            found = self._observe()
            if found is None:
                continue
            outcome = self._stop(found)
            if outcome is not None:
                return outcome
            if self._slow():
                if not self.waiting:
                    return self._given_up(Status.STALLED)
                self._give_way()
            if self._over():
                continue
            self.saved = self.state.save()
            if self.on_target and found.relative_residual < self.least and self.state.trusted():
                self.least, self.kept = found.relative_residual, self.saved
            with np.errstate(all="ignore"):  # extreme potentials; what comes of them is measured
                done = self.solver.step(self.state, self._block())
                while not (done or self._over() or self._late()):  # a method prepares an iteration in parts
                    done = self.solver.step(self.state, 1)
            self.iteration += done

    def _over(self) -> bool:
        """True if another method is to go on."""
        return self.state.finished or self.state.broken

    def _late(self) -> bool:
        return self.limits.time_limit is not None and self.seconds >= self.limits.time_limit

    @property
    def on_target(self) -> bool:
        """False while the state solves a problem at a larger epsilon."""
        return self.state.task is self.task

    @property
    def seconds(self) -> float:
        return self.ranks.most(time.perf_counter() - self.began)

    def _begin(self, start: Start) -> None:
        """Start the next method."""
        self.method, self.solver, self.patience, self.relaxing, self.trial = self.waiting.pop(0)
        self.looks, self.best, self.best_dual, self.best_at = 0, np.inf, -np.inf, self.iteration  # of it on target
        self._restart(start)

    def _restart(self, start: Start) -> None:
        if self.log:
            self.products += self.state.products
            self._keep()
            self.state.leave()
        with np.errstate(all="ignore"):
            self.state = self.solver.start(self.task, start)
        self.saved, self.last_dual = self.state.save(), -np.inf
        self.iteration += not (self.state.broken or self.state.finished)

    def _handover(self) -> Start:
        f, g = self.state.task.potentials(self.state.alpha, self.state.beta)
        return replace(self.first, f=f, g=g, omega=self.state.omega, fast=self.state.fast)

    def _keep(self) -> None:
        """The best potentials seen, before the state that holds them goes."""
        if self.kept is not None:
            self.state.restore(self.kept)
            self.kept, self.kept_before = None, self.state.potentials()

    def _observe(self) -> Measure | None:
        """Measure the state, undo a step that did harm, translate the potentials, write the history."""
        state = self.state
        found = state.measure()
        if np.isnan(found.residual):
            state.restore(self.saved)
            state.broken = True
            return None
        if max(state.omega) > 1 and found.dual < self.last_dual - 1e-12 * abs(self.last_dual):
            state.restore(self.saved)  # over-relaxation went too far
            state.omega = damped(state.omega)
            found = state.measure()
        found = self._translate(found)
        self.last_dual, self.scale = (found.dual if self.on_target else -np.inf), found.mass
        self.aim = found.aim(self.tol) if self.on_target else self.tol
        self.log.append(self._entry(found))
        self.looks += self.on_target
        if self.relaxing or self.limits.adaptive:
            self._adapt_relaxation()
        return found

    def _entry(self, found: Measure) -> Entry:
        products = self.products + self.state.products
        return Entry(self.iteration, found.residual, found.dual, found.epsilon, self.seconds, self.method, products)

    def _adapt_relaxation(self) -> None:
        """Relax by what the rate of convergence asks for, once it has settled since the last change."""
        looks = [(entry.iteration, entry.residual) for entry in self.log[-3:]]
        if len(looks) == 3 and self.on_target and looks[0][0] >= self.adapted_at:
            omega = settled_relaxation(looks, self.state.omega[0], self.aim * self.scale)
            if omega > self.state.omega[0] + 0.01:
                self.state.omega, self.adapted_at = (omega, omega), self.iteration

    def _translate(self, found: Measure) -> Measure:
        """Translate the potentials if the dual gains by it; the plan stays."""
        state = self.state
        if isinstance(state.task.problem.rows, Fixed) and isinstance(state.task.problem.cols, Fixed):
            return found
        if state.steered:
            return found
        iterate = state.iterate()
        f, g = state.task.potentials(iterate.alpha, iterate.beta)
        with np.errstate(all="ignore"):  # extreme potentials: no translation is found
            t = translation(state.task.problem, f, g, NEGLIGIBLE * found.residual)
        if t == 0 or not np.isfinite(t):
            return found
        state.shift(t / state.task.problem.epsilon)
        moved = state.measure()
        if moved.dual >= found.dual:
            return moved
        state.shift(-t / state.task.problem.epsilon)  # at the optimum, where rounding decides
        return found

    def _stop(self, found: Measure) -> Outcome | None:
        limits = self.limits
        if limits.progress is not None:
            limits.progress(self.iteration, found)
        stopped = limits.callback is not None and limits.callback(self.iteration, found.residual)
        if self.on_target and found.meets(self.tol):
            outcome = self._converged()
            if outcome is not None:
                return outcome
        if stopped:
            return self._outcome(Status.STOPPED)
        if self.iteration >= limits.max_iter:
            return self._given_up(Status.MAX_ITER)
        if self._late():
            return self._outcome(Status.TIME_LIMIT)
        if found.mass > 0:
            self.carried = self.iteration
        elif self.iteration - self.carried >= LOST:
            return self._outcome(Status.NUMERICAL)
        if self.iteration >= self.suspect:
            self.suspect = 2 * self.iteration
            if self._crowded() is not None:
                return self._given_up(Status.STALLED)
        if self.state.exhausted or (self.on_target and self._stalled(found)):
            rounding = found.residual <= RESIDUAL_ROUNDING * found.mass
            if rounding or not self.waiting or self._blocked() is not None:
                return self._given_up(Status.STALLED)
            self._give_way()
        return None

    def _give_way(self) -> None:
        """To the next method, which starts where this one stands, or afresh after `relaxing` sweeps and a `trial`."""
        self.state.broken = self.relaxing or self.trial
        self.state.finished = not self.state.broken

    def _crowded(self) -> Blocked | None:
        return crowded(self.task.problem, *self.state.task.potentials(self.state.alpha, self.state.beta))

    def _blocked(self) -> Blocked | None:
        if not may_be_blocked(self.task.problem) or (self.iteration < SURE and not self.state.exhausted):
            return None
        return self._crowded() or blocked(self.task.problem)

    def _given_up(self, status: Status) -> Outcome:
        """The outcome of a solve that does not arrive, which the mask may be to blame for."""
        found = self._blocked()
        outcome = self._outcome(status)
        return outcome if outcome.status is Status.CONVERGED else replace(outcome, blocked=found)

    def _stalled(self, found: Measure) -> bool:
        """True if neither the residual fell nor the dual rose for long: rounding is all that is left."""
        rise = RISE * max(abs(found.dual), found.epsilon * found.mass)
        if found.residual < 0.99 * self.best or found.dual > self.best_dual + rise:
            self.best, self.best_dual = min(found.residual, self.best), max(found.dual, self.best_dual)
            self.best_at = self.iteration
        return self.iteration - self.best_at > max(SWEEP_PATIENCE, self.iteration // 2)

    def _converged(self) -> Outcome | None:
        """The outcome, if the potentials to be returned meet the tolerance; else changes what must change to go on."""
        if max(self.state.omega) > 1:
            self.state.omega = (1.0, 1.0)  # the last update must be an exact one
            return None
        if self.state.close():
            return None
        outcome = self._outcome(Status.CONVERGED)
        if outcome.measure.meets(self.limits.tol):
            return outcome
        if outcome.measure.reaches(self.limits.tol):  # and comes no nearer than rounding
            return replace(outcome, status=Status.STALLED)
        if self.retries == RETRIES:
            return self._outcome(Status.STALLED)
        if self.iteration >= self.limits.max_iter:
            return self._outcome(Status.MAX_ITER)
        if self.state.overlooked(outcome.measure):
            return None
        nearer = outcome.measure.residual < 0.5 * self.certified
        self.certified = min(self.certified, outcome.measure.residual)
        if nearer and self.state.refine():
            return None
        self.retries += 1
        self.tol *= 0.5
        if self.state.fast:  # single-precision arithmetic was too coarse
            self._restart(replace(self.first, f=outcome.f, g=outcome.g, omega=self.state.omega, fast=False))
        return None

    def _block(self) -> int:
        """Iterations until the next look: when the residual should meet the tolerance, and never for long.

        Without a time limit this depends on nothing but the problem, so that solves are reproducible.
        """
        limits, problem = self.limits, self.task.problem
        met = self.on_target and bool(self.log) and self.log[-1].residual <= self.aim * self.scale
        if limits.callback is not None or met:
            return 1
        count = min(self._predicted(), LONGEST_BLOCK, int(BLOCK_ENTRIES / problem.cost.work))
        if not (isinstance(problem.rows, Fixed) and isinstance(problem.cols, Fixed)):
            count = min(count, TRANSLATED_BLOCK)
        if limits.time_limit is not None:
            count = min(count, int((limits.time_limit - self.seconds) * self.iteration / self.seconds))
        return max(1, min(count, limits.max_iter - self.iteration))

    def _slow(self) -> bool:
        """True if, at the rate of the last looks, the method needs more iterations than its patience.

        The last one, after which nothing is left to try, is looked at for longer. Residuals of over-relaxed sweeps go
        up and down: more looks tell their rate, and where there is none yet they are not judged.
        """
        enough = 2 if self.trial else LOOKS if self.waiting else LAST_LOOKS
        if not np.isfinite(self.patience) or self.looks < enough:
            return False
        needed = self._needed(LOOKS if self.relaxing else 2)
        return self.patience < needed and not (self.relaxing and needed == np.inf)

    def _needed(self, looks: int = 2) -> float:
        """Iterations to the tolerance at the rate of the last looks; inf if it is not known."""
        if len(self.log) < looks or not self.on_target:
            return np.inf
        (before, high), (now, low) = ((self.log[k].iteration, self.log[k].residual) for k in (-looks, -1))
        target = self.aim * self.scale
        if not (now > before and 0 < low < high and 0 < target < low):
            return np.inf
        return float((now - before) * np.log(low / target) / np.log(high / low))

    def _predicted(self) -> int:
        """Iterations to the next look: until the tolerance should be met, at most as many as were done."""
        return int(min(np.ceil(self._needed()), self.iteration))

    def _outcome(self, status: Status) -> Outcome:
        """Certify the current iterate, or the best one seen if that is better: marginals are computed anew."""
        f, g = self.state.potentials()
        if not self.on_target:  # rows that are exact at a larger epsilon overflow at the one asked for
            with np.errstate(all="ignore"):
                iterate = LogDomain().start(self.task, replace(self.first, f=f, g=g, fast=False)).iterate()
            f, g = self.task.potentials(iterate.alpha, iterate.beta)
        if not self.ranks.all(all((x < np.inf).all() for x in (f, g))):  # the method broke down before it had any
            f, g = self._begun()
        found = self._certified(f, g)
        if status is not Status.CONVERGED and not found[-1].relative_residual <= self.least:
            self._keep()
            other = self._certified(*self.kept_before) if self.kept_before is not None else found
            if not other[-1].relative_residual >= found[-1].relative_residual:
                found = other
        f, g, rows, cols, certified = found
        if (
            not np.isfinite(certified.residual)
            or max(self.ranks.max(rows), cols.max()) > self.task.problem.cost.largest_number
        ):
            status = Status.NUMERICAL  # the plan overflows
        elif status is Status.STALLED and certified.mass == 0:
            status = Status.NUMERICAL  # or has vanished
        elif status is not Status.STOPPED and certified.settles(self.limits.tol):
            status = Status.CONVERGED
        remark = self.state.remark
        if self.on_target and self.log:  # the last entry is what the verdict rests on
            self.log[-1] = self._entry(certified)
        return Outcome(f, g, rows, cols, certified, status, self.iteration, self.method, self._history(), remark=remark)

    def _begun(self) -> tuple[Vector, Vector]:
        """Potentials after one iteration in the log domain."""
        with np.errstate(all="ignore"):
            iterate = LogDomain().start(self.task, replace(self.first, fast=False)).iterate()
        f, g = self.task.potentials(iterate.alpha, iterate.beta)
        return f, g

    def _certified(self, f: Vector, g: Vector) -> tuple[Vector, Vector, Vector, Vector, Measure]:
        return certify(self.task, *centred(self.task.problem, self.first, f, g))

    def _history(self) -> History:
        return history_of(self.log, self.task.problem.reference_mass)
