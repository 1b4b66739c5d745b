"""Solves with points in an order in which neighbours are together, whatever order they were given in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...costs.ordered_points import in_order
from ...costs.point_cost import PointCost
from ...problems.penalty import Indices, Vector
from ...problems.problem import Problem
from ...problems.scaled import Task, make_task
from ..driver import Outcome
from ..state import Start


def solve_ordered(problem: Problem, start: Start, solve: Callable[[Task, Start], Outcome]) -> Outcome:
    """Return what `solve` finds for the task with its points in order, in the order of `problem`."""
    assert isinstance(problem.cost, PointCost)
    cost, rows, cols = in_order(problem.cost)
    ordered = replace(problem, cost=cost, a=problem.a[rows], b=problem.b[cols])
    f, g = (None if x is None else x[order] for x, order in ((start.f, rows), (start.g, cols)))
    found = solve(make_task(ordered), replace(start, f=f, g=g))
    sides = {"f": rows, "row_marginal": rows, "g": cols, "col_marginal": cols}
    return replace(found, **{name: _placed(getattr(found, name), order) for name, order in sides.items()})  # type: ignore[arg-type]


def _placed(values: Vector, order: Indices) -> Vector:
    out = values.copy()
    out[order] = values
    return out
