"""What a solve of many problems returns: the fields of `Solution`, each with the batch shape in front."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import masses
from .arrays import Origin, as_array, beside, origin_of
from .batch_problem import BatchProblem
from .halves import working_dtype
from .memory import library_of, on_host
from .penalties import Vector
from .result import Budget, History, Solution, Status

if TYPE_CHECKING:
    from .gradients import Gradients, Tangents
    from .solvers.batched import BatchMeasure, BatchTask

_MESSAGES = np.vectorize(lambda status: status.value, otypes=[object])


@dataclass(frozen=True, eq=False)
class BatchHost:
    """Potentials in NumPy and float64, problems counted in C order: shapes (B, n) and (B, m)."""

    f: Vector
    g: Vector


@dataclass(frozen=True, eq=False)
class BatchSolution:
    """Plans P = R exp((f + g - C) / epsilon) of many problems with their certificates; returned by `solve`.

    ``solution[index]`` is the `Solution` of one problem, with all its methods. Numbers of `Solution` are arrays of the
    batch shape here. Rows and columns beyond a problem's lengths have potential -inf and carry nothing.

    Attributes
    ----------
    f, g : array, shapes (..., n) and (..., m)
        Potentials in cost units.
    status : ndarray of Status, shape (...)
    n_iter : ndarray of int, shape (...)
    method : ndarray of str, shape (...)
        What solved each problem: "log" is the batch itself.
    history : History
        One entry a round; fields but the seconds have the batch shape behind it. The dual value of a problem is nan
        until it is measured, at its end. A fixed budget has no entry.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> costs = np.random.default_rng(0).random((3, 4, 5))
    >>> sol = eot.solve(costs, epsilon=[0.1, 0.2, 0.5])
    >>> sol.plan.shape, sol.converged.all(), sol.gap.shape
    ((3, 4, 5), np.True_, (3,))
    """

    problem: BatchProblem
    f: Any
    g: Any
    status: NDArray[np.object_]
    n_iter: NDArray[np.int64]
    method: NDArray[np.object_]
    history: History
    tol: float
    cols_last: NDArray[np.bool_] = field(repr=False)
    host: BatchHost = field(repr=False)
    task: BatchTask = field(repr=False)
    origin: Origin = field(default=Origin(), repr=False)
    budget: Budget | None = field(default=None, repr=False)
    known_plans: NDArray[np.floating] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        n, m = self.problem.shape[-2:]
        done = f"{int(self.converged.sum())} of {self.problem.size} converged"
        state = "budget" if self.budget is not None else done
        count = " x ".join(map(str, self.problem.batch or (1,)))
        return f"BatchSolution({count} problems {n} x {m}, {state})"

    def __len__(self) -> int:
        if not self.problem.batch:
            raise TypeError("a single problem has no length")
        return self.problem.batch[0]

    def __getitem__(self, index: Any) -> Solution:
        """The solution of one problem.

        Parameters
        ----------
        index : int or tuple of int
            One number for every dimension of the batch.
        """
        index = index if isinstance(index, tuple) else (index,)
        if len(index) != len(self.problem.batch):
            raise IndexError(f"the batch has shape {self.problem.batch}; one index for each dimension is needed")
        k = int(np.arange(self.problem.size).reshape(self.problem.batch)[index])
        return self._single(k)

    def __iter__(self) -> Iterator[Solution]:
        return (self._single(k) for k in range(self.problem.size))

    def _single(self, k: int) -> Solution:
        from .assembly import solution_of

        n, m = int(self.problem.row_count[k]), int(self.problem.col_count[k])
        budget = self.budget
        if budget is not None:
            start = (None if x is None else x[k, :size] for x, size in ((budget.f, n), (budget.g, m)))
            budget = Budget(budget.count, "cols" if self.cols_last[k] else "rows", *start)
        status, n_iter, method = (x.reshape(-1)[k] for x in (self.status, self.n_iter, self.method))
        f, g = self.host.f[k, :n], self.host.g[k, :m]
        with self.origin.here():
            solution = solution_of(self.problem.single(k), f, g, status, int(n_iter), str(method), self.tol)
            return replace(solution, budget=budget, origin=self.origin, **self._emitted(solution))

    def _emitted(self, solution: Solution) -> dict[str, Any]:
        """The arrays of a solution in the library of the batch."""
        names = "f", "g", "row_marginal", "col_marginal"
        return {name: self.origin.emit(getattr(solution, name)) for name in names}

    def _shaped(self, values: NDArray[Any]) -> NDArray[Any]:
        """(B, ...) with the batch shape."""
        return values.reshape((*self.problem.batch, *values.shape[1:]))

    def _emit(self, values: NDArray[Any]) -> Any:
        """The same in the library of the batch."""
        with self.origin.here():
            return self.origin.emit(self._shaped(values))

    @cached_property
    def _potentials(self) -> tuple[Vector, Vector]:
        """In kernel units."""
        return self.task.alphas(self.host.f, self.host.g)

    @cached_property
    def _measure(self) -> BatchMeasure:
        from .solvers.batched import measure_batch

        with self.origin.here():
            return measure_batch(self.task, *self._potentials, np.arange(self.problem.size))

    @property
    def epsilon(self) -> Vector:
        """The regularisation strengths, in cost units."""
        return self._shaped(self.problem.epsilon)

    @cached_property
    def converged(self) -> NDArray[np.bool_]:
        """Which problems meet the tolerance."""
        if self.budget is not None:
            return np.zeros(self.problem.batch, dtype=bool)
        return np.asarray(self.status == Status.CONVERGED, dtype=bool)

    @cached_property
    def message(self) -> NDArray[np.object_]:
        """The status in words, and whether masses were made equal."""
        factor = self.problem.factor
        if factor is None:
            return np.asarray(_MESSAGES(self.status))
        return np.asarray(_MESSAGES(self.status) + self._shaped(np.array(list(map(masses.note, factor)), dtype=object)))

    @cached_property
    def row_marginal(self) -> Any:
        """P 1, shape (..., n)."""
        return self._emit(self._measure.row_marginal)

    @cached_property
    def col_marginal(self) -> Any:
        """P^T 1, shape (..., m)."""
        return self._emit(self._measure.col_marginal)

    @property
    def marginal_error(self) -> Vector:
        """L1 distances of the marginals from what the hard sides allow."""
        return self._shaped(self._measure.marginal_error)

    @property
    def residual(self) -> Vector:
        """L1 distances from optimality, over both sides."""
        return self._shaped(self._measure.residual)

    @property
    def dual_value(self) -> Vector:
        """The dual objectives: lower bounds on the optimal values."""
        constant = self.problem.epsilon * self.problem.reference_mass + self.problem.offset_value
        return self._shaped(self._measure.dual + constant)

    @cached_property
    def gap(self) -> Vector:
        """Duality gaps, as `Solution.gap`."""
        from .batch_certificate import gaps

        with self.origin.here():
            return self._shaped(gaps(self))

    @property
    def value(self) -> Vector:
        """The primal objectives."""
        return self.dual_value + self.gap

    @cached_property
    def plan(self) -> Any:
        """The plans, shape (..., n, m), in the dtype of the cost; computed on first use and kept."""
        return self._emit(self.plans() if self.known_plans is None else self.known_plans)

    @cached_property
    def log_plan(self) -> Any:
        """Logarithms of the plans, shape (..., n, m), as `Solution.log_plan`; -inf beyond the lengths."""
        from .plans import logarithms

        problem = self.problem
        with self.origin.here():
            out = problem.matrices(working_dtype(problem.cost))
            alpha, beta = self._potentials
            alpha = alpha + np.log(problem.mass)[:, None]
            for part in problem.chunks():
                how = self.task.batch.inv_epsilon[part], alpha[part], beta[part]
                out[part] = logarithms(problem.costs(part), *how, out.dtype)
            return replace(self.origin, dtype=None).emit(self._shaped(out))

    def sample(self, size: int, rng: Any = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs (i, j) drawn from every plan, as `Solution.sample`.

        Parameters
        ----------
        size : int
            How many for each problem, >= 0.
        rng : int or numpy.random.Generator, optional
            A seed or a generator; default a new one.

        Returns
        -------
        rows, cols : ndarray of int64, shape (..., size)
            NumPy, whatever library the cost is of.
        """
        from .drawing import sample_batch

        with self.origin.here():
            rows, cols = sample_batch(self, size, rng)
        return self._shaped(rows), self._shaped(cols)

    def plans(self) -> NDArray[np.floating]:
        """The plans in NumPy, or where the cost lies, shape (B, n, m)."""
        with self.origin.here():
            out = self.problem.matrices(working_dtype(self.problem.cost))
            return self.task.plans(slice(None), *self._potentials, out)

    def _parts(self) -> Iterator[tuple[slice, NDArray[np.floating]]]:
        """The plans in float64, some at a time."""
        for part in self.problem.chunks():
            yield part, self.task.plans(part, *self._potentials, self.problem.matrices(np.float64, part))

    @cached_property
    def transport_cost(self) -> Vector:
        """<C, P> of every problem."""
        xp, out = library_of(self.problem.cost), np.empty(self.problem.size)
        with self.origin.here():
            for part, moved in self._parts():
                price = xp.where(moved > 0, self.problem.costs(part), 0.0)
                out[part] = on_host(xp.einsum("bnm,bnm->b", moved, price))
        if self.problem.offset is not None:
            out += self.problem.offset * self._measure.row_marginal.sum(axis=1)
        return self._shaped(out)

    def apply(self, x: Any, axis: int = 1) -> Any:
        """The plans times `x`.

        Parameters
        ----------
        x : array_like
            Shape (..., m, k) for ``axis=1``, (..., n, k) for ``axis=0``; leading dimensions broadcast to the batch.
        axis : {1, 0}
            The axis of the plans that is summed over.

        Returns
        -------
        array
            Shape (..., n, k) or (..., m, k); float64 in NumPy.
        """
        origin_of(cost=self.f, x=x)
        if axis not in (0, 1):
            raise ValueError(f"axis is {axis!r}; it must be 1 (P @ x) or 0 (P.T @ x)")
        with self.origin.here():
            return self._emit(self._applied(x, axis))

    def _applied(self, x: Any, axis: int) -> NDArray[np.float64]:
        xp, values = library_of(self.problem.cost), beside("x", x, self.problem.cost)
        size = self.problem.shape[-2:][axis]
        if values.ndim < 2 or values.shape[-2] != size:
            raise ValueError(f"x has shape {values.shape}; with axis={axis} it must be (..., {size}, k)")
        try:
            values = xp.broadcast_to(values, (*self.problem.batch, *values.shape[-2:]))
        except ValueError:
            raise ValueError(
                f"x has leading dimensions {values.shape[:-2]} and the batch {self.problem.batch}; they must broadcast"
            ) from None
        flat = values.reshape(self.problem.size, *values.shape[-2:])
        out: NDArray[np.float64] = xp.empty((self.problem.size, self.problem.cost.shape[2 - axis], values.shape[-1]))
        for part, plans in self._parts():
            xp.matmul(plans if axis == 1 else xp.swapaxes(plans, 1, 2), flat[part], out=out[part])
        return out

    def rounded_plan(self) -> Any:
        """Plans that meet the hard sides to rounding, shape (..., n, m), as `Solution.rounded_plan`."""
        with self.origin.here():
            out = self.problem.matrices(np.float64)
            out[...] = 0.0
            for k, solution in enumerate(self):
                n, m = solution.problem.shape
                out[k, :n, :m] = as_array("plan", solution.rounded_plan())
            return self._emit(out)

    def bounds(self) -> tuple[Vector, Vector]:
        """Bounds on the optimal values of the unregularised problems, as `Solution.bounds`."""
        found = np.array([solution.bounds() for solution in self])
        return self._shaped(found[:, 0]), self._shaped(found[:, 1])

    def gradients(self) -> Gradients:
        """Derivatives of the optimal values, as `Solution.gradients`, each with the batch shape in front.

        Returns
        -------
        Gradients
            NumPy: that in the cost in the dtype of the cost, the others in float64.

        Warns
        -----
        ConvergenceWarning
            Some problem is not converged; one warning for all.
        """
        from .batch_gradients import value_gradients

        with self.origin.here():
            return value_gradients(self)

    def vjp(self, plan: Any = None, f: Any = None, g: Any = None) -> Gradients:
        """Derivatives of a function of plans and potentials, as `Solution.vjp`.

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
            taken. NumPy: that in the cost in the dtype of the cost, the others in float64.

        Warns
        -----
        ConvergenceWarning
            Some problem is not converged; one warning for all.
        """
        from .batch_gradients import pull_back

        with self.origin.here():
            return pull_back(self, plan, f, g)

    def jvp(
        self, cost: Any = None, a: Any = None, b: Any = None, epsilon: Any = None, rows: Any = None, cols: Any = None
    ) -> Tangents:
        """Derivatives of plans and potentials along a direction of the inputs, as `Solution.jvp`, problem by problem.

        Parameters
        ----------
        cost : array_like, shape (..., n, m), optional
            Directions of the costs; forbidden cells do not count.
        a, b : array_like, shapes (..., n) and (..., m), optional
            Directions of the weights; zero weights stay zero. With two `Fixed` sides they must have the same sum.
        epsilon, rows, cols : float or array_like, shape (...), optional
            Directions of epsilon, at held strengths rho, and of these.

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
        from .batch_gradients import push_forward

        with self.origin.here():
            return push_forward(self, cost=cost, a=a, b=b, epsilon=epsilon, rows=rows, cols=cols)

    def hvp(
        self, cost: Any = None, a: Any = None, b: Any = None, epsilon: Any = None, rows: Any = None, cols: Any = None
    ) -> Gradients:
        """The Hessians of the optimal values times a direction of the inputs, as `Solution.hvp`, problem by problem.

        Parameters
        ----------
        cost, a, b, epsilon, rows, cols
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
        from .batch_gradients import push_value_gradients

        with self.origin.here():
            return push_value_gradients(self, cost=cost, a=a, b=b, epsilon=epsilon, rows=rows, cols=cols)
