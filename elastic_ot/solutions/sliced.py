"""What `sliced` returns: values of projections, and a plan in full space where one was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..plans.entries import sample_entries
from ..results import Result
from ..solvers.sliced import SlicedProblem, lifted_slopes, sliced_slopes
from .line import PointGradients

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Kind = Literal["mean", "max", "min", "expected"]


@dataclass(frozen=True, eq=False)
class SlicedSolution(Result):
    """Sliced transport between two clouds, with the bounds that it gives on transport itself; returned by `sliced`.

    Attributes
    ----------
    problem : SlicedProblem
        What was solved.
    kind : {"mean", "max", "min", "expected"}
    value : float
        In units of the cost abs(x - y)^p: of "mean" and "max" the mean or the largest of the values of projections, of
        "min" and "expected" the cost in full space of the plan.
    values : ndarray of float64, shape (k,)
        The value of every projection.
    directions : ndarray of float64, shape (d, k)
        The directions, of length 1.
    direction : ndarray of float64, shape (d,), or None
        That of "max" or "min".
    costs : ndarray of float64, shape (k,), or None
        What the plan of every projection costs in full space; of "min" and "expected".
    row_ind, col_ind, mass : ndarrays or None
        The positive entries of the plan; of "min" and "expected".
    lower_bound : float
        At most the cost of an optimal plan between the points with the cost abs(x - y)^p, a power of the Euclidean
        distance.
    upper_bound : float
        At least that: the cost of the plan; inf where none was asked for.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> found = eot.sliced(x, x + [1.0, 0.0, 0.0], kind="max", seed=0)
    >>> round(found.value, 6), abs(found.direction).round(3)
    (1.0, array([1., 0., 0.]))
    """

    _as_array: ClassVar[str] = "value"

    problem: SlicedProblem
    kind: Kind
    value: float
    values: Array
    directions: Array
    lower_bound: float
    upper_bound: float = np.inf
    direction: Array | None = None
    costs: Array | None = None
    row_ind: Indices | None = None
    col_ind: Indices | None = None
    mass: Array | None = None

    def __repr__(self) -> str:
        n, m, (d, k) = len(self.problem.x), len(self.problem.y), self.directions.shape
        bounds = f"transport in [{self.lower_bound:.6g}, {self.upper_bound:.6g}]"
        return f"SlicedSolution({self.kind}, {n} x {m}, {k} directions of {d}, value={self.value:.6g}, {bounds})"

    @property
    def distance(self) -> float:
        """The p-th root of `value`."""
        return float(self.value ** (1.0 / self.problem.exponent))

    @property
    def plan(self) -> Array:
        """The plan, shape (n, m), of "min" and "expected"."""
        rows, cols, mass = self._entries()
        out = np.zeros((len(self.problem.x), len(self.problem.y)))
        out[rows, cols] = mass
        return out

    def sparse_plan(self) -> csr_array:
        """The plan as a scipy.sparse.csr_array, shape (n, m), of "min" and "expected"."""
        from scipy.sparse import csr_array

        rows, cols, mass = self._entries()
        return csr_array((mass, (rows, cols)), shape=(len(self.problem.x), len(self.problem.y)))

    def sample(self, size: int, rng: np.random.Generator | int | None = None) -> tuple[Indices, Indices]:
        """Draw pairs (i, j) with probabilities P_ij / sum(P), independently, from the plan of "min" and "expected".

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
        return sample_entries(*self._entries(), size, rng)

    def gradients(self) -> PointGradients:
        """The derivatives of `value` in the points, shapes (n, d) and (m, d): orders, plan and direction held.

        Derivatives where all orders are strict: small moves change none. The direction of "max" is a stationary one,
        whose own change does not matter to first order.

        Returns
        -------
        PointGradients
            A named tuple (x, y).
        """
        if self.kind in ("min", "expected"):
            return PointGradients(*lifted_slopes(self.problem, *self._entries()))
        held = self.problem if self.direction is None else self.problem.on(self.direction[:, None])
        return PointGradients(*sliced_slopes(held))

    def _entries(self) -> tuple[Indices, Indices, Array]:
        if self.row_ind is None or self.col_ind is None or self.mass is None:
            raise ValueError(f"kind is {self.kind!r}, which has no plan; ask for kind='min' or kind='expected'")
        return self.row_ind, self.col_ind, self.mass
