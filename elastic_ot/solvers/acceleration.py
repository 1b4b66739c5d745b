"""Accelerations around the sweeps, O(n + m): translation of the potentials, and over-relaxation with its safeguard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..distributed.ranks import ALONE, Ranks
from ..problems.penalties import KL, Fixed, Free
from ..problems.penalty import Penalty, Vector
from ..problems.problem import Problem

SETTLED = 0.1  # relative difference of two rates of convergence that counts as none
WORTHWHILE = 30  # iterations left for which relaxing, and unrelaxing at the end, is worth the while
DOUBLINGS = 60  # steps of a search for a bracket, each four times as long as the one before
CLOSING = 60  # slopes looked at to close in on a translation
CLOSE = 1e-3  # of it: the next translation goes on, and Newton's method does badly if each one ends on another kink
BALANCED = 1e-14  # difference of masses, relative to their sum, that rounding explains: no reason to go to a far kink
FASTEST = 1.0 - 1e-4  # largest rate of plain sweeps that is believed: omega stays below 1.98


def translation(problem: Problem, f: Vector, g: Vector, negligible: float) -> float:
    """Return the t for which the dual at (f + t, g - t) is largest; the plan stays (Séjourné, Vialard, Peyré 2022).

    Not for two fixed sides, whose dual does not depend on t. With a free side t = 0 is the only choice; an imbalance of
    masses up to `negligible` gives 0 as well.
    """
    rows, cols = problem.rows, problem.cols
    if isinstance(rows, Free) or isinstance(cols, Free):
        return 0.0
    f, a = f[problem.row_used], problem.a[problem.row_used]
    g, b = g[problem.col_used], problem.b[problem.col_used]
    if isinstance(rows, Fixed | KL) and isinstance(cols, Fixed | KL):
        return float(balancing_shift((f, a, strength_of(rows)), (g, b, strength_of(cols)), problem.ranks))
    return _search(problem, f, g, a, b, negligible)


def _search(problem: Problem, f: Vector, g: Vector, a: Vector, b: Vector, negligible: float) -> float:
    """Return what `best_shift` does for one problem, in plain floats: NumPy's `where` takes as long as the slopes."""
    rows, cols, ranks = problem.rows, problem.cols, problem.ranks
    of_rows = ranks.sum(a)
    masses = of_rows + float(b.sum())
    limit, balanced = 1e3 * masses, BALANCED * masses  # the first stands for infinity, outside of the dual's domain

    def slope(t: float) -> float:
        low_a, high_a = rows.demand(f + t, a)
        low_b, high_b = cols.demand(g - t, b)
        least, most = ranks.totals(float(low_a.sum()), float(high_a.sum()))
        low = min(least, limit) - min(float(high_b.sum()), limit)
        high = min(most, limit) - min(float(low_b.sum()), limit)
        return low if low > balanced else high if high < -balanced else 0.0

    here = slope(0.0)
    if abs(here) <= negligible:
        return 0.0
    near, far = 0.0, float(np.sign(here)) * problem.epsilon * min(1.0, abs(here) / of_rows)
    for _ in range(DOUBLINGS):
        beyond = slope(far)
        if not np.isfinite(beyond):
            return 0.0
        if np.sign(beyond) != np.sign(here):
            return _close_in(slope, near, far, here, beyond, negligible)
        near, far, here = far, 4.0 * far, beyond
    return 0.0  # the dual is flat or unbounded that way, as far as rounding can tell


def _close_in(
    slope: Callable[[float], float], near: float, far: float, here: float, beyond: float, negligible: float
) -> float:
    """Return the t in a bracket where the slope changes its sign, as `_crossing` does."""
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


def strength_of(penalty: Fixed | KL) -> float:
    """Return rho, inf for a fixed marginal."""
    return np.inf if isinstance(penalty, Fixed) else penalty.rho


def balancing_shift(rows: tuple[Vector, Vector, Any], cols: tuple[Vector, Vector, Any], ranks: Ranks = ALONE) -> Any:
    """Return the t that balances the masses: sum a exp(-(f + t) / rho) = sum b exp(-(g - t) / rho'), in closed form.

    Sides are (potentials, weights, strength): sums run over the last axis, strengths (inf: fixed) broadcast to the
    others. Potentials where the weight is 0 are not read. `ranks` sums over the rows of one problem.
    """
    rate = 1.0 / rows[2] + 1.0 / cols[2]
    return (_log_demand(*rows, ranks) - _log_demand(*cols, ALONE)) / rate


