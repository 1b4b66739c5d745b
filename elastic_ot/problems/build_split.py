"""The problem of rows that are split over processes, validated: what one of them refuses is refused by all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import ingest_cost, ingest_vector
from ..costs.base import Cost, KnownCost, is_cost
from ..costs.blocks import checked_cost
from ..costs.scan import KEPT_ENTRIES, known_cost
from ..costs.split import ByColumns, SplitCost
from ..distributed.agreement import refuse_differences
from ..distributed.ranks import Together
from .build import check_epsilon, check_reference, check_sides, checked, refuse_total, weights_of
from .problem import Problem

NO_ROWS = np.empty((0, 0))


def build_split(
    cost: Any, a: Any, b: Any, epsilon: Any, rows: Any, cols: Any, reference: Any, mask: Any, ranks: Together
) -> Problem:
    """Return the problem of all rows as this process has it: its own ones, and facts of all.

    A cost of None, or without rows, is that of a process that has none.
    """
    given: Any = NO_ROWS
    own, weights_b = (0, 0), np.empty(0)
    with ranks.noting():
        epsilon = check_epsilon(epsilon)
        check_sides(rows, cols)
        check_reference(reference)
        given = _ingested(cost)
        own = checked_cost(given)[0] if is_cost(given) else given.shape
        weights_b = np.empty(0) if b is None else ingest_vector("b", b)
    ranks.check()
    refuse_differences(ranks, b=weights_b, epsilon=epsilon, rows=rows, cols=cols, reference=reference)
    count, first, m = _sizes(ranks, own, weights_b.size)
    weights_a, n = np.empty(0), own[0]
    with ranks.noting():
        weights_a = weights_of("a", a, n, "rows", count)
        weights_b = weights_of("b", b, m, "columns")
    refuse_total("a", ranks.sum(weights_a))
    refuse_total("b", float(weights_b.sum()))
    found: KnownCost | None = None
    with ranks.noting():
        if n:
            given = _by_rows(given, mask, count * m)
            found = known_cost(given, mask, weights_a > 0, weights_b > 0, count * m)
    ranks.check()
    known = _joined(found, ranks, (n, m), (count, first), weights_a > 0, weights_b > 0)
    problem = Problem(known, weights_a, weights_b, epsilon, rows.at(epsilon), cols.at(epsilon), reference)
    return checked(problem, (a, b))


def _ingested(cost: Any) -> NDArray[np.floating] | Cost:
    if cost is None or is_cost(cost):
        return NO_ROWS if cost is None else cost
    shape = getattr(cost, "shape", None)
    if shape is not None and len(shape) == 2 and shape[0] == 0:
        return np.empty(tuple(shape))
    return ingest_cost(cost)


def _sizes(ranks: Together, own: tuple[int, int], of_b: int) -> tuple[int, int, int]:
    """The rows of all processes and of lower ranks, and the columns, of which all must have the same number."""
    table = np.zeros((2, ranks.comm.size))
    table[:, ranks.rank] = own
    ranks.add(table.reshape(-1))
    widths = np.unique(table[1][table[1] > 0])
    count = int(table[0].sum())
    if count == 0:
        raise ValueError("cost has no rows on any process; at least one must have some")
    if widths.size > 1:
        first, other = (int(np.flatnonzero(table[1] == width)[0]) for width in widths[:2])
        raise ValueError(
            f"cost has {int(widths[0])} columns on rank {first} and {int(widths[1])} on rank {other}; each rank passes "
            f"some rows and all columns"
        )
    return count, int(table[0, : ranks.rank].sum()), int(widths[0]) if widths.size else of_b


def _by_rows(given: Any, mask: Any, entries: int) -> Any:
    """A matrix in C order, or one that is read by blocks: a copy only where it is small, or a mask costs one anyway."""
    if is_cost(given) or given.flags.c_contiguous:
        return given
    if mask is not None or entries <= KEPT_ENTRIES:
        return np.ascontiguousarray(given)
    return ByColumns(given)


def _joined(
    own: KnownCost | None,
    ranks: Together,
    shape: tuple[int, int],
    counts: tuple[int, int],
    row_on: NDArray[np.bool_],
    col_on: NDArray[np.bool_],
) -> SplitCost:
    """The cost of all processes."""
    size = 0 if own is None else np.dtype(own.dtype).itemsize
    facts = np.array(
        [
            shape[0],
            -np.inf if own is None else -own.lowest,
            -np.inf if own is None else own.highest,
            own is not None and own.masked,
            own is not None and not own.stored,
            size,
            -size if size else -np.inf,
        ]
    )
    ranks.raise_to_most(facts)
    largest, low, high, masked, computed, wide, narrow = facts.tolist()
    if wide != -narrow:
        raise ValueError(
            "cost is in single precision on some ranks and in double precision on others; convert it to one dtype"
        )
    row_reach = col_reach = None
    if masked:
        reached = np.zeros(shape[1])
        row_reach = np.full(shape[0], col_on.any())
        if own is not None and own.masked:
            row_reach, reached[:] = own.row_reach, own.col_reach
        else:
            reached[:] = row_on.any()
        ranks.add(reached)
        col_reach = reached > 0
    dtype = np.dtype(f"f{int(wide)}")
    stored = not computed
    return SplitCost(own, ranks, shape, dtype, *counts, int(largest), stored, -low, high, row_reach, col_reach)
