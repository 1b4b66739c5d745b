"""What `transport_1d` returns: plans of few entries, and the potentials that prove them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cached import cached_property
from ..plans.entries import sample_entries
from ..problems.line import LineProblem
from ..problems.mixed import penalty_of
from ..results import Result, one_line
from ..solvers.status import Status

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


class PointGradients(NamedTuple):
    """Derivatives of a value in the points of both sides, of the shapes of these."""

    x: Array
    y: Array

    def __repr__(self) -> str:
        return one_line(self)


@dataclass(frozen=True, eq=False)
class LineSolution(Result):
    """Optimal plans between points on the line, with potentials that prove them; returned by `transport_1d`.

    Of many problems every field has their leading dimensions, and ``solution[k]`` is that of one.

    Attributes
    ----------
    problem : LineProblem
        What was solved.
    f, g : ndarray of float64, shapes (..., n) and (..., m)
        Potentials in cost units: f_i + g_j <= C_ij for all pairs, with equality where the plan is positive, to the
        tolerance where a side is penalised. Points without weight have one, too. Between given weights f and g are the
        derivatives of the value in the weights, and half of the value belongs to either side.
    row_ind, col_ind : ndarray of int, shape (..., k)
        Places of the plan's entries, k <= n + m - 1.
    mass : ndarray of float64, shape (..., k)
        Their masses: positive for one problem; of many problems k is n + m - 1 and some may be 0.
    transport_cost : float or ndarray, shape (...)
        <C, P>.
    value : float or ndarray, shape (...)
        The primal objective: `transport_cost` and the penalties.
    dual_value : float or ndarray, shape (...)
        The dual objective, a lower bound; <a, f> + <b, g> between given weights.
    status : Status
        `Status.OPTIMAL`, or `Status.STALLED` where a gap is larger than the tolerance.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> sol = eot.transport_1d([0.0, 1.0], [3.0, 2.0], [0.25, 0.75], metric="euclidean")
    >>> sol.plan
    array([[0.  , 0.25],
           [0.5 , 0.25]])
    >>> sol.value, sol.gap
    (1.75, 0.0)
    """

    problem: LineProblem
    f: Array
    g: Array
    row_ind: Indices
    col_ind: Indices
    mass: Array
    transport_cost: float | Array
    value: float | Array
    dual_value: float | Array
    status: Status = Status.OPTIMAL

    def __repr__(self) -> str:
        *batch, n, m = self.problem.shape
        count = f"{' x '.join(map(str, batch))} problems " if batch else ""
        value = "" if batch else f", value={self.value:.6g}"
        gap = float(np.max(self.gap, initial=0.0))
        return f"LineSolution({count}{n} x {m}{value}, gap={gap:.1e}, {self.status.name})"

    def __getitem__(self, index: int | tuple[int, ...]) -> LineSolution:
        """The solution of one problem of many.

        Parameters
        ----------
        index : int or tuple of int
            One number for every leading dimension.
        """
        index, batch = index if isinstance(index, tuple) else (index,), self.problem.batch
        if len(index) != len(batch) or not batch:
            raise IndexError(f"the leading dimensions are {batch}; one index for each of them is needed")
        p = self.problem
        x, y, a, b = (
            None if z is None else np.broadcast_to(z, (*batch, z.shape[-1]))[index] for z in (p.x, p.y, p.a, p.b)
        )
        assert x is not None
        assert y is not None
        k = int(np.ravel_multi_index(index, batch, mode="wrap"))
        sides = (penalty_of(side, batch, k) for side in (p.rows, p.cols))
        here = self.mass[index] > 0
        return LineSolution(
            problem=LineProblem(x, y, a, b, p.exponent, (), *sides),
            f=self.f[index],
            g=self.g[index],
            row_ind=self.row_ind[index][here],
            col_ind=self.col_ind[index][here],
            mass=self.mass[index][here],
            transport_cost=float(np.asarray(self.transport_cost)[index]),
            value=float(np.asarray(self.value)[index]),
            dual_value=float(np.asarray(self.dual_value)[index]),
            status=self.status,
        )

    @property
    def gap(self) -> float | Array:
        """`value` - `dual_value`, rounding; float or shape (...)."""
        gap = np.maximum(np.subtract(self.value, self.dual_value), 0.0)
        return gap if self.problem.batch else float(gap)

    @cached_property
    def plan(self) -> Array:
        """The plans, shape (..., n, m); computed on first use and kept."""
        shape = self.problem.shape
        *batch, n, m = shape
        count = int(np.prod(batch, dtype=np.int64))
        cells = (self.row_ind * m + self.col_ind).reshape(count, -1) + n * m * np.arange(count)[:, None]
        out: Array = (
            np.bincount(cells.reshape(-1), self.mass.reshape(-1), count * n * m)
            .reshape(shape)
            .astype(np.float64, copy=False)
        )
        return out

    def _sums(self, indices: Indices, values: Array, size: int) -> Array:
        """Sums of values (..., k) at places (..., k), shape (..., size)."""
        batch = self.problem.batch
        count = int(np.prod(batch, dtype=np.int64))
        places = indices.reshape(count, -1) + size * np.arange(count)[:, None]
        sums: Array = (
            np.bincount(places.reshape(-1), values.reshape(-1), count * size)
            .reshape(*batch, size)
            .astype(np.float64, copy=False)
        )
        return sums

    @cached_property
    def row_marginal(self) -> Array:
        """P 1, shape (..., n): given weights to a few units of rounding of their sum."""
        return self._sums(self.row_ind, self.mass, self.problem.shape[-2])

    @cached_property
    def col_marginal(self) -> Array:
        """P^T 1, shape (..., m)."""
        return self._sums(self.col_ind, self.mass, self.problem.shape[-1])

    def gradients(self) -> PointGradients:
        """The derivatives of `value` in the points, shapes (..., n) and (..., m), the plan held.

        The derivative where the optimal plan is unique and, with the exponent 1, no mass stays where it is; else one of
        the one-sided ones or between them.

        Returns
        -------
        PointGradients
            A named tuple (x, y). Between given weights the derivatives in these are `f` and `g`.
        """
        p = self.problem
        x, y = (np.broadcast_to(z, (*p.batch, z.shape[-1])) for z in (p.x, p.y))
        differences = np.take_along_axis(x, self.row_ind, -1) - np.take_along_axis(y, self.col_ind, -1)
        pulls = self.mass * p.slopes(differences)
        return PointGradients(
            self._sums(self.row_ind, pulls, x.shape[-1]), -self._sums(self.col_ind, pulls, y.shape[-1])
        )

    def sample(self, size: int, rng: np.random.Generator | int | None = None) -> tuple[Indices, Indices]:
        """Draw pairs (i, j) with probabilities P_ij / sum(P), independently, from the plan of one problem.

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
        self._refuse_many("sample")
        return sample_entries(self.row_ind, self.col_ind, self.mass, size, rng)

    def sparse_plan(self) -> csr_array:
        """The plan of one problem as a scipy.sparse.csr_array, shape (n, m)."""
        from scipy.sparse import csr_array

        self._refuse_many("sparse_plan")
        n, m = self.problem.shape
        return csr_array((self.mass, (self.row_ind, self.col_ind)), shape=(n, m))

    def _refuse_many(self, method: str) -> None:
        if self.problem.batch:
            raise ValueError(
                f"{method} is of one problem, and these have leading dimensions {self.problem.batch}; take solution[k]"
            )
