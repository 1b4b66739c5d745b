"""The package beside a prototype of its Newton method, in one process, on the problems that the prototype names.

A prototype is a file newton.py with ``problem(kind, n)``, which returns a cost with maximum 1, and
``solve(cost, a, b, epsilon, tol)``, which returns balanced potentials with respect to the counting reference.
"""

import importlib
import math
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from problems import Problem, marginal_error
from solvers import Answer, Run, elastic
from workers import SETTLE

MAX_ITER = 100_000


@dataclass(frozen=True)
class Duel:
    """Median seconds without the plan, and L1 errors, of ``auto`` and of the prototype at the same tolerance."""

    case: str
    seconds: float
    error: float
    prototype_seconds: float
    prototype_error: float

    @property
    def ratio(self) -> float:
        return self.seconds / self.prototype_seconds


def load(folder: Path) -> ModuleType:
    sys.path.insert(0, str(folder))
    return importlib.import_module("newton")


def duel(newton: ModuleType, kind: str, n: int, epsilon: float, accuracy: float, rounds: int) -> Duel:
    """Rounds of both in turn, after one untimed solve each."""
    weights = np.full(n, 1 / n)
    problem = Problem(newton.problem(kind, n), weights, weights.copy(), epsilon, math.inf, math.inf)
    runs = [elastic(problem, MAX_ITER, "auto"), _prototype(newton, problem)]
    errors = [marginal_error(problem, run(accuracy).plan()) for run in runs]
    samples: list[list[float]] = [[], []]
    for _ in range(rounds):
        for run, seconds in zip(runs, samples, strict=True):
            time.sleep(SETTLE)
            start = time.perf_counter()
            run(accuracy)
            seconds.append(time.perf_counter() - start)
    ours, theirs = (statistics.median(seconds) for seconds in samples)
    return Duel(f"{kind}, n = {n}, epsilon {epsilon:g}", ours, errors[0], theirs, errors[1])


def _prototype(newton: ModuleType, problem: Problem) -> Run:
    def run(threshold: float | None) -> Answer:
        f, g, counts = newton.solve(problem.cost, problem.a, problem.b, problem.epsilon, threshold)
        return Answer(lambda: np.exp((f[:, None] + g[None] - problem.cost) / problem.epsilon), counts["passes"], True)

    return run
