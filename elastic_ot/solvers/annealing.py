"""Epsilon-scaling: solve loosely at a large epsilon, follow the potentials down to the epsilon asked for.

Potentials are continued as linear functions of epsilon, which is to say that potentials in units of epsilon are linear
in 1 / epsilon. As soon as few cells carry mass, levels run on those alone. Annealing is a warm start (Schmitzer 2019)
and never changes the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..problems.penalty import Vector
from ..problems.scaled import Task, make_task
from .log_domain import first_sweep, initial_alphas
from .measure import Measure, measure
from .passes import KEPT, LogPasses, Passes, support_of
from .state import Start, State

TRUST = 10  # iterations between looks at whether the cells left out still do not matter
EARLY_TOL = 1e-8  # for which cells are chosen before the target is near: the smaller it is, the more they are
FIRST_LEVEL = 0.05  # epsilon of the first level, of the range of the cost; measured: larger ones save nothing


@dataclass(eq=False)
class AnnealedState(State):
    """A state at some level on the way to `target`, read through `passes`."""

    target: Task = field(init=False)
    passes: Passes = field(init=False)
    tol: float = field(init=False)
    deadline: float = math.inf
    sweeps: int = 1
    """Iterations done at this level."""
    before: tuple[float, Vector, Vector] | None = None
    """(epsilon, f, g) where the previous level ended."""
    known: Measure | None = None
    """The measure of the state, once it was asked for."""
    whole: bool = False
    """No cells are left out any more: some rows or columns carry less than the sums of a few cells can hold."""

    @property
    def on_target(self) -> bool:
        return self.task is self.target

    @property
    def aim(self) -> float:
        """The residual that the tolerance asks for, relative to the mass."""
        return self.measure().aim(self.tol) if self.on_target else self.tol

    def measure(self) -> Measure:
        if self.known is None:
            self.known = measure(self.task, self.iterate())
        return self.known

    def sweep(self, omega: tuple[float, float], count: int = 1) -> None:
        """Iterations through the passes; a support that has lost a row or column is given up."""
        saved = self.save()
        self.known = None
        if not self.passes.sweep(self, omega, count):
            self.restore(saved)
            self.passes, self.whole = self.full_passes(), True
            self.passes.sweep(self, (1.0, 0.0))

    def trusted(self) -> bool:
        """False if the cells left out may by now carry more than a tenth of the residual."""
        if not self.passes.truncated:
            return True
        found = self.measure()
        return self.passes.left_out(self, self.aim) <= max(0.1 * found.relative_residual, KEPT * self.aim)

    def full_passes(self) -> Passes:
        """Passes that leave no cell out, in double precision."""
        self.scratch, self.fast = self.task.plan.scratch(False, brief=True), False
        return LogPasses(exact=True)

    def refine(self) -> bool:
        """A sweep over the full cost, and a support chosen anew from what it shows."""
        if not self.passes.truncated:
            return False
        self.known, self.passes = None, self.full_passes()
        self.passes.sweep(self, (1.0, 0.0))
        self.truncate(margin=0.0)
        return True

    def truncate(self, tol: float = 0.0, **options: float) -> None:
        """From here on only the cells that carry mass to a tolerance, of `tol` if that is larger, if they are few."""
        if self.whole:
            return
        with np.errstate(divide="ignore"):  # a row or column may have lost all its mass
            build = support_of(self, max(self.aim, tol), **options)
        if build is not None:
            self.passes = LogPasses()  # lets go of a kernel before the cells are stored
            self.passes = build()

    def shift(self, t: float) -> None:
        super().shift(t)
        self.known = None

    def restore(self, saved: tuple[Vector, ...]) -> None:
        super().restore(saved)
        self.known = None


def begin(state: AnnealedState, start: Start, target: Task, passes: Passes) -> None:
    """Fields that every annealed solve needs, and the first iteration."""
    state.target, state.passes, state.tol, state.deadline = target, passes, start.tol, start.deadline
    first_sweep(state)


def first_level(task: Task, start: Start) -> Task:
    """The task at the first epsilon: the target itself after a warm start, or where annealing does not pay."""
    problem = task.problem
    epsilon = FIRST_LEVEL * (problem.cost.highest - problem.cost.lowest)
    if start.g is not None or epsilon < 1.5 * problem.epsilon:
        return task
    return make_task(problem.at(epsilon))


def descend(state: AnnealedState, factor: float) -> bool:
    """To the next level, with continued potentials whose marginals are not known yet; true if it is the target."""
    here, target = state.task.problem.epsilon, state.target.problem.epsilon
    f, g = state.task.potentials(state.alpha, state.beta)
    below = here / factor
    if below < 1.5 * target:
        below = target
    guess_f, guess_g = f, g
    if state.before is not None:
        weight = (below - here) / (here - state.before[0])
        guess_f, guess_g = _continued(f, state.before[1], weight), _continued(g, state.before[2], weight)
    state.before, state.known, state.sweeps = (here, f, g), None, 0
    state.task = state.target if below == target else make_task(state.target.problem.at(below))
    state.alpha[:], state.beta[:] = state.task.alphas(guess_f, guess_g)
    return below == target


def _continued(f: Vector, before: Vector, weight: float) -> Vector:
    removed = np.isneginf(f)
    return np.where(removed, f, f + weight * (f - np.where(removed, 0.0, before)))


@dataclass(frozen=True)
class EpsilonScaling:
    """Annealing by sweeps alone.

    If the cells that carry mass are few at the target, it converges there itself; otherwise it finishes with
    potentials for the target, which another method then solves.

    Attributes
    ----------
    sweeps : int
        Iterations a level at most.
    level_tol : float
        A level ends early at this residual, relative to the mass.
    factors : tuple of float
        Ratio of epsilon to the next level after a level of at most 2, at most 4, and more iterations.
    """

    sweeps: int = 8
    level_tol: float = 0.05
    factors: tuple[float, float, float] = (4.0, 3.0, 2.0)

    def start(self, task: Task, start: Start) -> State:
        level = first_level(task, start)
        scratch = task.plan.scratch(start.fast)
        state = AnnealedState(level, *initial_alphas(level, start), start.end, start.omega, start.fast, scratch)
        if level is task:
            state.finished = True
        else:
            begin(state, start, task, LogPasses())
        return state

    def step(self, state: State, count: int) -> int:
        assert isinstance(state, AnnealedState)
        if state.on_target:
            if not state.trusted():
                state.refine()
                return 1
            state.sweep(state.omega, min(count, TRUST))
            return min(count, TRUST)
        found = state.measure()
        if state.sweeps < self.sweeps and found.residual > self.level_tol * found.mass:
            count = max(1, min(count, self.sweeps - state.sweeps))
            state.sweep((1.0, 1.0), count)
            state.sweeps += count
            return count
        factor = self.factors[0 if state.sweeps <= 2 else 1 if state.sweeps <= 4 else 2]
        if not state.passes.truncated:
            state.truncate(EARLY_TOL)
        arrived = descend(state, factor)
        if arrived and not state.passes.truncated:
            state.finished = True
            return 0
        state.sweep((1.0, 0.0))
        state.sweeps = 1
        return 1
