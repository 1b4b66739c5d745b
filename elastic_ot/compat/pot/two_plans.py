"""Two plans whose product compares two matrices: the objective, what it makes of one plan given the other, descents.

P couples rows of X and Y, Q their columns. With marginals p, p' of P and q, q' of Q, weights a, b of the rows and c, d
of the columns, and E the sum of L(X_ik, Y_jl) P_ij Q_kl, the objective is

    E + <M, P> + <N, Q> + rho_x D(p (x) q | a (x) c) + rho_y D(p' (x) q' | b (x) d) + entropy,

D a relative entropy or half a squared distance of product measures, the entropy KL of P (x) Q or those of P and of Q.
Given Q it is a relaxed transport of P, and the reverse: they are solved in turn, and then given equal masses, which
keeps all terms of their product. For KL see `elastic_ot.solvers.gromov.terms`; D of squares is, given q, a constant and
rho_x |q|^2 |p - a <c, q> / |q|^2|^2 / 2.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from ...api.solve import solve
from ...errors import ConvergenceWarning
from ...problems.penalties import KL, L2
from ...problems.penalty import Vector
from ...solvers.gromov.losses import Loss
from ...solvers.gromov.structures import Array
from .arguments import threshold
from .without_entropy import without_entropy

WAY_TO_NONE = (0.3, 0.1, 0.03, 0.01, 0.003)  # epsilons of the way to none, in units of the range of the costs
NO_MASS = "a plan has no mass: costs outweigh penalties; raise reg_marginals or lower epsilon"
SOFT_STEPS, SOFT_TOL = 30, 1e-4

Plans = tuple[Array, Array]
Potentials = tuple[Vector, Vector]


class NoMass(ValueError):
    """A plan without mass, for which no other plan is best."""


@dataclass(frozen=True, eq=False)
class TwoPlans:
    """Two matrices and all that their plans pay for; fields of pairs are of the rows and of the columns."""

    matrices: tuple[Array, Array]
    loss: Loss
    weights: tuple[tuple[Vector, Vector], tuple[Vector, Vector]]
    linear: tuple[Array | None, Array | None]
    strengths: tuple[float, float]
    """rho_x and rho_y; infinite for marginals that are given."""
    epsilons: tuple[float, float]
    joint: bool
    """True where the entropy is of P (x) Q, with the first epsilon."""
    squares: bool

    def energy(self, plans: Plans) -> float:
        """Return E."""
        P, Q = plans
        sides = self._sides(0, Q)
        return float(P.sum(axis=1) @ sides[0] + P.sum(axis=0) @ sides[1] - (self._product(0, Q) * P).sum())

    def value(self, plans: Plans) -> float:
        """Return the objective."""
        total = self.energy(plans) + self._apart(plans)
        for k, rho in enumerate(self.strengths):
            if np.isfinite(rho):
                marginals = plans[0].sum(axis=1 - k), plans[1].sum(axis=1 - k)
                total += rho * self._divergence(marginals, (self.weights[0][k], self.weights[1][k]))
        if self.joint and self.epsilons[0]:
            total += self.epsilons[0] * self._divergence(plans, (self._reference(0), self._reference(1)))
        return total

    def balanced(self, plans: Plans) -> Plans:
        """Return plans of the same product and of equal masses, unless marginals are given."""
        if not np.isfinite(self.strengths).all():
            return plans
        masses = plans[0].sum(), plans[1].sum()
        if not min(masses) > 0:
            raise NoMass(NO_MASS)
        factor = np.sqrt(masses[1] / masses[0])
        return plans[0] * factor, plans[1] / factor

    def cost(self, which: int, other: Array) -> Array:
        """Return the costs of one plan, given the other one, without terms that are the same for all entries."""
        sides, linear = self._sides(which, other), self.linear[which]
        cost = sides[0][:, None] + sides[1] - self._product(which, other)
        return cost if linear is None else cost + linear

    def best(self, which: int, other: Array, start: Potentials | None, tol: float) -> tuple[Array, Potentials]:
        """Return the best plan of rows, 0, or of columns, 1, given the other one, and its potentials without a unit."""
        mass, (a, b) = float(other.sum()), self.weights[which]
        if not 0 < mass < np.inf:
            raise NoMass(NO_MASS)
        cost = self.cost(which, other)
        marginals, references = (other.sum(axis=1), other.sum(axis=0)), self.weights[1 - which]
        unit, strengths = mass, list(self.strengths)
        if self.squares:
            unit, weights = 1.0, [a, b]
            for k, (x, w) in enumerate(zip(marginals, references, strict=True)):
                if np.isfinite(strengths[k]):
                    weights[k] = weights[k] * float(w @ x) / float(x @ x)
                    strengths[k] *= float(x @ x)
            a, b = weights
        else:
            for rho, x, w in zip(strengths, marginals, references, strict=True):
                cost = cost + (rho * relative(x, w) if np.isfinite(rho) else 0.0)
            if self.joint:
                cost = cost + self.epsilons[0] * relative(other, np.outer(*references))
        rows, cols = ((L2 if self.squares else KL)(rho) for rho in strengths)
        epsilon = self.epsilons[0] if self.joint else self.epsilons[which] / unit
        if epsilon == 0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                exact = without_entropy(cost / unit, a, b, (rows, cols))
            return exact.plan, (unit * exact.f, unit * exact.g)
        init = None if start is None else (epsilon * start[0], epsilon * start[1])
        found = solve(
            *(cost / unit, a, b),
            epsilon=epsilon,
            rows=rows,
            cols=cols,
            init=init,
            tol=threshold(tol),
            on_failure="ignore",
        )
        f, g = (np.where(np.isfinite(x), x, 0.0) / epsilon for x in (found.f, found.g))
        return found.plan, (f, g)

    def slopes(self, plans: Plans) -> tuple[Plans, tuple[tuple[Vector, Vector], tuple[Vector, Vector]]]:
        """Return derivatives of the objective at these plans: in the matrices, and in the weights."""
        (X, Y), (P, Q) = self.matrices, plans
        pairs = [np.outer(P.sum(axis=axis), Q.sum(axis=axis)) for axis in (1, 0)]
        if self.loss.name == "square":
            first, second = 2.0 * X * pairs[0] - 2.0 * P @ Y @ Q.T, 2.0 * Y * pairs[1] - 2.0 * P.T @ X @ Q
        else:
            logs = np.log(np.where(X > 0, X, np.finfo(np.float64).tiny))
            first, second = logs * pairs[0] - P @ np.log(Y) @ Q.T, pairs[1] - P.T @ X @ Q / Y
        rows, cols = ((self._slope(which, 0, plans), self._slope(which, 1, plans)) for which in (0, 1))
        return (first, second), (rows, cols)

    def _slope(self, which: int, k: int, plans: Plans) -> Vector:
        """Return the derivative in the weights of one side of one plan."""
        own, other = plans[which].sum(axis=1 - k), plans[1 - which].sum(axis=1 - k)
        w, across, beside = self.weights[which][k], self.weights[1 - which][k], self.weights[which][1 - k]
        rho = self.strengths[k] if np.isfinite(self.strengths[k]) else 0.0
        if self.squares:
            return np.asarray(rho * (float(across @ across) * w - float(across @ other) * own))
        ratio, mass = own / np.where(w > 0, w, 1.0), float(other.sum())
        total = rho * (float(across.sum()) - mass * ratio)
        if not self.joint:
            return np.asarray(total + self.epsilons[which] * (float(beside.sum()) - ratio))
        others = float(beside.sum()) * float(self._reference(1 - which).sum())
        return np.asarray(total + self.epsilons[0] * (others - mass * ratio))

    def _reference(self, which: int) -> Array:
        return np.outer(*self.weights[which])

    def _sides(self, which: int, other: Array) -> tuple[Vector, Vector]:
        first, second = self.loss.first(self.matrices[0]), self.loss.second(self.matrices[1])
        if which == 1:
            first, second = first.T, second.T
        return first @ other.sum(axis=1), second @ other.sum(axis=0)

    def _product(self, which: int, other: Array) -> Array:
        left, right = self.loss.left(self.matrices[0]), self.loss.right(self.matrices[1])
        return np.asarray(left @ other @ right.T if which == 0 else left.T @ other @ right)

    def _apart(self, plans: Plans) -> float:
        """Return what depends on each plan, and not on their product alone."""
        total = 0.0
        for which, plan in enumerate(plans):
            linear, epsilon = self.linear[which], self.epsilons[which]
            if linear is not None:
                total += float((linear * plan).sum())
            if not self.joint and epsilon:
                reference = self._reference(which)
                total += epsilon * (relative(plan, reference) - float(plan.sum()) + float(reference.sum()))
        return total

    def _divergence(self, pair: tuple[Array, Array], references: tuple[Array, Array]) -> float:
        (x, z), (y, w) = pair, references
        if self.squares:
            crossed = float((x * y).sum()) * float((z * w).sum())
            squares = [float((u**2).sum()) for u in (x, z, y, w)]
            return 0.5 * (squares[2] * squares[3] - 2.0 * crossed + squares[0] * squares[1])
        masses = [float(u.sum()) for u in (x, z, y, w)]
        sums = masses[1] * relative(x, y) + masses[0] * relative(z, w)
        return sums - masses[0] * masses[1] + masses[2] * masses[3]


def relative(x: Array, y: Array) -> float:
    """Return sum x log(x / y) over x > 0."""
    on = x > 0
    with np.errstate(divide="ignore"):
        return float((x[on] * np.log(x[on] / y[on])).sum())


@dataclass(frozen=True, eq=False)
class FoundPlans:
    """Where a descent ended."""

    plans: Plans
    potentials: tuple[Potentials, Potentials]
    err: list[float]
    """L1 changes of the plan of rows."""
    value: float


@dataclass(frozen=True)
class Steps:
    """How to descend: `rescale` plans to equal masses, when to stop, whether to print."""

    rescale: bool = True
    max_iter: int = 100
    tol: float = 1e-7
    inner_tol: float = 1e-7
    verbose: bool = False


def descend(problem: TwoPlans, start: Plans, how: Steps) -> FoundPlans:
    """Descend from a start, and warn where that does not end.

    Without entropy plans are sparse and stay so, stationary soon and not good. So a second descent begins where one
    with less and less entropy has ended, and the better result is returned.
    """
    found = alternate(problem, start, how)
    if not any(problem.epsilons):
        with suppress(NoMass):
            other = alternate(problem, _softened(problem, start, how), how)
            found = other if other.value < found.value else found
    if found.err[-1] >= how.tol:
        moved = f"the plan still moves by {found.err[-1]:.1e} after {len(found.err)} iterations"
        warnings.warn(f"{moved}, tol is {how.tol:.1e}; raise max_iter", ConvergenceWarning, stacklevel=4)
    return found


def _softened(problem: TwoPlans, start: Plans, how: Steps) -> Plans:
    """Return the plans at the end of the way."""
    plans, few = start, replace(how, max_iter=SOFT_STEPS, tol=SOFT_TOL, verbose=False)
    scale = float(np.ptp(problem.cost(0, start[1]))) / float(start[1].sum())
    for share in WAY_TO_NONE if scale > 0 else ():
        plans = alternate(replace(problem, epsilons=(share * scale,) * 2, joint=True), plans, few).plans
    return plans


def alternate(problem: TwoPlans, start: Plans, how: Steps) -> FoundPlans:
    """Solve for the plan of columns and for that of rows, again and again."""
    P, Q = start
    of_rows: Potentials | None = None
    of_cols: Potentials | None = None
    err: list[float] = []
    while len(err) < max(how.max_iter, 1):
        before = P
        Q, of_cols = problem.best(1, P, of_cols, how.inner_tol)
        if how.rescale:
            P, Q = problem.balanced((P, Q))
        P, of_rows = problem.best(0, Q, of_rows, how.inner_tol)
        if how.rescale:
            P, Q = problem.balanced((P, Q))
        err.append(float(np.abs(P - before).sum()))
        if how.verbose:
            print(f"{len(err):5d}|{err[-1]:8e}|")
        if err[-1] < how.tol:
            break
    assert of_rows is not None
    assert of_cols is not None
    return FoundPlans((P, Q), (of_rows, of_cols), err, problem.value((P, Q)))
