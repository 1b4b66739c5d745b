"""Small problems between fixed sides, all cells of them at once and many in one compiled call.

Whatever is not solved here, or not proved, goes to `pricing.Solve`, which says why.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends import load_simplex
from ...backends.protocol import SimplexResult, SimplexRules
from ...problems.penalties import Fixed
from ...problems.penalty import Vector
from ...problems.problem import Problem
from .mass_levels import DUST, MASS_BITS
from .pricing import NONE, PROOF, TIGHT, WHOLE, Exact
from .reduced import LARGE_OFFSET
from .warm_start import Pause

CELLS_AT_ONCE = 1_000_000  # up to which all of them are quicker than the choice of a few; measured
CELLS_OF_EVEN = 160_000  # the same, where weights are equal
SIMPLEX_RULES = SimplexRules(TIGHT, WHOLE, MASS_BITS, DUST, LARGE_OFFSET)
CELLS_BEFORE_PAUSE = 5_000_000  # cells of the problems solved between two pauses; a second at most


def is_small(n: int, m: int, weights: NDArray[np.float64]) -> bool:
    """True if problems of this size, with these weights of both sides, are for `solve_small`."""
    return n * m <= CELLS_AT_ONCE and (n * m <= CELLS_OF_EVEN or n != m or bool(weights.min() != weights.max()))


def solve_small(costs: NDArray[Any], weights: NDArray[np.float64], pause: Pause) -> SimplexResult:
    """Problems (B, n, m) with positive weights (B, n + m) of rows, then of columns.

    `pause` is called several times a second and may raise.
    """
    count, nodes = weights.shape
    found = SimplexResult(
        np.empty((count, nodes)),
        np.empty((count, nodes), np.int64),
        np.empty((count, nodes), np.int64),
        np.empty(count),
        np.empty((count, 8)),
        np.empty(count, np.bool_),
    )
    costs = np.ascontiguousarray(costs, np.float64)
    simplex, step = load_simplex(), max(1, CELLS_BEFORE_PAUSE // (costs.shape[1] * costs.shape[2]))
    for at in range(0, count, step):
        pause()
        simplex.solve(costs, weights, SIMPLEX_RULES, found, at, min(at + step, count))
    # what a plan costs above its potentials has to be rounding beside what it pays: other costs may be far larger
    found.solved[found.solved & ~(found.facts[:, 6] <= PROOF * found.facts[:, 7])] = False
    return found


def plan_of(found: SimplexResult, k: int, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Vector]:
    """The positive entries of the plan of problem k, which has n rows: these, the columns, and masses."""
    nodes = np.flatnonzero(found.flows[k])
    parents = found.parents[k, nodes]
    rows, cols = np.minimum(nodes, parents), np.maximum(nodes, parents) - n
    order = np.argsort(rows)
    return rows[order], cols[order], found.flows[k, nodes[order]] * found.units[k]


def solved_at_once(problem: Problem, pause: Pause) -> Exact | None:
    """The solution, None where this is not for small problems' solver."""
    cost, (n, m) = problem.cost, problem.shape
    if cost.masked or not cost.stored or not (type(problem.rows) is Fixed and type(problem.cols) is Fixed):
        return None
    weights = np.concatenate([problem.a, problem.b])
    if not is_small(n, m, weights):
        return None
    rows, cols, matrix = np.flatnonzero(problem.row_used), np.flatnonzero(problem.col_used), cost.as_matrix()
    if rows.size < n or cols.size < m:
        matrix, weights = matrix[np.ix_(rows, cols)], weights[weights > 0]
    found = solve_small(matrix[None], weights[None], pause)
    if not found.solved[0]:
        return None
    i, j, masses = plan_of(found, 0, rows.size)
    u, v = np.full(n, -np.inf), np.full(m, -np.inf)
    u[rows], v[cols] = found.potentials[0, : rows.size], found.potentials[0, rows.size :]
    return Exact(rows[i].astype(np.int32), cols[j].astype(np.int32), masses, u, v, 1, True, NONE, NONE)
