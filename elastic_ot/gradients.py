"""Derivatives of a solve: of the optimal value (no linear system), and through the plan and the potentials (one).

The optimum satisfies r(f, g) = demand(f) on both sides, with P = R exp((f + g - C) / epsilon). With s = -d demand / d f
and D = diag(marginal + epsilon s), linearising both equations gives the symmetric matrix

    A = [D_a, P; P^T, D_b] / epsilon

that Newton's method solves with. Entries on a kink of their penalty keep their potential and are outside of it. For a
function L of the plan and the potentials, with M = dL/dP * P, and A (x; y) = (M 1 / epsilon + dL/df; M^T 1 / epsilon +
dL/dg),

    dL/dC = -P * (dL/dP - x 1^T - 1 y^T) / epsilon.

Source: Luise, Rudi, Pontil, Ciliberto, *Differential properties of Sinkhorn approximation*, 2018, for fixed marginals.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import ConvergenceWarning
from .penalties import Penalty, Vector
from .problem import Problem

if TYPE_CHECKING:
    from .result import Solution

Matrix = NDArray[np.float64]
DIRECT = 1500  # rows or columns, of the shorter side, up to which the system is factorised
KINK = 1e-10  # distance from a kink, relative to the strength and epsilon, that counts as being on it


@dataclass(frozen=True, eq=False)
class Gradients:
    """Derivatives in the inputs of a solve, 0 for removed rows, columns and cells.

    Attributes
    ----------
    cost : ndarray, shape (n, m)
    a, b : ndarray, shapes (n,) and (m,)
        With two `Fixed` sides the sums of a and b move together; gradients are those of the potentials' gauge.
    epsilon : float
        At held strengths rho, also where `Elastic` was asked for.
    rows, cols : float
        In the strength rho of the penalty; 0 where it has none.
    """

    cost: Matrix
    a: Vector
    b: Vector
    epsilon: float
    rows: float
    cols: float


def value_gradients(solution: Solution) -> Gradients:
    """Of the optimal value, by the envelope theorem: only what stands in the objective."""
    _warn_unconverged(solution)
    point = _Point(solution)
    epsilon, r, c = point.problem.epsilon, point.rows.marginal, point.cols.marginal
    entropy = float((point.plan * point.exponent).sum() - point.plan.sum()) + point.problem.reference_mass
    a, b = point.rows.dual_by_weight(), point.cols.dual_by_weight()
    if point.problem.reference == "product":
        allowed_b, allowed_a = point.allowed_mass()
        a += epsilon * np.divide(allowed_b * point.problem.a - r, point.problem.a, out=np.zeros_like(r), where=r > 0)
        b += epsilon * np.divide(allowed_a * point.problem.b - c, point.problem.b, out=np.zeros_like(c), where=c > 0)
    return Gradients(point.plan, a, b, entropy, point.rows.value_by_strength(), point.cols.value_by_strength())


def pull_back(solution: Solution, plan: Matrix | None, f: Vector | None, g: Vector | None) -> Gradients:
    """Vector-Jacobian product: from dL/dP, dL/df and dL/dg to the derivatives of L in the inputs."""
    _warn_unconverged(solution)
    point = _Point(solution)
    epsilon, problem = point.problem.epsilon, point.problem
    plan_bar = np.zeros(problem.shape) if plan is None else np.where(point.plan > 0, plan, 0.0)
    f_bar = np.where(problem.row_used, 0.0 if f is None else f, 0.0)
    g_bar = np.where(problem.col_used, 0.0 if g is None else g, 0.0)
    gauge = np.zeros_like(g_bar)
    if point.rigid:  # (f + t, g - t) with t such that <b, g> = 0
        excess = float(f_bar.sum() - g_bar.sum())
        weight = np.where(problem.col_used, problem.b, 0.0) / float(problem.b[problem.col_used].sum())
        g_bar = g_bar + excess * weight
        gauge = excess * weight * point.cols.potential / np.where(problem.b > 0, problem.b, 1.0)
    moved = plan_bar * point.plan
    row_side, col_side = moved.sum(axis=1) + epsilon * f_bar, moved.sum(axis=0) + epsilon * g_bar
    x, y = point.solve(row_side, col_side)
    rest = point.plan * (plan_bar - x[:, None] - y)
    row_rest, col_rest = rest.sum(axis=1), rest.sum(axis=0)
    a, b = x * point.rows.demand_by_weight(), y * point.cols.demand_by_weight() + gauge
    if problem.reference == "product":
        a += np.divide(row_rest, problem.a, out=np.zeros_like(a), where=problem.row_used)
        b += np.divide(col_rest, problem.b, out=np.zeros_like(b), where=problem.col_used)
    cost = -rest / epsilon
    return Gradients(
        cost=cost,
        a=a,
        b=b,
        epsilon=float((cost * point.exponent).sum()),
        rows=point.rows.by_strength(x, (row_rest + epsilon * f_bar) / epsilon),
        cols=point.cols.by_strength(y, (col_rest + epsilon * g_bar) / epsilon),
    )


class _Side:
    """One marginal at the optimum: which entries are free, and how its penalty bends there."""

    def __init__(
        self, penalty: Penalty, weights: Vector, used: NDArray[np.bool_], potential: Vector, r: Vector
    ) -> None:
        self.penalty, self.weights, self.used = penalty, np.where(used, weights, 1.0), used
        self.potential, self.marginal = np.where(used, potential, 0.0), r
        slack, low, high = penalty.smooth(self.potential, self.weights)
        near = KINK * (np.abs(self.potential) + 1.0)
        self.free = used & (self.potential - low > near) & (high - self.potential > near)
        self.slack = np.where(self.free, slack, 0.0)

    def demand_by_weight(self) -> Vector:
        return np.where(self.free, self.penalty.demand_by_weight(self.potential, self.weights), 0.0)

    def dual_by_weight(self) -> Vector:
        return np.where(self.used, self.penalty.dual_by_weight(self.potential, self.weights), 0.0)

    def value_by_strength(self) -> float:
        per_entry = self.penalty.phi_by_strength(self.marginal, self.weights)
        return float(per_entry[self.used].sum())

    def by_strength(self, multiplier: Vector, pull: Vector) -> float:
        """Through the demand of free entries, and through the potentials that stay on a kink, which moves with rho."""
        demand, kink = self.penalty.demand_by_strength(self.potential, self.weights), np.sign(self.potential)
        on_kink = self.used & ~self.free & np.isfinite(self.penalty.kinks()[0]) & (self.penalty.kinks()[0] != 0)
        return float((multiplier * demand)[self.free].sum() + (kink * pull)[on_kink].sum())


class _Point:
    """A solution, with its plan."""

    def __init__(self, solution: Solution) -> None:
        from . import plans

        problem, host = solution.problem, solution.host
        self.problem: Problem = problem
        self.plan = np.asarray(plans.plan(solution), dtype=np.float64)
        r, c = self.plan.sum(axis=1), self.plan.sum(axis=0)
        self.rows = _Side(problem.rows, problem.a, problem.row_used, host.f, r)
        self.cols = _Side(problem.cols, problem.b, problem.col_used, host.g, c)
        exponent = self.rows.potential[:, None] + self.cols.potential - problem.cost.matrix
        self.exponent = np.where(self.plan > 0, exponent, 0.0) / problem.epsilon
        free_r, free_c = self.rows.free, self.cols.free
        self.rigid = bool(
            (free_r == problem.row_used).all()
            and (free_c == problem.col_used).all()
            and not self.rows.slack.any()
            and not self.cols.slack.any()
        )

    def allowed_mass(self) -> tuple[Vector, Vector]:
        """Sums of b over the allowed columns of every row, and of a over the allowed rows of every column."""
        a = np.where(self.problem.row_used, self.problem.a, 0.0)
        b = np.where(self.problem.col_used, self.problem.b, 0.0)
        if not self.problem.cost.masked:
            return np.full_like(a, b.sum()), np.full_like(b, a.sum())
        allowed = np.isfinite(self.problem.cost.matrix)
        return allowed @ b, a @ allowed

    def solve(self, row_side: Vector, col_side: Vector) -> tuple[Vector, Vector]:
        """The x and y with epsilon A (x; y) = (row_side; col_side), 0 outside of the system."""
        plan, rows, cols = self.plan, self.rows, self.cols
        if plan.shape[0] < plan.shape[1]:
            y, x = _solve(plan.T, cols, rows, self.problem.epsilon, col_side, row_side)
            return x, y
        return _solve(plan, rows, cols, self.problem.epsilon, row_side, col_side)


def _solve(
    plan: Matrix, rows: _Side, cols: _Side, epsilon: float, row_side: Vector, col_side: Vector
) -> tuple[Vector, Vector]:
    """Rows eliminated: (D_b - P^T D_a^-1 P) y = col_side - P^T D_a^-1 row_side."""
    inverse = np.divide(1.0, rows.marginal + epsilon * rows.slack, out=np.zeros_like(row_side), where=rows.free)
    diagonal = np.where(cols.free, cols.marginal + epsilon * cols.slack, 1.0)
    rhs = np.where(cols.free, col_side - plan.T @ (inverse * row_side), 0.0)
    y = (
        _direct(plan, inverse, diagonal, cols.free, rhs)
        if diagonal.size <= DIRECT
        else _iterated(plan, inverse, diagonal, cols.free, rhs)
    )
    return inverse * (row_side - plan @ y), y


def _direct(plan: Matrix, inverse: Vector, diagonal: Vector, free: NDArray[np.bool_], rhs: Vector) -> Vector:
    """Eigenvalues at rounding belong to shifts of a part of the problem that nothing holds: no component of y."""
    scale = np.where(free, 1.0 / np.sqrt(np.where(free, diagonal, 1.0)), 0.0)
    scaled = plan * np.sqrt(inverse)[:, None] * scale
    matrix = np.eye(diagonal.size) - scaled.T @ scaled
    values, vectors = np.linalg.eigh(matrix)
    kept = values > 1e-13 * diagonal.size
    found: Vector = scale * (vectors[:, kept] @ ((vectors[:, kept].T @ (scale * rhs)) / values[kept]))
    return found


def _iterated(plan: Matrix, inverse: Vector, diagonal: Vector, free: NDArray[np.bool_], rhs: Vector) -> Vector:
    from scipy.sparse.linalg import LinearOperator, cg

    def product(y: Vector) -> Vector:
        y = np.where(free, y, 0.0)
        return np.where(free, diagonal * y - plan.T @ (inverse * (plan @ y)), y)

    operator = LinearOperator((diagonal.size,) * 2, matvec=product, dtype=np.float64)
    jacobi = LinearOperator((diagonal.size,) * 2, matvec=lambda y: y / diagonal, dtype=np.float64)
    found, _ = cg(operator, rhs, rtol=1e-12, atol=0.0, maxiter=20 * diagonal.size, M=jacobi)
    solution: Vector = np.where(free, found, 0.0)
    return solution


def _warn_unconverged(solution: Solution) -> None:
    if not solution.converged:
        warnings.warn(
            f"gradients hold at the optimum, and this solution ended with residual {solution.residual:.1e}: "
            f"{solution.message}",
            ConvergenceWarning,
            stacklevel=4,
        )
