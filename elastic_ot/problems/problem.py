"""The problem: what is minimised, as frozen data; `build` makes it of what users give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cached import cached_property
from ..costs.base import KnownCost
from ..distributed.ranks import Ranks
from ..results import one_line
from .penalties import Fixed
from .penalty import Penalty, Vector
from .terms import Reference, Terms, lies_high


@dataclass(frozen=True, eq=False)
class Problem(Terms[float]):
    """minimise <C, P> + epsilon KL(P | R) + phi_a(P 1) + phi_b(P^T 1) over P >= 0.

    Attributes
    ----------
    cost : KnownCost
    a, b : ndarray of float64, shapes (n,) and (m,)
    epsilon : float
    rows, cols : Penalty
        As they hold at the epsilon asked for: `Elastic` has become `KL`, limits have become `Fixed` or `Free`.
    reference : {"product", "counting"}
        R = a b^T, or R = 1.
    offset : float
        What was taken off every cost (`levelled`). It belongs to the potentials of a `Fixed` side, `offsets`.
    amount : float or None
        The mass of the plan, if it is given.
    price : float
        What one more unit of that mass costs: as if every cost were so much lower. Half of it belongs to the potentials
        of either side.
    factor : float
        What b was multiplied by, so that masses that were equal but for rounding are equal.
    """

    cost: KnownCost
    a: Vector
    b: Vector
    epsilon: float
    rows: Penalty
    cols: Penalty
    reference: Reference
    offset: float = 0.0
    amount: float | None = None
    price: float = 0.0
    factor: float = 1.0

    __repr__ = one_line

    def at(self, epsilon: float) -> Problem:
        """The same problem at another epsilon; strengths rho are held."""
        return replace(self, epsilon=epsilon)

    def transpose(self) -> Problem:
        """Rows and columns exchanged; nothing of the size of the cost is copied."""
        sides = self.b, self.a, self.epsilon, self.cols, self.rows
        return Problem(self.cost.transpose(), *sides, self.reference, 0.0, self.amount, self.price)

    @property
    def by_rows(self) -> Problem:
        """The problem as kernels read it, whose cost is stored by rows: the transposed one if this one's is not."""
        return self.transpose() if self.cost.fortran else self

    def turned(self, rows: Any, cols: Any) -> tuple[Any, Any]:
        """A pair of the rows' and the columns' for `by_rows`, or one of `by_rows` for this problem."""
        return (cols, rows) if self.cost.fortran else (rows, cols)

    def turned_matrix(self, matrix: Any) -> Any:
        """A matrix, or None, for `by_rows`, or one of `by_rows` for this problem: a view."""
        return matrix.T if self.cost.fortran and matrix is not None else matrix

    def levelled(self, budget: bool = False) -> Problem:
        """The same problem with costs from 0 on, where what they have in common would cost them digits.

        The new costs are a copy, exact but for their last digit.
        """
        cost, low = self.cost, self.cost.lowest
        if not (self.levels(budget) and lies_high(low, cost.highest, self.epsilon)) or cost.half:
            return self
        return replace(self, cost=cost.shifted(low), offset=low)

    @property
    def offsets(self) -> tuple[float, float]:
        """What the potentials of rows and columns lack because of `offset` and `price`."""
        half = 0.5 * self.price
        return (self.offset + half, half) if isinstance(self.rows, Fixed) else (half, self.offset + half)

    @property
    def offset_value(self) -> float:
        """What primal and dual values lack because of `offset`."""
        return self.offset * self.fixed_mass() if self.offset else 0.0

    @property
    def price_value(self) -> float:
        """What dual values lack because of `price`."""
        return 0.0 if self.amount is None else self.price * self.amount

    @property
    def shape(self) -> tuple[int, int]:
        return self.cost.shape

    @property
    def masked(self) -> bool:
        return self.cost.masked

    @cached_property
    def row_used(self) -> NDArray[np.bool_]:
        return _used(self.a, self.cost.row_reach)

    @cached_property
    def col_used(self) -> NDArray[np.bool_]:
        return _used(self.b, self.cost.col_reach)

    @property
    def ranks(self) -> Ranks:
        """What sums over the rows."""
        return self.cost.ranks

    @staticmethod
    def sums(values: Vector) -> float:
        return float(values.sum())

    def row_sums(self, values: Vector) -> float:
        return self.cost.ranks.sum(values)

    def allowed(self, weights: Vector, transpose: bool = False) -> Vector:
        if not self.cost.masked:
            total = self.row_sums(weights) if transpose else self.sums(weights)
            return np.full(self.shape[1 if transpose else 0], total)
        return self.cost.allowed_sums_of_columns(weights) if transpose else self.cost.allowed_sums(weights)


def _used(weights: Vector, reach: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return weights > 0 if reach is None else (weights > 0) & reach
