"""Primal and dual values of unregularised problems, from marginals and potentials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problems.penalty import Penalty, Vector
from ..problems.problem import Problem
from .measure import blocked_value


def penalty_values(problem: Problem, r: Vector, c: Vector) -> float:
    """phi_a(r) + phi_b(c) for marginals that meet the hard sides."""
    return _penalty_value(problem.rows, r, problem.a, problem.row_used) + _penalty_value(
        problem.cols, c, problem.b, problem.col_used
    )


def unregularised_dual(problem: Problem, u: Vector, v: Vector) -> float:
    """-phi_a*(-u) - phi_b*(-v): a lower bound on <C, P> + phi_a + phi_b wherever u_i + v_j <= C_ij."""
    used_r, used_c = problem.row_used, problem.col_used
    terms = problem.rows.dual(u[used_r], problem.a[used_r]), problem.cols.dual(v[used_c], problem.b[used_c])
    blocked = blocked_value(problem.rows, problem.a, used_r) + blocked_value(problem.cols, problem.b, used_c)
    try:
        return math.fsum(np.concatenate(terms)) + blocked
    except (OverflowError, ValueError):  # terms beyond float64, or inf - inf
        return -math.inf


def assignment_gap(costs: tuple[float | int, ...], u: Vector, v: Vector) -> float:
    """Distance between what an assignment costs and the sum of its potentials."""
    return abs(math.fsum([*costs, *(-u).tolist(), *(-v).tolist()]))


def assignment_gaps(costs: NDArray[Any], u: NDArray[np.float64], v: NDArray[np.float64]) -> Vector:
    """`assignment_gap` of many assignments (B,) with potentials (B, n) and (B, m)."""
    return np.abs([math.fsum(terms) for terms in np.hstack([costs[:, None].astype(float), -u, -v]).tolist()])


def _penalty_value(penalty: Penalty, r: Vector, a: Vector, used: NDArray[np.bool_]) -> float:
    """Phi at the rounded marginal; a hard side is met by construction."""
    met = 0.0 if penalty.hard else float(penalty.phi(r[used], a[used]).sum())
    return met + blocked_value(penalty, a, used)
