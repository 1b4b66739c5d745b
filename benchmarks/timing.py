"""Interleaved timing: of iterations in this process, of whole solves in workers with a time limit."""

import math
import statistics
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from problems import Array, Problem, Spec
from solvers import Run
from workers import SETTLE, Contender, Failure, Outcome, Task, Workers

FEW = 10
STEPS = 7
NOT_FINITE, NOT_MET = "plan not finite", "accuracy not met at any threshold"


@dataclass(frozen=True)
class Iteration:
    """Seconds a full iteration: the median over rounds, and the fastest and the slowest round."""

    name: str
    median: float
    fastest: float
    slowest: float


def time_iterations(problem: Problem, contenders: list[Contender], rounds: int) -> list[Iteration]:
    """Every round times every contender over few and over many iterations; the difference counts.

    An untimed run before the two brings the contender's own data and threads back.
    """
    runs = {c.name: (c.setup(problem, FEW), c.setup(problem, FEW + c.span)) for c in contenders}
    for few, _ in runs.values():
        few(None)
    span = {c.name: c.span for c in contenders}
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (few, many) in runs.items():
            time.sleep(SETTLE)
            few(None)
            (short, done_short), (long, done_long) = stopwatch(few), stopwatch(many)
            if (done_short, done_long) != (FEW, FEW + span[name]):
                raise RuntimeError(f"{name} stopped after {done_short} and {done_long} iterations")
            samples[name].append((long - short) / span[name])
    return [Iteration(name, statistics.median(s), min(s), max(s)) for name, s in samples.items()]


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
    """One contender on one problem: a threshold that just met the accuracy, and its time there.

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
    def remark(self) -> str:
        if self.failure is None:
            return ""
        claimed = self.outcome is not None and self.outcome.converged
        return self.failure + (", while reporting success" if claimed else "")


def figures_of(spec: Spec, solves: list[Solve]) -> dict[str, Any]:
    rows = [{**asdict(solve), "remark": solve.remark} for solve in solves]
    for row in rows:
        if row["outcome"]:
            del row["outcome"]["potentials"]
    return {"problem": asdict(spec), "solves": rows}


def time_solves(
    spec: Spec,
    contenders: list[Contender],
    effort: Effort,
    workers: Workers,
    reference: tuple[Array, Array] | None = None,
) -> list[Solve]:
    """Find the threshold that each contender needs, then time in rounds those that have one.

    A contender whose first answer took more than a tenth of the time limit is not repeated.
    """
    found = []
    for contender in contenders:
        task = Task(spec, effort.accuracy, effort.max_iter, reference)
        found.append(_tighten(contender, task, effort, workers))
    samples: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(effort.rounds):
        for contender, (task, outcome, failure) in zip(contenders, found, strict=True):
            if failure is None and outcome is not None and outcome.seconds < effort.time_limit / 10:
                again = workers.ask(contender, task, effort.time_limit)
                if isinstance(again, Outcome):
                    samples[contender.name].append(again.seconds)
    solves = []
    for contender, (task, outcome, failure) in zip(contenders, found, strict=True):
        if failure is not None:
            solve = Solve(contender.name, task.threshold, math.nan, outcome, failure.reason, failure.at_least)
        else:
            seconds = samples[contender.name] or [outcome.seconds if outcome is not None else math.nan]
            solve = Solve(contender.name, task.threshold, statistics.median(seconds), outcome)
        solves.append(solve)
    return solves


def _tighten(
    contender: Contender, task: Task, effort: Effort, workers: Workers
) -> tuple[Task, Outcome | None, Failure | None]:
    """Lower the threshold until the answer is as accurate as wanted, or until that cannot help.

    Starts from the accuracy itself and each time divides by the factor that the error missed it by.
    """
    outcome, spent = None, 0.0
    for _ in range(STEPS):
        if outcome is not None:
            missed = min(max(1.1 * outcome.error / effort.accuracy, 2.0), contender.stride)
            task = replace(task, threshold=task.threshold / missed)
        answer = workers.ask(contender, task, effort.time_limit)
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
