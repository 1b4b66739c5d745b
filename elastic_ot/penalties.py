"""What each marginal is asked to be: the penalties phi, their conjugates, and how kernels see them.

Every formula of one penalty stands in its docstring, in the notation of the problem

    minimise <C, P> + epsilon KL(P | R) + phi_a(P 1) + phi_b(P^T 1),

for one side with weights a, attained marginal r and potential f. The dual of that side is -phi*(-f). Methods take the
entries in use only (a > 0) and return one value an entry.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

# Update rules of the kernels; `elastic_ot.backends.protocol` holds their formulas.
LOGARITHMIC, CLIPPED, BOXED, QUADRATIC = 0, 1, 2, 3


def _strength(name: str, value: Any, upper: float = math.inf) -> Any:
    """A number, or one for every problem of a batch as a read-only array."""
    allowed = "be >= 0" if upper > 1 else "lie between 0 and 1"
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(value):
        return _strengths(name, value, upper, allowed)
    try:
        value = float(value)
    except (TypeError, ValueError, RuntimeError):
        if hasattr(value, "__array__"):
            return _strengths(name, np.asarray(value), upper, allowed)
        raise TypeError(f"{name} must be a number, or an array of one for every problem, got {value!r}") from None
    if not 0 <= value <= upper:  # nor nan; torch.compile traces this
        raise ValueError(f"{name} is {value}; it must {allowed}")
    return value


def _strengths(name: str, values: Any, upper: float, allowed: str) -> Vector:
    try:
        strengths = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must hold a number for every problem, got {values!r}") from None
    bad = np.argwhere(~((strengths >= 0) & (strengths <= upper)))
    if len(bad):
        raise ValueError(f"{name}[{', '.join(map(str, bad[0]))}] is {strengths[tuple(bad[0])]}; it must {allowed}")
    if strengths.size == 0:
        raise ValueError(f"{name} has shape {strengths.shape}; it must hold a number for every problem")
    strengths.flags.writeable = False
    return strengths


def _bound(name: str, value: Any) -> float:
    found = _strength(name, value)
    if not isinstance(found, float):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return found


@dataclass(frozen=True, eq=False)
class Penalty(ABC):
    """Base of all penalties; not made by users. Equal are those of one kind with equal strengths, arrays included."""

    hard: ClassVar[bool] = False
    """True if some marginals are forbidden (phi = inf), so that feasibility must be measured."""

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Penalty) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        values = (getattr(self, field.name) for field in fields(self))
        return type(self), *((v.shape, *v.ravel().tolist()) if isinstance(v, np.ndarray) else v for v in values)

    def at(self, epsilon: float) -> Penalty:
        """The penalty that holds at this epsilon: itself, or a simpler one it has become."""
        return self

    def box(self) -> tuple[float, float]:
        """Smallest and largest marginal allowed, in multiples of the weights."""
        return 0.0, math.inf

    @abstractmethod
    def rule(self, epsilon: float, mass: float) -> tuple[int, float, float]:
        """(code, strength, strength2) of the update for potentials in units of epsilon and weights in units of mass.

        Where strength is tau, strength2 is 1 - tau, which rounding would spoil.
        """

    @abstractmethod
    def phi(self, r: Vector, a: Vector) -> Vector:
        """The penalty; inf where a hard one is not met."""

    @abstractmethod
    def dual(self, f: Vector, a: Vector) -> Vector:
        """-phi*(-f); -inf outside the domain."""

    @abstractmethod
    def demand(self, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        """The interval of marginals that f is optimal for: the derivative of the dual, which falls in f."""

    def smooth(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        """How the demand falls with f, and the interval low <= f <= high on which it does so smoothly.

        Returns (-d demand / d f >= 0, low, high). Between kinks; an entry on one is outside Newton's system while its
        best response is to stay there.
        """
        return np.zeros_like(f), np.full_like(f, -np.inf), np.full_like(f, np.inf)

    def dual_by_weight(self, f: Vector, a: Vector) -> Vector:
        """Derivative of the dual in a; the dual itself over a, where both scale alike."""
        return self.dual(f, a) / a

    def demand_by_weight(self, f: Vector, a: Vector) -> Vector:
        """Derivative of the demand in a, away from kinks."""
        return self.demand(f, a)[0] / a

    def demand_by_strength(self, f: Vector, a: Vector) -> Vector:
        """Derivative of the demand in rho, away from kinks."""
        return np.zeros_like(f)

    def phi_by_strength(self, r: Vector, a: Vector) -> Vector:
        """Derivative of phi in rho."""
        return np.zeros_like(r)

    def dual_by_weight_slopes(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        """Derivatives of `dual_by_weight` in f, a and rho."""
        return self.demand_by_weight(f, a), np.zeros_like(f), np.zeros_like(f)

    def phi_by_strength_slopes(self, r: Vector, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        """Derivatives of `phi_by_strength` in r and a at an optimal r; where phi is linear, of entries on a kink."""
        return np.zeros_like(f), np.zeros_like(f)

    def kinks(self) -> tuple[float, float]:
        """Where the demand jumps, if it is constant in between: the penalty is linear. (nan, nan) if it is not."""
        return math.nan, math.nan

    def least_potential(self) -> float:
        """Where the dual's domain begins, -inf if every potential is allowed."""
        return -math.inf

    @abstractmethod
    def gap(self, r: Vector, f: Vector, a: Vector) -> Vector:
        """phi(r) + phi*(-f) + f r >= 0, without cancellation; hard penalties are evaluated at the nearest allowed r."""


