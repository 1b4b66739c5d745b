"""What `exact` returns: a plan of few entries, and the potentials that prove it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..cached import cached_property
from ..plans.entries import sample_entries
from ..problems.penalty import Vector
from ..problems.problem import Problem
from ..results import Result
from ..solvers.status import Status
from .html import shown, tiles_of_entries

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class ExactSolution(Result):
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

    def _repr_html_(self) -> str:
        n, m = self.problem.shape
        facts = (
            ("problem", f"{n} x {m}"),
            ("rows, cols", f"{self.problem.rows!r}, {self.problem.cols!r}"),
            ("status", self.status.name),
            ("value", f"{self.value:.9g}"),
            ("gap", f"{self.gap:.1e}"),
            ("entries", self.mass.size),
        )
        return shown(self, facts, tiles_of_entries(self.row_ind, self.col_ind, self.mass, (n, m)))

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
        return sample_entries(self.row_ind, self.col_ind, self.mass, size, rng)

    def sparse_plan(self) -> csr_array:
        """The plan as a scipy.sparse.csr_array, shape (n, m)."""
        from scipy.sparse import csr_array

        return csr_array((self.mass, (self.row_ind, self.col_ind)), shape=self.problem.shape)
