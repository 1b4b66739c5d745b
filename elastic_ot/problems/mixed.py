"""Penalties whose strength differs from problem to problem of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .penalties import KL, Elastic, Fixed, Free
from .penalty import Penalty, Vector

STRENGTHS = ("rho", "lam")


def strength_name(penalty: Penalty) -> str | None:
    """The field that holds the penalty's strength."""
    return next((name for name in STRENGTHS if hasattr(penalty, name)), None)


def strength_shape(penalty: Penalty) -> tuple[int, ...]:
    """() for one strength, or none."""
    name = strength_name(penalty)
    return () if name is None else np.shape(getattr(penalty, name))


def penalty_of(penalty: Penalty, shape: tuple[int, ...], k: int) -> Penalty:
    """The penalty of problem k of a batch of that shape, counted in C order."""
    name = strength_name(penalty)
    if name is None or strength_shape(penalty) == ():
        return penalty
    strengths = np.broadcast_to(getattr(penalty, name), shape).reshape(-1)
    return replace(penalty, **{name: float(strengths[k])})


def at_each(penalty: Penalty, epsilon: NDArray[np.float64], shape: tuple[int, ...]) -> Penalty:
    """`Penalty.at` for problems with these epsilons: formulas then work on arrays (problems, entries)."""
    name = strength_name(penalty)
    if name is None:
        return penalty
    strengths = np.broadcast_to(getattr(penalty, name), shape).reshape(-1, 1)
    if isinstance(penalty, Elastic):
        with np.errstate(divide="ignore"):
            strengths = np.where(strengths == 1, np.inf, epsilon[:, None] * strengths / (1.0 - strengths))
    ends = (Free(), strengths == 0), (Fixed(), np.isinf(strengths))
    for end, where in ends:
        if where.all():
            return end
    kind = KL if isinstance(penalty, Elastic) else type(penalty)
    inside = (strengths > 0) & np.isfinite(strengths)
    middle = kind(np.where(inside, strengths, 1.0))  # type: ignore[call-arg]
    if inside.all():
        return middle
    return Mixed((*((p, where) for p, where in ends if where.any()), (middle, inside)))


def is_hard(penalty: Penalty) -> Any:
    """`Penalty.hard`, as a bool or a column of them."""
    return penalty.hard_each() if isinstance(penalty, Mixed) else penalty.hard


def _part(values: Callable[[Penalty], tuple[Any, ...]], q: int, penalty: Penalty) -> Any:
    return values(penalty)[q]


@dataclass(frozen=True, eq=False, repr=False)
class Mixed(Penalty):
    """One penalty on some problems and another one on others: (penalty, column of bool) each."""

    parts: tuple[tuple[Penalty, NDArray[np.bool_]], ...]

    def _choose(self, values: Callable[[Penalty], Any]) -> Any:
        """Return a value chosen entry by entry from the part that holds there."""
        out: Any = None
        with np.errstate(all="ignore"):  # formulas where they do not hold
            for penalty, where in self.parts:
                found = values(penalty)
                out = np.where(where, found, 0.0 if out is None else out)
        return out

    def _choose_each(self, values: Callable[[Penalty], tuple[Any, ...]], count: int) -> tuple[Any, ...]:
        """Return `count` values, each chosen entry by entry from the part that holds there."""
        return tuple(self._choose(partial(_part, values, q)) for q in range(count))

    def hard_each(self) -> NDArray[np.bool_]:
        return np.asarray(self._choose(lambda penalty: penalty.hard), dtype=bool)

    def box(self) -> tuple[Any, Any]:
        lo, hi = self._choose_each(lambda p: p.box(), 2)
        return lo, hi

    def rule(self, epsilon: Any, mass: Any) -> tuple[Any, Any, Any]:
        code, strength, strength2 = self._choose_each(lambda p: p.rule(epsilon, mass), 3)
        return code.astype(np.int64), strength, strength2

    def phi(self, r: Vector, a: Vector) -> Vector:
        return np.asarray(self._choose(lambda p: p.phi(r, a)))

    def dual(self, f: Vector, a: Vector) -> Vector:
        return np.asarray(self._choose(lambda p: p.dual(f, a)))

    def demand(self, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        low, high = self._choose_each(lambda p: p.demand(f, a), 2)
        return low, high

    def smooth(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        slope, low, high = self._choose_each(lambda p: p.smooth(f, a), 3)
        return slope, low, high

    def dual_by_weight(self, f: Vector, a: Vector) -> Vector:
        return np.asarray(self._choose(lambda p: p.dual_by_weight(f, a)))

    def demand_by_weight(self, f: Vector, a: Vector) -> Vector:
        return np.asarray(self._choose(lambda p: p.demand_by_weight(f, a)))

    def demand_by_strength(self, f: Vector, a: Vector) -> Vector:
        return np.asarray(self._choose(lambda p: p.demand_by_strength(f, a)))

    def phi_by_strength(self, r: Vector, a: Vector) -> Vector:
        return np.asarray(self._choose(lambda p: p.phi_by_strength(r, a)))

    def dual_by_weight_slopes(self, f: Vector, a: Vector) -> tuple[Vector, Vector, Vector]:
        by_potential, by_weight, by_strength = self._choose_each(lambda p: p.dual_by_weight_slopes(f, a), 3)
        return by_potential, by_weight, by_strength

    def phi_by_strength_slopes(self, r: Vector, f: Vector, a: Vector) -> tuple[Vector, Vector]:
        by_marginal, by_weight = self._choose_each(lambda p: p.phi_by_strength_slopes(r, f, a), 2)
        return by_marginal, by_weight

    def least_potential(self) -> Any:
        return self._choose(lambda p: p.least_potential())

    def kinks(self) -> tuple[Any, Any]:
        return self._choose(lambda p: p.kinks()[0]), self._choose(lambda p: p.kinks()[1])

    def gap(self, r: Vector, f: Vector, a: Vector) -> Vector:
        return np.asarray(self._choose(lambda p: p.gap(r, f, a)))

    def rho_each(self) -> NDArray[np.float64]:
        """Strengths as a column: 0 where there is no condition, inf where the marginal is fixed."""

        def rho(penalty: Penalty) -> Any:
            return np.inf if isinstance(penalty, Fixed) else 0.0 if isinstance(penalty, Free) else penalty.rho  # type: ignore[attr-defined]

        return np.asarray(self._choose(rho), dtype=np.float64)


def pick(penalty: Penalty, which: NDArray[np.int64]) -> Penalty:
    """The penalty of some problems."""
    if isinstance(penalty, Mixed):
        return Mixed(tuple((pick(part, which), where[which]) for part, where in penalty.parts))
    rho: Any = getattr(penalty, "rho", 0.0)
    return replace(penalty, rho=rho[which]) if np.ndim(rho) else penalty  # type: ignore[call-arg]
