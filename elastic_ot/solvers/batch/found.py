"""What a solve of many problems has found, as passive data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...cached import cached_property
from ...problems.batch import BatchProblem
from ...problems.penalty import Vector
from ...results import one_line
from ..found import Found
from ..oriented import outcome_at
from ..status import Budget, Status
from .measure import BatchMeasure, measure_batch
from .scaled import BatchTask


@dataclass(frozen=True, eq=False)
class BatchFound:
    """Potentials of many problems in NumPy and float64, counted in C order of the batch shape.

    Attributes
    ----------
    problem : BatchProblem
    task : BatchTask
    f, g : ndarray, shapes (B, n) and (B, m)
    cols_last : ndarray of bool, shape (B,)
        The problems whose columns were updated last.
    budget : Budget or None
        The iterations that were run, if their number was fixed.
    """

    problem: BatchProblem
    task: BatchTask
    f: Vector
    g: Vector
    cols_last: NDArray[np.bool_]
    budget: Budget | None = None

    __repr__ = one_line

    @cached_property
    def potentials(self) -> tuple[Vector, Vector]:
        """In kernel units."""
        return self.task.alphas(self.f, self.g)

    @cached_property
    def measure(self) -> BatchMeasure:
        """The measure of all problems, from marginals computed anew in double precision."""
        return measure_batch(self.task, *self.potentials, np.arange(self.problem.size))

    def single(self, k: int) -> tuple[Found, bool]:
        """Problem k alone, and whether its dual value and residual are finite."""
        problem = self.problem.single(k)
        n, m = problem.shape
        status = Status.BUDGET if self.budget else Status.STALLED  # nobody asks for it
        outcome = outcome_at(problem, self.f[k, :n], self.g[k, :m], lambda found: status)
        measure = outcome.measure
        sound = bool(np.isfinite(measure.dual) and np.isfinite(measure.residual))
        marginals = outcome.row_marginal, outcome.col_marginal
        return Found(problem, outcome.f, outcome.g, *marginals, self.budget_of(k)), sound

    def budget_of(self, k: int) -> Budget | None:
        """The iterations of problem k."""
        budget = self.budget
        if budget is None:
            return None
        sizes = int(self.problem.row_count[k]), int(self.problem.col_count[k])
        start = (None if x is None else x[k, :size] for x, size in zip((budget.f, budget.g), sizes, strict=True))
        return Budget(budget.count, "cols" if self.cols_last[k] else "rows", *start)
