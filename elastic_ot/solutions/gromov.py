"""What `gromov` returns: a stationary plan, its energy, and how far from the least energy it can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..problems.linear import build_linear
from ..problems.penalties import Fixed
from ..results import Result, one_line
from ..solvers.exact.clock import Clock
from ..solvers.exact.proved import solve_proved
from ..solvers.gromov.bounds import first_bound, third_costs
from ..solvers.gromov.descent import Step
from ..solvers.gromov.structures import Structure
from ..solvers.status import Status
from ..typing import ArrayLike
from .solution import Solution


@dataclass(frozen=True, eq=False)
class GromovHistory:
    """One entry an outer iteration.

    Attributes
    ----------
    value, energy : ndarray
        The objective and the energy; with product penalties of the plan times the number that lowers the objective
        most.
    change : ndarray
        L1 distance from the plan before, relative to the mass; of clouds a bound on it.
    tol : ndarray
        Tolerance of the inner solve.
    proximal : ndarray
        Strength of the term that kept the step short, in units of the cost; 0 for a full step.
    seconds : ndarray
        Wall time since the start.
    """

    value: NDArray[np.float64]
    energy: NDArray[np.float64]
    change: NDArray[np.float64]
    tol: NDArray[np.float64]
    proximal: NDArray[np.float64]
    seconds: NDArray[np.float64]

    __repr__ = one_line

    def __len__(self) -> int:
        return int(self.value.size)


def gromov_history(steps: Sequence[Step]) -> GromovHistory:
    """Return the history of these steps."""
    columns = np.array(steps, dtype=np.float64).reshape(len(steps), len(Step._fields)).T
    return GromovHistory(*columns)


@dataclass(frozen=True, eq=False)
class GromovSolution(Result):
    """A stationary plan between two spaces: the cheapest under the derivative of the objective at itself.

    The problem is not convex, so that plan need not be the best; `lower_bounds` says how much better one can be.

    Attributes
    ----------
    value : float
        The objective: alpha E(P) + (1 - alpha) <M, P> + epsilon KL(P | R) and penalties, or those of products.
    energy : float
        E(P), the sum of L(Cx_ii', Cy_jj') P_ij P_i'j'.
    linear_cost : float
        <M, P>, 0 without M.
    change : float
        L1 distance of P from the plan that it was solved from, relative to the mass; between clouds a bound on it, to
        rounding.
    solution : Solution
        The last inner solve, of a linear cost: plan, potentials, certificate. With product penalties its costs are
        divided by the mass.
    status : Status
    message : str
    history : GromovHistory
    alpha : float
        The share of the energy.

    See Also
    --------
    gromov : makes it.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    >>> found = eot.gromov(eot.PointCloud(x), eot.PointCloud(x[[2, 0, 1]]), epsilon=0.05, starts=3)
    >>> found.plan.argmax(axis=1)
    array([1, 2, 0])
    """

    value: float
    energy: float
    linear_cost: float
    change: float
    solution: Solution
    status: Status
    message: str
    history: GromovHistory
    alpha: float
    structure: Structure = field(repr=False)

    def __repr__(self) -> str:
        n, m = self.structure.shape
        return f"GromovSolution({n} x {m}, energy={self.energy:.6g}, {self.n_iter} iterations, {self.status.name})"

    @property
    def converged(self) -> bool:
        """True if the plan is stationary to the tolerance."""
        return self.status is Status.CONVERGED

    @property
    def n_iter(self) -> int:
        """Outer iterations."""
        return len(self.history)

    @property
    def plan(self) -> NDArray[np.float64]:
        """The plan, shape (n, m); see `Solution.plan`."""
        return self.solution.plan

    @property
    def row_marginal(self) -> NDArray[np.float64]:
        """P 1, shape (n,)."""
        return self.solution.row_marginal

    @property
    def col_marginal(self) -> NDArray[np.float64]:
        """P^T 1, shape (m,)."""
        return self.solution.col_marginal

    def apply(self, x: ArrayLike, axis: int = 1) -> NDArray[np.float64]:
        """The plan times `x`, see `Solution.apply`."""
        return self.solution.apply(x, axis)

    def lower_bounds(self, third: bool = False) -> tuple[float, float | None]:
        """Lower bounds on the energy of any plan with these marginals (Memoli, *Gromov-Wasserstein distances*, 2011).

        Parameters
        ----------
        third : bool
            Compute the third one as well: n m transports on a line of n + m points, and an exact transport.

        Returns
        -------
        first, third : float, float or None
            The first bound compares root mean squares of the distances from each point (0 for the loss "kl", which has
            none); the third compares all of these distances. The largest of the two is the best known.

        Raises
        ------
        ValueError
            For relaxed sides, or ``third`` of clouds, whose matrices are not stored.
        """
        problem = self.solution.problem
        if not (isinstance(problem.rows, Fixed) and isinstance(problem.cols, Fixed)):
            raise ValueError("lower bounds are known for Fixed sides; a relaxed plan may have any mass")
        mass = problem.mass
        a, b = problem.a / mass, problem.b / problem.b.sum()
        first = mass**2 * first_bound(self.structure, a, b)
        if not third:
            return first, None
        linear, integral = build_linear(third_costs(self.structure, a, b), a, b, Fixed(), Fixed(), None)
        found = solve_proved(linear, integral, Clock())
        used = (a > 0, b > 0)
        return first, mass**2 * float(a[used[0]] @ found.u[used[0]] + b[used[1]] @ found.v[used[1]])