@dataclass(frozen=True, eq=False)
class _Strong(Penalty):
    """A penalty with a strength rho; at its ends it is no longer one."""

    rho: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "rho", _strength("rho", self.rho))

    def at(self, epsilon: float) -> Penalty:
        if np.ndim(self.rho):
            raise TypeError(f"rho has shape {np.shape(self.rho)}, one for every problem; here is one problem")
        return Free() if self.rho == 0 else Fixed() if math.isinf(self.rho) else self


@dataclass(frozen=True, eq=False)
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
        return self.rho * _relative_entropy(r, a)

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
        return _relative_entropy(r, a)

    def dual_by_weight_slopes(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        x = f / self.rho
        return np.exp(-x), np.zeros_like(f), -np.expm1(-x) - x * np.exp(-x)

    def phi_by_strength_slopes(self, r: Vector, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        return -f / self.rho, -np.expm1(-f / self.rho)

    def gap(self, r: Vector, f: Vector, a: Vector) -> Vector:
        return self.rho * _relative_entropy(r, a * np.exp(-f / self.rho))


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, eq=False)
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
            object.__setattr__(self, name, _bound(name, getattr(self, name)))
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


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, eq=False)
class Elastic(Penalty):
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

    lam: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "lam", _strength("lam", self.lam, 1.0))

    def at(self, epsilon: float) -> Penalty:
        if np.ndim(self.lam):
            raise TypeError(f"lam has shape {np.shape(self.lam)}, one for every problem; here is one problem")
        return Fixed() if self.lam == 1 else KL(epsilon * self.lam / (1 - self.lam)).at(epsilon)

    def rule(self, epsilon: float, mass: float) -> tuple[int, float, float]:
        return self.at(epsilon).rule(epsilon, mass)

    def _resolve(self) -> Penalty:
        raise TypeError("Elastic depends on epsilon: use .at(epsilon) first")

    def phi(self, r: Vector, a: Vector) -> Vector:
        return self._resolve().phi(r, a)

    def dual(self, f: Vector, a: Vector) -> Vector:
        return self._resolve().dual(f, a)

    def demand(self, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        return self._resolve().demand(f, a)

    def smooth(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        return self._resolve().smooth(f, a)

    def gap(self, r: Vector, f: Vector, a: Vector) -> Vector:
        return self._resolve().gap(r, f, a)


def _relative_entropy(r: Vector, t: Vector) -> Vector:
    """Terms r log(r / t) - r + t >= 0, with an error of rounding times abs(r - t): first-order terms do not cancel."""
    with np.errstate(over="ignore"):
        x = np.divide(r - t, t, out=np.where(r > 0, np.inf, -1.0), where=t > 0)
        logarithm = np.log1p(x, out=np.zeros_like(x), where=x > -1.0)
        far = np.isinf(x)
        excess = np.where(far, 0.0, (1.0 + x) * logarithm) - np.where(far, 0.0, x)
    return np.where(far, np.inf, t * np.maximum(excess, 0.0))
