"""Plans near the one found that meet the hard sides: scaled, completed or, where entries are masked, scaled on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import LOGARITHMIC, Side, Vectors
from ..distributed.ranks import ALONE, Ranks
from ..errors import ConvergenceError
from ..problems.penalty import Penalty, Vector
from ..problems.problem import Problem
from ..solvers.driver import Limits, Phase, run
from ..solvers.found import Found
from ..solvers.newton import Newton
from ..solvers.state import Start
from . import feasible
from .feasible import ratio
from .view import View

POLISH_BLOCK, POLISH_SWEEPS = 50, 1000  # sweeps spent on a feasible plan where cells are forbidden
POLISH_ENTRIES = 1e8  # read between looks, which Ctrl-C waits for
POLISH_STEPS = 200  # iterations of Newton's method, where that is not enough
EXTREMES = np.errstate(over="ignore", invalid="ignore", divide="ignore")  # results say inf, not warnings
NO_PLAN = (
    "no feasible plan was found on the allowed cells: the mask leaves too little freedom, or the solution is far from "
    "converged; solve to a smaller tol first"
)
MOST = 1e300  # that a marginal counts as, so that sums of it are finite
MET = 1e-14  # marginal error, relative to the mass, that counts as none
NAT_ROUNDING = 1e-15  # the same for every nat of the largest potential, whose rounding it is


@dataclass(frozen=True, eq=False)
class Rounding:
    """Q = diag(row_factor) P diag(col_factor) + row_rest col_rest^T and its marginals, in units of the mass."""

    row_factor: Vector
    col_factor: Vector
    row_rest: Vector
    col_rest: Vector
    row_marginal: Vector
    col_marginal: Vector

    @property
    def parts(self) -> tuple[Vector, Vector, Vector, Vector]:
        return self.row_factor, self.col_factor, self.row_rest, self.col_rest


def round_plan(view: View, coarse: bool = False) -> Rounding:
    """A feasible plan near P: one hard side is scaled; two are scaled down, and what is missing is added.

    With `coarse`, which serves values, masked plans may miss by what rounding of the potentials leaves open.
    """
    problem, mass = view.problem, view.problem.mass
    r, c = view.row_marginal / mass, view.col_marginal / mass
    ones_r, ones_c, none_r, none_c = np.ones_like(r), np.ones_like(c), np.zeros_like(r), np.zeros_like(c)
    target_r, target_c = _targets(problem, r, c)
    if _distance(r, target_r, problem.ranks) == 0 and _distance(c, target_c, ALONE) == 0:
        return Rounding(ones_r, ones_c, none_r, none_c, target_r, target_c)
    if not (problem.rows.hard and problem.cols.hard):
        return _round_one_side(view, target_r, target_c, r, c)
    if problem.cost.masked:
        return _polish(view, target_r, target_c, coarse)
    row_factor = np.minimum(ratio(target_r, r), 1.0)
    _, c = view.marginals(row_factor, ones_c)
    col_factor = np.minimum(ratio(target_c, c), 1.0)
    r, c = view.marginals(row_factor, col_factor)
    row_rest, col_rest = np.maximum(target_r - r, 0.0), np.maximum(target_c - c, 0.0)
    if problem.ranks.sum(row_rest) > 0 and col_rest.sum() > 0:
        row_rest, col_rest = row_rest, col_rest / col_rest.sum()
    else:
        row_rest, col_rest = none_r, none_c
    return Rounding(row_factor, col_factor, row_rest, col_rest, target_r, target_c)


def _round_one_side(view: View, target_r: Vector, target_c: Vector, r: Vector, c: Vector) -> Rounding:
    """Scale the hard side; what carries no mass yet is filled in proportion to the other side's weights."""
    row_factor, col_factor = ratio(target_r, r), ratio(target_c, c)
    row_rest, col_rest = _rest(target_r, row_factor * r), _rest(target_c, col_factor * c)
    ranks = view.problem.ranks
    lacking = ranks.sum(row_rest), float(col_rest.sum())  # one of them is 0
    if sum(lacking) <= MET:
        lacking = 0.0, 0.0
        row_rest, col_rest = np.zeros_like(r), np.zeros_like(c)
    elif view.problem.cost.masked:
        raise ConvergenceError(NO_PLAN)
    elif view.problem.rows.hard:
        col_rest = view.task.cols.weight / view.task.cols.weight.sum()
    else:
        row_rest = view.task.rows.weight / ranks.sum(view.task.rows.weight)
    r, c = view.marginals(row_factor, col_factor)
    if view.problem.rows.hard:
        r, c = target_r, c + col_rest * lacking[0]
    else:
        r, c = r + row_rest * lacking[1], target_c
    return Rounding(row_factor, col_factor, row_rest, col_rest, r, c)


