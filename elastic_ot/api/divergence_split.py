"""`divergence` where rows are split over processes: three problems, each with its own split, and their solutions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ..arrays.ingest import refuse_devices
from ..arrays.origin import origin_of
from ..costs.base import is_cost
from ..costs.grid import Grid
from ..costs.points import PointCloud
from ..costs.relative import absolute_of_ranks, fraction
from ..costs.split import SplitCost
from ..distributed.adapters import communicator_of
from ..distributed.agreement import refuse_differences
from ..distributed.ranks import Together
from ..problems.build_batch import is_batch
from ..problems.build_split import build_split
from ..problems.pairs import strength
from ..problems.penalties import Fixed
from ..problems.penalty import Vector
from ..problems.problem import Problem
from ..solutions.divergence import Divergence
from ..solutions.solution import Solution
from ..solutions.split import SplitDivergence, split_solution
from ..solvers.driver import Limits, Outcome
from .divergence_terms import Terms
from .options import check_choice, check_limits, check_method

SYMMETRIC = 1e-10  # by what row and column sums of a symmetric cost may differ, relative to them
ONE_PAIR = "comm splits the rows of one pair of clouds; for a batch, give each process some of the pairs, without comm"


def divergence_split(
    comm: Any,
    costs: tuple[Any, Any, Any],
    weights: tuple[Any, Any],
    scale: tuple[Any, Any],
    sides: tuple[Any, Any],
    on_failure: str,
    **options: Any,
) -> Divergence:
    """Return the divergence of all rows as this process has it."""
    ranks = Together(communicator_of(comm))
    with ranks.interruptible():
        return _divergence(ranks, costs, weights, scale, sides, on_failure, **options)


def _divergence(
    ranks: Together,
    costs: tuple[Any, Any, Any],
    weights: tuple[Any, Any],
    scale: tuple[Any, Any],
    sides: tuple[Any, Any],
    on_failure: str,
    method: Any,
    tol: Any,
    max_iter: Any,
    time_limit: Any,
) -> Divergence:
    limits, epsilon, origin = Limits(0.0, 1), 0.0, origin_of()
    with ranks.noting():
        check_method(method)
        check_choice("on_failure", on_failure, ("warn", "raise", "ignore"))
        limits = Limits(*check_limits(tol, max_iter, time_limit, None))
        _refuse(costs, weights, scale, sides, limits.tol, method)
        if isinstance(scale[0], str):
            fraction(scale[0])
        origin = origin_of(**{f"cost_{k}": x for k, x in zip(("xy", "xx", "yy"), costs, strict=True) if not is_cost(x)})
    ranks.check()
    refuse_differences(ranks, method=method, tol=limits.tol, max_iter=max_iter, time_limit=time_limit, scale=scale)
    scale = absolute_of_ranks(scale[0], costs[0], None, ranks), scale[1]
    with ranks.noting():
        epsilon = _strength(costs[0], scale)
    epsilon = ranks.most(epsilon)  # one without rows cannot tell a blur's power
    rows, cols = sides
    cross = build_split(costs[0], *weights, epsilon, rows, cols, "product", None, ranks)
    made, cost_xx, cost_yy = _within(ranks, costs, cross)
    a, b = cross.cost.of_all_rows(cross.a), cross.b
    own = _own_part(ranks, cost_yy, b.size)
    problem_x = _self(ranks, "cost_xx", cost_xx, cross.a, a, cross, rows, made)
    problem_y = _self(ranks, "cost_yy", cost_yy, b[own], b, cross, cols, made)
    if isinstance(cross.rows, Fixed) and isinstance(cross.cols, Fixed):
        cross, problem_x, problem_y = cross.levelled(), problem_x.levelled(), problem_y.levelled()
    deadline = np.inf if time_limit is None else time.perf_counter() + time_limit
    terms = SplitTerms(method, limits, deadline, origin, made)
    return terms.divergence(cross, problem_x, problem_y, on_failure)


@dataclass(frozen=True)
class SplitTerms(Terms):
    """`Terms` of one process among several; `points` says that all costs lie between the same points."""

    points: bool = False

    def solution(self, problem: Problem, outcome: Outcome) -> Solution:
        """Return an outcome as users get it."""
        return split_solution(problem, outcome, self.limits.tol, self.origin)

    def made(self, value: float, cross: Any, self_x: Any, self_y: Any) -> Divergence:
        """Return what users get."""
        return SplitDivergence(value, cross, self_x, self_y, self.origin, self.points)


def _refuse(costs: Any, weights: Any, scale: Any, sides: Any, tol: float, method: Any) -> None:
    """What cannot be split, or is wrong for any divergence."""
    if tol == 0:
        raise ValueError("tol is 0; a divergence needs converged solutions, and a tol > 0")
    names = "cost_xy", "cost_xx", "cost_yy", "a", "b"
    given = dict(zip(names, (*costs, *weights), strict=True))
    refuse_devices("divergence with comm", **{k: x for k, x in given.items() if x is not None and not is_cost(x)})
    for cost in costs:
        if isinstance(cost, Grid):
            raise ValueError("a Grid is summed axis by axis, and its rows are no part of that; leave comm out")
        strong = scale[0] if scale[1] is None else scale[1]
        if is_batch(cost, weights[0], weights[1], strong, None, sides, (None, None)):
            raise ValueError(ONE_PAIR)
    if method == "multiscale":
        raise ValueError("method='multiscale' reads trees of all points of both sides; with comm use 'auto'")


def _strength(cost: Any, scale: tuple[Any, Any]) -> float:
    if cost is None:
        return -np.inf if scale[0] is None else float(scale[0])
    return float(strength(cost, *scale))


def _within(ranks: Together, costs: tuple[Any, Any, Any], cross: Problem) -> tuple[bool, Any, Any]:
    """The own rows of the costs within both clouds, made of points where they are not given; whether they were."""
    cost_xy, cost_xx, cost_yy = costs
    if not ranks.any(any(cost is not None for cost in costs[1:])):
        cloud = cost_xy if isinstance(cost_xy, PointCloud) else None
        dimensions = int(ranks.most(0.0 if cloud is None else float(cloud.x.shape[1])))
        n = cross.shape[0]
        if not dimensions or ranks.any(n > 0 and cloud is None):
            raise ValueError("cost_xx and cost_yy are missing; pass the own rows of both, or PointCloud(x_rows, y)")
        x = cross.cost.of_all_rows(np.zeros((0, dimensions)) if cloud is None else cloud.x.astype(np.float64))
        if cloud is None:
            return True, None, None
        within_x = PointCloud(cloud.x, x.astype(cloud.dtype), cloud.metric)
        own = cast("SplitCost", cross.cost).share_of(cross.shape[1])
        within_y = PointCloud(cloud.y[own], cloud.y, cloud.metric) if own.start < own.stop else None
        return True, within_x, within_y
    return False, cost_xx, cost_yy


def _own_part(ranks: Together, cost: Any, size: int) -> slice:
    """Which of the columns' points the rows of `cost_yy` are: in the order of the ranks."""
    counts = np.zeros(ranks.comm.size)
    counts[ranks.rank] = 0 if cost is None else np.shape(cost)[0] if not is_cost(cost) else cost.shape[0]
    ranks.add(counts)
    if int(counts.sum()) != size:
        raise ValueError(
            f"cost_yy has {int(counts.sum())} rows on all processes together; it must have {size}, as many as b"
        )
    first = int(counts[: ranks.rank].sum())
    return slice(first, first + int(counts[ranks.rank]))


