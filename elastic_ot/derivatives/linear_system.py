"""The linear system of implicit differentiation, Newton's at the optimum: [D_a, P; P^T, D_b] (x; y) = right-hand side.

Rows are eliminated, S = D_b - P^T D_a^-1 P, and S y = rhs is solved by conjugate gradients with S's diagonal, as in
Newton's method, but to rounding. Where a small epsilon or parts without a connection make S singular, its eigenvalues
say which directions are left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..arrays.devices import library_of, on_host, row_chunks
from ..backends.protocol import PRODUCTS, ROUNDING, ROUNDS, SOUND, UNSOUND
from ..backends.reference import gradients_with
from ..costs.dense import SCAN_ENTRIES
from ..distributed.ranks import ALONE, Ranks
from ..errors import warn_user
from ..problems.penalty import Vector
from ..solvers import krylov
from .records import Matrix

if TYPE_CHECKING:
    from ..backends.protocol import Backend
    from ..costs.operator import Product

DIRECT = 1500  # rows or columns, of the shorter side, up to which S is decomposed where iterations fail
MOST_PRODUCTS = 20_000


class LinearSystem(ABC):
    """The system at one optimum.

    Parameters
    ----------
    row_diagonal, col_diagonal : ndarray
        D_a and D_b; 0 marks what is outside of the system.
    rigid : bool
        (1, -1) changes nothing, so S is singular along 1.
    ranks : Ranks
        What sums over the rows.
    """

    reduced: krylov.System

    def __init__(self, row_diagonal: Vector, col_diagonal: Vector, rigid: bool, ranks: Ranks = ALONE) -> None:
        self.row_diagonal, self.col_diagonal, self.rigid, self.ranks = row_diagonal, col_diagonal, rigid, ranks
        self.free, self.inverse = col_diagonal > 0, _inverse(row_diagonal)

    def solve(self, row_side: Vector, col_side: Vector) -> tuple[Vector, Vector]:
        """(x, y), 0 outside of the system."""
        size = self.ranks.sum(np.abs(row_side[self.row_diagonal > 0])) + float(np.abs(col_side[self.free]).sum())
        y = np.zeros_like(col_side)
        x, residual = self._complete(row_side, col_side, y)
        left = PRODUCTS
        for _ in range(ROUNDS):  # a second round where rounding has built up in the first
            y, x, residual, done = self._improve(row_side, col_side, y, residual, ROUNDING * size, left)
            if self._solved(residual, y, size):
                return x, y
            left -= done
        exact = self._decomposed(row_side, col_side)
        if exact is not None:
            return exact
        y, x, residual, _ = self._improve(row_side, col_side, y, residual, ROUNDING * size, MOST_PRODUCTS)
        if not self._solved(residual, y, size) and float(np.abs(residual).sum()) > UNSOUND * size:
            warn_user(
                f"the linear system of the derivative was solved to {np.abs(residual).sum() / size:.1e} only: epsilon "
                f"is too small, or parts of the problem are hardly connected"
            )
        return x, y

    def _solved(self, residual: Vector, y: Vector, size: float) -> bool:
        """To what rounding allows, which for a large y is not much; a y that explodes is no solution."""
        rounding = 1e-14 * float(self.col_diagonal @ np.abs(y))
        return bool(np.abs(residual).sum() <= SOUND * size + min(rounding, UNSOUND * size))

    def _complete(self, row_side: Vector, col_side: Vector, y: Vector) -> tuple[Vector, Vector]:
        """The x that goes with y, and what is left of the columns' side."""
        x = self.inverse * (row_side - self.times(y, False) if y.any() else row_side)
        residual = np.where(self.free, col_side - self.col_diagonal * y - self.times(x, True), 0.0)
        if self.rigid:
            residual -= self.col_diagonal * (residual.sum() / self.col_diagonal.sum())
        return x, residual

    @abstractmethod
    def times(self, x: Vector, transpose: bool) -> Vector:
        """P x, or P^T x."""

    def _decomposed(self, row_side: Vector, col_side: Vector) -> tuple[Vector, Vector] | None:
        """The solution without iterations, None where that takes too long."""
        return None

    def _improve(
        self, row_side: Vector, col_side: Vector, y: Vector, residual: Vector, goal: float, budget: int
    ) -> tuple[Vector, Vector, Vector, int]:
        step, done = krylov.solve(replace(self.reduced, budget=budget), residual, goal, np.inf, lambda: False)
        y = y + step
        return y, *self._complete(row_side, col_side, y), done


