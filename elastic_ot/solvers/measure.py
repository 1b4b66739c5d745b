"""What an iterate is worth: residual, dual value and gap, all O(n + m), from potentials and their marginals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import Side
from ..distributed.ranks import ALONE, Ranks
from ..problems.penalties import TV, Fixed
from ..problems.penalty import Penalty, Vector
from ..problems.scaled import Task
from ..problems.updates import exact_change, scaled_potential

ULP = float(np.finfo(np.float64).eps)
RISE = 1e-12  # of the dual, relative to its size: what counts as progress when the residual is on a plateau
LEAST_AIM = 1e-16  # relative residual that is still worth aiming at
GROWN = 30.0  # nats: a marginal that is to grow by so much is nothing beside what it becomes


@dataclass(frozen=True, eq=False)
class Iterate:
    """Kernel potentials and the logarithms of the marginals that belong to them."""

    alpha: Vector
    beta: Vector
    log_row: Vector
    log_col: Vector


class StoppingTest:
    """When a measure is good enough: of one problem, or of many with an entry for each in every array."""

    residual: Any
    marginal_error: Any
    relaxed_gap: Any
    dual: Any
    mass: Any
    relaxed: Any
    epsilon: Any
    rounding: Any

    @property
    def unit(self) -> Any:
        """What gaps are compared with."""
        return np.maximum(abs(self.dual), self.epsilon * self.mass)

    def near(self, tol: float) -> Any:
        """Residual and marginal_error <= tol mass, of a plan that has any mass left."""
        sound = (abs(self.residual) < np.inf) & (abs(self.dual) < np.inf) & (self.mass > 0)
        return sound & (self.residual <= tol * self.mass) & (self.marginal_error <= tol * self.mass)

    def reaches(self, tol: float) -> Any:
        """Near, and relaxed_gap <= tol max(abs(dual), epsilon mass)."""
        near = self.near(tol)
        if near is False or self.relaxed is False:  # one problem, whose gap does not matter
            return near
        hard = self.relaxed ^ True
        return near & (hard | (self.relaxed_gap <= tol * self.unit))

    def resolved(self, tol: float) -> Any:
        """True if float64 tells potentials that reach the tolerance from others, so that it is not luck if they do."""
        return self.rounding <= tol * self.mass

    def meets(self, tol: float) -> Any:
        """The stopping test."""
        return self.reaches(tol) & self.resolved(tol)


@dataclass(frozen=True)
class Measure(StoppingTest):
    """The certificate of an iterate, in the problem's own units.

    Attributes
    ----------
    residual : float
        L1 change of the marginals under one more exact update of each side; on a `Fixed` side that is sum abs(r - a).
        It is 0 only at the optimum.
    marginal_error : float
        L1 distance of the hard sides' marginals from what they allow.
    relaxed_gap : float
        Duality gap of the relaxed sides.
    dual : float
        Dual value without the constant epsilon * sum(R).
    mass : float
        What the residual is compared with: the mass of a fixed side, else the mass of the plan.
    relaxed : bool
        A side is relaxed.
    epsilon : float
    rounding : float
        What float64 leaves open of the marginals: potentials over epsilon are exponents, good to their last digit.
        Looked at where potentials are final, else 0.
    mended_gap : float
        A bound on the gap of the nearest plan whose marginals on `TV` sides are what their potentials ask for. Looked
        at where potentials are final, else inf. A firm `TV` can be met to rounding like a `Fixed` side, but in
        `relaxed_gap` every unit in the last place of its marginals costs rho.
    """

    residual: float
    marginal_error: float
    relaxed_gap: float
    dual: float
    mass: float
    relaxed: bool
    epsilon: float
    rounding: float = 0.0
    mended_gap: float = np.inf

    @property
    def unit(self) -> float:
        """What gaps are compared with: a number of Python, whose arithmetic does not warn."""
        return float(super().unit)

    @property
    def relative_residual(self) -> float:
        """The residual over the mass; inf where a plan of relaxed sides has lost all mass."""
        return self.residual / self.mass if self.mass > 0 else np.inf

    def settles(self, tol: float) -> bool:
        """The test for an iterate that comes no nearer."""
        return bool(self.near(tol) and self.mended_gap <= tol * self.unit and self.resolved(tol))

    def aim(self, tol: float) -> float:
        """The residual to aim at, relative to the mass: below `tol` where that leaves too much of the gap.

        The gap of a firm `TV` is the price times the residual; others fall with its square.
        """
        if not self.relaxed or not tol * self.unit < self.relaxed_gap < np.inf:
            return tol
        return min(tol, max(LEAST_AIM, self.relative_residual * (tol * self.unit / self.relaxed_gap)))


def measure(task: Task, iterate: Iterate) -> Measure:
    """Return the measure of an iterate; residual inf and dual -inf if its plan overflows, nan only if it is nan."""
    with np.errstate(all="ignore"):
        return _measure(task, *_parts(task, iterate))


def measure_final(task: Task, iterate: Iterate, left_out: float = 0.0) -> Measure:
    """Return the measure of potentials that are to be returned, with `rounding` and `mended_gap`.

    `left_out` is a bound on the mass that the marginals lack, in units of the problem's. It may be missing on either
    side, it lowers the dual by epsilon times itself, and the plan without it is as far from the plan.
    """
    with np.errstate(all="ignore"):
        row, col = _parts(task, iterate)
        found = _measure(task, row, col)
        rounding = ULP * (row.size_of_exponents + col.size_of_exponents)
        found = replace(found, rounding=rounding, mended_gap=_mended_gap(task, row, col))
    if not left_out:
        return found
    mass = task.problem.mass * left_out
    hard = [penalty.hard for penalty in (task.problem.rows, task.problem.cols)]
    return replace(
        found,
        residual=found.residual + 2.0 * mass,
        marginal_error=found.marginal_error + sum(hard) * mass,
        relaxed_gap=found.relaxed_gap + task.problem.epsilon * mass,
        dual=found.dual - task.problem.epsilon * mass,
        mended_gap=found.mended_gap + task.problem.epsilon * mass,
    )


def _measure(task: Task, row: _Part, col: _Part) -> Measure:
    problem = task.problem
    total = row.total
    if problem.rows.box()[0] == problem.rows.box()[1]:
        mass = problem.mass
    elif problem.cols.box()[0] == problem.cols.box()[1]:
        mass = float(problem.b.sum())
    else:
        mass = total
    relaxed = not (problem.rows.hard and problem.cols.hard)
    return Measure(**of_sides(row, col, problem.epsilon * total), mass=mass, relaxed=relaxed, epsilon=problem.epsilon)


def of_sides(row: _Part | SideMeasure, col: _Part | SideMeasure, entropy: Any) -> dict[str, Any]:
    """What measures of two sides add up to; `entropy` is epsilon times the mass of the plan."""
    return {
        "residual": row.residual + col.residual,
        "marginal_error": row.marginal_error + col.marginal_error,
        "relaxed_gap": _or(np.inf, row.gap + col.gap),
        "dual": _or(-np.inf, row.dual + col.dual - entropy),
    }


def _mended_gap(task: Task, row: _Part, col: _Part) -> float:
    """Bound the gap of Q, made of P by scaling down what exceeds its marginal and adding what is missing as a product.

    A product x y^T adds <C - f - g, x y^T> and entropy: epsilon x_i y_j log(x_i y_j / R_ij) at most, with x_i y_j <= 1.
    So no unit of mass costs more than -epsilon times the least logarithm in P. Where entries are masked it may have
    to go a long way round.
    """
    firm = [part for part in (row, col) if isinstance(part.penalty, TV)]
    missed = sum(part.off_demand for part in firm)
    if not firm or not np.isfinite(missed):
        return np.inf
    problem = task.problem
    dearest = max(problem.cost.highest - problem.epsilon * (row.least_alpha + col.least_alpha), 0.0)
    steps = 2 * (problem.cost.row_count + problem.shape[1] if problem.cost.masked else 1)
    return sum(part.gap for part in (row, col) if part not in firm) + steps * missed * (dearest + problem.epsilon)


def _parts(task: Task, iterate: Iterate) -> tuple[_Part, _Part]:
    problem = task.problem
    return (
        _Part(
            task, problem.ranks, problem.rows, problem.a, problem.row_used, task.rows, iterate.alpha, iterate.log_row
        ),
        _Part(task, ALONE, problem.cols, problem.b, problem.col_used, task.cols, iterate.beta, iterate.log_col),
    )


class _Part:
    """One side's share of the measure, on the entries in use; `ranks` sums over them."""

    def __init__(
        self,
        task: Task,
        ranks: Ranks,
        penalty: Penalty,
        weights: Vector,
        used: NDArray[np.bool_],
        side: Side,
        alpha: Vector,
        log_marginal: Vector,
    ) -> None:
        epsilon, mass = task.problem.epsilon, task.problem.mass
        self.constant = 0.0
        if not used.all():
            self.constant = blocked_value(penalty, weights, used)
            side = side._replace(weight=side.weight[used], log_weight=side.log_weight[used], offset=side.offset[used])
            weights, alpha, log_marginal = weights[used], alpha[used], log_marginal[used]
        self.ranks, self.penalty, self.weights, self.alpha = ranks, penalty, weights, alpha
        scaled = scaled_potential(alpha, side)
        self.potential = epsilon * scaled
        log_marginal = np.maximum(log_marginal, -1e6)  # 0 as well, but with a finite logarithm
        change = exact_change(side, side.log_weight - log_marginal, scaled, task.backend.potential)
        found = side_measure(penalty, weights, None, self.potential, log_marginal, change, mass)
        self.marginal = found.marginal
        self.total, self.residual, self.dual, self.gap, self.marginal_error = ranks.totals(
            float(found.marginal.sum()),
            float(found.residual),
            float(found.dual) + self.constant,
            float(found.gap),
            float(found.marginal_error),
        )

    @property
    def size_of_exponents(self) -> float:
        """Sum of the potentials over epsilon, where there is mass, by size."""
        return self.ranks.sum((self.marginal * np.abs(self.alpha))[self.marginal > 0])

    @property
    def least_alpha(self) -> float:
        return -self.ranks.max(-self.alpha)

    @property
    def off_demand(self) -> float:
        """L1 distance of the marginal from those that the potential is optimal for."""
        low, high = self.penalty.demand(self.potential, self.weights)
        return self.ranks.sum(np.abs(self.marginal - np.clip(self.marginal, low, high)))


