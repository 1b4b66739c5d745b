"""Worker processes, one a solver, that solve under a time limit."""

import math
import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from .problems import Array, Problem, Spec, marginal_error, plan_distance
from .solvers import Run, Setup, Solver

SETTLE = 0.05  # seconds between solvers: the idle threads of the last one's pool spin for up to 30 ms
UNTIMED_LIMIT = 120.0  # seconds for what is not timed: imports, building the problem, compiling, measuring the error


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


@dataclass(frozen=True)
class Failure:
    """Why there is no answer, and the seconds that one would have taken at least."""

    reason: str
    at_least: float = math.nan


class Worker:
    """A process that solves with one solver, ended and replaced when it runs past the time limit."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: BaseProcess | None = None

    def ask(self, task: Task, time_limit: float) -> Outcome | Failure:
        """Solve; only the solve itself counts against the limit."""
        if self._process is None:
            self._start()
        try:
            self._connection.send(task)
            for limit, failure in (
                (UNTIMED_LIMIT, Failure("no set-up in time")),
                (time_limit, Failure(f"no answer within {time_limit:.3g} s", time_limit)),
                (UNTIMED_LIMIT, Failure("no error in time")),
            ):
                if not self._connection.poll(limit):
                    self.close()
                    return failure
                message: Outcome | Failure | None = self._connection.recv()
                if message is not None:
                    return message
        except (EOFError, OSError):
            pass
        self.close()
        return Failure("the process died")

    def _start(self) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._setup), daemon=True)
        self._process.start()
        theirs.close()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None


class Workers:
    """One worker a solver, started when it is first asked; all of them end with the ``with`` block."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End them all; who is asked again starts anew."""
        for worker in self._workers.values():
            worker.close()

    def ask(self, solver: Solver, task: Task, time_limit: float) -> Outcome | Failure:
        if solver.name not in self._workers:
            self._workers[solver.name] = Worker(solver.setup)
        return self._workers[solver.name].ask(task, time_limit)


def _serve(connection: Connection, setup: Setup) -> None:
    """Answer tasks until the parent ends the process; a prepared run is kept from one task to the next.

    An answer is None when all is set up, None when the solve is done, then the outcome; or a failure at any time.
    """
    prepared: tuple[Spec, int] | None = None
    while True:
        task: Task = connection.recv()
        try:
            if prepared != (task.spec, task.max_iter):
                problem = task.spec.build()
                run = setup(problem, task.max_iter)
                prepared = (task.spec, task.max_iter)
            time.sleep(SETTLE)
            connection.send(None)
            connection.send(_solve(connection, problem, run, task))
        except Exception as error:
            prepared = None
            connection.send(Failure(f"{type(error).__name__}: {error}"))


def _solve(connection: Connection, problem: Problem, run: Run, task: Task) -> Outcome:
    start = time.perf_counter()
    answer = run(task.threshold)
    plan = answer.plan()
    seconds = time.perf_counter() - start
    connection.send(None)
    if task.reference is None:
        error = marginal_error(problem, plan)
    else:
        error = plan_distance(problem, plan, *task.reference)
    potentials = answer.potentials if task.return_potentials else None
    return Outcome(seconds, answer.iterations, answer.converged, error, potentials)
