"""The cells that exact methods work on: added to, transposed, their lists of flow made anew. Compiled; host code."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..protocol import Graph

compiled = njit(nogil=True, cache=True, error_model="numpy")
inner = njit(error_model="numpy")


@inner
def _linked(graph):
    """Lists of the cells with flow, made anew."""
    graph.first[:] = -1
    for cell in range(graph.heads.size):
        if graph.flow[cell] > 0:
            j = graph.heads[cell]
            top = graph.first[j]
            graph.after[cell], graph.before[cell] = top, -1
            if top >= 0:
                graph.before[top] = cell
            graph.first[j] = cell
    return graph


@inner
def _empty(pointers, cells, columns):
    return Graph(
        pointers,
        np.empty(cells, np.int32),
        np.empty(cells, np.int32),
        np.empty(cells, np.float64),
        np.zeros(cells, np.int64),
        np.empty(columns, np.int32),
        np.empty(cells, np.int32),
        np.empty(cells, np.int32),
    )


@compiled
def relink(graph, row_marginal, col_marginal):
    """Make anew the lists and marginals of a flow that was changed without them."""
    _linked(graph)
    row_marginal[:] = 0
    col_marginal[:] = 0
    for cell in range(graph.heads.size):
        row_marginal[graph.tails[cell]] += graph.flow[cell]
        col_marginal[graph.heads[cell]] += graph.flow[cell]


@compiled
def extend(graph, place, heads, cost):
    n, m = graph.pointers.size - 1, graph.first.size
    mark, pointers = np.full(m, -1, np.int32), np.zeros(n + 1, np.int64)
    for i in range(n):
        size, q = graph.pointers[i + 1] - graph.pointers[i], place[i]
        if q >= 0:
            for cell in range(graph.pointers[i], graph.pointers[i + 1]):
                mark[graph.heads[cell]] = i
            for r in range(heads.shape[1]):
                size += heads[q, r] >= 0 and mark[heads[q, r]] != i
        pointers[i + 1] = pointers[i] + size
    out = _empty(pointers, pointers[n], m)
    mark[:] = -1
    for i in range(n):
        to, q = pointers[i], place[i]
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
    return _linked(out)


@compiled
def transpose(graph):
    n, m = graph.pointers.size - 1, graph.first.size
    pointers = np.zeros(m + 1, np.int64)
    for cell in range(graph.heads.size):
        pointers[graph.heads[cell] + 1] += 1
    for j in range(m):
        pointers[j + 1] += pointers[j]
    out, free = _empty(pointers, graph.heads.size, n), pointers.copy()
    for cell in range(graph.heads.size):
        j = graph.heads[cell]
        to = free[j]
        free[j] = to + 1
        out.heads[to], out.tails[to] = graph.tails[cell], j
        out.cost[to], out.flow[to] = graph.cost[cell], graph.flow[cell]
    return _linked(out)
