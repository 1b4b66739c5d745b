"""The three problems of a divergence, validated; messages speak of their own costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ..arrays.devices import chunk_of, first_true
from ..arrays.ingest import as_numpy, ingest_cost
from ..costs.base import KnownCost, is_cost
from ..costs.dense import SCAN_ENTRIES
from .build import build, build_on
from .penalty import Vector
from .problem import Problem

Made = TypeVar("Made")
MAKERS = "a PointCloud, or a Grid of coordinates, makes them itself"


def complete(cost_xy: Any, cost_xx: Any, cost_yy: Any) -> tuple[Any, Any]:
    """Return the costs within either cloud; those that are not given, as the cost between the clouds makes them."""
    given = {"cost_xx": cost_xx, "cost_yy": cost_yy}
    missing = [name for name, cost in given.items() if cost is None]
    own = cost_xy.within() if is_cost(cost_xy) else None
    if missing and own is None:
        what = f"{type(cost_xy).__name__}.within() returned None" if is_cost(cost_xy) else "cost_xy is a matrix"
        verb = "is" if len(missing) == 1 else "are"
        raise ValueError(f"{' and '.join(missing)} {verb} missing, and {what}; pass them: only {MAKERS}")
    if own is None:
        return cost_xx, cost_yy
    for name, cost in given.items():
        if cost is not None and not is_cost(cost) and len(np.shape(cost)) == 1:
            raise ValueError(f"{name} has shape {np.shape(cost)}; it must be a cost. Pass weights by name, as a and b")
    first, second = (made if cost is None else cost for cost, made in zip(given.values(), own, strict=True))
    return first, second


def strength(cost: Any, epsilon: Any, blur: Any) -> Any:
    """Return epsilon: as it is given, or the power of the blur that costs are of a length."""
    if blur is None:
        if epsilon is None:
            raise TypeError("epsilon is missing; give it, or a blur where the cost knows its points")
        return epsilon
    if epsilon is not None:
        raise ValueError(f"epsilon is {epsilon} and blur is {blur}; give one of them")
    power = cost._length_power() if is_cost(cost) else None
    if power is None:
        metric = getattr(cost, "metric", None)
        what = f"the {metric} cost" if isinstance(metric, str) else "this cost"
        raise ValueError(f"blur is a length, and {what} is not known to be a power of one; give epsilon instead")
    lengths = as_numpy("blur", blur).astype(np.float64)
    wrong = lengths[~((lengths > 0) & np.isfinite(lengths))]
    if wrong.size:
        raise ValueError(f"blur is {wrong[0]}; it must be positive and finite")
    return (lengths**power)[()]


def build_cross(cost: Any, a: Any, b: Any, epsilon: Any, rows: Any, cols: Any) -> Problem:
    """The problem of two measures in a divergence; messages call its cost cost_xy."""
    return _renamed("cost_xy", "", lambda: build(cost, a, b, epsilon, rows, cols, "product", None))


def build_self(name: str, cost: Any, weights: Vector, cross: Problem, rows: bool) -> Problem:
    """The problem of one of its measures against itself, with the penalty of that side on both."""
    size, penalty = cross.shape[0 if rows else 1], cross.rows if rows else cross.cols
    matrix = cost if is_cost(cost) else _renamed(name, "", lambda: ingest_cost(cost))
    if tuple(matrix.shape) != (size, size):
        raise ValueError(
            f"{name} has shape {matrix.shape}; with cost_xy of shape {cross.shape} it must be {size, size}"
        )
    problem = _renamed(
        name, f"{name}: ", lambda: build_on(matrix, weights, weights, cross.epsilon, penalty, penalty, "product")
    )
    if not problem.cost.symmetric:
        _check_symmetric(name, problem.cost)
    return problem


def _renamed(name: str, prefix: str, make: Callable[[], Made]) -> Made:
    """What `make` returns; its refusals speak of `name` where they would say cost."""
    try:
        return make()
    except (ValueError, TypeError) as error:
        text = str(error)
        raise type(error)(name + text[4:] if text.startswith("cost") else prefix + text) from None


def _check_symmetric(name: str, cost: KnownCost) -> None:
    """Tile by tile, so that nothing of the size of the matrix is allocated."""
    n, step = cost.shape[0], math.isqrt(chunk_of(cost.memory, SCAN_ENTRIES)) // 2
    close = (1e-6 if cost.single else 1e-12) * cost.largest
    for i in range(0, n, step):
        for j in range(i, n, step):
            here, there = (slice(k, min(k + step, n)) for k in (i, j))
            one, other = cost.block(here, there), cost.block(there, here).T
            with np.errstate(invalid="ignore"):  # inf - inf, which is nan
                difference = one - other
            if difference.max() <= close and difference.min() >= -close:
                continue
            wrong = ~((abs(difference) <= close) | (one == other))
            if wrong.any():
                k, m = first_true(wrong)
                raise ValueError(
                    f"{name}[{i + k}, {j + m}] is {one[k, m]} and {name}[{j + m}, {i + k}] is {other[k, m]}; "
                    f"a cost within one cloud must be symmetric"
                )
