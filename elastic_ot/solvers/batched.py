"""Many problems at once: rounds of sweeps over those that are not done, then the general solver for stragglers.

A round is one call of the backend, which stops every problem as soon as its residual meets its goal. What claims to be
done is certified: its marginals are computed anew in double precision and measured as for a single solve. A problem
that misses goes on with a smaller goal. With "auto", problems whose sweeps would take longer than a Newton method are
handed to the phases of a single solve.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import Batch, BatchBackend, Side
from ..batch_penalty import Mixed, is_hard
from ..batch_problem import BatchProblem
from ..halves import is_single, largest_number
from ..memory import ModulesByName
from ..penalties import KL, LOGARITHMIC, Fixed, Free, Penalty, Vector
from ..result import History, Status
from .acceleration import balancing_shift, best_shift
from .driver import NEGLIGIBLE, PATIENCE, RISE, Outcome
from .measure import ULP, SideMeasure, side_measure
from .updates import exact_change, scaled_potential

Indices = NDArray[np.int64]
FIRST_ROUND, LONGEST_ROUND, TRANSLATED_ROUND = 10, 640, 20
SEARCHED_ROUND, SEARCHED_AFTER = 80, 100  # where the best translation is searched for, and iterations before that pays
RETRIES = 6  # times a problem's goal is lowered because what it returned missed the tolerance
FAR = (
    1e-3  # residual, as a share of the mass, above which potentials that sweeps have found are a worse start than none
)
PATIENT_ENTRIES = 1e7  # entries that sweeps may read before the general solver is the better choice: about 5 ms
LEAST_PATIENCE = 100
PIECE = 3e8  # entries that a call of the backend may read: limits and Ctrl-C wait for it
TINY, GROUP = 64, 256  # entries up to which problems go side by side, and how many of them
SINGLE_RANGE = (
    32.0  # largest cost or first potential, in epsilon, for which arguments of exponentials may be computed in float32
)


@dataclass(frozen=True, eq=False)
class BatchTask(ModulesByName):
    """Problems in the units of the kernels; as `Task`, an entry of every array a problem."""

    problem: BatchProblem
    backend: BatchBackend
    batch: Batch
    rows: Side
    cols: Side

    @property
    def cost(self) -> NDArray[np.floating]:
        return self.problem.cost

    def alphas(self, f: Vector, g: Vector) -> tuple[Vector, Vector]:
        """Kernel potentials of (f, g) in cost units; -inf on removed entries, 0 on free sides."""
        return self._alpha(f, self.rows, self.problem.row_used), self._alpha(g, self.cols, self.problem.col_used)

    def _alpha(self, f: Vector, side: Side, used: NDArray[np.bool_]) -> Vector:
        scaled: Vector = (f if used.all() else np.where(used, f, 0.0)) * self.batch.inv_epsilon[:, None]
        _clear(scaled, _free(side))
        scaled += side.offset
        return scaled

    def potentials(self, alpha: Vector, beta: Vector) -> tuple[Vector, Vector]:
        """(f, g) in cost units; -inf on removed entries."""
        return self._potential(alpha, self.rows), self._potential(beta, self.cols)

    def _potential(self, alpha: Vector, side: Side) -> Vector:
        scaled = _scaled(alpha, side)
        scaled *= self.problem.epsilon[:, None]
        if not side.weight.all():
            scaled[side.weight == 0] = -np.inf
        return scaled

    def plans(self, part: slice, alpha: Vector, beta: Vector, out: NDArray[np.floating]) -> NDArray[np.floating]:
        """The plans of some problems, in `out`."""
        start = alpha[part] + np.log(self.problem.mass[part])[:, None]
        self.backend.batch_plan(self.cost, Batch(*(x[part] for x in self.batch)), start, beta[part], out)
        return out


def _free(side: Side) -> NDArray[np.bool_]:
    return np.asarray((side.code == LOGARITHMIC) & (side.strength == 0))


def _clear(values: Vector, where: NDArray[np.bool_]) -> None:
    if where.any():
        values[where] = 0.0


def _scaled(alpha: Vector, side: Side) -> Vector:
    """As `scaled_potential`; 0 on removed entries."""
    if side.weight.all():
        return scaled_potential(alpha, side)
    removed = side.weight == 0
    part = side._replace(offset=np.where(removed, 0.0, side.offset))
    return scaled_potential(np.where(removed, 0.0, alpha), part)


def make_batch_task(problem: BatchProblem, backend: BatchBackend) -> BatchTask:
    mass = problem.mass
    log_mass = np.log(mass)[:, None]
    rows = _side(problem.rows, problem.a, problem.row_used, problem.epsilon, mass)
    cols = _side(problem.cols, problem.b, problem.col_used, problem.epsilon, mass)
    if problem.reference == "product":
        row_offset, col_offset = rows.log_weight, cols.log_weight + log_mass
    else:
        row_offset, col_offset = _constant(rows, 0.0), _constant(cols, -log_mass)
    batch = Batch(problem.cost_of, 1.0 / problem.epsilon, problem.row_count, problem.col_count, mass)
    return BatchTask(problem, backend, batch, rows._replace(offset=row_offset), cols._replace(offset=col_offset))


def _constant(side: Side, value: Any) -> Vector:
    """One value for all entries, -inf for removed ones."""
    if side.weight.all():
        return np.asarray(np.zeros_like(side.weight) + value)
    return np.asarray(np.where(side.weight > 0, value, -np.inf))


def _side(penalty: Penalty, weights: Vector, used: NDArray[np.bool_], epsilon: Vector, mass: Vector) -> Side:
    rule = penalty.rule(epsilon[:, None], mass[:, None])  # type: ignore[arg-type]
    code, strength, strength2 = (np.broadcast_to(np.asarray(x).reshape(-1), epsilon.shape) for x in rule)
    weight = weights / mass[:, None]
    if not used.all():
        weight[~used] = 0.0
    with np.errstate(divide="ignore"):
        log_weight = np.log(weight)
    # copies: kernels are compiled once, for arrays that are neither broadcast nor read-only
    strengths = (np.array(x, dtype=np.float64) for x in (strength, strength2))
    return Side(weight, log_weight, log_weight, np.array(code, dtype=np.int64), *strengths)


@dataclass(frozen=True, eq=False)
class BatchMeasure:
    """`Measure` of every problem."""

    residual: Vector
    marginal_error: Vector
    relaxed_gap: Vector
    dual: Vector
    mass: Vector
    relaxed: NDArray[np.bool_]
    row_marginal: Vector
    col_marginal: Vector
    rounding: Vector

    def meets(self, tol: float, epsilon: Vector) -> NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):
            met = np.isfinite(self.residual) & np.isfinite(self.dual) & (self.mass > 0)
            met &= np.maximum(np.maximum(self.residual, self.marginal_error), self.rounding) <= tol * self.mass
            close = self.relaxed_gap <= tol * np.maximum(np.abs(self.dual), epsilon * self.mass)
        return np.asarray(met & (close | ~self.relaxed))


def measure_batch(task: BatchTask, alpha: Vector, beta: Vector, which: Indices) -> BatchMeasure:
    """Of the problems `which`, from marginals computed anew in double precision."""
    problem = task.problem
    rows, cols = np.zeros_like(alpha), np.zeros_like(beta)
    for part in _pieces(which, task.cost[0].size):
        task.backend.batch_marginals(task.cost, task.batch, alpha, beta, part, rows, cols)
    with np.errstate(all="ignore"):
        row = _measured(task, problem.rows, problem.a, problem.row_used, task.rows, alpha, rows, which)
        col = _measured(task, problem.cols, problem.b, problem.col_used, task.cols, beta, cols, which)
        total = row.marginal.sum(axis=1)
        fixed_a, fixed_b = fixed_sides(problem)
        mass = np.where(
            fixed_a[which], problem.mass[which], np.where(fixed_b[which], problem.b[which].sum(axis=1), total)
        )
        hard = np.broadcast_to(
            np.asarray(is_hard(problem.rows) & np.asarray(is_hard(problem.cols))).reshape(-1), (problem.size,)
        )
        dual = row.dual + col.dual - problem.epsilon[which] * total
        relaxed_gap = row.gap + col.gap
        rounding = ULP * (_size_of_exponents(row, alpha[which]) + _size_of_exponents(col, beta[which]))
    return BatchMeasure(
        residual=row.residual + col.residual,
        marginal_error=row.marginal_error + col.marginal_error,
        relaxed_gap=np.where(np.isnan(relaxed_gap), np.inf, relaxed_gap),
        dual=np.where(np.isnan(dual), -np.inf, dual),
        mass=mass,
        relaxed=~hard[which],
        row_marginal=row.marginal,
        col_marginal=col.marginal,
        rounding=rounding,
    )


def _size_of_exponents(side: SideMeasure, alpha: Vector) -> Vector:
    """As that of a single problem's side."""
    sizes = np.abs(alpha)
    if not side.marginal.all():
        sizes = np.where(side.marginal > 0, sizes, 0.0)
    return np.asarray(np.einsum("bn,bn->b", side.marginal, sizes))