def _self(
    ranks: Together, name: str, cost: Any, own: Vector, whole: Vector, cross: Problem, penalty: Any, known: bool
) -> Problem:
    """The problem of one measure against itself; refusals say which."""
    try:
        problem = build_split(cost, own, whole, cross.epsilon, penalty, penalty, "product", None, ranks)
        if problem.shape[1] != whole.size:
            raise ValueError(f"it has {problem.shape[1]} columns; it must have {whole.size}, one for each point")
        if not known:
            _check_symmetric(problem)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{name}: {error}") from None
    return problem


def _check_symmetric(problem: Problem) -> None:
    """Compare sums of rows and columns, weighted by numbers that no asymmetry is likely to hide from."""
    cost, n = problem.cost, problem.shape[1]
    weights = np.random.default_rng(0).random(n) + 0.5
    own = cost.of_own_rows(weights)
    by_rows, by_cols = np.zeros(problem.shape[0]), np.zeros(n)
    high = 2.0 * cost.largest + 1.0  # in place of forbidden entries
    with problem.ranks.noting():
        for part, block in cost.strips():
            finite = np.where(np.isfinite(block), block, high).astype(np.float64)
            by_rows[part] = finite @ weights
            by_cols += own[part] @ finite
    problem.ranks.add(by_cols)
    apart = float(np.abs(cost.of_all_rows(by_rows) - by_cols).max())
    if apart > (1e-6 if cost.single else SYMMETRIC) * high * n:
        raise ValueError("a cost within one cloud must be symmetric, and its rows and columns have other sums")
