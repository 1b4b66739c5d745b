"""The package and the bare iterations behind one call; the peers stand in peers.py.

A set-up takes a problem and an iteration limit, does what is not to be timed (compilation, conversion of
the arrays) and returns ``run(threshold) -> Answer``, which is timed. With ``threshold=None`` no convergence
test stops the run before the limit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from problems import Array, Problem


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
FEW = 5
# float32 arithmetic serves tolerances from 1e-6 on: the problem and the limit must be such that it is not met
NEVER = {"float64": float(np.finfo(np.float64).tiny), "float32": 1e-6}


def elastic(problem: Problem, max_iter: int, method: str, dtype: str | None = None) -> Run:
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
            tol=NEVER[problem.cost.dtype.name] if threshold is None else threshold,
            max_iter=max_iter,
            on_failure="ignore",
        )
        return Answer(lambda: solution.plan, solution.n_iter, solution.converged, (solution.f, solution.g))

    problem = replace(problem, cost=problem.cost.astype(dtype or problem.cost.dtype, copy=False))
    solve(corner(problem, 300), 1e-6, 1000)
    solve(problem, 1e-6, FEW)  # large problems are swept by other kernels
    return lambda threshold: solve(problem, threshold, max_iter)


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


def baseline(problem: Problem, max_iter: int, iterate: Iterate) -> Run:
    iterate(problem.cost, problem.a, problem.b, problem.epsilon, 1)

    def run(threshold: float | None) -> Answer:
        f, g = iterate(problem.cost, problem.a, problem.b, problem.epsilon, max_iter)
        return Answer(lambda: np.exp((f[:, None] + g[None] - problem.cost) / problem.epsilon), max_iter, True)

    return run
