"""What the exact calls return: a plan or an assignment, and the potentials that prove it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .penalties import Vector
from .problem import Problem
from .result import Status

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Indices = NDArray[np.intp]


class Assignment(tuple[Indices, Indices]):
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

    row_ind: Indices
    col_ind: Indices
    status: Status
    unmatched_cost: float = 0.0
    _matrix: NDArray[Any] | None
    _maximize: bool
    _mask: NDArray[np.bool_] | None
    _cost: float | int | None
    _potentials: tuple[Vector, Vector] | None

    def __new__(
        cls,
        row_ind: Indices,
        col_ind: Indices,
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
        from .certificate import assignment_gap

        return assignment_gap((self.cost, self.unmatched_cost), *self._proof())

    @property
    def known_potentials(self) -> tuple[Vector, Vector] | None:
        """(u, v) if they have been computed."""
        return self._potentials

    def _proof(self) -> tuple[Vector, Vector]:
        if self._potentials is None:
            from .unregularised import potentials_of

            assert self._matrix is not None
            self._potentials = potentials_of(self._matrix, self._maximize, self._mask, (self.row_ind, self.col_ind))
        return self._potentials


def total_of(matched: NDArray[Any]) -> float | int:
    """The sum, exact for integers."""
    return float(matched.sum(dtype=np.float64)) if matched.dtype.kind == "f" else sum(matched.tolist())


@dataclass(frozen=True, eq=False)
class ExactSolution:
    """An optimal plan of the unregularised problem, with potentials that prove it.

    Everything of size n x m is computed when asked for. Rows or columns without mass have potential -inf.

    Attributes
    ----------
    problem : Problem
        What was solved.
    f, g : ndarray of float64, shapes (n,) and (m,)
        Potentials in cost units: f_i + g_j <= C_ij, with equality where the plan is positive. Also a warm start for
        `solve`.
    row_ind, col_ind, mass : ndarrays
        The positive entries of the plan, at most n + m of them if no two plans are optimal.
    row_marginal, col_marginal : ndarray of float64, shapes (n,) and (m,)
        P 1 and P^T 1; those of `Fixed` sides to a few units of rounding of the total mass.
    transport_cost : float
        <C, P>, in units of cost times mass.
    value : float
        The primal objective: <C, P> and the penalties.
    dual_value : float
        The dual objective at (f, g).
    price : float or None
        With a given mass, what one more unit of it costs: f_i and g_j are then at most half of it, equal to that where
        something is left, and the dual objective is ``price * mass + sum a_i (f_i - price / 2) + sum b_j (g_j - price
        / 2)``.
    status : Status
        `Status.OPTIMAL`.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> sol = eot.exact([[0.0, 1.0], [1.0, 0.0]], [0.6, 0.4], [0.5, 0.5])
    >>> sol.plan.round(3)
    array([[0.5, 0.1],
           [0. , 0.4]])
    >>> round(sol.value, 6), sol.gap < 1e-12
    (0.1, True)
    """

    problem: Problem
    f: Vector
    g: Vector
    row_ind: NDArray[np.int64]
    col_ind: NDArray[np.int64]
    mass: Vector
    row_marginal: Vector
    col_marginal: Vector
    transport_cost: float
    value: float
    dual_value: float
    price: float | None = None
    status: Status = Status.OPTIMAL

    def __repr__(self) -> str:
        n, m = self.problem.shape
        return f"ExactSolution({n} x {m}, value={self.value:.6g}, gap={self.gap:.1e}, {self.mass.size} entries)"

    @property
    def gap(self) -> float:
        """`value` - `dual_value`, rounding."""
        return max(self.value - self.dual_value, 0.0)

    @cached_property
    def plan(self) -> NDArray[np.float64]:
        """The plan, shape (n, m); computed on first use and kept."""
        out = np.zeros(self.problem.shape)
        out[self.row_ind, self.col_ind] = self.mass
        return out

    def sample(
        self, size: int, rng: np.random.Generator | int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw pairs (i, j) with probabilities P_ij / sum(P), independently; the plan is not stored.

        Parameters
        ----------
        size : int
            How many.
        rng : numpy.random.Generator or int, optional
            Where randomness comes from, or a seed.

        Returns
        -------
        rows, cols : ndarray of int, shape (size,)
        """
        if isinstance(size, bool) or not hasattr(size, "__index__") or size < 0:
            raise ValueError(f"size is {size!r}; it must be an integer >= 0")
        total = np.cumsum(self.mass)
        if total.size == 0:
            raise ValueError("the plan carries no mass; there is nothing to draw")
        drawn = np.searchsorted(total, total[-1] * np.random.default_rng(rng).random(size), side="right")
        drawn = np.minimum(drawn, total.size - 1)  # where the product was rounded up to the total
        return self.row_ind[drawn], self.col_ind[drawn]

    def sparse_plan(self) -> csr_array:
        """The plan as a scipy.sparse.csr_array, shape (n, m)."""
        from scipy.sparse import csr_array

        return csr_array((self.mass, (self.row_ind, self.col_ind)), shape=self.problem.shape)
