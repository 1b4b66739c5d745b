"""One side of the dual in units of epsilon: its potentials, and how far one exact update moves them.

For one problem or for many: then codes and strengths of the side have shape (B,), and everything else (B, n).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..backends.protocol import BOXED, CLIPPED, LOGARITHMIC, QUADRATIC, Side
from .penalty import Vector

KINK = 1e-13  # distance from a kink, relative to 1 + |offset|, that rounding explains
CORRECTIONS, EXACT_CORRECTION = 50, 1e-9  # of a quadratic penalty's update, a root: light entries take more than one
EDGE = 1e-12  # relative distance beyond the end of the dual's domain that does
Potential = Callable[[Side, Vector, Vector], None]
"""`Backend.potential`, or `BatchBackend.batch_potential` for many problems."""


def scaled_potential(alpha: Vector, side: Side) -> Vector:
    """F = alpha - offset, for entries in use; 0 on a free side, and on a kink where it is there but for rounding."""
    if isinstance(side.code, int):
        return _scaled(side, alpha, side.offset)
    return _by_rule(_scaled, side, alpha, side.offset)


def _scaled(side: Side, alpha: Vector, offset: Vector) -> Vector:
    if side.code == LOGARITHMIC:
        if isinstance(side.strength, float):
            return alpha - offset if side.strength else np.zeros_like(alpha)
        free = side.strength == 0
        return np.where(free, 0.0, alpha - offset) if free.any() else alpha - offset
    scaled: Vector = alpha - offset
    if side.code == QUADRATIC:
        return scaled
    kink = np.copysign(side.strength, scaled) if side.code == CLIPPED else np.zeros_like(scaled)
    near = np.abs(scaled - kink) <= KINK * (1.0 + np.abs(offset))
    if side.code == CLIPPED:
        near |= (scaled < kink) & (scaled >= (1.0 + EDGE) * kink) & (kink < 0)
    return np.where(near, kink, scaled)


def exact_change(side: Side, log_ratio: Vector, scaled: Vector, potential: Potential) -> Vector:
    """How far one exact update moves the potentials F, given log(weight / marginal) at them.

    The new ones are `potential` of that ratio plus F. Where F is large, their difference from F has lost its digits,
    and with them what the marginal lacks. Here F counts for no more than the penalty makes of it.
    """
    if isinstance(side.code, int):
        start = _moved(side, log_ratio, scaled, potential) if side.code == QUADRATIC else scaled
        return _change(side, log_ratio, scaled, start, side.weight)
    start = _moved(side, log_ratio, scaled, potential) if (side.code == QUADRATIC).any() else scaled
    return _by_rule(_change, side, log_ratio, scaled, start, side.weight)


def _moved(side: Side, log_ratio: Vector, scaled: Vector, potential: Potential) -> Vector:
    target = np.empty_like(scaled)
    potential(side, log_ratio + scaled, target)
    return target - scaled


def _change(side: Side, log_ratio: Vector, scaled: Vector, start: Vector, weight: Vector) -> Vector:
    if side.code == LOGARITHMIC:
        fixed = side.strength == 1
        if fixed if isinstance(fixed, bool) else fixed.all():
            return log_ratio
        return np.asarray(side.strength * log_ratio - side.strength2 * scaled)
    if side.code == CLIPPED:
        return np.clip(log_ratio, -side.strength - scaled, side.strength - scaled)
    if side.code == BOXED:
        return np.asarray(np.minimum(np.maximum(-scaled, side.strength + log_ratio), side.strength2 + log_ratio))
    slope = side.strength / np.where(weight > 0, weight, 1.0)
    for _ in range(CORRECTIONS):  # Newton steps on exp(x - log_ratio) = 1 - slope (F + x)
        with np.errstate(over="ignore", invalid="ignore"):  # marginals that overflow
            grown = np.exp(start - log_ratio)
            correction = (grown + slope * start - (1.0 - slope * scaled)) / (grown + slope)
        correction = np.where(np.isfinite(correction), correction, 0.0)
        start = start - correction
        if np.abs(correction).max(initial=0.0) <= EXACT_CORRECTION:
            break
    return start


def _by_rule(function: Callable[..., Vector], side: Side, *vectors: Vector) -> Vector:
    """``function(side, *vectors)`` of many problems, with one code and strengths that broadcast: rule by rule."""
    first = side.code[0]
    if (side.code == first).all():
        return function(_of_rule(side, slice(None), first), *vectors)
    out = np.empty_like(vectors[0])
    for code in np.unique(side.code):
        which = side.code == code
        out[which] = function(_of_rule(side, which, code), *(x[which] for x in vectors))
    return out


def _of_rule(side: Side, which: object, code: int) -> Side:
    return side._replace(code=code, strength=side.strength[which, None], strength2=side.strength2[which, None])
