"""elastic_ot, POT and OTT-JAX behind one call.

A set-up takes a problem and an iteration limit, does what is not to be timed (compilation, conversion of
the arrays) and returns ``run(threshold) -> Answer``, which is timed. With ``threshold=None`` no convergence
test stops the run before the limit.
"""

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from problems import Array, Problem

os.environ.setdefault("JAX_PLATFORMS", "cpu")


@dataclass(frozen=True)
class Answer:
    """``converged`` is what the solver says of itself: its flag where it has one, else that it did not warn.

    ``plan()`` returns the dense plan; the timed runs to a solution include it, since POT always computes it.
    """

    plan: Callable[[], Array]
    iterations: int
    converged: bool
    potentials: tuple[Array, Array] | None = None


Run = Callable[[float | None], Answer]
Setup = Callable[[Problem, int], Run]
Iterate = Callable[[Array, Array, Array, float, int], tuple[Array, Array]]
# float32 arithmetic serves tolerances from 1e-6 on: the problem and the limit must be such that it is not met
NEVER = {"float64": float(np.finfo(np.float64).tiny), "float32": 1e-6}


def elastic(problem: Problem, max_iter: int, method: str, dtype: str = "float64") -> Run:
    import elastic_ot as eot

    def penalty(rho: float) -> Any:
        return eot.Fixed() if math.isinf(rho) else eot.KL(rho)

    def solve(problem: Problem, threshold: float | None, max_iter: int) -> Answer:
        solution = eot.solve(
            problem.cost,
            problem.a,
            problem.b,
            epsilon=problem.epsilon,
            rows=penalty(problem.rho_rows),
            cols=penalty(problem.rho_cols),
            method=method,
            tol=NEVER[dtype] if threshold is None else threshold,
            max_iter=max_iter,
            on_failure="ignore",
        )
        return Answer(lambda: solution.plan, solution.n_iter, solution.converged, (solution.f, solution.g))

    problem = replace(problem, cost=problem.cost.astype(dtype, copy=False))
    solve(corner(problem, 300), 1e-6, 100)
    return lambda threshold: solve(problem, threshold, max_iter)


def corner(problem: Problem, n: int) -> Problem:
    """The first ``n`` rows and columns: loads the compiled code without doing the work."""
    a, b = problem.a[:n], problem.b[:n]
    return replace(problem, cost=problem.cost[:n, :n].copy(), a=a / a.sum(), b=b / b.sum())


def pot_balanced(problem: Problem, max_iter: int, method: str) -> Run:
    import ot

    def run(threshold: float | None) -> Answer:
        with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            plan, log = ot.sinkhorn(
                problem.a,
                problem.b,
                problem.cost,
                problem.epsilon,
                method=method,
                stopThr=-1.0 if threshold is None else threshold,
                numItermax=max_iter,
                log=True,
            )
        last = log["n_iter"] if "n_iter" in log else log["niter"]
        return Answer(lambda: plan, last + 1, not caught)

    return run


def pot_unbalanced(problem: Problem, max_iter: int, method: str) -> Run:
    import ot

    def run(threshold: float | None) -> Answer:
        with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            plan, log = ot.unbalanced.sinkhorn_unbalanced(
                problem.a,
                problem.b,
                problem.cost,
                problem.epsilon,
                (problem.rho_rows, problem.rho_cols),
                method=method,
                reg_type="kl",
                stopThr=-1.0 if threshold is None else threshold,
                numItermax=max_iter,
                log=True,
            )
        iterations = len(log["err"])
        return Answer(lambda: plan, iterations, not caught and iterations < max_iter)

    return run


def ott(problem: Problem, max_iter: int, lse_mode: bool = True, recenter: bool = False, scan: bool = False) -> Run:
    """OTT with everything compiled beforehand; ``scan`` fixes the iteration count and leaves its tests out.

    Its reference is the counting measure: taking epsilon log(a b^T) off the cost makes it the product.
    """
    import jax
    import jax.numpy as jnp
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.sinkhorn import Sinkhorn

    jax.config.update("jax_enable_x64", True)
    tau_a, tau_b = tau(problem.rho_rows, problem.epsilon), tau(problem.rho_cols, problem.epsilon)
    offset = 0.0 if problem.balanced else problem.epsilon * np.log(problem.a[:, None] * problem.b[None])

    def solve(cost: Any, a: Any, b: Any, threshold: Any) -> Any:
        linear = LinearProblem(Geometry(cost, epsilon=problem.epsilon), a, b, tau_a=tau_a, tau_b=tau_b)
        solver = Sinkhorn(
            lse_mode=lse_mode,
            threshold=threshold,
            inner_iterations=10,
            min_iterations=max_iter if scan else 0,
            max_iterations=max_iter,
            recenter_potentials=recenter,
        )
        out = solver(linear)
        return out.f, out.g, out.n_iters, out.converged

    def plan_of(cost: Any, f: Any, g: Any) -> Any:
        return jnp.exp((f[:, None] + g[None] - cost) / problem.epsilon)

    cost, a, b = (jnp.asarray(x) for x in (problem.cost - offset, problem.a, problem.b))
    solve_compiled = jax.jit(solve).lower(cost, a, b, 1.0).compile()
    plan_compiled = jax.jit(plan_of).lower(cost, a, b).compile()

    def run(threshold: float | None) -> Answer:
        f, g, iterations, converged = solve_compiled(cost, a, b, -1.0 if threshold is None else threshold)
        return Answer(lambda: np.asarray(plan_compiled(cost, f, g)), int(iterations), bool(converged))

    return run


def baseline(problem: Problem, max_iter: int, iterate: Iterate) -> Run:
    iterate(problem.cost, problem.a, problem.b, problem.epsilon, 1)

    def run(threshold: float | None) -> Answer:
        f, g = iterate(problem.cost, problem.a, problem.b, problem.epsilon, max_iter)
        return Answer(lambda: np.exp((f[:, None] + g[None] - problem.cost) / problem.epsilon), max_iter, True)

    return run


def tau(rho: float, epsilon: float) -> float:
    return 1.0 if math.isinf(rho) else rho / (rho + epsilon)
