"""The outer loop: solve for the plan that is cheapest under the derivative of the energy, again and again.

Where the energy is concave, as between squared distances, every such step lowers the objective (Peyre, Cuturi, Solomon
2016; Sejourne, Vialard, Peyre 2021). Elsewhere a step that does not is taken back and made shorter: lambda KL(P | P_t)
is added, which is the same problem at epsilon + lambda and another cost (Xie, Wang, Wang, Zha 2020).

Near its end the loop is linear and slow. The linear costs of the last steps are mixed there, so that what a further
step would change of them is least (`Mixing`). That needs inner solves far more exact than a step is long: with a tenth
of it mixtures of rounding cost more iterations than they save. A mixture that raises the objective is taken back.
Mixtures stop at saddles as well, which plain steps leave: where the last steps tell of such a direction, the next are
plain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...problems.penalty import Vector
from ..anderson import Mixing
from ..status import Status
from .inner import Inner
from .structures import Array, Coupling, Linear, Structure
from .terms import Terms

VALUE_ROUNDING = 1e-12  # of the objective, relative to its terms: what may be rounding
DIVERGENCE_ROUNDING = 1e-15  # of the terms of a sum over the points
INEXACT = 1.0  # times the inner tolerance, the same: marginals that are missed by so much change it
LOOSE, TIED = 1e-3, 0.1  # tolerance of the first inner solve; of the others, times the last change
FINER = 0.1  # the tolerance of an inner solve that seems to have raised the objective
SHORTEN, LENGTHEN = 4.0, 2.0  # factors of lambda where a step failed, and where one succeeded
PROXIMAL_LEAST = 1e-3  # times epsilon: a lambda that makes no difference
PROXIMAL_MOST = 1e6  # times epsilon: a lambda for which there is no hope left
MIXED_STEPS = 4  # measured: 3 take a few more iterations, 5 and 8 no fewer
MIXED_TIED = 0.02  # tolerance of inner solves, times the last change, where costs are mixed
MIXED_ENTRIES = 1 << 24  # of a cost, up to which eight of its size are kept
MIXED_BELOW = 0.02  # the change from which on costs are mixed: before, steps pass saddles; measured
SLOW = 0.7  # part of the last change: where the next is less, steps are as quick
PLAIN_STEPS = 5  # after mixtures have led towards a saddle
LEAST_TOL = 1e-11  # of an inner solve that is more exact than was asked for


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
    terms: Terms
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
        self.at, self.near, _ = self._along(start, structure.at(start))
        self.value = np.inf
        self.of_inner = self.near, np.inf  # the plan of `inner` itself: its energy, its objective
        self.inner: Inner | None = None
        self.logs: Array | None = None  # log(P / R) of the plan at hand, where it has been solved for
        self.proximal, self.tol = 0.0, max(how.tol, LOOSE)
        self.value_tol = np.inf  # at which the value was computed
        self.steps: list[Step] = []
        self.cost, self.mixed = self._plain(), False  # what the next step solves for
        stored = isinstance(self.cost, np.ndarray) and self.cost.size <= MIXED_ENTRIES
        self.mixing = Mixing(MIXED_STEPS) if stored else None
        self.waits = 0  # plain steps to come, away from a saddle
        self.residual = np.inf  # of the last cost: what the step that it asks for would move

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
            exact = self.tol <= how.tol and self.inner is not None and self.inner.converged
            if change <= how.tol and exact and not self.mixed:
                status = Status.CONVERGED
                break
            if time.perf_counter() >= how.deadline:
                status = Status.TIME_LIMIT
                break
            if self.mixing is None:
                self.cost = self._plain()
                self._tie(TIED * change, how.tol)
            else:
                self._choose_cost(self.mixing)
                share = MIXED_TIED if self.residual < MIXED_BELOW else TIED
                self._tie(share * self.residual, max(FINER * how.tol, min(how.tol, LEAST_TOL)))
        assert self.inner is not None
        return Found(self.inner, *self.of_inner, change, status, self.steps)

    def _tie(self, wanted: float, least: float) -> None:
        """The tolerance of inner solves follows the change, by powers of ten: values are compared at equal ones."""
        if 0 < wanted < np.inf:
            self.tol = min(self.tol, max(least, 10.0 ** np.floor(np.log10(wanted))))
        elif wanted == 0:
            self.tol = least

    def _plain(self) -> Any:
        """The cost whose plan is the next one: the derivative at the plan at hand, in units of the terms beside it."""
        self.unit, constant = self.how.terms.around(self.at)
        cost = self.near.cost
        return cost if self.unit == 1.0 and constant == 0.0 else (cost + constant) / self.unit

    def _choose_cost(self, mixing: Mixing) -> None:
        """The derivative at the plan at hand, or a mixture of the last ones where steps have become short and slow."""
        solved, plain, before = self.cost, self._plain(), self.residual
        self.residual = self._asked(plain - solved)
        least = max(self.how.tol, LEAST_TOL / MIXED_TIED)
        if self.steps[-1].proximal or not least < self.residual < MIXED_BELOW:
            mixing.clear()
            self.cost, self.mixed = plain, False
        elif self.waits == 0 and (self.mixed or self.residual > SLOW * before):
            self.cost, self.mixed = mixing.step(solved, plain), mixing.mixes
            if mixing.expands():
                mixing.clear()
                self.cost, self.mixed, self.waits = plain, False, PLAIN_STEPS
        else:
            mixing.begin(solved, plain)
            self.cost, self.mixed, self.waits = plain, False, max(self.waits - 1, 0)

    def _asked(self, change: Array) -> float:
        """About how far a change of the cost moves the plan, in L1 and relative to its mass."""
        plan = self.at.plan
        assert plan is not None
        rows, cols = self.at.row_marginal, self.at.col_marginal
        mass = float(rows.sum())
        change = change - (change @ cols / mass)[:, None]
        change -= rows @ change / mass
        return float(np.einsum("ij,ij->", np.abs(change, out=change), plan)) / (mass * self.how.epsilon)

    def _step(self) -> float | None:
        """One outer iteration: how far the plan has moved, in a step without lambda; None if there is no way down."""
        how = self.how
        while True:
            cost, epsilon = self.cost, how.epsilon + self.proximal
            if self.proximal:
                assert self.logs is not None
                cost = cost - self.proximal * self.logs
            begin = None if self.inner is None else (self.inner.f, self.inner.g)
            inner = self.solve(cost, epsilon, begin, self.tol)
            own = self.structure.at(inner.coupling)
            own_value, _ = self._objective(inner, inner.coupling, own)
            lost = not np.isfinite(own_value) or not inner.mass > 0
            if lost and not self.mixed:
                if self.inner is None:
                    self.inner, self.of_inner = inner, (own, own_value)
                return None
            at, near, factor = self._along(inner.coupling, own)
            value, size = self._objective(inner, at, near)
            size += abs(self.unit * inner.transport)
            if self.mixed and (lost or not value <= self.value + _rounding(size, max(self.tol, self.value_tol))):
                assert self.mixing is not None
                self.mixing.shorten()
                self.cost, self.mixed = self._plain(), False
                continue
            if value <= self.value + _rounding(size, self.tol) or self.tol < self.value_tol:
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
        if inner.coupling.plan is not None:
            self.logs = (inner.f[:, None] + inner.g - cost) / epsilon + np.log(factor)
        self.at, self.near, self.inner, self.value, self.value_tol = at, near, inner, value, self.tol
        self.of_inner = own, own_value
        self.steps.append(Step(value, near.energy, change, self.tol, self.proximal, time.perf_counter() - self.began))
        self.proximal = self.proximal / LENGTHEN if self.proximal > PROXIMAL_LEAST * how.epsilon else 0.0
        return change

    def _along(self, coupling: Coupling, near: Linear) -> tuple[Coupling, Linear, float]:
        """Return the plan times the factor that lowers the objective most, and that factor."""
        factor = self.how.terms.ray(coupling, near, self.how.share)
        if factor == 1.0:
            return coupling, near, 1.0
        return coupling.times(factor), near.times(factor, self.how.share), factor

    def _objective(self, inner: Inner, coupling: Coupling, near: Linear) -> tuple[float, float]:
        """Return the objective and the size of its terms."""
        terms, size = self.how.terms.value(coupling, inner)
        value = self.how.share * near.energy + (1.0 - self.how.share) * near.linear + terms
        return value, abs(near.energy) + abs(near.linear) + size

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


def _rounding(size: float, tol: float) -> float:
    """What a value of terms of this size may be off, where inner solves are so exact."""
    return (VALUE_ROUNDING + INEXACT * tol) * size
