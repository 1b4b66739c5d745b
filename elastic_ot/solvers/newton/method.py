"""The record of hyper-parameters, and the calls that the driver makes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import krylov
from ..annealing import EARLY_TOL, begin, descend, first_level
from ..light import weighty
from ..local import column_response, local, slope_along, smooth_change
from ..log_domain import initial_alphas
from ..measure import Measure
from ..passes import KernelPasses, LogPasses, SupportPasses, attained, top_k_system
from ..state import Start, State
from ..task import Task
from .state import RADIUS, NewtonState, Step, kernel_passes

STORED = 4_000_000  # entries up to which early levels keep a kernel; above it memory decides, and they use log sweeps
FINE = 1e-5  # residual below which a float32 kernel is too coarse, if the tolerance asks for less
COARSE = 1e-3  # residual of a warm start above which float32 serves for now
LEVEL_TOL, LEVEL_MARGIN = 1e-3, 3.0  # tolerance and nats for the cells of one level above the target
NEAR, LAST_MARGIN = 3.0, 1.0  # nats by which potentials may still move on target, at first and once it is nearly met
UNEVEN = 0.5  # nats by which a column may be off where a level ends
LINEAR = 1.5  # of what the quadratic model promises, which is half of the slope: so much more comes of no curvature
SHORTEST = 1e-3  # of a Newton step that is still tried before a sweep is
IDLE = 8  # iterations on target without progress after which rounding is all that is left
PATIENCE = 300  # the same, while the dual still rises
RISE = 1e-12  # of the dual, relative: progress where the residual is on a plateau
NOTHING = 1e-290  # mass of a row, in units of the whole, that links no columns: its inverse must not overflow
SLACK = 3e-14  # of the terms of the dual, relative: rounding


@dataclass(frozen=True)
class Newton:
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

    level_tol: float = 5e-4
    swept_tol: float = 0.05
    sweeps: int = 2
    patience: int = 6
    steps: int = 20
    forcing: float = 0.2
    drop: float = 1e-2
    damping: float = 0.1
    top_k: int | None = None

    def start(self, task: Task, start: Start) -> State:
        level, warm = first_level(task, start), start.g is not None
        scratch = task.backend.scratch(task.problem.shape, not warm, brief=True)
        state = NewtonState(level, *initial_alphas(level, start), "rows", (1.0, 1.0), not warm, scratch)
        state.wanted_end, state.damping = start.end, self.damping
        stored = task.cost.size < STORED or level is task
        begin(state, start, task, kernel_passes(task, exact=warm) if stored else LogPasses())
        if warm and state.measure().residual > COARSE * state.measure().mass:
            state.passes.exact, state.fast = False, True
            state.scratch = task.backend.scratch(task.problem.shape, True, brief=True)
        return state

    def step(self, state: State, count: int) -> int:
        assert isinstance(state, NewtonState)
        if state.closing:
            state.closing, state.end = False, "cols"
            state.sweep((1.0, 1.0))
            return 1
        state.end = "rows"
        done = self._iterate(state)  # one, whatever count allows: each may change how the next one reads the plan
        if state.on_target:
            self._note_progress(state)
        return done

    def _iterate(self, state: NewtonState) -> int:
        """One iteration: a sweep, the first one of a level, or a Newton step under trial."""
        if state.trial is not None:
            return self._try(state, state.trial)
        if state.stale:
            state.stale = False
            state.sweep((1.0, 1.0))
            return 1
        outdated = not state.trusted() or (state.on_target and not state.passes.stored)
        if outdated and (state.on_target or state.steps < self.steps):
            self._renew(state)
            state.steps += not state.on_target
            return 1
        found = state.measure()
        steered = state.passes.stored
        small = found.residual <= (self.level_tol if steered else self.swept_tol) * found.mass
        uneven = small and steered and not state.on_target and _unevenness(state) > UNEVEN
        if not state.on_target and not small and not steered and state.sweeps == self.sweeps:
            state.truncate(LEVEL_TOL, margin=LEVEL_MARGIN)
            if state.passes.truncated:
                state.visiting = state.stale = True
                return self._iterate(state)
        tired = state.steps >= self.steps if steered else state.sweeps >= self.patience
        if not state.on_target and ((small and not uneven) or tired):
            self._descend(state)
            return 1
        if state.sweeps < self.sweeps or not steered:
            state.sweep((1.0, 1.0))
            state.sweeps += 1
            return 1
        if state.on_target and not state.passes.exact and state.aim < 1e-6 and found.residual < FINE * found.mass:
            state.refine()
            return self._iterate(state)
        if state.on_target and not state.passes.exact and small:
            state.truncate(margin=LAST_MARGIN)
            if state.passes.truncated:
                state.stale = True
                return self._iterate(state)
        step = self._newton_step(state)
        if step is None:
            state.sweep((1.0, 1.0))
            state.steps += 1
            return 1
        return self._try(state, step)

    def _descend(self, state: NewtonState) -> None:
        """The next level, further away the easier this one was; its first iteration."""
        factor = 4.0 if state.steps <= 1 else 3.0 if state.steps <= 2 else 2.0
        if state.visiting:
            state.visiting, state.passes = False, LogPasses()
            state.sweep((1.0, 1.0))
        if not state.passes.truncated:
            state.truncate(EARLY_TOL)
        arrived = descend(state, factor)
        state.steps, state.damping, state.stretch = 0, self.damping, 1.0
        state.passes.change_epsilon()
        state.sweep((1.0, 0.0))
        state.sweeps = 1
        if arrived and not state.passes.truncated:
            state.truncate(margin=NEAR)  # here the potentials hardly move any more
            state.stale = state.passes.truncated
        if arrived and not state.passes.stored:
            state.passes = kernel_passes(state.task, exact=False)

    def _renew(self, state: NewtonState) -> None:
        """Choose the cells anew from a sweep over the full cost."""
        state.passes, state.visiting = LogPasses(), False
        state.sweep((1.0, 0.0))
        state.truncate(0.0 if state.on_target else EARLY_TOL, margin=NEAR)
        if not state.passes.truncated and (state.on_target or state.task.cost.size < STORED):
            state.passes = kernel_passes(state.task, exact=False)
        state.stale = state.passes.truncated

    def _newton_step(self, state: NewtonState) -> Step | None:
        """The step to try; None where the direction does not ascend."""
        task, found = state.task, state.measure()
        r, c = attained(state)
        rows = local(task, "rows", state.alpha, np.zeros_like(r))
        response = column_response(task, state.beta, state.log_col)
        cols = local(task, "cols", state.beta, response)
        stiffness = r + rows.curvature
        row_weight = np.divide(1.0, stiffness, out=np.zeros_like(r), where=rows.free & (stiffness > NOTHING))
        diagonal = c + cols.curvature
        inside = cols.free & weighty(task.cols, state.aim)
        rhs = np.where(inside, diagonal * response, 0.0)
        if rows.rigid and cols.rigid:  # (1, -1) changes nothing: S is singular along it
            rhs -= np.where(inside, diagonal, 0.0) * (rhs.sum() / diagonal[inside].sum())
        size = float(np.abs(rhs).sum())
        if not 0 < size < np.inf:
            return None
        residual = min(1.0, found.relative_residual)
        assert isinstance(state.passes, KernelPasses | SupportPasses)
        damped = (1.0 + state.damping * residual) * diagonal
        if self.top_k is not None:
            system = top_k_system(state, row_weight, damped, inside, self.top_k)
        else:
            system = state.passes.system(state, row_weight, damped, inside, self.drop * residual)
        goal = self._forcing(state, residual) * size
        x, products = krylov.solve(system, rhs, goal, state.radius, state.expired)
        state.products += products
        # those outside move as in a sweep: in the system their hundreds of nats would shorten the step
        x = state.stretch * np.where(inside, x, response)
        slope = slope_along(task, state.beta, c, smooth_change(task, state.beta, cols, x))
        return Step(state.save(), found, x, cols, slope) if 0 < slope < np.inf else None

    def _forcing(self, state: NewtonState, residual: float) -> float:
        """How accurately to solve: as the progress of the last step suggests, and no more than the tolerance needs.

        As in Eisenstat and Walker (1996), choice 2. A step that the nonlinearity limits, and not the linear system,
        wants no accurate solution.
        """
        progress = min(1.0, residual / state.residual_before) if state.residual_before > 0 else 1.0
        state.residual_before = residual
        wanted = min(self.forcing, 0.5 * progress**1.5)
        return float(max(wanted, 0.3 * state.aim / residual)) if residual > 0 else wanted

    def _try(self, state: NewtonState, step: Step) -> int:
        """A pass at a share t of the step: keep it if the dual rises, else try a quarter, in the end a sweep.

        A support tells nothing of a step that leads where other entries matter; the full cost does.
        """
        state.restore(step.saved)
        state.beta += smooth_change(state.task, state.beta, step.cols, step.t * step.x)
        state.sweep((1.0, 0.0))
        outside = not state.trusted()
        if outside:
            self._renew(state)
        found = state.measure()
        nats = 1.0 + max(float(np.abs(x[np.isfinite(x)]).max(initial=0.0)) for x in (state.alpha, state.beta))
        slack = SLACK * max(abs(step.found.dual), found.epsilon * found.mass * nats)
        if found.dual >= step.found.dual + 1e-4 * step.t * step.slope - slack:
            state.trial = None
            state.steps += 1
            self._adapt_damping(state, step, found)
            return 1
        shorter = replace(step, t=0.25 * step.t)
        state.restore(step.saved)
        state.known = step.found
        if outside:  # the step began on a support that may have promised too much: measured again
            self._renew(state)
            state.stale = False
            shorter = replace(shorter, saved=state.save(), found=state.measure())
        state.damping *= 4.0
        if shorter.t < SHORTEST:
            state.trial, state.sweeps = None, 0
            state.steps += 1
        else:
            state.trial = shorter
        return 1

    def _adapt_damping(self, state: NewtonState, step: Step, found: Measure) -> None:
        """More damping where the dual rose by much less than the model promised, less where it kept its promise.

        At the end of a step as long as allowed the dual may rise as it did at the beginning, where parts of the problem
        are linked by nothing yet: the next one goes further.
        """
        if step.t < 1.0:
            state.radius, state.stretch = max(RADIUS, 0.25 * state.radius), 1.0
            return
        gain = (found.dual - step.found.dual) / (0.5 * step.slope)
        far = float(np.abs(step.x).max()) >= 0.99 * state.radius
        if far and gain > 0.7:
            state.radius *= 4.0
            return
        stuck = found.residual > 0.9 * step.found.residual
        state.stretch = 4.0 * state.stretch if stuck and gain > LINEAR else 1.0
        if stuck and gain > 0.7:
            state.damping *= 0.25
            return
        factor = 2.0 if gain < 0.4 or (far and stuck) else 0.5 if gain > 0.7 else 1.0
        state.damping = max(self.damping, factor * state.damping)

    def _note_progress(self, state: NewtonState) -> None:
        """Remember the best iterate; when nothing moves any more, put it back or compute more finely."""
        if not state.trusted():
            return  # what its support tells of it may be far too good
        found = state.measure()
        rise = RISE * max(abs(found.dual), found.epsilon * found.mass)
        state.waited = 0 if found.residual < 0.9 * state.mark else state.waited + 1
        if found.residual < 0.9 * state.mark or found.dual > state.best_dual + rise:
            state.idle, state.mark = 0, min(found.residual, state.mark)
        else:
            state.idle += 1
        state.best_dual = max(state.best_dual, found.dual)
        if found.residual < state.best:
            state.best, state.best_vectors = found.residual, state.save()
        spent = state.idle > IDLE or state.waited > PATIENCE
        if spent and not (not state.passes.exact and state.refine()) and state.best_vectors is not None:
            state.restore(state.best_vectors)
            state.exhausted = True


def _unevenness(state: NewtonState) -> float:
    """Nats by which the next update moves columns that matter to the tolerance: light ones hardly change a residual."""
    task = state.task
    response = column_response(task, state.beta, state.log_col)
    return float(np.abs(response[weighty(task.cols, state.tol)]).max(initial=0.0))
