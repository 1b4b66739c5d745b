"""Optimal plans of many unregularised problems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ..cached import cached_property
from ..problems.penalty import Vector
from ..solvers.status import Status
from .exact import ExactSolution
from .exact_many import ManyExact


@dataclass(frozen=True, eq=False)
class BatchExactSolution(Sequence[ExactSolution]):
    """Optimal plans of many problems with their proofs; returned by `exact`.

    ``solution[k]`` is the `ExactSolution` of one problem. Its numbers and vectors are arrays here, with the problems as
    their first axis.

    Attributes
    ----------
    solutions : Sequence of ExactSolution

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> costs = np.random.default_rng(0).random((3, 4, 5))
    >>> sol = eot.exact(costs)
    >>> sol.value.shape, sol.plan.shape, bool((sol.gap < 1e-12).all())
    ((3,), (3, 4, 5), True)
    """

    solutions: Sequence[ExactSolution]
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
        return tuple(self.solutions[index]) if isinstance(index, slice) else self.solutions[index]

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
        known = self.solutions.all(name) if isinstance(self.solutions, ManyExact) else None
        if known is not None:
            return known
        stacked: NDArray[np.float64] = np.stack([getattr(one, name) for one in self.solutions])
        return stacked