class StoredSystem(LinearSystem):
    """The system with a stored plan (n, m), in its orientation."""

    def __init__(
        self,
        plan: Matrix,
        row_diagonal: Vector,
        col_diagonal: Vector,
        rigid: bool,
        backend: Backend,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(row_diagonal, col_diagonal, rigid, ranks)
        self.plan, self.backend = plan, backend
        squares = _weighted_squares(self.inverse, plan)
        ranks.add(squares)
        gradients = partial(backend.dense_gradients, plan, np.ones_like(col_diagonal), self.inverse, col_diagonal)
        self.reduced = krylov.System(col_diagonal, self.free, gradients, squares, PRODUCTS, entries=plan.size)

    def times(self, x: Vector, transpose: bool) -> Vector:
        """By the backend, because threads of a BLAS wait for each other on a busy machine, longer than this takes."""
        out = np.empty(self.plan.shape[1 if transpose else 0])
        self.backend.dense_product(self.plan, x, transpose, out)
        return out

    def _decomposed(self, row_side: Vector, col_side: Vector) -> tuple[Vector, Vector] | None:
        """By the eigenvalues of the shorter side's matrix."""
        n, m = self.plan.shape
        by_cols = n >= m or not self.ranks.alone  # vectors of the columns are on all processes
        if (m if by_cols else n) > DIRECT:
            return None
        if by_cols:
            return _decomposed(self.plan, self.row_diagonal, self.col_diagonal, row_side, col_side, self.ranks)
        y, x = _decomposed(self.plan.T, self.col_diagonal, self.row_diagonal, col_side, row_side)
        return x, y


class OperatorSystem(LinearSystem):
    """The system with a plan that is computed whenever it is read.

    Parameters
    ----------
    product : callable
        Of the plan, see `costs.operator.PlanOperator.products`.
    squares : callable
        Of the plan with its entries squared, for the diagonal of S.
    work : int
        What a product takes as long as, in entries read.
    """

    def __init__(
        self, product: Product, squares: Product, row_diagonal: Vector, col_diagonal: Vector, rigid: bool, work: int
    ) -> None:
        super().__init__(row_diagonal, col_diagonal, rigid)
        self.product, found = product, np.empty((col_diagonal.size, 1))
        squares(self.inverse[:, None], True, found)
        gradients = partial(gradients_with, self._gram, col_diagonal)
        self.reduced = krylov.System(col_diagonal, self.free, gradients, found[:, 0], PRODUCTS, entries=work)

    def times(self, x: Vector, transpose: bool) -> Vector:
        """Return P x, or P^T x."""
        out = np.empty(((self.col_diagonal if transpose else self.row_diagonal).size, 1))
        self.product(x[:, None], transpose, out)
        return out[:, 0]

    def _gram(self, x: Vector) -> Vector:
        return self.times(self.inverse * self.times(x, False), True)


def _decomposed(
    plan: Matrix, row_diagonal: Vector, col_diagonal: Vector, row_side: Vector, col_side: Vector, ranks: Ranks = ALONE
) -> tuple[Vector, Vector]:
    """Eigenvalues at rounding belong to shifts of a part of the problem that nothing holds: no component of y."""
    xp = library_of(plan)
    inverse, scale, row_side, col_side = (
        xp.asarray(x) for x in (_inverse(row_diagonal), np.sqrt(_inverse(col_diagonal)), row_side, col_side)
    )
    scaled = plan * xp.sqrt(inverse)[:, None] * scale
    squares, carried = scaled.T @ scaled, plan.T @ (inverse * row_side)
    ranks.add(squares.reshape(-1))
    ranks.add(carried)
    values, vectors = xp.linalg.eigh(xp.eye(scale.size) - squares)
    kept = values > 1e-13 * scale.size
    rhs = scale * (col_side - carried)
    y = scale * (vectors[:, kept] @ ((vectors[:, kept].T @ rhs) / values[kept]))
    ranks.follow_first(y)
    return on_host(inverse * (row_side - plan @ y)), on_host(y)


def _weighted_squares(weight: Vector, plan: Matrix) -> Vector:
    """sum_i weight_i P_ij^2 of every column."""
    xp = library_of(plan)
    weight = xp.asarray(weight)
    parts = (xp.einsum("i,ij,ij->j", weight[rows], plan[rows], plan[rows]) for rows in row_chunks(plan, SCAN_ENTRIES))
    return on_host(sum(parts, xp.zeros(plan.shape[1])))


def _inverse(diagonal: Vector) -> Vector:
    return np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
