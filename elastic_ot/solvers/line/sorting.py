"""Exact transport on the line: sorted points share their masses in order.

For a convex cost of x - y the costs of sorted points are a Monge matrix: C_ij + C_i'j' <= C_ij' + C_i'j for i < i' and
j < j'. So the plan of the north-west corner is optimal, and potentials that are tight along its staircase, zero masses
included, are feasible everywhere: they are sums of differences of costs along the staircase. All of it takes one sort a
side and passes over n + m numbers, for many problems at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...problems.line import Array, LineProblem

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Staircase:
    """The plan of the north-west corner of sorted sides, whose n + m - 1 steps go on by a row or by a column.

    Attributes
    ----------
    rows, cols : ndarray of int, shape (..., n + m - 1)
        Places in sorted order.
    mass : ndarray, shape (..., n + m - 1)
        Zeros where both sides end together, and where a weight is 0.
    by_row : ndarray of bool, shape (..., n + m - 2)
        True where the next step goes on by a row.
    """

    rows: Indices
    cols: Indices
    mass: Array
    by_row: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LinePlan:
    """Plans with their proofs: entries by their places, shapes (..., n + m - 1), and potentials (..., n), (..., m)."""

    rows: Indices
    cols: Indices
    mass: Array
    costs: Array
    f: Array
    g: Array


def solve_line(problem: LineProblem) -> LinePlan:
    """The optimal plans and potentials of all problems."""
    order_x, order_y, x, y, path = _sorted(problem)
    costs = problem.costs(_at(x, path.rows) - _at(y, path.cols))
    f, g = _potentials(costs, path.by_row)
    f, g = (_put_back(values, order) for values, order in ((f, order_x), (g, order_y)))
    a, b = problem.weights
    shift = 0.5 * ((a * f).sum(axis=-1) - (b * g).sum(axis=-1)) / np.sum(path.mass, axis=-1)
    f, g = f - np.expand_dims(shift, -1), g + np.expand_dims(shift, -1)
    return LinePlan(_at(order_x, path.rows), _at(order_y, path.cols), path.mass, costs, f, g)


def line_plans(problem: LineProblem) -> tuple[Indices, Indices, Array, Array]:
    """Entries of the plans: places (..., k), masses (..., k) and differences x - y (..., k); no potentials."""
    if problem.a is None and problem.b is None and problem.shape[-2] == problem.shape[-1]:
        rows, cols = (np.argsort(z, axis=-1, kind="stable") for z in (problem.x, problem.y))
        differences = _at(problem.x, rows) - _at(problem.y, cols)
        rows, cols = (np.broadcast_to(z, differences.shape) for z in (rows, cols))
        return rows, cols, np.full(differences.shape, 1.0 / rows.shape[-1]), differences
    order_x, order_y, x, y, path = _sorted(problem)
    return (
        _at(order_x, path.rows),
        _at(order_y, path.cols),
        np.broadcast_to(path.mass, (*problem.batch, path.mass.shape[-1])),
        _at(x, path.rows) - _at(y, path.cols),
    )


def line_values(problem: LineProblem) -> Array:
    """The optimal values alone, shape (...)."""
    if problem.a is None and problem.b is None:  # weights need not follow the points
        x, y = np.sort(problem.x, axis=-1), np.sort(problem.y, axis=-1)
        path = _equal_shares(*problem.shape[-2:])
        if path is None:
            return np.asarray(problem.costs(x - y).mean(axis=-1))
    else:
        _, _, x, y, path = _sorted(problem)
    return np.asarray((path.mass * problem.costs(_at(x, path.rows) - _at(y, path.cols))).sum(axis=-1))


def _sorted(problem: LineProblem) -> tuple[Indices, Indices, Array, Array, Staircase]:
    """Orders of both sides, points in order, and the staircase; equal points keep their order."""
    sides: list[tuple[Any, Any, Any]] = []
    for points, weights in ((problem.x, problem.a), (problem.y, problem.b)):
        if weights is not None:
            points, weights = np.broadcast_arrays(points, weights)
        order = np.argsort(points, axis=-1, kind="stable")
        sides.append((order, _at(points, order), None if weights is None else _at(weights, order)))
    (order_x, x, a), (order_y, y, b) = sides
    return order_x, order_y, x, y, staircase(_shares(a, x.shape[-1]), _shares(b, y.shape[-1]))


def _shares(weights: Array | None, size: int) -> Array:
    """Cumulative sums (..., n); exact multiples of 1/n where weights are equal, so that equal shares meet."""
    return np.arange(1.0, size + 1.0) / size if weights is None else np.cumsum(weights, axis=-1)


def staircase(sums_a: Array, sums_b: Array) -> Staircase:
    """The staircase of cumulative masses (..., n) and (..., m) of two sorted sides with one total."""
    total = sums_a[..., -1:]
    batch = np.broadcast_shapes(sums_a.shape[:-1], sums_b.shape[:-1])
    ends = [np.broadcast_to(np.minimum(s[..., :-1], total), (*batch, s.shape[-1] - 1)) for s in (sums_a, sums_b)]
    cuts = np.concatenate(ends, axis=-1)
    order = np.argsort(cuts, axis=-1, kind="stable")  # merges two runs
    by_row = order < sums_a.shape[-1] - 1
    mass = np.diff(_at(cuts, order), axis=-1, prepend=0.0, append=np.broadcast_to(total, (*batch, 1)))
    start = np.zeros((*batch, 1), np.int64)
    rows = np.concatenate([start, np.cumsum(by_row, axis=-1)], axis=-1)
    return Staircase(rows, np.arange(rows.shape[-1]) - rows, mass, by_row)


def in_order(x: Array, y: Array, a: Array, b: Array) -> tuple[Indices, Indices, Array]:
    """Pairs and masses of the plan that carries a at x (n,) to b at y (m,) without crossings, of total 1.

    Of all plans it has the least sum of L(x_i, y_j), for any L whose mixed derivative is nowhere positive.
    """
    orders = [np.argsort(points, kind="stable") for points in (x, y)]
    sums = [np.cumsum(weights[order]) for weights, order in zip((a, b), orders, strict=True)]
    path = staircase(*(total / total[-1] for total in sums))
    here = path.mass > 0
    return orders[0][path.rows[here]], orders[1][path.cols[here]], path.mass[here]


def _equal_shares(n: int, m: int) -> Staircase | None:
    """The staircase of equal weights; None where it is the diagonal."""
    return None if n == m else staircase(_shares(None, n), _shares(None, m))


def _potentials(costs: Array, by_row: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Potentials of sorted points that are tight at every step, shapes (..., n) and (..., m)."""
    steps = np.diff(costs, axis=-1)
    by_row = np.broadcast_to(by_row, steps.shape)
    batch, first = steps.shape[:-1], costs[..., :1]
    f, g = (
        np.cumsum(np.where(here, steps, 0.0), axis=-1)[here].reshape(*batch, -1)
        if here.any()
        else np.zeros((*batch, 0))
        for here in (by_row, ~by_row)
    )
    return np.concatenate([first, first + f], axis=-1), np.concatenate([np.zeros_like(first), g], axis=-1)


def _at(values: NDArray[Any], places: NDArray[Any]) -> Any:
    """Entries of the last axis; leading dimensions broadcast."""
    if values.ndim == 1:
        return values[places]
    if places.ndim == 1:
        return values[..., places]
    batch = np.broadcast_shapes(values.shape[:-1], places.shape[:-1])
    values = np.broadcast_to(values, (*batch, values.shape[-1]))
    return np.take_along_axis(values, np.broadcast_to(places, (*batch, places.shape[-1])), axis=-1)


def _put_back(values: Array, order: Indices) -> Array:
    """Values of sorted points in the order of the points."""
    out = np.empty_like(values)
    np.put_along_axis(out, np.broadcast_to(order, values.shape), values, axis=-1)
    return out
