"""Accelerations around the sweeps, O(n + m): translation of the potentials, and over-relaxation with its safeguard."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..penalties import KL, Fixed, Free, Penalty, Vector
from ..problem import Problem

SETTLED = 0.1  # relative difference of two rates of convergence that counts as none
WORTHWHILE = 30  # iterations left for which relaxing, and unrelaxing at the end, is worth the while
CLOSING = 60  # slopes looked at to close in on a translation
CLOSE = 1e-3  # of it: the next translation goes on, and Newton's method does badly if each one ends on another kink
BALANCED = 1e-14  # difference of masses, relative to their sum, that rounding explains: no reason to go to a far kink
FASTEST = 1.0 - 1e-4  # largest rate of plain sweeps that is believed: omega stays below 1.98


def translation(problem: Problem, f: Vector, g: Vector, negligible: float) -> float:
    """The t for which the dual at (f + t, g - t) is largest; the plan stays (Séjourné, Vialard, Peyré 2022).

    Not for two fixed sides, whose dual does not depend on t. With a free side t = 0 is the only choice; an imbalance of
    masses up to `negligible` gives 0 as well.
    """
    rows, cols = problem.rows, problem.cols
    if isinstance(rows, Free) or isinstance(cols, Free):
        return 0.0
    f, a = f[problem.row_used], problem.a[problem.row_used]
    g, b = g[problem.col_used], problem.b[problem.col_used]
    if isinstance(rows, Fixed | KL) and isinstance(cols, Fixed | KL):
        return _closed_form(rows, cols, f, g, a, b)
    return _search(rows, cols, f, g, a, b, negligible, problem.epsilon)


def _closed_form(rows: Fixed | KL, cols: Fixed | KL, f: Vector, g: Vector, a: Vector, b: Vector) -> float:
    """Masses balance: a(f + t) = b(g - t) with a(f) = sum a exp(-f / rho), or sum a on a fixed side."""
    log_a, rho_a = _log_demand(rows, f, a)
    log_b, rho_b = _log_demand(cols, g, b)
    rate = (1.0 / rho_a if rho_a else 0.0) + (1.0 / rho_b if rho_b else 0.0)
    return (log_a - log_b) / rate


def _log_demand(penalty: Fixed | KL, f: Vector, a: Vector) -> tuple[float, float]:
    if isinstance(penalty, Fixed):
        return float(np.log(a.sum())), 0.0
    exponent = -f / penalty.rho
    top = float(exponent.max())
    return float(np.log(np.sum(a * np.exp(exponent - top)))) + top, penalty.rho


def _search(
    rows: Penalty, cols: Penalty, f: Vector, g: Vector, a: Vector, b: Vector, negligible: float, epsilon: float
) -> float:
    """The derivative of the dual in t, an interval that falls, must contain 0: bracket that t, then close in on it."""
    masses = float(a.sum()) + float(b.sum())
    limit, balanced = 1e3 * masses, BALANCED * masses  # the first stands for infinity, outside of the dual's domain

    def slope(t: float) -> float:
        low_a, high_a = rows.demand(f + t, a)
        low_b, high_b = cols.demand(g - t, b)
        low = min(float(low_a.sum()), limit) - min(float(high_b.sum()), limit)
        high = min(float(high_a.sum()), limit) - min(float(low_b.sum()), limit)
        return low if low > balanced else high if high < -balanced else 0.0

    here = slope(0.0)
    if abs(here) <= negligible:
        return 0.0
    near, far = 0.0, float(np.sign(here)) * epsilon * min(1.0, abs(here) / float(a.sum()))
    for _ in range(60):
        beyond = slope(far)
        if not np.isfinite(beyond):
            return 0.0
        if np.sign(beyond) != np.sign(here):
            return _crossing(slope, near, far, here, beyond, negligible)
        near, far, here = far, 4.0 * far, beyond
    return 0.0  # the dual is flat or unbounded that way, as far as rounding can tell


def _crossing(
    slope: Callable[[float], float], near: float, far: float, here: float, beyond: float, negligible: float
) -> float:
    """The t in a bracket where the slope changes its sign, by secants and bisections in turn.

    Where it jumps there, the end with the smaller slope: the other one may lie outside the dual's domain.
    """
    for step in range(CLOSING):
        if abs(far - near) <= CLOSE * max(abs(near), abs(far)) or abs(beyond) <= negligible:
            break
        t = near + (far - near) * (here / (here - beyond) if step % 2 == 0 else 0.5)
        at = slope(t)
        if np.sign(at) == np.sign(here):
            near, here = t, at
        else:
            far, beyond = t, at
    return far if abs(beyond) < abs(here) else near


def damped(omega: tuple[float, float]) -> tuple[float, float]:
    """Half the excess over 1: what over-relaxation falls back to when it made the dual fall."""
    return tuple(1.0 + 0.5 * (w - 1.0) if w > 1.01 else 1.0 for w in omega)  # type: ignore[return-value]


def settled_relaxation(looks: Sequence[tuple[int, float]], omega: float, target: float) -> float:
    """The best omega by the last three looks (iteration, residual), at this omega; the same where they do not tell.

    They tell when the residual falls at one rate, and there is a way to go: at the end sweeps are plain again.
    """
    (i, first), (j, second), (k, third) = looks
    if not (i < j < k and first > second > third > 0):
        return omega
    early, late = np.diff(np.log([first, second, third])) / (j - i, k - j)
    left = (np.log(third) - np.log(target)) / -late if target > 0 > late else np.inf
    if abs(early - late) > SETTLED * abs(late) or left < WORTHWHILE:
        return omega
    rate = float(np.exp(late))
    return best_relaxation(omega, rate) if rate > 0 else omega


def best_relaxation(omega: float, rate: float) -> float:
    """The omega for which sweeps converge fastest, from the rate seen at this one.

    With theta the rate of plain sweeps, that at omega >= 1 is the larger root of (rate + omega - 1)^2 = theta omega^2
    rate as long as omega < 2 / (1 + sqrt(1 - theta)), the best one, from where on it is omega - 1 (Young 1971; Thibault
    et al. 2021).
    """
    theta = (rate + omega - 1.0) ** 2 / (omega**2 * rate)
    return float(2.0 / (1.0 + np.sqrt(1.0 - min(theta, FASTEST))))
