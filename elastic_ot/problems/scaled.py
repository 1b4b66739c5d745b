"""A problem in the units of the kernels: mass 1, potentials in epsilon, one `Side` a marginal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import Backend, Side
from ..costs.operator import PlanOperator
from .penalties import Free
from .penalty import Penalty, Vector
from .problem import Problem
from .updates import scaled_potential


@dataclass(frozen=True, eq=False)
class Task:
    """What every kernel call needs, for a problem whose cost is stored by rows.

    With M the problem's mass, kernels see P / M, a / M and b / M. The offsets hold the reference: log(a / M) and log
    b for R = a b^T, 0 and -log M for R = 1; those of the rows the problem's price as well.
    """

    problem: Problem
    rows: Side
    cols: Side
    plan: PlanOperator
    backend: Backend

    @property
    def inv_epsilon(self) -> float:
        return 1.0 / self.problem.epsilon

    def alphas(self, f: Vector, g: Vector) -> tuple[Vector, Vector]:
        """Kernel potentials of (f, g) in cost units; -inf on removed entries whatever f says, 0 on free sides."""
        problem = self.problem
        f = np.where(problem.row_used & (not isinstance(problem.rows, Free)), f, 0.0)
        g = np.where(problem.col_used & (not isinstance(problem.cols, Free)), g, 0.0)
        return f / problem.epsilon + self.rows.offset, g / problem.epsilon + self.cols.offset

    def potentials(self, alpha: Vector, beta: Vector) -> tuple[Vector, Vector]:
        """(f, g) in cost units of kernel potentials; -inf on removed entries."""
        epsilon = self.problem.epsilon
        return _restored(alpha, self.rows, epsilon), _restored(beta, self.cols, epsilon)


def _restored(alpha: Vector, side: Side, epsilon: float) -> Vector:
    """Potentials in cost units, -inf on removed entries."""
    with np.errstate(invalid="ignore"):  # -inf - -inf
        scaled = scaled_potential(alpha, side)
    return np.where(np.isneginf(side.offset), -np.inf, epsilon * scaled)


def make_task(problem: Problem) -> Task:
    mass = problem.mass
    log_mass = float(np.log(mass))
    product = problem.reference == "product"
    rows = _side(problem.rows, problem.a, problem.row_used, problem.epsilon, mass)
    cols = _side(problem.cols, problem.b, problem.col_used, problem.epsilon, mass)
    row_offset = rows.log_weight if product else _where_used(rows, 0.0)
    if problem.price:
        row_offset = row_offset + problem.price / problem.epsilon
    col_offset = cols.log_weight + log_mass if product else _where_used(cols, -log_mass)
    rows, cols = rows._replace(offset=row_offset), cols._replace(offset=col_offset)
    plan = problem.cost.plan(1.0 / problem.epsilon, rows, cols)
    return Task(problem, rows, cols, plan, plan.backend)


def _side(penalty: Penalty, weights: Vector, used: NDArray[np.bool_], epsilon: float, mass: float) -> Side:
    code, strength, strength2 = penalty.rule(epsilon, mass)
    weight = np.where(used, weights / mass, 0.0)
    log_weight = np.full(weight.shape, -np.inf)
    np.log(weight, out=log_weight, where=used)
    return Side(weight, log_weight, log_weight, code, strength, strength2)


def _where_used(side: Side, value: float) -> Vector:
    return np.where(side.log_weight > -np.inf, value, -np.inf)
