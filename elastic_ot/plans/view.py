"""A solution as kernels see it, and the sums over its plan that certificates are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problems.penalty import Vector
from ..problems.problem import Problem
from ..problems.scaled import Task, make_task
from ..solvers.found import Found


class View:
    """A solution as kernels see it: that of `Problem.by_rows`."""

    def __init__(self, solved: Found) -> None:
        self.given = solved.problem
        self.problem: Problem = self.given.by_rows
        self.task: Task = make_task(self.problem)
        self.f, self.g = self.given.turned(solved.f, solved.g)
        self.alpha, self.beta = self.task.alphas(self.f, self.g)
        self.row_marginal, self.col_marginal = self.given.turned(solved.row_marginal, solved.col_marginal)

    @property
    def swapped(self) -> bool:
        """True if rows are the user's columns."""
        return self.given.cost.fortran

    def oriented(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """A matrix of kernels as the user sees it, or the other way round: a view of it."""
        turned: NDArray[Any] = self.given.turned_matrix(matrix)
        return turned

    @property
    def potentials(self) -> tuple[Vector, Vector]:
        """Alpha and beta, the leading arguments of every method that reads the plan."""
        return self.alpha, self.beta

    def matrix(self, dtype: Any) -> NDArray[Any]:
        """A matrix to be written, of the shape of the cost and where it lies."""
        out: NDArray[Any] = self.problem.cost.empty(dtype)
        return out

    def plan(self, out: NDArray[np.floating]) -> NDArray[np.floating]:
        """Fill `out` (the problem's orientation) with the plan in the user's units of mass."""
        alpha = self.alpha + np.log(self.problem.mass)
        self.task.plan.fill(alpha, self.beta, out)
        return out

    def marginals(self, row_factor: Vector, col_factor: Vector) -> tuple[Vector, Vector]:
        """Marginals of diag(row_factor) P diag(col_factor), in units of the problem's mass."""
        rows, cols = np.empty_like(self.alpha), np.empty_like(self.beta)
        alpha, beta = self._scaled(row_factor, col_factor)
        self.task.plan.marginals(alpha, beta, rows, cols)
        return rows, cols

    def scaled_plan(self, row_factor: Vector, col_factor: Vector) -> NDArray[np.float64]:
        """diag(row_factor) P diag(col_factor) in float64, in the user's units of mass."""
        out = self.matrix(np.float64)
        alpha, beta = self._scaled(row_factor, col_factor)
        alpha += np.log(self.problem.mass)
        self.task.plan.fill(alpha, beta, out)
        return out

    def _scaled(self, row_factor: Vector, col_factor: Vector) -> tuple[Vector, Vector]:
        with np.errstate(divide="ignore"):
            return self.alpha + np.log(row_factor), self.beta + np.log(col_factor)


def plan_sums(view: View, parts: tuple[Vector, Vector, Vector, Vector]) -> tuple[float, float]:
    """KL(Q | P) and <C, Q>, in the user's units."""
    divergence, transport = np.empty_like(view.alpha), np.empty_like(view.alpha)
    view.task.plan.rounded_sums(*view.potentials, parts, divergence, transport)
    mass, sums = view.problem.mass, view.problem.ranks.totals(float(divergence.sum()), float(transport.sum()))
    return mass * sums[0], mass * sums[1]
