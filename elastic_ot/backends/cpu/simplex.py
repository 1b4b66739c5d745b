"""The network simplex method on the cells of a balanced transport problem, compiled.

A basis is a spanning tree of rows, columns and an artificial root; potentials make its cells tight, and one cell with a
negative reduced cost at a time enters the cycle it closes. Trees are kept strongly feasible (Cunningham 1976: cells
without flow point to the root), so degenerate pivots cannot cycle if every reduced cost that counts as negative is so.
One that rounding of its two potentials explains does not count, and after many pivots more counts as rounding, beside
potentials of nearly 0 as well. Source: Ahuja, Magnanti, Orlin, *Network Flows*, 1993, chapter 11.

`start`, `pivot` until it is done, `finish`; what happens in between, an interruption, say, changes no bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from ..protocol import Array
from .flags import INSIDE_ALLOCATING, OUTSIDE_ALLOCATING

compiled = njit(**OUTSIDE_ALLOCATING)
inner = njit(forceinline=True, **INSIDE_ALLOCATING)

REFRESH = 1000  # pivots after which potentials are summed anew
PATIENCE, FEW = 30, 1000  # pivots, the first times the number of nodes, after which twice as much counts as rounding
HOPELESS = 30  # times that: rounding has no end
FAR = 100.0  # times the largest cost: by how much cells are preferred that reach what is not served yet
LEAST_NUMBER, LARGEST_NUMBER = 1e-300, 1e307  # 0, and what overflows, would not do
BLOCK = 1  # times the square root of the number of cells: how many are priced before the best of them enters


class Tree(NamedTuple):
    """The basis. `arc` joins a node to its parent: a cell, or the node's artificial arc, numbered after the cells.

    Flow goes from the node to its parent where `up` is true. Children are a doubly linked list; -1 ends lists.
    `spare` is the flow of artificial arcs, whose cost is without bound: potentials are `level` times that cost, plus
    `potential`. `stack` is work space, `at` says how far the method has come.
    """

    parent: Array
    arc: Array
    up: Array
    depth: Array
    child: Array
    right: Array
    left: Array
    level: Array
    potential: Array
    spare: Array
    stack: Array
    at: Array


BEGIN, PIVOTS, FRESH = 0, 1, 2  # of `Tree.at`: the next cell to price, pivots so far, potentials just summed anew


@inner
def _hang(tree, x, parent, arc, up):
    tree.parent[x], tree.arc[x], tree.up[x] = parent, arc, up
    other = tree.child[parent]
    tree.right[x], tree.left[x] = other, -1
    if other >= 0:
        tree.left[other] = x
    tree.child[parent] = x


@inner
def _cut(tree, x):
    left, right = tree.left[x], tree.right[x]
    if left >= 0:
        tree.right[left] = right
    else:
        tree.child[tree.parent[x]] = right
    if right >= 0:
        tree.left[right] = left


@inner
def _root_of(component, x):
    while component[x] != x:
        component[x] = component[component[x]]
        x = component[x]
    return x


@inner
def _joined(graph, component):
    """The components of the cells with flow; false if these close a cycle."""
    n = graph.pointers.size - 1
    for cell in range(graph.heads.size):
        if graph.flow[cell] > 0:
            x, y = _root_of(component, graph.tails[cell]), _root_of(component, n + graph.heads[cell])
            if x == y:
                return False
            component[x] = y
    return True


@inner
def _allocate(graph, order, left, component):
    """Least cost first: every cell that takes something exhausts its row or its column, which closes no cycle.

    Only one of the two counts as exhausted, so every component keeps one node that does not.
    """
    n = graph.pointers.size - 1
    open_ = np.ones(left.size, np.bool_)
    graph.flow[:] = 0
    for cell in order:
        x, y = graph.tails[cell], n + graph.heads[cell]
        amount = min(left[x], left[y])
        if amount > 0 and open_[x] and open_[y]:
            graph.flow[cell] = amount
            left[x] -= amount
            left[y] -= amount
            component[_root_of(component, x)] = _root_of(component, y)
            open_[x if left[x] == 0 else y] = False
    return open_


@inner
def _plant(graph, left, hooks):
    """The tree of the cells with flow, every component hung on the root by its hook."""
    n, nodes, cells = graph.pointers.size - 1, left.size, graph.heads.size
    tree = Tree(
        np.full(nodes + 1, -1, np.int32),
        np.full(nodes + 1, -1, np.int32),
        np.zeros(nodes + 1, np.bool_),
        np.zeros(nodes + 1, np.int32),
        np.full(nodes + 1, -1, np.int32),
        np.full(nodes + 1, -1, np.int32),
        np.full(nodes + 1, -1, np.int32),
        np.zeros(nodes + 1, np.int8),
        np.zeros(nodes + 1),
        np.zeros(nodes, np.int64),
        np.empty(nodes + 1, np.int32),
        np.zeros(3, np.int64),
    )
    # cells with flow of every node, as lists: two entries a cell
    first, after = np.full(nodes, -1, np.int32), np.full(2 * cells, -1, np.int32)
    for cell in range(cells):
        if graph.flow[cell] > 0:
            x, y = graph.tails[cell], n + graph.heads[cell]
            after[2 * cell], first[x] = first[x], 2 * cell
            after[2 * cell + 1], first[y] = first[y], 2 * cell + 1
    stack = tree.stack
    for hook in range(nodes):
        if not hooks[hook]:
            continue
        up = hook < n or left[hook] == 0
        tree.spare[hook] = left[hook]
        tree.level[hook] = 1 if up else -1
        _hang(tree, hook, nodes, cells + hook, up)
        tree.depth[hook] = 1
        stack[0], size = hook, 1
        while size > 0:
            size -= 1
            x = stack[size]
            entry = first[x]
            while entry >= 0:
                cell = entry >> 1
                y = n + graph.heads[cell] if x < n else graph.tails[cell]
                if y != tree.parent[x]:
                    _hang(tree, y, x, cell, y < n)
                    tree.depth[y], tree.level[y] = tree.depth[x] + 1, tree.level[x]
                    cost = graph.cost[cell]
                    tree.potential[y] = tree.potential[x] + cost if y < n else tree.potential[x] - cost
                    stack[size] = y
                    size += 1
                entry = after[entry]
    return tree


@inner
def _entering(graph, tree, block, slack, least, far):
    """The best cell of the first block that has one, -1 if no cell has a negative reduced cost; and cells looked at."""
    n, cells = graph.pointers.size - 1, graph.heads.size
    best, found, count, begin, looked = -least, -1, 0, tree.at[BEGIN], cells
    cell = begin
    for k in range(cells):
        tail, head = graph.tails[cell], n + graph.heads[cell]
        reduced = graph.cost[cell] - tree.potential[tail] + tree.potential[head]
        rise = tree.level[head] - tree.level[tail]
        if rise <= 0 and reduced + rise * far < best:
            if rise < 0 or reduced < -slack * (abs(tree.potential[tail]) + abs(tree.potential[head])):
                if tree.arc[tail] != cell and tree.arc[head] != cell:  # in the tree it is rounding
                    best, found = reduced + rise * far, cell
        cell += 1
        if cell == cells:
            cell = 0
        count += 1
        if count == block:
            if found >= 0:
                looked = k + 1
                break
            count = 0
    tree.at[BEGIN] = cell
    return found, looked


@inner
def _flow_of(graph, tree, arc):
    cells = graph.heads.size
    return graph.flow[arc] if arc < cells else tree.spare[arc - cells]


@inner
def _add(graph, tree, arc, amount):
    cells = graph.heads.size
    if arc < cells:
        graph.flow[arc] += amount
    else:
        tree.spare[arc - cells] += amount


@inner
def _pivot(graph, tree, cell):
    """The cell enters the tree; returns about how many nodes were touched."""
    n = graph.pointers.size - 1
    tail, head = graph.tails[cell], n + graph.heads[cell]
    reduced = graph.cost[cell] - tree.potential[tail] + tree.potential[head]
    rise = tree.level[head] - tree.level[tail]
    # what the cycle takes: along it flow goes down to the tail, through the cell, and up from the head
    amount, leaving, tail_leaves = np.int64(9223372036854775807), -1, False
    x, y = tail, head
    while x != y:
        if tree.depth[x] >= tree.depth[y]:
            if tree.up[x]:
                flow = _flow_of(graph, tree, tree.arc[x])
                if flow < amount or (flow == amount and leaving < 0):
                    amount, leaving, tail_leaves = flow, x, True
            x = tree.parent[x]
        else:
            y = tree.parent[y]
    join = x
    y = head
    while y != join:
        if not tree.up[y]:
            flow = _flow_of(graph, tree, tree.arc[y])
            if flow <= amount:
                amount, leaving, tail_leaves = flow, y, False
        y = tree.parent[y]
    if amount > 0:
        x = tail
        while x != join:
            _add(graph, tree, tree.arc[x], -amount if tree.up[x] else amount)
            x = tree.parent[x]
        y = head
        while y != join:
            _add(graph, tree, tree.arc[y], amount if tree.up[y] else -amount)
            y = tree.parent[y]
    graph.flow[cell] += amount
    # hang the part that the leaving arc cuts off on the entering cell, its path to there turned round
    x, parent = (tail, head) if tail_leaves else (head, tail)
    top, arc, up = x, cell, x < n
    sign = 1 if x < n else -1
    while True:
        old_parent, old_arc, old_up = tree.parent[x], tree.arc[x], tree.up[x]
        _cut(tree, x)
        _hang(tree, x, parent, arc, up)
        if x == leaving:
            break
        parent, arc, up = x, old_arc, not old_up
        x = old_parent
    stack, touched = tree.stack, tree.depth[tail] + tree.depth[head]
    stack[0], size = top, 1
    while size > 0:
        size -= 1
        touched += 1
        x = stack[size]
        tree.potential[x] += sign * reduced
        tree.level[x] += sign * rise
        tree.depth[x] = tree.depth[tree.parent[x]] + 1
        x = tree.child[x]
        while x >= 0:
            stack[size] = x
            size += 1
            x = tree.right[x]
    return touched


@inner
def _refresh(graph, tree):
    """Potentials from the costs of the tree: the sums made in pivots have rounded."""
    n, nodes, stack = graph.pointers.size - 1, tree.spare.size, tree.stack
    stack[0], size = nodes, 1
    while size > 0:
        size -= 1
        x = tree.child[stack[size]]
        while x >= 0:
            if tree.parent[x] == nodes:
                tree.potential[x] = 0.0
            else:
                cost = graph.cost[tree.arc[x]]
                tree.potential[x] = tree.potential[tree.parent[x]] + (cost if x < n else -cost)
            stack[size] = x
            size += 1
            x = tree.right[x]


@compiled
def start(graph, supply, demand, order):
    """The first basis: the flow that is there, if it serves everything and has no cycles, else cells in `order`."""
    n = supply.size
    nodes = n + demand.size
    left, component = np.empty(nodes, np.int64), np.arange(nodes).astype(np.int32)
    left[:n] = supply
    left[n:] = demand
    for cell in range(graph.heads.size):
        left[graph.tails[cell]] -= graph.flow[cell]
        left[n + graph.heads[cell]] -= graph.flow[cell]
    hooks = np.zeros(nodes, np.bool_)
    if np.abs(left).sum() == 0 and _joined(graph, component):
        for x in range(nodes):
            hooks[x] = component[x] == x
    else:
        left[:n] = supply
        left[n:] = demand
        for x in range(nodes):
            component[x] = x
        hooks = _allocate(graph, order, left, component)
    return _plant(graph, left, hooks)


@compiled
def pivot(graph, tree, slack, least, usual, work):
    """Pivots until so many cells and nodes were looked at; true when no cell has a negative reduced cost.

    Negative is what is below -`least` and below -`slack` times the size of the two potentials, after many pivots also
    times costs as they `usual`ly are.
    """
    nodes, cells = tree.spare.size, graph.heads.size
    block = max(32, int(BLOCK * np.sqrt(cells)))
    far = max(LEAST_NUMBER, FAR * least)
    for cell in range(cells):
        far = max(far, min(FAR * abs(graph.cost[cell]), LARGEST_NUMBER))
    patience = PATIENCE * nodes + FEW
    looked = 0
    while looked < work:
        doubled = tree.at[PIVOTS] // patience
        grown = 2.0**doubled
        cell, seen = _entering(graph, tree, block, slack * grown, least + slack * usual * (grown - 1.0), far)
        looked += seen
        if cell < 0 or doubled > HOPELESS:
            if tree.at[FRESH] == 1 or doubled > HOPELESS:
                return True
            _refresh(graph, tree)
            looked += nodes
            tree.at[FRESH] = 1
            continue
        looked += _pivot(graph, tree, cell)
        tree.at[PIVOTS] += 1
        tree.at[FRESH] = 0
        if tree.at[PIVOTS] % REFRESH == 0:
            _refresh(graph, tree)
            looked += nodes
            tree.at[FRESH] = 1
    return False


@compiled
def finish(graph, tree, whole, u, v, blocked, blocked_cols):
    """Potentials, and what is blocked. Parts of the tree that no cell joins are shifted until all cells are feasible.

    With `whole`, by whole numbers.
    """
    n, m = graph.pointers.size - 1, graph.first.size
    apart = 0.0
    for cell in range(graph.heads.size):
        tail, head = graph.tails[cell], n + graph.heads[cell]
        rise = tree.level[head] - tree.level[tail]
        if rise > 0:
            reduced = graph.cost[cell] - tree.potential[tail] + tree.potential[head]
            apart = max(apart, np.ceil(-reduced / rise) if whole else -reduced / rise)
    missing = tree.spare.sum() > 0
    for i in range(n):
        u[i] = tree.potential[i] + apart * tree.level[i]
        blocked[i] = missing and tree.level[i] > 0
    for j in range(m):
        v[j] = -tree.potential[n + j] - apart * tree.level[n + j]
        blocked_cols[j] = missing and tree.level[n + j] > 0