def _log_demand(potential: Vector, weights: Vector, rho: Any, ranks: Ranks) -> Vector:
    """Return log sum a exp(-f / rho); for one problem, whose rho is a float, without needless steps."""
    if isinstance(rho, float):
        if rho == np.inf:
            return np.log(ranks.sum(weights))  # type: ignore[no-any-return]
        single = -potential / rho
        most = ranks.max(single)
        return np.log(ranks.sum(weights * np.exp(single - most))) + most  # type: ignore[no-any-return]
    exponent = -potential / np.asarray(rho)[..., None]
    if not weights.all():
        exponent = np.where(weights > 0, exponent, -np.inf)
    top = exponent.max(axis=-1, keepdims=True)
    return np.asarray(np.log((weights * np.exp(exponent - top)).sum(axis=-1)) + top[..., 0])


Relaxed = tuple[Penalty, Vector, Vector, "NDArray[np.bool_] | None"]
"""One side of many problems: penalty, potentials and weights (B, n), and which entries are in use (None: all)."""


def best_shift(rows: Relaxed, cols: Relaxed, negligible: Vector, epsilon: Vector) -> Vector:
    """Return for every problem the t (B,) at which the dual's slope in t changes its sign, 0 where there is none.

    The superdifferential of the dual in t is an interval that falls: bracket the t at which it contains 0, then close
    in on it.
    """
    sizes = [_total(side[2], side[3]) for side in (rows, cols)]
    masses = sizes[0] + sizes[1]
    limit, balanced = 1e3 * masses, BALANCED * masses  # the first stands for infinity, outside of the dual's domain

    def slope(t: Vector) -> Vector:
        low_a, high_a = _demanded(rows, t, limit)
        low_b, high_b = _demanded(cols, -t, limit)
        low, high = low_a - high_b, high_a - low_b
        return np.where(low > balanced, low, np.where(high < -balanced, high, 0.0))

    here = slope(np.zeros_like(epsilon))
    searching = np.abs(here) > negligible
    found = np.zeros_like(epsilon)
    if not searching.any():
        return found
    near, far = np.zeros_like(epsilon), np.sign(here) * epsilon * np.minimum(1.0, np.abs(here) / sizes[0])
    beyond, bracketed = here, np.zeros_like(searching)
    for _ in range(DOUBLINGS):  # where none is found the dual is flat or unbounded, as far as rounding can tell
        at = slope(far)
        searching &= np.isfinite(at)
        crossed = searching & (np.sign(at) != np.sign(here))
        beyond, bracketed = np.where(crossed, at, beyond), bracketed | crossed
        searching &= ~crossed
        if not searching.any():
            break
        near, here = np.where(searching, far, near), np.where(searching, at, here)
        far = np.where(searching, 4.0 * far, far)
    if not bracketed.any():
        return found
    return np.where(bracketed, _crossing(slope, near, far, here, beyond, negligible, bracketed), 0.0)


def _total(values: Vector, used: NDArray[np.bool_] | None) -> Vector:
    return np.asarray((values if used is None else np.where(used, values, 0.0)).sum(axis=-1))


def _demanded(side: Relaxed, t: Vector, limit: Vector) -> tuple[Vector, Vector]:
    """Return the least and the largest mass that the potentials, moved by t, ask for."""
    penalty, potential, weights, used = side
    low, high = penalty.demand(potential + t[:, None], weights)
    return np.minimum(_total(low, used), limit), np.minimum(_total(high, used), limit)


def _crossing(
    slope: Callable[[Vector], Vector],
    near: Vector,
    far: Vector,
    slope_near: Vector,
    slope_far: Vector,
    negligible: Vector,
    closing: NDArray[np.bool_],
) -> Vector:
    """Return the t in each bracket where the slope changes its sign, by secants and bisections in turn.

    Where it jumps there, the end with the smaller slope: the other one may lie outside the dual's domain.
    """
    for step in range(CLOSING):
        narrow = np.abs(far - near) <= CLOSE * np.maximum(np.abs(near), np.abs(far))
        closing = closing & ~narrow & (np.abs(slope_far) > negligible)
        if not closing.any():
            break
        with np.errstate(invalid="ignore", divide="ignore"):  # of problems that are not searched
            t = near + (far - near) * (slope_near / (slope_near - slope_far) if step % 2 == 0 else 0.5)
        at = slope(t)
        before = closing & (np.sign(at) == np.sign(slope_near))
        beyond = closing & ~before
        near, slope_near = np.where(before, t, near), np.where(before, at, slope_near)
        far, slope_far = np.where(beyond, t, far), np.where(beyond, at, slope_far)
    return np.where(np.abs(slope_far) < np.abs(slope_near), far, near)


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
