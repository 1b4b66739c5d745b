"""Many problems at once: rounds of sweeps over those that are not done, then the general solver for stragglers.

A round is one call of the backend, which stops every problem as soon as its residual meets its goal. What claims to be
done is certified: its marginals are computed anew in double precision and measured as for a single solve. A problem
that misses goes on with a smaller goal. With "auto", problems whose sweeps would take longer than a Newton method are
handed to the phases of a single solve.

Why not the driver's loop: every problem has a block of its own length, and what the driver decides by numbers is
decided here for all problems at once, by arrays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arrays.half import largest_number
from ...backends.protocol import Side
from ...problems.batch import BatchProblem
from ...problems.mixed import Mixed, pick
from ...problems.penalties import KL, Fixed, Free
from ...problems.penalty import Indices, Vector
from ..acceleration import balancing_shift, best_shift
from ..driver import NEGLIGIBLE, SWEEP_PATIENCE, Outcome
from ..measure import RISE
from ..status import Status
from .measure import fixed_sides, measure_batch
from .scaled import BatchTask, free_sides, scaled_potentials
from .state import BatchLimits, BatchState, longest_call, state_at, swept

FIRST_ROUND, LONGEST_ROUND, TRANSLATED_ROUND = 10, 640, 20
SEARCHED_ROUND, SEARCHED_AFTER = 80, 100  # where the best translation is searched for, and iterations before that pays
BATCH_RETRIES = 6  # times a problem's goal is lowered because what it returned missed the tolerance
FAR_START = (
    1e-3  # residual, as a share of the mass, above which potentials that sweeps have found are a worse start than none
)
PATIENT_ENTRIES = 1e7  # entries that sweeps may read before the general solver is the better choice: about 5 ms
LEAST_PATIENCE = 100


Single = Callable[[int, Vector | None, Vector | None, int], Outcome]
"""(problem, f, g, iterations left) -> the outcome of a solve of this problem alone."""


def run_batch(task: BatchTask, alpha: Vector, beta: Vector, limits: BatchLimits, single: Single | None) -> BatchState:
    """Every problem to its tolerance; stragglers by `single`, if it is given."""
    return _Rounds(task, alpha, beta, limits, single).run()


class _Rounds:
    """One solve of a batch."""

    def __init__(
        self, task: BatchTask, alpha: Vector, beta: Vector, limits: BatchLimits, single: Single | None
    ) -> None:
        self.began = time.perf_counter()
        self.task, self.limits, self.single = task, limits, single
        self.state = state_at(task, alpha, beta, Status.MAX_ITER)
        size = task.problem.size
        self.left: Indices = np.arange(size)
        self.goal = limits.tol * _masses(task.problem) / task.problem.mass
        self.retries = np.zeros(size, np.int64)
        self.double = np.full(size, not limits.fast)
        self.last, self.last_iter = np.full(size, np.inf), np.zeros(size, np.int64)
        self.best, self.best_iter = np.full(size, np.inf), np.zeros(size, np.int64)
        self.best_dual = np.full(size, -np.inf)
        self.rhos = _strengths(task.problem)
        penalties = task.problem.rows, task.problem.cols
        fixed, free = (all(isinstance(p, Fixed) for p in penalties), any(isinstance(p, Free) for p in penalties))
        self.rigid = fixed or free
        """Nothing is gained by a translation."""

    def run(self) -> BatchState:
        state, limits, count, cold = self.state, self.limits, FIRST_ROUND, self.limits.cold
        longest = LONGEST_ROUND if self.rigid else SEARCHED_ROUND if self.rhos is None else TRANSLATED_ROUND
        status = Status.MAX_ITER
        while self.left.size and self._rooms(self.left).max() > 0:
            found = self._swept(count, cold)
            seen = self.left[found < np.inf]
            state.residual[seen] = found[found < np.inf] * self.task.problem.mass[seen]
            self._certify(found)
            state.record(time.perf_counter() - self.began)
            status = _interruption(self.task, state, limits) or status
            if status is not Status.MAX_ITER:
                break
            if self._hand_over():
                state.record(time.perf_counter() - self.began)
            self._translate()
            count, cold = min(2 * count, longest), False
        if self.left.size:
            self._finish(self.left, status)
            state.record(time.perf_counter() - self.began)
        return state

    def _swept(self, count: int, cold: bool) -> Vector:
        """One round; every problem in the precision that it needs, whatever its neighbours need."""
        left, found = self.left, np.full(self.left.size, np.inf)
        rooms, double = self._rooms(left), self.double[left]
        for precision, mine in (("mixed", ~double), ("double", double)):
            where = np.flatnonzero(mine & (rooms > 0))
            if where.size:
                number = min(count, int(rooms[where].min()), longest_call(self.task))
                found[where] = swept(
                    self.task, self.state, left[where], self.goal, number, self.limits, precision, cold
                )
        return found

    def _rooms(self, which: Indices) -> Indices:
        """Iterations left to sweeps: the last of those that end on the rows is that of `_finish`."""
        limits = self.limits
        return np.asarray(limits.max_iter - self.state.n_iter[which] - ~limits.cols_last[which])

    def _certify(self, found: Vector) -> None:
        """Close the problems that meet the tolerance; lower the goal of those that only seemed to."""
        claimed = self.left[found <= self.goal[self.left]]
        if not claimed.size:
            return
        met = _noted(self.task, self.state, claimed, self.limits.tol)
        self.state.status[claimed[met]] = Status.CONVERGED
        missed = claimed[~met]
        self.goal[missed] *= 0.3
        self.retries[missed] += 1
        self.double[missed] |= self.retries[missed] >= 2
        self.left = np.setdiff1d(self.left, claimed[met], assume_unique=True)

    def _finish(self, which: Indices, status: Status) -> None:
        """Bring problems that are not done to the side that must be exact, and close them."""
        new = self.state.n_iter[which] == 0  # a round may have been stopped before their turn
        for some, cold in ((which[new], self.limits.cold), (which[~new & ~self.limits.cols_last[which]], False)):
            if some.size:
                swept(self.task, self.state, some, None, 1, self.limits, "double", cold)
        _close(self.task, self.state, which, self.limits, status)

    def _hand_over(self) -> bool:
        """Problems that sweeps are too slow for go to the general solver, one by one; without it they may stall.

        True if some went.
        """
        state, left = self.state, self.left
        if not left.size:
            return False
        now, then = state.residual[left], self.last[left]
        steps, target = state.n_iter[left] - self.last_iter[left], self.goal[left] * self.task.problem.mass[left]
        self.last[left], self.last_iter[left] = now, state.n_iter[left]
        better = now < 0.99 * self.best[left]
        self.best[left] = np.where(better, now, self.best[left])
        self.best_iter[left] = np.where(better, state.n_iter[left], self.best_iter[left])
        if self.single is None:
            waited = state.n_iter[left] - self.best_iter[left]
            waited_long = left[waited > np.maximum(SWEEP_PATIENCE, state.n_iter[left] // 2)]
            stalled = np.union1d(waited_long[~self._risen(waited_long)], left[self.retries[left] > BATCH_RETRIES])
            if stalled.size:
                self._finish(stalled, Status.STALLED)
                self.left = np.setdiff1d(left, stalled, assume_unique=True)
            return bool(stalled.size)
        with np.errstate(all="ignore"):
            needed = np.where(now < then, steps * np.log(now / target) / np.log(then / now), np.inf)
        needed[~np.isfinite(then)] = 0.0  # one look tells nothing
        patience = max(LEAST_PATIENCE, PATIENT_ENTRIES / self.task.cost[0].size)
        rooms = 0.9 * (self.limits.max_iter - state.n_iter[left])
        slow = np.nan_to_num(needed, nan=np.inf, posinf=np.inf) > np.minimum(patience, rooms)
        slow |= self.retries[left] > BATCH_RETRIES
        slow &= rooms > 0
        if slow.any():
            f, g = self.task.potentials(state.alpha, state.beta)
        for k in left[slow]:
            if self.limits.late:
                slow[np.searchsorted(left, k) :] = False
                break
            room = self.limits.max_iter - int(state.n_iter[k])
            far = self.limits.cold and not state.residual[k] <= FAR_START * self.task.problem.mass[k]
            start_f, start_g = (None, None) if far else (f[k], g[k])
            _alone(self.task, state, self.single, int(k), start_f, start_g, room)
        self.left = left[~slow]
        return bool(slow.any())

    def _risen(self, which: Indices) -> NDArray[np.bool_]:
        """Where the dual value has risen while the residual was on a plateau; patience begins anew."""
        if not which.size:
            return np.zeros(0, dtype=bool)
        state = self.state
        found = measure_batch(self.task, state.alpha, state.beta, which)
        size = np.maximum(np.abs(found.dual), self.task.problem.epsilon[which] * found.mass)
        with np.errstate(invalid="ignore"):  # plans that overflow
            risen = found.dual > self.best_dual[which] + RISE * size
        self.best_dual[which] = np.maximum(found.dual, self.best_dual[which])
        self.best_iter[which[risen]] = state.n_iter[which[risen]]
        return np.asarray(risen)

    def _translate(self) -> None:
        """Move to (f + t, g - t) with the t for which the dual is largest, as `acceleration.translation` does."""
        task, state, left = self.task, self.state, self.left
        problem = task.problem
        if self.rigid or not left.size or (self.rhos is None and int(state.n_iter.max()) < SEARCHED_AFTER):
            return
        sides = [Side(*(v[left] for v in side)) for side in (task.rows, task.cols)]
        f, g = (scaled_potentials(x[left], side) for x, side in zip((state.alpha, state.beta), sides, strict=True))
        epsilon = problem.epsilon[left]
        with np.errstate(all="ignore"):  # extreme potentials: no translation is found
            if self.rhos is not None:
                rho_a, rho_b = (rho[left] / epsilon for rho in self.rhos)
                t = balancing_shift((f, sides[0].weight, rho_a), (g, sides[1].weight, rho_b))
                t = np.where((rho_a > 0) & (rho_b > 0), t, 0.0)
            else:
                t = self._best_shift(epsilon[:, None] * f, epsilon[:, None] * g) / epsilon
                t = np.where(free_sides(sides[0]) | free_sides(sides[1]), 0.0, t)
        t = np.where(np.isfinite(t), t, 0.0)[:, None]
        state.alpha[left] += t
        state.beta[left] -= t

    def _best_shift(self, f: Vector, g: Vector) -> Vector:
        """Return the best translations of the problems that are left, in cost units."""
        problem, left = self.task.problem, self.left
        used_r, used_c = problem.row_used[left], problem.col_used[left]
        rows = pick(problem.rows, left), f, np.where(used_r, problem.a[left], 1.0), used_r
        cols = pick(problem.cols, left), g, np.where(used_c, problem.b[left], 1.0), used_c
        return best_shift(rows, cols, NEGLIGIBLE * self.state.residual[left], problem.epsilon[left])


def remembered(task: BatchTask, alpha: Vector, beta: Vector, tol: float, measured: bool) -> BatchState:
    """The state at given potentials, judged by the tolerance if they are to be measured."""
    state = state_at(task, alpha, beta, Status.STALLED if measured else Status.BUDGET)
    if measured:
        measure = measure_batch(task, alpha, beta, np.arange(task.problem.size))
        met = measure.meets(tol + 1e-12)  # rounding of potentials that stood in other units
        state.status[met] = Status.CONVERGED
        state.residual, state.dual = measure.residual, measure.dual
    return state


def solve_alone(task: BatchTask, alpha: Vector, beta: Vector, limits: BatchLimits, single: Single) -> BatchState:
    """Solve every problem by the general solver, one by one, and check the limits after each."""
    began = time.perf_counter()
    state = state_at(task, alpha, beta, Status.MAX_ITER)
    size, starts = task.problem.size, None if limits.cold else task.potentials(alpha, beta)
    for k in range(size):
        f, g = (None, None) if starts is None else (starts[0][k], starts[1][k])
        _alone(task, state, single, k, f, g, limits.max_iter)
        status = _interruption(task, state, limits)
        if status is not None:
            rest = np.arange(k + 1, size)
            swept(task, state, rest, None, 1, limits, "double", limits.cold)
            _close(task, state, rest, limits, status)
            break
    state.record(time.perf_counter() - began)
    return state


def _interruption(task: BatchTask, state: BatchState, limits: BatchLimits) -> Status | None:
    """Whether to stop here, because the callback or the clock says so."""
    residual = state.residual.reshape(task.problem.batch)
    if limits.callback is not None and limits.callback(int(state.n_iter.max()), residual):
        return Status.STOPPED
    return Status.TIME_LIMIT if limits.late else None


def _close(task: BatchTask, state: BatchState, which: Indices, limits: BatchLimits, status: Status) -> None:
    """Measure problems that end here; `status` holds for those that miss the tolerance."""
    met = _noted(task, state, which, limits.tol)
    state.status[which] = status
    state.status[which[met]] = Status.CONVERGED
    state.status[which[~np.isfinite(state.residual[which])]] = Status.NUMERICAL


def _noted(task: BatchTask, state: BatchState, which: Indices, tol: float) -> NDArray[np.bool_]:
    """Measure the problems `which`, note what is found, and return which of them meet the tolerance."""
    measure = measure_batch(task, state.alpha, state.beta, which)
    largest = np.maximum(measure.row_marginal.max(axis=1), measure.col_marginal.max(axis=1))
    overflow = largest > largest_number(task.cost)  # in the dtype of the plan
    state.residual[which], state.dual[which] = np.where(overflow, np.inf, measure.residual), measure.dual
    return np.asarray(measure.meets(tol) & ~overflow)


def _alone(
    task: BatchTask, state: BatchState, single: Single, k: int, f: Vector | None, g: Vector | None, max_iter: int
) -> None:
    """Problem k by the general solver, from potentials in cost units."""
    found = single(k, f, g, max_iter)
    for values, x, side in ((found.f, state.alpha, task.rows), (found.g, state.beta, task.cols)):
        size, epsilon = values.size, task.problem.epsilon[k]
        used = side.log_weight[k, :size] > -np.inf
        x[k, :size] = np.where(used, np.where(used, values, 0.0) / epsilon + side.offset[k, :size], -np.inf)
    state.n_iter[k] += found.n_iter
    state.residual[k], state.dual[k] = found.measure.residual, found.measure.dual
    state.status[k], state.method[k] = found.status, found.method


def _masses(problem: BatchProblem) -> Vector:
    """What residuals are compared with, as far as it is known beforehand."""
    fixed_a, fixed_b = fixed_sides(problem)
    return np.where(fixed_a | ~fixed_b, problem.mass, problem.b.sum(axis=1))


def _strengths(problem: BatchProblem) -> tuple[Vector, Vector] | None:
    """Strengths of both sides where a translation in closed form helps: fixed (inf) or KL, not both fixed."""
    found = []
    for penalty in (problem.rows, problem.cols):
        if isinstance(penalty, Fixed):
            rho: Any = np.inf
        elif isinstance(penalty, KL):
            rho = penalty.rho
        elif isinstance(penalty, Mixed) and all(isinstance(p, Fixed | KL | Free) for p, _ in penalty.parts):
            rho = penalty.rho_each()
        else:
            return None
        found.append(np.array(np.broadcast_to(np.asarray(rho).reshape(-1), (problem.size,)), dtype=np.float64))
    return None if np.isinf(found[0]).all() and np.isinf(found[1]).all() else (found[0], found[1])
