"""What is said of problems that cannot be solved, once for one problem and for many; `label` says which of many."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InfeasibleError

BAD_WEIGHT = "weights must be finite and >= 0"


def refuse_ratio(largest: float, epsilon: float) -> None:
    """Refuse costs whose ratio to epsilon float64 cannot hold."""
    if ratio_overflows(largest, epsilon):
        raise ValueError(
            f"cost reaches {largest:g} and epsilon is {epsilon:g}; their ratio overflows, rescale one of them"
        )


def ratio_overflows(largest: float, epsilon: float) -> bool:
    """Return True if costs over epsilon, or one over epsilon, overflow."""
    with np.errstate(over="ignore"):
        return not (np.isfinite(np.float64(largest) / epsilon) and np.isfinite(1.0 / np.float64(epsilon)))


def refuse_product(sum_a: float, sum_b: float, label: str = "") -> None:
    """Refuse weights whose product reference overflows."""
    raise ValueError(f"{label}a sums to {sum_a:g} and b to {sum_b:g}; their product overflows, rescale the weights")


def refuse_unreached(name: str, index: int, weight: float, asked: Any, label: str = "") -> None:
    """Refuse a row or column that must carry mass and has no allowed entry."""
    raise InfeasibleError(
        f"{label}{name} {index} has only forbidden cells but must carry mass (weight {weight:g}, {asked!r}); "
        f"allow a cell, set its weight to 0 or relax that side"
    )


def refuse_empty(label: str = "") -> None:
    """Refuse a problem none of whose rows reaches a column."""
    raise InfeasibleError(f"{label}every cell between a row and a column with weight is forbidden; there is no plan")
