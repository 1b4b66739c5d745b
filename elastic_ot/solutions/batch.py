"""What a solve of many problems returns: the fields of `Solution`, each with the batch shape in front."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import library_of, on_host
from ..arrays.half import working_dtype
from ..arrays.ingest import as_array, beside
from ..arrays.origin import Origin, origin_of
from ..cached import cached_property
from ..plans.batch_certificate import gaps
from ..plans.export import logarithms
from ..plans.sampling import sample_batch
from ..problems import masses
from ..problems.batch import BatchProblem
from ..problems.penalty import Vector
from ..results import Result
from ..solvers.batch.found import BatchFound
from ..solvers.batch.measure import BatchMeasure
from ..solvers.history import History
from ..solvers.status import Budget, Status
from ..typing import ArrayLike, ArrayT_co, Seed
from .assembly import solution_of
from .differentiable import BatchDifferentiable
from .html import shown, tiles_of_plan
from .solution import Solution

_MESSAGES = np.vectorize(lambda status: status.value, otypes=[object])


@dataclass(frozen=True, eq=False)
class BatchSolution(Result, BatchDifferentiable, Generic[ArrayT_co]):
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

    found: BatchFound = field(repr=False)
    f: ArrayT_co
    g: ArrayT_co
    status: NDArray[np.object_]
    n_iter: NDArray[np.int64]
    method: NDArray[np.object_]
    history: History
    tol: float
    origin: Origin = field(default=Origin(), repr=False)
    known_plans: NDArray[np.floating] | None = field(default=None, repr=False)

    @property
    def problem(self) -> BatchProblem:
        """What was solved."""
        return self.found.problem

    @property
    def host(self) -> BatchFound:
        """Potentials in NumPy and float64, problems counted in C order: shapes (B, n) and (B, m)."""
        return self.found

    @property
    def budget(self) -> Budget | None:
        """The iterations that were run, if their number was fixed (``tol=0``)."""
        return self.found.budget

    def __repr__(self) -> str:
        n, m = self.problem.shape[-2:]
        done = f"{int(self.converged.sum())} of {self.problem.size} converged"
        state = "budget" if self.budget is not None else done
        count = " x ".join(map(str, self.problem.batch or (1,)))
        return f"BatchSolution({count} problems {n} x {m}, {state})"

    def _repr_html_(self) -> str:
        n, m = self.problem.shape[-2:]
        low, high = self.problem.epsilon.min(), self.problem.epsilon.max()
        methods, counts = np.unique(self.method.astype(str), return_counts=True)
        facts = [
            ("problems", f"{' x '.join(map(str, self.problem.batch or (1,)))} of {n} x {m}"),
            ("epsilon", f"{low:g}" if low == high else f"{low:g} to {high:g}"),
            ("rows, cols", f"{self.problem.given[0]!r}, {self.problem.given[1]!r}"),
            ("methods", ", ".join(f"{name} ({count})" for name, count in zip(methods, counts, strict=True))),
        ]
        if self.budget is None:
            facts.append(("converged", f"{int(self.converged.sum())} of {self.problem.size}"))
            facts.append(("largest residual", f"{np.max(self.residual):.2e}"))
        first = self._single(0)
        facts.append(("picture", f"problem [{self.problem.index(0)}]" if self.problem.batch else "the plan"))
        with self.origin.here():
            return shown(self, facts, tiles_of_plan(first.found))

    def __len__(self) -> int:
        if not self.problem.batch:
            raise TypeError("a single problem has no length")
        return self.problem.batch[0]

    def __getitem__(self, index: int | tuple[int, ...]) -> Solution[ArrayT_co]:
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

    def __iter__(self) -> Iterator[Solution[ArrayT_co]]:
        return (self._single(k) for k in range(self.problem.size))

    def _single(self, k: int) -> Solution[ArrayT_co]:
        n, m = int(self.problem.row_count[k]), int(self.problem.col_count[k])
        status, n_iter, method = (x.reshape(-1)[k] for x in (self.status, self.n_iter, self.method))
        potentials = self.found.f[k, :n], self.found.g[k, :m]
        with self.origin.here():
            problem, budget = self.problem.single(k), self.found.budget_of(k)
            return solution_of(problem, *potentials, status, int(n_iter), str(method), self.tol, budget, self.origin)  # type: ignore[return-value]

    def _shaped(self, values: NDArray[Any]) -> NDArray[Any]:
        """(B, ...) with the batch shape."""
        return values.reshape((*self.problem.batch, *values.shape[1:]))

    def _emit(self, values: NDArray[Any]) -> Any:
        """Return values with the batch shape in front, in the library of the batch."""
        with self.origin.here():
            return self.origin.emit(self._shaped(values))

    @property
    def _measure(self) -> BatchMeasure:
        with self.origin.here():
            return self.found.measure

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
    def row_marginal(self) -> ArrayT_co:
        """P 1, shape (..., n)."""
        return self._emit(self._measure.row_marginal)

    @cached_property
    def col_marginal(self) -> ArrayT_co:
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
        """`value` - `dual_value` >= 0 of every problem, inf where no plan is known that meets the hard sides.

        The first time they are asked for they read all plans; problems with masked entries and two hard sides may take
        up to 1000 sweeps and 200 steps of Newton's method each.
        """
        with self.origin.here():
            return self._shaped(gaps(self.found))

    @property
    def value(self) -> Vector:
        """The primal objectives."""
        with np.errstate(invalid="ignore"):  # -inf + inf, where numbers broke down
            return np.where(np.isfinite(self.gap), self.dual_value + self.gap, np.inf)

    @cached_property
    def plan(self) -> ArrayT_co:
        """The plans, shape (..., n, m), in the dtype of the cost; computed on first use and kept."""
        return self._emit(self.plans() if self.known_plans is None else self.known_plans)

    @cached_property
    def log_plan(self) -> ArrayT_co:
        """Logarithms of the plans, shape (..., n, m), also where the plans themselves are too small to be stored.

        -inf for forbidden cells, in rows and columns without mass, and beyond the lengths. In the dtype of the cost, in
        float32 if that is half precision; computed on first use and kept.
        """
        problem = self.problem
        with self.origin.here():
            out = problem.matrices(working_dtype(problem.cost))
            alpha, beta = self.found.potentials
            alpha = alpha + np.log(problem.mass)[:, None]
            for part in problem.chunks():
                how = self.found.task.batch.inv_epsilon[part], alpha[part], beta[part]
                out[part] = logarithms(problem.costs(part), *how, out.dtype)
            return replace(self.origin, dtype=None).emit(self._shaped(out))

    def sample(self, size: int, rng: Seed = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs (i, j) drawn from every plan over its mass, independently.

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
        with self.origin.here():
            rows, cols = sample_batch(self.found, size, rng)
        return self._shaped(rows), self._shaped(cols)

    def plans(self) -> NDArray[np.floating]:
        """The plans in NumPy, or where the cost lies, shape (B, n, m)."""
        with self.origin.here():
            out = self.problem.matrices(working_dtype(self.problem.cost))
            return self.found.task.plans(slice(None), *self.found.potentials, out)

    def _parts(self) -> Iterator[tuple[slice, NDArray[np.floating]]]:
        """The plans in float64, some at a time."""
        for part in self.problem.chunks():
            yield part, self.found.task.plans(part, *self.found.potentials, self.problem.matrices(np.float64, part))

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

    def apply(self, x: ArrayLike, axis: int = 1) -> ArrayT_co:
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

    def rounded_plan(self) -> ArrayT_co:
        """Plans near `plan` that meet the hard sides to the last digits (Altschuler, Weed, Rigollet 2017).

        Returns
        -------
        array
            Shape (..., n, m), 0 beyond the lengths; of the library and on the device of the cost.

        Raises
        ------
        ConvergenceError
            For some problem no such plan was found on the allowed cells.
        """
        with self.origin.here():
            out = self.problem.matrices(np.float64)
            out[...] = 0.0
            for k, solution in enumerate(self):
                n, m = solution.problem.shape
                out[k, :n, :m] = as_array("plan", solution.rounded_plan())
            return self._emit(out)

    def bounds(self) -> tuple[Vector, Vector]:
        """Lower and upper bounds on the optimal values of the unregularised problems (epsilon = 0, same penalties).

        Returns
        -------
        lower, upper : ndarray of float64, shape (...)
            From dual points made feasible, and from `rounded_plan`; in units of cost times mass. `Elastic(lam)` counts
            as the `KL` it is at each epsilon.
        """
        found = np.array([solution.bounds() for solution in self])
        return self._shaped(found[:, 0]), self._shaped(found[:, 1])
