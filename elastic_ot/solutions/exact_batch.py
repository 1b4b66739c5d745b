"""Optimal plans of many unregularised problems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ..arrays.padding import filled
from ..cached import cached_property
from ..problems.penalty import Vector
from ..results import Result
from ..solvers.status import Status
from .exact import ExactSolution
from .exact_many import ManyExact


@dataclass(frozen=True, eq=False)
class BatchExactSolution(Result, Sequence[ExactSolution]):
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
        n, m = (max(sizes) for sizes in zip(*self._shapes, strict=True))
        most = "" if len(set(self._shapes)) == 1 else "up to "
        return f"BatchExactSolution({len(self)} problems {most}{n} x {m}, {self.status.name})"

    @property
    def _shapes(self) -> list[tuple[int, int]]:
        if isinstance(self.solutions, ManyExact):
            return [self.solutions.costs.shape[1:]]
        return [one.problem.shape for one in self.solutions]

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
        """The plans, shape (B, n, m), 0 beyond what a problem of a list has; computed on first use and kept."""
        return self._stacked("plan", 0.0)

    def _all(self, name: str) -> NDArray[np.float64]:
        known = self.solutions.all(name) if isinstance(self.solutions, ManyExact) else None
        if known is not None:
            return known
        return self._stacked(name, -np.inf if name in ("f", "g") else 0.0)

    def _stacked(self, name: str, beyond: float) -> NDArray[np.float64]:
        """One array of what all have, with this number beyond what a problem has."""
        return filled([np.asarray(getattr(one, name), np.float64) for one in self.solutions], beyond)
