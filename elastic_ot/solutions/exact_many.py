"""Solutions of small exact problems as one compiled call has found them: each is made when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import SimplexResult
from ..cached import cached_property
from ..costs.dense import DenseCost
from ..problems.penalties import Fixed
from ..problems.penalty import Vector
from ..problems.problem import Problem
from ..solvers.exact.small import plan_of
from .exact import ExactSolution

FIXED_SIDE = Fixed()


@dataclass(frozen=True, eq=False)
class ManyExact(Sequence[ExactSolution]):
    """Problems (B, n, m) between fixed sides with weights (B, n + m), all of them solved.

    `factors` is what b was multiplied by, (B,).
    """

    costs: NDArray[Any]
    weights: NDArray[np.float64]
    factors: Vector
    found: SimplexResult

    def __len__(self) -> int:
        return len(self.costs)

    @overload
    def __getitem__(self, index: int) -> ExactSolution: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[ExactSolution, ...]: ...

    def __getitem__(self, index: int | slice) -> ExactSolution | tuple[ExactSolution, ...]:
        return self.made[index]

    @cached_property
    def made(self) -> tuple[ExactSolution, ...]:
        """All of them."""
        return tuple(self.one(k) for k in range(len(self)))

    def one(self, k: int) -> ExactSolution:
        """One of them, made anew."""
        _, n, m = self.costs.shape
        facts, weights, potentials = self.found.facts[k].tolist(), self.weights[k], self.found.potentials[k]
        rows, cols, mass = plan_of(self.found, k, n)
        cost = DenseCost(self.costs[k], facts[0], facts[1])
        value = facts[2] + facts[3]
        sides = weights[:n], weights[n:], 1.0, FIXED_SIDE, FIXED_SIDE
        return ExactSolution(
            problem=Problem(cost, *sides, "product", factor=float(self.factors[k])),
            f=potentials[:n],
            g=potentials[n:],
            row_ind=rows,
            col_ind=cols,
            mass=mass,
            row_marginal=np.bincount(rows, mass, n).astype(np.float64, copy=False),
            col_marginal=np.bincount(cols, mass, m).astype(np.float64, copy=False),
            transport_cost=value,
            value=value,
            dual_value=facts[4] + facts[5],
        )

    def all(self, name: str) -> NDArray[np.float64] | None:
        """An attribute of all of them as an array, None of what is known when they are made."""
        n, facts, potentials = self.costs.shape[1], self.found.facts, self.found.potentials
        known: dict[str, NDArray[np.float64]] = {
            "f": potentials[:, :n],
            "g": potentials[:, n:],
            "transport_cost": facts[:, 2] + facts[:, 3],
            "value": facts[:, 2] + facts[:, 3],
            "dual_value": facts[:, 4] + facts[:, 5],
        }
        return known.get(name)
