"""The dual near the current potentials: the curvature of the penalties, their kinks, its slope along a change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import Side
from ..problems.penalties import Fixed
from ..problems.penalty import Vector
from ..problems.scaled import Task
from ..problems.updates import exact_change, scaled_potential


@dataclass(frozen=True, eq=False)
class Local:
    """One side of the dual near its potentials, in units of the kernels: curvature and the interval of smoothness.

    `free` entries belong to Newton's system; the others are removed, or best off on the kink where they are.
    """

    curvature: Vector
    low: Vector
    high: Vector
    free: NDArray[np.bool_]
    rigid: bool
    """Every entry in use is free and none has curvature."""


def local(task: Task, name: str, alpha: Vector, response: Vector) -> Local:
    """`response` is the change of the potentials in an exact update, which says to which side of a kink they go."""
    problem = task.problem
    if name == "rows":
        penalty, weights, used, side = problem.rows, problem.a, problem.row_used, task.rows
    else:
        penalty, weights, used, side = problem.cols, problem.b, problem.col_used, task.cols
    if isinstance(penalty, Fixed):
        none = np.zeros_like(alpha)
        return Local(none, none - np.inf, none + np.inf, used, True)
    epsilon = problem.epsilon
    f = np.where(used, epsilon * scaled_potential(np.where(used, alpha, 0.0), finite(side, used)), 0.0)
    towards = np.where(f == 0, np.sign(response) * 1e-300, f)
    curvature, low, high = penalty.smooth(towards, np.where(used, weights, 1.0))
    slack = 1e-12 * (np.abs(f) + epsilon)
    stays = ((f - low <= slack) & (response <= 0)) | ((high - f <= slack) & (response >= 0))
    curvature = np.where(used, curvature * (epsilon / problem.mass), 0.0)
    free = used & ~stays
    rigid = not curvature.any() and bool((free | ~used).all())
    rigid = problem.ranks.all(rigid) if name == "rows" else rigid
    return Local(curvature, low / epsilon, high / epsilon, free, rigid)


def finite(side: Side, used: NDArray[np.bool_]) -> Side:
    """The side with offset 0 on removed entries, so that nothing there is -inf - -inf."""
    return side._replace(offset=np.where(used, side.offset, 0.0))


def column_response(task: Task, beta: Vector, log_col: Vector) -> Vector:
    """Change of beta in one exact update of the columns; 0 for removed ones."""
    used, side = task.problem.col_used, task.cols
    potential = np.where(used, beta, 0.0) - np.where(used, side.offset, 0.0)
    ratio = np.where(used, side.log_weight, 0.0) - np.where(used, log_col, 0.0)
    return np.where(used, exact_change(side, ratio, potential, task.backend.potential), 0.0)


def smooth_change(task: Task, beta: Vector, cols: Local, x: Vector) -> Vector:
    """The part of the change x that stays where the dual is smooth."""
    potential = np.where(task.problem.col_used, beta - finite(task.cols, task.problem.col_used).offset, 0.0)
    return np.where(cols.free, np.clip(potential + x, cols.low, cols.high) - potential, 0.0)


def slope_along(task: Task, beta: Vector, c: Vector, change: Vector) -> float:
    """Directional derivative of the dual, in its own units."""
    problem, used = task.problem, task.problem.col_used
    g = problem.epsilon * scaled_potential(beta[used], task.cols._replace(offset=task.cols.offset[used]))
    change = change[used]
    least, most = problem.cols.demand(g, problem.b[used])
    demand = np.where(change > 0, least, most) / problem.mass
    rise = float((change * np.where(change == 0, 0.0, demand - c[used])).sum())
    return problem.epsilon * problem.mass * rise
