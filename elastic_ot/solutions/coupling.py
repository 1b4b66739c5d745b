"""What `couple` returns: pairs, and the plan that they were drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..cached import cached_property
from ..plans.sharpness import entropy_of, gibbs_entropy, renormalised_entropy
from ..results import Result
from .assignment import Assignment
from .exact import ExactSolution
from .solution import Solution

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Coupling(Result):
    """Pairs of points; unpacks as ``rows, cols``. Returned by `couple`.

    Attributes
    ----------
    rows, cols : ndarray of int, shape (k,)
        Point rows[i] of x0 goes with point cols[i] of x1.
    solution : Assignment, ExactSolution or Solution
        The plan with its proof: potentials, `gap`, and whatever else such a result has.
    """

    rows: Indices
    cols: Indices
    solution: Assignment | ExactSolution | Solution

    def __iter__(self) -> Iterator[Indices]:
        """``rows, cols = coupling``."""
        return iter((self.rows, self.cols))

    def __repr__(self) -> str:
        with_entropy = "" if self.epsilon is None else f", epsilon={self.epsilon:.4g}"
        return (
            f"Coupling({self.rows.size} pairs, transport_cost={self.transport_cost:.6g}, entropy={self.entropy:.3f}"
            f"{with_entropy})"
        )

    @cached_property
    def transport_cost(self) -> float:
        """<C, P> over the mass of the plan P: the expected cost of a pair."""
        found = self.solution
        if isinstance(found, Assignment):
            return found.cost / found.row_ind.size
        return found.transport_cost / float(found.row_marginal.sum())

    @cached_property
    def entropy(self) -> float:
        """The renormalised entropy of P in [0, 1]: 0 for a matching, 1 for independent pairs."""
        found = self.solution
        if isinstance(found, Assignment):
            return 0.0
        if isinstance(found, ExactSolution):
            return renormalised_entropy(entropy_of(found.mass), found.row_marginal, found.col_marginal)
        return sharpness(found)

    @property
    def epsilon(self) -> float | None:
        """That of the plan; None without entropy."""
        return self.solution.problem.epsilon if isinstance(self.solution, Solution) else None

    @property
    def plan(self) -> NDArray[np.float64]:
        """The plan, shape (n, m)."""
        if isinstance(self.solution, Assignment):
            n = self.solution.row_ind.size
            out = np.zeros((n, n))
            out[self.solution] = 1.0 / n
            return out
        return np.asarray(self.solution.plan)

    @property
    def gap(self) -> float:
        """The gap that the solver proves of the plan, in the units of its value."""
        return float(self.solution.gap)


def sharpness(found: Solution) -> float:
    """The renormalised entropy of a plan between points that all weigh the same."""
    (n, m), epsilon, sides = found.problem.shape, found.problem.epsilon, (found.row_marginal, found.col_marginal)
    logs = found.f / epsilon - math.log(n), found.g / epsilon - math.log(m)
    return renormalised_entropy(gibbs_entropy(*sides, *logs, found.transport_cost, epsilon), *sides)
