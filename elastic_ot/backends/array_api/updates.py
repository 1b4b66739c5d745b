"""Half steps of one side of many problems on the array API standard, and their derivatives.

The problems may have different penalties: every rule that occurs is computed for all, and each takes its own.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from array_api_compat import array_namespace

from ..protocol import BOXED, CLIPPED, LOGARITHMIC, Array
from .matrices import where

STEPS = 10  # of Newton's method for L2; 8 were the most for slopes of 1e-250 to 1e250 and ratios up to 8e4


class Rule(NamedTuple):
    """An update rule (a code of `protocol`) and whose it is, (b, 1); strengths of the other problems are 1."""

    code: int
    mine: Array
    strength: Array
    strength2: Array


class HalfStep(NamedTuple):
    """The sums that it began with, the log ratio, the potential F that it ended with, and its scaling."""

    total: Array
    ratio: Array
    potential: Array
    scaling: Array


class Marginal(NamedTuple):
    """`protocol.Side` of b problems, arrays (b, n); weight 1, log_weight and offset 0 on entries that are not used."""

    used: Array
    weight: Array
    log_weight: Array
    offset: Array
    rules: list[Rule]

    def half_step(self, base: Array, total: Array, limit: float) -> tuple[HalfStep, Array]:
        """Return a half step made of the sums over the other side, and in which problems all numbers stay in range.

        Numbers out of range are replaced, so that every problem goes on without a warning.
        """
        xp = array_namespace(total)
        fine = (total > 1.0 / limit) & (total < limit)
        total, around = where(self.used & fine, total, 1.0), base - self.offset
        ratio = where(self.used, self.log_weight - xp.log(total) + around)
        (potential,) = self._by_rule(lambda rule: (_potential(rule, self.weight, ratio),))
        scaling, small = self.scaling(potential - around, limit)
        return HalfStep(total, ratio, potential, scaling), xp.all(fine | ~self.used, axis=1) & small

    def scaling(self, exponent: Array, limit: float) -> tuple[Array, Array]:
        """Exponentials, 0 where not used, and in which problems they are below the limit."""
        xp = array_namespace(exponent)
        small = exponent < math.log(limit)
        return xp.exp(where(self.used & small, exponent, -math.inf)), xp.all(small | ~self.used, axis=1)

    def resolved(self, limit: float) -> Array:
        """In which problems scalings below the limit resolve all weights."""
        return array_namespace(self.weight).all(self.weight >= limit**-2, axis=1)

    def slopes(self, step: HalfStep) -> tuple[Array, ...]:
        """Derivatives of F in log ratio, log weight, log epsilon and rho / epsilon (for L2 over the mass)."""
        return self._by_rule(lambda rule: _slopes(rule, self.weight, step.ratio, step.potential))

    def _by_rule(self, function: Any) -> tuple[Array, ...]:
        xp, out = array_namespace(self.weight), function(self.rules[0])
        for rule in self.rules[1:]:
            out = tuple(xp.where(rule.mine, new, old) for new, old in zip(function(rule), out, strict=True))
        return tuple(out)


def _potential(rule: Rule, weight: Array, ratio: Array) -> Array:
    """F by the formulas of `protocol`."""
    xp = array_namespace(ratio)
    if rule.code == LOGARITHMIC:
        return rule.strength * ratio
    if rule.code == CLIPPED:
        return xp.minimum(xp.maximum(ratio, -rule.strength), rule.strength)
    if rule.code == BOXED:
        return xp.minimum(xp.maximum(xp.zeros_like(ratio), rule.strength + ratio), rule.strength2 + ratio)
    return _root(rule.strength / weight, ratio)


def _root(slope: Array, ratio: Array) -> Array:
    """F with 1 - slope F = exp(F - ratio), by Newton's method on a form without large exponentials for either sign."""
    xp = array_namespace(ratio)
    zero = xp.zeros_like(ratio)
    above, below = xp.maximum(ratio, zero), xp.maximum(-ratio, zero)
    positive = xp.minimum(above, 1.0 / slope)
    for _ in range(STEPS):
        e = xp.exp(positive - above)
        positive = positive - (e + slope * positive - 1.0) / (e + slope)
    # y + log(1 + slope y) = below is concave in y = -F, which begins at the lower of two upper bounds
    y = xp.minimum(below, xp.expm1(xp.minimum(below, zero + 600.0)) / slope)
    for _ in range(STEPS):
        y = y - (y - below + xp.log1p(slope * y)) / (1.0 + slope / (1.0 + slope * y))
    return positive - y  # one of which is 0


def _slopes(rule: Rule, weight: Array, ratio: Array, potential: Array) -> tuple[Array, Array, Array, Array]:
    xp, strength = array_namespace(ratio), rule.strength
    zero = xp.zeros_like(ratio)
    if rule.code == LOGARITHMIC:  # strength = rho / (rho + epsilon)
        rest = 1.0 - strength
        by_rho = where(strength > 0.0, rest * rest)  # a free side has none
        return strength + zero, zero, -strength * rest * ratio, by_rho * ratio
    if rule.code == CLIPPED:  # strength = rho / epsilon
        sign = where(xp.abs(ratio) >= strength, xp.sign(ratio))
        return 1.0 - xp.abs(sign), zero, -sign * strength, sign
    if rule.code == BOXED:
        return xp.astype(potential != 0.0, xp.float64), zero, zero, zero
    demand = weight - strength * potential  # = weight exp(F - ratio), strength = epsilon / (rho mass)
    slope = strength + demand
    by_strength = strength * potential / slope
    return demand / slope, by_strength, -by_strength, strength * by_strength


class Pull:
    """Derivatives in one side's potential (b, n), in its weights times these, in log epsilon and strength (b,)."""

    def __init__(self, side: Marginal, product: bool, potential: Array) -> None:
        xp = array_namespace(potential)
        self.side, self.product, self.potential = side, product, potential
        self.weight = xp.zeros_like(potential)
        self.epsilon = self.strength = xp.zeros_like(potential[:, 0])

    def through(self, step: HalfStep) -> Array:
        """A half step of this side backwards; returns the derivative in its sums, up to the sign."""
        xp = array_namespace(self.potential)
        by_ratio, by_weight, by_epsilon, by_strength = self.side.slopes(step)
        bar = where(self.side.used, self.potential)
        pulled = bar * by_ratio
        self.weight = self.weight + bar * by_weight
        if not self.product:
            self.weight = self.weight + pulled
        self.epsilon = self.epsilon + xp.sum(bar * by_epsilon, axis=1)
        self.strength = self.strength + xp.sum(bar * by_strength, axis=1)
        self.potential = xp.zeros_like(bar)
        return pulled / step.total

    def drop(self, amount: Array) -> None:
        """Take away a derivative in this side's scalings times these, in which the reference is a factor."""
        self.potential = self.potential - amount
        if self.product:
            self.weight = self.weight - amount
