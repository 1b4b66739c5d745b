"""One side of a relaxed problem on the line as an interior-point method sees it.

The optimality condition of a side is that -f lies in the subdifferential of phi at the marginal r. Where phi is smooth
this is an equation; where it has kinks, every kink is a mass u >= 0 and a slack z >= 0 of f with the product 0, which
the method holds at a target that falls. Either way a Newton step has the form

    dr = shift - slope df,    slope >= 0,

which is all that the system between the two sides needs to know.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from ...problems.penalties import KL, L2, TV, Fixed, Free
from ...problems.penalty import Penalty, Vector

LEAST_START = 0.01  # of a weight, at the start
MOST_LOGARITHM = 30.0  # of a marginal over its weight, at the start
LEAST_MARGINAL = 1e-250  # of a weight: marginals below have no logarithm


def side_of(penalty: Penalty, a: Vector, f: Vector, width: float) -> Side:
    """The side with weights a > 0, at potentials f; slacks begin at `width` at least."""
    if isinstance(penalty, Fixed):
        return Given(a)
    if isinstance(penalty, KL):
        return Entropic(a, f, penalty.rho)
    if isinstance(penalty, L2):
        return Quadratic(a, f, penalty.rho, width)
    if isinstance(penalty, TV):
        return Priced(a, f, penalty.rho, width)
    low, high = penalty.box()
    return Given(low * a) if low == high else Bounded(a, f, low, math.inf if isinstance(penalty, Free) else high, width)


def largest_useful(penalty: Penalty) -> float:
    """The potential from which on the dual no longer rises, inf if there is none."""
    if isinstance(penalty, TV):
        return penalty.rho
    return 0.0 if isinstance(penalty, Free) or (penalty.hard and penalty.box()[0] == 0.0) else math.inf


def longest_step(values: Vector, changes: Vector) -> float:
    """The largest step, at most 1, that leaves positive values >= 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        steps = np.where(changes < 0, -values / changes, 1.0)
    return float(min(1.0, steps.min(initial=1.0)))


class Side(ABC):
    """A marginal r (n,), and what else belongs to its penalty."""

    r: Vector
    slope: Vector
    """-dr/df."""
    count = 0
    """How many products are held at the target."""

    def products(self) -> float:
        """The sum of the products of masses and slacks."""
        return 0.0

    def error(self) -> float:
        """What is missing from the equations of the side, in units of the objective."""
        return 0.0

    @abstractmethod
    def refresh(self, f: Vector) -> None:
        """Linearise at the potentials."""

    def shift(self, target: float, corrected: bool) -> Vector:
        """What r changes by where f does not; `corrected` by the products of the changes of the last `move`."""
        return np.zeros_like(self.r)

    @abstractmethod
    def move(self, df: Vector, shift: Vector) -> float:
        """The changes that belong to df are kept; returns the longest step that they allow."""

    @abstractmethod
    def advance(self, step: float) -> None:
        """Make a step of these changes."""


class Given(Side):
    """`Fixed`: r is what it is."""

    def __init__(self, r: Vector) -> None:
        self.r, self.slope = r, np.zeros_like(r)

    def refresh(self, f: Vector) -> None:
        pass

    def move(self, df: Vector, shift: Vector) -> float:
        return 1.0

    def advance(self, step: float) -> None:
        pass


class Entropic(Side):
    """`KL`: rho log(r / a) + f = 0. Linear in r and not in exp(-f / rho), so that no step overflows."""

    def __init__(self, a: Vector, f: Vector, rho: float) -> None:
        self.a, self.rho = a, rho
        self.r = a * np.exp(np.clip(-f / rho, -MOST_LOGARITHM, MOST_LOGARITHM))

    def error(self) -> float:
        return float((np.abs(self.missing) * self.r).sum())

    def refresh(self, f: Vector) -> None:
        self.r = np.maximum(self.r, LEAST_MARGINAL * self.a)
        self.slope = self.r / self.rho
        self.missing = self.rho * np.log(self.r / self.a) + f
        self.missing[(self.r <= LEAST_MARGINAL * self.a) & (self.missing > 0)] = 0.0

    def shift(self, target: float, corrected: bool) -> Vector:
        return -self.slope * self.missing

    def move(self, df: Vector, shift: Vector) -> float:
        self.dr = shift - self.slope * df
        return longest_step(self.r, self.dr)

    def advance(self, step: float) -> None:
        self.r = self.r + step * self.dr


class _Pairs(Side):
    """Masses u (2, n) and slacks z (2, n) in products u z, and the equations that z obeys; some rows may be unused."""

    u: Vector
    z: Vector
    missing: Vector
    du: Vector
    dz: Vector

    def products(self) -> float:
        return float((self.u * self.z).sum())

    def error(self) -> float:
        return float((self.u * np.abs(self.missing)).sum())

    def aims(self, target: float, corrected: bool) -> Vector:
        """Target - u z, for both products."""
        aims = target - self.u * self.z
        return aims - self.du * self.dz if corrected else aims

    def longest(self) -> float:
        return min(longest_step(self.u, self.du), longest_step(self.z, self.dz))


