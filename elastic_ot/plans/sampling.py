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

PLACES = 64  # of a row whose sum is looked at before they are

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


def sample_partners(solved: Found, rows: NDArray[np.int64], rng: Any) -> NDArray[np.int64]:
    """A column for each of some rows, drawn by the row's shares."""
    view = View(solved)
    if solved.problem.cost.fortran:
        raise ValueError("partners are drawn along rows, and the cost is stored by columns; pass it in C order")
    potentials = view.task.inv_epsilon, view.alpha, view.beta
    return _partners(view.problem.cost.rows, *potentials, rows, np.random.default_rng(rng).random(rows.size))


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
    rows = _inverted(np.cumsum(marginal), line)
    return rows, _partners(costs_of, inv_epsilon, alpha, beta, rows, places)


def _partners(
    costs_of: Callable[[NDArray[np.int64]], Any],
    inv_epsilon: Any,
    alpha: Vector,
    beta: Vector,
    rows: NDArray[np.int64],
    uniform: Vector,
) -> NDArray[np.int64]:
    """Columns of rows, each drawn by a uniform number; rows are read once, however often they occur."""
    cols, order = np.empty(rows.size, dtype=np.int64), np.argsort(rows, kind="stable")
    used, begins = np.unique(rows[order], return_index=True)
    ends, step = np.append(begins[1:], rows.size), max(1, 2 * SCAN_ENTRIES // beta.size)
    for first in range(0, used.size, step):
        some = used[first : first + step]
        logs = on_host(logarithms(costs_of(some), inv_epsilon, alpha[some], beta))
        logs -= logs.max(axis=1, keepdims=True)
        shares = np.exp(logs, out=logs)
        last = min(first + step, used.size) - 1
        here = order[begins[first] : ends[last]]
        of = np.repeat(np.arange(last + 1 - first), ends[first : last + 1] - begins[first : last + 1])
        cols[here] = _places(shares, of, uniform[here])
    return cols


def _places(shares: NDArray[np.float64], of: NDArray[np.int64], uniform: Vector) -> NDArray[np.int64]:
    """Where shares (k, m), cumulated, pass uniform parts of the total of row `of`: a block, then a place in it."""
    m = shares.shape[1]
    blocks = np.cumsum(np.add.reduceat(shares, np.arange(0, m, PLACES), axis=1), axis=1)
    totals = blocks[:, -1]
    if not ((totals > 0) & np.isfinite(totals)).all():
        raise ValueError(f"the plan has a mass of {totals.min()} in a row; there is nothing to draw from")
    sums, wanted = blocks[of], uniform * totals[of]
    block = _passed(sums, wanted)
    before = np.where(block > 0, sums[np.arange(block.size), block - 1], 0.0)
    places = PLACES * block[:, None] + np.arange(PLACES)
    inside = np.where(places < m, shares[of[:, None], np.minimum(places, m - 1)], 0.0)
    found: NDArray[np.int64] = PLACES * block + _passed(np.cumsum(inside, axis=1), wanted - before)
    return found


def _passed(sums: NDArray[np.float64], wanted: Vector) -> NDArray[np.int64]:
    """The first of cumulative sums (k, j) beyond what is wanted, or the last that grows where rounding leaves none."""
    beyond, last = (sums <= wanted[:, None]).sum(axis=1), (sums < sums[:, -1:]).sum(axis=1)
    found: NDArray[np.int64] = np.minimum(beyond, last)
    return found


def _rows_of(cost: Any, which: NDArray[np.int64]) -> Any:
    return cost[library_of(cost).asarray(which)]


def _inverted(sums: Vector, uniform: Vector) -> NDArray[np.int64]:
    """Where cumulative sums pass a uniform share of their total; never where they stand still."""
    total = sums[-1] if sums.size else 0.0
    if not (total > 0 and np.isfinite(total)):
        raise ValueError(f"the plan has a mass of {total}; there is nothing to draw from")
    last = int(np.searchsorted(sums, total))  # a share that is rounded up to the total
    return np.minimum(np.searchsorted(sums, uniform * total, side="right"), last).astype(np.int64)
