"""What the iterates of many problems are worth: residual, dual value and gap of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Side
from ...problems.batch import BatchProblem
from ...problems.mixed import is_hard, pick
from ...problems.penalty import Indices, Penalty, Vector
from ...problems.updates import exact_change
from ..measure import ULP, SideMeasure, StoppingTest, of_sides, side_measure
from .scaled import BatchTask, scaled_potentials
from .state import pieces


@dataclass(frozen=True, eq=False)
class BatchMeasure(StoppingTest):
    """`Measure` of every problem."""

    residual: Vector
    marginal_error: Vector
    relaxed_gap: Vector
    dual: Vector
    mass: Vector
    relaxed: NDArray[np.bool_]
    epsilon: Vector
    row_marginal: Vector
    col_marginal: Vector
    rounding: Vector

    def meets(self, tol: float) -> NDArray[np.bool_]:
        """The stopping test, for every problem."""
        with np.errstate(invalid="ignore"):
            return np.asarray(super().meets(tol))


def measure_batch(task: BatchTask, alpha: Vector, beta: Vector, which: Indices) -> BatchMeasure:
    """Measure the problems `which`, from marginals computed anew in double precision."""
    problem = task.problem
    rows, cols = np.zeros_like(alpha), np.zeros_like(beta)
    for part in pieces(which, task.cost[0].size):
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
        sums = of_sides(row, col, problem.epsilon[which] * total)
        rounding = ULP * (_size_of_exponents(row, alpha[which]) + _size_of_exponents(col, beta[which]))
    return BatchMeasure(
        **sums,
        mass=mass,
        relaxed=~hard[which],
        epsilon=problem.epsilon[which],
        row_marginal=row.marginal,
        col_marginal=col.marginal,
        rounding=rounding,
    )


def _size_of_exponents(side: SideMeasure, alpha: Vector) -> Vector:
    """Return the sum of the potentials over epsilon, where there is mass, by size, for every problem."""
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
    scaled = scaled_potentials(alpha[which], part)
    log_marginal = np.where(used, np.maximum(np.log(marginal[which]), -1e6), 0.0)
    log_ratio = np.where(used, part.log_weight, 0.0) - log_marginal
    change = exact_change(part, log_ratio, scaled, task.backend.batch_potential)
    mass, epsilon = task.problem.mass[which, None], task.problem.epsilon[which, None]
    return side_measure(penalty, weights[which], used, epsilon * scaled, log_marginal, change, mass)


def fixed_sides(problem: BatchProblem) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return for every problem whether the marginal of its rows is given, and that of its columns."""
    boxes = problem.rows.box(), problem.cols.box()
    one, other = (np.broadcast_to(np.asarray(lo == hi).reshape(-1), (problem.size,)) for lo, hi in boxes)
    return one, other
