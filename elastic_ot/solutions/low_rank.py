"""What `low_rank` returns: a plan by its factors, and how far from the cheapest plan of any rank it can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays.origin import Origin, origin_of
from ..cached import cached_property
from ..costs.base import LARGEST_PLAN
from ..plans.export import check_operand
from ..plans.factors import sample_factors
from ..problems.penalty import Indices, Vector
from ..problems.problem import Problem
from ..results import one_line
from ..solvers.low_rank.bound import transport_bound
from ..solvers.low_rank.descent import LowRankStep
from ..solvers.status import Status
from ..typing import ArrayLike


class Factors(NamedTuple):
    """A plan Q diag(1/g) R^T.

    Attributes
    ----------
    q : array, shape (n, r)
        How much of each row is in each column; its rows sum to P 1, its columns to g.
    r : array, shape (m, r)
        The same for the other side; its rows sum to P^T 1, its columns to g.
    g : array, shape (r,)
    """

    q: NDArray[np.float64]
    r: NDArray[np.float64]
    g: NDArray[np.float64]

    def __repr__(self) -> str:
        return one_line(self)


@dataclass(frozen=True, eq=False)
class LowRankHistory:
    """One entry an iteration.

    Attributes
    ----------
    value : ndarray
        The objective; it never rises.
    residual : ndarray
        By how much other factors could lower the objective at most, if it were linear, as it is near these.
    step : ndarray
        The step tried: over the range of the gradient, the inverse strength of the entropy that kept it short.
    share : ndarray
        How much of the step was taken, in (0, 1]; 0 where the descent ended.
    seconds : ndarray
        Wall time since the start.
    """

    value: NDArray[np.float64]
    residual: NDArray[np.float64]
    step: NDArray[np.float64]
    share: NDArray[np.float64]
    seconds: NDArray[np.float64]

    __repr__ = one_line

    def __len__(self) -> int:
        return int(self.value.size)


def low_rank_history(steps: Sequence[LowRankStep]) -> LowRankHistory:
    """Return the history of these steps."""
    columns = np.array(steps, dtype=np.float64).reshape(len(steps), len(LowRankStep._fields)).T
    return LowRankHistory(*columns)


@dataclass(frozen=True, eq=False)
class LowRankSolution:
    """A plan P = Q diag(1/g) R^T of low rank; returned by `low_rank`.

    Nothing of size n x m is stored. Between fixed sides the marginals of P are the weights to the last digits. Arrays
    are of the library that the cost came from; in NumPy float64. `host` holds the factors in NumPy and float64 in any
    case.

    Attributes
    ----------
    problem : Problem
        What was solved; its epsilon means nothing.
    factors : Factors
        A named tuple (q, r, g) of arrays, shapes (n, r), (m, r) and (r,).
    value : float
        The objective: <C, P>, penalties, and epsilon times the entropy of the factors.
    transport_cost : float
        <C, P>, in units of cost times mass.
    upper : float
        <C, P> and penalties: what the plan costs as a transport plan.
    residual : float
        By how much other factors could lower the objective at most, if it were linear, as it is near these: 0 if and
        only if they are stationary. What the tolerance is compared with. If max_iter or a time limit ended the
        descent, that of the factors before the last step.
    status : Status
    message : str
        The status in words, with the level reached.
    history : LowRankHistory
    epsilon : float

    See Also
    --------
    low_rank : makes it.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> rng = np.random.default_rng(0)
    >>> centres = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    >>> x, y = (np.repeat(centres, 40, axis=0) + 0.3 * rng.normal(size=(120, 2)) for _ in range(2))
    >>> found = eot.low_rank(eot.PointCloud(x, y), 3)
    >>> np.unique(found.factors.q.argmax(axis=1).reshape(3, 40), axis=1).shape
    (3, 1)
    >>> found.lower <= found.upper, found.apply(y).shape
    (True, (120, 2))
    """

    problem: Problem = field(repr=False)
    factors: Factors
    host: Factors = field(repr=False)
    value: float
    transport_cost: float
    upper: float
    residual: float
    status: Status
    message: str
    history: LowRankHistory
    epsilon: float
    origin: Origin = field(default=Origin(), repr=False)

    def __repr__(self) -> str:
        n, m = self.problem.shape
        found = f"value={self.value:.6g}, {self.n_iter} iterations, {self.status.name}"
        return f"LowRankSolution({n} x {m}, rank={self.rank}, {found})"

    @property
    def rank(self) -> int:
        """How many columns the factors have."""
        return int(self.host.g.size)

    @property
    def converged(self) -> bool:
        """True if the factors are stationary to the tolerance."""
        return self.status is Status.CONVERGED

    @property
    def n_iter(self) -> int:
        """Iterations: products with the cost."""
        return len(self.history)

    @property
    def row_marginal(self) -> NDArray[np.float64]:
        """P 1, shape (n,)."""
        return self.origin.emit(self.host.q @ _inverse_sums(self.host.r, self.host.g))

    @property
    def col_marginal(self) -> NDArray[np.float64]:
        """P^T 1, shape (m,)."""
        return self.origin.emit(self.host.r @ _inverse_sums(self.host.q, self.host.g))

    @cached_property
    def bound(self) -> tuple[float, Vector, Vector]:
        """`lower` and the potentials (n,) and (m,) that prove it; -inf where there is no weight."""
        return transport_bound(self.problem)

    @property
    def lower(self) -> float:
        """At most the value of any plan, whatever its rank: the dual value of feasible potentials.

        Computed when it is first asked for, and kept. Up to 1000 points a side between fixed sides these are optimal,
        and it is the optimal value. Otherwise potentials are solved for approximately, and made feasible by a pass over
        the cost, or by searches of trees between points in few coordinates.
        """
        return self.bound[0]

    @property
    def gap(self) -> float:
        """`upper` - `lower`: how far from the cheapest plan of any rank this one can be.

        It holds what the rank costs, how far these factors are from the best ones of their rank, and how far the
        potentials are from optimal ones. Only the first of these stays where everything else is done well.
        """
        return self.upper - self.lower

    @property
    def plan(self) -> NDArray[np.float64]:
        """The plan, shape (n, m), made anew each time; of up to 2**24 entries."""
        n, m = self.problem.shape
        if n * m > LARGEST_PLAN:
            raise ValueError(
                f"a plan of {n} x {m} = {n * m} entries is more than the {LARGEST_PLAN} that are made of factors; use "
                f"apply, sample or the factors"
            )
        return self.origin.emit((self.host.q / self.host.g) @ self.host.r.T)

    def apply(self, x: ArrayLike, axis: int = 1) -> NDArray[np.float64]:
        """The plan times `x`, factor by factor.

        Parameters
        ----------
        x : array_like
            Shape (m,) or (m, k) for ``axis=1``, (n,) or (n, k) for ``axis=0``.
        axis : {1, 0}
            The axis of the plan that is summed over: 1 gives P @ x, 0 gives P.T @ x.

        Returns
        -------
        array
            Shape (n,), (n, k), (m,) or (m, k).
        """
        origin_of(cost=self.factors.g, x=x)
        return self.origin.emit(self._applied(x, axis))

    def barycentric_map(self, y: ArrayLike) -> NDArray[np.float64]:
        """Where each row sends its mass on average: (P y) / (P 1).

        Parameters
        ----------
        y : array_like, shape (m,) or (m, k)
            Points, colours or other numbers of the columns.

        Returns
        -------
        array
            Shape (n,) or (n, k). nan for rows that send nothing.
        """
        origin_of(cost=self.factors.g, y=y)
        sums = self._applied(y, 1)
        mass = self.host.q.sum(axis=1).reshape(-1, *[1] * (sums.ndim - 1))
        return self.origin.emit(np.divide(sums, mass, out=np.full_like(sums, np.nan), where=mass > 0))

    def sample(self, size: int, rng: np.random.Generator | int | None = None) -> tuple[Indices, Indices]:
        """Draw pairs (i, j) with probabilities P_ij / sum(P), independently.

        Parameters
        ----------
        size : int
            How many.
        rng : numpy.random.Generator or int, optional
            Where randomness comes from, or a seed.

        Returns
        -------
        rows, cols : ndarray of int, shape (size,)
            NumPy, whatever library the cost is of.
        """
        return sample_factors(*self.host, size, rng)

    def _applied(self, x: Any, axis: int) -> NDArray[np.float64]:
        if axis not in (0, 1):
            raise ValueError(f"axis is {axis!r}; it must be 1 (P @ x) or 0 (P.T @ x)")
        values = check_operand(x, axis, self.problem.shape[axis]).astype(np.float64, copy=False)
        left, right = (self.host.q, self.host.r) if axis == 1 else (self.host.r, self.host.q)
        return np.asarray((left / self.host.g) @ (right.T @ values))


def _inverse_sums(factor: NDArray[np.float64], g: Vector) -> Vector:
    """Column sums over g: 1 to rounding."""
    return np.asarray(factor.sum(axis=0) / g)