def _measured(
    task: BatchTask,
    penalty: Penalty,
    weights: Vector,
    used: NDArray[np.bool_],
    side: Side,
    alpha: Vector,
    marginal: Vector,
    which: Indices,
) -> Any:
    part = Side(*(x[which] for x in side))
    penalty, used = pick(penalty, which), used[which]
    scaled = _scaled(alpha[which], part)
    log_marginal = np.where(used, np.maximum(np.log(marginal[which]), -1e6), 0.0)
    log_ratio = np.where(used, part.log_weight, 0.0) - log_marginal
    change = exact_change(part, log_ratio, scaled, task.backend.batch_potential)
    mass, epsilon = task.problem.mass[which, None], task.problem.epsilon[which, None]
    return side_measure(penalty, weights[which], used, epsilon * scaled, log_marginal, change, mass)


def pick(penalty: Penalty, which: Indices) -> Penalty:
    """The penalty of some problems."""
    if isinstance(penalty, Mixed):
        return Mixed(tuple((pick(part, which), where[which]) for part, where in penalty.parts))
    rho: Any = getattr(penalty, "rho", 0.0)
    return replace(penalty, rho=rho[which]) if np.ndim(rho) else penalty  # type: ignore[call-arg]


@dataclass(eq=False)
class BatchState:
    """What is known of every problem so far; potentials in kernel units."""

    alpha: Vector
    beta: Vector
    n_iter: Indices
    residual: Vector
    dual: Vector
    status: NDArray[np.object_]
    method: NDArray[np.object_]
    entries: list[tuple[Indices, Vector, Vector, float]] = field(default_factory=list)

    def record(self, seconds: float) -> None:
        self.entries.append((self.n_iter.copy(), self.residual.copy(), self.dual.copy(), seconds))

    def history(self, problem: BatchProblem) -> History:
        """Every field but the seconds with the batch shape behind the rounds."""
        shape = (len(self.entries), *problem.batch)
        iterations, residuals, duals, seconds = ([entry[q] for entry in self.entries] for q in range(4))
        constant = problem.epsilon * problem.reference_mass if self.entries else 0.0
        return History(
            iteration=np.array(iterations, dtype=np.int64).reshape(shape),
            residual=np.array(residuals, dtype=np.float64).reshape(shape),
            dual=np.array([dual + constant for dual in duals], dtype=np.float64).reshape(shape),
            epsilon=np.broadcast_to(problem.epsilon.reshape(problem.batch), shape),
            seconds=np.array(seconds, dtype=np.float64),
            method=np.full(shape[0], "log"),
            products=np.zeros(shape[0], np.int64),
        )


