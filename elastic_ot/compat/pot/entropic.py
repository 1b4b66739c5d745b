"""One entropic solve behind all of POT's: with derivatives where the inputs ask for them, else by `elastic_ot.solve`.

POT's kernel is exp(-M / reg), times `c` in relaxed problems, and its plan u K v. With our potentials of the product
reference log u = f / reg + log a in a balanced problem, and log u = f / reg in a relaxed one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...api.solve import solve
from ...costs.base import is_cost
from ...costs.points import PointCloud
from ...frameworks.dispatch import operators_of
from ...problems.penalties import Fixed
from ...problems.penalty import Penalty
from .arguments import printer, threshold
from .homes import Home, home_of_results, is_tracked, on_host, read, weights_or_uniform
from .lazy import LazyPlan

Sides = tuple[Penalty, Penalty]
TWO_FIXED: Sides = (Fixed(), Fixed())


@dataclass(frozen=True)
class Asked:
    """How to solve, in POT's terms: iterations, threshold, what to say; `method` is one of ours."""

    max_iter: int = 1000
    stop: float = 1e-9
    verbose: bool = False
    warn: bool = True
    method: str = "auto"
    warmstart: Any = None


@dataclass(frozen=True)
class Entropic:
    """A problem and its solution, as arrays of the caller's library."""

    cost: Any
    a: Any
    b: Any
    reg: Any
    home: Home
    f: Any
    """Potentials in cost units, with respect to the reference; (K, n) of many histograms."""
    g: Any
    balanced: bool
    err: list[float]
    n_iter: Any
    plan_of: Any = field(repr=False)
    solution: Any = field(default=None, repr=False)

    @property
    def plan(self) -> Any:
        """The plan, shape (n, m)."""
        return self.plan_of()

    @property
    def linear_cost(self) -> Any:
        """<M, P>, shape (K,) of many histograms; forbidden cells count as 0."""
        if self.solution is not None and (is_cost(self.cost) or self.b.ndim == 2):
            return self.home.give(self.solution.transport_cost)
        xp, plan = self.home.xp, self.plan
        return xp.sum(xp.where(plan > 0, self.cost, xp.zeros_like(plan)) * plan, axis=(-2, -1))

    @property
    def log_scalings(self) -> tuple[Any, Any]:
        """Log u and log v, as POT has them."""
        f, g = self.f / self.reg, self.g / self.reg
        if self.balanced:
            f, g = f + log_of(self.home, self.a), g + log_of(self.home, self.b)
        return f, g


def log_of(home: Home, weights: Any) -> Any:
    """Return log(weights), 0 where they are 0: the potential is -inf there already."""
    xp = home.xp
    weights = home.give(weights) if isinstance(weights, np.ndarray) else weights
    return xp.log(xp.where(weights > 0, weights, xp.ones_like(weights)))


def entropic(
    cost: Any, a: Any, b: Any, reg: Any, how: Asked, sides: Sides = TWO_FIXED, reference: str = "product", c: Any = None
) -> Entropic:
    """Solve <M, P> + reg KL(P | R) with both penalties, R = a b^T, ones, or `c`."""
    a, b, c = read(a, b, c)
    if isinstance(cost, PointCloud):
        home = home_of_results(cost.given[0])
    else:
        (cost,) = read(cost)
        home = home_of_results(cost, a, b)
    n, m = cost.shape
    a, b = (weights_or_uniform(home, x, size) for x, size in ((a, n), (b, m)))
    if is_cost(cost):
        a, b = on_host(a), on_host(b)
    many = b.ndim == 2
    if many:
        b = b.T
    seen = cost
    if c is not None:  # R = c is the counting reference with other costs
        xp = home.xp
        positive = c > 0
        inside = xp.log(xp.where(positive, c, xp.ones_like(c)))
        seen, reference = xp.where(positive, cost - reg * inside, xp.full_like(inside, np.inf)), "counting"
    balanced = all(isinstance(side, Fixed) for side in sides)
    options: dict[str, Any] = {"rows": sides[0], "cols": sides[1], "reference": reference, "method": how.method}
    options |= {"tol": threshold(how.stop), "max_iter": int(how.max_iter)}
    options["on_failure"] = "warn" if how.warn else "ignore"
    if is_tracked(seen, a, b, reg):
        operators: Any = operators_of("torch" if home.name == "torch" else "jax")
        logs, f, g = operators.logs_and_potentials(seen, a, b, epsilon=reg, grad="implicit", mask=None, **options)
        return Entropic(cost, a, b, reg, home, f, g, balanced, [], None, lambda: home.xp.exp(logs))
    reg = float(reg)
    init = None
    if how.warmstart is not None:
        init = _initial(how.warmstart, reg, a if balanced else None, b)
        init = init if is_cost(cost) else (home.give(init[0]), home.give(init[1]))
    callback = printer(how.verbose)
    found = solve(seen, a, b, epsilon=reg, init=init, callback=callback, **options)
    given = home.xp is np or is_cost(cost)
    f, g = (home.give(x) if given else x for x in (found.f, found.g))
    err = [] if many else [float(x) for x in found.history.residual]
    return Entropic(
        *(cost, a, b, reg, home, f, g, balanced, err, found.n_iter),
        (lambda: home.give(found.plan)) if given else (lambda: found.plan),
        found,
    )


def _initial(warmstart: Any, reg: float, a: Any, b: Any) -> tuple[Any, Any]:
    """Return our potentials for logarithms of scalings; `a` is None for a relaxed problem, whose kernel holds c."""
    potentials = []
    for scaling, weights in zip(warmstart, (a, None if a is None else b), strict=True):
        f = np.asarray(on_host(scaling), np.float64)
        f = f.T if f.ndim == 2 else f
        if weights is not None:
            weights = np.asarray(on_host(weights), np.float64)
            f = f - np.log(np.where(weights > 0, weights, 1.0))
        potentials.append(reg * f)
    return potentials[0], potentials[1]


def divergence_of(home: Home, p: Any, q: Any) -> Any:
    """Return the generalised KL(p | q) = sum p log(p / q) - p + q, 0 log 0 = 0."""
    xp = home.xp
    on = p > 0
    one = xp.ones_like(p)
    ratio = xp.where(on, p, one) / xp.where(q > 0, q, one)
    return xp.sum(p * xp.log(ratio)) - xp.sum(p) + xp.sum(q)


def log_of_solve(found: Entropic) -> Any:
    """Return POT's dictionary: scalings and their logarithms under all of its names, errors, iterations, our solution.

    Scalings overflow where potentials are large beside `reg`; their logarithms do not.
    """
    first, second = found.log_scalings
    xp = found.home.xp
    with np.errstate(over="ignore"):
        u, v = xp.exp(first), xp.exp(second)
    if first.ndim == 2:
        first, second, u, v = first.T, second.T, u.T, v.T
    log = {"u": u, "v": v, "log_u": first, "log_v": second, "logu": first, "logv": second}
    log |= {"alpha": found.reg * first, "beta": found.reg * second, "warmstart": (first, second)}
    if is_cost(found.cost):
        log["lazy_plan"] = LazyPlan(found.solution, found.home)
    return log | {"err": found.err, "niter": found.n_iter, "n_iter": found.n_iter, "solution": found.solution}
