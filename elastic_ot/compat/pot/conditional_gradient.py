"""Gromov-Wasserstein without entropy: by conditional gradients (Frank-Wolfe), or by proximal steps.

A conditional step solves <G, Q> for the derivative G of the objective at P, by `elastic_ot.exact`, and moves from P
towards Q by the best length: along D = Q - P, whose marginals are 0, the objective is J(P) + t <G, D> - t^2 alpha
<left(X) D right(Y)^T, D>.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...api.exact import exact
from ...api.solve import solve
from ...problems.penalty import Vector
from ...solvers.gromov.structures import Array, Coupling, Matrices

INNER_TOL = 1e-9


@dataclass(frozen=True)
class Descended:
    """A stationary plan: no linear problem leads down from it, as far as the tolerances show."""

    plan: Array
    losses: list[float]
    energy: float
    linear: float
    u: Vector
    """Potentials of the last linear problem."""
    v: Vector


def conditional_gradient(
    spaces: Matrices,
    p: Vector,
    q: Vector,
    start: Array,
    max_iter: int,
    relative: float,
    absolute: float,
    verbose: bool,
    bounds: tuple[float, float],
) -> Descended:
    """Descend from a plan until the objective changes by less than either tolerance.

    The marginals of all plans are those of the start.
    """
    plan = start
    near = spaces.at(_coupling(plan))
    value = _value(spaces, near)
    losses = [value]
    solution: Any = None
    for _ in range(max(1, int(max_iter))):
        solution = exact(near.cost, p, q)
        step = solution.plan - plan
        slope = float((near.cost * step).sum())
        bend = -spaces.share * float(((spaces.factors[0] @ step @ spaces.factors[1].T) * step).sum())
        length = min(max(_best_step(slope, bend), bounds[0]), bounds[1])
        plan = plan + length * step
        near = spaces.at(_coupling(plan))
        last, value = value, _value(spaces, near)
        losses.append(value)
        if verbose:
            print(f"{len(losses) - 1:5d}|{value:8e}|{abs(value - last):8e}")
        if abs(value - last) < absolute or (value != 0 and abs(value - last) < relative * abs(value)):
            break
    return Descended(plan, losses, near.energy, near.linear, solution.f, solution.g)


def _coupling(plan: Array) -> Coupling:
    return Coupling(plan.sum(axis=1), plan.sum(axis=0), lambda x: plan @ x, plan)


def _value(spaces: Matrices, near: Any) -> float:
    return float(spaces.share * near.energy + (1.0 - spaces.share) * near.linear)


def _best_step(slope: float, bend: float) -> float:
    """Return the t in [0, 1] with the least slope t + bend t^2."""
    if bend > 0:
        return min(1.0, max(0.0, -0.5 * slope / bend))
    return 1.0 if slope + bend < 0 else 0.0


@dataclass(frozen=True)
class Proximal:
    """A plan found by proximal steps."""

    plan: Array
    err: list[float]
    value: float


def proximal_point(
    spaces: Matrices,
    p: Vector,
    q: Vector,
    start: Array,
    epsilon: float,
    max_iter: int,
    tol: float,
    show: Callable[[int, Any], object] | None,
) -> Proximal:
    """Take entropic steps, each relative to the plan before, until one moves it by less than `tol` in the 2-norm."""
    plan = start
    err: list[float] = []
    with np.errstate(divide="ignore"):
        logs = np.log(plan)
    for k in range(max(1, int(max_iter))):
        cost = spaces.at(_coupling(plan)).cost - epsilon * logs
        found = solve(cost, p, q, epsilon=epsilon, reference="counting", tol=max(tol, INNER_TOL), on_failure="ignore")
        logs, last, plan = found.log_plan, plan, found.plan
        err.append(float(np.linalg.norm(plan - last)))
        if show is not None:
            show(k, err[-1])
        if err[-1] <= tol:
            break
    return Proximal(plan, err, _value(spaces, spaces.at(_coupling(plan))))
