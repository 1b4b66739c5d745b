"""Sinkhorn's iteration in the log domain: any epsilon, no n x m memory, one exponential an entry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..problems.penalty import Vector
from ..problems.scaled import Task
from .state import Start, State


@dataclass(frozen=True)
class LogDomain:
    """Fused log-domain sweeps (Peyré and Cuturi, *Computational Optimal Transport*, 2019, section 4.4)."""

    def start(self, task: Task, start: Start) -> State:
        state = State(
            task, *initial_alphas(task, start), start.end, start.omega, start.fast, _scratch(task, start.fast)
        )
        first_sweep(state)
        return state

    def step(self, state: State, count: int) -> int:
        sweep(state, state.omega, count)
        return count


def initial_alphas(task: Task, start: Start) -> tuple[Vector, Vector]:
    """Kernel potentials to begin with; without f, such that no entry of the plan exceeds 1. The sweep does the rest."""
    n, m = task.problem.shape
    g = np.zeros(m) if start.g is None else start.g
    if start.f is not None:
        return task.alphas(start.f, g)
    alpha, beta = task.alphas(np.zeros(n), g)
    return np.where(np.isneginf(alpha), -np.inf, task.problem.cost.lowest * task.inv_epsilon - beta.max()), beta


def first_sweep(state: State) -> None:
    """A row update and its column sums; the columns stay, because no column sums are known before."""
    sweep(state, (1.0, 0.0), 1)


def sweep(state: State, omega: tuple[float, float], count: int) -> None:
    task = state.task
    state.cols_updated = omega[1] != 0
    task.plan.sweep(omega, state.vectors, state.scratch, count)


def _scratch(task: Task, fast: bool) -> object:
    return task.plan.scratch(fast)
