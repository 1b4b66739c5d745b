"""Derivatives of many solves at once: those of `gradients` and `unrolled`, problem by problem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import ingest_bar
from .gradients import Gradients

if TYPE_CHECKING:
    from .batch_result import BatchSolution

NAMES = "cost", "a", "b", "epsilon", "rows", "cols"


def value_gradients(solution: BatchSolution) -> Gradients:
    """`Solution.gradients` of every problem."""
    return _stacked(solution, [single.gradients() for single in solution])


def pull_back(solution: BatchSolution, plan: Any, f: Any, g: Any) -> Gradients:
    """`Solution.vjp` of every problem."""
    problem = solution.problem
    shape = problem.shape
    shapes = shape, shape[:-1], (*shape[:-2], shape[-1])
    bars = [ingest_bar(name, x, size) for name, x, size in zip(("plan", "f", "g"), (plan, f, g), shapes, strict=True)]
    flat = [None if x is None else x.reshape(problem.size, *x.shape[len(problem.batch) :]) for x in bars]
    found = []
    for k, single in enumerate(solution):
        n, m = single.problem.shape
        corners = (slice(n), slice(m)), (slice(n),), (slice(m),)
        parts = (None if x is None else x[k][corner] for x, corner in zip(flat, corners, strict=True))
        found.append(single.vjp(*parts))
    return _stacked(solution, found)


def _stacked(solution: BatchSolution, found: list[Gradients]) -> Gradients:
    """0 beyond the lengths."""
    problem = solution.problem
    n, m = problem.shape[-2:]
    sizes = (n, m), (n,), (m,), (), (), ()
    out = {name: np.zeros((problem.size, *size)) for name, size in zip(NAMES, sizes, strict=True)}
    for k, gradients in enumerate(found):
        for name, values in out.items():
            part = np.asarray(getattr(gradients, name))
            values[(k, *map(slice, part.shape))] = part
    shaped = {name: values.reshape((*problem.batch, *values.shape[1:])) for name, values in out.items()}
    return Gradients(**shaped)  # type: ignore[arg-type]
