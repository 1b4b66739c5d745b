"""The public call: validate, choose a method, run it, wrap the result. No arithmetic here."""

from __future__ import annotations

from functools import cache
from inspect import signature
from typing import Any, Literal, Unpack, overload

import numpy as np

from ..calls import public
from ..costs.base import Cost
from ..problems.batch import BatchProblem
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty, Vector
from ..problems.problem import Problem
from ..problems.terms import Reference
from ..solutions.assembly import solution_of
from ..solutions.batch import BatchSolution
from ..solutions.solution import Solution
from ..solvers.methods import Method
from ..solvers.newton import Newton
from ..solvers.status import Budget, Status
from ..typing import ArrayLike, Callback, ForeignT, ManyMatrices, Number, Numbers
from .options import is_budget, last_side
from .signatures import Init, OnFailure, SolveOptions
from .solve_any import solve_any
from .solve_batch import recalled


# Tensors and lists are array_like, too, and are told first.
@overload
def solve(  # type: ignore[overload-overlap]
    cost: ForeignT,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: Numbers,
    row_lengths: ArrayLike | None = None,
    col_lengths: ArrayLike | None = None,
    **options: Unpack[SolveOptions],
) -> BatchSolution[ForeignT]: ...


@overload
def solve(  # type: ignore[overload-overlap]
    cost: ForeignT,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: Number | str,
    row_lengths: ArrayLike,
    col_lengths: ArrayLike | None = None,
    **options: Unpack[SolveOptions],
) -> BatchSolution[ForeignT]: ...


@overload
def solve(  # type: ignore[overload-overlap]
    cost: ForeignT,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: Number | str,
    row_lengths: None = None,
    col_lengths: ArrayLike,
    **options: Unpack[SolveOptions],
) -> BatchSolution[ForeignT]: ...


@overload
def solve(  # type: ignore[overload-overlap]
    cost: ForeignT,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: Number | str,
    **options: Unpack[SolveOptions],
) -> Solution[ForeignT]: ...


@overload
def solve(  # type: ignore[overload-overlap]
    cost: ManyMatrices,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: Number | str | Numbers,
    **options: Unpack[SolveOptions],
) -> BatchSolution: ...


@overload
def solve(
    cost: ArrayLike | Cost,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: Numbers,
    row_lengths: ArrayLike | None = None,
    col_lengths: ArrayLike | None = None,
    **options: Unpack[SolveOptions],
) -> BatchSolution: ...


@overload
def solve(
    cost: ArrayLike | Cost,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: Number | str,
    row_lengths: ArrayLike,
    col_lengths: ArrayLike | None = None,
    **options: Unpack[SolveOptions],
) -> BatchSolution: ...


@overload
def solve(
    cost: ArrayLike | Cost,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: Number | str,
    row_lengths: None = None,
    col_lengths: ArrayLike,
    **options: Unpack[SolveOptions],
) -> BatchSolution: ...


@overload
def solve(
    cost: ArrayLike | Cost,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: Number | str,
    **options: Unpack[SolveOptions],
) -> Solution: ...