class Quadratic(_Pairs):
    """`L2`: rho (r - a) + f = t with r, t >= 0 and r t = 0."""

    def __init__(self, a: Vector, f: Vector, rho: float, width: float) -> None:
        self.a, self.rho, self.count = a, rho, a.size
        self.r = np.maximum(a - f / rho, LEAST_START * a)
        self.u, self.z = self.r[None], np.maximum(rho * (self.r - a) + f, width)[None]

    def refresh(self, f: Vector) -> None:
        self.missing = self.rho * (self.r - self.a) + f - self.z[0]
        self.slope = 1.0 / (self.rho + self.z[0] / self.r)

    def error(self) -> float:
        return float((self.r * np.abs(self.missing)).sum())

    def shift(self, target: float, corrected: bool) -> Vector:
        self.aim = self.aims(target, corrected)
        return np.asarray(self.slope * (self.aim[0] / self.r - self.missing))

    def move(self, df: Vector, shift: Vector) -> float:
        self.du = (shift - self.slope * df)[None]
        self.dz = (self.aim - self.z * self.du) / self.u
        return self.longest()

    def advance(self, step: float) -> None:
        self.u, self.z = self.u + step * self.du, self.z + step * self.dz
        self.r = self.u[0]


class Priced(_Pairs):
    """`TV`: r = a - u_0 + u_1 with u_0 <= a; u_2 = a - u_0 is left; slacks rho - f + z_2, rho + f, z_2."""

    def __init__(self, a: Vector, f: Vector, rho: float, width: float) -> None:
        width = min(width, rho)
        self.rho, self.count = rho, 3 * a.size
        slacks = np.maximum(np.array([rho - f, rho + f]), width)
        lost, gained = 0.5 * a * (width / slacks)
        self.u = np.array([lost, gained, a - lost])
        self.z = np.array([*slacks, 0.5 * a * (width / self.u[2])])
        self.r = self.u[2] + self.u[1]

    def refresh(self, f: Vector) -> None:
        self.missing = np.array([self.rho - f + self.z[2], self.rho + f, self.z[2]]) - self.z
        self.stiff = self.z[0] + self.u[0] * self.z[2] / self.u[2]
        self.falls = np.array([self.u[0] / self.stiff, self.u[1] / self.z[1]])
        self.slope = self.falls.sum(axis=0)

    def shift(self, target: float, corrected: bool) -> Vector:
        self.aim = self.aims(target, corrected)
        excess = self.missing[0] + self.aim[2] / self.u[2]
        self.lost = (self.aim[0] - self.u[0] * excess) / self.stiff
        self.gained = (self.aim[1] - self.u[1] * self.missing[1]) / self.z[1]
        return np.asarray(self.gained - self.lost)

    def move(self, df: Vector, shift: Vector) -> float:
        lost = self.lost + self.falls[0] * df
        self.du = np.array([lost, self.gained - self.falls[1] * df, -lost])
        of_rest = (self.aim[2] + self.z[2] * lost) / self.u[2]
        self.dz = np.array([self.missing[0] - df + of_rest, self.missing[1] + df, of_rest])
        return self.longest()

    def advance(self, step: float) -> None:
        self.u, self.z = self.u + step * self.du, self.z + step * self.dz
        self.r = self.u[2] + self.u[1]


class Bounded(_Pairs):
    """`Between`: r = lo a + u_0 = hi a - u_1 with f = z_0 - z_1; the second is unused where there is no upper bound."""

    def __init__(self, a: Vector, f: Vector, low: float, high: float, width: float) -> None:
        self.low, self.closed = low * a, math.isfinite(high)
        self.count = (1 + self.closed) * a.size
        if self.closed:
            self.z = np.array([np.maximum(f, 0.0), np.maximum(-f, 0.0)]) + width
            room = (high - low) * a
            self.u = room * self.z[::-1] / self.z.sum(axis=0)
        else:
            self.z = np.maximum(f, 0.0)[None] + width
            self.u = a * (width / self.z)
        self.r = self.low + self.u[0]

    def refresh(self, f: Vector) -> None:
        difference = self.z[0] - self.z[1] if self.closed else self.z[0]
        self.missing = f - difference
        self.slope = 1.0 / (self.z / self.u).sum(axis=0)

    def error(self) -> float:
        return float((self.r * np.abs(self.missing)).sum())

    def shift(self, target: float, corrected: bool) -> Vector:
        self.aim = self.aims(target, corrected)
        change = self.aim / self.u
        pull = change[0] - change[1] if self.closed else change[0]
        return np.asarray(self.slope * (pull - self.missing))

    def move(self, df: Vector, shift: Vector) -> float:
        dr = shift - self.slope * df
        self.du = np.array([dr, -dr]) if self.closed else dr[None]
        self.dz = (self.aim - self.z * self.du) / self.u
        return self.longest()

    def advance(self, step: float) -> None:
        self.u, self.z = self.u + step * self.du, self.z + step * self.dz
        self.r = self.low + self.u[0]
