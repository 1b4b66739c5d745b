"""A solution whose rows are split over processes: what is of the rows is of the own ones."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NoReturn, cast

import numpy as np

from ..arrays.ingest import ingest_bar
from ..arrays.origin import Origin
from ..derivatives.implicit import pull_back
from ..derivatives.records import Gradients
from ..distributed.agreement import refuse_differences
from ..distributed.ranks import Together
from ..plans import certificate, export
from ..problems.problem import Problem
from ..solvers.driver import Outcome
from ..solvers.status import Budget
from .assembly import solution_from
from .divergence import Divergence
from .solution import Solution


@dataclass(frozen=True, repr=False, eq=False)
class SplitSolution(Solution):
    """What `solve` returns on each process if it is given a `comm`.

    `f`, `row_marginal`, `plan`, `log_plan`, ``apply(x)``, `rows` and `barycentric_map` are those of the own rows.
    Everything else is that of all rows, and the same on all processes: `g`, `col_marginal`, `value`, `dual_value`,
    `gap`, `transport_cost`, `residual`, `status`, `n_iter`, `history`. ``apply(x, axis=0)``, `gradients` and `vjp` sum
    over all rows: all processes must call them.

    Attributes
    ----------
    rank : int
        Which process this is.
    """

    def __repr__(self) -> str:
        cost = self.problem.cost
        return f"Split{super().__repr__()[:-1]}, {cost.shape[0]} of {cost.row_count} rows)"

    def apply(self, x: Any, axis: int = 1) -> Any:
        """The plan times `x`, see `Solution.apply`: its own rows, or with ``axis=0`` the sum over all rows.

        Parameters
        ----------
        x : array_like
            Shape (m,) or (m, k) for ``axis=1``; for ``axis=0`` the own rows of an (n,) or (n, k), with the same k on
            all processes, which must all call it.
        axis : {1, 0}

        Returns
        -------
        array
            The own rows of P @ x, or P.T @ x.
        """
        if axis != 0:
            return super().apply(x, axis)
        ranks = self.problem.ranks
        shape: tuple[int, ...] = ()
        with ranks.noting():
            shape = export.check_operand(x, axis, self.problem.shape[0]).shape
        width = float(shape[1]) if len(shape) == 2 else 0.0
        if ranks.most(width) != -ranks.most(-width):
            raise ValueError("x has not the same number of columns on all processes")
        return super().apply(x, axis)

    def map_new(self, points: Any, values: Any = None, axis: int = 1) -> Any:
        """Where new rows are sent on average, see `Solution.map_new`: it needs no other process.

        Parameters
        ----------
        points : array_like, shape (k, m), or Cost
            Costs between what is new and the columns, such as ``PointCloud(points, y)``.
        values : array_like, shape (m,) or (m, p)
            What means are taken of, such as y.
        axis : {1}

        Returns
        -------
        array, shape (k,) or (k, p)

        Raises
        ------
        ValueError
            With ``axis=0``, which asks for all rows.
        """
        if axis == 0:
            _refuse("map_new with axis=0 reads all rows", "solve with the sides exchanged to carry new columns")
        return super().map_new(points, values, axis)

    def sample(self, size: int, rng: Any = None) -> NoReturn:
        """Refused: pairs are drawn from the plan of all rows."""
        _refuse("sample draws from the plan of all rows", "draw columns for the rows of each process from rows(which)")

    def sparse_plan(self, mass: float = 0.999) -> NoReturn:
        """Refused: which entries matter to a column is known by all rows only."""
        _refuse("sparse_plan needs whole columns", "take the largest entries of rows(which)")

    def rounded_plan(self) -> NoReturn:
        """Refused: it is made by passes over the stored plan of all rows."""
        _refuse("rounded_plan needs the plan of all rows", "solve to a smaller tol; gap and value are there")

    def bounds(self) -> NoReturn:
        """Refused: they need the plan rounded."""
        _refuse("bounds need the plan of all rows", "gap, value and dual_value are there")

    def plot(self) -> NoReturn:
        """Refused: a picture shows all rows."""
        _refuse("plot shows the plan of all rows", "plot history and the rows that you have")

    def vjp(self, plan: Any = None, f: Any = None, g: Any = None) -> Gradients:
        """Derivatives of a function of plan and potentials, see `Solution.vjp`: all processes must call it.

        Parameters
        ----------
        plan : array_like, shape (n, m), optional
            dL/dP of the own rows.
        f, g : array_like, shapes (n,) and (m,), optional
            dL/df of the own rows, and dL/dg, the same on all processes.

        Returns
        -------
        Gradients
            Derivatives in cost and a of the own rows, and in everything else.

        Raises
        ------
        ValueError
            For a cost that is not stored, and for ``tol=0``.
        """
        ranks, shape = cast("Together", self.problem.ranks), self.problem.shape
        if self.found.budget is not None:
            raise ValueError("vjp of a fixed number of iterations (tol=0) is for one process; solve to a tol with comm")
        if not self.problem.cost.stored:
            raise ValueError(
                "vjp with comm needs the rows of the cost as an array; gradients has derivatives in points"
            )
        bars: list[Any] = [None, None, None]
        with ranks.noting():
            bars = [
                ingest_bar("plan", plan, shape, like=self.problem.cost.memory),
                ingest_bar("f", f, shape[:1]),
                ingest_bar("g", g, shape[1:]),
            ]
        ranks.check()
        refuse_differences(ranks, g=bars[2])
        if ranks.any(bars[0] is not None) and bars[0] is None:
            bars[0] = np.zeros(shape)
        self._warn_unconverged()
        return pull_back(self.found, *bars)

    def jvp(self, *args: Any, **options: Any) -> NoReturn:
        """Refused."""
        _refuse("jvp is for a problem on one process", "use gradients")

    def hvp(self, *args: Any, **options: Any) -> NoReturn:
        """Refused."""
        _refuse("hvp is for a problem on one process", "use differences of gradients")


@dataclass(frozen=True, repr=False, eq=False)
class SplitDivergence(Divergence):
    """What `divergence` returns on each process if it is given a `comm`.

    `value`, `gap` and whether it has converged are those of all rows, and the same on all processes; the three
    solutions are `SplitSolution`. Gradients are those of `cross`, ``a`` and ``x`` of the own rows: all processes must
    call `gradients`.
    """

    points: bool = False

    def _same_points(self) -> bool:
        return self.points


def _refuse(what: str, way: str) -> NoReturn:
    raise ValueError(f"{what}, and this process has some; {way}")


def split_solution(
    problem: Problem, outcome: Outcome, tol: float, origin: Origin, budget: Budget | None = None
) -> SplitSolution:
    """Return the solution of an outcome, with the numbers whose passes need all processes."""
    whole = solution_from(problem, outcome, tol, origin, budget)
    parts = {field.name: getattr(whole, field.name) for field in fields(Solution)}
    solution = SplitSolution(**parts)
    sound = bool(np.isfinite(solution.dual_value) and np.isfinite(solution.residual))
    mass = problem.ranks.sum(outcome.row_marginal)
    known = {
        "gap": certificate.gap(solution.found, sound),
        "transport_cost": export.transport_cost(solution.found) + problem.offset * mass,
    }
    solution.__dict__.update(known)  # cached, so that asking for them needs no other process
    return solution
