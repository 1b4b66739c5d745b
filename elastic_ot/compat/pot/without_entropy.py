"""Relaxed problems without entropy: of total variation by `elastic_ot.exact`, of other penalties by proximal steps.

A proximal step minimises the objective + epsilon KL(P | P_k), which is `elastic_ot.solve` of the costs M - epsilon
log P_k relative to ones. With falling epsilon a few steps are enough. The potentials of a step, with one side's lowered
until f_i + g_j <= M_ij, bound the objective from below, and that bound decides when to stop.
(Xie, Wang, Wang and Zha, *A fast proximal point method for computing exact Wasserstein distance*, 2020.)
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...api.exact import exact
from ...api.solve import solve
from ...errors import ConvergenceWarning
from ...problems.penalties import TV, Fixed, Free
from ...problems.penalty import Penalty, Vector
from ...solvers.gromov.structures import Array
from .arguments import sides
from .entropic import Sides
from .homes import Home, home_of_results, on_host, read, weights_or_uniform

FIRST_STEP, LEAST_STEP, STEP_FALL = 1e-2, 1e-6, 0.1  # epsilon of the steps, in units of the range of the costs
MOST_PROXIMAL = 100
RELATIVE_GAP = 1e-8  # of the objective, or of the range of the costs times the mass where that is larger
STEP_TOL = 1e-9


@dataclass(frozen=True)
class Relaxed:
    """A plan without entropy, and how far its objective may be from the least one."""

    plan: Array
    f: Vector
    g: Vector
    value: float
    transport_cost: float
    gap: float
    err: list[float]
    """Gaps of the steps."""


def without_entropy(M: Array, a: Vector, b: Vector, both: Sides, verbose: bool = False) -> Relaxed:
    """Solve between sides that are hard or penalised, and warn where the gap is not closed."""
    rows, cols = (side.at(1.0) for side in both)
    if all(isinstance(side, TV | Fixed) for side in (rows, cols)):
        found = exact(M, a, b, rows=rows, cols=cols)
        return Relaxed(found.plan, found.f, found.g, found.value, found.transport_cost, 0.0, [])
    allowed = np.isfinite(M)
    scale = float(np.ptp(M[allowed])) if allowed.any() else 0.0
    scale, mass = scale or 1.0, max(float(a.sum()), float(b.sum()))
    logs: Array = np.full(M.shape, np.log(mass / M.size))
    gaps: list[float] = []
    start: Any = None
    best: Relaxed | None = None
    for k in range(MOST_PROXIMAL):
        epsilon = scale * max(FIRST_STEP * STEP_FALL**k, LEAST_STEP)
        costs = np.where(allowed, M - epsilon * np.where(np.isfinite(logs), logs, 0.0), np.inf)
        step = solve(
            *(np.where(np.isneginf(logs), np.inf, costs), a, b),
            epsilon=epsilon,
            rows=rows,
            cols=cols,
            reference="counting",
            init=start,
            tol=STEP_TOL,
            on_failure="ignore",
        )
        start, logs, plan = (step.f, step.g), step.log_plan, step.plan
        linear = float((plan * np.where(allowed, M, 0.0)).sum())
        value = linear + _price(rows, plan.sum(axis=1), a) + _price(cols, plan.sum(axis=0), b)
        f, g, bound = _lower_bound(M, a, b, rows, cols, *start)
        gaps.append(value - bound)
        if best is None or gaps[-1] < best.gap:
            best = Relaxed(plan, f, g, value, linear, gaps[-1], gaps)
        if verbose:
            print(f"{k:5d}|{gaps[-1]:8e}")
        if gaps[-1] <= RELATIVE_GAP * max(abs(value), scale * plan.sum()):
            return best
    assert best is not None
    text = f"the plan without entropy is within {best.gap:.1e} of the least objective; more was not reached"
    warnings.warn(text, ConvergenceWarning, stacklevel=5)
    return best


def relaxed_of_call(
    a: Any, b: Any, M: Any, reg_m: Any, kind: str, verbose: bool = False
) -> tuple[Relaxed, Home, tuple[Any, Any, Any], Sides]:
    """Solve for the arguments of POT; return the result, its home, the cost and weights as given, and the sides."""
    M, a, b = read(M, a, b)
    home = home_of_results(M, a, b)
    a, b = (weights_or_uniform(home, x, size) for x, size in zip((a, b), M.shape, strict=True))
    both = sides(reg_m, kind)
    costs, first, second = (np.asarray(on_host(x), np.float64) for x in (M, a, b))
    return without_entropy(costs, first, second, both, verbose), home, (M, a, b), both


def _price(side: Penalty, attained: Vector, weights: Vector) -> float:
    """Return the penalty of a side; a hard one is met but for rounding."""
    return 0.0 if isinstance(side, Fixed) else float(side.phi(attained, weights).sum())


def _lower_bound(
    M: Array, a: Vector, b: Vector, rows: Penalty, cols: Penalty, f: Vector, g: Vector
) -> tuple[Vector, Vector, float]:
    """Return potentials with f_i + g_j <= M_ij, and what they prove: one of the two is lowered, the better one."""
    f, g = (np.zeros_like(x) if isinstance(side, Free) else x for side, x in ((rows, f), (cols, g)))
    with np.errstate(invalid="ignore"):  # inf - inf, where an entry is forbidden
        below_f = np.where(np.isfinite(M), M - g, np.inf).min(axis=1)
        below_g = np.where(np.isfinite(M), M - f[:, None], np.inf).min(axis=0)
    pairs = (f, np.minimum(g, below_g)), (np.minimum(f, below_f), g)
    bounds = [_dual(rows, x, a) + _dual(cols, y, b) for x, y in pairs]
    better = int(bounds[1] > bounds[0])
    f, g = pairs[better]  # without weight: the largest potentials that the costs allow
    return np.where(np.isneginf(f), below_f, f), np.where(np.isneginf(g), below_g, g), bounds[better]


def _dual(side: Penalty, f: Vector, weights: Vector) -> float:
    """Return the dual value of a side; it is 0 where there is no weight, and the potential -inf."""
    on = ~np.isneginf(f)
    return float(side.dual(f[on], weights[on]).sum())
