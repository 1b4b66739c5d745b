"""`protocol.Paths`, compiled: for the host, whatever the device, because a search is one step after another.

Source: Ahuja, Magnanti, Orlin, *Network Flows*, 1993, section 9.7 (successive shortest paths).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit

from ..protocol import Array, Graph, Nodes
from . import simplex
from .flags import INSIDE, OUTSIDE
from .graph import extend as extend
from .graph import relink
from .graph import transpose as transpose

compiled = njit(**OUTSIDE)
inner = njit(forceinline=True, **INSIDE)


class Search(NamedTuple):
    """Work space of `ship`: three vectors of the columns, three of the rows, the heap, and lists of what was seen."""

    distance: Array
    by: Array
    place: Array
    row_distance: Array
    row_by: Array
    heap: Array
    seen: Array
    rows_seen: Array


PIECE = 20_000_000  # cells looked at between two pauses: compiled code cannot be interrupted; some 0.1 s
SAMPLE = 1000  # costs that show how large costs are
UNSEEN, DONE = -1, -2
BY_COLUMN, BY_ROW, NOWHERE = 0, 1, 2


def search_space(n: int, m: int) -> Search:
    return Search(
        np.full(m, np.inf),
        np.empty(m, np.int32),
        np.full(m, UNSEEN, np.int32),
        np.full(n, np.inf),
        np.empty(n, np.int32),
        np.empty(m, np.int32),
        np.empty(m, np.int32),
        np.empty(n, np.int32),
    )


@inner
def _least(nodes, i):
    """The smallest marginal that the potential allows."""
    x = nodes.potential[i]
    return nodes.levels[0, i] if x < nodes.low else nodes.levels[1, i] if x < nodes.high else nodes.levels[2, i]


@inner
def _most(nodes, i):
    x = nodes.potential[i]
    return nodes.levels[0, i] if x <= nodes.low else nodes.levels[1, i] if x <= nodes.high else nodes.levels[2, i]


@inner
def _kink_above(nodes, i):
    """Return the kink at which a rising potential lets the marginal become smaller than it is."""
    x, r = nodes.potential[i], nodes.marginal[i]
    if x <= nodes.low and r > nodes.levels[1, i]:
        return nodes.low
    if x <= nodes.high and r > nodes.levels[2, i]:
        return nodes.high
    return np.inf


@inner
def _kink_below(nodes, i):
    """Return the kink at which a falling potential lets the marginal become larger than it is."""
    x, r = nodes.potential[i], nodes.marginal[i]
    if x >= nodes.high and r < nodes.levels[1, i]:
        return nodes.high
    if x >= nodes.low and r < nodes.levels[0, i]:
        return nodes.low
    return -np.inf


@inner
def _relief(nodes, i):
    """Return the kink at which a rising potential asks a row that sends too little for less."""
    x = nodes.potential[i]
    if x < nodes.low and nodes.levels[0, i] > nodes.levels[1, i]:
        return nodes.low
    if x < nodes.high and nodes.levels[1, i] > nodes.levels[2, i]:
        return nodes.high
    return np.inf


@inner
def _sift_up(heap, place, distance, k):
    j = heap[k]
    d = distance[j]
    while k > 0:
        up = (k - 1) >> 1
        if distance[heap[up]] <= d:
            break
        heap[k] = heap[up]
        place[heap[k]] = k
        k = up
    heap[k] = j
    place[j] = k


@inner
def _sift_down(heap, place, distance, size):
    """The last entry in the place of the first, which was taken."""
    j = heap[size]
    d, k = distance[j], 0
    while True:
        child = 2 * k + 1
        if child >= size:
            break
        if child + 1 < size and distance[heap[child + 1]] < distance[heap[child]]:
            child += 1
        if distance[heap[child]] >= d:
            break
        heap[k] = heap[child]
        place[heap[k]] = k
        k = child
    heap[k] = j
    place[j] = k


@inner
def _send(graph, cell, amount):
    """Change the flow of a cell and keep the list of its column."""
    before = graph.flow[cell]
    graph.flow[cell] = before + amount
    j = graph.heads[cell]
    if before == 0:
        top = graph.first[j]
        graph.after[cell], graph.before[cell] = top, -1
        if top >= 0:
            graph.before[top] = cell
        graph.first[j] = cell
    elif before + amount == 0:
        left, right = graph.before[cell], graph.after[cell]
        if left >= 0:
            graph.after[left] = right
        else:
            graph.first[j] = right
        if right >= 0:
            graph.before[right] = left


@inner
def _scan_row(graph, rows, cols, search, i, base, best, kind, node, size, seen):
    """Relax the cells of row i, reached at distance `base`; the best way out so far comes and goes."""
    u = rows.potential[i]
    for cell in range(graph.pointers[i], graph.pointers[i + 1]):
        j = np.int64(graph.heads[cell])
        d = max(base, base + (graph.cost[cell] - u - cols.potential[j]))
        if d < search.distance[j] and d < best:
            if search.distance[j] == np.inf:
                search.seen[seen] = j
                seen += 1
            search.distance[j] = d
            search.by[j] = cell
            if cols.marginal[j] < _most(cols, j):
                best, kind, node = d, BY_COLUMN, j
                if d <= base:
                    break
                continue
            kink = _kink_below(cols, j)
            if kink > -np.inf and d + (cols.potential[j] - kink) < best:
                best, kind, node = d + (cols.potential[j] - kink), BY_COLUMN, j
            if search.place[j] == UNSEEN:
                search.heap[size] = j
                size += 1
                _sift_up(search.heap, search.place, search.distance, size - 1)
            else:
                _sift_up(search.heap, search.place, search.distance, np.int64(search.place[j]))
    return best, kind, node, size, seen


@inner
def _find(graph, rows, cols, search, s):
    """Dijkstra from row s: the nearest node that can take more, by way of tight cells after a dual step `best`."""
    size, seen, rows_seen = np.int64(0), np.int64(0), np.int64(1)  # literals would be types of their own
    search.row_distance[s] = 0.0
    search.rows_seen[0] = s
    best, kind, node = np.inf, NOWHERE, np.int64(-1)
    relief = _relief(rows, s)
    if relief < np.inf:
        best, kind, node = relief - rows.potential[s], BY_ROW, s
    best, kind, node, size, seen = _scan_row(graph, rows, cols, search, s, 0.0, best, kind, node, size, seen)
    while size > 0 and search.distance[search.heap[0]] < best:
        j = search.heap[0]
        base = search.distance[j]
        search.place[j] = DONE
        size -= 1
        if size > 0:
            _sift_down(search.heap, search.place, search.distance, size)
        cell = graph.first[j]
        while cell >= 0 and best > base:
            i = np.int64(graph.tails[cell])
            if search.row_distance[i] == np.inf:
                search.row_distance[i] = base
                search.row_by[i] = cell
                search.rows_seen[rows_seen] = i
                rows_seen += 1
                kink = _kink_above(rows, i)
                if kink < np.inf and base + (kink - rows.potential[i]) < best:
                    best, kind, node = base + (kink - rows.potential[i]), BY_ROW, i
                best, kind, node, size, seen = _scan_row(
                    graph, rows, cols, search, i, base, best, kind, node, size, seen
                )
            cell = graph.after[cell]
    return best, kind, node, seen, rows_seen


@inner
def _move_potentials(rows, cols, search, best, kind, node, seen, rows_seen):
    """The dual step; a potential never passes a kink at which its marginal has room."""
    for k in range(rows_seen):
        i = np.int64(search.rows_seen[k])
        step = best - search.row_distance[i]
        if step > 0.0:
            kink = _relief(rows, i) if k == 0 else _kink_above(rows, i)
            rows.potential[i] = min(rows.potential[i] + step, kink)
    for k in range(seen):
        j = np.int64(search.seen[k])
        step = best - search.distance[j]
        if step > 0.0 and search.place[j] == DONE:
            cols.potential[j] = max(cols.potential[j] - step, _kink_below(cols, j))
    if kind == BY_COLUMN and cols.marginal[node] >= _most(cols, node):
        cols.potential[node] = _kink_below(cols, node)
    elif kind == BY_ROW:  # sums that fell short of the kink by rounding
        kink = _relief(rows, node) if search.rows_seen[0] == node else _kink_above(rows, node)
        rows.potential[node] = kink if kink < np.inf else rows.potential[node]


@inner
def _push(graph, rows, cols, search, s, kind, node, amount):
    """Send as much along the path from s to the node as it takes, at most `amount`."""
    if kind == BY_COLUMN:
        amount = min(amount, _most(cols, node) - cols.marginal[node])
        i = graph.tails[search.by[node]]
    else:
        amount = min(amount, rows.marginal[node] - _least(rows, node))
        i = node
    k = i
    while k != s:
        cell = search.row_by[k]
        amount = min(amount, graph.flow[cell])
        k = graph.tails[search.by[graph.heads[cell]]]
    if amount <= 0:  # the dual step alone has met what row s asks for
        return
    if kind == BY_COLUMN:
        cols.marginal[node] += amount
        _send(graph, np.int64(search.by[node]), amount)
    else:
        rows.marginal[node] -= amount
    while i != s:
        cell = np.int64(search.row_by[i])
        _send(graph, cell, -amount)
        j = graph.heads[cell]
        _send(graph, np.int64(search.by[j]), amount)
        i = graph.tails[search.by[j]]
    rows.marginal[s] += amount


@compiled
def ship_from(graph, rows, cols, search, blocked, blocked_cols, begin, work):
    """`protocol.Paths.ship` from row `begin` on, until about so many cells were looked at.

    Returns the row to go on from; the number of rows if there is none.
    """
    n, looked = rows.potential.size, 0
    for s in range(begin, n):
        while rows.marginal[s] < _least(rows, s):
            if looked > work:
                return s
            best, kind, node, seen, rows_seen = _find(graph, rows, cols, search, s)
            if kind != NOWHERE:
                _move_potentials(rows, cols, search, best, kind, node, seen, rows_seen)
                if not (kind == BY_ROW and node == s):
                    _push(graph, rows, cols, search, s, kind, node, _least(rows, s) - rows.marginal[s])
            for k in range(seen):
                search.distance[search.seen[k]] = np.inf
                if kind == NOWHERE:
                    blocked_cols[search.seen[k]] = True
                search.place[search.seen[k]] = UNSEEN
            for k in range(rows_seen):
                i = search.rows_seen[k]
                search.row_distance[i] = np.inf
                looked += graph.pointers[i + 1] - graph.pointers[i]
                if kind == NOWHERE:
                    blocked[i] = True
            if kind == NOWHERE:
                return n
        looked += 1
    return n


@compiled
def ship_tight(graph, rows, cols, tight):
    for i in range(rows.potential.size):
        need = _least(rows, i) - rows.marginal[i]
        for cell in range(graph.pointers[i], graph.pointers[i + 1]):
            if need <= 0:
                break
            j = np.int64(graph.heads[cell])
            if graph.cost[cell] - rows.potential[i] - cols.potential[j] <= tight:
                amount = min(need, _most(cols, j) - cols.marginal[j])
                if amount > 0:
                    _send(graph, cell, amount)
                    rows.marginal[i] += amount
                    cols.marginal[j] += amount
                    need -= amount


@compiled
def withdraw(graph, rows, cols, tight):
    count = 0
    for i in range(rows.potential.size):
        for cell in range(graph.pointers[i], graph.pointers[i + 1]):
            flow, j = graph.flow[cell], graph.heads[cell]
            if flow > 0 and graph.cost[cell] - rows.potential[i] - cols.potential[j] > tight:
                _send(graph, cell, -flow)
                rows.marginal[i] -= flow
                cols.marginal[j] -= flow
                count += 1
    return count


def ship(
    graph: Graph,
    rows: Nodes,
    cols: Nodes,
    search: Search,
    blocked: Array,
    blocked_cols: Array,
    pause: Callable[[], object],
) -> None:
    row = 0
    while row < rows.potential.size:
        row = ship_from(graph, rows, cols, search, blocked, blocked_cols, row, PIECE)
        pause()


def _usual(costs: Array) -> float:
    """A size of costs: the smaller ones that are not 0, since large ones may stand for forbidden cells."""
    sample = np.abs(costs[:: max(1, costs.size // SAMPLE)])
    sample = sample[sample > 0.0]
    return float(np.partition(sample, sample.size // 4)[sample.size // 4]) if sample.size else 0.0


def balance(
    graph: Graph,
    rows: Nodes,
    cols: Nodes,
    order: Array,
    slack: float,
    whole: bool,
    blocked: Array,
    blocked_cols: Array,
    pause: Callable[[], object],
) -> None:
    tree = simplex.start(graph, rows.levels[1], cols.levels[1], order)
    least, usual = (0.5, 0.0) if whole else (0.0, _usual(graph.cost))
    while not simplex.pivot(graph, tree, slack, least, usual, PIECE):
        pause()
    simplex.finish(graph, tree, whole, rows.potential, cols.potential, blocked, blocked_cols)
    relink(graph, rows.marginal, cols.marginal)
