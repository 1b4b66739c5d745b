"""Penalties, their conjugates and their exact updates, derived again in float64 NumPy.

A penalty is written as a tuple such as ("KL", 0.5), f is called its potential.
"""

import numpy as np
from scipy.special import rel_entr


def resolve(spec, epsilon):
    """Write Elastic and AtMost as the penalty that they stand for at this epsilon."""
    if spec[0] == "AtMost":
        return ("Between", 0.0, 1.0)
    if spec[0] == "Elastic":
        lam = spec[1]
        if lam in (0.0, 1.0):
            return ("Fixed",) if lam else ("Free",)
        return ("KL", epsilon * lam / (1.0 - lam))
    return spec


def bounds(strength, weight):
    """Least and largest marginal of Between(lo, hi), where hi = inf bounds nothing but a zero weight."""
    low, high = strength
    return low * weight, np.where(weight > 0.0, high, 1.0) * weight


def phi(spec, weight, marginal, slack=0.0):
    """Entries of the penalty; inf where a hard constraint is missed by more than slack."""
    kind, *strength = spec
    if kind == "Fixed":
        return np.where(np.abs(marginal - weight) <= slack, 0.0, np.inf)
    if kind == "KL":
        return strength[0] * (rel_entr(marginal, weight) - marginal + weight)
    if kind == "TV":
        return strength[0] * np.abs(marginal - weight)
    if kind == "L2":
        return 0.5 * strength[0] * (marginal - weight) ** 2
    if kind == "Between":
        low, high = bounds(strength, weight)
        return np.where((marginal >= low - slack) & (marginal <= high + slack), 0.0, np.inf)
    assert kind == "Free"
    return np.zeros_like(marginal)


def concave_dual(spec, weight, potential):
    """Entries of -phi*(-potential) = min over r >= 0 of potential r + phi(r)."""
    kind, *strength = spec
    if kind == "Fixed":
        return weight * potential
    if kind == "KL":
        return -strength[0] * weight * np.expm1(-potential / strength[0])
    if kind == "TV":
        # The potential is reported after divisions by epsilon: allow it to pass -rho by rounding.
        inside = potential >= -strength[0] * (1.0 + 1e-12)
        return np.where(inside, weight * np.minimum(potential, strength[0]), -np.inf)
    if kind == "L2":
        (rho,) = strength
        inside = potential <= rho * weight
        return np.where(inside, weight * potential - potential**2 / (2.0 * rho), 0.5 * rho * weight**2)
    if kind == "Between":
        low, high = bounds(strength, weight)
        return np.where(potential >= 0.0, low, np.where(potential == 0.0, 0.0, high)) * potential
    assert kind == "Free"
    return np.where(potential >= 0.0, 0.0, -np.inf)


def best_marginal(spec, weight, potential, marginal):
    """The marginal nearest to the given one among those that minimise potential r + phi(r)."""
    kind, *strength = spec
    if kind == "Fixed":
        return weight
    if kind == "KL":
        return weight * np.exp(-potential / strength[0])
    if kind == "L2":
        return np.maximum(weight - potential / strength[0], 0.0)
    if kind == "TV":
        edge = strength[0] * (1.0 - 1e-12)
        low = np.where(potential >= edge, 0.0, weight)
        high = np.where(potential <= -edge, np.inf, weight)
        return np.clip(marginal, low, high)
    if kind == "Between":
        # A potential of rounding size counts as 0, where the whole interval is optimal.
        low, high = bounds(strength, weight)
        return np.clip(marginal, np.where(potential < -1e-300, high, low), np.where(potential > 1e-300, low, high))
    assert kind == "Free"
    # Any marginal at 0, none above; below 0 there is no minimum.
    return np.where(potential > 0.0, 0.0, np.where(potential == 0.0, marginal, np.nan))


def exact_update(spec, weight, log_attained, epsilon):
    """The potential that maximises the dual when the marginal at potential 0 is exp(log_attained)."""
    kind, *strength = spec
    log_ratio = np.log(weight) - log_attained
    if kind == "Fixed":
        return epsilon * log_ratio
    if kind == "KL":
        return strength[0] * epsilon / (strength[0] + epsilon) * log_ratio
    if kind == "TV":
        return np.clip(epsilon * log_ratio, -strength[0], strength[0])
    if kind == "Between":
        with np.errstate(divide="ignore"):
            low, high = np.log(strength[0]) + log_ratio, np.log(strength[1]) + log_ratio
        return np.clip(0.0, epsilon * low, epsilon * high)
    if kind == "L2":
        # weight - f/rho = attained exp(f/epsilon): the left side falls, the right one rises; bisection.
        bottom = np.minimum(epsilon * log_ratio, 0.0) - 1e-9 * epsilon
        top = np.maximum(epsilon * log_ratio, 0.0) + 1e-9 * epsilon
        for _ in range(200):
            middle = 0.5 * (bottom + top)
            marginal = np.log(np.maximum(weight - middle / strength[0], 1e-300))
            below = log_attained + middle / epsilon < marginal
            bottom, top = np.where(below, middle, bottom), np.where(below, top, middle)
        return 0.5 * (bottom + top)
    assert kind == "Free"
    return np.zeros_like(log_ratio)
