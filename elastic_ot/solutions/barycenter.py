"""What `barycenter` returns: the barycenter, the transports to it, the certificate and the gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic

import numpy as np

from ..arrays.ingest import ingest_bar
from ..arrays.origin import Origin
from ..cached import cached_property
from ..derivatives.barycenter import BarycenterGradients, CommonDirection, CommonPoint
from ..derivatives.records import direction_of
from ..errors import warn_user
from ..problems.common import CommonProblem
from ..problems.penalty import Vector
from ..results import Result
from ..solvers.barycenter.method import CommonOutcome
from ..solvers.history import History
from ..solvers.status import Status
from ..typing import ArrayLike, ArrayT_co
from .assembly import solution_from
from .solution import Solution


@dataclass(frozen=True, eq=False)
class Barycenter(Result, Generic[ArrayT_co]):
    """A barycenter with the transports of the measures to it, and the proof of how good it is.

    Attributes
    ----------
    weights : array, shape (m,)
        The barycenter: masses of the points of the support. With a `Grid`, ``weights.reshape(grid.shape_y)`` is an
        image.
    measure_weights : ndarray, shape (K,)
        w, of sum 1.
    transports : tuple of Solution
        Of every measure to the barycenter as it is returned, with everything that a `Solution` can tell: the plan, its
        products, maps, gradients. Their reference is a_k b^T, so that their ``g`` lack epsilon log b.
    self_transport : Solution or None
        Of a debiased barycenter to itself.
    f : list of array, shapes (n_k,)
        Potentials of the measures, in cost units.
    g : list of array, shapes (m,)
        Potentials of the barycenter, for the reference a_k 1^T: sum_k w_k g_k = 0, or the potential of the barycenter
        to itself if it is debiased. With `Fixed` rows <b, g_k> is the same for all k.
    residual : float
        The largest of the transports' residuals: the L1 distance of the marginals of each plan from its measure and
        from the barycenter.
    dual_value : float
        A lower bound on the optimal value. If debiased, nan where there is none: it needs `Fixed` rows, no
        forbidden entries, and a kernel exp(-C / epsilon) within the support that is positive semidefinite.
    status : Status
    message : str
        The status in words, with the level reached and what to try.
    n_iter : int
        Iterations: each takes a pass over every cost.
    method : str
    history : History

    Examples
    --------
    >>> import elastic_ot as eot
    >>> cost = [[0.0, 1.0], [1.0, 0.0]]
    >>> found = eot.barycenter(cost, [[0.9, 0.1], [0.3, 0.7]], epsilon=0.1)
    >>> found.converged, found.weights.round(2)
    (True, array([0.56, 0.44]))
    """

    _as_array: ClassVar[str] = "weights"

    problem: CommonProblem = field(repr=False)
    weights: ArrayT_co
    transports: tuple[Solution[ArrayT_co], ...]
    self_transport: Solution[ArrayT_co] | None
    f: Sequence[ArrayT_co]
    g: Sequence[ArrayT_co]
    residual: float
    dual_value: float
    status: Status
    message: str
    n_iter: int
    method: str
    history: History
    origin: Origin = field(default=Origin(), repr=False)
    potentials: Vector = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    """g in NumPy and float64, of the costs of `problem`, for a warm start."""

    def __repr__(self) -> str:
        points = self.problem.used.size
        return (
            f"Barycenter({len(self.transports)} measures on {points} points, epsilon={self.epsilon:g}, "
            f"{self.status.name}, n_iter={self.n_iter}, residual={self.residual:.1e})"
        )

    @property
    def measure_weights(self) -> Vector:
        """The weights w of the measures, of sum 1."""
        return self.problem.weights

    @property
    def epsilon(self) -> float:
        """The strength of the entropy, in cost units."""
        return self.problem.epsilon

    @property
    def converged(self) -> bool:
        """True if every transport meets the tolerance."""
        return self.status is Status.CONVERGED

    @property
    def debiased(self) -> bool:
        """True if the entropy within the barycenter is taken off."""
        return self.self_transport is not None

    @cached_property
    def gap(self) -> float:
        """`value` - `dual_value` >= 0, what the barycenter may be off by; nan where there is no `dual_value`.

        The primal value is that of plans which are rounded so that all of them have the barycenter for a marginal, and
        their measure where the rows are hard; then the terms of both values that hold sum_k w_k g_k cancel, and the gap
        is the mean of those of the transports. The first time it is asked for it reads every plan.
        """
        if self.debiased:
            return float(self.value - self.dual_value)
        counted = [(w, part) for w, part in zip(self.measure_weights, self.transports, strict=True) if w > 0]
        return float(sum(w * part.gap for w, part in counted))

    @property
    def value(self) -> float:
        """The primal objective sum_k w_k [<C_k, P_k> + epsilon KL(P_k | a_k 1^T) + phi(P_k 1)] of the rounded plans.

        That of a debiased one is sum_k w_k OT(a_k, b) - OT(b, b) / 2, each with its product reference, of a rounded
        plan or, with a minus, of its dual.
        """
        if self.self_transport is None:
            return self.dual_value + self.gap
        values = [part.value for part in self.transports]
        return float(self.measure_weights @ np.array(values)) - 0.5 * self.self_transport.dual_value

    def plan(self, k: int) -> ArrayT_co:
        """Return the plan of measure k, shape (n_k, m)."""
        return self.transports[k].plan

    def apply(self, k: int, x: ArrayLike, axis: int = 1) -> ArrayT_co:
        """Return P_k x, or P_k^T x with ``axis=0``, without the plan, see `Solution.apply`."""
        return self.transports[k].apply(x, axis)

    @property
    def row_marginals(self) -> list[ArrayT_co]:
        """P_k 1 of every plan."""
        return [part.row_marginal for part in self.transports]

    @property
    def col_marginals(self) -> list[ArrayT_co]:
        """P_k^T 1 of every plan: `weights`, to the tolerance."""
        return [part.col_marginal for part in self.transports]

    def gradients(self) -> BarycenterGradients:
        """Derivatives of the optimal `value` in all inputs, by the envelope theorem.

        Returns
        -------
        BarycenterGradients

        Raises
        ------
        ValueError
            The barycenter is debiased: it is a fixed point, and no optimum of its own dual.

        Warns
        -----
        ConvergenceWarning
            It is not converged.
        """
        point = self._point()
        with self.origin.here():
            return point.value_gradients(np.array([_counted(part) for part in self.transports]))

    def vjp(self, weights: ArrayLike, *, with_epsilon: bool = True) -> BarycenterGradients:
        """Derivatives of a function of the barycenter's masses, given its derivatives in those.

        By implicit differentiation: one linear system for all transports together. Solve to a small `tol` first, errors
        enter amplified by 1 / epsilon.

        Parameters
        ----------
        weights : array_like, shape (m,)
            dL/db, b being `weights`.
        with_epsilon : bool
            False leaves out the derivative in epsilon, which with a `Grid` takes a pass over all entries.

        Returns
        -------
        BarycenterGradients
            Those of L.

        Raises
        ------
        ValueError
            The barycenter is debiased, or the shape is wrong.

        Warns
        -----
        ConvergenceWarning
            It is not converged.

        Examples
        --------
        >>> import numpy as np
        >>> import elastic_ot as eot
        >>> cost, measures = [[0.0, 1.0], [1.0, 0.0]], np.array([[0.9, 0.1], [0.3, 0.7]])
        >>> slope = eot.barycenter(cost, measures, epsilon=0.5, tol=1e-12).vjp([1.0, 0.0]).measures[0]
        >>> step = np.array([[1e-6, -1e-6], [0.0, 0.0]])
        >>> moved = (measures + step, measures - step)
        >>> up, down = (eot.barycenter(cost, a, epsilon=0.5, tol=1e-12).weights[0] for a in moved)
        >>> bool(np.isclose(slope[0] - slope[1], (up - down) / 2e-6, rtol=1e-5))
        True
        """
        point = self._point(with_epsilon)
        with self.origin.here():
            bar = ingest_bar("weights", weights, self.problem.used.shape)
            return point.pull_back(np.zeros(self.problem.used.size) if bar is None else bar)

    def jvp(
        self,
        costs: ArrayLike | Sequence[ArrayLike] | None = None,
        measures: ArrayLike | Sequence[ArrayLike] | None = None,
        weights: ArrayLike | None = None,
        epsilon: float | None = None,
        rows: float | None = None,
        *,
        x: ArrayLike | Sequence[ArrayLike] | None = None,
        y: ArrayLike | Sequence[ArrayLike] | None = None,
    ) -> Vector:
        """Derivative of the barycenter's masses along a direction of the inputs: the transpose of `vjp`.

        Parameters
        ----------
        costs : array_like, shape (n, m) or (K, n, m), or list of them, optional
            Direction of the costs.
        measures : array_like, shape (K, n), or list of array_like, shapes (n_k,), optional
            Of the measures. Where the rows hold every mass, all masses must change alike.
        weights : array_like, shape (K,), optional
            Of the weights w.
        epsilon, rows : float, optional
            Of epsilon, at a held strength rho, and of that.
        x, y : lists of array_like, shapes (n_k, d) and (m, d), optional
            Of the points of every `PointCloud`.

        Returns
        -------
        ndarray, shape (m,)

        Raises
        ------
        ValueError
            The barycenter is debiased, a shape is wrong, or masses that are held would part.

        Warns
        -----
        ConvergenceWarning
            It is not converged.
        """
        point = self._point()
        with self.origin.here():
            return point.push_forward(self._direction(costs, measures, weights, epsilon, rows, x, y))

    def hvp(
        self,
        costs: ArrayLike | Sequence[ArrayLike] | None = None,
        measures: ArrayLike | Sequence[ArrayLike] | None = None,
        weights: ArrayLike | None = None,
        epsilon: float | None = None,
        rows: float | None = None,
        *,
        x: ArrayLike | Sequence[ArrayLike] | None = None,
        y: ArrayLike | Sequence[ArrayLike] | None = None,
    ) -> BarycenterGradients:
        """The Hessian of the optimal `value` times a direction of the inputs: how `gradients` changes along it.

        Parameters
        ----------
        costs, measures, weights, epsilon, rows, x, y
            The direction, as in `jvp`.

        Returns
        -------
        BarycenterGradients

        Raises
        ------
        ValueError
            As `jvp`.

        Warns
        -----
        ConvergenceWarning
            It is not converged.
        """
        point = self._point()
        with self.origin.here():
            return point.push_value_gradients(self._direction(costs, measures, weights, epsilon, rows, x, y))

    def _point(self, with_epsilon: bool = True) -> CommonPoint:
        if self.debiased:
            raise ValueError("derivatives are those of a barycenter that is not debiased; pass debiased=False")
        if not self.converged:
            warn_user(f"gradients of an unconverged barycenter: {self.message}")
        return CommonPoint(self.problem, [part.found for part in self.transports], with_epsilon)

    def _direction(
        self, costs: Any, measures: Any, weights: Any, epsilon: Any, rows: Any, x: Any, y: Any
    ) -> CommonDirection:
        count = len(self.transports)
        lists = [
            _each("costs", [costs] * count if costs is not None and np.ndim(costs) == 2 else costs, count),
            _each("measures", measures, count),
            _each("x", x, count),
            _each("y", y, count),
        ]
        parts = []
        for k, (cost, a, of_x, of_y) in enumerate(zip(*lists, strict=True)):
            try:
                parts.append(direction_of(self.transports[k].problem, cost, a, None, epsilon, rows, None, (of_x, of_y)))
            except ValueError as error:
                raise ValueError(f"measure {k}: {error}") from None
        step = ingest_bar("weights", weights, (count,))
        return CommonDirection(parts, np.zeros(count) if step is None else step)


def _each(name: str, given: Any, count: int) -> list[Any]:
    """The directions of all transports; None is none."""
    if given is None:
        return [None] * count
    if len(given) != count:
        raise ValueError(f"{name} has {len(given)} directions for {count} measures; give one for each")
    return list(given)


def _counted(part: Solution[object]) -> float:
    """The optimal value of a transport to b with the reference a 1^T in place of a b^T."""
    problem = part.problem
    allowed = problem.allowed(problem.col_used.astype(np.float64))[problem.row_used]
    reference = float(allowed @ problem.a[problem.row_used])
    return part.dual_value + problem.epsilon * (_negentropy(problem.b) - problem.reference_mass + reference)


def _negentropy(b: Vector) -> float:
    """Return sum b log b."""
    on = b > 0
    return float(b[on] @ np.log(b[on]))


def barycenter_from(problem: CommonProblem, outcome: CommonOutcome, tol: float, origin: Origin) -> Barycenter:
    """Return the barycenter of an outcome."""
    found = outcome.potentials
    parts = tuple(solution_from(part, one, tol, origin) for part, one in _pairs(problem, outcome))
    own = None
    if outcome.own is not None:
        own = solution_from(problem.self_transport(found.b), outcome.own, tol, origin)
    offsets = [part.offsets for part in problem.parts]
    g = [np.where(problem.used, x, -np.inf) + y[1] for x, y in zip(found.g, offsets, strict=True)]
    return Barycenter(
        problem=problem,
        weights=origin.emit(found.b),
        transports=parts,
        self_transport=own,
        f=[origin.emit(x + y[0]) for x, y in zip(found.f, offsets, strict=True)],
        g=[origin.emit(x) for x in g],
        residual=outcome.residual,
        dual_value=outcome.dual,
        status=outcome.status,
        message=_message(problem, outcome, tol),
        n_iter=outcome.n_iter,
        method=outcome.method,
        history=outcome.history,
        origin=origin,
        potentials=found.g,
    )


def _pairs(problem: CommonProblem, outcome: CommonOutcome) -> Sequence[tuple[Any, Any]]:
    return [(problem.transport(k, outcome.potentials.b), one) for k, one in enumerate(outcome.parts)]


def _message(problem: CommonProblem, outcome: CommonOutcome, tol: float) -> str:
    mass = float(outcome.potentials.b.sum())
    text = (
        f"{outcome.status.value} ({outcome.method}, {outcome.n_iter} iterations; residual {outcome.residual:.2e}, "
        f"asked for {tol * mass:.2e})"
    )
    tried = {
        Status.MAX_ITER: "more iterations, a larger epsilon or a larger tol",
        Status.TIME_LIMIT: "more time, a larger epsilon or a larger tol",
        Status.STALLED: "a larger epsilon or a larger tol",
        Status.NUMERICAL: "a larger epsilon, or costs nearer to 0",
    }
    advice = tried.get(outcome.status)
    return f"{text}; range(costs) / epsilon is {problem.span / problem.epsilon:.3g}: try {advice}" if advice else text
