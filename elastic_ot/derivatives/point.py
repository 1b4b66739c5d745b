"""A solution with its plan in float64: what derivatives at an optimum are computed from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.devices import library_of, on_host
from ..cached import cached_property
from ..costs.base import STRIP
from ..plans.export import transport_cost
from ..plans.view import View
from ..problems.penalty import Vector
from ..solvers.found import Found
from .linear_system import LinearSystem, OperatorSystem, StoredSystem
from .records import Direction, Matrix
from .sides import Optimum, Side


@dataclass(frozen=True, eq=False)
class Moved:
    """A change of the plan as kernels store it, its sums in the user's orientation, and <change, log(P / R)>."""

    plan: Matrix
    rows: Vector
    cols: Vector
    dot: float


class Point:
    """A solution, with its plan in float64 and as kernels store it."""

    def __init__(self, solved: Found) -> None:
        self.view, self.problem, self.solved = View(solved), solved.problem, solved
        if self.problem.cost.stored:
            of_rows, of_cols = on_host(self.plan.sum(axis=1)), on_host(self.plan.sum(axis=0))
            self.problem.ranks.add(of_cols)
            r, c = self.problem.turned(of_rows, of_cols)
        else:
            r, c = solved.row_marginal, solved.col_marginal
        problem, host = self.problem, solved
        self.optimum = Optimum(
            Side(problem.rows, problem.a, problem.row_used, host.f, r, problem.epsilon),
            Side(problem.cols, problem.b, problem.col_used, host.g, c, problem.epsilon),
            problem.epsilon,
            problem.reference == "product",
            problem.ranks,
        )

    def oriented(self, matrix: Matrix) -> Matrix:
        """A matrix of kernels as the user sees it, or the other way round."""
        return self.view.oriented(matrix)

    def bar_of(self, direction: Direction) -> Any:
        """Return the change of the costs along a direction, for `tangent`."""
        return direction.cost

    def slopes(self, change: Matrix) -> dict[str, Any]:
        """Return derivatives in the costs, which a change of the plan is, by their names in `Gradients`."""
        return {"cost": self.oriented(change)}

    def value_slopes(self) -> dict[str, Any]:
        """Return those of the optimal value."""
        return {"cost": self.oriented(self.plan) if self.problem.cost.stored else None}

    def transport_cost(self) -> float:
        """Return <C, P>."""
        return transport_cost(self.solved)

    def slopes_step(self, change: Matrix, direction: Direction) -> dict[str, Any]:
        """Return the change of `value_slopes` along a direction, given that of the plan."""
        return self.slopes(change)

    @cached_property
    def plan(self) -> Matrix:
        """The plan as kernels store it."""
        found: Matrix = self.view.matrix(np.float64)
        self.view.plan(found)
        return found

    @cached_property
    def _logs(self) -> tuple[Vector, Vector]:
        """Those of the reference, in the orientation of kernels; 0 where a row or column is removed."""
        if not self.optimum.product:
            n, m = self.view.problem.shape
            return np.zeros(n), np.zeros(m)
        return self.problem.turned(np.log(self.optimum.rows.weights), np.log(self.optimum.cols.weights))

    @cached_property
    def _out(self) -> Matrix:
        return self.view.matrix(np.float64)

    def tangent(self, x: Vector, y: Vector, bar: Matrix | None, slope: float = 0.0) -> Moved:
        """P * (x 1^T + 1 y^T + slope log(P / R) - bar) / epsilon, which the next call overwrites."""
        view, out = self.view, self._out
        x, y = self.problem.turned(x, y)
        bar = None if bar is None else library_of(out).ascontiguousarray(self.oriented(bar))
        row_log, col_log = self._logs
        rows, cols, dots = np.empty_like(x), np.empty_like(y), np.empty_like(x)
        alpha = view.alpha + np.log(view.problem.mass)
        shifts = x - slope * row_log, y - slope * col_log
        view.task.plan.tangent(alpha, view.beta, bar, shifts, slope, out, (rows, cols, dots))
        dot = self.problem.ranks.totals(float(dots.sum() - rows @ row_log))[0] - float(cols @ col_log)
        return Moved(out, *self.problem.turned(rows, cols), dot)

    @cached_property
    def system(self) -> LinearSystem:
        """The matrix epsilon A, in the orientation of kernels."""
        diagonals, rigid = self.problem.turned(*self.optimum.diagonals), bool(self.optimum.rigid.all())
        return StoredSystem(self.plan, *diagonals, rigid, self.view.task.backend, self.problem.ranks)

    @property
    def operator_system(self) -> LinearSystem:
        """The same of a plan that is computed whenever it is read."""
        alpha, view, cost = self.view.alpha + np.log(self.view.problem.mass), self.view, self.problem.cost
        return OperatorSystem(
            view.task.plan.products(alpha, view.beta),
            cost.plan(2.0 * view.task.inv_epsilon).products(2.0 * alpha, 2.0 * view.beta),
            *self.optimum.diagonals,
            bool(self.optimum.rigid.all()),
            cost.work,
        )

    def solve(self, row_side: Vector, col_side: Vector) -> tuple[Vector, Vector]:
        """The x and y with epsilon A (x; y) = (row_side; col_side), 0 outside of the system."""
        return self.problem.turned(*self.system.solve(*self.problem.turned(row_side, col_side)))

    def plans(self) -> Iterator[tuple[slice, Matrix, Matrix]]:
        """Yield some rows of the plan in float64 and of log(P / R), 0 where that is not finite; of a cost by rows."""
        problem, view, m = self.problem, self.view, self.problem.shape[1]
        alpha, step, every = view.alpha + np.log(view.problem.mass), max(1, STRIP // m), slice(0, m)
        row_log, col_log = self._logs
        for first in range(0, problem.shape[0], step):
            rows = slice(first, min(first + step, problem.shape[0]))
            plan = view.task.plan.part(rows, every, alpha[rows], view.beta)
            logs = problem.cost.block(rows, every) * -view.task.inv_epsilon
            logs += (alpha - row_log)[rows, None] + (view.beta - col_log)
            yield rows, plan, np.where(plan > 0, logs, 0.0)
