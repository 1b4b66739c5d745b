"""Pairs drawn from a plan that is not stored: a row by its marginal, then a column by the row's share.

Rows that were drawn are read from the cost, some at a time; their shares come from logarithms, so that a row whose
entries are all too small to be stored is drawn from as any.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import library_of, on_host
from ..costs.dense import SCAN_ENTRIES
from ..problems.penalty import Vector
from ..solvers.batch.found import BatchFound
from ..solvers.found import Found
from .export import logarithms
from .view import View

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def sample(solved: Found, size: int, rng: Any) -> Pairs:
    """`Solution.sample`."""
    view, size = View(solved), _count(size)
    problem, potentials = view.problem, (view.task.inv_epsilon, view.alpha, view.beta)
    rows, cols = _drawn(problem.cost.rows, *potentials, view.row_marginal, size, np.random.default_rng(rng))
    return solved.problem.turned(rows, cols)


def sample_batch(solved: BatchFound, size: int, rng: Any) -> Pairs:
    """`BatchSolution.sample`, shapes (B, size)."""
    problem, size, generator = solved.problem, _count(size), np.random.default_rng(rng)
    alpha, beta = solved.potentials
    marginal, inv_epsilon = solved.measure.row_marginal, solved.task.batch.inv_epsilon
    rows, cols = np.empty((2, problem.size, size), dtype=np.int64)
    for k in range(problem.size):
        cost = problem.cost[problem.cost_of[k]]
        rows[k], cols[k] = _drawn(
            partial(_rows_of, cost), inv_epsilon[k], alpha[k], beta[k], marginal[k], size, generator
        )
    return rows, cols


def _count(size: Any) -> int:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 0:
        raise ValueError(f"size is {size!r}; it must be an integer >= 0")
    return int(size)


def _drawn(
    costs_of: Callable[[NDArray[np.int64]], Any],
    inv_epsilon: Any,
    alpha: Vector,
    beta: Vector,
    marginal: Vector,
    size: int,
    rng: np.random.Generator,
) -> Pairs:
    """Pairs of one problem, in the order in which they were drawn."""
    line, places = rng.random(size), rng.random(size)
    rows, cols = _inverted(np.cumsum(marginal), line), np.empty(size, dtype=np.int64)
    order = np.argsort(rows, kind="stable")
    used, begins = np.unique(rows[order], return_index=True)
    ends, step = np.append(begins[1:], size), max(1, SCAN_ENTRIES // beta.size)
    for first in range(0, used.size, step):
        some = used[first : first + step]
        logs = on_host(logarithms(costs_of(some), inv_epsilon, alpha[some], beta))
        logs -= logs.max(axis=1, keepdims=True)
        sums = np.cumsum(np.exp(logs, out=logs), axis=1, out=logs)
        for k, cumulated in enumerate(sums, start=first):
            here = order[begins[k] : ends[k]]
            cols[here] = _inverted(cumulated, places[here])
    return rows, cols


def _rows_of(cost: Any, which: NDArray[np.int64]) -> Any:
    return cost[library_of(cost).asarray(which)]


def _inverted(sums: Vector, uniform: Vector) -> NDArray[np.int64]:
    """Where cumulative sums pass a uniform share of their total; never where they stand still."""
    total = sums[-1] if sums.size else 0.0
    if not (total > 0 and np.isfinite(total)):
        raise ValueError(f"the plan has a mass of {total}; there is nothing to draw from")
    last = int(np.searchsorted(sums, total))  # a share that is rounded up to the total
    return np.minimum(np.searchsorted(sums, uniform * total, side="right"), last).astype(np.int64)
