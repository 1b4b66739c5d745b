"""Rows and columns that weigh nothing beside the others: set aside for the solve, given their potentials afterwards.

Sums of entries are good to 1e-16 of themselves, and kernels tell sums from nothing down to 1e-28. Weights of a softmax
may span hundreds of decades. Where a penalty holds marginals near them, what weighs less than 1e-25 of its side is set
aside here: no residual can show it, but its potentials, hundreds of epsilon from where they begin, would keep sweeps
from being trusted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import Side
from ..distributed.ranks import ALONE, Ranks
from ..problems.penalties import KL
from ..problems.penalty import Penalty, Vector
from ..problems.problem import Problem
from ..problems.scaled import Task, make_task
from .local import column_response
from .log_domain import sweep
from .state import State

LIGHT = 1e-25  # of its side's total weight
WEIGHTLESS = 1e-3  # share of a residual that rows without influence on it may weigh together


def without_light(problem: Problem) -> Problem:
    """The problem without its light rows and columns; itself if it has none, or if others have no partners but them."""
    a, b = _heavy(problem.a, problem.rows, problem.ranks), _heavy(problem.b, problem.cols, ALONE)
    if a is problem.a and b is problem.b:
        return problem
    heavy = replace(problem, a=a, b=b)
    if not (problem.ranks.any(heavy.row_used.any()) and heavy.col_used.any()) or _strands(heavy):
        return problem
    return heavy


def _strands(heavy: Problem) -> bool:
    """True if some of its rows or columns have no partners left."""
    cost = heavy.cost
    if not cost.masked:
        return False
    of_rows, of_cols = cost.allowed_sums(heavy.b)[heavy.row_used], cost.allowed_sums_of_columns(heavy.a)[heavy.col_used]
    return not (heavy.ranks.all((of_rows > 0).all()) and (of_cols > 0).all())


def weighty(side: Side, aim: float, count: int) -> NDArray[np.bool_]:
    """Entries, of so many, that can show in a residual of `aim`, relative to the mass: the others together cannot."""
    return np.asarray(side.weight > WEIGHTLESS * aim / count)


def _heavy(weights: Vector, penalty: Penalty, ranks: Ranks) -> Vector:
    """Other penalties let a light row carry much."""
    if np.isinf(penalty.box()[1]) and not isinstance(penalty, KL):
        return weights
    light = weights < LIGHT * ranks.sum(weights)
    return np.where(light, 0.0, weights) if ranks.any(weights[light].any()) else weights


def with_light(task: Task, heavy: Problem, f: Vector, g: Vector) -> tuple[Vector, Vector]:
    """Potentials of the whole problem: one exact update of the rows that were set aside, and one of such columns.

    What the second does to the first is at most the weight of those columns.
    """
    problem = task.problem
    rows, cols = problem.row_used & ~heavy.row_used, problem.col_used & ~heavy.col_used
    if problem.ranks.any(rows.any()):
        partners = make_task(replace(problem, b=heavy.b))
        swept = _swept(partners, np.where(rows, 0.0, f), g, (1.0, 0.0))
        f = np.where(rows, partners.potentials(swept.alpha, swept.beta)[0], f)
    if cols.any():
        swept = _swept(task, f, np.where(cols, 0.0, g), (0.0, 0.0))
        moved = swept.beta + column_response(task, swept.beta, swept.log_col)
        g = np.where(cols, task.potentials(swept.alpha, moved)[1], g)
    return f, g


def _swept(task: Task, f: Vector, g: Vector, omega: tuple[float, float]) -> State:
    scratch = task.plan.scratch(False, brief=True)
    state = State(task, *task.alphas(f, g), "rows", omega, False, scratch)
    sweep(state, omega, 1)
    return state
