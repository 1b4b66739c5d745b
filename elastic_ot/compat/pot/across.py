"""Two matrices as POT's calls of unbalanced Gromov-Wasserstein and CO-optimal transport give them: read, solved."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...solvers.gromov.losses import LOSSES
from .arguments import Unsupported, known, strengths
from .homes import Home, home_of_results, on_host, read, refuse_gradients, weights_or_uniform, with_gradients
from .spaces import LEAST_ENTRY
from .two_plans import FoundPlans, Steps, TwoPlans, descend

SCALING_SOLVERS, DESCENT_SOLVERS = ("sinkhorn", "sinkhorn_log"), ("mm", "lbfgsb")
REGULARISERS, DIVERGENCES = ("joint", "independent"), ("kl", "l2")


@dataclass(frozen=True, eq=False)
class Given:
    """The arrays of a call, as they were given; weights are those of rows and columns of X, then of Y."""

    X: Any
    Y: Any
    weights: tuple[Any, Any, Any, Any]
    linear: tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class Across:
    """What was found between two matrices."""

    home: Home
    given: Given
    problem: TwoPlans
    found: FoundPlans

    @property
    def plans(self) -> tuple[Any, Any]:
        """The plans of rows and of columns."""
        first, second = (self.home.give(plan) for plan in self.found.plans)
        return first, second

    @property
    def duals(self) -> list[tuple[Any, Any]]:
        """The duals of both."""
        return [(self.home.give(f), self.home.give(g)) for f, g in self.found.potentials]

    @property
    def energy(self) -> Any:
        """Sum of L(X_ik, Y_jl) P_ij Q_kl."""
        return self.home.give(self.problem.energy(self.found.plans))

    @property
    def value(self) -> Any:
        """The objective, with its derivatives at these plans."""
        (first, second), (rows, cols) = self.problem.slopes(self.found.plans)
        given = self.given
        inputs = [given.X, given.Y, *given.weights]
        slopes = [first, second, rows[0], cols[0], rows[1], cols[1]]
        return with_gradients(self.home, self.found.value, inputs, slopes)


def across(
    call: Callable[..., object],
    given: Given,
    *,
    reg_marginals: Any,
    epsilon: Any,
    reg_type: str,
    divergence: str,
    unbalanced_solver: str,
    alpha: Any,
    init_pi: Any,
    how: Steps,
    options: Mapping[str, object],
    loss: str = "square",
    plans_alone: bool = True,
) -> Across:
    """Read, check and solve."""
    known(call, options, "method_sinkhorn")
    for name, value, names in (
        ("reg_type", reg_type, REGULARISERS),
        ("divergence", divergence, DIVERGENCES),
        ("unbalanced_solver", unbalanced_solver, SCALING_SOLVERS + DESCENT_SOLVERS),
    ):
        if value not in names:
            raise Unsupported(f"{name} is {value!r}; choose from {', '.join(map(repr, names))}")
    epsilons, factors = strengths(epsilon, "epsilon"), strengths(alpha, "alpha")
    if divergence == "l2" and unbalanced_solver in SCALING_SOLVERS:
        warnings.warn(f"unbalanced_solver is {unbalanced_solver!r}, for which divergence is 'kl'", stacklevel=4)
        divergence = "kl"
    if divergence == "l2" and any(epsilons):
        raise Unsupported("divergence='l2' makes epsilon a squared penalty on plans; use epsilon=0, 'kl', or POT")
    if reg_type == "joint":
        epsilons = epsilons[0], epsilons[0]
    X, Y, *rest = read(given.X, given.Y, *given.weights, *given.linear)
    home = home_of_results(X, Y)
    sizes = X.shape[0], X.shape[1], Y.shape[0], Y.shape[1]
    weights = [weights_or_uniform(home, x, size) for x, size in zip(rest[:4], sizes, strict=True)]
    if plans_alone:
        refuse_gradients(call.__name__, "take the value, of the call whose name ends with 2", X, Y, *rest)
    numbers = [np.asarray(on_host(x), np.float64) for x in (X, Y, *weights)]
    if loss == "kl":
        numbers[1] = numbers[1] + LEAST_ENTRY
    wx_rows, wx_cols, wy_rows, wy_cols = numbers[2:]
    linear = [
        None if x is None else k * np.asarray(on_host(x), np.float64) for x, k in zip(rest[4:], factors, strict=True)
    ]
    problem = TwoPlans(
        (numbers[0], numbers[1]),
        LOSSES[loss],
        ((wx_rows, wy_rows), (wx_cols, wy_cols)),
        (linear[0], linear[1]),
        strengths(reg_marginals, "reg_marginals"),
        epsilons,
        reg_type == "joint",
        divergence == "l2",
    )
    found = descend(problem, _start(problem, init_pi), how)
    return Across(home, Given(X, Y, (weights[0], weights[1], weights[2], weights[3]), given.linear), problem, found)


def _start(problem: TwoPlans, init_pi: Any) -> tuple[Any, Any]:
    """Return the plans to begin with, products of the weights where none is given."""
    given: Sequence[Any] = (None, None) if init_pi is None else init_pi
    plans = []
    for name, plan, (a, b) in zip(("rows", "columns"), given, problem.weights, strict=True):
        start = np.outer(a, b) if plan is None else np.asarray(on_host(plan), np.float64)
        if start.shape != (a.size, b.size) or not (start >= 0).all() or not start.sum() > 0:
            raise ValueError(f"init_pi of {name} has shape {start.shape}; it must be a plan >= 0, {(a.size, b.size)}")
        plans.append(start)
    return plans[0], plans[1]
