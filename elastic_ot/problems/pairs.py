"""The three problems of a divergence, validated; messages speak of their own costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ..arrays.devices import chunk_of, first_true
from ..arrays.ingest import ingest_cost
from ..costs.base import KnownCost, is_cost
from ..costs.dense import SCAN_ENTRIES
from .build import build, build_on
from .penalty import Vector
from .problem import Problem

Made = TypeVar("Made")


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
