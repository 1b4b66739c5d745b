"""What `solve`, `solve_sample` and `solve_gromov` return: the attributes of POT's ``OTResult``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from ...solutions.exact import ExactSolution
from ...typing import ArrayT_co
from .homes import Home, on_host
from .lazy import LazyPlan

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class OTResult(Generic[ArrayT_co]):
    """The result of a solve, with the attributes of POT's class of that name.

    Attributes
    ----------
    potentials : (array, array) or None
        As in POT: logarithms of scalings, without a unit, of entropic problems, and in units of the cost of exact ones.
    value, value_linear, value_quad : number or None
        The objective, which is always there, <M, P>, and the quadratic part of Gromov-Wasserstein.
    lazy_plan : LazyPlan or None
    status : str
        "Converged", or what our solver says.
    log : dict
        That of the function that has solved it; ``log["solution"]`` is our result, with its certificate.
    """

    home: Home = field(repr=False)
    potentials: tuple[ArrayT_co, ArrayT_co] | None = field(repr=False)
    value: ArrayT_co
    value_linear: ArrayT_co | None
    value_quad: ArrayT_co | None = None
    known_plan: ArrayT_co | None = field(default=None, repr=False)
    lazy_plan: LazyPlan | None = field(default=None, repr=False)
    status: str | None = None
    log: Mapping[str, object] | None = field(default=None, repr=False)

    @property
    def plan(self) -> ArrayT_co | None:
        """The plan, shape (n, m); of a lazy result that of an exact problem, made when asked for, else None."""
        if self.known_plan is not None or self.lazy_plan is None:
            return self.known_plan
        solution = self._solution
        found: ArrayT_co | None = self.home.give(solution.plan) if isinstance(solution, ExactSolution) else None
        return found

    @property
    def potential_a(self) -> ArrayT_co | None:
        """The potential of the first side."""
        return None if self.potentials is None else self.potentials[0]

    @property
    def potential_b(self) -> ArrayT_co | None:
        """The potential of the second side."""
        return None if self.potentials is None else self.potentials[1]

    @property
    def sparse_plan(self) -> csr_array | ArrayT_co | None:
        """The plan as a scipy.sparse.csr_array on the host, for PyTorch as a sparse tensor."""
        plan: Any = self.plan if self.lazy_plan is None else None
        if plan is not None and self.home.name == "torch":
            sparse: ArrayT_co = plan.to_sparse()
            return sparse
        if plan is not None:
            from scipy.sparse import csr_array

            return csr_array(on_host(plan))
        solution = self._solution
        found: csr_array | None = None if solution is None else solution.sparse_plan()
        return found

    @property
    def marginals(self) -> tuple[ArrayT_co | None, ArrayT_co | None]:
        """Sums of the plan over columns and over rows."""
        return self.marginal_a, self.marginal_b

    @property
    def marginal_a(self) -> ArrayT_co | None:
        """P 1."""
        return self._sums(0)

    @property
    def marginal_b(self) -> ArrayT_co | None:
        """P^T 1."""
        return self._sums(1)

    @property
    def _solution(self) -> Any:
        return None if self.log is None else self.log.get("solution")

    def _sums(self, side: int) -> ArrayT_co | None:
        found: ArrayT_co | None = None
        if self.plan is not None:
            found = self.home.xp.sum(self.plan, axis=1 - side)
        elif self._solution is not None:
            solution = self._solution
            found = self.home.give(on_host((solution.row_marginal, solution.col_marginal)[side]))
        return found

    @property
    def citation(self) -> str:
        """How to cite what the call is made after."""
        return (
            "Flamary et al., POT: Python Optimal Transport, Journal of Machine Learning Research 22(78), 2021. "
            "Solved by elastic_ot."
        )
