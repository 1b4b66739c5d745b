"""The problems that are timed, and the accuracy of an answer recomputed from its plan alone."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spec:
    """What a worker process needs to build a problem itself: no matrix is sent between processes.

    ``epsilon`` is given relative to the largest cost and ``rho_rows``, ``rho_cols`` relative to epsilon;
    an infinite rho is a hard marginal.
    """

    kind: str
    n: int
    epsilon: float
    rho_rows: float = math.inf
    rho_cols: float = math.inf
    uniform_weights: bool = True
    seed: int = 0

    def build(self) -> "Problem":
        rng = np.random.default_rng(self.seed)
        cost = COSTS[self.kind](rng, self.n)
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


def uniform_cost(rng: np.random.Generator, n: int) -> Array:
    return rng.random((n, n))


def cloud_cost(rng: np.random.Generator, n: int) -> Array:
    """Squared distances between two planar clouds: a square, and a square of half the side within it."""
    x = rng.random((n, 2))
    y = 0.25 + 0.5 * rng.random((n, 2))
    return ((x[:, None] - y[None]) ** 2).sum(-1)


COSTS = {"uniform": uniform_cost, "cloud": cloud_cost}


def marginal_error(problem: Problem, plan: Array) -> float:
    """L1 distance of both marginals of ``plan`` from the weights."""
    return float(np.abs(plan.sum(1) - problem.a).sum() + np.abs(plan.sum(0) - problem.b).sum())


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
