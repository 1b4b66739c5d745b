"""Interleaved timing: of iterations in this process, of whole solves in workers with a time limit."""

import math
import statistics
import time
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection

from problems import Array, Problem, Spec, marginal_error, plan_distance
from solvers import Run, Setup

FEW = 10
STEPS = 7
SETTLE = 0.05  # seconds between solvers: the idle threads of the last one's pool spin for up to 30 ms


@dataclass(frozen=True)
class Contender:
    """A solver as it enters a comparison.

    ``span`` is the number of iterations over which one iteration is timed: a multiple of 10, the period of
    the peers' convergence tests.
    """

    name: str
    setup: Setup
    span: int = 40


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
class Task:
    """One timed solve; ``reference``: the potentials to compare with where the error is a plan distance."""

    spec: Spec
    threshold: float
    max_iter: int
    reference: tuple[Array, Array] | None = None
    return_potentials: bool = False


@dataclass(frozen=True)
class Outcome:
    """``error`` is the L1 marginal error, or the distance from the plan of ``Task.reference`` where given."""

    seconds: float
    iterations: int
    converged: bool
    error: float
    potentials: tuple[Array, Array] | None = None


class Worker:
    """A process that solves with one contender, ended and replaced when it runs past the time limit."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._setup), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, task: Task, time_limit: float) -> Outcome | str:
        """The outcome, or the reason why there is none."""
        self._connection.send(task)
        failure = f"no answer within {time_limit:.0f} s"
        if self._connection.poll(time_limit):
            try:
                reply: Outcome | str = self._connection.recv()
                return reply
            except EOFError:
                failure = "the process died"
        self.close()
        self._start()
        return failure

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


class Workers:
    """One worker a contender, started when it is first asked; all of them end with the ``with`` block."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers.values():
            worker.close()

    def ask(self, contender: Contender, task: Task, time_limit: float) -> Outcome | str:
        if contender.name not in self._workers:
            self._workers[contender.name] = Worker(contender.setup)
        return self._workers[contender.name].ask(task, time_limit)


def _serve(connection: Connection, setup: Setup) -> None:
    """Answer tasks until the parent ends the process; a prepared run is kept from one task to the next."""
    prepared: tuple[Spec, int] | None = None
    while True:
        task: Task = connection.recv()
        try:
            if prepared != (task.spec, task.max_iter):
                problem = task.spec.build()
                run = setup(problem, task.max_iter)
                prepared = (task.spec, task.max_iter)
            connection.send(_solve(problem, run, task))
        except Exception as error:
            prepared = None
            connection.send(f"{type(error).__name__}: {error}")


def _solve(problem: Problem, run: Run, task: Task) -> Outcome:
    time.sleep(SETTLE)
    start = time.perf_counter()
    answer = run(task.threshold)
    plan = answer.plan()
    seconds = time.perf_counter() - start
    if task.reference is None:
        error = marginal_error(problem, plan)
    else:
        error = plan_distance(problem, plan, *task.reference)
    potentials = answer.potentials if task.return_potentials else None
    return Outcome(seconds, answer.iterations, answer.converged, error, potentials)


@dataclass(frozen=True)
class Effort:
    """The accuracy to reach, and how long to try; ``rounds`` repeat what took well under the limit."""

    accuracy: float
    max_iter: int
    rounds: int
    time_limit: float


@dataclass(frozen=True)
class Solve:
    """One contender on one problem: a threshold that just met the accuracy, and its time there.

    ``failure`` says why there is no time to compare; ``outcome`` is then the last answer, if there was any.
    """

    name: str
    threshold: float
    seconds: float
    outcome: Outcome | None
    failure: str | None


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
    return [
        Solve(contender.name, task.threshold, _seconds(samples[contender.name], outcome), outcome, failure)
        for contender, (task, outcome, failure) in zip(contenders, found, strict=True)
    ]


def _seconds(samples: list[float], outcome: Outcome | None) -> float:
    if samples:
        return statistics.median(samples)
    return outcome.seconds if outcome is not None else math.nan


def _tighten(
    contender: Contender, task: Task, effort: Effort, workers: Workers
) -> tuple[Task, Outcome | None, str | None]:
    """Lower the threshold until the answer is as accurate as wanted, or until that cannot help.

    Starts from the accuracy itself and each time divides by the factor that the error missed it by.
    """
    outcome = None
    for _ in range(STEPS):
        if outcome is not None:
            missed = min(max(1.1 * outcome.error / effort.accuracy, 2.0), 100.0)
            task = replace(task, threshold=task.threshold / missed)
        answer = workers.ask(contender, task, effort.time_limit)
        if isinstance(answer, str):
            return task, outcome, answer
        outcome = answer
        if outcome.error <= effort.accuracy:
            return task, outcome, None
        if not math.isfinite(outcome.error):
            return task, outcome, "plan not finite"
        if outcome.iterations >= task.max_iter:
            return task, outcome, f"stopped at {task.max_iter} iterations"
        if not outcome.converged:
            return task, outcome, "gave up"
    return task, outcome, "accuracy not met at any threshold"
