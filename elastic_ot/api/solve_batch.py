"""The public call for many problems: start, run, wrap. No arithmetic here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.half import is_single, working_dtype
from ..arrays.ingest import as_numpy
from ..arrays.origin import Origin
from ..backends import load_batch_for
from ..errors import report_failure
from ..problems.batch import BatchProblem
from ..problems.mixed import is_hard
from ..problems.penalties import Between, Fixed
from ..problems.penalty import Vector
from ..problems.scaled import make_task
from ..solutions.batch import BatchSolution
from ..solutions.exact import ExactSolution
from ..solutions.solution import Solution
from ..solvers.batch.budget import run_batch_budget
from ..solvers.batch.found import BatchFound
from ..solvers.batch.measure import fixed_sides
from ..solvers.batch.rounds import remembered, run_batch, solve_alone
from ..solvers.batch.scaled import BatchTask, make_batch_task
from ..solvers.batch.state import BatchLimits, BatchState
from ..solvers.blocked import refuse_blocked
from ..solvers.driver import SURE, Limits, Outcome, run
from ..solvers.feasibility import blocked, crowded, may_be_blocked
from ..solvers.methods import Method, choose
from ..solvers.newton import Newton
from ..solvers.state import Start
from ..solvers.status import Budget, Status
from .options import SINGLE_TOL, tells

LARGEST_SWEPT = 1 << 22  # entries of a problem up to which it is swept in a batch, where each thread stores one


@dataclass(frozen=True)
class How:
    """The options of a solve, checked."""

    method: Method | Newton
    relaxation: Any
    omega: float
    tol: float
    max_iter: int
    time_limit: float | None
    callback: Any
    end: str | None
    on_failure: str
    budget: bool
    with_plan: bool = False
    """Compute the plans of a budget along with it, which is cheaper than afterwards."""

    @property
    def swept(self) -> bool:
        """True if sweeps over the whole batch are among the ways to solve it."""
        return self.budget or (self.method in ("auto", "log") and self.relaxation != "auto" and self.omega <= 1)


def solve_batch(problem: BatchProblem, how: How, init: Any, origin: Origin) -> BatchSolution:
    """The solutions; one warning or error for all of them."""
    began = time.perf_counter()
    task = make_batch_task(problem, load_batch_for(problem.cost))
    f, g = _initial(init, problem)
    cols_last = _cols_last(problem, how.end)
    fast = (how.method == "auto" or is_single(problem.cost)) and how.tol >= SINGLE_TOL
    if how.budget:
        fast = is_single(problem.cost)
    zeros = np.zeros(problem.a.shape), np.zeros(problem.b.shape)
    alpha, beta = task.alphas(zeros[0] if f is None else f, zeros[1] if g is None else g)
    limits = BatchLimits(
        tol=how.tol,
        max_iter=how.max_iter,
        cols_last=cols_last,
        omega=(max(how.omega, 1.0), how.omega),
        fast=fast,
        cold=f is None,
        deadline=np.inf if how.time_limit is None else began + how.time_limit,
        callback=how.callback,
    )
    if how.budget:
        plans = problem.matrices(working_dtype(problem.cost)) if how.with_plan else None
        state = run_batch_budget(task, alpha, beta, limits, plans)
        end = "mixed" if (cols_last != cols_last[0]).any() else "cols" if cols_last[0] else "rows"
        return _solution(task, state, how, origin, cols_last, Budget(how.max_iter, end, f, g), plans=plans)
    single = _Single(problem, how, cols_last, fast, limits.deadline)
    if how.swept and problem.cost[0].size <= LARGEST_SWEPT:
        state = run_batch(task, alpha, beta, limits, single if how.method == "auto" else None)
    else:
        state = solve_alone(task, alpha, beta, limits, single)
    solution = _solution(task, state, how, origin, cols_last, None)
    _refuse_blocked(solution)
    _report(solution, how.on_failure)
    return solution


def recalled(
    problem: BatchProblem, f: Vector, g: Vector, tol: float, end: str | None, budget: Budget | None
) -> BatchSolution:
    """The solution with these potentials (B, n) and (B, m), which an earlier solve has found; not solved again."""
    task = make_batch_task(problem, load_batch_for(problem.cost))
    state = remembered(task, *task.alphas(f, g), tol, measured=budget is None)
    how = How("auto", 1.0, 1.0, tol, 1, None, None, None, "ignore", budget is not None)
    return _solution(task, state, how, Origin(), _cols_last(problem, end), budget, gauge=False)


@dataclass(frozen=True)
class _Single:
    """One problem of a batch by the general solver."""

    problem: BatchProblem
    how: How
    cols_last: NDArray[np.bool_]
    fast: bool
    deadline: float

    def __call__(self, k: int, f: Vector | None, g: Vector | None, max_iter: int) -> Outcome:
        problem, how = self.problem.single(k), self.how
        n, m = problem.shape
        f, g = (None if x is None else np.where(np.isfinite(x[:size]), x[:size], 0.0) for x, size in ((f, n), (g, m)))
        task = make_task(problem)
        end = "cols" if self.cols_last[k] else "rows"
        start = Start(f, g, end, (max(how.omega, 1.0), how.omega), self.fast, how.tol, self.deadline)
        rest = None if how.time_limit is None else max(self.deadline - time.perf_counter(), 1e-9)
        limits = Limits(how.tol, max_iter, rest, adaptive=how.relaxation == "auto")
        found = run(choose(how.method, problem, how.omega, how.tol), task, start, limits)
        refuse_blocked(found.blocked, self.problem.label(k))
        return found


def _cols_last(problem: BatchProblem, end: str | None) -> NDArray[np.bool_]:
    """Of every problem, whether its columns are updated last."""
    if end is not None:
        return np.full(problem.size, end == "cols")
    rows, cols = (np.asarray(is_hard(penalty)).reshape(-1) for penalty in (problem.rows, problem.cols))
    return np.array(np.broadcast_to(cols & ~rows, problem.size))


def _initial(init: Any, problem: BatchProblem) -> tuple[Vector | None, Vector | None]:
    """Potentials (B, n) and (B, m) to begin with."""
    if init is None:
        return None, None
    if isinstance(init, BatchSolution):
        pair = (
            init.host.f.reshape(init.problem.shape[:-1]),
            init.host.g.reshape((*init.problem.batch, init.problem.shape[-1])),
        )
    elif isinstance(init, Solution):
        pair = init.host.f, init.host.g
    elif isinstance(init, ExactSolution):
        pair = init.f, init.g
    elif isinstance(init, tuple) and len(init) == 2:
        pair = as_numpy("init[0]", init[0]), as_numpy("init[1]", init[1])
    else:
        raise TypeError(f"init must be a solution or a pair (f, g), got {type(init).__name__}")
    found = []
    for name, values, size in (("f", pair[0], problem.shape[-2]), ("g", pair[1], problem.shape[-1])):
        shape = (*problem.batch, size)
        try:
            values = np.array(np.broadcast_to(values, shape), dtype=np.float64, order="C").reshape(problem.size, size)
        except ValueError:
            raise ValueError(f"init has a {name} of shape {np.shape(values)}; it must broadcast to {shape}") from None
        if (np.isnan(values) | np.isposinf(values)).any():
            raise ValueError(f"init has a {name} with nan or inf; potentials must be numbers or -inf")
        found.append(np.where(np.isfinite(values), values, 0.0))
    taken = _taken(init, problem)
    f, g = found[0] + (taken[0] - problem.offsets[0]), found[1] + (taken[1] - problem.offsets[1])
    size = np.maximum(np.abs(f).max(axis=-1), np.abs(g).max(axis=-1))
    kept = tells(size, problem.epsilon, problem.largest)[:, None]
    return np.where(kept, f, 0.0), np.where(kept, g, 0.0)


def _taken(init: Any, problem: BatchProblem) -> tuple[Any, Any]:
    """The offsets that the potentials of a solution lack, for every problem that begins with them."""
    if not isinstance(init, BatchSolution | Solution):
        return 0.0, 0.0
    if isinstance(init, Solution) or init.problem.offset is None:
        return init.problem.offsets
    broadcast = np.broadcast_to(init.problem.offset.reshape(init.problem.batch), problem.batch).reshape(-1, 1)
    return (broadcast, 0.0) if isinstance(init.problem.rows, Fixed) else (0.0, broadcast)


def _solution(
    task: BatchTask,
    state: BatchState,
    how: How,
    origin: Origin,
    cols_last: NDArray[np.bool_],
    budget: Budget | None,
    gauge: bool = True,
    plans: NDArray[Any] | None = None,
) -> BatchSolution:
    problem = task.problem
    f, g = task.potentials(state.alpha, state.beta)
    if budget is None and gauge:
        f, g = _gauged(problem, f, g)

    def shaped(values: Any) -> Any:
        return values.reshape((*problem.batch, *values.shape[1:]))

    return BatchSolution(
        found=BatchFound(problem, task, f, g, cols_last, budget),
        f=origin.emit(shaped(f + problem.offsets[0])),
        g=origin.emit(shaped(g + problem.offsets[1])),
        status=shaped(state.status),
        n_iter=shaped(state.n_iter),
        method=shaped(state.method),
        history=state.history(problem),
        tol=how.tol,
        origin=origin,
        known_plans=plans,
    )


def _gauged(problem: BatchProblem, f: Vector, g: Vector) -> tuple[Vector, Vector]:
    """<b, g> = 0 where both sides are fixed."""
    one, other = fixed_sides(problem)
    both = one & other & np.asarray([not isinstance(p, Between) for p in (problem.rows, problem.cols)]).all()
    weights = np.where(problem.col_used, problem.b, 0.0)
    shift = (weights * np.where(problem.col_used, g, 0.0)).sum(axis=1) / weights.sum(axis=1)
    shift = np.where(both & np.isfinite(shift), shift, 0.0)[:, None]
    return f + shift, g - shift


def _refuse_blocked(solution: BatchSolution) -> None:
    """Problems that sweeps have given up are looked at alone: the mask may leave no plan."""
    problem = solution.problem
    if not problem.masked:
        return
    status, n_iter = solution.status.reshape(-1), solution.n_iter.reshape(-1)
    gave_up = (status == Status.MAX_ITER) | (status == Status.STALLED)
    for k in np.flatnonzero(gave_up & ((n_iter >= SURE) | (status == Status.STALLED))):
        single, (n, m) = problem.single(int(k)), (problem.row_count[k], problem.col_count[k])
        if may_be_blocked(single):
            found = crowded(single, solution.host.f[k, :n], solution.host.g[k, :m]) or blocked(single)
            refuse_blocked(found, problem.label(int(k)))


def _report(solution: BatchSolution, on_failure: str) -> None:
    """One message for all problems that did not converge."""
    if on_failure == "ignore" or solution.converged.all():
        return
    problem = solution.problem
    open_ = np.flatnonzero(~solution.converged.reshape(-1))
    residual, status = solution.residual.reshape(-1), solution.status.reshape(-1)
    worst = int(open_[np.argmax(np.nan_to_num(residual[open_], nan=np.inf))])
    text = (
        f"{open_.size} of {problem.size} problems did not converge; the worst is {problem.label(worst)}"
        f"{status[worst].value} (residual {residual[worst]:.2e}, tol {solution.tol:.2e} times the mass)"
    )
    report_failure(text, on_failure)
