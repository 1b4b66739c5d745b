"""An exact problem solved by whoever reads its matrix as it is stored, and refused without a proof."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ...backends import load_paths
from ...errors import ConvergenceError
from ...problems.problem import Problem
from ..blocked import refuse_blocked
from ..feasibility import Blocked
from .clock import Clock
from .cloud_start import is_searched
from .equal_points import merged
from .pricing import Exact
from .reduced import solve_exactly
from .small import solved_at_once


def solve_proved(problem: Problem, integral: bool, clock: Clock, price: float = 0.0) -> Exact:
    """By rows as they are stored, whose kinks lie higher by `price`; nothing is returned without its proof."""
    small = None if price else solved_at_once(problem, clock.check)
    if small is not None:
        return small
    found = _solve(problem, integral, clock, price)
    _refuse_blocked(found, problem)
    if not found.proved:
        raise ConvergenceError(
            "rounding leaves a gap between the plan and its potentials: costs differ by more than float64 can add up; "
            "give forbidden cells as inf, or rescale"
        )
    return found


def _solve(problem: Problem, integral: bool, clock: Clock, price: float) -> Exact:
    if is_searched(problem.cost):
        of_distinct = merged(problem, problem.cost)
        if of_distinct is not None:
            return of_distinct.expanded(_solve(of_distinct.problem, integral, clock, price))
    found = solve_exactly(problem.by_rows, load_paths(), integral, clock.check, price)
    return found.transpose() if problem.cost.fortran else found


def refuse_overflow(value: float, problem: Problem) -> None:
    """A sum of products of costs and masses that float64 cannot hold."""
    if not math.isfinite(value):
        largest = problem.cost.largest
        raise ValueError(
            f"cost reaches {largest:g}, a sums to {problem.a.sum():g} and b to {problem.b.sum():g}; "
            "the value overflows, rescale one of them"
        )


def _refuse_blocked(found: Exact, problem: Problem) -> None:
    if found.blocked.size:
        _refuse("rows", found.blocked, problem.cost.rows(found.blocked))
    if found.blocked_cols.size:
        _refuse("columns", found.blocked_cols, problem.cost.columns(found.blocked_cols))


def _refuse(name: str, members: NDArray[np.int64], costs: NDArray[np.floating]) -> None:
    refuse_blocked(Blocked(name, members, np.flatnonzero(np.isfinite(costs).any(axis=0))))
