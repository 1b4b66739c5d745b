"""Matrix scaling on a stored kernel: classic, and stabilised by absorbing the potentials into it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..problems.penalty import Vector
from ..problems.scaled import Task
from .log_domain import first_sweep, initial_alphas, sweep
from .state import Start, State


@dataclass(eq=False)
class KernelState(State):
    """A state with the kernel exp(base_alpha_i + base_beta_j - cost_ij / epsilon) in memory: the one n x m array."""

    kernel: NDArray[np.floating] = field(init=False)
    base_alpha: Vector = field(init=False)
    base_beta: Vector = field(init=False)


@dataclass(frozen=True)
class Scaling:
    """The classic iteration u = a / (K v), v = b / (K^T u) (Sinkhorn 1967; Cuturi 2013).

    Gives up (`State.broken`) when the kernel or a scaling leaves the range of floating point; `Stabilized` does not.
    """

    def start(self, task: Task, start: Start) -> State:
        f = np.zeros(task.problem.shape[0]) if start.f is None else start.f
        g = np.zeros(task.problem.shape[1]) if start.g is None else start.g
        state = _kernel_state(task, start, *task.alphas(f, g))
        # the largest entry of the kernel is 1; removed rows and columns are 0
        level = float(task.cols.offset.max())
        state.base_alpha = np.where(task.problem.row_used, task.problem.cost.lowest * task.inv_epsilon - level, -np.inf)
        state.base_beta = np.where(task.problem.col_used, level, -np.inf)
        if start.f is None:
            state.alpha[:] = state.previous_alpha[:] = state.base_alpha
        _fill(state)
        done, _ = _scale(state, (1.0, 0.0), 1, 1e290)
        state.broken = not done
        return state

    def step(self, state: State, count: int) -> int:
        assert isinstance(state, KernelState)
        done, serves = _scale(state, state.omega, count, 1e290)
        state.broken = not serves
        return done


@dataclass(frozen=True)
class Stabilized:
    """Scaling whose kernel is rebuilt around the current potentials before a scaling grows too large.

    So the scalings stay near 1 and no epsilon underflows (Schmitzer 2019, absorption). Where the kernel has lost a
    whole row or column, one sweep in the log domain brings it back.

    Attributes
    ----------
    brief : bool
        A few iterations are expected: they run on threads only where a single one is worth waking them for.
    """

    brief: bool = False

    def start(self, task: Task, start: Start) -> State:
        state = _kernel_state(task, start, *initial_alphas(task, start), self.brief)
        first_sweep(state)
        _absorb(state)
        return state

    def step(self, state: State, count: int) -> int:
        assert isinstance(state, KernelState)
        # float32 entries vanish below 1e-38: a smaller limit keeps what is lost below 1e-22 of the mass
        limit = 1e8 if state.kernel.dtype == np.float32 else 1e50
        total = 0
        while total < count:
            done, serves = _scale(state, state.omega, count - total, limit)
            total += done
            if serves:
                continue
            if done == 0:
                sweep(state, state.omega, 1)
                total += 1
            _absorb(state)
        return total


def _kernel_state(task: Task, start: Start, alpha: Vector, beta: Vector, brief: bool = False) -> KernelState:
    scratch = task.plan.scratch(start.fast, brief=brief)
    state = KernelState(task, alpha, beta, start.end, start.omega, start.fast, scratch)
    state.kernel = task.problem.cost.empty(np.float32 if start.fast else np.float64)
    return state


def _absorb(state: KernelState) -> None:
    state.base_alpha, state.base_beta = state.alpha.copy(), state.beta.copy()
    _fill(state)


def _fill(state: KernelState) -> None:
    task = state.task
    task.plan.fill(state.base_alpha, state.base_beta, state.kernel, coarse=state.fast)


def _scale(state: KernelState, omega: tuple[float, float], count: int, limit: float) -> tuple[int, bool]:
    state.cols_updated = omega[1] != 0
    return state.task.backend.scaling_sweeps(
        state.kernel,
        state.base_alpha,
        state.base_beta,
        state.task.rows,
        state.task.cols,
        omega,
        *state.vectors,
        state.scratch,
        count,
        limit,
    )
