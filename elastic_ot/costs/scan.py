"""The first look at a cost: its range and masked entries; refuses entries that are no costs."""

from __future__ import annotations

import math
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


def known_cost(given: NDArray[np.floating] | Cost, mask: Any, row_on: Mask, col_on: Mask) -> KnownCost:
    """Return a matrix or a user's cost with its facts; `row_on` and `col_on` say which rows and columns have weight."""
    if is_cost(given):
        if mask is not None:
            raise ValueError(
                f"mask is for a cost matrix; let {type(given).__name__}.block return inf where an entry is forbidden"
            )
        return scan_cost(given, row_on, col_on)
    matrix: Any = given
    if mask is not None:
        allowed = ingest_mask(mask, matrix)
        if not allowed.all():
            scan_matrix(matrix, row_on, col_on)  # nan is refused under the mask, too
            matrix = library_of(matrix).where(allowed, matrix, forbidden(matrix))  # the one copy a mask costs
    return scan_matrix(matrix, row_on, col_on)


def scan_matrix(matrix: NDArray[np.floating], row_on: NDArray[np.bool_], col_on: NDArray[np.bool_]) -> DenseCost:
    """Range and forbidden cells, looking at a chunk of the matrix at a time, in the order it is stored."""
    if not matrix.flags.c_contiguous:
        return _scan_rows(matrix.T, col_on, row_on, transposed=True).transpose()
    return _scan_rows(matrix, row_on, col_on, transposed=False)


def _scan_rows(
    matrix: NDArray[np.floating], row_on: NDArray[np.bool_], col_on: NDArray[np.bool_], transposed: bool
) -> DenseCost:
    n, m = matrix.shape
    xp = library_of(matrix)
    lowest, highest, masked = np.inf, -np.inf, False
    row_reach, col_reach = np.zeros(n, bool), np.zeros(m, bool)
    for rows in row_chunks(matrix, SCAN_ENTRIES):
        block, on = widened(matrix[rows]), row_on[rows]
        low, high = float(block.min()), float(block.max())  # nan passes through both
        if math.isfinite(low) and math.isfinite(high):
            row_reach[rows] = True
            col_reach |= on.any()
        else:
            _refuse_entries(block, rows.start, transposed)
            masked = True
            allowed = xp.isfinite(block)
            row_reach[rows] = on_host((allowed & xp.asarray(col_on)).any(axis=1))
            col_reach |= on_host((allowed & xp.asarray(on)[:, None]).any(axis=0))
            low = float(xp.where(allowed, block, np.inf).min())
            high = float(xp.where(allowed, block, -np.inf).max())
        lowest, highest = min(lowest, low), max(highest, high)
    if not masked:
        return DenseCost(matrix, lowest, highest)
    return DenseCost(matrix, lowest, highest, row_reach, col_reach)


def _refuse_entries(block: NDArray[np.floating], first: int, transposed: bool) -> None:
    for wrong, advice in ((library_of(block).isnan(block), NOT_A_NUMBER), (block == -np.inf, UNBOUNDED)):
        if wrong.any():
            i, j = first_true(wrong)
            index = (j, first + i) if transposed else (first + i, j)
            raise ValueError(f"cost[{index[0]}, {index[1]}] is {block[i, j]}; {advice}")


def scan_cost(cost: Cost, row_on: Mask, col_on: Mask) -> KnownCost:
    """Return a user's cost with its facts; few entries are computed once and kept.

    One pass over all blocks, each of which is checked: shape, dtype, and entries that are no costs.
    """
    shape, dtype = checked_cost(cost)
    if math.prod(shape) <= KEPT_ENTRIES:
        whole = slice(0, shape[0]), slice(0, shape[1])
        block = checked_block(cost, shape, dtype, *whole)
        _refuse_block(cost, block, *whole)
        return scan_matrix(block, row_on, col_on)
    known = BlockCost(cost, shape, dtype)
    lowest, highest, masked = np.inf, -np.inf, False
    row_reach, col_reach = np.zeros(shape[0], bool), np.zeros(shape[1], bool)
    for rows, block in known.strips():
        _refuse_block(cost, block, rows, slice(0, shape[1]))
        allowed = block < np.inf
        masked = masked or not allowed.all()
        row_reach[rows] = (allowed & col_on).any(axis=1)
        col_reach |= (allowed & row_on[rows, None]).any(axis=0)
        lowest = min(lowest, float(block.min()))
        highest = max(highest, float(np.where(allowed, block, -np.inf).max()))
    reach = (row_reach, col_reach) if masked else (None, None)
    return BlockCost(cost, shape, dtype, lowest, highest, *reach)


def _refuse_block(cost: Cost, block: NDArray[Any], rows: slice, cols: slice) -> None:
    for is_bad, advice in ((np.isnan, NOT_A_NUMBER), (np.isneginf, UNBOUNDED)):
        wrong = is_bad(block)
        if wrong.any():
            i, j = first_true(wrong)
            raise ValueError(
                f"{block_name(cost, rows, cols)} returned {block[i, j]} for cost[{rows.start + i}, {cols.start + j}]; "
                f"{advice}"
            )