def _targets(problem: Problem, r: Vector, c: Vector) -> tuple[Vector, Vector]:
    """The marginals to reach: nearest allowed ones, with equal masses if both sides are hard; relaxed sides stay."""
    target_r = _clipped(problem.rows, r, problem.a / problem.mass, problem.row_used)
    target_c = _clipped(problem.cols, c, problem.b / problem.mass, problem.col_used)
    if not (problem.rows.hard and problem.cols.hard):
        return target_r, target_c
    range_r = _mass_range(problem.rows, problem.a / problem.mass, problem.row_used, problem.ranks)
    range_c = _mass_range(problem.cols, problem.b / problem.mass, problem.col_used, ALONE)
    total = min(max(problem.ranks.sum(target_r), range_r[0], range_c[0]), range_r[1], range_c[1])
    return (
        _with_mass(problem.rows, target_r, problem.a / problem.mass, problem.row_used, total, problem.ranks),
        _with_mass(problem.cols, target_c, problem.b / problem.mass, problem.col_used, total, ALONE),
    )


def _clipped(penalty: Penalty, r: Vector, a: Vector, used: NDArray[np.bool_]) -> Vector:
    if not penalty.hard:
        return r
    lo, hi = penalty.box()
    return np.where(used, np.clip(np.minimum(r, MOST), lo * a, np.where(a > 0, hi, 1.0) * a), 0.0)


def _mass_range(penalty: Penalty, a: Vector, used: NDArray[np.bool_], ranks: Ranks) -> tuple[float, float]:
    lo, hi = penalty.box()
    total = ranks.sum(a[used])
    return lo * total, hi * total


def _with_mass(penalty: Penalty, r: Vector, a: Vector, used: NDArray[np.bool_], total: float, ranks: Ranks) -> Vector:
    """Marginals inside the box with the given total, moving every entry in proportion to its room."""
    lo, hi = penalty.box()
    if lo == hi:
        return r
    missing = total - ranks.sum(r)
    if missing == 0:
        return r
    if missing > 0 and np.isinf(hi):
        return r + np.where(used, a, 0.0) * (missing / ranks.sum(a[used]))
    edge = np.where(used, (lo if missing < 0 else hi) * a, 0.0)
    room = ranks.sum(r - edge)
    return edge + (r - edge) * ((total - ranks.sum(edge)) / room) if room != 0 else r


def _distance(r: Vector, target: Vector, ranks: Ranks) -> float:
    """L1 distance, 0 if it is rounding."""
    distance = ranks.sum(np.abs(r - target))
    return distance if distance > MET * ranks.sum(target) else 0.0


def _rest(target: Vector, scaled: Vector) -> Vector:
    """What is missing, 0 where it is the rounding of a product."""
    return np.where(scaled >= (1.0 - MET) * target, 0.0, target - scaled)


def _polish(view: View, target_r: Vector, target_c: Vector, coarse: bool) -> Rounding:
    """Where cells are forbidden nothing may be added: the plan is scaled on until the hard sides are met.

    To the targets, if a few sweeps do that. They may have no plan on the allowed cells, or be far in sweeps: then the
    problem is solved to rounding.
    """
    problem, task = view.problem, view.task
    if problem.rows.box()[0] == 0 and problem.cols.box()[0] == 0:
        return _scale_down(view, target_r, target_c)
    targets = _fixed_side(task.rows, target_r), _fixed_side(task.cols, target_c)
    found = _scale_on(view, *targets, view.alpha.copy(), view.beta.copy(), coarse)
    if found is None:
        start = Start(view.f, view.g, "rows", (1.0, 1.0), fast=False, tol=MET)
        solved = run((Phase("newton", Newton()),), task, start, Limits(MET, POLISH_STEPS))
        found = _scale_on(view, task.rows, task.cols, *task.alphas(solved.f, solved.g), coarse)
    if found is None:
        raise ConvergenceError(NO_PLAN)
    return found


def _scale_down(view: View, target_r: Vector, target_c: Vector) -> Rounding:
    """Any marginal below the targets is allowed."""
    row_factor = np.minimum(ratio(target_r, view.row_marginal / view.problem.mass), 1.0)
    _, c = view.marginals(row_factor, np.ones_like(target_c))
    col_factor = np.minimum(ratio(target_c, c), 1.0)
    none = np.zeros_like(target_r), np.zeros_like(target_c)
    r, c = view.marginals(row_factor, col_factor)
    return Rounding(row_factor, col_factor, *none, np.minimum(r, target_r), np.minimum(c, target_c))


