"""The penalties: `Fixed`, `KL`, `TV`, `L2`, `Between`, `AtMost`, `Free`, `Elastic`, each formula in its docstring."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..backends.protocol import BOXED, CLIPPED, LOGARITHMIC, QUADRATIC
from ..typing import ArrayLike
from .penalty import DependsOnEpsilon, Penalty, Vector, checked_bound, checked_strength, relative_entropy


@dataclass(frozen=True, eq=False, repr=False)
class _Strong(Penalty):
    """A penalty with a strength rho; at its ends it is no longer one."""

    rho: float

    if TYPE_CHECKING:

        def __init__(self, rho: ArrayLike) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "rho", checked_strength("rho", self.rho))

    def at(self, epsilon: float) -> Penalty:
        if np.ndim(self.rho):
            raise TypeError(f"rho has shape {np.shape(self.rho)}, one for every problem; here is one problem")
        return Free() if self.rho == 0 else Fixed() if math.isinf(self.rho) else self


@dataclass(frozen=True, eq=False, init=False, repr=False)
class KL(_Strong):
    """Relative entropy: the marginal may differ from the weights at a price of `rho` per nat.

    phi(r) = rho sum(r log(r / a) - r + a); update f = tau epsilon log(a / s) with tau = rho / (rho + epsilon);
    -phi*(-f) = rho sum a (1 - exp(-f / rho)). **Holds rho**: as epsilon falls the problem tends to unregularised
    relaxed transport, and tau to 1. Compare `Elastic`, which holds tau.

    Parameters
    ----------
    rho : float
        Strength, in the units of the cost, >= 0. 0 is `Free`, ``inf`` is `Fixed`.

    References
    ----------
    Chizat, Peyré, Schmitzer, Vialard, *Scaling algorithms for unbalanced optimal transport problems*, 2018.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> sol = eot.solve([[0.0, 1.0], [1.0, 0.0]], epsilon=0.1, cols=eot.KL(0.5))
    >>> sol.converged
    True
    """

    def rule(self, epsilon: float, mass: float) -> tuple[int, float, float]:
        return LOGARITHMIC, self.rho / (self.rho + epsilon), epsilon / (self.rho + epsilon)

    def phi(self, r: Vector, a: Vector) -> Vector:
        return self.rho * relative_entropy(r, a)

    def dual(self, f: Vector, a: Vector) -> Vector:
        return -self.rho * a * np.expm1(-f / self.rho)

    def demand(self, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        target = a * np.exp(-f / self.rho)
        return target, target

    def smooth(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        return a * np.exp(-f / self.rho) / self.rho, np.full_like(f, -np.inf), np.full_like(f, np.inf)

    def demand_by_strength(self, f: Vector, a: Vector) -> Vector:
        return a * np.exp(-f / self.rho) * f / self.rho**2

    def phi_by_strength(self, r: Vector, a: Vector) -> Vector:
        return relative_entropy(r, a)

    def dual_by_weight_slopes(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        x = f / self.rho
        return np.exp(-x), np.zeros_like(f), -np.expm1(-x) - x * np.exp(-x)

    def phi_by_strength_slopes(self, r: Vector, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        return -f / self.rho, -np.expm1(-f / self.rho)

    def gap(self, r: Vector, f: Vector, a: Vector) -> Vector:
        return self.rho * relative_entropy(r, a * np.exp(-f / self.rho))


@dataclass(frozen=True, eq=False, init=False, repr=False)
class TV(_Strong):
    """Total variation: every unit of missing or surplus mass costs `rho`.

    phi(r) = rho sum abs(r - a); update f = clip(epsilon log(a / s), -rho, rho); -phi*(-f) = sum a min(f, rho) for
    f >= -rho. With both sides so penalised a pair is transported only if that costs less than the two strengths
    together.

    Parameters
    ----------
    rho : float
        Price of a unit of mass, in the units of the cost, >= 0. 0 is `Free`, ``inf`` is `Fixed`.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> sol = eot.solve([[0.0, 9.0]], [1.0], [0.5, 0.5], epsilon=0.1, rows=eot.TV(1.0), cols=eot.TV(1.0))
    >>> sol.col_marginal.round(3)
    array([0.5, 0. ])
    """

    def rule(self, epsilon: float, mass: float) -> tuple[int, float, float]:
        return CLIPPED, self.rho / epsilon, 0.0

    def phi(self, r: Vector, a: Vector) -> Vector:
        return self.rho * np.abs(r - a)

    def dual(self, f: Vector, a: Vector) -> Vector:
        return np.where(f >= -self._edge, a * np.clip(f, -self.rho, self.rho), -np.inf)

    def demand(self, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        low = np.where(f >= self.rho, 0.0, np.where(f < -self._edge, np.inf, a))
        high = np.where(f > self.rho, 0.0, np.where(f <= -self.rho, np.inf, a))
        return low, high

    def smooth(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        return np.zeros_like(f), np.full_like(f, -self.rho), np.full_like(f, self.rho)

    def kinks(self) -> tuple[float, float]:
        return -self.rho, self.rho

    def least_potential(self) -> float:
        return -self.rho

    def phi_by_strength(self, r: Vector, a: Vector) -> Vector:
        return np.abs(r - a)

    def dual_by_weight_slopes(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        return np.ones_like(f), np.zeros_like(f), np.zeros_like(f)

    def phi_by_strength_slopes(self, r: Vector, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        return -np.sign(f), np.sign(f)

    def gap(self, r: Vector, f: Vector, a: Vector) -> Vector:
        f = np.clip(f, -self.rho, None)  # beyond the edge by rounding only
        return np.where(r > a, (self.rho + f) * (r - a), (self.rho - f) * (a - r)) + np.where(
            f > self.rho, (f - self.rho) * a, 0.0
        )

    @property
    def _edge(self) -> float:
        return self.rho * (1 + 1e-12)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class L2(_Strong):
    """Half a squared distance: phi(r) = (rho / 2) sum (r - a)^2.

    Update: f solves a - f / rho = s exp(f / epsilon) (a scalar Newton iteration); -phi*(-f) = sum a f - f^2 / (2 rho)
    where the optimal marginal max(a - f / rho, 0) is positive, rho a^2 / 2 elsewhere.

    Parameters
    ----------
    rho : float
        Strength, in units of cost per mass, >= 0. 0 is `Free`, ``inf`` is `Fixed`.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> sol = eot.solve([[0.0, 1.0], [1.0, 0.0]], [0.9, 0.1], epsilon=0.1, cols=eot.L2(10.0))
    >>> sol.converged
    True
    """

    def rule(self, epsilon: float, mass: float) -> tuple[int, float, float]:
        return QUADRATIC, epsilon / (self.rho * mass), 0.0

    def phi(self, r: Vector, a: Vector) -> Vector:
        return 0.5 * self.rho * (r - a) ** 2

    def dual(self, f: Vector, a: Vector) -> Vector:
        return np.where(f < self.rho * a, a * f - f**2 / (2 * self.rho), 0.5 * self.rho * a**2)

    def demand(self, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        target = np.maximum(a - f / self.rho, 0.0)
        return target, target

    def smooth(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        inside = np.where(f < self.rho * a, 1.0 / self.rho, 0.0)
        return inside, np.full_like(f, -np.inf), np.full_like(f, np.inf)

    def dual_by_weight(self, f: Vector, a: Vector) -> Vector:
        return np.minimum(f, self.rho * a)

    def demand_by_weight(self, f: Vector, a: Vector) -> Vector:
        return np.where(f < self.rho * a, 1.0, 0.0)

    def demand_by_strength(self, f: Vector, a: Vector) -> Vector:
        return np.where(f < self.rho * a, f / self.rho**2, 0.0)

    def phi_by_strength(self, r: Vector, a: Vector) -> Vector:
        return 0.5 * (r - a) ** 2

    def dual_by_weight_slopes(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        inside = np.where(f < self.rho * a, 1.0, 0.0)
        return inside, (1.0 - inside) * self.rho, (1.0 - inside) * a

    def phi_by_strength_slopes(self, r: Vector, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        return r - a, a - r

    def gap(self, r: Vector, f: Vector, a: Vector) -> Vector:
        inside = 0.5 * self.rho * (r - (a - f / self.rho)) ** 2
        outside = 0.5 * self.rho * r**2 + (f - self.rho * a) * r
        return np.where(f < self.rho * a, inside, outside)


@dataclass(frozen=True, eq=False, repr=False)
class Between(Penalty):
    """Bounds: lo a <= r <= hi a, free inside.

    Update f = clip(0, epsilon log(lo a / s), epsilon log(hi a / s)); -phi*(-f) = sum a min(lo f, hi f).

    Parameters
    ----------
    lo, hi : float
        Bounds in multiples of the weights, 0 <= lo <= hi, hi > 0; ``hi=inf`` is no upper bound.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> sol = eot.solve([[0.0, 1.0], [0.0, 1.0]], epsilon=0.05, cols=eot.Between(0.5, 1.5))
    >>> sol.col_marginal.round(3)
    array([0.75, 0.25])
    """

    lo: float
    hi: float
    hard: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("lo", "hi"):
            object.__setattr__(self, name, checked_bound(name, getattr(self, name)))
        if self.lo > self.hi:
            raise ValueError(f"lo is {self.lo} and hi is {self.hi}; bounds must satisfy lo <= hi")
        if self.hi == 0 or math.isinf(self.lo):
            raise ValueError(f"bounds ({self.lo}, {self.hi}) leave no marginal; hi must be > 0 and lo finite")

    def box(self) -> tuple[float, float]:
        return self.lo, self.hi

    def rule(self, epsilon: float, mass: float) -> tuple[int, float, float]:
        return BOXED, math.log(self.lo) if self.lo > 0 else -math.inf, math.log(self.hi)

    def phi(self, r: Vector, a: Vector) -> Vector:
        return np.where((r >= self.lo * a) & (r <= self.hi * a), 0.0, np.inf)

    def dual(self, f: Vector, a: Vector) -> Vector:
        with np.errstate(invalid="ignore"):  # hi = inf is used where f < 0 only
            return a * np.where(f < 0, self.hi * f, self.lo * f)

    def demand(self, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        low = np.where(f < 0, self.hi * a, self.lo * a)
        high = np.where(f > 0, self.lo * a, self.hi * a)
        return low, high

    def smooth(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        return np.zeros_like(f), np.where(f > 0, 0.0, np.where(f < 0, -np.inf, 0.0)), np.where(f > 0, np.inf, 0.0)

    def kinks(self) -> tuple[float, float]:
        return 0.0, 0.0

    def least_potential(self) -> float:
        return 0.0 if math.isinf(self.hi) else -math.inf

    def gap(self, r: Vector, f: Vector, a: Vector) -> Vector:
        r = np.clip(r, self.lo * a, self.hi * a)
        with np.errstate(invalid="ignore"):  # hi = inf is multiplied where f < 0 only
            above = np.where(f < 0, -f * (self.hi * a - r), 0.0)
        return np.where(f > 0, f * (r - self.lo * a), above)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class AtMost(Between):
    """Capacities: r <= a, that is ``Between(0, 1)``; on both sides the mass moved is free (partial transport).

    Examples
    --------
    >>> import elastic_ot as eot
    >>> sol = eot.solve([[0.0, 1.0]], [0.5], [0.4, 0.4], epsilon=0.05, cols=eot.AtMost())
    >>> sol.col_marginal.round(3)
    array([0.4, 0.1])
    """

    def __init__(self) -> None:
        super().__init__(0.0, 1.0)

    def __repr__(self) -> str:
        return "AtMost()"


@dataclass(frozen=True, eq=False, repr=False)
class Fixed(Penalty):
    """The marginal equals the weights: r = a. Update f = epsilon log(a / s); -phi*(-f) = sum a f.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> eot.solve([[0.0, 1.0], [1.0, 0.0]], epsilon=0.1, rows=eot.Fixed()).row_marginal.round(6)
    array([0.5, 0.5])
    """

    hard: ClassVar[bool] = True

    def box(self) -> tuple[float, float]:
        return 1.0, 1.0

    def rule(self, epsilon: float, mass: float) -> tuple[int, float, float]:
        return LOGARITHMIC, 1.0, 0.0

    def phi(self, r: Vector, a: Vector) -> Vector:
        return np.where(r == a, 0.0, np.inf)

    def dual(self, f: Vector, a: Vector) -> Vector:
        return a * f

    def demand(self, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        return a, a

    def kinks(self) -> tuple[float, float]:
        return -math.inf, math.inf

    def gap(self, r: Vector, f: Vector, a: Vector) -> Vector:
        return np.zeros_like(r)


@dataclass(frozen=True, eq=False, repr=False)
class Free(Penalty):
    """No condition at all: phi = 0, f = 0. With the other side fixed the plan is a softmax over this one.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> eot.solve([[0.0, 0.1]], [1.0], epsilon=0.1, cols=eot.Free()).plan.round(4)
    array([[0.7311, 0.2689]])
    """

    def rule(self, epsilon: float, mass: float) -> tuple[int, float, float]:
        return LOGARITHMIC, 0.0, 1.0

    def phi(self, r: Vector, a: Vector) -> Vector:
        return np.zeros_like(r)

    def dual(self, f: Vector, a: Vector) -> Vector:
        return np.where(f >= 0, 0.0, -np.inf)

    def demand(self, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        return np.zeros_like(f), np.where(f > 0, 0.0, np.inf)

    def smooth(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        return np.zeros_like(f), np.zeros_like(f), np.zeros_like(f)

    def kinks(self) -> tuple[float, float]:
        return 0.0, 0.0

    def least_potential(self) -> float:
        return 0.0

    def gap(self, r: Vector, f: Vector, a: Vector) -> Vector:
        return f * r


@dataclass(frozen=True, eq=False, repr=False)
class Elastic(DependsOnEpsilon):
    """`KL` with tau held, from `Free` (lam = 0, row softmax) to `Fixed` (lam = 1, doubly stochastic).

    In between it is ``KL(rho)`` with rho = epsilon lam / (1 - lam), so the update is f = lam epsilon log(a / s).
    **Holds tau = lam**: rho shrinks with epsilon, so that epsilon -> 0 tends to the row-wise argmax, not to a
    permutation. Compare `KL`, which holds rho.

    Parameters
    ----------
    lam : float
        Elasticity, 0 <= lam <= 1, no unit.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> scores = [[0.0, 0.2], [0.0, 0.2]]
    >>> [eot.solve(scores, epsilon=0.1, cols=eot.Elastic(lam)).col_marginal[1].round(4) for lam in (0.0, 0.5, 1.0)]
    [np.float64(0.1192), np.float64(0.2689), np.float64(0.5)]
    """

    if TYPE_CHECKING:

        def __init__(self, lam: ArrayLike) -> None: ...

    lam: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "lam", checked_strength("lam", self.lam, 1.0))

    def at(self, epsilon: float) -> Penalty:
        if np.ndim(self.lam):
            raise TypeError(f"lam has shape {np.shape(self.lam)}, one for every problem; here is one problem")
        return Fixed() if self.lam == 1 else KL(epsilon * self.lam / (1 - self.lam)).at(epsilon)

    def rule(self, epsilon: float, mass: float) -> tuple[int, float, float]:
        return self.at(epsilon).rule(epsilon, mass)


PENALTIES = (Fixed, KL, TV, L2, Between, AtMost, Free, Elastic)
"""All of them, as users may choose."""
