"""Matrices brought to given row and column sums, to the last digits.

A plan is rounded by marginals that a pass over the cost gives. Another pass rounds the arguments of its exponentials in
another way, and single precision the exponentials, too. So a plan that is handed out is finished here, by the sums of
its own entries. Those of n numbers >= 0 added in blocks of sqrt(n) are right to 2 sqrt(n) units in the last place.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import library_of, lies_on_host, on_host, row_chunks
from ..costs.dense import SCAN_ENTRIES
from ..problems.penalty import Vector

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def ratio(target: Vector, r: Vector) -> Vector:
    """The factor from r to the target, 1 where r is too small to be scaled up."""
    return np.divide(target, r, out=np.ones_like(r), where=r > 1e-250 * target)


def scale(plan: Any, target: Vector, axis: int, most: float = np.inf) -> None:
    """Multiply every row (axis 1) or column (axis 0) by what brings it to its target, at most by `most`."""
    factor = library_of(plan).asarray(np.minimum(ratio(target, sums(plan, axis)), most))
    plan *= factor[:, None] if axis == 1 else factor


def complete(plan: Any, target_r: Vector, target_c: Vector) -> None:
    """Scale down what exceeds its target and add what is missing (Altschuler, Weed, Rigollet 2017).

    Rows and columns lack the same but for rounding: a few units in the last place of the mass, which are many of a
    light column. So the side that lacks less is asked for more, by the same share of every target.
    """
    scale(plan, target_r, 1, most=1.0)
    scale(plan, target_c, 0, most=1.0)
    row_rest = np.maximum(target_r - sums(plan, 1), 0.0)
    col_rest = np.maximum(target_c - sums(plan, 0), 0.0)
    excess = float(row_rest.sum() - col_rest.sum())
    if excess > 0:
        col_rest += target_c * (excess / target_c.sum())
    elif excess < 0:
        row_rest -= target_r * (excess / target_r.sum())
    if row_rest.sum() > 0 and col_rest.sum() > 0:
        add_product(plan, row_rest, col_rest / col_rest.sum())


def add_product(plan: Any, row_rest: Vector, col_rest: Vector) -> None:
    """Plan + row_rest col_rest^T, without a second matrix."""
    asarray = library_of(plan).asarray
    r, c = asarray(row_rest), asarray(col_rest)
    for rows in row_chunks(plan, SCAN_ENTRIES):
        plan[rows] += r[rows, None] * c


def settle(plan: Any, target_r: Vector, target_c: Vector) -> None:
    """Where cells are forbidden: scale, and move what is then lacking along a forest of the largest entries.

    From the leaves on, each row or column gets what it lacks in one cell, at the cost of its neighbour there. That cell
    may lose all it has, and gain no more than a target. Weights of the rows and columns of a tree differ by rounding;
    its columns take that, in proportion.
    """
    from scipy.sparse.csgraph import connected_components  # here, because few plans need it

    scale(plan, target_r, 1)
    scale(plan, target_c, 0)
    host = on_host(plan)
    n, forest, target = target_r.size, _forest(host), np.concatenate([target_r, target_c])
    trees, tree = connected_components(forest, directed=False)
    lacking = np.concatenate([target_r - sums(host, 1), sums(host, 0) - target_c])  # columns with the other sign
    carried = np.bincount(tree[n:], target_c, trees)
    share = np.divide(np.bincount(tree, lacking, trees), carried, out=np.zeros(trees), where=carried > 0)
    lacking[n:] = target_c * share[tree[n:]] - lacking[n:]
    for node, parent in _leaves_first(forest, target, trees, tree):
        cell = (node, parent - n) if node < n else (parent, node - n)
        before = host[cell]
        host[cell] = min(max(before + lacking[node], 0.0), target[node], target[parent])
        lacking[parent] -= host[cell] - before
    if host is not plan:
        plan[...] = library_of(plan).asarray(host)


def _forest(plan: NDArray[np.float64]) -> csr_array:
    """Rows and, numbered on, columns, joined by the largest entries that close no circle (Boruvka).

    In every round each row and each column names its largest entry outside of the tree that it is in.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

    n, m = plan.shape
    rows, cols, tree = np.arange(n), np.arange(m), np.arange(n + m)
    cells = np.zeros((2, 0), np.int64)
    while True:
        in_row, in_col, most = np.zeros(n, np.int64), np.zeros(m, np.int64), np.zeros(m)
        for chunk in row_chunks(plan, SCAN_ENTRIES):
            outside = np.where(tree[chunk, None] == tree[n:], 0.0, plan[chunk])
            in_row[chunk], first = outside.argmax(axis=1), outside.argmax(axis=0)
            larger = outside[first, cols] > most
            in_col[larger], most[larger] = chunk.start + first[larger], outside[first, cols][larger]
        named = np.hstack([[rows, in_row], [in_col, cols]])
        named = named[:, (plan[named[0], named[1]] > 0) & (tree[named[0]] != tree[n + named[1]])]
        cells = np.unique(np.hstack([cells, named]), axis=1)
        entries = np.log(plan[cells[0], cells[1]])
        length = 1.0 + entries.max(initial=-np.inf) - entries
        ends = cells[0].astype(np.int32), (n + cells[1]).astype(np.int32)  # SciPy 1.13 reads no others
        graph = csr_array((length, ends), shape=(n + m, n + m))
        if named.size == 0:
            return minimum_spanning_tree(graph)
        tree = connected_components(graph, directed=False)[1]


def _leaves_first(forest: csr_array, target: Vector, trees: int, tree: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Every node but the roots with its parent, no parent before its children; the heaviest node is the root."""
    from scipy.sparse import coo_array, csr_array
    from scipy.sparse.csgraph import breadth_first_order

    size = target.size
    roots = np.lexsort((target, tree))[np.cumsum(np.bincount(tree, minlength=trees)) - 1]
    links: Any = coo_array(forest)
    starts, ends = np.append(links.row, np.full(trees, size)), np.append(links.col, roots)
    rooted = csr_array((np.ones(starts.size), (starts, ends)), shape=(size + 1, size + 1))
    order, parents = breadth_first_order(rooted, size, directed=False)
    children = order[:trees:-1]
    return list(zip(children.tolist(), parents[children].tolist(), strict=True))


def sums(plan: Any, axis: int) -> Vector:
    """Return sums of rows (axis 1), which NumPy adds in pairs, or of columns (axis 0), added in blocks here."""
    if axis == 1 or not lies_on_host(plan):  # a device adds in a tree
        return on_host(plan.sum(axis=axis))
    n = plan.shape[0]
    step = isqrt(n)
    blocks = np.array([plan[i : i + step].sum(axis=0) for i in range(0, n, step)])
    return np.asarray(blocks.sum(axis=0))
