"""The network simplex method on all cells of small transport problems, many in one call; compiled.

Both sides are fixed and every cell is allowed. A basis is a spanning tree of rows and columns, hung on the last column.
Its flows are integers; each is that of a problem in which every other node sends one unit more, infinitely small, to
the root, so that no basis is degenerate and none comes back (Cunningham 1976). Only the start needs to know how many of
these units there are: later, of two cells without flow, the last one along the cycle leaves.

What does not fit, or is not proved, is left to those who can say why. Source: Ahuja, Magnanti, Orlin, *Network Flows*,
1993, chapter 11.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from ..protocol import Array, SimplexResult, SimplexRules
from .flags import INSIDE_ALLOCATING, OUTSIDE_ALLOCATING

compiled = njit(**OUTSIDE_ALLOCATING)
inner = njit(forceinline=True, **INSIDE_ALLOCATING)
finite = njit(fastmath={"nnan", "nsz"}, forceinline=True, **INSIDE_ALLOCATING)

PIVOTS_A_NODE, PIVOTS_MORE = 50, 1000  # pivots, the first times the number of nodes, after which rounding is to blame
DIGITS = 2.0**-52  # of potentials: what a difference from a cost may be off by
SERIAL_CELLS = 20_000  # cells of many problems, below which starting threads costs more than it brings
LARGEST_TERM, LARGEST_SUM = 1e290, 2.0**53  # up to which sums do not overflow, or are exact


class Tree(NamedTuple):
    """Nodes are rows, then columns; `flow` is that between a node and its parent.

    Every node is followed by those below it, `size` with itself: `after` and `before` are a circle, `last` ends them.
    """

    parent: Array
    flow: Array
    size: Array
    after: Array
    before: Array
    last: Array
    potential: Array


@finite
def _most(c, v):
    """max_j v_j - c_j."""
    best = -np.inf
    for j in range(c.size):
        d = v[j] - c[j]
        best = d if d > best else best
    return best


@inner
def _where(c, v, most):
    for j in range(c.size):
        if v[j] - c[j] == most:
            return j
    return -1


@finite
def _top(x):
    """Where x is largest."""
    best = x[0]
    for i in range(1, x.size):
        best = x[i] if x[i] > best else best
    for i in range(x.size):
        if x[i] == best:
            return i
    return 0


@inner
def _look(cost, facts, alike):
    """The range of costs, and what they are: 1 if all are whole, and add up exactly, 0 if not, -1 for those left alone.

    These have no sum with others, or are so many alike, beside what they are, that digits of differences are at stake.
    """
    lowest = highest = cost[0, 0]
    whole, near = True, 0
    for i in range(cost.shape[0]):
        for j in range(cost.shape[1]):
            c = cost[i, j]
            if not abs(c) <= LARGEST_TERM:
                return -1
            lowest = c if c < lowest else lowest
            highest = c if c > highest else highest
        if whole:
            for j in range(cost.shape[1]):
                whole &= math.floor(cost[i, j]) == cost[i, j]
    facts[0] = lowest
    facts[1] = highest
    if whole:
        whole = abs(lowest) + (cost.shape[0] + cost.shape[1]) * (highest - lowest) <= LARGEST_SUM
    elif lowest != 0.0:
        bound = lowest + abs(lowest) / alike
        for i in range(cost.shape[0]):
            for j in range(cost.shape[1]):
                near += cost[i, j] < bound
        if 2 * near >= cost.shape[0] * min(cost.shape[1], 8):
            return -1
    return int(whole)


@inner
def _weigh(weights, n, dust, bits, masses):
    """Weights of both sides in a unit of mass, which is returned, as integers that agree; 0 where they do not."""
    total = 0.0
    total_rows = 0.0
    for x in range(weights.size):
        if not 0.0 < weights[x] <= LARGEST_TERM:
            return 0.0
        total += weights[x]
        if x < n:
            total_rows = total
    if not total <= LARGEST_TERM:
        return 0.0
    unit = math.ldexp(1.0, max(math.frexp(2.0 * min(total_rows, total - total_rows))[1] - bits, -1074))
    missing = 0
    heaviest = 0  # of the rows, then of the columns
    heaviest_row = 0
    for x in range(weights.size):
        mass = int(np.rint(weights[x] / unit))
        if mass == 0:
            return 0.0
        masses[x] = mass
        if x == n:
            heaviest_row = heaviest
            heaviest = n
        if mass > masses[heaviest]:
            heaviest = x
        missing += mass if x < n else -mass
    if abs(missing) > dust + weights.size:
        return 0.0
    if missing > 0:
        masses[heaviest] += missing
    else:
        masses[heaviest_row] -= missing
    return unit


@inner
def _allocate(cost, masses, cells, sent):
    """Cells of the basis to start from: of rows and columns with room that of least cost above what its column offers.

    Each uses up its row or its column and not both, so that the cells are a spanning tree in the end.
    """
    n = cost.shape[0]
    nodes = masses.size
    extra = np.empty(nodes, np.int64)
    room = np.empty(cost.shape[1])  # the cheapest cost of a column, -inf where there is no room
    most = np.empty(n)
    place = np.empty(n, np.int64)
    for x in range(nodes):
        extra[x] = 1 if x < n else -1
    extra[nodes - 1] = nodes - 1
    for j in range(room.size):
        room[j] = cost[0, j]
    for i in range(n):
        for j in range(room.size):
            room[j] = cost[i, j] if cost[i, j] < room[j] else room[j]
        most[i] = np.inf
    count = 0
    while count < nodes - 1:
        i = _top(most)
        if most[i] == np.inf or room[place[i]] == -np.inf:  # not known, or taken since
            most[i] = _most(cost[i], room)
            place[i] = _where(cost[i], room, most[i])
            if most[i] == -np.inf:
                return False
            continue
        y = n + place[i]
        by_row = masses[i] < masses[y] or (masses[i] == masses[y] and extra[i] <= extra[y])
        x = i if by_row else y
        cells[0, count] = i
        cells[1, count] = y
        sent[count] = masses[x]
        more = extra[x]
        masses[i] -= sent[count]
        masses[y] -= sent[count]
        extra[i] -= more
        extra[y] -= more
        if by_row:
            most[i] = -np.inf
        else:
            room[place[i]] = -np.inf
        count += 1
    return True


@inner
def _plant(n, cells, sent, parents, flow, potential):
    """The tree of the cells."""
    nodes = flow.size
    places = np.empty((7, nodes), np.int64)
    tree = Tree(parents, flow, places[0], places[1], places[2], places[3], potential)
    first = places[4]
    order = places[5]
    stack = places[6]
    other = np.empty(2 * nodes, np.int64)
    for x in range(nodes):
        tree.size[x] = 1
        first[x] = -1
    for k in range(nodes - 1):  # the cells of every node, as lists: two entries a cell
        for side in range(2):
            x = cells[side, k]
            other[2 * k + side] = first[x]
            first[x] = 2 * k + side
    root = nodes - 1
    parents[root] = -1
    potential[root] = 0.0
    flow[root] = 0
    stack[0] = root
    size = 1
    for count in range(nodes):
        size -= 1
        x = stack[size]
        order[count] = x
        entry = first[x]
        while entry >= 0:
            y = cells[1 - (entry & 1), entry >> 1]
            if y != parents[x]:
                parents[y] = x
                flow[y] = sent[entry >> 1]
                stack[size] = y
                size += 1
            entry = other[entry]
    for k in range(nodes - 1, 0, -1):
        tree.size[parents[order[k]]] += tree.size[order[k]]
    for k in range(nodes):
        _link(tree, order[k], order[k + 1 if k + 1 < nodes else 0])
        tree.last[order[k]] = order[k + tree.size[order[k]] - 1]
    return tree


@inner
def _refresh(cost, tree):
    """Potentials from the costs of the tree: the sums made in pivots have rounded."""
    n, root = cost.shape[0], tree.parent.size - 1
    x = tree.after[root]
    while x != root:
        parent = tree.parent[x]
        c = cost[x, parent - n] if x < n else cost[parent, x - n]
        tree.potential[x] = c - tree.potential[parent]
        x = tree.after[x]


@inner
def _link(tree, x, y):
    tree.after[x], tree.before[y] = y, x


@inner
def _hang(tree, top, leaving, parent, join, flow):
    """Cut off what is below `leaving` and hang it on `parent` by `top`, the path between the two turned round.

    Return its last node. Those on the path follow one another, each with what was below it alone.
    """
    total = tree.size[leaving]
    out = tree.parent[leaving]
    end = tree.last[leaving]
    before = tree.before[leaving]
    _link(tree, before, tree.after[end])
    x = out
    while x >= 0 and tree.last[x] == end:
        tree.last[x] = before
        x = tree.parent[x]
    # up the path: `close` is the last of what hangs already; `ahead`, `ends` and `beyond` are round the part below x
    x = top
    upper = parent
    size = total
    close = tree.last[top]
    ahead = tree.before[top]
    ends = close
    beyond = tree.after[close]
    while True:
        old_parent = tree.parent[x]
        old_flow = tree.flow[x]
        old_size = tree.size[x]
        tree.parent[x] = upper
        tree.flow[x] = flow
        tree.size[x] = size
        if x == leaving:
            break
        upper = x
        flow = old_flow
        size = total - old_size
        x = old_parent
        ahead_of_x = tree.before[x]
        _link(tree, close, x)
        if tree.last[x] == ends:
            close = ahead
        else:
            _link(tree, ahead, beyond)
            ends = tree.last[x]
            close = ends
            beyond = tree.after[ends]
        ahead = ahead_of_x
    x = leaving
    while x != parent:
        tree.last[x] = close
        x = tree.parent[x]
    _link(tree, close, tree.after[parent])
    _link(tree, parent, top)
    while x >= 0 and tree.last[x] == parent:
        tree.last[x] = close
        x = tree.parent[x]
    x = out
    while x != join:
        tree.size[x] -= total
        x = tree.parent[x]
    x = parent
    while x != join:
        tree.size[x] += total
        x = tree.parent[x]
    return close


@inner
def _pivot(n, tree, tail, head, reduced):
    """The cell from row `tail` to column `head` enters the tree."""
    # what the cycle takes: on it flow goes down to the tail, through the cell, and up from the head
    amount = 9223372036854775807
    leaving = -1
    join = tail
    y = head
    while join != y:
        if tree.size[join] <= tree.size[y]:
            if join < n and tree.flow[join] < amount:
                amount = tree.flow[join]
                leaving = join
            join = tree.parent[join]
        else:
            y = tree.parent[y]
    tail_leaves = True
    y = head
    while y != join:
        if y >= n and tree.flow[y] <= amount:
            amount = tree.flow[y]
            leaving = y
            tail_leaves = False
        y = tree.parent[y]
    if amount > 0:
        x = tail
        while x != join:
            tree.flow[x] += -amount if x < n else amount
            x = tree.parent[x]
        x = head
        while x != join:
            tree.flow[x] += amount if x < n else -amount
            x = tree.parent[x]
    top = tail if tail_leaves else head
    close = _hang(tree, top, leaving, head if tail_leaves else tail, join, amount)
    # the part moved is tight again where its rows fall and its columns rise, or the others do the opposite
    rise = reduced if tail_leaves else -reduced
    x = top
    stop = tree.after[close]
    if 2 * tree.size[top] > tree.parent.size:
        x = stop
        stop = top
        rise = -rise
    while x != stop:
        tree.potential[x] += rise if x < n else -rise
        x = tree.after[x]


@inner
def _optimise(cost, tree, slack, least):
    """Pivots until no cell costs less than its potentials by more than rounding; true if there is an end.

    The best cell enters of the first row that has one.
    """
    n = cost.shape[0]
    v = tree.potential[n:]
    row = 0
    pivots = 0
    looked = 0
    fresh = True
    while pivots < PIVOTS_A_NODE * tree.parent.size + PIVOTS_MORE:
        most = _most(cost[row], v)
        above = most + tree.potential[row]
        if above > least:
            j = _where(cost[row], v, most)
            if above > slack * (abs(tree.potential[row]) + abs(v[j])):
                _pivot(n, tree, np.int64(row), n + j, -above)  # the literal 0 would be a type of its own
                pivots += 1
                looked = -1
                fresh = False
        looked += 1
        row = row + 1 if row + 1 < n else 0
        if looked == n:
            if fresh:
                return True
            _refresh(cost, tree)
            fresh = True
            looked = 0
    return False


@inner
def _add(sums, x):
    """One more term of a sum, beside what rounding has lost of it."""
    new = sums[0] + x
    sums[1] += (sums[0] - new) + x if abs(sums[0]) >= abs(x) else (x - new) + sums[0]
    sums[0] = new


@inner
def _value(cost, tree, weights, unit, facts):
    """What plan and potentials cost, two facts each, and two that say what this proves. Potentials become feasible."""
    n = cost.shape[0]
    x = tree.potential
    for i in range(n):
        x[i] = min(x[i], -_most(cost[i], x[n:]))
    largest = 0.0
    for k in range(2, 8):
        facts[k] = 0.0
    for k in range(x.size - 1):
        mass = tree.flow[k] * unit
        if mass > 0.0:
            parent = tree.parent[k]
            c = cost[k, parent - n] if k < n else cost[parent, k - n]
            _add(facts[2:4], mass * c)
            facts[6] += mass * (abs(c - x[k] - x[parent]) + DIGITS * (abs(x[k]) + abs(x[parent])))
            facts[7] += mass * abs(c)
            largest = max(largest, abs(c))
    for k in range(x.size):
        _add(facts[4:6], x[k] * weights[k])
        facts[7] += 0.5e-3 * weights[k] * largest


@compiled
def _solve_each(costs, weights, rules, found, begin, end):
    n = costs.shape[1]
    nodes = n + costs.shape[2]
    masses = np.empty(nodes, np.int64)
    sent = np.empty(nodes, np.int64)
    cells = np.empty((2, nodes), np.int64)
    for k in range(begin, end):
        found.solved[k] = False
        cost = costs[k]
        whole = _look(cost, found.facts[k], rules.alike)
        if whole < 0:
            continue
        unit = _weigh(weights[k], n, rules.dust, rules.bits, masses)
        if unit == 0.0 or not _allocate(cost, masses, cells, sent):
            continue
        tree = _plant(n, cells, sent, found.parents[k], found.flows[k], found.potentials[k])
        _refresh(cost, tree)
        if _optimise(cost, tree, rules.whole if whole else rules.tight, 0.5 if whole else 0.0):
            _value(cost, tree, weights[k], unit, found.facts[k])
            found.units[k] = unit
            found.solved[k] = True


def solve(costs: Array, weights: Array, rules: SimplexRules, found: SimplexResult, begin: int, end: int) -> None:
    def run(thread: int, threads: int) -> None:
        some = thread * (end - begin) // threads, (thread + 1) * (end - begin) // threads
        _solve_each(frozen, weights, rules, found, begin + some[0], begin + some[1])

    frozen = costs.view()  # one mutability: another would be compiled anew
    frozen.flags.writeable = False
    cells = (end - begin) * costs.shape[1] * costs.shape[2]
    if end - begin == 1 or cells < SERIAL_CELLS:
        run(0, 1)
        return
    from .batch import _split

    _split(run, cells, end - begin)
