"""What a solve returns: potentials, the certificate, and everything that follows from them, computed when asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic

import numpy as np
from numpy.typing import NDArray

from ..arrays.origin import Origin, origin_of
from ..cached import cached_property
from ..costs.base import Cost
from ..plans import certificate, export
from ..plans.new_points import map_new
from ..plans.rounding import rounded_plan
from ..plans.sampling import sample
from ..problems.problem import Problem
from ..results import Result
from ..solvers.found import Found
from ..solvers.history import History
from ..typing import ArrayLike, ArrayT_co, Items, Seed
from .differentiable import Differentiable
from .html import shown, tiles_of_plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from scipy.sparse import csr_array

from ..solvers.status import Budget, Status


@dataclass(frozen=True, eq=False)
class Solution(Result, Differentiable, Generic[ArrayT_co]):
    """A transport plan P = R exp((f + g - C) / epsilon) with its certificate.

    Everything of size n x m is computed when asked for, from the cost that was passed in: do not change that array
    while the solution is in use. Only a small problem, of up to 2**18 entries, may have its plan already. Rows or
    columns without mass (zero weight, or nothing but forbidden cells) have potential -inf.

    Arrays are of the library that the cost came from, and on its device. In NumPy potentials and marginals are float64;
    in other libraries they have the dtype of the cost. `host` holds them in NumPy and float64 in any case.

    Attributes
    ----------
    problem : Problem
        What was solved; a large constant that all costs had in common is taken off and kept as ``problem.offset``.
    f, g : array, shapes (n,) and (m,)
        Potentials in cost units, with respect to the chosen reference. With two fixed sides <b, g> = 0.
    row_marginal, col_marginal : array, shapes (n,) and (m,)
        P 1 and P^T 1 of the returned potentials.
    marginal_error : float
        L1 distance of the marginals from what the hard sides (`Fixed`, `Between`, `AtMost`) allow.
    residual : float
        L1 distance from optimality, over both sides; what the tolerance is compared with.
    dual_value : float
        The dual objective at (f, g): a lower bound on the optimal value.
    status : Status
    message : str
        The status in words, with the level reached and what to try.
    n_iter : int
        Passes over the cost.
    method : str
        The method used; what ``"auto"`` chose.
    history : History

    Examples
    --------
    >>> import elastic_ot as eot
    >>> sol = eot.solve([[0.0, 1.0], [1.0, 0.0]], epsilon=0.2)
    >>> sol.converged, sol.gap < 1e-9
    (True, True)
    """

    found: Found = field(repr=False)
    f: ArrayT_co
    g: ArrayT_co
    row_marginal: ArrayT_co
    col_marginal: ArrayT_co
    marginal_error: float
    residual: float
    dual_value: float
    status: Status
    message: str
    n_iter: int
    method: str
    history: History
    origin: Origin = field(default=Origin(), repr=False)
    known_plan: NDArray[np.floating] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        n, m = self.problem.shape
        return (
            f"Solution({n} x {m}, epsilon={self.epsilon:g}, {self.status.name}, "
            f"method={self.method!r}, n_iter={self.n_iter}, residual={self.residual:.1e})"
        )

    def _repr_html_(self) -> str:
        n, m = self.problem.shape
        facts = (
            ("problem", f"{n} x {m}, epsilon={self.epsilon:g}"),
            ("rows, cols", f"{self.problem.rows!r}, {self.problem.cols!r}"),
            ("status", f"{self.status.name} ({self.method}, {self.n_iter} iterations)"),
            ("residual", f"{self.residual:.2e}"),
            ("dual value", f"{self.dual_value:.9g}"),
        )
        with self.origin.here():
            return shown(self, facts, tiles_of_plan(self.found))

    @property
    def problem(self) -> Problem:
        """What was solved."""
        return self.found.problem

    @property
    def host(self) -> Found:
        """Potentials and marginals in NumPy and float64, of the costs of `problem`."""
        return self.found

    @property
    def budget(self) -> Budget | None:
        """The iterations that were run, if their number was fixed (``tol=0``)."""
        return self.found.budget

    @property
    def epsilon(self) -> float:
        """The regularisation strength, in cost units."""
        return self.problem.epsilon

    @property
    def converged(self) -> bool:
        """True if the returned potentials meet the tolerance."""
        return self.status is Status.CONVERGED

    @property
    def price(self) -> float | None:
        """By how much the optimal value rises with a unit of the given `mass`; None if no mass was given.

        Where a side has to send all it may, its potentials hold the price, and this is 0.
        """
        return None if self.problem.amount is None else self.problem.price

    @cached_property
    def plan(self) -> ArrayT_co:
        """The plan, shape (n, m), in the dtype of the cost; computed on first use and kept."""
        with self.origin.here():
            if self.known_plan is not None:
                return self.origin.emit(self.known_plan.astype(self.problem.cost.working_dtype, copy=False))
            return self.origin.emit(export.plan(self.found))

    @cached_property
    def log_plan(self) -> ArrayT_co:
        """The logarithm of the plan, shape (n, m), also where the plan itself is too small to be stored.

        -inf for forbidden cells and in rows and columns without mass, and nowhere else. In the dtype of the cost, in
        float32 if that is half precision; computed on first use and kept.

        Examples
        --------
        >>> import elastic_ot as eot
        >>> sol = eot.solve([[0.0, 50.0], [50.0, 0.0]], epsilon=0.05)
        >>> float(sol.plan[0, 1]), round(float(sol.log_plan[0, 1]), 3)
        (0.0, -1000.693)
        """
        with self.origin.here():
            return replace(self.origin, dtype=None).emit(export.log_plan(self.found))

    def sample(self, size: int, rng: Seed = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs (i, j) drawn from the plan over its mass, independently; the plan is not stored.

        Parameters
        ----------
        size : int
            How many, >= 0.
        rng : int or numpy.random.Generator, optional
            A seed or a generator; default a new one.

        Returns
        -------
        rows, cols : ndarray of int64, shape (size,)
            NumPy, whatever library the cost is of.

        Raises
        ------
        ValueError
            A size that is no integer >= 0, or a plan without mass.

        Examples
        --------
        >>> import elastic_ot as eot
        >>> sol = eot.solve([[0.0, 9.0], [9.0, 0.0]], [0.25, 0.75], [0.25, 0.75], epsilon=0.1)
        >>> rows, cols = sol.sample(1000, rng=0)
        >>> bool((rows == cols).all()), round(float(rows.mean()), 1)
        (True, 0.8)
        """
        with self.origin.here():
            return sample(self.found, size, rng)

    def apply(self, x: ArrayLike, axis: int = 1) -> ArrayT_co:
        """The plan times `x`, without ever storing the plan.

        Parameters
        ----------
        x : array_like
            Shape (m,) or (m, k) for ``axis=1``, (n,) or (n, k) for ``axis=0``.
        axis : {1, 0}
            The axis of the plan that is summed over: 1 gives P @ x, 0 gives P.T @ x.

        Returns
        -------
        array
            Shape (n,), (n, k), (m,) or (m, k); float64 in NumPy.

        Examples
        --------
        >>> import elastic_ot as eot
        >>> sol = eot.solve([[0.0, 1.0], [1.0, 0.0]], epsilon=0.2)
        >>> sol.apply([1.0, 1.0]).round(6)
        array([0.5, 0.5])
        """
        origin_of(cost=self.f, x=x)
        with self.origin.here():
            return self.origin.emit(export.apply(self.found, x, axis))

    def rows(self, which: int | slice | ArrayLike) -> ArrayT_co:
        """Some rows of the plan, without the others.

        Parameters
        ----------
        which : int, slice or array_like of int
            Which rows.

        Returns
        -------
        array
            Shape (m,) for one row, else (k, m); float64 in NumPy.

        Raises
        ------
        IndexError
            There is no such row.

        Examples
        --------
        >>> import elastic_ot as eot
        >>> sol = eot.solve([[0.0, 1.0], [1.0, 0.0]], epsilon=0.2)
        >>> sol.rows(0).sum().round(6), sol.rows([1, 0]).shape
        (np.float64(0.5), (2, 2))
        """
        with self.origin.here():
            return self.origin.emit(export.rows(self.found, which))

    def barycentric_map(self, y: ArrayLike) -> ArrayT_co:
        """Where each row sends its mass on average: (P y) / (P 1), without storing the plan.

        Parameters
        ----------
        y : array_like, shape (m,) or (m, k)
            Points, colours or other numbers of the columns.

        Returns
        -------
        array
            Shape (n,) or (n, k); float64 in NumPy. nan for rows that send nothing.

        See Also
        --------
        apply : the product without the division.
        map_new : the same for points that were not in the problem.

        Examples
        --------
        >>> import numpy as np
        >>> import elastic_ot as eot
        >>> x, y = np.arange(3.0), np.arange(3.0) + 10.0
        >>> sol = eot.solve((x[:, None] - y) ** 2, epsilon=0.01)
        >>> sol.barycentric_map(y).round(6)
        array([10., 11., 12.])
        """
        origin_of(cost=self.f, y=y)
        with self.origin.here():
            return self.origin.emit(export.barycentric_map(self.found, y))

    def map_new(self, points: ArrayLike | Items | Cost, values: ArrayLike | None = None, axis: int = 1) -> ArrayT_co:
        """Where points that were not in the problem are sent on average: the entropic map.

        The row of the plan that a new point x has follows from the potentials of the columns alone, whatever the
        penalties are: entry j is proportional to R_j exp((g_j - c(x, y_j)) / epsilon), with R_j = b_j, or 1 for the
        counting reference. At points of the problem this is `barycentric_map`, as closely as the rows are solved. No
        matrix of the new points and the columns is stored.

        Parameters
        ----------
        points : array_like, shape (k, d)
            New points, for a problem between the points of a `PointCloud` or of a `FunctionCost`. For any problem, the
            costs between what is new and the columns, a matrix (k, m) or a `Cost` of that shape; between the rows and
            what is new, (n, k), with ``axis=0``. inf forbids an entry.
        values : array_like, shape (m,) or (m, p), optional
            What means are taken of; by default the points of the columns. With ``axis=0`` it is that of the rows,
            (n,) or (n, p).
        axis : {1, 0}
            1 carries new rows to the columns, 0 new columns to the rows.

        Returns
        -------
        array
            Shape (k,) or (k, p), with p = d by default; float64 in NumPy. nan for what has forbidden entries only.

        Raises
        ------
        ValueError
            For points of another number of coordinates, costs or values of a shape that does not fit.
        TypeError
            Without `values` where the cost knows no points.

        See Also
        --------
        barycentric_map : the map at the points of the problem.

        References
        ----------
        Pooladian, Niles-Weed, *Entropic estimation of optimal transport maps*, 2021.

        Examples
        --------
        >>> import numpy as np
        >>> import elastic_ot as eot
        >>> x = np.linspace(0.0, 1.0, 50)[:, None]
        >>> sol = eot.solve(eot.PointCloud(x, x + 10.0), epsilon=1e-3)
        >>> sol.map_new([[0.25], [0.5]]).round(2).ravel()
        array([10.25, 10.5 ])
        >>> sol.map_new([[10.5]], axis=0).round(2).ravel()
        array([0.5])
        """
        with self.origin.here():
            return self.origin.emit(map_new(self.found, points, values, axis))

    def sparse_plan(self, mass: float = 0.999) -> csr_array:
        """The entries that carry a share `mass` of every row's and of every column's mass.

        Parameters
        ----------
        mass : float
            Share to keep, 0 < mass <= 1; 1 keeps every positive entry.

        Returns
        -------
        scipy.sparse.csr_array
            Shape (n, m), float64, on the host; kept entries have the values of the plan.
        """
        with self.origin.here():
            return export.sparse_plan(self.found, mass)

    @cached_property
    def transport_cost(self) -> float:
        """<C, P>, in units of cost times mass."""
        with self.origin.here():
            cost = export.transport_cost(self.found)
        if self.problem.offset == 0.0:  # a plan that overflows has no mass to multiply by it
            return cost
        return cost + self.problem.offset * float(self.host.row_marginal.sum())

    @cached_property
    def gap(self) -> float:
        """`value` - `dual_value` >= 0: epsilon times the relative entropy from P to the optimal plan is at most this.

        Where a hard side is met only to tolerance, the primal value is that of `rounded_plan`. The first time it is
        asked for it reads the plan; where entries are masked and both sides are hard, it may take up to 1000 sweeps and
        200 steps of Newton's method to find a plan that meets them.
        """
        with self.origin.here():
            return certificate.gap(self.found, bool(np.isfinite(self.dual_value) and np.isfinite(self.residual)))

    @property
    def value(self) -> float:
        """The primal objective, of `rounded_plan` where a hard side is met only to tolerance."""
        return self.dual_value + self.gap if np.isfinite(self.gap) else float("inf")

    def rounded_plan(self) -> ArrayT_co:
        """A plan near `plan` that meets the hard sides to the last digits (Altschuler, Weed, Rigollet 2017).

        Returns
        -------
        array, shape (n, m)
            In units of mass, in double precision for NumPy. Its sums are what hard sides ask for, each to some units in
            the last place, however small it is.

        Raises
        ------
        ConvergenceError
            No such plan was found on the allowed cells.
        """
        with self.origin.here():
            return self.origin.emit(rounded_plan(self.found))

    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound on the optimal value of the unregularised problem (epsilon = 0, same penalties).

        Returns
        -------
        lower, upper : float
            From a dual point made feasible, and from `rounded_plan`; in units of cost times mass. `Elastic(lam)`
            counts as the `KL` it is at this epsilon.
        """
        with self.origin.here():
            lower, upper = certificate.bounds(self.found)
        return lower + self.problem.offset_value, upper + self.problem.offset_value

    def plot(self) -> Figure:
        """The plan with its two marginals, and the convergence curves.

        Returns
        -------
        matplotlib.figure.Figure
            Needs matplotlib: ``pip install "elastic-ot[plot]"``.
        """
        from .plotting import plot_solution

        return plot_solution(self)