@dataclass(frozen=True, eq=False)
class SideMeasure:
    """One side's share, for one problem or for each of many."""

    marginal: Vector
    residual: Vector
    dual: Vector
    gap: Vector
    marginal_error: Vector


def side_measure(
    penalty: Penalty,
    weights: Vector,
    used: NDArray[np.bool_] | None,
    potential: Vector,
    log_marginal: Vector,
    change: Vector,
    mass: Any,
) -> SideMeasure:
    """Measure a side by its potentials, logarithmic marginals and their `change` in one exact update, in epsilon.

    Sums run over the last axis, over the entries in `used` (None: all of them).
    """
    safe = weights if used is None else np.where(used, weights, 1.0)
    marginal = mass * _kept(np.exp(log_marginal), used)
    moved = marginal * np.abs(np.expm1(change))
    if not change.max(initial=-np.inf) <= GROWN:
        moved = np.where(change > GROWN, mass * np.exp(log_marginal + change), moved)
    residual = _kept(moved, used).sum(axis=-1)
    if not (residual < np.inf).all():
        overflow = np.isnan(residual) & ~np.isnan(_kept(log_marginal + change, used)).any(axis=-1)
        residual = np.where(overflow, np.inf, residual)  # inf times 0
    gap = np.zeros_like(marginal) if isinstance(penalty, Fixed) else penalty.gap(marginal, potential, safe)
    return SideMeasure(
        marginal=marginal,
        residual=residual,
        dual=_kept(penalty.dual(potential, safe), used).sum(axis=-1) + _blocked(penalty, weights, used),
        gap=_kept(gap, used).sum(axis=-1),
        marginal_error=_kept(_outside(penalty, marginal, safe), used).sum(axis=-1),
    )


