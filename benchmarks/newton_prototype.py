"""The package beside a prototype of its Newton method, in one process, on the problems that the prototype names.

A prototype is a file newton.py with ``problem(kind, n)``, which returns a cost with maximum 1, and
``solve(cost, a, b, epsilon, tol)``, which returns balanced potentials with respect to the counting reference.
"""

import importlib.util
import math
import statistics
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from . import elastic
from .problems import Problem, marginal_error
from .solvers import Answer, Run
from .workers import SETTLE

MAX_ITER = 100_000


def load(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("newton", folder / "newton.py")
    assert spec is not None
    assert spec.loader is not None
    newton = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(newton)
    return newton


def measure(newton: ModuleType, kind: str, n: int, epsilon: float, accuracy: float, rounds: int) -> dict[str, Any]:
    """Median seconds without the plan, and L1 errors, of ``auto`` and of the prototype at the same tolerance.

    Rounds of both in turn, after one untimed solve each.
    """
    weights = np.full(n, 1 / n)
    problem = Problem(newton.problem(kind, n), weights, weights.copy(), epsilon, math.inf, math.inf)
    runs = [elastic.solve(problem, MAX_ITER, "auto"), _prototype(newton, problem)]
    errors = [marginal_error(problem, run(accuracy).plan()) for run in runs]
    samples: list[list[float]] = [[], []]
    for _ in range(rounds):
        for run, seconds in zip(runs, samples, strict=True):
            time.sleep(SETTLE)
            start = time.perf_counter()
            run(accuracy)
            seconds.append(time.perf_counter() - start)
    ours, theirs = (statistics.median(seconds) for seconds in samples)
    return {
        "case": f"{kind}, n = {n}, epsilon {epsilon:g}",
        "seconds": ours,
        "error": errors[0],
        "prototype_seconds": theirs,
        "prototype_error": errors[1],
    }


def _prototype(newton: ModuleType, problem: Problem) -> Run:
    def run(threshold: float | None) -> Answer:
        f, g, counts = newton.solve(problem.cost, problem.a, problem.b, problem.epsilon, threshold)
        return Answer(lambda: np.exp((f[:, None] + g[None] - problem.cost) / problem.epsilon), counts["passes"], True)

    return run
