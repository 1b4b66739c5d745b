"""Epsilon-scaling: solve loosely at a large epsilon, follow the potentials down to the epsilon asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..penalties import Vector
from .log_domain import first_sweep, initial_alphas, sweep
from .measure import measure
from .state import Start, State
from .task import Task, make_task


@dataclass(eq=False)
class AnnealedState(State):
    """A state at some level above the target."""

    target: Task = field(init=False)
    sweeps: int = 1
    """Iterations done at this level."""
    before: tuple[float, Vector, Vector] | None = None
    """(epsilon, f, g) where the previous level ended."""


@dataclass(frozen=True)
class EpsilonScaling:
    """Geometric levels in the log domain; finishes with potentials for the target, which another method then solves.

    Annealing is a warm start (Schmitzer 2019): it saves iterations where epsilon is far below the range of the cost
    and never changes the answer.

    Attributes
    ----------
    factor : float
        Ratio of epsilon between levels.
    sweeps : int
        Iterations a level at most.
    level_tol : float
        A level ends early at this residual, relative to the mass.
    """

    factor: float = 2.0
    sweeps: int = 8
    level_tol: float = 0.05

    def start(self, task: Task, start: Start) -> State:
        epsilon = task.problem.epsilon
        first = 0.25 * (task.problem.cost.highest - task.problem.cost.lowest)
        if start.g is not None or first < 1.5 * epsilon:
            first = epsilon
        level = task if first == epsilon else make_task(task.problem.at(first), task.backend)
        scratch = task.backend.scratch(task.problem.shape, task.cost.dtype, start.fast)
        state = AnnealedState(level, *initial_alphas(level, start), start.end, start.omega, start.fast, scratch)
        state.target, state.finished = task, level is task
        if not state.finished:
            first_sweep(state)
        return state

    def step(self, state: State, count: int) -> int:
        assert isinstance(state, AnnealedState)
        level = measure(state.task, state.iterate())
        if state.sweeps >= self.sweeps or level.residual <= self.level_tol * level.mass:
            self._descend(state)
            if state.finished:
                return 0
            first_sweep(state)
            state.sweeps = 1
            return 1
        count = max(1, min(count, self.sweeps - state.sweeps))
        sweep(state, (1.0, 1.0), count)
        state.sweeps += count
        return count

    def _descend(self, state: AnnealedState) -> None:
        """Next level, potentials continued as linear functions of epsilon; their marginals are not known yet."""
        here, target = state.task.problem.epsilon, state.target.problem.epsilon
        f, g = state.task.potentials(state.alpha, state.beta)
        below = here / self.factor
        if below < 1.5 * target:
            below = target
        guess_f, guess_g = f, g
        if state.before is not None:
            weight = (below - here) / (here - state.before[0])
            guess_f, guess_g = _continued(f, state.before[1], weight), _continued(g, state.before[2], weight)
        state.before = here, f, g
        state.finished = below == target
        state.task = state.target if state.finished else make_task(state.target.problem.at(below), state.target.backend)
        state.alpha[:], state.beta[:] = state.task.alphas(guess_f, guess_g)


def _continued(f: Vector, before: Vector, weight: float) -> Vector:
    removed = np.isneginf(f)
    return np.where(removed, f, f + weight * (f - np.where(removed, 0.0, before)))
