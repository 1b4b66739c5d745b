"""The outer loop: solve for the plan that is cheapest under the derivative of the energy, again and again.

Where the energy is concave, as between squared distances, every such step lowers the objective (Peyre, Cuturi, Solomon
2016; Sejourne, Vialard, Peyre 2021). Elsewhere a step that does not is taken back and made shorter: lambda KL(P | P_t)
is added, which is the same problem at epsilon + lambda and another cost (Xie, Wang, Wang, Zha 2020).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...problems.penalty import Vector
from ..status import Status
from .structures import Array, Coupling, Linear, Structure

VALUE_ROUNDING = 1e-12  # of the objective, relative to its terms: what may be rounding
DIVERGENCE_ROUNDING = 1e-15  # of the terms of a sum over the points
INEXACT = 1.0  # times the inner tolerance, the same: marginals that are missed by so much change it
LOOSE, TIED = 1e-3, 0.1  # tolerance of the first inner solve; of the others, times the last change
FINER = 0.1  # the tolerance of an inner solve that seems to have raised the objective
SHORTEN, LENGTHEN = 4.0, 2.0  # factors of lambda where a step failed, and where one succeeded
PROXIMAL_LEAST = 1e-3  # times epsilon: a lambda that makes no difference
PROXIMAL_MOST = 1e6  # times epsilon: a lambda for which there is no hope left


class Inner(NamedTuple):
    """What an inner solve has found."""

    coupling: Coupling
    f: Vector
    g: Vector
    transport: float
    """Of the cost that was solved for."""
    divergence: float
    """KL(P | R)."""
    penalty: float
    """Of both sides; of fixed ones the potentials times what their marginals are short of."""
    mass: float
    largest_cost: float
    converged: bool
    solution: Any


Solve = Callable[[Any, float, "tuple[Vector, Vector] | None", float], Inner]
"""A cost, an epsilon, potentials to begin with, and a tolerance."""


class Step(NamedTuple):
    """An entry of the history."""

    value: float
    energy: float
    change: float
    tol: float
    proximal: float
    seconds: float


@dataclass(frozen=True)
class Descent:
    """What the loop is to do."""

    epsilon: float
    share: float
    tol: float
    max_iter: int
    deadline: float
    callback: Callable[[int, float], object] | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """Where it ended."""

    inner: Inner
    near: Linear
    value: float
    change: float
    status: Status
    steps: Sequence[Step]


def descend(structure: Structure, start: Coupling, solve: Solve, how: Descent) -> Found:
    """Return a stationary point: a plan that is the cheapest under the derivative of the objective at itself."""
    return _Run(structure, start, solve, how).run()


class _Run:
    def __init__(self, structure: Structure, start: Coupling, solve: Solve, how: Descent) -> None:
        self.structure, self.solve, self.how = structure, solve, how
        self.began = time.perf_counter()
        self.at, self.near, self.value = start, structure.at(start), np.inf
        self.inner: Inner | None = None
        self.logs: Array | None = None  # log(P / R) of the plan at hand, where it has been solved for
        self.proximal, self.tol = 0.0, max(how.tol, LOOSE)
        self.value_tol = np.inf  # at which the value was computed
        self.steps: list[Step] = []

    def run(self) -> Found:
        how, change, status = self.how, np.inf, Status.MAX_ITER
        for count in range(1, how.max_iter + 1):
            try_again = self._step()
            if try_again is None:
                status = Status.STALLED
                break
            change = try_again
            if self.steps and how.callback is not None and how.callback(count, change):
                status = Status.STOPPED
                break
            if change <= how.tol and self.tol <= how.tol and self.inner is not None and self.inner.converged:
                status = Status.CONVERGED
                break
            if time.perf_counter() >= how.deadline:
                status = Status.TIME_LIMIT
                break
            self._tie(change)
        assert self.inner is not None
        return Found(self.inner, self.near, self.value, change, status, self.steps)

    def _tie(self, change: float) -> None:
        """The tolerance of inner solves follows the change, by powers of ten: values are compared at equal ones."""
        if 0 < change < np.inf:
            self.tol = min(self.tol, max(self.how.tol, 10.0 ** np.floor(np.log10(TIED * change))))
        elif change == 0:
            self.tol = self.how.tol

    def _step(self) -> float | None:
        """One outer iteration: how far the plan has moved, in a step without lambda; None if there is no way down."""
        how = self.how
        while True:
            cost, epsilon = self.near.cost, how.epsilon + self.proximal
            if self.proximal:
                assert self.logs is not None
                cost = cost - self.proximal * self.logs
            begin = None if self.inner is None else (self.inner.f, self.inner.g)
            inner = self.solve(cost, epsilon, begin, self.tol)
            near = self.structure.at(inner.coupling)
            value = self._objective(inner, near)
            if not np.isfinite(value):
                if self.inner is None:
                    self.inner, self.near, self.value = inner, near, value
                return None
            rounding = (VALUE_ROUNDING + INEXACT * self.tol) * self._size(inner, near)
            if value <= self.value + rounding or self.tol < self.value_tol:
                break
            if self.tol > how.tol:
                self.tol = max(how.tol, FINER * self.tol)
            elif self.logs is not None and self.proximal < PROXIMAL_MOST * how.epsilon:
                self.proximal = max(how.epsilon, SHORTEN * self.proximal)
            else:
                return None
            if time.perf_counter() >= how.deadline:
                return np.inf
        change = self._moved(inner, cost, epsilon) * (epsilon / how.epsilon)
        self.logs = None if inner.coupling.plan is None else (inner.f[:, None] + inner.g - cost) / epsilon
        self.at, self.near, self.inner, self.value, self.value_tol = inner.coupling, near, inner, value, self.tol
        self.steps.append(Step(value, near.energy, change, self.tol, self.proximal, time.perf_counter() - self.began))
        self.proximal = self.proximal / LENGTHEN if self.proximal > PROXIMAL_LEAST * how.epsilon else 0.0
        return change

    def _objective(self, inner: Inner, near: Linear) -> float:
        how = self.how
        return (
            how.share * near.energy + (1.0 - how.share) * near.linear + how.epsilon * inner.divergence + inner.penalty
        )

    def _size(self, inner: Inner, near: Linear) -> float:
        terms = near.energy, near.linear, self.how.epsilon * inner.divergence, inner.penalty, inner.transport
        return float(sum(map(abs, terms)))

    def _moved(self, inner: Inner, cost: Any, epsilon: float) -> float:
        """L1 distance from the plan before, relative to the mass; of plans that are not stored a bound on it.

        Both are exponentials of potentials less costs, so KL(before | P) is a sum of products of these with marginals;
        and by Pinsker's inequality the distance is at most (2 mass KL)^(1/2). What rounding may explain is no move.
        """
        before = self.at
        if inner.coupling.plan is not None:
            assert before.plan is not None
            return float(np.abs(inner.coupling.plan - before.plan).sum()) / inner.mass
        if self.inner is None:
            return np.inf
        last = self.inner
        r, c = before.row_marginal, before.col_marginal
        now = float(r @ inner.f + c @ inner.g) - self.near.priced
        then = float(r @ last.f + c @ last.g) - last.transport
        sizes = float(r @ np.abs(inner.f) + c @ np.abs(inner.g)) + inner.mass * (inner.largest_cost + last.largest_cost)
        divergence = (then - now) / epsilon - last.mass + inner.mass - DIVERGENCE_ROUNDING * sizes / epsilon
        return float(np.sqrt(2.0 * max(divergence, 0.0) / inner.mass))
