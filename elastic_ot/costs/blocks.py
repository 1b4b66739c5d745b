"""A user's cost with what is known of it: checked blocks, its range, less a constant, transposed; its negative."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..backends import load
from .base import LARGEST_PLAN, STRIP, Cost, KnownCost
from .tiled_plan import TiledPlan

ON_HOST = np.empty((0, 0))  # on the host


def checked_cost(cost: Cost) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Return shape and dtype of a user's cost; refuses what they cannot be, by the name of its class."""
    cost._refuse_call()
    name = type(cost).__name__
    shape: Any = getattr(cost, "shape", None)
    dtype: Any = getattr(cost, "dtype", None)
    whole = isinstance(shape, tuple) and all(isinstance(x, int | np.integer) and not isinstance(x, bool) for x in shape)
    if not whole or len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"{name}.shape is {shape!r}; it must be (n, m), both >= 1")
    found: np.dtype[Any] = np.dtype(object)
    with contextlib.suppress(TypeError):
        found = np.dtype(dtype)
    if dtype is None or found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{name}.dtype is {dtype!r}; it must be float32 or float64")
    return (int(shape[0]), int(shape[1])), found


def block_name(cost: Cost, rows: slice, cols: slice) -> str:
    """Return how messages call a block."""
    return f"{type(cost).__name__}.block(rows {rows.start}:{rows.stop}, columns {cols.start}:{cols.stop})"


def checked_block(cost: Cost, shape: tuple[int, int], dtype: np.dtype[Any], rows: slice, cols: slice) -> NDArray[Any]:
    """Return a block of a user's cost in C order; refuses a wrong shape or dtype, and says which block raised."""
    try:
        found = cost.block(rows, cols)
    except Exception as error:
        raise ValueError(f"{block_name(cost, rows, cols)} raised {type(error).__name__}: {error}") from error
    if not isinstance(found, np.ndarray):
        raise TypeError(f"{block_name(cost, rows, cols)} returned a {type(found).__name__}; it must be a NumPy array")
    if found.shape != shape:
        raise ValueError(f"{block_name(cost, rows, cols)} returned shape {found.shape}; it must be {shape}")
    if found.dtype != dtype:
        raise TypeError(
            f"{block_name(cost, rows, cols)} returned dtype {found.dtype}; it must be {dtype}, as dtype says"
        )
    return np.ascontiguousarray(found)


