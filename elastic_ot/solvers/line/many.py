"""Relaxed problems on the line one by one, sorted before and put back in order after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...problems.line import Array, LineProblem
from ...problems.mixed import penalty_of
from ...problems.penalties import Fixed
from .levels import Level
from .relaxed import cheapest, solve_relaxed
from .sorting import Indices


@dataclass(frozen=True, eq=False)
class RelaxedLines:
    """Plans with their proofs: entries (..., n + m - 1) by their places, some 0, potentials (..., n), (..., m).

    `value`, `dual_value`, `transport` and `close` have the leading dimensions; see `relaxed.RelaxedPlan`.
    """

    rows: Indices
    cols: Indices
    mass: Array
    f: Array
    g: Array
    value: Array
    dual_value: Array
    transport: Array
    close: NDArray[np.bool_]


def solve_relaxed_lines(problem: LineProblem, tolerance: float) -> RelaxedLines:
    """The optima of all problems."""
    *batch, n, m = problem.shape
    count, steps = int(np.prod(batch, dtype=np.int64)), n + m - 1
    a, b = problem.weights
    x, y, a, b = (
        np.broadcast_to(values, (*batch, values.shape[-1])).reshape(count, -1)
        for values in (problem.x, problem.y, a, b)
    )
    out = RelaxedLines(
        np.zeros((count, steps), np.int64),
        np.zeros((count, steps), np.int64),
        np.zeros((count, steps)),
        np.empty((count, n)),
        np.empty((count, m)),
        np.empty(count),
        np.empty(count),
        np.empty(count),
        np.empty(count, bool),
    )
    for k in range(count):
        rows, cols = (penalty_of(side, problem.batch, k).at(1.0) for side in (problem.rows, problem.cols))
        used_x, used_y = (
            order[weights[order] > 0]
            for order, weights in ((np.argsort(z, kind="stable"), w) for z, w in ((x[k], a[k]), (y[k], b[k])))
        )
        if isinstance(rows, Fixed) and isinstance(cols, Fixed):
            raise ValueError(
                f"problem {', '.join(map(str, np.unravel_index(k, problem.batch)))} has no penalty: the strengths "
                f"{problem.rows!r} and {problem.cols!r} are infinite there; solve it without them"
            )
        level = Level(x[k, used_x], y[k, used_y], a[k, used_x], b[k, used_y], rows, cols, problem.exponent)
        found = solve_relaxed(level, tolerance)
        size = found.path.mass.size
        out.rows[k, :size], out.cols[k, :size] = used_x[found.path.rows], used_y[found.path.cols]
        out.mass[k, :size] = found.path.mass
        _fill(out.f[k], out.g[k], level, found.f, found.g, (used_x, used_y), (x[k], y[k]))
        out.value[k], out.dual_value[k], out.transport[k] = found.value, found.dual_value, found.transport
        out.close[k] = found.close
    shapes = (*batch, steps), (*batch, steps), (*batch, steps), (*batch, n), (*batch, m)
    entries = (out.rows, out.cols, out.mass, out.f, out.g)
    values = (out.value, out.dual_value, out.transport, out.close)
    return RelaxedLines(
        *(array.reshape(shape) for array, shape in zip(entries, shapes, strict=True)),  # type: ignore[arg-type]
        *(array.reshape(problem.batch) for array in values),
    )


def _fill(
    f: Array,
    g: Array,
    level: Level,
    found_f: Array,
    found_g: Array,
    used: tuple[Indices, Indices],
    points: tuple[Array, Array],
) -> None:
    """Potentials by places; those of points without weight are as large as is feasible."""
    f[used[0]], g[used[1]] = found_f, found_g
    order = np.argsort(points[0], kind="stable")
    rest = order[~np.isin(order, used[0])]
    if rest.size:
        f[rest] = cheapest(points[0][rest], level.y, found_g, level.exponent)[0]
    rest = np.setdiff1d(np.arange(g.size), used[1])
    rest = rest[np.argsort(points[1][rest], kind="stable")]
    if rest.size:
        g[rest] = cheapest(points[1][rest], points[0][order], f[order], level.exponent)[0]
