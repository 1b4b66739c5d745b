"""The call `low_rank`: read the problem, make the first factors, improve them, wrap what was found."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ..arrays.ingest import ingest_number, ingest_stack, refuse_devices
from ..arrays.origin import Origin, origin_of
from ..calls import public
from ..costs.base import Cost, is_cost
from ..costs.grid import flat_weights
from ..costs.products import products_of
from ..costs.relative import absolute
from ..errors import report_failure
from ..plans.factors import rounded_factors
from ..problems.build import build, check_sides
from ..problems.penalties import KL, Fixed
from ..problems.penalty import Penalty, Vector
from ..problems.problem import Problem
from ..solutions.low_rank import Factors, LowRankSolution, low_rank_history
from ..solvers.low_rank.descent import LowRankDescent, LowRankFound, improve
from ..solvers.low_rank.factors import Array, Factor, Side
from ..solvers.low_rank.objective import Objective, Point
from ..solvers.low_rank.projection import Kernel, project
from ..solvers.low_rank.start import paired_start, random_start
from ..solvers.status import Status
from ..typing import ArrayLike
from .options import check_choice, check_limits

FACTOR_STARTS = ("kmeans", "random")
NO_SPAN = 1e-13  # of the largest cost: a residual that is rounding, whatever the range of the costs


@public
def low_rank(
    cost: ArrayLike | Cost,
    rank: int,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: float | str = 0.0,
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    init: object = "kmeans",
    starts: int = 1,
    seed: int = 0,
    step: float = 10.0,
    least_share: float = 1e-6,
    tol: float = 1e-6,
    max_iter: int = 1000,
    time_limit: float | None = None,
    callback: Callable[[int, float], object] | None = None,
    on_failure: Literal["warn", "raise", "ignore"] = "warn",
) -> LowRankSolution:
    """Transport by a plan of low rank, Q diag(1/g) R^T: few groups that mass is sent through.

    Looks for a stationary point of <C, P> + phi_rows(P 1) + phi_cols(P^T 1) + epsilon H over factors Q, R >= 0 of
    `rank` columns with the same column sums g > 0, where H is the entropy of the factors.

    Parameters
    ----------
    cost : array_like, shape (n, m), or Cost
        Finite costs. A `PointCloud` with the metric "sqeuclidean", "dot" or "cosine", and a `Grid`, take time and
        memory in proportion to n + m; other costs are read once an iteration, by blocks where they are not stored.
    rank : int
        Columns of the factors, >= 1; at most min(n, m) are used.
    a, b : array_like, shapes (n,) and (m,), optional
        Weights >= 0, default 1/n and 1/m.
    epsilon : float or str
        Strength of the entropy H = KL(Q | a 1^T / r) + KL(R | b 1^T / r) + KL(g | 1 / r), in the units of the cost, >=
        0. A text such as ``"0.05x"`` is a fraction of their range, as for `solve`.
    rows, cols : Fixed or KL
        What the marginals are asked to be.
    init : {"kmeans", "random"}, LowRankSolution or pair of array_like, shapes (n, rank) and (m, rank)
        The factors to begin with: clusters of pairs of points, random ones, those of another solution, or Q and R.
    starts : int
        How many factors to begin with: `init`, and others by k-means and random ones in turn. The best result is
        returned.
    seed : int
        Of k-means and random factors; each start has the next one.
    step : float
        Length of the first step: the inverse strength of the entropy that keeps it short, over the range of the
        gradient. Later ones are longer or shorter, as it turns out.
    least_share : float
        Bound from below on the entries of g, times their mean, in (0, 1).
    tol : float
        > 0. Converged means: to first order no factors have an objective that is lower by more than `tol` times the
        mass and the range of the costs.
    max_iter : int
        Iterations at most, each with one product of the cost and the factors.
    time_limit : float, optional
        Seconds at most.
    callback : callable, optional
        Called as ``callback(iteration, residual)`` every iteration; a true value ends the descent.
    on_failure : {"warn", "raise", "ignore"}
        What to do if it ends unconverged.

    Returns
    -------
    LowRankSolution
        The factors, with products, maps and samples of the plan, and a lower bound on all plans.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value; a forbidden entry; a penalty that is neither `Fixed` nor `KL`.
    InfeasibleError
        The sums of a and b differ between fixed sides.
    ConvergenceError
        Not converged and ``on_failure="raise"``.

    Warns
    -----
    ConvergenceWarning
        Not converged and ``on_failure="warn"``.

    See Also
    --------
    solve : plans of any rank, with entropy.
    exact : the cheapest plan of any rank.
    elastic_ot.applications.low_rank_attention : two entropic plans, to and from learned pivots, as attention.

    Notes
    -----
    The problem is not convex, and what is found depends on the start. The objective never rises. Each step minimises
    what is linear near the factors plus a relative entropy to them, by Newton's method on 2 r potentials.

    References
    ----------
    Scetbon, Cuturi, Peyré, *Low-rank Sinkhorn factorization*, 2021; Scetbon and Cuturi, *Low-rank optimal transport:
    approximation, statistics and debiasing*, 2022; Halmos, Liu, Gold, Raphael, *Low-rank optimal transport through
    factor relaxation with latent coupling*, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(400, 2)), rng.normal(size=(300, 2)) + 3.0
    >>> found = eot.low_rank(eot.PointCloud(x, y), 8)
    >>> found.converged, found.factors.q.shape, bool(found.lower <= found.upper < 1.1 * found.lower)
    (True, (400, 8), True)
    """
    check_choice("on_failure", on_failure, ("warn", "raise", "ignore"))
    tol, max_iter, time_limit, callback = check_limits(tol, max_iter, time_limit, callback)
    if tol == 0:
        raise ValueError("tol is 0; low_rank has no fixed number of steps, give a tol > 0")
    deadline = np.inf if time_limit is None else time.perf_counter() + time_limit
    problem, origin = _problem(cost, a, b, rows, cols)
    strength, step, least_share = _numbers(absolute(epsilon, cost), step, least_share)
    count, starts, seed = (
        min(_whole("rank", rank, 1), *problem.shape),
        _whole("starts", starts, 1),
        _whole("seed", seed, 0),
    )
    sides = Side(problem.a, problem.rows), Side(problem.b, problem.cols)
    mass = float(np.sqrt(problem.a.sum() * problem.b.sum()))
    objective = Objective(products_of(problem.cost), sides, strength, mass, least_share * mass / count)
    span = problem.cost.highest - problem.cost.lowest
    wanted = mass * max(tol * span, NO_SPAN * problem.cost.largest)
    how = LowRankDescent(step, wanted, max_iter, deadline, callback)
    found: LowRankFound | None = None
    for k in range(starts):
        begin = init if k == 0 else FACTOR_STARTS[(k + (init == "random")) % 2]
        other = improve(objective, _start(objective, *_factors(begin, problem, count, seed + k)), how)
        if found is None or other.point.value < found.point.value:
            found = other
        if time.perf_counter() >= deadline or other.status is Status.STOPPED:
            break
    assert found is not None
    result = _result(problem, objective, found, wanted, origin)
    if not result.converged:
        report_failure(result.message, on_failure)
    return result


def _numbers(epsilon: Any, step: Any, least_share: Any) -> tuple[float, float, float]:
    values = tuple(
        ingest_number(name, value)
        for name, value in (("epsilon", epsilon), ("step", step), ("least_share", least_share))
    )
    if not 0 <= values[0] < math.inf:
        raise ValueError(f"epsilon is {values[0]}; it must be >= 0 and finite")
    if not 0 < values[1] < math.inf:
        raise ValueError(f"step is {values[1]}; it must be > 0 and finite")
    if not 0 < values[2] < 1:
        raise ValueError(f"least_share is {values[2]}; it must lie in (0, 1)")
    return values[0], values[1], values[2]


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be an integer >= {least}")
    return int(value)


def _problem(cost: Any, a: Any, b: Any, rows: Any, cols: Any) -> tuple[Problem, Origin]:
    check_sides(rows, cols)
    for name, penalty in (("rows", rows), ("cols", cols)):
        soft = type(penalty) is KL and not (np.ndim(penalty.rho) == 0 and penalty.rho == 0)
        if not (soft or type(penalty) is Fixed):
            raise ValueError(f"{name} is {penalty!r}; low_rank takes Fixed() and KL(rho) with rho > 0")
    matrix = None if is_cost(cost) else cost
    refuse_devices("low_rank", cost=matrix, a=a, b=b)
    a, b = flat_weights(cost, a, b)
    problem = build(cost, a, b, 1.0, rows, cols, "product", None)
    if problem.cost.masked:
        for at, block in problem.cost.strips():
            wrong = np.argwhere(~np.isfinite(block))
            if len(wrong):
                i, j = wrong[0]
                raise ValueError(f"cost[{at.start + i}, {j}] is {block[i, j]}; low_rank takes finite costs, use solve")
    return problem, origin_of(cost=matrix, a=a, b=b)


def _factors(init: Any, problem: Problem, rank: int, seed: Any) -> tuple[Array, Array]:
    """Q and R to begin with; column sums may differ."""
    if isinstance(init, str):
        check_choice("init", init, FACTOR_STARTS)
        rng = np.random.default_rng(seed)
        return random_start(problem.a, problem.b, rank, rng) if init == "random" else paired_start(problem, rank, rng)
    if isinstance(init, LowRankSolution):
        given: tuple[Any, Any] = init.host.q, init.host.r
    elif isinstance(init, tuple | list) and len(init) in (2, 3):
        given = init[0], init[1]
    else:
        raise TypeError(f"init is a {type(init).__name__}; it must be 'kmeans', 'random', a LowRankSolution or (Q, R)")
    factors = []
    for k, (values, size) in enumerate(zip(given, problem.shape, strict=True)):
        factor = ingest_stack(f"init[{k}]", values, 2).astype(np.float64, copy=False)
        if factor.shape != (size, rank):
            raise ValueError(f"init[{k}] has shape {factor.shape}; it must have {(size, rank)}")
        wrong = np.argwhere(~((factor >= 0) & np.isfinite(factor)))
        if len(wrong):
            i, j = wrong[0]
            raise ValueError(f"init[{k}][{i}, {j}] is {factor[i, j]}; it must be >= 0 and finite")
        factors.append(factor)
    return factors[0], factors[1]


def _start(objective: Objective, q: Array, r: Array) -> Point:
    """The nearest factors that meet the fixed sides, have the weights in the same mass, and the same column sums."""
    kernels = []
    mass = next((float(side.weights.sum()) for side in objective.sides if side.penalty.hard), objective.mass)
    for side, values in zip(objective.sides, (q, r), strict=True):
        weights = side.weights * (1.0 if side.penalty.hard else mass / side.weights.sum())
        kernels.append(Kernel(Factor.of_values(values).logs, Side(weights, Fixed()), 1.0))
    log_g = 0.5 * (np.log(_column_sums(q, objective.least)) + np.log(_column_sums(r, objective.least)))
    zeros = np.zeros(log_g.size)
    found = project((kernels[0], kernels[1]), log_g, objective.least, (zeros, zeros))
    if found is None:
        raise ValueError("init has factors that no scaling brings to the weights and to equal column sums")
    return objective.at(found.q, found.r, found.g)


def _column_sums(factor: Array, least: float) -> Vector:
    return np.asarray(np.maximum(factor.sum(axis=0), least))


def _result(
    problem: Problem, objective: Objective, found: LowRankFound, wanted: float, origin: Origin
) -> LowRankSolution:
    point, sides = found.point, objective.sides
    sums = tuple(side.weights if side.penalty.hard else None for side in sides)
    q, r, g = rounded_factors(point.q.values, point.r.values, point.g, (sums[0], sums[1]))
    point = objective.at(Factor.of_values(q), Factor.of_values(r), g)
    reasons = {
        Status.CONVERGED: "converged: the factors are stationary",
        Status.STALLED: "no more progress: no step, however short, lowers the objective",
    }
    reason = reasons.get(found.status, found.status.value)
    host = Factors(q, r, point.g)
    return LowRankSolution(
        problem=problem,
        factors=Factors(*(origin.emit(x) for x in host)),
        host=host,
        value=point.value,
        transport_cost=point.transport,
        upper=point.transport + point.penalty,
        residual=found.residual,
        status=found.status,
        message=f"{reason} ({len(found.steps)} iterations; residual {found.residual:.2e}, asked for {wanted:.2e})",
        history=low_rank_history(found.steps),
        epsilon=objective.epsilon,
        origin=origin,
    )
