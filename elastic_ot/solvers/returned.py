"""What a solve returns: potentials in their gauge, with their own marginals and their measure."""

from __future__ import annotations

import numpy as np

from ..problems.penalties import Fixed
from ..problems.penalty import Vector
from ..problems.problem import Problem
from ..problems.scaled import Task
from .measure import Iterate, Measure, measure_final
from .state import Start


def certify(task: Task, f: Vector, g: Vector) -> tuple[Vector, Vector, Vector, Vector, Measure]:
    """The potentials as they are returned, their own marginals and their measure."""
    rows, cols = np.empty_like(f), np.empty_like(g)
    f, g = (np.where(x < np.inf, x, 0.0) for x in (f, g))  # numbers, whatever broke down
    alpha, beta = task.alphas(f, g)
    f, g = task.potentials(alpha, beta)  # a free side's potential is 0, however the solve ended
    alpha, beta = task.alphas(f, g)
    left_out = task.plan.marginals(alpha, beta, rows, cols)
    with np.errstate(divide="ignore", over="ignore"):
        found = measure_final(task, Iterate(alpha, beta, np.log(rows), np.log(cols)), left_out)
        return f, g, task.problem.mass * rows, task.problem.mass * cols, found


def centred(problem: Problem, start: Start, f: Vector, g: Vector) -> tuple[Vector, Vector]:
    """The potentials in the gauge of `Start`, where two fixed sides leave a translation open."""
    if not (isinstance(problem.rows, Fixed) and isinstance(problem.cols, Fixed)):
        return f, g
    shift = _mean(problem.a, f) if start.transposed else -_mean(problem.b, g)
    return f - shift, g + shift


def _mean(weights: Vector, potential: Vector) -> float:
    used = np.isfinite(potential)
    return float(weights[used] @ potential[used]) / float(weights[used].sum())
