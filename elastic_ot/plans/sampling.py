"""Pairs drawn from a plan that is not stored: a row by its marginal, then a column by the row's share.

Rows that were drawn are read from the cost, some at a time; their shares come from logarithms, so that a row whose
entries are all too small to be stored is drawn from as any.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import library_of, on_host
from ..backends import load
from ..problems.penalty import Vector
from ..solvers.batch.found import BatchFound
from ..solvers.found import Found
from .export import logarithms
from .view import View

DRAWN_ENTRIES = 1 << 17  # of the plan that are drawn from together: a cache holds them

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


Shares = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""Rows of a plan by their numbers, in ascending order, each up to a factor."""


def sample(solved: Found, size: int, rng: Any) -> Pairs:
    """`Solution.sample`."""
    view, size = View(solved), _count(size)
    drawn = _drawn(partial(_shares, view), view.row_marginal, view.beta.size, size, np.random.default_rng(rng))
    return solved.problem.turned(*drawn)


def sample_batch(solved: BatchFound, size: int, rng: Any) -> Pairs:
    """`BatchSolution.sample`, shapes (B, size)."""
    problem, size, generator = solved.problem, _count(size), np.random.default_rng(rng)
    alpha, beta = solved.potentials
    marginal, inv_epsilon = solved.measure.row_marginal, solved.task.batch.inv_epsilon
    rows, cols = np.empty((2, problem.size, size), dtype=np.int64)
    for k in range(problem.size):
        shares_of = partial(_shares_of_one, problem.cost[problem.cost_of[k]], inv_epsilon[k], alpha[k], beta[k])
        rows[k], cols[k] = _drawn(shares_of, marginal[k], beta[k].size, size, generator)
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
    return _partners(partial(_shares, view), view.beta.size, rows, np.random.default_rng(rng).random(rows.size))


def _drawn(shares_of: Shares, marginal: Vector, m: int, size: int, rng: np.random.Generator) -> Pairs:
    """Pairs of one problem, in the order in which they were drawn."""
    line, places = rng.random(size), rng.random(size)
    rows = _inverted(np.cumsum(marginal), line)
    return rows, _partners(shares_of, m, rows, places)


def _partners(shares_of: Shares, m: int, rows: NDArray[np.int64], uniform: Vector) -> NDArray[np.int64]:
    """Columns of rows, each drawn by a uniform number; rows are read once, however often they occur."""
    cols, order = np.empty(rows.size, dtype=np.int64), np.argsort(rows, kind="stable")
    used, begins = np.unique(rows[order], return_index=True)
    ends, step = np.append(begins[1:], rows.size), max(1, DRAWN_ENTRIES // m)
    for first in range(0, used.size, step):
        shares = shares_of(used[first : first + step])
        last = min(first + step, used.size) - 1
        here = order[begins[first] : ends[last]]
        of = np.repeat(np.arange(last + 1 - first), ends[first : last + 1] - begins[first : last + 1])
        cols[here] = _places(shares, of, uniform[here])
    return cols


def _shares(view: View, which: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rows of a solution's plan, whose shares sum to about 1; rows that lie together are not copied from the cost."""
    cost, first, last = view.problem.cost, int(which[0]), int(which[-1]) + 1
    together = last - first == which.size
    costs = cost.block(slice(first, last), slice(0, cost.shape[1])) if together else cost.rows(which)
    alpha, marginal = view.alpha[which], view.row_marginal[which] / view.problem.mass
    if not isinstance(costs, np.ndarray) or not (marginal > 0).all():
        return _shares_of_logs(costs, view.task.inv_epsilon, alpha, view.beta)
    shares = np.empty(costs.shape)
    load().plan(costs, view.task.inv_epsilon, alpha - np.log(marginal), view.beta, shares)
    return shares


def _shares_of_one(
    cost: Any, inv_epsilon: Any, alpha: Vector, beta: Vector, which: NDArray[np.int64]
) -> NDArray[np.float64]:
    return _shares_of_logs(cost[library_of(cost).asarray(which)], inv_epsilon, alpha[which], beta)


def _shares_of_logs(costs: Any, inv_epsilon: Any, alpha: Vector, beta: Vector) -> NDArray[np.float64]:
    """Rows of a plan, the largest share of each of which is 1."""
    logs = on_host(logarithms(costs, inv_epsilon, alpha, beta))
    logs -= logs.max(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.exp(logs, out=logs)
    return shares


def _places(shares: NDArray[np.float64], of: NDArray[np.int64], uniform: Vector) -> NDArray[np.int64]:
    """Where shares (k, m), cumulated, pass uniform parts of the total of row `of`: a block, then a place in it."""
    m = shares.shape[1]
    size = math.isqrt(m - 1) + 1  # of a block, so that there are about as many blocks
    blocks = np.cumsum(np.add.reduceat(shares, np.arange(0, m, size), axis=1), axis=1)
    totals = blocks[:, -1]
    if not ((totals > 0) & np.isfinite(totals)).all():
        raise ValueError(f"the plan has a mass of {totals.min()} in a row; there is nothing to draw from")
    sums, wanted = blocks[of], uniform * totals[of]
    block = _passed(sums, wanted)
    before = np.where(block > 0, sums[np.arange(block.size), block - 1], 0.0)
    places = size * block[:, None] + np.arange(size)
    inside = np.where(places < m, shares[of[:, None], np.minimum(places, m - 1)], 0.0)
    found: NDArray[np.int64] = size * block + _passed(np.cumsum(inside, axis=1), wanted - before)
    return found


def _passed(sums: NDArray[np.float64], wanted: Vector) -> NDArray[np.int64]:
    """The first of cumulative sums (k, j) beyond what is wanted, or the last that grows where rounding leaves none."""
    beyond, last = (sums <= wanted[:, None]).sum(axis=1), (sums < sums[:, -1:]).sum(axis=1)
    found: NDArray[np.int64] = np.minimum(beyond, last)
    return found


def _inverted(sums: Vector, uniform: Vector) -> NDArray[np.int64]:
    """Where cumulative sums pass a uniform share of their total; never where they stand still."""
    total = sums[-1] if sums.size else 0.0
    if not (total > 0 and np.isfinite(total)):
        raise ValueError(f"the plan has a mass of {total}; there is nothing to draw from")
    last = int(np.searchsorted(sums, total))  # a share that is rounded up to the total
    return np.minimum(np.searchsorted(sums, uniform * total, side="right"), last).astype(np.int64)
