"""Transport problems on some cells with whole masses, as `protocol.Paths` reads them, and what must hold of them."""

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import maximum_flow

from elastic_ot.backends import load_paths
from elastic_ot.backends.protocol import Graph, Nodes

paths = load_paths()
MANY = 10**6  # more mass than any plan here has
TOTAL = 24
INF = np.inf

# Kinks, and what the weights a become below, between and above them.
SIDES = {
    "fixed": (-INF, INF, lambda a: (a, a, a)),
    "at most": (0.0, 0.0, lambda a: (a, 0 * a, 0 * a)),
    "between": (0.0, 0.0, lambda a: (2 * a, a // 2, a // 2)),
    "variation": (-2.0, 2.0, lambda a: (0 * a + MANY, a, 0 * a)),
    "cheap variation": (-0.5, 0.5, lambda a: (0 * a + MANY, a, 0 * a)),
    "free": (0.0, 0.0, lambda a: (0 * a + MANY, 0 * a, 0 * a)),
}


def nodes(kind, weights):
    low, high, levels = SIDES[kind]
    size = weights.size
    return Nodes(np.zeros(size), np.zeros(size, np.int64), np.array(levels(weights), np.int64), low, high)


def wanted(side):
    """The smallest and the largest marginal that the potentials allow."""
    x, levels = side.potential, side.levels
    least = np.where(x < side.low, levels[0], np.where(x < side.high, levels[1], levels[2]))
    most = np.where(x <= side.low, levels[0], np.where(x <= side.high, levels[1], levels[2]))
    return least, most


def no_cells(n, m):
    none = np.empty(0, np.int32)
    lists = np.full(m, -1, np.int32)
    return Graph(np.zeros(n + 1, np.int64), none, none, np.empty(0), np.empty(0, np.int64), lists, none, none)


def graph_of(cost, allowed=None, cut=None):
    """The allowed cells, put in at once or in two parts."""
    n, m = cost.shape
    heads = np.tile(np.arange(m, dtype=np.int32), (n, 1))
    if allowed is not None:
        heads[~allowed] = -1
    graph, place = no_cells(n, m), np.arange(n, dtype=np.int32)
    for part in (slice(None, cut), slice(cut, None)) if cut else (slice(None),):
        graph = paths.extend(graph, place, heads[:, part].copy(), cost[:, part].astype(float))
    return graph


def cells_of(graph):
    return sorted(zip(*(x.tolist() for x in (graph.tails, graph.heads, graph.cost, graph.flow)), strict=True))


def assert_consistent(graph, rows=None, cols=None):
    """Pointers and tails agree, each column's list holds its cells with flow, marginals are the sums of the flow."""
    n, m = graph.pointers.size - 1, graph.first.size
    assert (graph.tails == np.repeat(np.arange(n), np.diff(graph.pointers))).all()
    assert len({cell[:2] for cell in cells_of(graph)}) == graph.heads.size
    for j in range(m):
        listed, cell, previous = [], graph.first[j], -1
        while cell >= 0:
            assert graph.before[cell] == previous
            assert len(listed) < graph.heads.size
            listed.append(int(cell))
            cell, previous = graph.after[cell], cell
        assert sorted(listed) == np.flatnonzero((graph.heads == j) & (graph.flow > 0)).tolist()
    assert (graph.flow >= 0).all()
    for side, ends in ((rows, graph.tails), (cols, graph.heads)):
        if side is not None:
            assert (side.marginal == np.bincount(ends, graph.flow, side.marginal.size)).all()


def assert_feasible_and_tight(graph, rows, cols, rounding=0.0):
    reduced = graph.cost - rows.potential[graph.tails] - cols.potential[graph.heads]
    assert reduced.min(initial=0.0) >= -rounding
    assert np.abs(reduced[graph.flow > 0]).max(initial=0.0) <= rounding


def started(graph, rows, cols):
    """The largest potentials of the rows that columns at 0 allow."""
    for i in np.flatnonzero(np.diff(graph.pointers)):
        rows.potential[i] = graph.cost[graph.pointers[i] : graph.pointers[i + 1]].min()


def shipped(graph, rows, cols, search=None, pause=lambda: None):
    n, m = rows.potential.size, cols.potential.size
    blocked, blocked_cols = np.zeros(n, bool), np.zeros(m, bool)
    paths.ship(graph, rows, cols, search or paths.search_space(n, m), blocked, blocked_cols, pause)
    return blocked, blocked_cols


def masses(rng, size):
    return rng.multinomial(TOTAL, np.full(size, 1 / size))


def problem(seed, rows="fixed", cols="fixed", shape=(6, 8), share=1.0, low=0, high=9):
    rng = np.random.default_rng([seed, *shape])
    cost, allowed = rng.integers(low, high, shape), rng.random(shape) < share
    a, b = masses(rng, shape[0]), masses(rng, shape[1])
    return cost, allowed, a, b, graph_of(cost, allowed), nodes(rows, a), nodes(cols, b)


def cheapest(cost, a, b):
    """The optimum for whole masses: an assignment of their units."""
    units = np.repeat(np.repeat(cost, a, axis=0), b, axis=1)
    return int(units[linear_sum_assignment(units)].sum())


def largest_flow(allowed, a, b):
    n, m = allowed.shape
    capacity = np.zeros((n + m + 2, n + m + 2), np.int32)
    capacity[-2, :n], capacity[n : n + m, -1] = a, b
    capacity[:n, n : n + m] = np.where(allowed, TOTAL, 0)
    return maximum_flow(sparse.csr_array(capacity), n + m, n + m + 1).flow_value
