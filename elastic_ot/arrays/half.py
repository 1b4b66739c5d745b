"""Costs of 16 bits, on a device only: they stay as they came, and are computed with in float32, a chunk at a time.

float16 is a dtype of NumPy and CuPy. bfloat16 is none of theirs; it is the upper half of a float32, and a cost in it is
held as these bits, in uint16, which no other cost is: integers become float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .devices import chunk_of, library_of, row_chunks

BRAIN = np.dtype(np.uint16)  # the bits of bfloat16
INFINITY = 0x7F80  # as such bits; nan has a larger number there
UNSIGNED = 0x7FFF
HALF_CHUNK = 1 << 16  # entries looked at together on the host


def is_half(matrix: Any) -> bool:
    """True for costs of 16 bits; the standard's dtypes know no size, those of NumPy and CuPy do."""
    return getattr(matrix.dtype, "itemsize", None) == 2


def working_dtype(matrix: Any) -> np.dtype[Any]:
    """What a cost is computed with, and what plans and derivatives of its shape are made in."""
    return np.dtype(np.float32 if is_half(matrix) else matrix.dtype)


def largest_number(matrix: Any) -> float:
    """What a plan made of this cost can hold."""
    return float(np.finfo(working_dtype(matrix)).max)


def is_single(matrix: Any) -> bool:
    """True for costs that float64 is not needed for: float32 and all of 16 bits."""
    return bool(working_dtype(matrix) == np.float32)


def widened(values: Any) -> NDArray[np.floating]:
    """A chunk of a cost in float32, copied, if it is of 16 bits; else itself."""
    if not is_half(values):
        return values  # type: ignore[no-any-return]
    if values.dtype != BRAIN:
        return values.astype(np.float32)  # type: ignore[no-any-return]
    bits = values.astype(np.uint32)
    bits <<= 16
    return bits.view(np.float32)  # type: ignore[no-any-return]


def in_double(matrix: Any) -> NDArray[np.float64]:
    """The whole of a cost, some rows at a time, so that it is in float32 nowhere; itself if it is in float64."""
    if matrix.dtype != BRAIN:
        return matrix.astype(np.float64, copy=False)  # type: ignore[no-any-return]
    out: NDArray[np.float64] = library_of(matrix).empty(matrix.shape, np.float64)
    for rows in row_chunks(matrix, HALF_CHUNK):
        out[rows] = widened(matrix[rows])
    return out


def finite(matrix: Any) -> NDArray[np.bool_]:
    """Where costs are finite."""
    if matrix.dtype == BRAIN:
        return (matrix & INFINITY) != INFINITY  # type: ignore[no-any-return]
    return library_of(matrix).isfinite(matrix)  # type: ignore[no-any-return]


def not_numbers(matrix: Any) -> NDArray[np.bool_]:
    """Where costs are nan."""
    if matrix.dtype == BRAIN:
        return (matrix & UNSIGNED) > INFINITY  # type: ignore[no-any-return]
    return library_of(matrix).isnan(matrix)  # type: ignore[no-any-return]


def forbidden(matrix: Any) -> Any:
    """The number +inf as an entry of the matrix."""
    return matrix.dtype.type(INFINITY if matrix.dtype == BRAIN else np.inf)


def extent(stack: Any) -> tuple[float, float]:
    """The least and the largest entry of an array in C order; nan where one of them is."""
    if not is_half(stack):
        return float(stack.min()), float(stack.max())
    entries, step = stack.reshape(-1), chunk_of(stack, HALF_CHUNK)
    parts = (widened(entries[i : i + step]) for i in range(0, entries.size, step))
    low, high = zip(*((float(part.min()), float(part.max())) for part in parts), strict=True)
    return float(np.min(low)), float(np.max(high))
