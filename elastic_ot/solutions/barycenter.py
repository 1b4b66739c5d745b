"""What `barycenter` returns: the barycenter, the transports to it, the certificate and the gradients."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays.origin import Origin
from ..cached import cached_property
from ..errors import ConvergenceWarning
from ..problems.common import CommonProblem
from ..problems.penalty import Vector
from ..solvers.barycenter.method import CommonOutcome
from ..solvers.history import History
from ..solvers.status import Status
from .assembly import solution_from
from .solution import Solution


@dataclass(frozen=True, eq=False)
class BarycenterGradients:
    """Derivatives of the optimal value, by the envelope theorem: NumPy, float64.

    Attributes
    ----------
    measures : list of ndarray, shapes (n_k,)
        In the weights of every measure, 0 where they are 0. With `Fixed` rows, or others that hold every mass, all
        masses move together, and a constant may pass from one measure to another.
    weights : ndarray, shape (K,)
        In the weights w, as if their sum were free: the optimal value of the transport of measure k to the barycenter.
    epsilon : float
        At held strengths rho, also where `Elastic` was asked for.
    """

    measures: list[Vector]
    weights: Vector
    epsilon: float


@dataclass(frozen=True, eq=False)
class Barycenter:
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
        A lower bound on the optimal value; nan if debiased.
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

    problem: CommonProblem = field(repr=False)
    weights: Any
    transports: tuple[Solution, ...]
    self_transport: Solution | None
    f: list[Any]
    g: list[Any]
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
        """`value` - `dual_value` >= 0, what the barycenter may be off by; nan if debiased.

        The primal value is that of plans which are rounded so that all of them have the barycenter for a marginal, and
        their measure where the rows are hard; then the terms of both values that hold sum_k w_k g_k cancel, and the gap
        is the mean of those of the transports. The first time it is asked for it reads every plan.
        """
        if self.debiased:
            return float("nan")
        counted = [(w, part) for w, part in zip(self.measure_weights, self.transports, strict=True) if w > 0]
        return float(sum(w * part.gap for w, part in counted))

    @property
    def value(self) -> float:
        """The primal objective sum_k w_k [<C_k, P_k> + epsilon KL(P_k | a_k 1^T) + phi(P_k 1)] of the rounded plans.

        That of a debiased one is sum_k w_k OT(a_k, b) - OT(b, b) / 2, of values whose errors are the transports' gaps.
        """
        if self.self_transport is None:
            return self.dual_value + self.gap
        values = [_counted(part) for part in self.transports]
        return float(self.measure_weights @ np.array(values)) - 0.5 * _counted(self.self_transport, own=True)

    def plan(self, k: int) -> Any:
        """Return the plan of measure k, shape (n_k, m)."""
        return self.transports[k].plan

    def apply(self, k: int, x: Any, axis: int = 1) -> Any:
        """Return P_k x, or P_k^T x with ``axis=0``, without the plan, see `Solution.apply`."""
        return self.transports[k].apply(x, axis)

    @property
    def row_marginals(self) -> list[Any]:
        """P_k 1 of every plan."""
        return [part.row_marginal for part in self.transports]

    @property
    def col_marginals(self) -> list[Any]:
        """P_k^T 1 of every plan: `weights`, to the tolerance."""
        return [part.col_marginal for part in self.transports]

    def gradients(self) -> BarycenterGradients:
        """Derivatives of the optimal `value` in the measures, in the weights w and in epsilon.

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
        if self.debiased:
            raise ValueError("gradients are those of a barycenter that is not debiased; pass debiased=False")
        if not self.converged:
            warnings.warn(f"gradients of an unconverged barycenter: {self.message}", ConvergenceWarning, stacklevel=2)
        problem, used = self.problem, self.problem.used
        measures, values, by_epsilon = [], np.zeros(len(self.transports)), 0.0
        for k, (w, part) in enumerate(zip(self.measure_weights, self.transports, strict=True)):
            own, host = problem.parts[k], part.host
            on, a = own.row_used, own.a
            slope = np.zeros(a.size)
            allowed = own.allowed(used.astype(np.float64))[on]
            slope[on] = own.rows.dual_by_weight(host.f[on], a[on]) + own.offsets[0]
            slope[on] += own.epsilon * (allowed - host.row_marginal[on] / a[on])
            measures.append(w * slope)
            values[k] = _counted(part)
            constant = own.reference_mass - own.mass * float(host.col_marginal.sum())
            by_epsilon += w * (part.gradients().epsilon + _negentropy(host.col_marginal) + constant)
        return BarycenterGradients(measures, values, by_epsilon)


def _counted(part: Solution, own: bool = False) -> float:
    """The optimal value of a transport to b with the reference a 1^T in place of a b^T; 1 1^T of one of b to itself."""
    problem = part.problem
    allowed = problem.allowed(problem.col_used.astype(np.float64))[problem.row_used]
    reference = float(allowed.sum() if own else allowed @ problem.a[problem.row_used])
    entropy = (2.0 if own else 1.0) * _negentropy(problem.b)
    return part.dual_value + problem.epsilon * (entropy - problem.reference_mass + reference)


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