@dataclass(frozen=True)
class BatchLimits:
    """When to stop, who is told, and how updates are damped."""

    tol: float
    max_iter: int
    cols_last: NDArray[np.bool_]
    omega: tuple[float, float] = (1.0, 1.0)
    fast: bool = True
    cold: bool = True
    deadline: float = np.inf
    """A time of `time.perf_counter`."""
    callback: Callable[[int, Vector], object] | None = None

    @property
    def late(self) -> bool:
        return time.perf_counter() >= self.deadline


Single = Callable[[int, Vector | None, Vector | None, int], Outcome]
"""(problem, f, g, iterations left) -> the outcome of a solve of this problem alone."""


def run_batch(task: BatchTask, alpha: Vector, beta: Vector, limits: BatchLimits, single: Single | None) -> BatchState:
    """Every problem to its tolerance; stragglers by `single`, if it is given."""
    return _Rounds(task, alpha, beta, limits, single).run()


def run_batch_budget(
    task: BatchTask, alpha: Vector, beta: Vector, limits: BatchLimits, plans: NDArray[Any] | None = None
) -> BatchState:
    """Exactly max_iter iterations; nothing is measured. `plans` is filled on the way out, if it is given."""
    size = task.problem.size
    spans = task.problem.largest * float(task.batch.inv_epsilon.max())
    starts = () if limits.cold else (alpha, beta)
    spans = max(spans, *(np.abs(x[np.isfinite(x)]).max(initial=0.0) for x in starts), 0.0)
    single = is_single(task.cost) and spans <= SINGLE_RANGE
    precision = "double" if not limits.fast else "single" if single else "mixed"
    unknown, status, method = (np.broadcast_to(np.array(x, dtype=object), size) for x in (np.nan, Status.BUDGET, "log"))
    state = BatchState(alpha, beta, np.zeros(size, np.int64), unknown, unknown, status, method)
    every, left, cold = np.arange(size), limits.max_iter, limits.cold
    longest = _longest(task)
    both = replace(limits, cols_last=np.ones(size, np.bool_))
    while left > 4 * longest:  # only of huge problems, whose sums then begin anew
        _sweep(task, state, every, None, longest, both, precision, cold)
        left, cold = left - longest, False
    _sweep(task, state, every, None, left, limits, precision, cold, plans)
    return state


