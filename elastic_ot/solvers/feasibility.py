"""Whether a mask leaves room for hard marginals: rows that must carry more than all their columns can take, or columns.

By the theorem of Hall, as Hoffman extended it to flows, there is a plan if there are no such rows and columns. Where
there is none, potentials of an entropic solve drift apart and so sort the rows that compete: what was found that way is
proof. That there are none takes a largest flow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..arrays.devices import library_of, on_host
from ..costs.dense import SCAN_ENTRIES
from ..problems.penalty import Indices, Vector
from ..problems.problem import Problem

EXCESS_MARGIN = 1e-9  # of the mass: excess that rounding of the weights explains
UNITS = 2**30  # of flow, for the whole mass: SciPy's flows have 32 bits
FLOW_CELLS = 2_000_000  # allowed ones up to which a flow takes a second, and little memory


class Blocked(NamedTuple):
    """Rows (or columns) that must carry more than their partners can take."""

    name: str
    members: Indices
    partners: Indices

    def transpose(self) -> Blocked:
        return self._replace(name="columns" if self.name == "rows" else "rows")


def crowded(problem: Problem, f: Vector, g: Vector) -> Blocked | None:
    """By potentials: whether all rows, or all columns, above some value are blocked together. Two passes over it."""
    return _crowded("rows", problem, f) or _crowded("columns", problem.transpose(), g)


def blocked(problem: Problem) -> Blocked | None:
    """Find rows or columns that block a plan, by a largest flow; None also where there are too many entries for one."""
    return _blocked("rows", problem) or _blocked("columns", problem.transpose())


def most_mass(problem: Problem) -> float:
    """Return the largest mass that the allowed entries carry within both sides; inf if they are too many for a flow."""
    cells = _cells(problem) if problem.cost.masked else None
    if cells is None:
        return np.inf
    ends = (problem.rows, problem.a, problem.row_used), (problem.cols, problem.b, problem.col_used)
    room = [min(side.box()[1], 1e9) * np.where(used, weights, 0.0) / problem.mass for side, weights, used in ends]
    scale = UNITS / max(1.0, *(float(x.sum()) for x in room))
    _, _, value = _largest_flow(cells, problem.shape, *(np.ceil(x * scale).astype(np.int64) for x in room))
    return value / scale * problem.mass


def may_be_blocked(problem: Problem) -> bool:
    """Return True if entries are masked, both sides are hard, and this process has all entries to look at."""
    return problem.ranks.alone and problem.cost.masked and problem.rows.hard and problem.cols.hard


def _demands(problem: Problem) -> tuple[Vector, Vector]:
    """What the rows must carry and the columns can take, in units of the mass."""
    demand = problem.rows.box()[0] * np.where(problem.row_used, problem.a, 0.0)
    room = min(problem.cols.box()[1], 1e9) * np.where(problem.col_used, problem.b, 0.0)
    return demand / problem.mass, room / problem.mass


def _crowded(name: str, problem: Problem, f: Vector) -> Blocked | None:
    demand, room = _demands(problem)
    if not demand.any():
        return None
    f = np.where(problem.row_used, f, -np.inf)
    top = _largest_partner(problem, f)
    order, partners = np.argsort(-f, kind="stable"), np.argsort(-top, kind="stable")
    must, can = np.cumsum(demand[order]), np.concatenate([[0.0], np.cumsum(room[partners])])
    reached = np.searchsorted(-top[partners], -f[order], side="right")
    excess = np.where(np.isfinite(f[order]), must - can[reached], -np.inf)
    last = int(excess.argmax())
    if not excess[last] > EXCESS_MARGIN * max(1.0, must[last]):
        return None
    members = order[: last + 1]
    return Blocked(name, np.sort(members[demand[members] > 0]), np.sort(partners[: reached[last]]))


def _largest_partner(problem: Problem, f: Vector) -> Vector:
    """Return the largest f among the allowed rows of every column."""
    by_rows = not problem.cost.fortran
    cost = problem.by_rows.cost
    xp = library_of(cost.memory)
    values, top = xp.asarray(f), xp.asarray(np.full(problem.shape[1], -np.inf))
    for part, block in cost.strips(SCAN_ENTRIES):
        allowed = xp.isfinite(block)
        if by_rows:
            top = xp.maximum(top, xp.where(allowed, values[part, None], -np.inf).max(axis=0))
        else:
            top[part] = xp.where(allowed, values, -np.inf).max(axis=1)
    return np.where(problem.col_used, on_host(top), -np.inf)


def _blocked(name: str, problem: Problem) -> Blocked | None:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order

    demand, room = _demands(problem)
    cells = _cells(problem) if demand.any() else None
    if cells is None:
        return None
    n, m = problem.shape
    scale = UNITS / max(1.0, float(demand.sum()))
    out = np.floor(demand * scale).astype(np.int64)
    into = np.ceil(np.minimum(room, demand.sum()) * scale).astype(np.int64)
    graph, flow, value = _largest_flow(cells, (n, m), out, into)
    if out.sum() - value <= EXCESS_MARGIN * scale:
        return None
    rest = csr_array(graph - flow)
    rest.data = np.maximum(rest.data, 0)
    rest.eliminate_zeros()
    side = breadth_first_order(rest, n + m, return_predecessors=False)
    rows, cols = np.sort(side[side < n]), np.sort(side[(side >= n) & (side < n + m)]) - n
    return Blocked(name, rows[demand[rows] > 0].astype(np.int64), cols.astype(np.int64))


def _largest_flow(
    cells: tuple[Indices, Indices], shape: tuple[int, int], out: Indices, into: Indices
) -> tuple[Any, Any, int]:
    """The graph of the allowed entries between a source, node n + m, and a sink; a largest flow, and its value."""
    from scipy.sparse import coo_array, csr_array
    from scipy.sparse.csgraph import maximum_flow

    (i, j), (n, m) = cells, shape
    source, sink = n + m, n + m + 1
    tails = np.concatenate([i, np.full(n, source), n + np.arange(m)]).astype(np.int32)  # as SciPy 1.13 wants them
    heads = np.concatenate([n + j, np.arange(n), np.full(m, sink)]).astype(np.int32)
    limits = np.concatenate([np.full(i.size, UNITS), out, into]).astype(np.int32)
    graph = csr_array(coo_array((limits, (tails, heads)), shape=(n + m + 2, n + m + 2)))
    found = maximum_flow(graph, source, sink)
    return graph, found.flow, int(found.flow_value)


def _cells(problem: Problem) -> tuple[Indices, Indices] | None:
    """Rows and columns of the allowed cells that are in use; None if they are too many."""
    used, partners = problem.turned(problem.row_used, problem.col_used)
    cost = problem.by_rows.cost
    found, count = [], 0
    for part, block in cost.strips(SCAN_ENTRIES):
        i, j = np.nonzero(on_host(library_of(block).isfinite(block)) & used[part, None] & partners)
        found.append((i + part.start, j))
        count += i.size
        if count > FLOW_CELLS:
            return None
    i, j = (np.concatenate(values) for values in zip(*found, strict=True))
    return problem.turned(i, j)
