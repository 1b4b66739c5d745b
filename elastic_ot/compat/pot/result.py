"""What `solve`, `solve_sample` and `solve_gromov` return: the attributes of POT's ``OTResult``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...solutions.exact import ExactSolution
from .homes import Home, on_host
from .lazy import LazyPlan


@dataclass(frozen=True, eq=False)
class OTResult:
    """The result of a solve, with the attributes of POT's class of that name.

    Attributes
    ----------
    potentials : (array, array) or None
        As in POT: logarithms of scalings, without a unit, of entropic problems, and in units of the cost of exact ones.
    value, value_linear, value_quad : number or None
        The objective, <M, P>, and the quadratic part of Gromov-Wasserstein.
    lazy_plan : LazyPlan or None
    status : str
        "Converged", or what our solver says.
    log : dict
        That of the function that has solved it; ``log["solution"]`` is our result, with its certificate.
    """

    home: Home = field(repr=False)
    potentials: Any = field(default=None, repr=False)
    value: Any = None
    value_linear: Any = None
    value_quad: Any = None
    known_plan: Any = field(default=None, repr=False)
    lazy_plan: LazyPlan | None = field(default=None, repr=False)
    status: str | None = None
    log: Any = field(default=None, repr=False)

    @property
    def plan(self) -> Any:
        """The plan, shape (n, m); of a lazy result that of an exact problem, made when asked for, else None."""
        if self.known_plan is not None or self.lazy_plan is None:
            return self.known_plan
        solution = self.log["solution"]
        return self.home.give(solution.plan) if isinstance(solution, ExactSolution) else None

    @property
    def potential_a(self) -> Any:
        """The potential of the first side."""
        return None if self.potentials is None else self.potentials[0]

    @property
    def potential_b(self) -> Any:
        """The potential of the second side."""
        return None if self.potentials is None else self.potentials[1]

    @property
    def sparse_plan(self) -> Any:
        """The plan as a scipy.sparse.csr_array on the host, for PyTorch as a sparse tensor."""
        plan = self.plan if self.lazy_plan is None else None
        if plan is not None and self.home.name == "torch":
            return plan.to_sparse()
        if plan is not None:
            from scipy.sparse import csr_array

            return csr_array(on_host(plan))
        solution = None if self.log is None else self.log.get("solution")
        return None if solution is None else solution.sparse_plan()

    @property
    def marginals(self) -> Any:
        """Sums of the plan over columns and over rows."""
        return self.marginal_a, self.marginal_b

    @property
    def marginal_a(self) -> Any:
        """P 1."""
        return self._sums(0)

    @property
    def marginal_b(self) -> Any:
        """P^T 1."""
        return self._sums(1)

    def _sums(self, side: int) -> Any:
        if self.plan is not None:
            return self.home.xp.sum(self.plan, axis=1 - side)
        solution = None if self.log is None else self.log.get("solution")
        if solution is None:
            return None
        return self.home.give(on_host((solution.row_marginal, solution.col_marginal)[side]))

    @property
    def citation(self) -> str:
        """How to cite what the call is made after."""
        return (
            "Flamary et al., POT: Python Optimal Transport, Journal of Machine Learning Research 22(78), 2021. "
            "Solved by elastic_ot."
        )
