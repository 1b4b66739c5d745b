"""RegOT."""

import numpy as np

from ..problems import Problem
from ..solvers import Answer, Run


def sinkhorn(problem: Problem, max_iter: int, method: str) -> Run:
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
