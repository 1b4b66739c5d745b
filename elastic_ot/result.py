"""What a solve returns: potentials, the certificate, and everything that follows from them, computed when asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Origin, ingest_bar, ingest_number, origin_of
from .penalties import Vector
from .problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from scipy.sparse import csr_array

    from .gradients import Direction, Gradients, Tangents


class Status(Enum):
    """Why a solve ended; the value is the message."""

    OPTIMAL = "optimal: the potentials prove that no plan is cheaper"
    CONVERGED = "converged: the returned potentials meet the tolerance"
    MAX_ITER = "max_iter reached before the tolerance was met"
    TIME_LIMIT = "time_limit reached before the tolerance was met"
    STALLED = "no more progress: the residual stopped falling above the tolerance"
    NUMERICAL = "numerical breakdown: the kernel or a scaling left the range of floating point"
    BUDGET = "ran the number of iterations asked for (tol=0)"
    STOPPED = "stopped by the callback"


@dataclass(frozen=True, eq=False)
class History:
    """One entry a check of the solver (each iteration at first, more rarely later; always with a callback).

    Attributes
    ----------
    iteration : ndarray of int
        Passes over the cost done so far.
    residual : ndarray
        L1 distance from optimality of the marginals, in units of mass.
    dual : ndarray
        Dual value, in units of cost times mass.
    epsilon : ndarray
        The epsilon the entry belongs to (annealing passes through larger ones).
    seconds : ndarray
        Wall time since the start.
    method : ndarray of str
        The method at work: ``"auto"`` may go through several.
    products : ndarray of int
        Products with Newton's matrix done so far.
    """

    iteration: NDArray[np.int64]
    residual: Vector
    dual: Vector
    epsilon: Vector
    seconds: Vector
    method: NDArray[np.str_]
    products: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.iteration.size)


@dataclass(frozen=True, eq=False)
class Host:
    """Potentials and marginals as kernels read them, in NumPy and float64 whatever library they are reported in.

    They belong to the costs of `Problem`, which may lack an offset.
    """

    f: Vector
    g: Vector
    row_marginal: Vector
    col_marginal: Vector


@dataclass(frozen=True, eq=False)
class Budget:
    """How a fixed number of iterations ran: from which potentials (None is 0), and the side updated last."""

    count: int
    end: str
    f: Vector | None
    g: Vector | None


@dataclass(frozen=True, eq=False)
class Solution:
    """A transport plan P = R exp((f + g - C) / epsilon) with its certificate.

    Everything of size n x m is computed when asked for, from the cost that was passed in: do not change that array
    while the solution is in use. Rows or columns without mass (zero weight, or nothing but forbidden cells) have
    potential -inf.

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

    problem: Problem
    f: Vector
    g: Vector
    row_marginal: Vector
    col_marginal: Vector
    marginal_error: float
    residual: float
    dual_value: float
    status: Status
    message: str
    n_iter: int
    method: str
    history: History
    host: Host = field(repr=False)
    origin: Origin = field(default=Origin(), repr=False)
    budget: Budget | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        n, m = self.problem.shape
        return (
            f"Solution({n} x {m}, epsilon={self.epsilon:g}, {self.status.name}, "
            f"method={self.method!r}, n_iter={self.n_iter}, residual={self.residual:.1e})"
        )

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
    def plan(self) -> Any:
        """The plan, shape (n, m), in the dtype of the cost; computed on first use and kept."""
        from . import plans

        with self.origin.here():
            return self.origin.emit(plans.plan(self))

    @cached_property
    def log_plan(self) -> Any:
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
        from . import plans

        with self.origin.here():
            return replace(self.origin, dtype=None).emit(plans.log_plan(self))

    def sample(self, size: int, rng: Any = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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
        from .drawing import sample

        with self.origin.here():
            return sample(self, size, rng)

    def apply(self, x: Any, axis: int = 1) -> Any:
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
        from . import plans

        origin_of(cost=self.f, x=x)
        with self.origin.here():
            return self.origin.emit(plans.apply(self, x, axis))

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
        from . import plans

        with self.origin.here():
            return plans.sparse_plan(self, mass)

    @cached_property
    def transport_cost(self) -> float:
        """<C, P>, in units of cost times mass."""
        from . import plans

        with self.origin.here():
            return plans.transport_cost(self) + self.problem.offset * float(self.host.row_marginal.sum())

    @cached_property
    def gap(self) -> float:
        """`value` - `dual_value` >= 0: epsilon times the relative entropy from P to the optimal plan is at most this.

        Where a hard side is met only to tolerance, the primal value is that of `rounded_plan`.
        """
        from . import certificate

        with self.origin.here():
            return certificate.gap(self)

    @property
    def value(self) -> float:
        """The primal objective, of `rounded_plan` where a hard side is met only to tolerance."""
        return self.dual_value + self.gap if np.isfinite(self.gap) else float("inf")

    def rounded_plan(self) -> Any:
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
        from . import certificate

        with self.origin.here():
            return self.origin.emit(certificate.rounded_plan(self))

    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound on the optimal value of the unregularised problem (epsilon = 0, same penalties).

        Returns
        -------
        lower, upper : float
            From a dual point made feasible, and from `rounded_plan`; in units of cost times mass. `Elastic(lam)`
            counts as the `KL` it is at this epsilon.
        """
        from . import certificate

        with self.origin.here():
            lower, upper = certificate.bounds(self)
        return lower + self.problem.offset_value, upper + self.problem.offset_value

    def gradients(self) -> Gradients:
        """Derivatives of the optimal `value` in cost, weights, epsilon and strengths.

        By the envelope theorem they are read off the solution, without a linear system: that in the cost is the plan.

        Returns
        -------
        Gradients
            Arrays in NumPy and float64; that in the cost is one of CuPy if the cost lies on a device.

        Warns
        -----
        ConvergenceWarning
            The solution is not converged.
        """
        from . import gradients

        with self.origin.here():
            return gradients.value_gradients(self)

    def vjp(self, plan: Any = None, f: Any = None, g: Any = None) -> Gradients:
        """Derivatives of a function of plan and potentials, given its derivatives in those (implicit differentiation).

        One linear system with the matrix of Newton's method. Solve to a small `tol` first: errors of the solution enter
        amplified by 1 / epsilon. With ``tol=0`` instead the exact derivative of the iterations that were run: they are
        replayed backwards, with O(max_iter (n + m)) memory besides the plan's.

        Parameters
        ----------
        plan : array_like, shape (n, m), optional
            dL/dP.
        f, g : array_like, shapes (n,) and (m,), optional
            dL/df and dL/dg.

        Returns
        -------
        Gradients
            dL in cost, weights, epsilon and strengths; arrays as those of `gradients`.

        Warns
        -----
        ConvergenceWarning
            The solution is not converged.

        Examples
        --------
        >>> import numpy as np
        >>> import elastic_ot as eot
        >>> cost = np.array([[0.0, 1.0], [1.0, 0.3]])
        >>> sol = eot.solve(cost, epsilon=0.5, tol=1e-12)
        >>> bar = np.array([[1.0, 0.0], [0.0, 0.0]])  # of P[0, 0]
        >>> found = sol.vjp(plan=bar).cost[0, 1]
        >>> h = 1e-5 * np.array([[0.0, 1.0], [0.0, 0.0]])
        >>> up, down = (eot.solve(c, epsilon=0.5, tol=1e-12).plan[0, 0] for c in (cost + h, cost - h))
        >>> bool(np.isclose(found, (up - down) / 2e-5, rtol=1e-6))
        True
        """
        shape = self.problem.shape
        with self.origin.here():
            bars = (
                ingest_bar("plan", plan, shape, like=self.problem.cost.matrix),
                *(ingest_bar(name, bar, size) for name, bar, size in (("f", f, shape[:1]), ("g", g, shape[1:]))),
            )
            if self.budget is not None:
                from .unrolled import pull_back_iterations

                return pull_back_iterations(self, *bars)
            from .gradients import pull_back

            return pull_back(self, *bars)

    def jvp(
        self, cost: Any = None, a: Any = None, b: Any = None, epsilon: Any = None, rows: Any = None, cols: Any = None
    ) -> Tangents:
        """Derivatives of plan and potentials along a direction of the inputs (forward differentiation).

        The transpose of `vjp`, with the same linear system. After ``tol=0`` the exact derivative of the iterations that
        were run.

        Parameters
        ----------
        cost : array_like, shape (n, m), optional
            Direction of the cost; forbidden cells do not count.
        a, b : array_like, shapes (n,) and (m,), optional
            Directions of the weights; zero weights stay zero. With two `Fixed` sides they must have the same sum.
        epsilon : float, optional
            Direction of epsilon, at held strengths rho.
        rows, cols : float, optional
            Directions of the strengths rho.

        Returns
        -------
        Tangents
            NumPy, float64; the plan's is one of CuPy if the cost lies on a device.

        Raises
        ------
        ValueError
            A shape is wrong, a penalty has no strength, or the masses of two `Fixed` sides would part.

        Warns
        -----
        ConvergenceWarning
            The solution is not converged.

        Examples
        --------
        >>> import numpy as np
        >>> import elastic_ot as eot
        >>> cost, step = np.array([[0.0, 1.0], [1.0, 0.3]]), np.array([[0.0, 1.0], [0.0, 0.0]])
        >>> moved = eot.solve(cost, epsilon=0.5, tol=1e-12).jvp(cost=step)
        >>> up, down = (eot.solve(c, epsilon=0.5, tol=1e-12).plan for c in (cost + 1e-5 * step, cost - 1e-5 * step))
        >>> bool(np.allclose(moved.plan, (up - down) / 2e-5, rtol=1e-6))
        True
        """
        with self.origin.here():
            direction = self._direction(cost, a, b, epsilon, rows, cols)
            if self.budget is not None:
                from .unrolled import push_forward_iterations

                return push_forward_iterations(self, direction)
            from .gradients import push_forward

            return push_forward(self, direction)

    def hvp(
        self, cost: Any = None, a: Any = None, b: Any = None, epsilon: Any = None, rows: Any = None, cols: Any = None
    ) -> Gradients:
        """The Hessian of the optimal `value` times a direction of the inputs: how `gradients` changes along it.

        Takes the same linear system as `vjp` and `jvp`. With two `Fixed` sides the gradients in a and b, and so their
        changes, are known up to a constant; they are those of the gauge <b, g> = 0.

        Parameters
        ----------
        cost, a, b, epsilon, rows, cols
            The direction, as in `jvp`.

        Returns
        -------
        Gradients
            Arrays in NumPy and float64; that in the cost is one of CuPy if the cost lies on a device.

        Raises
        ------
        ValueError
            As `jvp`, and after ``tol=0``: what a number of iterations ends at is no optimal value.

        Warns
        -----
        ConvergenceWarning
            The solution is not converged.

        Examples
        --------
        >>> import elastic_ot as eot
        >>> cost, more = [[0.0, 1.0], [1.0, 0.3]], [[0.0, 1.00001], [1.0, 0.3]]
        >>> found, other = (eot.solve(c, epsilon=0.5, cols=eot.KL(1.0), tol=1e-12) for c in (cost, more))
        >>> change = found.hvp(cost=[[0.0, 1.0], [0.0, 0.0]])
        >>> [round(change.cols, 4), round((other.gradients().cols - found.gradients().cols) / 1e-5, 4)]
        [0.1, 0.1]
        """
        if self.budget is not None:
            raise ValueError(
                "this solution ran a fixed number of iterations (tol=0); hvp needs an optimum, solve to a tol"
            )
        from .gradients import push_value_gradients

        with self.origin.here():
            return push_value_gradients(self, self._direction(cost, a, b, epsilon, rows, cols))

    def _direction(self, cost: Any, a: Any, b: Any, epsilon: Any, rows: Any, cols: Any) -> Direction:
        from .gradients import Direction

        shape = self.problem.shape
        numbers = [
            0.0 if x is None else ingest_number(name, x)
            for name, x in (("epsilon", epsilon), ("rows", rows), ("cols", cols))
        ]
        for name, penalty, step in (("rows", self.problem.rows, numbers[1]), ("cols", self.problem.cols, numbers[2])):
            if step and not hasattr(penalty, "rho"):
                raise ValueError(f"{name} is {penalty!r}, which has no strength to change; its direction must be 0")
        by_cost = ingest_bar("cost", cost, shape, like=self.problem.cost.matrix)
        return Direction(by_cost, ingest_bar("a", a, shape[:1]), ingest_bar("b", b, shape[1:]), *numbers)

    def plot(self) -> Figure:
        """The plan with its two marginals, and the convergence curves.

        Returns
        -------
        matplotlib.figure.Figure
            Needs matplotlib: ``pip install "elastic-ot[plot]"``.
        """
        from .plotting import plot_solution

        return plot_solution(self)