def _state(task: BatchTask, alpha: Vector, beta: Vector, status: Status) -> BatchState:
    size = task.problem.size
    return BatchState(
        alpha=alpha,
        beta=beta,
        n_iter=np.zeros(size, np.int64),
        residual=np.full(size, np.inf),
        dual=np.full(size, np.nan),
        status=np.full(size, status, dtype=object),
        method=np.full(size, "log", dtype=object),
    )


def _sweep(
    task: BatchTask,
    state: BatchState,
    which: Indices,
    goal: Vector | None,
    count: int,
    limits: BatchLimits,
    precision: str,
    cold: bool,
    plans: NDArray[Any] | None = None,
) -> Vector:
    """A few calls of the backend; returns the residuals they saw. A round, which has goals, stops when time is up."""
    residual = np.full(which.size, np.inf)
    sides = task.rows, task.cols, limits.omega, state.alpha, state.beta
    cols_last = limits.cols_last[which]
    for end, mine in (("rows", ~cols_last), ("cols", cols_last)):
        for where in _pieces(np.flatnonzero(mine), task.cost[0].size, count):
            if goal is not None and limits.late:
                return residual
            some = which[where]
            done, found = np.zeros(some.size, np.int64), np.full(some.size, np.inf)
            how = goal, count, end, cold, precision
            task.backend.batch_sweeps(task.cost, task.batch, *sides, some, *how, done, found, plans)
            state.n_iter[some] += done
            residual[where] = found
    return residual


def _together(size: int) -> int:
    """Problems of so many entries that a call takes at once, as long as it takes for one."""
    return GROUP if size <= TINY else 1


def _longest(task: BatchTask) -> int:
    """Iterations of a call at most."""
    size = task.cost[0].size
    return max(1, int(PIECE / (size * _together(size))))


def _pieces(which: Indices, size: int, count: int = 1) -> Iterator[Indices]:
    """Problems of so many entries for one call each, if it reads them so many times."""
    group = _together(size)
    step = group * max(1, int(PIECE / (size * count * group)))
    return (which[i : i + step] for i in range(0, which.size, step))


