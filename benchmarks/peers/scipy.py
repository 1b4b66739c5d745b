"""SciPy's solver of assignment problems."""

from typing import Any


def assignment(cost: Any) -> Any:
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(cost)
