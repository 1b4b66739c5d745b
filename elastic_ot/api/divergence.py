"""The debiased divergence: three solves with one meaning, their gradients and their certificate."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ..arrays.origin import Origin, origin_of
from ..costs.grid import flat_weights
from ..costs.point_cost import is_pruned
from ..errors import ConvergenceError, ConvergenceWarning
from ..problems.pairs import build_cross, build_self, complete, strength
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty, Vector
from ..problems.problem import Problem
from ..problems.scaled import Task
from ..solutions.assembly import solution_from
from ..solutions.divergence import Divergence
from ..solutions.solution import Solution
from ..solvers.blocked import refuse_blocked
from ..solvers.driver import Limits, Outcome
from ..solvers.methods import Method, choose
from ..solvers.newton import Newton
from ..solvers.oriented import solve_stored
from ..solvers.state import Start
from ..solvers.symmetric import solve_from, solve_symmetric
from .divergence_batch import batch_shape, divergences
from .multiscale import pruned
from .options import SINGLE_TOL, check_choice, check_limits, check_method, last_side

DIFFERENCE_ROUNDING = 1e-14  # of the terms that the dual values are sums of: what a difference of them may be off by


def divergence(
    cost_xy: Any,
    cost_xx: Any = None,
    cost_yy: Any = None,
    a: Any = None,
    b: Any = None,
    *,
    epsilon: Any = None,
    blur: Any = None,
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    method: Method | Newton = "auto",
    tol: float = 1e-6,
    max_iter: int = 10_000,
    time_limit: float | None = None,
    on_failure: Literal["warn", "raise", "ignore"] = "warn",
) -> Any:
    """Debiased Sinkhorn divergence of two weighted clouds, 0 where they are the same.

    S(a, b) = OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2 + epsilon (sum a - sum b)^2 / 2, where OT is the optimal value of
    `solve` with the product reference.

    Parameters
    ----------
    cost_xy : array_like, shape (n, m) or (..., n, m), or Cost
        Costs from the points of a to those of b. +inf forbids a cell, here and below. With leading dimensions, here or
        in what follows, there are many pairs of clouds: they broadcast, and the result is a `BatchDivergence`. Of a
        `PointCloud`, which may have leading dimensions, or a `Grid` nothing of size n x m is stored.
    cost_xx, cost_yy : array_like, shapes (n, n) and (m, m), or (..., n, n) and (..., m, m), or Cost, optional
        Costs within each cloud, symmetric. A cost that knows its points makes them itself: a `PointCloud`, a `Grid` of
        coordinates, or a cost of your own with `Cost.within`.
    a, b : array_like, shapes (n,) and (m,), or (..., n) and (..., m), optional
        Weights >= 0, default 1/n and 1/m; of a `Grid` also in its shape. Their sums may differ if a side is relaxed.
    epsilon : float, or array_like of shape (...)
        Strength of the entropy, in the units of the cost, > 0. Either this or `blur` must be given.
    blur : float, or array_like of shape (...)
        A length, > 0, in place of `epsilon`, for costs that are a power of one: epsilon is blur**2 for the metric
        "sqeuclidean", and blur for "euclidean" and "cityblock". Details finer than it do not count; the distance
        between neighbouring points, or a hundredth to a tenth of the diameter, is a good choice. The blur of GeomLoss
        at p=2 belongs to half the squared distance: ours is its blur times sqrt(2), and our value twice its value.
    rows, cols : Penalty
        As for `solve`. OT(a, a) has `rows` on both sides, OT(b, b) has `cols`. Only with equal ones is S(a, a) = 0. A
        strength may be an array of shape (...).
    method : {"auto", "scaling", "stabilized", "log", "epsilon_scaling", "newton", "multiscale"} or Newton
        As for `solve`. OT(a, a) and OT(b, b) begin with averaged updates of one potential, and need it where the Gibbs
        kernel is far from positive definite.
    tol : float
        As for `solve`, > 0; each of the three terms meets it.
    max_iter : int
        Passes over its cost at most, for each term.
    time_limit : float, optional
        Seconds at most, for all.
    on_failure : {"warn", "raise", "ignore"}
        What to do if a term ends unconverged.

    Returns
    -------
    Divergence or BatchDivergence
        The value, a bound on its error, gradients, and the three solutions. Pairs of a batch are solved one after the
        other, each as it would be alone.

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

    Notes
    -----
    If exp(-C / epsilon) over both clouds together is positive definite (it is for C = abs(x - y)^p with 0 < p <= 2),
    the value is >= 0 at any `tol`: the same potentials serve OT(a, a), OT(b, b) and, as a lower bound, OT(a, b). A
    negative value within rounding (1e-14 of the terms it is a difference of) is returned as 0; a larger one, which
    other costs can have, as it is. With forbidden cells the last term is epsilon times half the sum of a a^T, of b b^T
    and of -2 a b^T over the allowed cells.

    References
    ----------
    Feydy, Séjourné, Vialard, Amari, Trouvé, Peyré, *Interpolating between optimal transport and MMD using Sinkhorn
    divergences*, 2019; Séjourné, Feydy, Vialard, Trouvé, Peyré, *Sinkhorn divergences for unbalanced optimal
    transport*, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> x, y = np.linspace(0, 1, 4), np.linspace(0.5, 1.5, 5)
    >>> def cost(x, y):
    ...     return (x[:, None] - y) ** 2
    >>> eot.divergence(cost(x, y), cost(x, x), cost(y, y), epsilon=0.1).value
    0.250...
    >>> eot.divergence(cost(x, x), cost(x, x), cost(x, x), epsilon=0.1).value
    0.0

    From points, without a matrix, and with its derivatives in them:

    >>> found = eot.divergence(eot.PointCloud(x[:, None], y[:, None]), blur=0.1**0.5)
    >>> found.value, found.gradients().x.shape
    (0.250..., (4, 1))
    """
    check_method(method)
    check_choice("on_failure", on_failure, ("warn", "raise", "ignore"))
    limits = Limits(*check_limits(tol, max_iter, time_limit, None))
    if limits.tol == 0:
        raise ValueError("tol is 0; a divergence needs converged solutions, and a tol > 0")
    epsilon = strength(cost_xy, epsilon, blur)
    cost_xx, cost_yy = complete(cost_xy, cost_xx, cost_yy)
    a, b = flat_weights(cost_xy, a, b)
    arrays = {"cost_xy": cost_xy, "cost_xx": cost_xx, "cost_yy": cost_yy, "a": a, "b": b, "epsilon": epsilon}
    batch = batch_shape(rows, cols, **arrays)
    if batch:
        options = {"method": method, "tol": tol, "max_iter": max_iter}
        return divergences(divergence, batch, arrays, rows, cols, options, time_limit, on_failure)
    deadline = np.inf if time_limit is None else time.perf_counter() + time_limit
    origin = origin_of(cost_xy=cost_xy, cost_xx=cost_xx, cost_yy=cost_yy, a=a, b=b)
    with origin.here():
        problem = build_cross(cost_xy, a, b, epsilon, rows, cols)
        problem_x = build_self("cost_xx", cost_xx, problem.a, problem, rows=True)
        problem_y = build_self("cost_yy", cost_yy, problem.b, problem, rows=False)
        if isinstance(problem.rows, Fixed) and isinstance(problem.cols, Fixed):  # constants of the costs are values
            problem, problem_x, problem_y = problem.levelled(), problem_x.levelled(), problem_y.levelled()
        problem, problem_x, problem_y = (
            pruned(one, cost, method, 1.0, limits.tol)
            for one, cost in ((problem, cost_xy), (problem_x, cost_xx), (problem_y, cost_yy))
        )
        terms = _Terms(method, limits, deadline, origin)
        self_x, dual_x = terms.self_term(problem_x)
        self_y, dual_y = terms.self_term(problem_y)
        cross, dual = terms.cross_term(problem, self_x.host.f, self_y.host.f)
    lift = problem.offset_value - 0.5 * (problem_x.offset_value + problem_y.offset_value)
    value = dual - 0.5 * (dual_x + dual_y) + lift  # the constants epsilon sum(R) cancel
    hidden = DIFFERENCE_ROUNDING * (_size(cross) + 0.5 * (_size(self_x) + _size(self_y))) + _left_out(cross)
    if -hidden <= value < 0:
        value = 0.0
    found = Divergence(value, cross, self_x, self_y, origin)
    if not found.converged and on_failure != "ignore":
        parts = (("cost_xy", cross), ("cost_xx", self_x), ("cost_yy", self_y))
        text = "; ".join(f"the term of {name}: {part.message}" for name, part in parts if not part.converged)
        if on_failure == "raise":
            raise ConvergenceError(text)
        warnings.warn(text, ConvergenceWarning, stacklevel=2)
    return found


@dataclass(frozen=True)
class _Terms:
    """How each term is solved; dual values come without the constant epsilon sum(R)."""

    method: Method | Newton
    limits: Limits
    deadline: float
    origin: Origin

    def self_term(self, problem: Problem) -> tuple[Solution, float]:
        limits = self._limits_now()

        def solve(task: Task, start: Start) -> Outcome:
            return solve_symmetric(task, start, limits, choose(self.method, task.problem, 1.0, limits.tol))

        outcome = solve_stored(problem, self._start(problem, "rows"), solve)
        return self._solution(problem, outcome), outcome.measure.dual

    def cross_term(self, problem: Problem, f: Vector, g: Vector) -> tuple[Solution, float]:
        limits = self._limits_now()
        duals: list[float] = []

        def solve(task: Task, start: Start) -> Outcome:
            phases = choose(self.method, task.problem, 1.0, limits.tol)
            found, dual = solve_from(task, start, limits, phases)
            duals.append(dual)
            return found

        start = replace(self._start(problem, last_side(problem, None)), f=f, g=g)
        outcome = solve_stored(problem, start, solve)
        return self._solution(problem, outcome), duals[0]

    def _start(self, problem: Problem, end: str) -> Start:
        fast = (self.method in ("auto", "multiscale") or problem.cost.single) and self.limits.tol >= SINGLE_TOL
        return Start(None, None, end, (1.0, 1.0), fast, self.limits.tol, self.deadline)

    def _limits_now(self) -> Limits:
        if self.limits.time_limit is None:
            return self.limits
        left = max(self.deadline - time.perf_counter(), 1e-3)  # too little for anything but saying so
        return Limits(self.limits.tol, self.limits.max_iter, left)

    def _solution(self, problem: Problem, outcome: Outcome) -> Solution:
        refuse_blocked(outcome.blocked)
        return solution_from(problem, outcome, self.limits.tol, self.origin)


def _left_out(solution: Solution) -> float:
    """By how much the dual value is lower because of pairs that are not read."""
    problem = solution.problem
    return problem.epsilon * problem.mass * problem.cost.left_share if is_pruned(problem.cost) else 0.0


def _size(solution: Solution) -> float:
    """What the terms of a dual value add up to, without their signs; costs where there is mass are no larger."""
    host, problem = solution.host, solution.problem
    used_r, used_c = problem.row_used, problem.col_used
    r, c = host.row_marginal[used_r], host.col_marginal[used_c]
    with np.errstate(over="ignore"):
        terms = r @ np.abs(host.f[used_r]) + c @ np.abs(host.g[used_c]) + problem.epsilon * r.sum()
    return float(terms + abs(solution.dual_value))
