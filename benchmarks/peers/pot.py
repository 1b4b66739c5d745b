"""POT, imported without its backends."""

import warnings
from typing import Any

import numpy as np

from ..problems import Problem
from ..solvers import Answer, Run


def balanced(problem: Problem, max_iter: int, method: str) -> Run:
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


def unbalanced(problem: Problem, max_iter: int, method: str) -> Run:
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


def emd(cost: Any) -> Any:
    """The plan of an assignment problem. Without weights POT's is one of integers for integer costs, all zeros."""
    import ot

    n, m = cost.shape
    return ot.emd(np.full(n, 1 / n), np.full(m, 1 / m), cost, numItermax=10**9)
