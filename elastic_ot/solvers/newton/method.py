"""The record of hyper-parameters, and the calls that the driver makes."""

from __future__ import annotations

from dataclasses import dataclass

from ...problems.scaled import Task
from ..annealing import begin, first_level
from ..log_domain import initial_alphas
from ..passes import LogPasses
from ..state import Start, State
from .parameters import Parameters
from .stages import iterate
from .state import NewtonState, Stage, kernel_is_small, kernel_passes

COARSE = 1e-3  # residual of a warm start above which float32 serves for now


@dataclass(frozen=True)
class Newton(Parameters):
    """Annealed sweeps, then truncated Newton steps on the plan's sparse or dense support, at every level.

    Attributes
    ----------
    level_tol : float
        A level above the target ends at this residual, relative to the mass: where masses that matter at the next level
        are right.
    swept_tol : float
        The same for a level where the plan is too large to be stored, and there are only sweeps.
    sweeps : int
        Iterations before Newton steps at a level.
    patience : int
        Iterations a level at most where the plan is too large to be stored, above the target.
    steps : int
        Newton steps a level at most, above the target.
    forcing : float
        Linear systems are solved at least to this share of their right side.
    drop : float
        Share of the residual that the entries left out of Newton's matrix may carry, of every row's and column's mass;
        its diagonals are those of the whole plan.
    damping : float
        Share of its diagonal, times the residual, added to Newton's matrix (Levenberg, Marquardt); more after a step
        that failed. It tames directions between clusters that hardly any mass links, and leaves the limit quadratic.
    top_k : int, optional
        Keep so many entries of every row instead, the largest ones, as Tang, Shavlovsky et al. (2024) do. On smooth
        costs, where many entries of a row matter, convergence then is slow.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> cost = np.random.default_rng(0).random((50, 50))
    >>> eot.solve(cost, epsilon=0.01, method=eot.Newton(top_k=10)).converged
    True
    """

    def start(self, task: Task, start: Start) -> State:
        level, warm = first_level(task, start), start.g is not None
        scratch = task.plan.scratch(not warm, brief=True)
        state = NewtonState(level, *initial_alphas(level, start), "rows", (1.0, 1.0), not warm, scratch)
        state.wanted_end, state.damping = start.end, self.damping
        stored = kernel_is_small(task) or level is task
        begin(state, start, task, kernel_passes(task, exact=warm) if stored else LogPasses())
        if warm and state.measure().residual > COARSE * state.measure().mass:
            state.passes.exact, state.fast = False, True
            state.scratch = task.plan.scratch(True, brief=True)
        return state

    def step(self, state: State, count: int) -> int:
        """One iteration, whatever count allows: each may change how the next one reads the plan."""
        assert isinstance(state, NewtonState)
        closing = state.stage is Stage.CLOSE
        state.end = "cols" if closing else "rows"
        iterate(self, state)
        if state.on_target and not closing:
            state.note_progress()
        return 1
