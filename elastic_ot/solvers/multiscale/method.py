"""Multiscale solves: Newton steps at every level, over pairs of blocks that may carry mass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ...problems.penalty import Vector
from ...problems.scaled import Task
from ..log_domain import initial_alphas
from ..newton.method import Newton
from ..newton.stages import iterate
from ..newton.state import Stage
from ..state import Start, State
from .levels import Levels
from .state import LEFT_SHARE, LIST_AT_MOST, NOISY, TRIM, MultiscaleState

SWEEPS = 2  # at a level before Newton steps, and before pairs with little mass are left out


@dataclass(frozen=True)
class Multiscale:
    """From few points at a large epsilon to all points, each level from where the one above ended.

    Attributes
    ----------
    level_tol : float
        A level above the target ends at this residual, relative to the mass.
    steps : int
        Newton steps a level at most, above the target.
    newton : Newton
        The parameters of its steps.
    """

    level_tol: float = 3e-3
    steps: int = 20
    newton: Newton = field(default_factory=lambda: Newton(level_tol=0.0, steps=1000))

    def start(self, task: Task, start: Start) -> State:
        levels, warm = Levels(task), start.g is not None
        number = levels.count - 1 if warm else 0
        level = levels.level(number)
        first = initial_alphas(level.task, start if warm else replace(start, f=None, g=None))
        state = MultiscaleState(level.task, *first, "rows", (1.0, 1.0), start.fast, start.fast)
        state.target, state.tol, state.deadline, state.wanted_end = task, start.tol, start.deadline, start.end
        state.single = start.fast
        state.levels, state.level, state.number, state.damping = levels, level, number, self.newton.damping
        f, g = level.task.potentials(*first)
        self._enter(state, f, g, whole=not warm or start.f is None)
        return state

    def step(self, state: State, count: int) -> int:
        """One iteration, whatever count allows: each may change how the next one reads the plan."""
        assert isinstance(state, MultiscaleState)
        closing = state.stage is Stage.CLOSE
        state.end = "cols" if closing else "rows"
        if not state.on_target and state.stage is Stage.LOOK and (state.leaving or self._done(state)):
            if not state.prepared():  # a part of the way, so that clocks are looked at in between
                return 0
            found = state.measure()
            self._enter(state, *state.descend(), mass=found.mass / state.task.problem.mass)
            return 1
        if state.stage is Stage.LOOK:
            self._adjust(state)
        iterate(self.newton, state)
        if state.on_target and not closing:
            state.note_progress()
        return 1

    def _adjust(self, state: MultiscaleState) -> None:
        """Change what is read, and how finely, before the next step is decided."""
        goal = self._goal(state)
        if state.sweeps == SWEEPS and state.steps == 0 and not state.trimmed:
            state.trim(TRIM * goal)
        if state.too_coarse():
            state.tighten()
        if state.drifted():
            state.relist(LEFT_SHARE * min(goal, LIST_AT_MOST))
        if state.fast and state.stage is Stage.LOOK and state.noisy(goal):
            found = state.measure()
            if found.residual <= NOISY * state.pruned.single_rounding * found.mass:
                state.in_double()

    def _done(self, state: MultiscaleState) -> bool:
        found = state.measure()
        return found.residual <= self._goal(state) * found.mass or state.steps >= self.steps

    def _goal(self, state: MultiscaleState) -> float:
        """The residual that ends the level, relative to the mass."""
        if state.on_target:
            return state.list_tol
        if state.level.epsilon > state.target.problem.epsilon:
            return self.level_tol
        return min(self.level_tol, max(state.tol, 1e-4))

    def _enter(self, state: MultiscaleState, f: Vector, g: Vector, mass: float = 1.0, whole: bool = False) -> None:
        """Go to the level of the state with these potentials: list what matters, and let the rows answer."""
        state.enter(state.level, f, g)
        state.pruned.reading.mass = mass
        if not whole:
            state.search(LEFT_SHARE * min(self._goal(state), LIST_AT_MOST))
        state.sweep((1.0, 0.0))
        state.sweeps = 1