class _Rounds:
    """One solve of a batch."""

    def __init__(
        self, task: BatchTask, alpha: Vector, beta: Vector, limits: BatchLimits, single: Single | None
    ) -> None:
        self.began = time.perf_counter()
        self.task, self.limits, self.single = task, limits, single
        self.state = _state(task, alpha, beta, Status.MAX_ITER)
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
                number = min(count, int(rooms[where].min()), _longest(self.task))
                found[where] = _sweep(
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
                _sweep(self.task, self.state, some, None, 1, self.limits, "double", cold)
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
            waited_long = left[waited > np.maximum(PATIENCE, state.n_iter[left] // 2)]
            stalled = np.union1d(waited_long[~self._risen(waited_long)], left[self.retries[left] > RETRIES])
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
        slow |= self.retries[left] > RETRIES
        slow &= rooms > 0
        if slow.any():
            f, g = self.task.potentials(state.alpha, state.beta)
        for k in left[slow]:
            if self.limits.late:
                slow[np.searchsorted(left, k) :] = False
                break
            room = self.limits.max_iter - int(state.n_iter[k])
            far = self.limits.cold and not state.residual[k] <= FAR * self.task.problem.mass[k]
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
        f, g = (_scaled(x[left], side) for x, side in zip((state.alpha, state.beta), sides, strict=True))
        epsilon = problem.epsilon[left]
        with np.errstate(all="ignore"):  # extreme potentials: no translation is found
            if self.rhos is not None:
                rho_a, rho_b = (rho[left] / epsilon for rho in self.rhos)
                t = balancing_shift((f, sides[0].weight, rho_a), (g, sides[1].weight, rho_b))
                t = np.where((rho_a > 0) & (rho_b > 0), t, 0.0)
            else:
                t = self._best_shift(epsilon[:, None] * f, epsilon[:, None] * g) / epsilon
                t = np.where(_free(sides[0]) | _free(sides[1]), 0.0, t)
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
    state = _state(task, alpha, beta, Status.STALLED if measured else Status.BUDGET)
    if measured:
        measure = measure_batch(task, alpha, beta, np.arange(task.problem.size))
        met = measure.meets(tol + 1e-12, task.problem.epsilon)  # rounding of potentials that stood in other units
        state.status[met] = Status.CONVERGED
        state.residual, state.dual = measure.residual, measure.dual
    return state


def solve_alone(task: BatchTask, alpha: Vector, beta: Vector, limits: BatchLimits, single: Single) -> BatchState:
    """Every problem by the general solver; after each of them there is a look at the limits."""
    began = time.perf_counter()
    state = _state(task, alpha, beta, Status.MAX_ITER)
    size, starts = task.problem.size, None if limits.cold else task.potentials(alpha, beta)
    for k in range(size):
        f, g = (None, None) if starts is None else (starts[0][k], starts[1][k])
        _alone(task, state, single, k, f, g, limits.max_iter)
        status = _interruption(task, state, limits)
        if status is not None:
            rest = np.arange(k + 1, size)
            _sweep(task, state, rest, None, 1, limits, "double", limits.cold)
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
    """Measure and note; which of them meet the tolerance."""
    measure = measure_batch(task, state.alpha, state.beta, which)
    largest = np.maximum(measure.row_marginal.max(axis=1), measure.col_marginal.max(axis=1))
    overflow = largest > largest_number(task.cost)  # in the dtype of the plan
    state.residual[which], state.dual[which] = np.where(overflow, np.inf, measure.residual), measure.dual
    return np.asarray(measure.meets(tol, task.problem.epsilon[which]) & ~overflow)


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


def fixed_sides(problem: BatchProblem) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of every problem, whether the marginal of its rows, of its columns is given."""
    boxes = problem.rows.box(), problem.cols.box()
    one, other = (np.broadcast_to(np.asarray(lo == hi).reshape(-1), (problem.size,)) for lo, hi in boxes)
    return one, other


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
