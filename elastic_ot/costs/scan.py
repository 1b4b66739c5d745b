"""The first look at a cost: its range and masked entries; refuses entries that are no costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import first_true, library_of, on_host, row_chunks
from ..arrays.half import forbidden, widened
from ..arrays.ingest import ingest_mask
from .base import STRIP, Cost, KnownCost, is_cost
from .blocks import BlockCost, block_name, checked_block, checked_cost
from .dense import SCAN_ENTRIES, DenseCost

Mask = NDArray[np.bool_]
KEPT_ENTRIES = STRIP  # entries of a user's cost up to which it is computed once and kept as a matrix
NOT_A_NUMBER, UNBOUNDED = "costs must be numbers (+inf forbids a cell)", "costs must be > -inf"


def known_cost(
    given: NDArray[np.floating] | Cost, mask: Any, row_on: Mask, col_on: Mask, entries: int | None = None
) -> KnownCost:
    """Return a matrix or a user's cost with its facts; `row_on` and `col_on` say which rows and columns have weight.

    `entries` is how many there are, if some lie elsewhere.
    """
    if is_cost(given):
        refuse_mask(given, mask)
        return scan_cost(given, row_on, col_on, entries)
    matrix: Any = given
    if mask is not None:
        allowed = ingest_mask(mask, matrix)
        if not allowed.all():
            scan_matrix(matrix, row_on, col_on)  # nan is refused under the mask, too
            matrix = library_of(matrix).where(allowed, matrix, forbidden(matrix))  # the one copy a mask costs
    return scan_matrix(matrix, row_on, col_on)


def refuse_mask(cost: Cost, mask: Any) -> None:
    """Refuse a mask beside a cost that is no matrix."""
    if mask is not None:
        raise ValueError(f"mask is for a cost matrix; {cost._mask_advice.format(name=type(cost).__name__)}")


def scan_matrix(matrix: NDArray[np.floating], row_on: NDArray[np.bool_], col_on: NDArray[np.bool_]) -> DenseCost:
    """Range and forbidden cells, looking at a chunk of the matrix at a time, in the order it is stored."""
    if not matrix.flags.c_contiguous:
        return _scan_rows(matrix.T, col_on, row_on, transposed=True).transpose()
    return _scan_rows(matrix, row_on, col_on, transposed=False)


def _scan_rows(
    matrix: NDArray[np.floating], row_on: NDArray[np.bool_], col_on: NDArray[np.bool_], transposed: bool
) -> DenseCost:
    strips = ((rows, widened(matrix[rows])) for rows in row_chunks(matrix, SCAN_ENTRIES))
    return DenseCost(
        matrix, *_facts(strips, row_on, col_on, lambda rows, block: _refuse_entries(block, rows, transposed))
    )


def _facts(
    strips: Iterator[tuple[slice, Any]], row_on: Mask, col_on: Mask, refuse: Callable[[slice, Any], None]
) -> tuple[float, float, Mask | None, Mask | None]:
    """Return range and reach; `refuse` raises for a strip with entries that are no costs."""
    lowest, highest, masked = np.inf, -np.inf, False
    row_reach, col_reach = np.zeros(row_on.size, bool), np.zeros(col_on.size, bool)
    for rows, block in strips:
        on = row_on[rows]
        low, high = float(block.min()), float(block.max())  # nan passes through both
        if math.isfinite(low) and math.isfinite(high):
            row_reach[rows] = True
            col_reach |= on.any()
        else:
            refuse(rows, block)
            masked, xp = True, library_of(block)
            allowed = xp.isfinite(block)
            row_reach[rows] = on_host((allowed & xp.asarray(col_on)).any(axis=1))
            col_reach |= on_host((allowed & xp.asarray(on)[:, None]).any(axis=0))
            low = float(xp.where(allowed, block, np.inf).min())
            high = float(xp.where(allowed, block, -np.inf).max())
        lowest, highest = min(lowest, low), max(highest, high)
    return (lowest, highest, row_reach, col_reach) if masked else (lowest, highest, None, None)


def _wrong_entry(block: Any) -> tuple[int, int, str] | None:
    """Where a block first has an entry that is no cost, and what costs must be."""
    for wrong, advice in ((library_of(block).isnan(block), NOT_A_NUMBER), (block == -np.inf, UNBOUNDED)):
        if wrong.any():
            i, j = first_true(wrong)
            return i, j, advice
    return None


def _refuse_entries(block: Any, rows: slice, transposed: bool) -> None:
    found = _wrong_entry(block)
    if found:
        i, j, advice = found
        index = (j, rows.start + i) if transposed else (rows.start + i, j)
        raise ValueError(f"cost[{index[0]}, {index[1]}] is {block[i, j]}; {advice}")


def scan_cost(cost: Cost, row_on: Mask, col_on: Mask, entries: int | None = None) -> KnownCost:
    """Return a user's cost with its facts; few entries are computed once and kept.

    One pass over all blocks, each of which is checked: shape, dtype, and entries that are no costs. No pass over those
    of a cost that knows its facts.
    """
    shape, dtype = checked_cost(cost)
    if (math.prod(shape) if entries is None else entries) <= KEPT_ENTRIES:
        whole = slice(0, shape[0]), slice(0, shape[1])
        block = checked_block(cost, shape, dtype, *whole)
        _refuse_block(cost, block, whole[0])
        return replace(scan_matrix(block, row_on, col_on), user=cost)
    known = cost._known()
    if known is not None:
        return known
    strips = BlockCost(cost, shape, dtype).strips()
    facts = _facts(strips, row_on, col_on, lambda rows, block: _refuse_block(cost, block, rows))
    return BlockCost(cost, shape, dtype, *facts)


def _refuse_block(cost: Cost, block: NDArray[Any], rows: slice) -> None:
    found = _wrong_entry(block)
    if found:
        i, j, advice = found
        name = block_name(cost, rows, slice(0, block.shape[1]))
        raise ValueError(f"{name} returned {block[i, j]} for cost[{rows.start + i}, {j}]; {advice}")
