"""The cells that exact methods work on: added to, transposed, their lists of flow made anew. Compiled; host code."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..protocol import Array, Graph
from .flags import INSIDE, OUTSIDE

compiled = njit(**OUTSIDE)
inner = njit(**INSIDE)


@inner
def _link(graph):
    """Make lists of the cells with flow anew."""
    for j in range(graph.first.size):
        graph.first[j] = -1
    for cell in range(graph.heads.size):
        if graph.flow[cell] > 0:
            j = graph.heads[cell]
            top = graph.first[j]
            graph.after[cell], graph.before[cell] = top, -1
            if top >= 0:
                graph.before[top] = cell
            graph.first[j] = cell


@compiled
def relink(graph, row_marginal, col_marginal):
    """Make anew the lists and marginals of a flow that was changed without them."""
    _link(graph)
    for i in range(row_marginal.size):
        row_marginal[i] = 0
    for j in range(col_marginal.size):
        col_marginal[j] = 0
    for cell in range(graph.heads.size):
        row_marginal[graph.tails[cell]] += graph.flow[cell]
        col_marginal[graph.heads[cell]] += graph.flow[cell]


@compiled
def _extended_sizes(graph, place, heads, mark, pointers):
    for i in range(place.size):
        size, q = graph.pointers[i + 1] - graph.pointers[i], place[i]
        if q >= 0:
            for cell in range(graph.pointers[i], graph.pointers[i + 1]):
                mark[graph.heads[cell]] = i
            for r in range(heads.shape[1]):
                size += heads[q, r] >= 0 and mark[heads[q, r]] != i
        pointers[i + 1] = pointers[i] + size


@compiled
def _extend(graph, place, heads, cost, mark, out):
    for i in range(place.size):
        to, q = out.pointers[i], place[i]
        for cell in range(graph.pointers[i], graph.pointers[i + 1]):
            j = graph.heads[cell]
            mark[j] = i
            out.heads[to], out.tails[to] = j, i
            out.cost[to], out.flow[to] = graph.cost[cell], graph.flow[cell]
            to += 1
        if q >= 0:
            for r in range(heads.shape[1]):
                j = heads[q, r]
                if j >= 0 and mark[j] != i:
                    out.heads[to], out.tails[to], out.cost[to] = j, i, cost[q, r]
                    to += 1
    _link(out)


@compiled
def _transpose(graph, free, out):
    pointers = out.pointers
    for cell in range(graph.heads.size):
        pointers[graph.heads[cell] + 1] += 1
    for j in range(free.size):
        pointers[j + 1] += pointers[j]
        free[j] = pointers[j]
    for cell in range(graph.heads.size):
        j = graph.heads[cell]
        to = free[j]
        free[j] = to + 1
        out.heads[to], out.tails[to] = graph.tails[cell], j
        out.cost[to], out.flow[to] = graph.cost[cell], graph.flow[cell]
    _link(out)


def _empty(pointers: Array, cells: int, columns: int) -> Graph:
    heads, tails, after, before = np.empty((4, cells), np.int32)
    cost, flow, first = np.empty(cells), np.zeros(cells, np.int64), np.empty(columns, np.int32)
    return Graph(pointers, heads, tails, cost, flow, first, after, before)


def extend(graph: Graph, place: Array, heads: Array, cost: Array) -> Graph:
    m = graph.first.size
    mark, pointers = np.full(m, -1, np.int32), np.zeros(place.size + 1, np.int64)
    _extended_sizes(graph, place, heads, mark, pointers)
    mark.fill(-1)
    out = _empty(pointers, int(pointers[-1]), m)
    _extend(graph, place, heads, cost, mark, out)
    return out


def transpose(graph: Graph) -> Graph:
    n, m = graph.pointers.size - 1, graph.first.size
    out = _empty(np.zeros(m + 1, np.int64), graph.heads.size, n)
    _transpose(graph, np.empty(m, np.int64), out)
    return out
