"""Solvers of assignment problems, behind one call, and in a child process where it may take long."""

import importlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .assignment_problems import Matrix
from .peers import lapx, pot, scipy
from .workers import Failure

Pairs = tuple[NDArray[np.integer], NDArray[np.integer]]
STARTING_LIMIT = 120.0  # seconds for a child process to start, and to hand over an answer
STOPPED = "stopped"


@dataclass(frozen=True)
class AssignmentSolver:
    """``solve`` is timed; ``pairs`` then reads the matched rows and columns off what it returned."""

    name: str
    solve: Callable[[Matrix], Any]
    pairs: Callable[[Any], Pairs]


@dataclass(frozen=True)
class Matching:
    """``answer`` is what elastic_ot returned; of the others it would be as large as the cost."""

    seconds: float
    pairs: Pairs
    answer: Any = None


def elastic_ot(cost: Matrix) -> Any:
    import elastic_ot as eot

    return eot.assign(cost)


OURS = AssignmentSolver("elastic_ot", elastic_ot, tuple)
SCIPY = AssignmentSolver("SciPy", scipy.assignment, tuple)
LAPJV = AssignmentSolver("lapx lapjv", lapx.lapjv, lambda answer: (np.arange(answer[1].size), answer[1]))
# Of lapx's other single-matrix solvers the fastest on every family at n = 1000, together with its twin lapjvh.
LAPJVR = AssignmentSolver("lapx lapjvr", lapx.lapjvr, lambda answer: (answer[1], answer[2]))
EMD = AssignmentSolver("POT emd", pot.emd, lambda plan: (np.arange(plan.shape[0]), plan.argmax(axis=1)))
SOLVERS = (OURS, SCIPY, LAPJV, LAPJVR, EMD)


def small() -> int:
    """Rows or columns below which elastic_ot calls SciPy."""
    return int(_engine().SMALL)


def _engine() -> Any:
    return importlib.import_module("elastic_ot.api.assign")


@contextmanager
def own_engine_only() -> Iterator[None]:
    """elastic_ot solves small problems itself, too."""
    module = _engine()
    before = module.SMALL
    module.SMALL = 0
    try:
        yield
    finally:
        module.SMALL = before


def run(solver: AssignmentSolver, cost: Matrix) -> Matching:
    start = time.perf_counter()
    answer = solver.solve(cost)
    seconds = time.perf_counter() - start
    return Matching(seconds, solver.pairs(answer), answer if solver is OURS else None)


def run_limited(solver: AssignmentSolver, cost: Matrix, limit: float) -> Matching | Failure:
    """In a forked process, which reads this one's cost without a copy and is killed at the limit.

    Not for elastic_ot, whose threads a fork does not survive.
    """
    context = get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, solver, cost), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(STARTING_LIMIT) or ours.recv() is not None:
            return Failure("no start")
        if not ours.poll(limit):
            return Failure(STOPPED, limit)
        seconds: float | Failure = ours.recv()
        if isinstance(seconds, Failure):
            return seconds
        return Matching(seconds, ours.recv()) if ours.poll(STARTING_LIMIT) else Failure("no answer")
    except (EOFError, OSError):
        return Failure("the process died")
    finally:
        process.kill()
        process.join()
        ours.close()


def _serve(connection: Connection, solver: AssignmentSolver, cost: Matrix) -> None:
    """Send None before the solve, then its seconds or a failure, then the pairs."""
    try:
        connection.send(None)
        start = time.perf_counter()
        answer = solver.solve(cost)
        connection.send(time.perf_counter() - start)
        connection.send(solver.pairs(answer))
    except Exception as error:
        connection.send(failure_of(error))


def failure_of(error: Exception) -> Failure:
    return Failure(f"{type(error).__name__}: {error}", math.nan)
