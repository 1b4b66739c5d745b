"""The peers behind the same call: POT, OTT-JAX, GeomLoss and RegOT.

All are given the minimisation of <C, P> + epsilon KL(P | a b^T), each marginal hard or with rho KL(marginal | weights).
With hard marginals the reference of the KL term changes the value but not the plan, so POT's and RegOT's
<P, log P> has the same answer. With KL marginals POT is asked for the product reference (``reg_type="kl"``), OTT
is given a cost that turns its counting measure into it, and GeomLoss has it. What ``threshold`` stands for is
each peer's own test, named with it.
"""

import functools
import math
import os
import warnings
from typing import Any

import numpy as np
from problems import Array, Problem
from solvers import Answer, Run

os.environ.setdefault("JAX_PLATFORMS", "cpu")
for library in ("JAX", "PYTORCH", "CUPY", "TENSORFLOW"):  # POT imports all that are installed, for seconds
    os.environ.setdefault(f"POT_BACKEND_DISABLE_{library}", "1")


def pot_balanced(problem: Problem, max_iter: int, method: str) -> Run:
    """Threshold: the L2 error of one marginal, looked at every tenth iteration."""
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
    """Threshold: the largest change of a scaling, relative to the largest scaling."""
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


def ott(
    problem: Problem,
    max_iter: int,
    lse_mode: bool = True,
    recenter: bool = False,
    scan: bool = False,
    anderson: tuple[int, float] | None = None,
) -> Run:
    """OTT in float64 with everything compiled beforehand.

    ``scan`` fixes the iteration count and leaves its tests out; ``anderson`` is the memory and the ridge of its
    acceleration. Threshold: the L1 error of a marginal, or with KL marginals the relative change of the
    potentials, looked at every tenth iteration.
    """
    import jax.numpy as jnp

    # OTT's reference is the counting measure: taking epsilon log(a b^T) off the cost makes it the product.
    offset = 0.0 if problem.balanced else problem.epsilon * np.log(problem.a[:, None] * problem.b[None])
    taus = tau(problem.rho_rows, problem.epsilon), tau(problem.rho_cols, problem.epsilon)
    solve, plan_of = _ott_functions(*taus, max_iter, lse_mode, recenter, scan, anderson)
    cost, a, b = (jnp.asarray(x) for x in (problem.cost - offset, problem.a, problem.b))
    f, g, *_ = solve(cost, a, b, problem.epsilon, math.inf)
    plan_of(cost, f, g, problem.epsilon).block_until_ready()

    def run(threshold: float | None) -> Answer:
        f, g, iterations, converged = solve(cost, a, b, problem.epsilon, -1.0 if threshold is None else threshold)
        plan = functools.partial(plan_of, cost, f, g, problem.epsilon)
        return Answer(lambda: np.asarray(plan()), int(iterations), bool(converged))

    return run


@functools.cache
def _ott_functions(
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


def tau(rho: float, epsilon: float) -> float:
    """OTT's measure of rho; rounded, so that rho / epsilon alone decides and nothing is compiled twice."""
    return 1.0 if math.isinf(rho) else round(rho / (rho + epsilon), 15)


def geomloss(problem: Problem, max_iter: int, shrink: float = 0.9) -> Run:
    """GeomLoss's dense solver on torch in float64, annealed: epsilon shrinks by a factor an iteration, then stays.

    It has no stopping test, so the threshold sets the number of iterations at the final epsilon: 50 at 1e-6, and
    inversely to it. Its public ``ot.solve`` spreads the annealing over all iterations, whose error falls like
    1/iterations only (3e-4 after 2000 at n = 300, epsilon = 0.01 max C), so the pieces it is made of are called.
    """
    import torch
    from geomloss._typing import CostMatrices
    from geomloss.ot._abstract_solvers import annealing_parameters, sinkhorn_loop
    from geomloss.ot._implementations.matrix import softmin_dense

    if problem.rho_rows != problem.rho_cols:
        raise ValueError("GeomLoss has one rho for both sides")
    cost, a, b = (torch.from_numpy(x)[None] for x in (problem.cost, problem.a, problem.b))
    costs = CostMatrices(xy=cost, yx=cost.transpose(1, 2).contiguous())
    span = float(problem.cost.max() - problem.cost.min())
    annealing = math.ceil(math.log(max(span / problem.epsilon, 1.0)) / -math.log(shrink))

    def solve(iterations: int) -> Any:
        return sinkhorn_loop(
            softmin=softmin_dense,
            log_a_list=[a.log()],
            log_b_list=[b.log()],
            C_list=[costs],
            descent=annealing_parameters(
                maxmin_cost=span,
                eps=problem.epsilon,
                rho=None if problem.balanced else problem.rho_rows,
                n_iter=iterations,
                scaling=shrink,
            ),
            debias=False,
            last_extrapolation=True,
        )

    def run(threshold: float | None) -> Answer:
        iterations = max_iter if threshold is None else min(annealing + math.ceil(50e-6 / threshold), max_iter)
        found = solve(iterations)

        def plan() -> Array:
            exponent = (found.f_ba[0, :, None] + found.g_ab[0, None] - cost[0]) / problem.epsilon
            dense: Array = (a[0, :, None] * b * exponent.exp_()).numpy()
            return dense

        return Answer(plan, iterations, True)

    solve(1)
    return run


def regot(problem: Problem, max_iter: int, method: str) -> Run:
    """Threshold: the L2 norm of the dual gradient, which is the error of both marginals.

    Its Newton's method with the full Hessian is left out: not finite below epsilon = 0.01 max C.
    """
    import regot

    solve = getattr(regot, f"sinkhorn_{method}")
    cost = np.asfortranarray(problem.cost)

    def run(threshold: float | None) -> Answer:
        tolerance = 0.0 if threshold is None else threshold
        found = solve(cost, problem.a, problem.b, problem.epsilon, tol=tolerance, max_iter=max_iter)
        return Answer(lambda: found.plan, found.niter, found.niter < max_iter)

    return run
