"""elastic_ot behind the call that its peers stand behind, too."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .problems import Problem
from .solvers import Answer, Run

FEW = 5
# float32 arithmetic serves tolerances from 1e-6 on: the problem and the limit must be such that it is not met
NEVER = {"float64": float(np.finfo(np.float64).tiny), "float32": 1e-6}


def solve(problem: Problem, max_iter: int, method: Any, dtype: str | None = None) -> Run:
    import elastic_ot as eot

    def penalty(rho: float) -> Any:
        return eot.Fixed() if math.isinf(rho) else eot.KL(rho)

    def timed(problem: Problem, threshold: float | None, max_iter: int) -> Answer:
        solution = eot.solve(
            problem.cost,
            problem.a,
            problem.b,
            epsilon=problem.epsilon,
            rows=penalty(problem.rho_rows),
            cols=penalty(problem.rho_cols),
            method=method,
            tol=NEVER[problem.cost.dtype.name] if threshold is None else threshold,
            max_iter=max_iter,
            on_failure="ignore",
        )
        return Answer(lambda: solution.plan, solution.n_iter, solution.converged, (solution.f, solution.g))

    problem = replace(problem, cost=problem.cost.astype(dtype or problem.cost.dtype, copy=False))
    timed(corner(problem, 300), 1e-6, 1000)
    timed(problem, 1e-6, FEW)  # large problems are swept by other kernels
    return lambda threshold: timed(problem, threshold, max_iter)


def offered(methods: Sequence[str]) -> list[str]:
    """Those of ``methods`` that this version of the package has."""
    import elastic_ot as eot

    def known(method: Any) -> bool:
        try:
            eot.solve(np.zeros((1, 1)), epsilon=1.0, method=method)
        except ValueError:
            return False
        return True

    return [method for method in methods if known(method)]


def corner(problem: Problem, n: int) -> Problem:
    """The first ``n`` rows and columns: loads the compiled code without doing the work."""
    a, b = problem.a[:n], problem.b[:n]
    return replace(problem, cost=problem.cost[:n, :n].copy(), a=a / a.sum(), b=b / b.sum())
