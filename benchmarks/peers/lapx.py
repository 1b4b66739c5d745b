"""Two solvers of lapx, which is imported as lap."""

from typing import Any


def lapjv(cost: Any) -> Any:
    import lap

    return lap.lapjv(cost)


def lapjvr(cost: Any) -> Any:
    import lap

    return lap.lapjvr(cost)