@public
def solve(
    cost: ArrayLike | Cost | ManyMatrices,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: Number | str | Numbers,
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    reference: Reference = "product",
    mask: ArrayLike | None = None,
    mass: float | None = None,
    method: Method | Newton = "auto",
    relaxation: float | Literal["auto"] = 1.0,
    tol: float = 1e-6,
    max_iter: int = 10_000,
    time_limit: float | None = None,
    init: Init = None,
    end: Literal["rows", "cols"] | None = None,
    row_lengths: ArrayLike | None = None,
    col_lengths: ArrayLike | None = None,
    callback: Callback | None = None,
    progress: bool = False,
    on_failure: OnFailure = "warn",
    comm: object = None,
) -> Solution[object] | BatchSolution[object]:
    """Entropic optimal transport with elastic marginals.

    Minimises <C, P> + epsilon KL(P | R) + phi_rows(P 1) + phi_cols(P^T 1) over plans P >= 0.

    Parameters
    ----------
    cost : array_like, shape (n, m) or (..., n, m), or Cost
        Cost of moving a unit of mass from i to j. +inf forbids a cell. C or Fortran order and read-only arrays are
        used in place; float16 is computed in float32, integers in float64. On a CUDA device it is solved there, float16
        and bfloat16 as they lie. With leading dimensions, here or in what follows, it is a batch: they broadcast, and
        the result is a `BatchSolution`; so it is of a list of matrices or of `PointCloud`, whose sizes may differ, and
        to which `a`, `b` and `mask` may be lists. A `Cost` is computed by blocks and never stored, but for a batch of
        `PointCloud`.
    a, b : array_like, shapes (n,) and (m,), or (..., n) and (..., m), optional
        Weights >= 0, default 1/n and 1/m. A zero weight removes its row or column: the plan is exactly 0 there.
    epsilon : float, str, or array_like of shape (...)
        Strength of the entropy, in the units of the cost, > 0. A text such as ``"0.05x"`` is a fraction of the range of
        the costs, max - min of those that are finite and allowed; of a `PointCloud`, of a bound on it; of a batch, of
        each problem's own.
    rows, cols : Penalty
        What the marginals P 1 and P^T 1 are asked to be: `Fixed` (default), `KL`, `TV`, `L2`, `Between`, `AtMost`,
        `Free` or `Elastic`. A strength may be an array of shape (...).
    reference : {"product", "counting"}
        R = a b^T (default), or R = 1, the convention of attention. The plan depends on it as soon as a side is
        relaxed.
    mask : array_like of bool, shape (n, m) or (..., n, m), optional
        False forbids a cell; costs one copy of the cost.
    mass : float, optional
        The plan's total mass, given (partial transport). Sides must leave it open: weights of `Fixed` ones, the
        default, are upper bounds then, as of `AtMost`. Not for batches or ``tol=0``.
    method : {"auto", "scaling", "stabilized", "log", "epsilon_scaling", "newton", "multiscale"} or Newton
        How to solve; every method has the same answer. "log" allocates nothing of the size of the cost, "newton" half
        a float64 matrix or the cells that carry mass, "multiscale", which is for a `PointCloud` with a metric that is a
        distance, lists of neighbours, the others one matrix. `Newton(...)` sets the parameters of Newton's method.
    relaxation : float or "auto"
        omega in (0, 2). Below 1 the column update is damped: g <- (1 - omega) g + omega update, rows stay exact.
        Above 1 both sides are over-relaxed, as long as the dual value rises. "auto" chooses omega >= 1 from the rate of
        convergence. It changes the speed of the sweeps, never the answer; Newton's steps have none.
    tol : float
        0 is a budget: exactly `max_iter` iterations, none of them measured, no warning (see `end`); Newton's method and
        epsilon scaling, which have no such iterations, go as far as rounding lets them. Otherwise converged means: on
        the returned potentials the L1 residual of the marginals is <= tol * mass and, with a relaxed side, the gap of
        the relaxed sides is <= tol * max(abs(dual), epsilon * mass), the dual taken without its constant.
    max_iter : int
        Passes over the cost at most; with ``tol=0`` how many.
    time_limit : float, optional
        Seconds at most.
    init : Solution, ExactSolution or (f, g), optional
        Warm start, potentials in cost units; left out if they are so large that epsilon vanishes beside them.
    end : {"rows", "cols"}, optional
        The side that is updated last, and therefore exact; default the only hard one, else the rows. With ``tol=0``
        rows are updated first, so that T iterations are 2 T half steps with ``end="cols"`` and 2 T - 1 with
        ``end="rows"``: a single one is then a row softmax.
    row_lengths, col_lengths : array_like of int, shape (...), optional
        How many rows and columns each problem of a batch has; what lies beyond is not read, and carries nothing.
    callback : callable, optional
        Called as ``callback(iteration, residual)`` every iteration; a true value stops the solve. In a batch the
        residual is an array, and the call comes once a round.
    progress : bool
        Show a tqdm bar of the distance to the tolerance; not in a batch.
    on_failure : {"warn", "raise", "ignore"}
        What to do if the solve ends unconverged.
    comm : communicator, optional
        Rows are split over processes: each passes its own rows of `cost`, `a` and `mask`, or a cost of None if it has
        none, and the same of everything else. A communicator of mpi4py, `torch.distributed` or a process group of it
        (gloo), or an `elastic_ot.distributed.Communicator`. See the page on processes.

    Returns
    -------
    Solution or BatchSolution
        Potentials, marginals, certificate; the plan when asked for.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value.
    InfeasibleError
        No plan meets the hard sides.
    ConvergenceError
        Not converged and ``on_failure="raise"``.

    Warns
    -----
    ConvergenceWarning
        Not converged and ``on_failure="warn"``.

    References
    ----------
    Cuturi, *Sinkhorn distances*, 2013; Chizat, Peyré, Schmitzer, Vialard, *Scaling algorithms for unbalanced optimal
    transport problems*, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> x, y = np.linspace(0, 1, 4), np.linspace(0, 1, 3)
    >>> sol = eot.solve((x[:, None] - y) ** 2, epsilon=0.05)
    >>> sol.status.name, sol.plan.shape
    ('CONVERGED', (4, 3))
    """
    lengths = row_lengths, col_lengths
    found: Solution[object] | BatchSolution[object] = solve_any(
        *(cost, a, b, epsilon, rows, cols, reference, mask, mass, lengths),
        method,
        relaxation,
        tol,
        max_iter,
        time_limit,
        init,
        end,
        callback,
        progress,
        on_failure,
        comm,
    )
    return found


