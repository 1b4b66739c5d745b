"""Many exact problems of one size in one call: validated together where that is cheap, solved one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .exact_result import Assignment, ExactSolution, Indices
from .penalties import Vector
from .result import Status

CHUNK = 1 << 20  # entries of the costs whose potentials are computed together


class BatchAssignment(Sequence[Assignment]):
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
        Potentials, computed when one of them is first read.
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

    status = Status.OPTIMAL

    def __init__(
        self,
        costs: NDArray[Any],
        maximize: bool,
        masks: Sequence[NDArray[np.bool_] | None],
        row_ind: Indices,
        col_ind: Indices,
    ) -> None:
        """Not made by users."""
        self.row_ind, self.col_ind = row_ind, col_ind
        self._costs, self._maximize, self._masks = costs, maximize, masks

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
    def cost(self) -> NDArray[Any]:
        """Sums of the matched costs, shape (B,); integers for integer costs."""
        matched = self._matched()
        sums: NDArray[Any] = matched.sum(axis=1, dtype=np.float64 if matched.dtype.kind == "f" else np.int64)
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
        return np.array([one.gap for one in self])

    def _matched(self) -> NDArray[Any]:
        matched: NDArray[Any] = self._costs[np.arange(len(self))[:, None], self.row_ind, self.col_ind]
        return matched

    @cached_property
    def potentials(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The pair (u, v)."""
        count, n, m = self._costs.shape
        u, v = np.zeros((count, n)), np.zeros((count, m))
        step = max(1, CHUNK // max(1, n * m))
        for at in range(0, count, step):
            part = slice(at, min(at + step, count))
            costs = self._costs[part].astype(np.float64)
            costs = -costs if self._maximize else costs
            for k, mask in enumerate(self._masks[part]):
                if mask is not None:
                    costs[k][~mask] = np.inf
            with np.errstate(over="ignore", invalid="ignore"):  # costs near the largest float
                if n <= m:
                    u[part], v[part] = _proof(costs, self.col_ind[part])
                else:
                    order = np.argsort(self.col_ind[part], axis=1)
                    partners = np.take_along_axis(self.row_ind[part], order, axis=1)
                    v[part], u[part] = _proof(costs.transpose(0, 2, 1), partners)
        return (-u, -v) if self._maximize else (u + 0.0, v + 0.0)


def _proof(costs: NDArray[np.float64], partners: Indices) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Potentials of optimal assignments of all rows, by Bellman and Ford's relaxation.

    u_i + v_s(i) = C_is(i) leaves v_j <= v_s(i) + C_ij - C_is(i): shortest distances, without cycles of negative length.
    Columns left over stay at 0, or there would be a cheaper assignment.
    """
    count, n, m = costs.shape
    matched = np.take_along_axis(costs, partners[:, :, None], axis=2)
    lengths = costs - matched
    v = np.zeros((count, m))
    for _ in range(n if m else 0):
        reached = (np.take_along_axis(v, partners, axis=1)[:, :, None] + lengths).min(axis=1, initial=np.inf)
        if (reached >= v).all():
            break
        v = np.minimum(v, reached)
    left = np.ones((count, m), bool)
    np.put_along_axis(left, partners, False, axis=1)
    v[left] = 0.0
    u = matched[:, :, 0] - np.take_along_axis(v, partners, axis=1)
    return np.minimum(u, (costs - v[:, None, :]).min(axis=2, initial=np.inf)), v  # rounding must not leave the domain


def batch_of(
    found: Sequence[Assignment], costs: NDArray[Any], maximize: bool, masks: Sequence[NDArray[np.bool_] | None]
) -> BatchAssignment:
    """The assignments of one size together, with those potentials that are known."""
    _, n, m = costs.shape
    pairs = [np.array([one[side] for one in found], np.intp).reshape(len(found), min(n, m)) for side in (0, 1)]
    out = BatchAssignment(costs, maximize, masks, *pairs)
    known = [one.known_potentials for one in found]
    if found and all(one is not None for one in known):
        out.__dict__["potentials"] = tuple(np.stack(side) for side in zip(*known, strict=True))
    return out


@dataclass(frozen=True, eq=False)
class BatchExactSolution(Sequence[ExactSolution]):
    """Optimal plans of many problems with their proofs; returned by `exact`.

    ``solution[k]`` is the `ExactSolution` of one problem. Its numbers and vectors are arrays here, with the problems as
    their first axis.

    Attributes
    ----------
    solutions : tuple of ExactSolution

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> costs = np.random.default_rng(0).random((3, 4, 5))
    >>> sol = eot.exact(costs)
    >>> sol.value.shape, sol.plan.shape, bool((sol.gap < 1e-12).all())
    ((3,), (3, 4, 5), True)
    """

    solutions: tuple[ExactSolution, ...]
    status: Status = Status.OPTIMAL

    def __len__(self) -> int:
        return len(self.solutions)

    def __iter__(self) -> Iterator[ExactSolution]:
        return iter(self.solutions)

    @overload
    def __getitem__(self, index: int) -> ExactSolution: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[ExactSolution, ...]: ...

    def __getitem__(self, index: int | slice) -> ExactSolution | tuple[ExactSolution, ...]:
        return self.solutions[index]

    def __repr__(self) -> str:
        n, m = self.solutions[0].problem.shape
        return f"BatchExactSolution({len(self)} problems {n} x {m}, {self.status.name})"

    @property
    def f(self) -> NDArray[np.float64]:
        """Potentials of the rows, shape (B, n)."""
        return self._all("f")

    @property
    def g(self) -> NDArray[np.float64]:
        """Potentials of the columns, shape (B, m)."""
        return self._all("g")

    @property
    def row_marginal(self) -> NDArray[np.float64]:
        """P 1, shape (B, n)."""
        return self._all("row_marginal")

    @property
    def col_marginal(self) -> NDArray[np.float64]:
        """P^T 1, shape (B, m)."""
        return self._all("col_marginal")

    @property
    def transport_cost(self) -> Vector:
        """<C, P>, shape (B,)."""
        return self._all("transport_cost")

    @property
    def value(self) -> Vector:
        """The primal objectives, shape (B,)."""
        return self._all("value")

    @property
    def dual_value(self) -> Vector:
        """The dual objectives, shape (B,)."""
        return self._all("dual_value")

    @property
    def gap(self) -> Vector:
        """`value` - `dual_value`, shape (B,)."""
        return self._all("gap")

    @cached_property
    def plan(self) -> NDArray[np.float64]:
        """The plans, shape (B, n, m); computed on first use and kept."""
        return np.stack([one.plan for one in self.solutions])

    def _all(self, name: str) -> NDArray[np.float64]:
        stacked: NDArray[np.float64] = np.stack([getattr(one, name) for one in self.solutions])
        return stacked


def each(count: int, call: Callable[[int], Any]) -> Iterator[Any]:
    """The results of the calls; what they refuse is said with the number of the problem."""
    for k in range(count):
        try:
            yield call(k)
        except (ValueError, TypeError, RuntimeError) as error:
            raise type(error)(f"problem {k}: {error}") from None


def of_each(name: str, values: Any, rank: int, count: int) -> Callable[[int], Any]:
    """What problem k has of an argument that is one for all, or has the problems as its first axis."""
    shape: tuple[int, ...] = () if values is None else tuple(np.shape(values))
    if len(shape) <= rank:
        return lambda k: values
    if len(shape) != rank + 1 or shape[0] != count:
        raise ValueError(f"{name} has shape {shape}; for {count} problems its first length must be {count}")
    return lambda k: values[k]
