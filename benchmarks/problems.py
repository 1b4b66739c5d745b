"""The problems that are timed, and the accuracy of an answer recomputed from its plan alone."""

import math
from dataclasses import dataclass, replace

import numpy as np
from costs import COSTS, WEIGHTS, Array


@dataclass(frozen=True)
class Spec:
    """What a worker process needs to build a problem itself: no matrix is sent between processes.

    ``epsilon`` is given relative to the largest cost and ``rho_rows``, ``rho_cols`` relative to epsilon;
    an infinite rho is a hard marginal. ``uniform_weights`` counts where the kind has no weights of its own.
    """

    kind: str
    n: int
    epsilon: float
    rho_rows: float = math.inf
    rho_cols: float = math.inf
    uniform_weights: bool = True
    seed: int = 0
    dtype: str = "float64"

    def build(self) -> "Problem":
        rng = np.random.default_rng(self.seed)
        cost = COSTS[self.kind](rng, self.n).astype(self.dtype, copy=False)
        if self.kind in WEIGHTS:
            a, b = WEIGHTS[self.kind](self.n)
        else:
            a, b = (np.ones(self.n) if self.uniform_weights else rng.uniform(0.5, 1.5, self.n) for _ in range(2))
        epsilon = self.epsilon * float(cost.max())
        return Problem(cost, a / a.sum(), b / b.sum(), epsilon, self.rho_rows * epsilon, self.rho_cols * epsilon)


@dataclass(frozen=True)
class Problem:
    """Minimise <cost, P> + epsilon KL(P | a b^T) with each marginal hard (rho infinite) or KL-penalised."""

    cost: Array
    a: Array
    b: Array
    epsilon: float
    rho_rows: float
    rho_cols: float

    @property
    def balanced(self) -> bool:
        return math.isinf(self.rho_rows) and math.isinf(self.rho_cols)


def marginal_error(problem: Problem, plan: Array) -> float:
    """L1 distance of both marginals of ``plan`` from the weights."""
    return float(np.abs(plan.sum(1) - problem.a).sum() + np.abs(plan.sum(0) - problem.b).sum())


def marginal_error_in_blocks(problem: Problem, f: Array, g: Array, rows: int = 500) -> float:
    """The same from potentials, in float64 and without the plan, for costs that are large or of low precision."""
    error, columns = 0.0, np.zeros_like(problem.b)
    for start in range(0, problem.a.size, rows):
        block = slice(start, start + rows)
        plan = plan_of(replace(problem, cost=problem.cost[block], a=problem.a[block]), f[block], g)
        error += float(np.abs(plan.sum(1) - problem.a[block]).sum())
        columns += plan.sum(0)
    return error + float(np.abs(columns - problem.b).sum())


def plan_distance(problem: Problem, plan: Array, f: Array, g: Array) -> float:
    """L1 distance of ``plan`` from the plan of the potentials ``f, g``, relative to the latter's mass."""
    reference = plan_of(problem, f, g)
    return float(np.abs(plan - reference).sum() / reference.sum())


def plan_of(problem: Problem, f: Array, g: Array) -> Array:
    """The plan of potentials taken with respect to the product reference."""
    exponent = (f[:, None] + g[None] - problem.cost) / problem.epsilon
    plan: Array = problem.a[:, None] * problem.b[None] * np.exp(exponent)
    return plan


def distance_bound(problem: Problem, f: Array, g: Array) -> float:
    """Bound on the relative L1 distance between the plan of ``f, g`` and the optimal plan.

    A KL side adds rho KL(marginal | weights exp(-potential/rho)) to the duality gap, the gap bounds
    epsilon KL(P | P*), and Pinsker's inequality turns that into an L1 distance. A hard side adds the L1
    error of its marginal.
    """
    plan = plan_of(problem, f, g)
    gap = error = 0.0
    sides = ((plan.sum(1), problem.a, f, problem.rho_rows), (plan.sum(0), problem.b, g, problem.rho_cols))
    for marginal, weights, potential, rho in sides:
        if math.isinf(rho):
            error += float(np.abs(marginal - weights).sum())
        else:
            excess = marginal / (weights * np.exp(-potential / rho)) - 1
            gap += rho * float((marginal * (np.log1p(excess) - excess / (1 + excess))).sum())
    mass = float(plan.sum())
    return (math.sqrt(2 * max(gap, 0.0) / problem.epsilon * mass) + error) / mass