def solve_with_plan(cost: Any, a: Any, b: Any, *, epsilon: Any, **options: Any) -> Any:
    """`solve` where the plan is wanted in any case: that of a batch's budget comes cheaper with it."""
    return solve_for(cost, a, b, epsilon=epsilon, with_plan=True, **options)


def solve_for(
    cost: Any, a: Any, b: Any, *, epsilon: Any, with_plan: bool = False, precision: str = "", **options: Any
) -> Any:
    """`solve` for callers that know more: that the plan is wanted, or a dtype that weights had before."""
    if not options.keys() <= _defaults().keys():
        solve(cost, epsilon=epsilon, **options)  # says which of them is unknown
    given = _defaults() | options
    lengths = given.pop("row_lengths"), given.pop("col_lengths")
    given |= {"cost": cost, "a": a, "b": b, "epsilon": epsilon, "lengths": lengths}
    return solve_any(**given, with_plan=with_plan, precision=precision)


@cache
def _defaults() -> dict[str, Any]:
    return {name: parameter.default for name, parameter in signature(solve).parameters.items()}


def recall(
    problem: Problem,
    f: Vector,
    g: Vector,
    tol: float = 1e-6,
    max_iter: int = 10_000,
    method: Method | Newton = "auto",
    end: Literal["rows", "cols"] | None = None,
) -> Solution:
    """The solution with these potentials, which an earlier solve with these options has found: measured, not solved."""
    budget = Budget(max_iter, last_side(problem, end), None, None) if is_budget(tol, method) else None
    return solution_of(problem, f, g, Status.BUDGET if budget else None, 0, "recalled", tol, budget)


def recall_batch(
    problem: BatchProblem,
    f: Any,
    g: Any,
    tol: float = 1e-6,
    max_iter: int = 10_000,
    method: Method | Newton = "auto",
    end: Literal["rows", "cols"] | None = None,
) -> BatchSolution:
    """`recall` for a batch."""
    first, second = (np.asarray(x, dtype=np.float64).reshape(problem.size, -1) for x in (f, g))
    budget = Budget(max_iter, end or "mixed", None, None) if is_budget(tol, method) else None
    return recalled(problem, first, second, tol, end, budget)
