"""Shortest augmenting paths on all cells of small assignment problems, many in one call; compiled.

Rows are not more than columns, and all of them are matched. Potentials v of columns are kept feasible and matched cells
tight: that of a row is C_ij - v_j where it is matched. Columns nobody holds keep the v = 0 they begin with, unless all
of them get a row. First every row that finds its cheapest column free takes it; then the others outbid each other, as
far as a cell is cheaper than the second; and for those left, paths of least reduced cost are searched over whole rows,
whose passes are what vectors of the processor are for.

Source: Jonker, Volgenant, *A shortest augmenting path algorithm for dense and sparse linear assignment problems*, 1987;
Crouse, *On implementing 2D rectangular assignment algorithms*, 2016.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from ..protocol import Array, AssignmentResult, AssignmentRules
from .dense_simplex import LARGEST_TERM, SERIAL_CELLS
from .flags import INSIDE, OUTSIDE
from .row_minima import cheapest, relax
from .threads import available, split

compiled = njit(**OUTSIDE)
called = njit(**INSIDE)
inner = njit(inline="always", **INSIDE)

BIDS = 2  # times the number of rows: bids after which paths are quicker, in all; measured
CELLS_LOOKED_AT = 8  # cells a row that say what costs hardly differ from


class Scratch(NamedTuple):
    """What a problem needs besides its results, and a search.

    Of a problem: the row that holds a column, -1 for none, and `held`, then 0, else infinite; rows that wait for one.
    Of a search: distances of columns and the rows ahead of them; columns in the order in which they were reached, with
    their distances and their potentials, which are -inf meanwhile.
    """

    holder: Array
    waiting: Array
    order: Array
    held: Array
    distance: Array
    ahead: Array
    reached: Array
    before: Array


@called
def _look(cost, alike, facts):
    """The lowest cost; 1 if most are so close to it that digits of differences are at stake, else 0.

    -1 for what is left alone: nan, -inf, and numbers that have no sum with others.
    """
    n = cost.shape[0]
    m = cost.shape[1]
    lowest = np.inf
    wrong = 0
    for i in range(n):
        for j in range(m):
            c = cost[i, j]
            wrong += not (abs(c) <= LARGEST_TERM or c == np.inf)
            lowest = c if c < lowest else lowest
    facts[0] = lowest
    if wrong or lowest == 0.0:
        return -wrong
    bound = lowest + abs(lowest) / alike
    near = 0
    for i in range(n):
        for j in range(m):
            near += cost[i, j] < bound
    return int(2 * near >= n * min(m, CELLS_LOOKED_AT))


@inner
def _start(cost, v, match, at):
    """Every row takes its cheapest column, if that is free; the number of those that wait."""
    n = cost.shape[0]
    m = cost.shape[1]
    for j in range(m):
        v[j] = 0.0 if n < m else np.inf
        at.holder[j] = -1
        at.held[j] = 0.0
    if n == m:
        for i in range(n):
            for j in range(m):
                v[j] = cost[i, j] if cost[i, j] < v[j] else v[j]
        for j in range(m):
            v[j] = v[j] if v[j] < np.inf else 0.0
    count = 0
    for i in range(n):
        least, place = cheapest(cost[i], v, at.held)
        j = int(place)
        match[i] = -1
        if least < np.inf and at.holder[j] < 0:
            match[i] = j
            at.holder[j] = i
            at.held[j] = np.inf
        else:
            at.waiting[count] = i
            count += 1
    return count


@inner
def _bid(cost, v, match, at, count):
    """Waiting rows take their cheapest column from its holder, for as much as the next one costs more."""
    left = 0
    k = 0
    bids = BIDS * cost.shape[0]
    while k < count:
        i = at.waiting[k]
        k += 1
        bids -= 1
        taken = False
        if bids > 0:
            least, place = cheapest(cost[i], v, at.held)
            j = int(place)
            before = v[j]
            v[j] = -np.inf
            second, _ = cheapest(cost[i], v, at.held)
            v[j] = before
            old = at.holder[j]
            taken = second < np.inf and (old < 0 or second > least)
            if taken:
                v[j] = cost[i, j] - second if second > least else before
                at.holder[j] = i
                at.held[j] = np.inf
                match[i] = j
                if old >= 0:
                    match[old] = -1
                    k -= 1
                    at.waiting[k] = old
        if not taken:
            at.waiting[left] = i
            left += 1
    return left


@inner
def _search(cost, v, match, at, first):
    """One more row matched, by the shortest path to a free column; the rows read for it, 0 if there is no such path."""
    for j in range(v.size):
        at.distance[j] = np.inf
    count = 0
    i = first
    h = 0.0
    while True:
        least, place = relax(cost[i], v, at.held, at.distance, at.ahead, h, float(i))
        j = int(place)
        i = at.holder[j] if least < np.inf else -1
        if i < 0:
            break
        at.order[count] = j
        at.reached[count] = least
        at.before[count] = v[j]
        count += 1
        h = least - (cost[i, j] - v[j])
        at.distance[j] = np.inf
        v[j] = -np.inf
    for k in range(count):
        v[at.order[k]] = at.before[k] - max(least - at.reached[k], 0.0) if least < np.inf else at.before[k]
    if least == np.inf:
        return 0
    at.held[j] = np.inf
    while i != first:
        i = int(at.ahead[j])
        at.holder[j] = i
        other = match[i]
        match[i] = j
        j = other
    return count + 1


@inner
def _solve(cost, rules, v, match, at):
    """True if all rows are matched, with no more effort than the rules allow."""
    count = _bid(cost, v, match, at, _start(cost, v, match, at))
    if count > rules.waiting:
        return False
    left = rules.read
    for k in range(count):
        read = _search(cost, v, match, at, at.waiting[k])
        left -= read
        if read == 0 or left < 0:
            return False
    return True


@inner
def _prove(cost, u, v, match, at, facts):
    """Feasible potentials; how much more than these matched cells cost, the sum and the largest of their sizes."""
    for k in range(1, 4):
        facts[k] = 0.0
    if cost.shape[0] < cost.shape[1]:
        for j in range(v.size):
            v[j] = min(v[j], 0.0)
    for i in range(u.size):
        u[i], _ = cheapest(cost[i], v, at.held)
        c = cost[i, match[i]]
        facts[1] += (c - v[match[i]]) - u[i]
        facts[2] += abs(c)
        facts[3] = max(facts[3], abs(c))


@compiled
def _solve_each(costs, rules, found, whole, vectors, shifted, copy, begin, end):
    """`copy` is `shifted` once more, read-only as costs are: a cost without an offset."""
    n = costs.shape[1]
    m = costs.shape[2]
    holder, waiting, order = whole[0], whole[1], whole[2]
    held, distance, ahead, reached, before = vectors[0], vectors[1], vectors[2], vectors[3], vectors[4]
    at = Scratch(holder, waiting, order, held, distance, ahead, reached, before)
    for k in range(begin, end):
        found.solved[k] = False
        close = _look(costs[k], rules.alike, found.facts[k])
        if close < 0:
            continue
        offset = found.facts[k, 0] if close else 0.0
        cost = copy if close else costs[k]
        if close:
            for i in range(n):
                for j in range(m):
                    shifted[i, j] = costs[k, i, j] - offset
        if _solve(cost, rules, found.v[k], found.matches[k], at):
            _prove(cost, found.u[k], found.v[k], found.matches[k], at, found.facts[k])
            for i in range(n):
                found.u[k, i] += offset
            found.solved[k] = True


def solve(costs: Array, rules: AssignmentRules, found: AssignmentResult, begin: int, end: int) -> None:
    n, m = costs.shape[1:]

    def run(thread: int, threads: int) -> None:
        whole, vectors, shifted = np.empty((3, m), np.int64), np.empty((5, m)), np.empty((n, m))
        some = begin + thread * (end - begin) // threads, begin + (thread + 1) * (end - begin) // threads
        _solve_each(frozen, rules, found, whole, vectors, shifted, _frozen(shifted), *some)

    frozen, cells = _frozen(costs), (end - begin) * n * m
    if end - begin == 1 or cells < SERIAL_CELLS:
        run(0, 1)
        return
    threads = max(1, min(available(), end - begin))
    split(lambda thread: run(thread, threads), threads)


def _frozen(array: Array) -> Array:
    """A read-only view: one mutability, or kernels would be compiled twice."""
    view = array.view()
    view.flags.writeable = False
    return view