def _scale_on(view: View, rows: Side, cols: Side, alpha: Vector, beta: Vector, coarse: bool) -> Rounding | None:
    """Sweeps with these sides, from these potentials, until the columns are met to rounding; None if they are not."""
    task, problem = view.task, view.problem
    log_row, log_col = np.zeros_like(alpha), np.zeros_like(beta)
    vectors = Vectors(alpha, beta, log_row, log_col, alpha.copy(), log_col.copy())
    plan = task.plan.with_sides(rows, cols)
    scratch = task.plan.scratch(False)
    weight = problem.b / problem.mass
    longest = max(1, min(POLISH_BLOCK, int(POLISH_ENTRIES / problem.cost.work)))
    for done in range(0, POLISH_SWEEPS, longest):
        omega, count = ((1.0, 0.0), 1) if done == 0 else ((1.0, 1.0), longest)
        plan.sweep(omega, vectors, scratch, count)
        c = np.exp(log_col)
        target_c = cols.weight if cols.code == LOGARITHMIC else _clipped(problem.cols, c, weight, problem.col_used)
        if np.abs(c - target_c).sum() <= max(MET, NAT_ROUNDING * _largest(view, alpha, beta)) * target_c.sum():
            factors = _exp_difference(alpha, view.alpha), _exp_difference(beta, view.beta)
            return _scaled(view, *factors, rows, target_c, coarse)
    return None


def _scaled(
    view: View, row_factor: Vector, col_factor: Vector, rows: Side, target_c: Vector, coarse: bool
) -> Rounding | None:
    """Return the plan scaled by factors of rows and columns; None if P underflows where the scaled plan needs mass."""
    r, c = np.empty((row_factor.size, 1)), np.empty((col_factor.size, 1))
    view.task.plan.apply(*view.potentials, col_factor[:, None], False, r)
    problem, attained = view.problem, row_factor * r[:, 0]
    box = _clipped(problem.rows, attained, problem.a / problem.mass, problem.row_used)
    target_r = rows.weight if rows.code == LOGARITHMIC else box
    missing = problem.ranks.sum(np.abs(attained - target_r))
    row_factor = row_factor * ratio(target_r, attained)  # what rounding of the potentials left
    view.task.plan.apply(*view.potentials, row_factor[:, None], True, c)
    missing += float(np.abs(col_factor * c[:, 0] - target_c).sum())
    rounding = 10 * NAT_ROUNDING * _largest(view, view.alpha, view.beta) if coarse else 0.0
    if not missing <= max(1e-10, rounding) * problem.ranks.sum(target_r):
        return None
    none = np.zeros_like(row_factor), np.zeros_like(col_factor)
    return Rounding(row_factor, col_factor, *none, target_r, target_c)


def _largest(view: View, alpha: Vector, beta: Vector) -> float:
    """Nats of the largest potential."""
    sides = (alpha, view.problem.ranks), (beta, ALONE)
    return max(0.0, *(ranks.max(np.abs(x[np.isfinite(x)])) for x, ranks in sides))


def _fixed_side(side: Side, target: Vector) -> Side:
    log_weight = np.full(target.shape, -np.inf)
    np.log(target, out=log_weight, where=target > 0)
    return Side(target, log_weight, side.offset, LOGARITHMIC, 1.0, 0.0)


def _exp_difference(alpha: Vector, before: Vector) -> Vector:
    used = np.isfinite(alpha) & np.isfinite(before)
    return np.where(used, np.exp(np.where(used, alpha, 0.0) - np.where(used, before, 0.0)), 0.0)


@EXTREMES
def rounded_plan(solved: Found) -> NDArray[np.float64]:
    view = View(solved)
    rounding, problem = round_plan(view), view.problem
    out = view.scaled_plan(rounding.row_factor, rounding.col_factor)
    target_r, target_c = problem.mass * rounding.row_marginal, problem.mass * rounding.col_marginal
    if problem.rows.hard and problem.cols.hard:
        finish = feasible.settle if problem.cost.masked else feasible.complete
        finish(out, target_r, target_c)
        return view.oriented(out)
    if np.any(rounding.row_rest):
        feasible.add_product(out, problem.mass * rounding.row_rest, rounding.col_rest)
    for penalty, target, axis in ((problem.rows, target_r, 1), (problem.cols, target_c, 0)):
        if penalty.hard:
            feasible.scale(out, target, axis)
    return view.oriented(out)
