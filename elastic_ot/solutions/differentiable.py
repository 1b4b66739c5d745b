"""Derivatives of a solution, of one problem and of many: what users call, with the warnings that belong to it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import ingest_bar
from ..arrays.origin import Origin
from ..derivatives import batch
from ..derivatives.cloud import cloud_of, in_costs, in_points
from ..derivatives.implicit import pull_back, push_forward
from ..derivatives.records import Gradients, Tangents, direction_of
from ..derivatives.unrolled import pull_back_iterations, push_forward_iterations
from ..derivatives.value import push_value_gradients, value_gradients
from ..errors import warn_user
from ..solvers.batch.found import BatchFound
from ..solvers.found import Found
from ..typing import ArrayLike, Number

NO_OPTIMUM = "this solution ran a fixed number of iterations (tol=0); hvp needs an optimum, solve to a tol"


class Differentiable(ABC):
    """The derivatives of a `Solution`."""

    found: Found
    origin: Origin
    residual: float
    message: str

    @property
    @abstractmethod
    def converged(self) -> bool:
        """True if the returned potentials meet the tolerance."""

    def gradients(self) -> Gradients:
        """Derivatives of the optimal `value` in cost, weights, epsilon and strengths.

        By the envelope theorem they are read off the solution, without a linear system: that in the cost is the plan.

        Returns
        -------
        Gradients
            Arrays in NumPy and float64; that in the cost is one of CuPy if the cost lies on a device. A `PointCloud`
            has ``x`` and ``y``, those in the points, in place of it.

        Warns
        -----
        ConvergenceWarning
            The solution is not converged.
        """
        self._warn_unconverged()
        with self.origin.here():
            return value_gradients(self.found)

    def vjp(self, plan: ArrayLike | None = None, f: ArrayLike | None = None, g: ArrayLike | None = None) -> Gradients:
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
        shape = self.found.problem.shape
        with self.origin.here():
            bars = (
                ingest_bar("plan", plan, shape, like=self.found.problem.cost.memory),
                *(ingest_bar(name, bar, size) for name, bar, size in (("f", f, shape[:1]), ("g", g, shape[1:]))),
            )
            if self.found.budget is not None:
                found, cloud = pull_back_iterations(self.found, *bars), cloud_of(self.found.problem)
                return found if cloud is None else in_points(cloud, found)
            self._warn_unconverged()
            return pull_back(self.found, *bars)

    def jvp(
        self,
        cost: ArrayLike | None = None,
        a: ArrayLike | None = None,
        b: ArrayLike | None = None,
        epsilon: Number | None = None,
        rows: Number | None = None,
        cols: Number | None = None,
        *,
        x: ArrayLike | None = None,
        y: ArrayLike | None = None,
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
        x, y : array_like, shapes (n, d) and (m, d), optional
            Directions of the points of a `PointCloud`, in place of that of the cost.

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
            direction = direction_of(self.found.problem, cost, a, b, epsilon, rows, cols, (x, y))
            if self.found.budget is not None:
                cloud = cloud_of(self.found.problem)
                direction = direction if cloud is None else in_costs(cloud, direction)
                return push_forward_iterations(self.found, direction)
            self._warn_unconverged()
            return push_forward(self.found, direction)

    def hvp(
        self,
        cost: ArrayLike | None = None,
        a: ArrayLike | None = None,
        b: ArrayLike | None = None,
        epsilon: Number | None = None,
        rows: Number | None = None,
        cols: Number | None = None,
        *,
        x: ArrayLike | None = None,
        y: ArrayLike | None = None,
    ) -> Gradients:
        """The Hessian of the optimal `value` times a direction of the inputs: how `gradients` changes along it.

        Takes the same linear system as `vjp` and `jvp`. With two `Fixed` sides the gradients in a and b, and so their
        changes, are known up to a constant; they are those of the gauge <b, g> = 0.

        Parameters
        ----------
        cost, a, b, epsilon, rows, cols, x, y
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
        if self.found.budget is not None:
            raise ValueError(NO_OPTIMUM)
        with self.origin.here():
            direction = direction_of(self.found.problem, cost, a, b, epsilon, rows, cols, (x, y))
            self._warn_unconverged()
            return push_value_gradients(self.found, direction)

    def _warn_unconverged(self) -> None:
        if not self.converged:
            warn_user(
                f"gradients hold at the optimum, and this solution ended with residual {self.residual:.1e}: "
                f"{self.message}"
            )


