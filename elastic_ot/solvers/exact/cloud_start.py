"""Potentials near those of the exact problem between points: a multiscale solve at a blur of about their spacing."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeGuard

import numpy as np

from ...costs.base import KnownCost
from ...costs.point_cost import PointCost
from ...problems.penalty import Vector
from ...problems.problem import Problem
from ...problems.scaled import Task
from ..driver import Limits, Outcome, Phase, run
from ..multiscale import LEFT_SHARE, Multiscale, solve_ordered
from ..state import Start
from .warm_start import Pause

SPACINGS = 1.0  # times the cost between neighbours: the epsilon; measured, at 3 ties take many more paths
ROUGHLY = 0.01  # tolerance
ATTEMPTED = 200  # iterations at most


def is_searched(cost: KnownCost) -> TypeGuard[PointCost]:
    """True for costs between points whose least entries are found without a look at the others."""
    return isinstance(cost, PointCost) and cost.searched


def cloud_potentials(problem: Problem, pause: Pause) -> Vector:
    """Potentials of the columns where a plan couples points with some neighbours of their images."""

    def look(count: int, residual: float) -> None:
        pause()

    assert is_searched(problem.cost)
    epsilon = SPACINGS * problem.cost.spacing()
    if not epsilon > 0.0:
        return np.zeros(problem.shape[1])
    cost = problem.cost.pruned(LEFT_SHARE * ROUGHLY)
    start = Start(None, None, "rows", (1.0, 1.0), True)
    limits = Limits(ROUGHLY, ATTEMPTED, callback=look)

    def solve(task: Task, begin: Start) -> Outcome:
        return run((Phase("multiscale", Multiscale()),), task, begin, limits)

    with np.errstate(all="ignore"):
        return solve_ordered(replace(problem, cost=cost, epsilon=epsilon), start, solve).g
