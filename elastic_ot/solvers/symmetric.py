"""A problem against itself, solved by one potential; and a solve that starts from potentials worth keeping.

With a symmetric cost, equal weights and equal penalties the dual is symmetric and concave, so some pair f = g maximises
it. With T the exact update of one side given the other, T(f) = f there, and the error of f -> T(f) shrinks by -tau M,
where M is the plan over its marginal, with eigenvalues in [0, 1] if the Gibbs kernel is positive definite. The averaged
f -> f + omega (T(f) - f) therefore gains a digit in about three iterations whatever epsilon is (Feydy, Séjourné,
Vialard, Amari, Trouvé, Peyré 2019, with omega = 1/2).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..costs.point_cost import is_pruned
from ..distributed.ranks import Ranks
from ..problems.penalty import Vector
from ..problems.scaled import Task
from .driver import Limits, Outcome, Phase, run
from .history import Entry, history_of
from .log_domain import sweep
from .measure import Iterate
from .returned import centred, certify
from .state import Start, State
from .status import Status

OMEGA = 0.6  # measured: fewer sweeps than 1/2 and 2/3 on clouds and on random costs; modes shrink by 0.4 to -0.2
SLOWEST = 0.8  # rate above which the averaged iteration gives up; only kernels that are not positive definite reach it
FIRST_JUDGED = 6  # sweeps before its rate is judged
SLOW_FLOOR = 1e-12  # residual, relative to the mass, at which a slow rate is rounding
SAME = 1e-14  # rounding of potentials, relative to the largest of them
SYMMETRIC_RETRIES = 3  # times a general solve is repeated when its symmetrised potentials miss the tolerance
CLOSE_ENOUGH = 0.05  # the same where none means a coarse level, which is nearer
NEAR_ENOUGH = 1.0  # residual, relative to the mass, up to which given potentials are a better start than none; measured


def solve_symmetric(task: Task, start: Start, limits: Limits, others: Sequence[Phase]) -> Outcome:
    """Potentials f = g, by averaged updates, or by `others` where those are slow; measured as they are returned."""
    left = _Budget(limits, task.problem.ranks)
    averaged = () if is_pruned(task.problem.cost) else (Phase("symmetric", Averaged()),)  # it reads all pairs
    found = left.run(averaged or others, task, start)
    if found.status is Status.NUMERICAL:
        found = left.run(others, task, start) if left.any else replace(found, status=left.spent)
    certified = _symmetrised(task, start, limits, found)
    for _ in range(SYMMETRIC_RETRIES):
        if found.status is not Status.CONVERGED or certified.status is Status.CONVERGED or not left.any:
            break
        left.tol *= 0.5  # of the pair; the mean of its potentials has another residual
        found = left.run(others, task, replace(start, f=certified.f, g=certified.g))
        certified = _symmetrised(task, start, limits, found)
    return replace(certified, n_iter=left.used)


def solve_from(task: Task, start: Start, limits: Limits, phases: Sequence[Phase]) -> tuple[Outcome, float]:
    """Return the solution from the start's potentials, and the best dual value known, theirs included.

    Where they meet the tolerance they are the solution. Else they are where the solve begins, unless they are so far
    off that it is faster without.
    """
    assert start.f is not None
    assert start.g is not None
    given = measured(task, start, start.f, start.g, limits.tol)
    if given.status is Status.CONVERGED:
        return given, given.measure.dual
    enough = CLOSE_ENOUGH if is_pruned(task.problem.cost) else NEAR_ENOUGH
    near = given.measure.residual <= enough * given.measure.mass
    found = run(phases, task, start if near else replace(start, f=None, g=None), limits)
    return found, max(found.measure.dual, given.measure.dual)


def measured(task: Task, start: Start, f: Vector, g: Vector, tol: float) -> Outcome:
    """(f, g) as the outcome of a solve that changes nothing."""
    began, problem = time.perf_counter(), task.problem
    f, g, rows, cols, found = certify(task, *centred(problem, start, f, g))
    seconds = problem.ranks.most(time.perf_counter() - began)
    entry = Entry(1, found.residual, found.dual, found.epsilon, seconds, "given", 0)
    status = Status.CONVERGED if found.meets(tol) else Status.STALLED
    return Outcome(f, g, rows, cols, found, status, 1, "given", history_of([entry], problem.reference_mass))


class _Budget:
    """What is left of the limits after some runs."""

    def __init__(self, limits: Limits, ranks: Ranks) -> None:
        self.limits, self.ranks, self.used, self.began = limits, ranks, 0, time.perf_counter()
        self.tol, self.deadline = limits.tol, limits.time_limit

    @property
    def any(self) -> bool:
        return self.used < self.limits.max_iter and (self.deadline is None or self._seconds() > 0)

    @property
    def spent(self) -> Status:
        return Status.MAX_ITER if self.used >= self.limits.max_iter else Status.TIME_LIMIT

    def _seconds(self) -> float:
        return (self.deadline or np.inf) - self.ranks.most(time.perf_counter() - self.began)

    def run(self, phases: Sequence[Phase], task: Task, start: Start) -> Outcome:
        seconds = None if self.deadline is None else max(self._seconds(), 1e-3)
        limits = replace(self.limits, tol=self.tol, max_iter=self.limits.max_iter - self.used, time_limit=seconds)
        found = run(phases, task, start, limits)
        self.used += found.n_iter
        return found


def _symmetrised(task: Task, start: Start, limits: Limits, found: Outcome) -> Outcome:
    """Measure both sides at the mean of f and g, where by concavity the dual is not lower."""
    cost = task.problem.cost
    f = cost.of_all_rows(found.f)
    p = 0.5 * (f + found.g)
    used, own = np.isfinite(p), cost.of_own_rows(p)
    apart = f[used] - found.g[used]
    if used.any() and np.ptp(apart) <= SAME * np.abs(p[used]).max():  # (p, p) translated, which has the same plan
        return replace(found, f=own, g=p.copy())
    there = measured(task, start, own, p, limits.tol)
    status = there.status
    if status is not Status.CONVERGED:
        status = Status.STALLED if found.status is Status.CONVERGED else found.status
    return replace(there, f=own, g=p.copy(), status=status, method=found.method, history=found.history)


@dataclass(eq=False)
class AveragedState(State):
    """A sweep from (p, p) moves alpha only, and leaves in log_row the marginal of (p, p), which is that of both sides.

    So `previous_alpha` is p, and alpha the next one.
    """

    log_mass: float = 0.0
    sweeps: int = 0

    def iterate(self) -> Iterate:
        cost = self.task.problem.cost
        beta, log_col = cost.of_all_rows(self.previous_alpha) + self.log_mass, cost.of_all_rows(self.log_row)
        return Iterate(self.previous_alpha, beta, self.log_row, log_col)

    def shift(self, t: float) -> None:
        """Nothing: by symmetry the best translation is none."""


@dataclass(frozen=True)
class Averaged:
    """f <- f + omega (T(f) - f), both sides at once.

    In double precision, because few sweeps are needed; but where costs are computed anew in each of them and the
    tolerance allows it, in single precision as far as that carries.
    """

    omega: float = OMEGA

    def start(self, task: Task, start: Start) -> AveragedState:
        problem = task.problem
        lowest = max(
            0.5 * problem.cost.lowest, problem.rows.least_potential()
        )  # no entry of the plan exceeds that of R
        p = np.full(problem.cost.row_count, lowest)
        if start.f is not None and start.g is not None:
            p = 0.5 * (problem.cost.of_all_rows(start.f) + start.g)
        own = problem.cost.of_own_rows(p)
        fast = start.fast and not problem.cost.stored
        scratch = task.plan.scratch(fast)
        state = AveragedState(
            task, *task.alphas(own, p), "rows", (self.omega, 0.0), fast, scratch, log_mass=float(np.log(problem.mass))
        )
        self._sweep(state)
        return state

    def step(self, state: State, count: int) -> int:
        assert isinstance(state, AveragedState)
        before = state.measure().residual
        for _ in range(count):
            self._sweep(state)
        after = state.measure()
        if state.sweeps >= FIRST_JUDGED and not after.residual <= SLOWEST**count * before:
            if state.fast:  # rounding may be what is left
                state.fast, state.scratch, state.sweeps = False, state.task.plan.scratch(False), 0
                return count
            state.exhausted = after.residual <= SLOW_FLOOR * after.mass
            state.broken = not state.exhausted
        return count

    def _sweep(self, state: AveragedState) -> None:
        np.add(state.task.problem.cost.of_all_rows(state.alpha), state.log_mass, out=state.beta)
        state.log_col[:] = 0.0  # not read, because the columns do not move; but it must be a number
        sweep(state, state.omega, 1)
        state.sweeps += 1
