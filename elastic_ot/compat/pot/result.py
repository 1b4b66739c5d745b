"""What `solve`, `solve_sample` and `solve_gromov` return: the attributes of POT's ``OTResult``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .homes import Home, on_host


@dataclass(frozen=True, eq=False)
class LazyPlan:
    """A plan that is not stored: ``plan[i]``, ``plan[i:j]`` and ``plan[i:j, k]`` compute rows of it.

    Attributes
    ----------
    shape : tuple of int
    """

    solution: Any = field(repr=False)
    home: Home = field(repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        n, m = self.solution.problem.shape
        return n, m

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        rows, *cols = key if isinstance(key, tuple) else (key,)
        if rows is Ellipsis:
            rows = slice(None)
        found = self.solution.rows(rows) if hasattr(self.solution, "rows") else self.solution.plan[rows]
        found = np.asarray(found)
        return self.home.give(found if not cols else found[..., cols[0]])


@dataclass(frozen=True, eq=False)
class OTResult:
    """The result of a solve, with the attributes of POT's class of that name.

    Attributes
    ----------
    potentials : (array, array) or None
        As in POT: logarithms of scalings, without a unit, of entropic problems, and in units of the cost of exact ones.
    value, value_linear, value_quad : number or None
        The objective, <M, P>, and the quadratic part of Gromov-Wasserstein.
    plan, lazy_plan : array and LazyPlan, or None
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
    plan: Any = field(default=None, repr=False)
    lazy_plan: Any = field(default=None, repr=False)
    status: str | None = None
    log: Any = field(default=None, repr=False)

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
        """The plan as a scipy.sparse.csr_array on the host, a tensor in this format for PyTorch."""
        plan = self.plan if self.lazy_plan is None else None
        if plan is not None and self.home.name == "torch":
            return plan.to_sparse_csr()
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
