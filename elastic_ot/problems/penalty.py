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
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Indices = NDArray[np.int64]


def checked_strength(name: str, value: Any, upper: float = math.inf) -> Any:
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


def checked_bound(name: str, value: Any) -> float:
    found = checked_strength(name, value)
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

    def __repr__(self) -> str:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return f"{type(self).__name__}({', '.join(f'{name}={_shown(value)}' for name, value in values)})"

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


def _shown(strength: Any) -> str:
    """Return a number as it is, and of an array one or two and its shape."""
    if not np.ndim(strength):
        return repr(strength)
    return f"{np.min(strength):g} to {np.max(strength):g} of shape {np.shape(strength)}"


@dataclass(frozen=True, eq=False, repr=False)
class DependsOnEpsilon(Penalty):
    """Base of penalties that have formulas only at some epsilon: `at` makes the penalty which has them."""

    def _refuse(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} depends on epsilon: use .at(epsilon) first")

    def phi(self, r: Vector, a: Vector) -> Vector:
        self._refuse()

    def dual(self, f: Vector, a: Vector) -> Vector:
        self._refuse()

    def demand(self, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        self._refuse()

    def smooth(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        self._refuse()

    def gap(self, r: Vector, f: Vector, a: Vector) -> Vector:
        self._refuse()


def relative_entropy(r: Vector, t: Vector) -> Vector:
    """Terms r log(r / t) - r + t >= 0, with an error of rounding times abs(r - t): first-order terms do not cancel."""
    with np.errstate(over="ignore"):
        x = np.divide(r - t, t, out=np.where(r > 0, np.inf, -1.0), where=t > 0)
        logarithm = np.log1p(x, out=np.zeros_like(x), where=x > -1.0)
        far = np.isinf(x)
        excess = np.where(far, 0.0, (1.0 + x) * logarithm) - np.where(far, 0.0, x)
    return np.where(far, np.inf, t * np.maximum(excess, 0.0))
