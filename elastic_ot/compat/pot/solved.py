"""The kinds of problems behind `solve` and `solve_sample`, solved and put into an `OTResult`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...api.exact import exact as solve_exactly
from ...costs.points import PointCloud
from .arguments import strengths
from .entropic import Asked, divergence_of, entropic, log_of_solve
from .gromov import (
    entropic_fused_gromov_wasserstein2,
    entropic_gromov_wasserstein2,
    fused_gromov_wasserstein2,
    gromov_wasserstein2,
)
from .homes import home_of_results, on_host, read, with_gradients
from .lazy import LazyPlan
from .lp import costs_of
from .objective import notes_of_relaxed
from .objective import relaxed as solved_with_penalties
from .relaxed_gromov import fused, notes_of_fused, value_of_fused
from .result import OTResult
from .two_plans import Steps
from .without_entropy import relaxed_of_call

FINISHED = "Converged"
LEAST_WEIGHT = np.finfo(np.float64).tiny  # in place of a weight of 0, over which a slope is a ratio


def exact(M: Any, a: Any, b: Any) -> OTResult[Any]:
    """Without entropy, between hard sides."""
    value, log = costs_of(a, b, M, log=True, return_matrix=True)
    return OTResult(
        home_of_results(M), (log["u"], log["v"]), value, value, known_plan=log["G"], status=FINISHED, log=log
    )


def relaxed_exact(M: Any, a: Any, b: Any, strength: Any, kind: str) -> OTResult[Any]:
    """Without entropy, with penalties on both sides."""
    found, home, (M, a, b), both = relaxed_of_call(a, b, M, strength, kind)
    by_weight = (
        side.at(1.0).dual_by_weight(f, np.maximum(np.asarray(on_host(x), np.float64), LEAST_WEIGHT))
        for side, f, x in zip(both, (found.f, found.g), (a, b), strict=True)
    )
    value = with_gradients(home, found.value, (a, b, M), (*by_weight, found.plan))
    linear = with_gradients(home, found.transport_cost, (M,), (found.plan,))
    log = {"cost": linear, "total_cost": value, "err": found.err, "solution": found}
    given = home.give(found.f), home.give(found.g)
    return OTResult(home, given, value, linear, known_plan=home.give(found.plan), status=FINISHED, log=log)


def balanced(M: Any, a: Any, b: Any, reg: Any, reg_type: str, how: Asked) -> OTResult[Any]:
    """With entropy, between hard sides."""
    found = entropic(M, a, b, reg, how)
    plan, linear, home, log = found.plan, found.linear_cost, found.home, log_of_solve(found)
    xp = home.xp
    reference = xp.ones_like(plan) if reg_type == "entropy" else found.a[:, None] * found.b[None, :]
    value = linear + reg * (divergence_of(home, plan, reference) + xp.sum(plan) - xp.sum(reference))
    status = FINISHED if found.solution is None else _status(found.solution)
    return OTResult(home, (log["log_u"], log["log_v"]), value, linear, known_plan=plan, status=status, log=log)


def relaxed(
    M: Any, a: Any, b: Any, reg: Any, c: Any, reg_type: str, strength: Any, kind: str, how: Asked
) -> OTResult[Any]:
    """With entropy and penalties."""
    found, both = solved_with_penalties(a, b, M, reg, strength, reg_type, c, how, kind)
    plan = found.plan
    log = notes_of_relaxed(found, plan, both, reg_type, c)
    status = FINISHED if found.solution is None else _status(found.solution)
    value, potentials = log["total_cost"], (log["logu"], log["logv"])
    return OTResult(found.home, potentials, value, log["cost"], known_plan=plan, status=status, log=log)


def exact_of_points(costs: PointCloud, a: Any, b: Any) -> OTResult[Any]:
    """Between points, without entropy and without a matrix."""
    home = home_of_results(costs.given[0])
    a, b = (None if x is None else np.asarray(on_host(x), np.float64) for x in read(a, b))
    found = solve_exactly(costs, a, b)
    return OTResult(
        home,
        (home.give(found.f), home.give(found.g)),
        home.give(found.value),
        home.give(found.transport_cost),
        lazy_plan=LazyPlan(found, home),
        status=FINISHED,
        log={"solution": found},
    )


def entropic_of_points(costs: PointCloud, a: Any, b: Any, reg: Any, reg_type: str, how: Asked) -> OTResult[Any]:
    """Between points, with entropy and without a matrix."""
    found = entropic(costs, a, b, reg, how)
    home, solution, log = found.home, found.solution, log_of_solve(found)
    mass, product = float(found.a.sum()), float(found.a.sum()) * float(found.b.sum())
    value = solution.value + float(reg) * (mass - product)
    if reg_type == "entropy":
        weights = [np.asarray(x, np.float64) for x in (found.a, found.b)]
        value += float(reg) * sum(float(x[x > 0] @ np.log(x[x > 0])) for x in weights)
    return OTResult(
        home,
        (log["log_u"], log["log_v"]),
        home.give(value),
        found.linear_cost,
        lazy_plan=LazyPlan(solution, home),
        status=_status(solution),
        log=log,
    )


def debiased(first: OTResult[Any], second: OTResult[Any], between: OTResult[Any]) -> OTResult[Any]:
    """The result between two measures, less half of those within each."""
    log = {"res_aa": first, "res_bb": second, "res_ab": between}
    linear: list[Any] = [found.value_linear for found in (between, first, second)]
    return OTResult(
        between.home,
        between.potentials,
        between.value - 0.5 * (first.value + second.value),
        linear[0] - 0.5 * (linear[1] + linear[2]),
        known_plan=between.known_plan,
        lazy_plan=between.lazy_plan,
        status=between.status,
        log=log | {"solution": None if between.log is None else between.log["solution"]},
    )


def _status(solution: Any) -> str:
    return FINISHED if solution.converged else str(solution.message)


def gromov_result(
    Ca: Any,
    Cb: Any,
    M: Any,
    a: Any,
    b: Any,
    loss: str,
    alpha: Any,
    reg: Any,
    *,
    solver: str,
    max_iter: int | None,
    start: Any,
    tol: float,
    verbose: bool,
) -> OTResult[Any]:
    """Between spaces, fused or not, with entropy or without; a share of 0 is a linear problem."""
    fused = M is not None and alpha != 1
    home = home_of_results(*read(Ca, M))
    if fused and alpha == 0:
        M, a, b = read(M, a, b)
        return balanced(M, a, b, reg, "entropy", Asked(1000, tol)) if reg else exact(M, a, b)
    share = alpha if fused else 1.0
    descend: Any
    options: dict[str, Any]
    if not reg:
        descend = fused_gromov_wasserstein2 if fused else gromov_wasserstein2
        options = {"max_iter": 10_000 if max_iter is None else max_iter, "tol_rel": tol, "tol_abs": tol}
    else:
        descend = entropic_fused_gromov_wasserstein2 if fused else entropic_gromov_wasserstein2
        options = {"max_iter": 1000 if max_iter is None else max_iter, "tol": tol, "epsilon": reg, "solver": solver}
    inputs, shares = ((M, Ca, Cb, a, b), {"alpha": share}) if fused else ((Ca, Cb, a, b), {})
    value, log = descend(*inputs, loss_fun=loss, G0=start, verbose=verbose, log=True, **options, **shares)
    plan, xp = log["T"], home.xp
    linear = (1.0 - share) * xp.sum(plan * read(M)[0]) if fused else None
    quad = value - linear if fused else value
    if reg:
        value = value + reg * xp.sum(plan * xp.log(xp.where(plan > 0, plan, xp.ones_like(plan))))
    potentials = None if reg else (log["u"], log["v"])
    return OTResult(home, potentials, value, linear, quad, plan, status=FINISHED, log=log)


def relaxed_gromov_result(
    spaces: tuple[Any, Any, Any, Any, Any],
    loss: str,
    alpha: float,
    reg: float,
    strength: Any,
    kind: str,
    start: Any,
    how: Steps,
) -> OTResult[Any]:
    """Between spaces, with penalties of products, times alpha as POT has it; `spaces` are Ca, Cb, M, a and b."""
    Ca, Cb, M, a, b = spaces
    sides = tuple(rho / (2.0 * alpha) for rho in strengths(strength, "unbalanced"))
    share = (1.0 - alpha) / alpha
    found = fused(
        relaxed_gromov_result,
        *(Ca, Cb, a, b, M, share, sides, reg / (2.0 * alpha), kind, "mm", start),
        how=how,
        options={},
        loss=loss,
        plans_alone=False,
    )
    home, (P, Q) = found.home, found.found.plans
    value = alpha * value_of_fused(found, share)
    linear = None
    if M is not None:
        costs = np.asarray(on_host(M), np.float64)
        linear = home.give((1.0 - alpha) * float((costs * (P + Q)).sum()) / 2.0)
    log = notes_of_fused(found, value / alpha)
    quad = home.give(alpha * found.problem.energy((P, Q)))
    status = FINISHED if found.found.err[-1] < how.tol else "max_iter reached before the plan came to rest"
    return OTResult(home, found.duals[0], value, linear, quad, home.give(P), status=status, log=log)
