"""What an objective has beside the energy: entropy and penalties, of the plan and its marginals or of their products.

Of products (Sejourne, Vialard, Peyre 2021) the objective holds, with P (x) Q the measure P_ij Q_kl on pairs of pairs,

    (epsilon KL(P (x) P | R (x) R) + rho_a KL(r (x) r | a (x) a) + rho_b KL(c (x) c | b (x) b)) / 2.

Let L(x) = sum x log(x / y), the same of every measure beside its reference y, and m(x) the mass. Then

    KL(x (x) z | y (x) w) = m(z) L(x) + m(x) L(z) - m(x) m(z) + m(y) m(w),

so that with S = epsilon L(P) + rho_a L(r) + rho_b L(c), k = epsilon + rho_a + rho_b and m = m(P) they are a constant
and m S - k m^2 / 2. To minimise over P what they and the energy make of a pair (P, Q) is the problem of the marginals,
with the same strengths, at the cost (derivative at Q + S(Q)) / m(Q).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from ...problems.penalties import KL, Fixed, Free
from ...problems.penalty import Penalty, Vector
from .inner import Inner
from .structures import Array, Coupling, Linear

FURTHEST_RAY = 300.0  # logarithm of the largest factor of a plan
RAY_STEPS = 60  # of Newton's method in one dimension
SAME_FACTOR = 1e-14  # relative change of a factor that is rounding


class Around(NamedTuple):
    """What the terms make of the costs of an inner problem near a plan."""

    unit: float
    """That they are divided by."""
    constant: float
    """That is added to them before."""


class Terms(Protocol):
    """Entropy and penalties of a plan."""

    def around(self, coupling: Coupling) -> Around:
        """Return what they make of the costs near a plan."""

    def value(self, coupling: Coupling, inner: Inner) -> tuple[float, float]:
        """Return their value, and the size of what is summed; `coupling` is that of `inner` times a factor."""

    def ray(self, coupling: Coupling, near: Linear, share: float) -> float:
        """Return the factor of the plan that lowers the objective most."""


@dataclass(frozen=True)
class OfMarginals:
    """epsilon KL(P | R) + phi_rows(r) + phi_cols(c)."""

    epsilon: float

    def around(self, coupling: Coupling) -> Around:
        return Around(1.0, 0.0)

    def value(self, coupling: Coupling, inner: Inner) -> tuple[float, float]:
        entropy, penalty = self.epsilon * inner.divergence, inner.penalty
        return entropy + penalty, abs(entropy) + abs(penalty)

    def ray(self, coupling: Coupling, near: Linear, share: float) -> float:
        return 1.0


@dataclass(frozen=True, eq=False)
class OfProducts:
    """Half the divergences of products; sides are `KL`, `Fixed` or `Free`."""

    epsilon: float
    strengths: tuple[float, float]
    """Infinite for a `Fixed` side, whose marginal is given and has no penalty."""
    weights: tuple[Vector, Vector]
    product: bool
    """True where R is a b^T, False where it is 1."""

    @property
    def _paid(self) -> tuple[float, float]:
        first, second = (0.0 if np.isinf(rho) else rho for rho in self.strengths)
        return first, second

    @property
    def _total(self) -> float:
        return self.epsilon + sum(self._paid)

    def around(self, coupling: Coupling) -> Around:
        return Around(float(coupling.row_marginal.sum()), self._sum(coupling))

    def value(self, coupling: Coupling, inner: Inner) -> tuple[float, float]:
        mass = float(coupling.row_marginal.sum())
        masses = [float(w.sum()) for w in self.weights]
        reference = masses[0] * masses[1] if self.product else float(self.weights[0].size * self.weights[1].size)
        constant = self.epsilon * reference**2 + sum(rho * w**2 for rho, w in zip(self._paid, masses, strict=True))
        terms = mass * self._sum(coupling), -0.5 * self._total * mass**2, 0.5 * constant, mass * inner.missed
        return sum(terms), sum(map(abs, terms))

    def ray(self, coupling: Coupling, near: Linear, share: float) -> float:
        """The derivative at the factor s is 2 s (A + K log s) + B; of two roots the larger one is the minimum."""
        mass = float(coupling.row_marginal.sum())
        if np.isinf(self.strengths).any() or not mass > 0:
            return 1.0
        quadratic, curvature = share * near.energy + mass * self._sum(coupling), self._total * mass**2
        linear = (1.0 - share) * near.linear
        s = float(np.exp(np.clip(-quadratic / curvature, -FURTHEST_RAY, FURTHEST_RAY)))
        for _ in range(RAY_STEPS):
            inside = quadratic + curvature * np.log(s)
            slope = 2.0 * (inside + curvature)
            step = (2.0 * s * inside + linear) / slope if slope > 0 else s
            if step >= s:  # no root: the smaller the plan, the better
                return 1.0
            s -= step
            if abs(step) <= SAME_FACTOR * s:
                break

        def rise(s: float) -> float:
            return s**2 * (quadratic + curvature * (float(np.log(s)) - 0.5)) + s * linear

        return s if rise(s) <= rise(1.0) else 1.0

    def _sum(self, coupling: Coupling) -> float:
        """Return S."""
        assert coupling.plan is not None
        marginals = coupling.row_marginal, coupling.col_marginal
        logs = [np.log(np.where(w > 0, w, 1.0)) for w in self.weights]
        entropy = _self_entropy(coupling.plan)
        if self.product:
            entropy -= sum(float(x @ log) for x, log in zip(marginals, logs, strict=True))
        sides = (_self_entropy(x) - float(x @ log) for x, log in zip(marginals, logs, strict=True))
        return self.epsilon * entropy + sum(rho * x for rho, x in zip(self._paid, sides, strict=True))


def _self_entropy(x: Array) -> float:
    """Return sum x log x, 0 log 0 = 0."""
    return float((x * np.log(np.where(x > 0, x, 1.0))).sum())


def strength_of(side: Penalty) -> float | None:
    """Return the strength of a side as a relative entropy, None for a penalty of another kind."""
    if isinstance(side, KL):
        return float(side.rho)
    return np.inf if isinstance(side, Fixed) else 0.0 if isinstance(side, Free) else None
