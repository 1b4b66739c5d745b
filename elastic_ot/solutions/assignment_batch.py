"""Assignments of many costs of one size, with their proofs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from ..cached import cached_property
from ..problems.penalty import Vector
from ..results import Result
from ..solvers.exact.bellman import Pairing, batch_potentials
from ..solvers.objective import assignment_gaps
from ..solvers.status import Status
from .assignment import Assignment


class BatchAssignment(Result, Sequence[Assignment]):
    """Assignments of many costs (B, n, m); returned by `assign`.

    ``result[k]`` is the `Assignment` of one problem. Do not change the costs that were passed in before potentials have
    been read.

    Attributes
    ----------
    row_ind, col_ind : ndarray of int, shape (B, min(n, m))
        Row row_ind[k, l] of problem k is matched with its column col_ind[k, l].
    cost : ndarray, shape (B,)
        Sums of the matched costs.
    u, v : ndarray of float64, shapes (B, n) and (B, m)
        Potentials. Of large problems they are computed when one of them is first read.
    gap : ndarray of float64, shape (B,)
    status : Status
        `Status.OPTIMAL`.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> result = eot.assign(np.array([[[4, 1], [2, 0]], [[0, 3], [3, 1]]]))
    >>> result.col_ind.tolist(), result.cost.tolist(), result[1].cost
    ([[1, 0], [0, 1]], [3, 1], 1)
    """

    _as_array: ClassVar[str] = "col_ind"

    status = Status.OPTIMAL

    def __init__(
        self,
        costs: NDArray[np.generic],
        maximize: bool,
        masks: Sequence[NDArray[np.bool_] | None],
        row_ind: Pairing,
        col_ind: Pairing,
        potentials: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    ) -> None:
        """Not made by users."""
        self.row_ind, self.col_ind = row_ind, col_ind
        self._costs, self._maximize, self._masks = costs, maximize, masks
        if potentials is not None:
            self.__dict__["potentials"] = potentials

    def __len__(self) -> int:
        return len(self._costs)

    @overload
    def __getitem__(self, index: int) -> Assignment: ...

    @overload
    def __getitem__(self, index: slice) -> list[Assignment]: ...

    def __getitem__(self, index: int | slice) -> Assignment | list[Assignment]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"problem {index} of {len(self)}")
        known = self.__dict__.get("potentials")
        proof = None if known is None else (known[0][index], known[1][index])
        pair = self.row_ind[index], self.col_ind[index]
        return Assignment(*pair, self._costs[index], self._maximize, self._masks[index], potentials=proof)

    def __repr__(self) -> str:
        return f"BatchAssignment({len(self)} problems, {self.row_ind.shape[1]} pairs each, {self.status.name})"

    @cached_property
    def cost(self) -> NDArray[np.float64] | NDArray[np.int64]:
        """Sums of the matched costs, shape (B,); integers for integer costs."""
        matched = self._matched()
        sums: NDArray[np.float64] | NDArray[np.int64] = matched.sum(
            axis=1, dtype=np.float64 if matched.dtype.kind == "f" else np.int64
        )
        return sums

    @property
    def u(self) -> NDArray[np.float64]:
        """Potentials of the rows, shape (B, n)."""
        return self.potentials[0]

    @property
    def v(self) -> NDArray[np.float64]:
        """Potentials of the columns, shape (B, m)."""
        return self.potentials[1]

    @property
    def gap(self) -> Vector:
        """abs(cost - sum(u) - sum(v)) of every problem, shape (B,)."""
        return assignment_gaps(self.cost, self.u, self.v)

    def _matched(self) -> NDArray[Any]:
        matched: NDArray[Any] = self._costs[np.arange(len(self))[:, None], self.row_ind, self.col_ind]
        return matched

    @cached_property
    def potentials(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The pair (u, v)."""
        return batch_potentials(self._costs, self._maximize, self._masks, self.row_ind, self.col_ind)


def batch_of(
    found: Sequence[Assignment], costs: NDArray[Any], maximize: bool, masks: Sequence[NDArray[np.bool_] | None]
) -> BatchAssignment:
    """The assignments of one size together, with those potentials that are known."""
    _, n, m = costs.shape
    pairs = [np.array([one[side] for one in found], np.intp).reshape(len(found), min(n, m)) for side in (0, 1)]
    known = [one.known_potentials for one in found]
    potentials = None
    if found and all(one is not None for one in known):
        u, v = (np.stack(side) for side in zip(*known, strict=True))
        potentials = u, v
    return BatchAssignment(costs, maximize, masks, pairs[0], pairs[1], potentials)
