"""What `assign` returns: a pairing of rows and columns, and the potentials that prove it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problems.penalty import Vector
from ..solvers.exact.assignment import potentials_of
from ..solvers.exact.bellman import Pairing
from ..solvers.objective import assignment_gap
from ..solvers.status import Status
from .html import shown, tiles_of_entries


class Assignment(tuple[Pairing, Pairing]):
    """The pair ``(row_ind, col_ind)`` that SciPy's `linear_sum_assignment` returns, with a proof.

    It unpacks and indexes as that tuple. Do not change the cost that was passed in before potentials and cost have been
    read: for small problems they are computed then. The certificate is u_i + v_j <= C_ij everywhere (>= with
    ``maximize=True``) and sum(u) + sum(v) = cost: no assignment can be better. Where there are more columns than rows,
    v is <= 0 and 0 on columns left over (the other way round with ``maximize=True``), and likewise for rows. With
    ``cost_limit=L`` all potentials are <= L / 2, which is what lines left over have, and sum(u) + sum(v) is the cost
    and L / 2 for every line left over.

    Attributes
    ----------
    row_ind, col_ind : ndarray of int
        Row row_ind[k] is matched with column col_ind[k]; row_ind is sorted. Shape (min(n, m),), or fewer under
        ``cost_limit``.
    status : Status
        `Status.OPTIMAL`.
    unmatched_cost : float
        What rows and columns without a partner cost under `cost_limit`, half of it each; else 0.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> row_ind, col_ind = eot.assign([[4, 1, 3], [2, 0, 5], [3, 2, 2]])
    >>> col_ind
    array([1, 0, 2])
    """

    row_ind: Pairing
    col_ind: Pairing
    status: Status
    unmatched_cost: float = 0.0
    _matrix: NDArray[Any] | None
    _maximize: bool
    _mask: NDArray[np.bool_] | None
    _cost: float | int | None
    _potentials: tuple[Vector, Vector] | None

    def __new__(
        cls,
        row_ind: Pairing,
        col_ind: Pairing,
        matrix: NDArray[Any] | None,
        maximize: bool,
        mask: NDArray[np.bool_] | None = None,
        cost: float | int | None = None,
        potentials: tuple[Vector, Vector] | None = None,
        unmatched: float = 0.0,
    ) -> Assignment:
        """Not made by users."""
        self = super().__new__(cls, (row_ind, col_ind))
        self.row_ind, self.col_ind, self.status = row_ind, col_ind, Status.OPTIMAL
        self._matrix, self._maximize, self._mask = matrix, maximize, mask
        self._cost, self._potentials = cost, potentials
        if unmatched:
            self.unmatched_cost = unmatched
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        known = self._cost, self._potentials, self.unmatched_cost
        return self.row_ind, self.col_ind, self._matrix, self._maximize, self._mask, *known

    def __repr__(self) -> str:
        return f"Assignment({self.row_ind.size} pairs, cost={self.cost:.6g}, {self.status.name})"

    def _repr_html_(self) -> str:
        facts = [("pairs", self.row_ind.size), ("cost", f"{self.cost:.9g}"), ("status", self.status.name)]
        if self.unmatched_cost:
            facts.append(("unmatched cost", f"{self.unmatched_cost:.9g}"))
        shape = int(self.row_ind.max(initial=0)) + 1, int(self.col_ind.max(initial=0)) + 1
        return shown(self, facts, tiles_of_entries(self.row_ind, self.col_ind, 1.0, shape))

    @property
    def cost(self) -> float | int:
        """Sum of the matched costs; an exact int for integer costs."""
        if self._cost is None:
            assert self._matrix is not None
            self._cost = total_of(self._matrix[self])
        return self._cost

    @property
    def u(self) -> Vector:
        """Potentials of the rows, shape (n,), in units of the cost.

        Where SciPy has solved the problem (below some size) they are computed when first asked for.
        """
        return self._proof()[0]

    @property
    def v(self) -> Vector:
        """Potentials of the columns, shape (m,)."""
        return self._proof()[1]

    @property
    def gap(self) -> float:
        """abs(cost + unmatched_cost - sum(u) - sum(v)): 0 for integer costs, rounding for others."""
        return assignment_gap((self.cost, self.unmatched_cost), *self._proof())

    @property
    def known_potentials(self) -> tuple[Vector, Vector] | None:
        """(u, v) if they have been computed."""
        return self._potentials

    def _proof(self) -> tuple[Vector, Vector]:
        if self._potentials is None:
            assert self._matrix is not None
            self._potentials = potentials_of(self._matrix, self._maximize, self._mask, (self.row_ind, self.col_ind))
        return self._potentials


def total_of(matched: NDArray[Any]) -> float | int:
    """The sum, exact for integers."""
    return float(matched.sum(dtype=np.float64)) if matched.dtype.kind == "f" else sum(matched.tolist())
