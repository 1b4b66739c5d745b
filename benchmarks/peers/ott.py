"""OTT-JAX in float64 on the CPU."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..problems import Array, Problem
from ..solvers import Answer, Run

Call = Callable[[], object]


def sinkhorn(
    problem: Problem,
    max_iter: int,
    lse_mode: bool = True,
    recenter: bool = False,
    scan: bool = False,
    anderson: tuple[int, float] | None = None,
) -> Run:
    """With everything compiled beforehand.

    ``scan`` fixes the iteration count and leaves its tests out; ``anderson`` is the memory and the ridge of its
    acceleration. Threshold: the L1 error of a marginal, or with KL marginals the relative change of the
    potentials, looked at every tenth iteration.
    """
    import jax.numpy as jnp

    # OTT's reference is the counting measure: taking epsilon log(a b^T) off the cost makes it the product.
    offset = 0.0 if problem.balanced else problem.epsilon * np.log(problem.a[:, None] * problem.b[None])
    taus = _tau(problem.rho_rows, problem.epsilon), _tau(problem.rho_cols, problem.epsilon)
    solve, plan_of = _compiled(*taus, max_iter, lse_mode, recenter, scan, anderson)
    cost, a, b = (jnp.asarray(x) for x in (problem.cost - offset, problem.a, problem.b))
    f, g, *_ = solve(cost, a, b, problem.epsilon, math.inf)
    plan_of(cost, f, g, problem.epsilon).block_until_ready()

    def run(threshold: float | None) -> Answer:
        f, g, iterations, converged = solve(cost, a, b, problem.epsilon, -1.0 if threshold is None else threshold)
        plan = functools.partial(plan_of, cost, f, g, problem.epsilon)
        return Answer(lambda: np.asarray(plan()), int(iterations), bool(converged))

    return run


@functools.cache
def _compiled(
    tau_a: float,
    tau_b: float,
    max_iter: int,
    lse_mode: bool,
    recenter: bool,
    scan: bool,
    anderson: tuple[int, float] | None,
) -> tuple[Any, Any]:
    """The compiled solve and plan; kept, so that another epsilon or another cost compiles nothing."""
    import jax
    import jax.numpy as jnp
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.acceleration import AndersonAcceleration
    from ott.solvers.linear.sinkhorn import Sinkhorn

    jax.config.update("jax_enable_x64", True)
    acceleration = AndersonAcceleration(anderson[0], ridge_identity=anderson[1]) if anderson else None

    def solve(cost: Any, a: Any, b: Any, epsilon: Any, threshold: Any) -> Any:
        linear = LinearProblem(Geometry(cost, epsilon=epsilon), a, b, tau_a=tau_a, tau_b=tau_b)
        solver = Sinkhorn(
            lse_mode=lse_mode,
            threshold=threshold,
            inner_iterations=10,
            min_iterations=max_iter if scan else 0,
            max_iterations=max_iter,
            recenter_potentials=recenter,
            anderson=acceleration,
        )
        out = solver(linear)
        return out.f, out.g, out.n_iters, out.converged

    def plan_of(cost: Any, f: Any, g: Any, epsilon: Any) -> Any:
        return jnp.exp((f[:, None] + g[None] - cost) / epsilon)

    return jax.jit(solve), jax.jit(plan_of)


def _tau(rho: float, epsilon: float) -> float:
    """OTT's measure of rho; rounded, so that rho / epsilon alone decides and nothing is compiled twice."""
    return 1.0 if math.isinf(rho) else round(rho / (rho + epsilon), 15)


def gradient_calls(
    cost: Array, epsilon: float, bar: Array, exact: Array, tol: float
) -> tuple[Call, Call, Array, float]:
    """OTT's forward and pull-back, compiled, at the first threshold whose gradient is accurate, else the best."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from ott.geometry import geometry
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import implicit_differentiation, sinkhorn

    wanted = 100 * tol
    best: tuple[float, Call, Call, Array, float] | None = None
    device_cost, device_bar = jax.numpy.asarray(cost), jax.numpy.asarray(bar)
    for threshold in (1e-6, 1e-8, 1e-10, 1e-12):
        solver = sinkhorn.Sinkhorn(
            threshold=threshold, max_iterations=20_000, implicit_diff=implicit_differentiation.ImplicitDiff()
        )

        def plan(c, solver=solver):  # type: ignore[no-untyped-def]
            problem = linear_problem.LinearProblem(geometry.Geometry(cost_matrix=c, epsilon=epsilon))
            return solver(problem).matrix

        forward = jax.jit(plan)
        _, pull = jax.vjp(forward, device_cost)
        pull = jax.jit(pull)
        gradient = np.asarray(pull(device_bar)[0])
        error = float(np.linalg.norm(gradient - exact) / np.linalg.norm(exact))
        calls = (
            lambda forward=forward: forward(device_cost).block_until_ready(),
            lambda pull=pull: pull(device_bar)[0].block_until_ready(),
        )
        if best is None or error < 0.5 * best[0]:
            best = (error, *calls, gradient, threshold)
        if error <= wanted:
            break
    assert best is not None
    return best[1:]