def _kept(values: Vector, used: NDArray[np.bool_] | None) -> Vector:
    return values if used is None else np.where(used, values, 0.0)


def _blocked(penalty: Penalty, weights: Vector, used: NDArray[np.bool_] | None) -> Any:
    """`blocked_value` of every problem."""
    if used is None or (used == (weights > 0)).all():
        return 0.0
    blocked = np.where(used, 0.0, weights)
    values = penalty.phi(np.zeros_like(blocked), np.where(blocked > 0, blocked, 1.0))
    return np.where(blocked > 0, values, 0.0).sum(axis=-1)


def _or(otherwise: float, values: Any) -> Any:
    """Values, one or many, with `otherwise` in place of nan."""
    if isinstance(values, float):
        return otherwise if math.isnan(values) else values
    return np.where(np.isnan(values), otherwise, values)


def _outside(penalty: Penalty, r: Vector, a: Vector) -> Vector:
    """Distance of every marginal from what a hard side allows, 0 on others."""
    if isinstance(penalty, Fixed):
        return np.abs(r - a)
    lo, hi = penalty.box()
    return np.asarray(np.maximum(lo * a - r, 0.0) + np.maximum(r - hi * a, 0.0))


def blocked_value(penalty: Penalty, weights: Vector, used: NDArray[np.bool_]) -> float:
    """The penalty of rows that have weight but no allowed cell: their marginal is 0 in every plan."""
    blocked = weights[(weights > 0) & ~used]
    return float(penalty.phi(np.zeros_like(blocked), blocked).sum()) if blocked.size else 0.0