def checked_entries(cost: Cost, i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[Any]:
    """Return single entries of a user's cost, in its dtype; refuses a wrong number of them, and says what raised."""
    name, size = f"{type(cost).__name__}.at({i.size} pairs)", i.shape
    try:
        found = np.asarray(cost.at(i, j), cost.dtype)
    except Exception as error:
        if isinstance(error.__cause__, Exception):  # the block that it reads was refused, and says so
            raise
        raise ValueError(f"{name} raised {type(error).__name__}: {error}") from error
    if found.shape != size:
        raise ValueError(f"{name} returned shape {found.shape}; it must be {size}")
    return found


@dataclass(frozen=True, eq=False)
class BlockCost(KnownCost):
    """A cost by blocks: C - offset, transposed or not, of a user's C.

    Attributes
    ----------
    user : Cost
    shape, dtype, lowest, highest, row_reach, col_reach
        Of what this cost is, not of the user's.
    offset : float
    swapped : bool
    """

    user: Cost
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    lowest: float = -np.inf
    highest: float = np.inf
    row_reach: NDArray[np.bool_] | None = None
    col_reach: NDArray[np.bool_] | None = None
    offset: float = 0.0
    swapped: bool = False
    stored: ClassVar[bool] = False

    @property
    def memory(self) -> Any:
        return ON_HOST

    def block(self, rows: slice, cols: slice) -> NDArray[Any]:
        size = rows.stop - rows.start, cols.stop - cols.start
        given = self._user_dtype
        if self.swapped:
            found = np.ascontiguousarray(checked_block(self.user, size[::-1], given, cols, rows).T)
        else:
            found = checked_block(self.user, size, given, rows, cols)
        return self._own(found)

    def at(self, i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[Any]:
        pair = (j, i) if self.swapped else (i, j)
        shape = np.broadcast_shapes(i.shape, j.shape)
        flat = [np.broadcast_to(x, shape).reshape(-1).astype(np.int64) for x in pair]
        found = checked_entries(self.user, *flat) if flat[0].size else np.empty(0, self._user_dtype)
        return self._own(found.reshape(shape))

    @property
    def _user_dtype(self) -> np.dtype[Any]:
        found: np.dtype[Any] = np.dtype(self.user.dtype)
        return found

    def _own(self, found: NDArray[Any]) -> NDArray[Any]:
        """What this cost makes of the user's entries; never in place, because they may be the user's memory."""
        if self.offset:
            found = np.subtract(found, self.offset, dtype=self.dtype)
        return found

    def plan(self, inv_epsilon: float, rows: Any = None, cols: Any = None) -> TiledPlan:
        return TiledPlan(self, inv_epsilon, load(), rows, cols)

    def empty(self, dtype: Any) -> NDArray[Any]:
        if self.entries > LARGEST_PLAN:
            n, m = self.shape
            raise ValueError(
                f"a matrix of {n} x {m} = {self.entries} entries is more than the {LARGEST_PLAN} that are made of a "
                f"cost which is not stored; use apply, sparse_plan or sample, or pass the cost as an array"
            )
        return np.empty(self.shape, dtype)

    def as_matrix(self) -> NDArray[Any]:
        out = self.empty(self.dtype)
        for rows, block in self.strips():
            out[rows] = block
        return out

    def transpose(self) -> BlockCost:
        reach = {"row_reach": self.col_reach, "col_reach": self.row_reach}
        return replace(self, shape=self.shape[::-1], swapped=not self.swapped, **reach)  # type: ignore[arg-type]

    def shifted(self, offset: float, dtype: Any = None) -> BlockCost:
        bounds = {"lowest": self.lowest - offset, "highest": self.highest - offset}
        return replace(self, offset=self.offset + offset, dtype=np.dtype(dtype or self.dtype), **bounds)  # type: ignore[arg-type]

    def rows(self, which: NDArray[np.int64]) -> NDArray[Any]:
        every = slice(0, self.shape[1])
        return np.concatenate([self.block(slice(i, i + 1), every) for i in which.tolist()])

    def columns(self, which: NDArray[np.int64]) -> NDArray[Any]:
        return self.transpose().rows(which)

    def strips(self, entries: int = STRIP) -> Iterator[tuple[slice, NDArray[Any]]]:
        n, m = self.shape
        step = max(1, min(entries, STRIP) // m)
        for first in range(0, n, step):
            rows = slice(first, min(first + step, n))
            yield rows, self.block(rows, slice(0, m))

    def allowed_sums(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([np.isfinite(block) @ v for _, block in self.strips()])

    def allowed_sums_of_columns(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(sum(u[rows] @ np.isfinite(block) for rows, block in self.strips()))


class Negative(Cost):
    """-C of a user's cost, to be maximised; -inf forbids a pair there."""

    def __init__(self, cost: Cost) -> None:
        self.cost = cost
        self.shape, self.dtype = checked_cost(cost)

    def block(self, rows: slice, cols: slice) -> NDArray[Any]:
        size = rows.stop - rows.start, cols.stop - cols.start
        return -checked_block(self.cost, size, np.dtype(self.dtype), rows, cols)

    def at(self, i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[Any]:
        return -checked_entries(self.cost, i, j)


class Bordered(Cost):
    """A cost less a constant with one row and one column more, of zeros but for the corner."""

    def __init__(self, cost: KnownCost, constant: float, corner: float) -> None:
        n, m = cost.shape
        self.cost, self.constant, self.corner = cost, constant, corner
        self.shape, self.dtype = (n + 1, m + 1), np.dtype(np.float64)

    def block(self, rows: slice, cols: slice) -> NDArray[Any]:
        n, m = self.cost.shape
        out = np.zeros((rows.stop - rows.start, cols.stop - cols.start))
        inner = slice(rows.start, min(rows.stop, n)), slice(cols.start, min(cols.stop, m))
        height, width = (x.stop - x.start for x in inner)
        if height > 0 and width > 0:
            out[:height, :width] = self.cost.block(*inner).astype(np.float64) - self.constant
        if rows.stop > n and cols.stop > m:
            out[-1, -1] = self.corner
        return out

    def at(self, i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[Any]:
        n, m = self.cost.shape
        inside = (i < n) & (j < m)
        out = np.where((i == n) & (j == m), self.corner, 0.0)
        out[inside] = self.cost.at(i[inside], j[inside]).astype(np.float64) - self.constant
        return out
