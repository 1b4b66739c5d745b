"""Potentials near those of the exact problem: annealed entropic ones, most of the way on a part of the cost.

None of this has to be accurate, and nothing that follows depends on it but the time it takes. So it is not run by the
driver, which would measure and certify every level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Graph
from ...backends.updates import update_change
from ...costs.dense import DenseCost
from ...problems.penalty import Vector
from ...problems.problem import Problem
from ...problems.scaled import make_task
from ..log_domain import initial_alphas
from ..log_domain import sweep as log_sweep
from ..state import Start, State

STRIDE = 8  # one row and one column in so many make the first part
LEAST_PART = 48  # rows and columns a part must have
SWEEP = tuple[float, float]
Pause = Callable[[], object]


@dataclass(frozen=True)
class Levels:
    """Values of epsilon, relative to the span of the costs: from `first` down to `last`, each divided by `factor`.

    A level has `sweeps` iterations, fewer if its column marginals come within `enough` of the weights before.
    """

    first: float
    last: float
    factor: float
    sweeps: int
    enough: float

    def below(self, level: float, ratio: float) -> Levels:
        """The same from the first level below `level` to `level / ratio`."""
        return replace(self, first=level / self.factor, last=level / ratio)

    def epsilons(self, span: float) -> list[float]:
        steps = int(np.ceil(np.log(self.first / self.last) / np.log(self.factor) - 1e-9))
        return [span * max(self.first * self.factor**-k, self.last) for k in range(steps + 1)]


PART_LEVELS = Levels(0.1, 1e-2, 3.0, 8, 0.05)
STRIP_LEVELS = Levels(1e-2, 1e-2, 3.0, 2, 0.0)
FULL_LEVELS = Levels(1e-2, 3e-3, 3.0, 4, 0.05)
CORE_LEVELS = Levels(1e-3, 1e-5, 4.0, 5, 0.05)
CORE_RATIO = 256.0


def potentials(problem: Problem, span: float, pause: Pause) -> Vector:
    """Potentials of the columns at `FULL_LEVELS.last`, where a few cells a row carry the mass.

    `pause` is called between iterations and may raise.
    """
    strip = _strip(problem)
    if strip is None:
        return anneal(problem, replace(FULL_LEVELS, first=PART_LEVELS.first), span, None, pause)
    f, _ = _run(_columns_of(strip), PART_LEVELS, span, pause)
    _, g = _run(strip, STRIP_LEVELS, span, pause, f=f)
    del strip
    return anneal(problem, FULL_LEVELS, span, g, pause)


def anneal(problem: Problem, levels: Levels, span: float, g: Vector | None, pause: Pause) -> Vector:
    """Potentials of the columns after these levels on the whole cost."""
    return _run(problem, levels, span, pause, g=g)[1]


def refine(problem: Problem, graph: Graph, span: float, g: Vector, level: float, pause: Pause) -> Vector:
    """From the level reached further down, on the cells of the graph only; as far as these keep the mass."""
    backend = problem.cost.plan(1.0).backend
    support = backend.support_of(graph.pointers, graph.heads, graph.cost, problem.shape[1])

    def sweep(state: State, omega: SWEEP, count: int) -> bool:
        task = state.task
        return backend.support_sweeps(support, task.inv_epsilon, task.rows, task.cols, omega, *state.vectors, count)

    return _run(problem, CORE_LEVELS.below(level, CORE_RATIO), span, pause, g=g, sweep=sweep)[1]


def _run(
    problem: Problem,
    levels: Levels,
    span: float,
    pause: Pause,
    f: Vector | None = None,
    g: Vector | None = None,
    sweep: Callable[[State, SWEEP, int], bool] | None = None,
) -> tuple[Vector, Vector]:
    """Potentials after these levels; those from before the level on which a sweep failed."""
    scratch = problem.cost.plan(1.0).scratch(True) if sweep is None else None
    found = np.zeros(problem.shape[0]) if f is None else f, np.zeros(problem.shape[1]) if g is None else g
    for epsilon in levels.epsilons(span) if span > 0 else []:
        task = make_task(problem.at(epsilon))
        state = State(
            task, *initial_alphas(task, Start(f, g, "cols", (1.0, 1.0), True)), "cols", (1.0, 1.0), True, scratch
        )
        for k in range(levels.sweeps):
            pause()
            omega = (0.0, 0.0) if k == 0 and f is not None else (1.0, 0.0 if k == 0 else 1.0)
            if sweep is None:
                log_sweep(state, omega, 1)
            elif not sweep(state, omega, 1):
                return found
            if np.abs(np.exp(state.log_col) - task.cols.weight).sum() < levels.enough:
                break
        _update_columns(state)
        found = task.potentials(state.alpha, state.beta)
        f, g = None, found[1]
    return found


def _update_columns(state: State) -> None:
    """The half of an iteration that reads no cost."""
    state.beta += update_change(state.task.cols, 1.0, state.beta, state.log_col, state.task.backend.potential)


def _strip(problem: Problem) -> Problem | None:
    """Some of the rows with all columns, copied; None if those are too few or have no mass, or cells are forbidden."""
    n, m = problem.shape
    if min(n, m) < STRIDE * LEAST_PART or problem.cost.masked:
        return None
    if problem.a[::STRIDE].sum() == 0 or problem.b[::STRIDE].sum() == 0:
        return None
    return _part(problem, problem.cost.rows(np.arange(0, n, STRIDE)), problem.a[::STRIDE], problem.b)


def _columns_of(strip: Problem) -> Problem:
    matrix = np.ascontiguousarray(strip.cost.as_matrix()[:, ::STRIDE])
    return _part(strip, matrix, strip.a, strip.b[::STRIDE])


def _part(problem: Problem, matrix: NDArray[np.floating], a: Vector, b: Vector) -> Problem:
    """A problem of the same proportions: b keeps its ratio to a."""
    ratio = float(problem.b.sum()) / problem.mass
    cost = DenseCost(matrix, problem.cost.lowest, problem.cost.highest)
    return Problem(cost, a, b * (ratio * a.sum() / b.sum()), 1.0, problem.rows, problem.cols, problem.reference)
