"""What an iterate is worth: residual, dual value and gap, all O(n + m), from potentials and their marginals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import Side
from ..penalties import Fixed, Penalty, Vector
from .task import Task, scaled_potential


@dataclass(frozen=True, eq=False)
class Iterate:
    """Kernel potentials and the logarithms of the marginals that belong to them."""

    alpha: Vector
    beta: Vector
    log_row: Vector
    log_col: Vector


@dataclass(frozen=True)
class Measure:
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
    """

    residual: float
    marginal_error: float
    relaxed_gap: float
    dual: float
    mass: float
    relaxed: bool
    epsilon: float

    def meets(self, tol: float) -> bool:
        """The stopping test: residual <= tol mass, and relaxed_gap <= tol max(abs(dual), epsilon mass)."""
        if not (np.isfinite(self.residual) and np.isfinite(self.dual)) or self.residual > tol * self.mass:
            return False
        return not self.relaxed or self.relaxed_gap <= tol * max(abs(self.dual), self.epsilon * self.mass)


def measure(task: Task, iterate: Iterate) -> Measure:
    """The measure of any iterate: residual inf and dual -inf if its plan overflows, nan only if the iterate is nan."""
    with np.errstate(all="ignore"):
        return _measure(task, iterate)


def _measure(task: Task, iterate: Iterate) -> Measure:
    problem = task.problem
    row = _Part(task, problem.rows, problem.a, problem.row_used, task.rows, iterate.alpha, iterate.log_row)
    col = _Part(task, problem.cols, problem.b, problem.col_used, task.cols, iterate.beta, iterate.log_col)
    total = float(row.marginal.sum())
    if problem.rows.box()[0] == problem.rows.box()[1]:
        mass = problem.mass
    elif problem.cols.box()[0] == problem.cols.box()[1]:
        mass = float(problem.b.sum())
    else:
        mass = total
    return Measure(
        residual=row.residual + col.residual,
        marginal_error=row.marginal_error + col.marginal_error,
        relaxed_gap=_sum_or(np.inf, row.gap, col.gap),
        dual=_sum_or(-np.inf, row.dual, col.dual, -problem.epsilon * total),
        mass=mass,
        relaxed=not (problem.rows.hard and problem.cols.hard),
        epsilon=problem.epsilon,
    )


class _Part:
    """One side's share of the measure, on the entries in use."""

    def __init__(
        self,
        task: Task,
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
        scaled = scaled_potential(alpha, side)
        log_marginal = np.maximum(log_marginal, -1e6)  # 0 as well, but with a finite logarithm
        target = np.empty_like(scaled)
        task.backend.potential(side, side.log_weight - log_marginal + scaled, target)
        found = side_measure(penalty, weights, None, scaled, log_marginal, target, epsilon, mass)
        self.marginal, self.residual = found.marginal, float(found.residual)
        self.dual, self.gap = float(found.dual) + self.constant, float(found.gap)
        self.marginal_error = float(found.marginal_error)


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
    scaled: Vector,
    log_marginal: Vector,
    target: Vector,
    epsilon: Any,
    mass: Any,
) -> SideMeasure:
    """From potentials in epsilon, their logarithmic marginals and what an exact update would make of them.

    Sums run over the last axis, over the entries in `used` (None: all of them).
    """
    safe = weights if used is None else np.where(used, weights, 1.0)
    marginal = mass * _kept(np.exp(log_marginal), used)
    updated = mass * _kept(np.exp(log_marginal + (target - scaled)), used)
    residual = np.abs(updated - marginal).sum(axis=-1)
    overflow = np.isnan(residual) & ~np.isnan(_kept(log_marginal + target, used)).any(axis=-1)
    potential = epsilon * scaled
    gap = np.zeros_like(marginal) if isinstance(penalty, Fixed) else penalty.gap(marginal, potential, safe)
    return SideMeasure(
        marginal=marginal,
        residual=np.where(overflow, np.inf, residual),  # inf - inf: both overflow
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


def _sum_or(otherwise: float, *terms: float) -> float:
    total = sum(terms)
    return otherwise if np.isnan(total) else total


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
