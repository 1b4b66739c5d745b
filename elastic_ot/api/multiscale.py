"""Which clouds are solved at several scales, and what must be true of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..backends.protocol import BOUNDED_METRICS
from ..costs.point_cost import PointCost
from ..costs.points import PointCloud
from ..problems.problem import Problem
from ..solvers.methods import multiscale_pays
from ..solvers.multiscale import LEFT_SHARE


def pruned(problem: Problem, cost: Any, method: Any, omega: float, tol: float) -> Problem:
    """Return the problem with a cost of which blocks without mass may be left out, where the method wants that.

    Raises
    ------
    ValueError
        For "multiscale" and a cost that is no cloud, or a metric whose plans are not bounded.
    """
    known = problem.cost
    if method == "multiscale":
        _refuse(cost, tol)
        known = known if isinstance(known, PointCost) else cost._known()  # few points have become a matrix
    elif not (method == "auto" and isinstance(known, PointCost) and multiscale_pays(known, omega, tol)):
        return problem
    return replace(problem, cost=known.pruned(LEFT_SHARE * tol))


def _refuse(cost: Any, tol: float) -> None:
    names = ", ".join(map(repr, BOUNDED_METRICS))
    if not isinstance(cost, PointCloud):
        raise ValueError(f"method='multiscale' is for points: pass an elastic_ot.PointCloud with a metric of {names}")
    if cost.metric not in BOUNDED_METRICS:
        raise ValueError(f"method='multiscale' is for a metric of {names}, and this is {cost.metric!r}; use 'auto'")
    if tol == 0:
        raise ValueError("method='multiscale' leaves out what the tolerance allows; give a tol > 0")
