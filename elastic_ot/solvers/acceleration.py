"""Two O(n + m) accelerations around the sweeps: translation of the potentials, and safeguarded over-relaxation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..penalties import KL, Fixed, Free, Penalty, Vector
from ..problem import Problem


def translation(problem: Problem, f: Vector, g: Vector) -> float:
    """The t for which the dual at (f + t, g - t) is largest; the plan does not change (Séjourné, Vialard, Peyré 2022).

    With two fixed sides the dual does not depend on t, and with a free side t = 0 is the only choice; both give 0.
    """
    rows, cols = problem.rows, problem.cols
    if isinstance(rows, Free) or isinstance(cols, Free) or (isinstance(rows, Fixed) and isinstance(cols, Fixed)):
        return 0.0
    f, a = _in_use(f, problem.a, problem.row_used)
    g, b = _in_use(g, problem.b, problem.col_used)
    if isinstance(rows, Fixed | KL) and isinstance(cols, Fixed | KL):
        return _closed_form(rows, cols, f, g, a, b)
    return _search(rows, cols, f, g, a, b)


def _in_use(f: Vector, a: Vector, used: NDArray[np.bool_]) -> tuple[Vector, Vector]:
    return f[used], a[used]


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


def _search(rows: Penalty, cols: Penalty, f: Vector, g: Vector, a: Vector, b: Vector) -> float:
    """The derivative of the dual in t, an interval [low, high] that falls, must contain 0: bracket, then bisect."""

    def slope(t: float) -> float:
        low_a, high_a = rows.demand(f + t, a)
        low_b, high_b = cols.demand(g - t, b)
        low, high = low_a.sum() - high_b.sum(), high_a.sum() - low_b.sum()
        return float(low) if low > 0 else float(high) if high < 0 else 0.0

    at_zero = slope(0.0)
    if at_zero == 0:
        return 0.0
    direction = np.sign(at_zero)
    scale = max(float(np.abs(f).max()), float(np.abs(g).max()), 1e-300)
    return float(direction * _bisect(lambda t: direction * slope(direction * t), 1e-3 * scale))


def _bisect(slope: Callable[[float], float], width: float) -> float:
    """Largest t found with slope(t) >= 0, given slope(0) > 0."""
    low, high = 0.0, width
    for _ in range(40):
        if slope(high) <= 0:
            break
        low, high = high, 2 * high
    for _ in range(40):
        middle = 0.5 * (low + high)
        if slope(middle) >= 0:
            low = middle
        else:
            high = middle
    return low


def damped(omega: tuple[float, float]) -> tuple[float, float]:
    """Half the excess over 1: what over-relaxation falls back to when it made the dual fall."""
    return tuple(1.0 + 0.5 * (w - 1.0) if w > 1.01 else 1.0 for w in omega)  # type: ignore[return-value]
