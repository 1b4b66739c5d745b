"""Interleaved timing: of calls and iterations in this process, of whole solves in workers with a time limit."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from .problems import Array, Problem, Spec
from .report import Time
from .solvers import Run, Solver
from .workers import SETTLE, Failure, Outcome, Task, Workers

FEW = 10
STEPS = 7
NOT_FINITE, NOT_MET = "plan not finite", "accuracy not met at any threshold"
NOT_TRIED = "not tried"


def time_calls(
    calls: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of every call, in turn; an untimed one before each brings its data back into the caches."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            start = clock()
            call()
            samples[name].append(clock() - start)
    return {name: statistics.median(seconds) for name, seconds in samples.items()}


def time_iterations(problem: Problem, solvers: list[Solver], rounds: int) -> dict[str, float]:
    """Seconds of a full iteration of every solver: medians over rounds.

    Every round times every solver over few and over many iterations; the difference counts. An untimed run before the
    two brings the solver's own data and threads back.
    """
    runs = {c.name: (c.setup(problem, FEW), c.setup(problem, FEW + c.span)) for c in solvers}
    for few, _ in runs.values():
        few(None)
    span = {c.name: c.span for c in solvers}
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (few, many) in runs.items():
            time.sleep(SETTLE)
            few(None)
            (short, done_short), (long, done_long) = stopwatch(few), stopwatch(many)
            if (done_short, done_long) != (FEW, FEW + span[name]):
                raise RuntimeError(f"{name} stopped after {done_short} and {done_long} iterations")
            samples[name].append((long - short) / span[name])
    return {name: statistics.median(seconds) for name, seconds in samples.items()}


def stopwatch(run: Run) -> tuple[float, int]:
    start = time.perf_counter()
    answer = run(None)
    return time.perf_counter() - start, answer.iterations


@dataclass(frozen=True)
class Effort:
    """The accuracy to reach, and how long to try; ``rounds`` repeat what took well under the limit.

    ``time_limit`` is for a run, ``search_limit`` for all runs together that look for the threshold.
    """

    accuracy: float
    max_iter: int
    rounds: int
    time_limit: float
    search_limit: float = math.inf


@dataclass(frozen=True)
class Solve:
    """One solver on one problem: a threshold that just met the accuracy, and its time there.

    Without a time to compare, ``seconds`` is nan, ``failure`` says why, ``at_least`` is the time that an answer
    would have taken at least (nan if unknown) and ``outcome`` is the last one, if there was any.
    """

    name: str
    threshold: float
    seconds: float
    outcome: Outcome | None
    failure: str | None = None
    at_least: float = math.nan

    @property
    def time(self) -> Time:
        """What is stored and shown; docs/benchmarks.rst explains the words."""
        if self.failure is None or math.isfinite(self.at_least):
            return Time(self.seconds, self.at_least)
        if self.outcome is None:
            return Time(verdict=NOT_TRIED if self.failure == NOT_TRIED else "failed")
        wrong = self.outcome.converged and self.failure in (NOT_MET, NOT_FINITE)
        return Time(verdict=f"{'wrong' if wrong else 'gave up'}, error {self.outcome.error:.0e}")


def time_solves(
    spec: Spec, solvers: list[Solver], effort: Effort, workers: Workers, reference: tuple[Array, Array] | None = None
) -> list[Solve]:
    """Find the threshold that each solver needs, then time in rounds those that have one.

    A solver whose first answer took more than a tenth of the time limit is not repeated.
    """
    found = []
    for solver in solvers:
        task = Task(spec, effort.accuracy, effort.max_iter, reference)
        found.append(_tighten(solver, task, effort, workers))
    samples: dict[str, list[float]] = {solver.name: [] for solver in solvers}
    for _ in range(effort.rounds):
        for solver, (task, outcome, failure) in zip(solvers, found, strict=True):
            if failure is None and outcome is not None and outcome.seconds < effort.time_limit / 10:
                again = workers.ask(solver, task, effort.time_limit)
                if isinstance(again, Outcome):
                    samples[solver.name].append(again.seconds)
    solves = []
    for solver, (task, outcome, failure) in zip(solvers, found, strict=True):
        if failure is not None:
            solve = Solve(solver.name, task.threshold, math.nan, outcome, failure.reason, failure.at_least)
        else:
            seconds = samples[solver.name] or [outcome.seconds if outcome is not None else math.nan]
            solve = Solve(solver.name, task.threshold, statistics.median(seconds), outcome)
        solves.append(solve)
    return solves


def _tighten(
    solver: Solver, task: Task, effort: Effort, workers: Workers
) -> tuple[Task, Outcome | None, Failure | None]:
    """Lower the threshold until the answer is as accurate as wanted, or until that cannot help.

    Starts from the accuracy itself and each time divides by the factor that the error missed it by.
    """
    outcome, spent = None, 0.0
    for _ in range(STEPS):
        if outcome is not None:
            missed = min(max(1.1 * outcome.error / effort.accuracy, 2.0), solver.stride)
            task = replace(task, threshold=task.threshold / missed)
        answer = workers.ask(solver, task, effort.time_limit)
        if isinstance(answer, Failure):
            return task, outcome, answer
        outcome = answer
        spent += outcome.seconds
        if outcome.error <= effort.accuracy:
            return task, outcome, None
        if not math.isfinite(outcome.error):
            return task, outcome, Failure(NOT_FINITE)
        if outcome.iterations >= task.max_iter:
            return task, outcome, Failure(f"stopped at {task.max_iter} iterations", outcome.seconds)
        if not outcome.converged:
            return task, outcome, Failure("gave up")
        if spent > effort.search_limit:
            return task, outcome, Failure(f"accuracy not met within {effort.search_limit:.3g} s", outcome.seconds)
    return task, outcome, Failure(NOT_MET)