class BatchDifferentiable(ABC):
    """The derivatives of a `BatchSolution`."""

    found: BatchFound
    origin: Origin

    @property
    @abstractmethod
    def converged(self) -> NDArray[np.bool_]:
        """Which problems meet the tolerance."""

    @property
    @abstractmethod
    def residual(self) -> NDArray[np.float64]:
        """L1 distances from optimality."""

    def gradients(self) -> Gradients:
        """Derivatives of the optimal values in costs, weights, epsilon and strengths, with the batch shape in front.

        By the envelope theorem they are read off the solutions: those in the costs are the plans.

        Returns
        -------
        Gradients
            NumPy: that in the cost in the dtype of the cost, the others in float64. A `PointCloud` has ``x`` and ``y``
            in place of it, shapes (..., n, d) and (..., m, d), 0 beyond the lengths.

        Warns
        -----
        ConvergenceWarning
            Some problem is not converged; one warning for all.
        """
        self._warn_unconverged()
        with self.origin.here():
            return batch.value_gradients(self.found)

    def vjp(self, plan: ArrayLike | None = None, f: ArrayLike | None = None, g: ArrayLike | None = None) -> Gradients:
        """Derivatives of a function of plans and potentials, given its derivatives in those (implicit differentiation).

        One linear system for every problem. Solve to a small `tol` first: errors of the solutions enter amplified by
        1 / epsilon. With ``tol=0`` instead the exact derivatives of the iterations that were run.

        Parameters
        ----------
        plan : array_like, shape (..., n, m), optional
            dL/dP.
        f, g : array_like, shapes (..., n) and (..., m), optional
            dL/df and dL/dg.

        Returns
        -------
        Gradients
            dL in what each problem was given: where problems share a cost or weights, the sum over them is still to be
            taken, but for the points of a `PointCloud`, whose derivatives have the shapes of ``x`` and ``y``. NumPy:
            that in the cost in the dtype of the cost, the others in float64.

        Warns
        -----
        ConvergenceWarning
            Some problem is not converged; one warning for all.
        """
        with self.origin.here():
            if self.found.budget is None:
                self._warn_unconverged()
            return batch.pull_back(self.found, plan, f, g)

    def jvp(
        self,
        cost: ArrayLike | None = None,
        a: ArrayLike | None = None,
        b: ArrayLike | None = None,
        epsilon: ArrayLike | None = None,
        rows: ArrayLike | None = None,
        cols: ArrayLike | None = None,
        *,
        x: ArrayLike | None = None,
        y: ArrayLike | None = None,
    ) -> Tangents:
        """Derivatives of plans and potentials along a direction of the inputs (forward differentiation).

        The transpose of `vjp`, computed problem by problem.

        Parameters
        ----------
        cost : array_like, shape (..., n, m), optional
            Directions of the costs; forbidden cells do not count.
        a, b : array_like, shapes (..., n) and (..., m), optional
            Directions of the weights; zero weights stay zero. With two `Fixed` sides they must have the same sum.
        epsilon, rows, cols : float or array_like, shape (...), optional
            Directions of epsilon, at held strengths rho, and of these.
        x, y : array_like, shapes (..., n, d) and (..., m, d), optional
            Directions of the points of a `PointCloud`, in place of those of the costs.

        Returns
        -------
        Tangents
            NumPy, float64; leading dimensions of the directions broadcast to the batch.

        Raises
        ------
        ValueError
            A shape is wrong, a penalty has no strength, or the masses of two `Fixed` sides would part.

        Warns
        -----
        ConvergenceWarning
            Some problem is not converged; one warning for all.
        """
        with self.origin.here():
            if self.found.budget is None:
                self._warn_unconverged()
            step = {"cost": cost, "a": a, "b": b, "epsilon": epsilon, "rows": rows, "cols": cols, "x": x, "y": y}
            return batch.push_forward(self.found, **step)

    def hvp(
        self,
        cost: ArrayLike | None = None,
        a: ArrayLike | None = None,
        b: ArrayLike | None = None,
        epsilon: ArrayLike | None = None,
        rows: ArrayLike | None = None,
        cols: ArrayLike | None = None,
        *,
        x: ArrayLike | None = None,
        y: ArrayLike | None = None,
    ) -> Gradients:
        """The Hessians of the optimal values times a direction of the inputs: how `gradients` change along it.

        Computed problem by problem. With two `Fixed` sides the gradients in a and b, and so their changes, are those of
        the gauge <b, g> = 0.

        Parameters
        ----------
        cost, a, b, epsilon, rows, cols, x, y
            The direction, as in `jvp`.

        Returns
        -------
        Gradients
            NumPy, float64.

        Raises
        ------
        ValueError
            As `jvp`, and after ``tol=0``: what a number of iterations ends at is no optimal value.

        Warns
        -----
        ConvergenceWarning
            Some problem is not converged; one warning for all.
        """
        if self.found.budget is not None:
            raise ValueError(NO_OPTIMUM)
        with self.origin.here():
            self._warn_unconverged()
            step = {"cost": cost, "a": a, "b": b, "epsilon": epsilon, "rows": rows, "cols": cols, "x": x, "y": y}
            return batch.push_value_gradients(self.found, **step)

    def _warn_unconverged(self) -> None:
        if self.converged.all():
            return
        open_ = np.flatnonzero(~self.converged.reshape(-1))
        residual = self.residual.reshape(-1)
        worst = int(open_[np.argmax(np.nan_to_num(residual[open_], nan=np.inf))])
        warn_user(
            f"gradients hold at the optimum, and {open_.size} of {residual.size} problems did not reach it; the worst, "
            f"[{self.found.problem.index(worst)}], ended with residual {residual[worst]:.1e}"
        )
