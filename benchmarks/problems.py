"""The problems that are timed, and the accuracy of an answer recomputed from its plan alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]


def uniform_cost(rng: np.random.Generator, n: int) -> Array:
    return rng.random((n, n))


def cloud_cost(rng: np.random.Generator, n: int) -> Array:
    """Squared distances between two planar clouds: a square, and a square of half the side within it."""
    x = rng.random((n, 2))
    y = 0.25 + 0.5 * rng.random((n, 2))
    return cdist(x, y, "sqeuclidean")


def plane_cost(rng: np.random.Generator, n: int) -> Array:
    """Squared distances between normal points of the plane, the second cloud shifted by one deviation."""
    return _normal_cost(rng, n, 2)


def space_cost(rng: np.random.Generator, n: int) -> Array:
    return _normal_cost(rng, n, 3)


def _normal_cost(rng: np.random.Generator, n: int, dimension: int) -> Array:
    x, y = rng.normal(size=(n, dimension)), rng.normal(size=(n, dimension)) + 1
    return cdist(x, y, "sqeuclidean")


def line_cost(rng: np.random.Generator, n: int) -> Array:
    """Distances between random points of [0, 1]: W1, where optimal plans are far from unique."""
    return cdist(rng.random((n, 1)), rng.random((n, 1)), "cityblock")


def factor_cost(rng: np.random.Generator, n: int) -> Array:
    """Sizes of scalar products of normal vectors with three entries: rank 3, but for the signs."""
    return np.abs(rng.normal(size=(n, 3)) @ rng.normal(size=(3, n)))


def pixel_l1_cost(rng: np.random.Generator, n: int) -> Array:
    return _pixel_cost(n, "cityblock")


def pixel_l2_cost(rng: np.random.Generator, n: int) -> Array:
    return _pixel_cost(n, "sqeuclidean")


def _pixel_cost(n: int, metric: Literal["sqeuclidean", "cityblock"]) -> Array:
    pixels = np.indices((_side(n), _side(n))).reshape(2, -1).T.astype(np.float64)
    return cdist(pixels, pixels, metric)


def colour_cost(rng: np.random.Generator, n: int) -> Array:
    """Squared RGB distances between pixels sampled from the two photographs of the package."""
    with resources.as_file(resources.files("elastic_ot") / "data" / "photographs.npz") as path, np.load(path) as photos:
        images = [photos[name].reshape(-1, 3) / 255.0 for name in ("china", "flower")]
    x, y = (image[rng.choice(len(image), n, replace=False)] for image in images)
    return cdist(x, y, "sqeuclidean")


def digit_weights(n: int) -> tuple[Array, Array]:
    """The first 3 and the first 5 of scikit-learn's 8 x 8 digits, enlarged bilinearly to n pixels, 784 as in MNIST.

    Each image has mass 1, then 1e-6 is added to every pixel and the mass made 1 again: some peers take the
    logarithm of the weights.
    """
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[digits.target == digit][0] for digit in (3, 5))
    a, b = (np.maximum(zoom(image, _side(n) / 8, order=1), 0.0).ravel() for image in images)
    a, b = (weights / weights.sum() + 1e-6 for weights in (a, b))
    return a / a.sum(), b / b.sum()


def _side(n: int) -> int:
    side = math.isqrt(n)
    if side**2 != n:
        raise ValueError(f"n is {n}; a square image needs a square number of pixels")
    return side


COSTS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "uniform": uniform_cost,
    "cloud": cloud_cost,
    "cloud2": plane_cost,
    "cloud3": space_cost,
    "line": line_cost,
    "low_rank": factor_cost,
    "digits_l1": pixel_l1_cost,
    "digits_l2": pixel_l2_cost,
    "colours": colour_cost,
}
WEIGHTS: dict[str, Callable[[int], tuple[Array, Array]]] = {"digits_l1": digit_weights, "digits_l2": digit_weights}


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
