"""The call `gromov`: read two spaces, descend from one start or several, wrap the best."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from ..arrays.ingest import ingest_number, ingest_stack, refuse_devices
from ..calls import public
from ..costs.base import LARGEST_PLAN, Cost, is_cost
from ..costs.points import PointCloud
from ..errors import report_failure
from ..problems.build import check_epsilon, check_sides, refuse_total, weights_of
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty, Vector
from ..problems.terms import Reference
from ..solutions.gromov import GromovSolution, gromov_history
from ..solutions.solution import Solution
from ..solvers.gromov.descent import Descent, Found, descend
from ..solvers.gromov.inner import Inner
from ..solvers.gromov.losses import LOSSES
from ..solvers.gromov.structures import Array, Clouds, Coupling, Matrices, Structure
from ..solvers.gromov.terms import OfMarginals, OfProducts, Terms, strength_of
from ..solvers.line import in_order
from ..solvers.objective import penalty_values
from ..solvers.status import Status
from ..typing import ArrayLike
from .options import check_choice, check_limits
from .solve import solve

STARTS = ("product", "eccentricity")
VANISHED_PLAN = 1e-6  # mass of a plan beside that of the weights for which the objective is least without any
SAME_VALUE = 1e-9  # relative difference of objectives that is no reason for another start


@public
def gromov(
    cost_x: ArrayLike | Cost,
    cost_y: ArrayLike | Cost,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: float,
    linear: ArrayLike | Cost | None = None,
    alpha: float | None = None,
    loss: Literal["square", "kl"] = "square",
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    penalties: Literal["marginal", "product"] = "marginal",
    reference: Reference = "product",
    init: ArrayLike = "product",
    starts: int = 1,
    seed: int = 0,
    tol: float = 1e-6,
    max_iter: int = 1000,
    time_limit: float | None = None,
    callback: Callable[[int, float], object] | None = None,
    on_failure: Literal["warn", "raise", "ignore"] = "warn",
) -> GromovSolution:
    """(Fused) Gromov-Wasserstein: the plan that carries distances within one space to those within another.

    Looks for a stationary point of alpha E(P) + (1 - alpha) <M, P> + epsilon KL(P | R) + phi_rows(P 1) + phi_cols(P^T
    1) over plans P >= 0, with E(P) the sum of L(Cx_ii', Cy_jj') P_ij P_i'j' over all i, i', j, j'. With
    ``penalties="product"`` the entropy and the penalties are those of product measures, as the energy is.

    Parameters
    ----------
    cost_x, cost_y : array_like, shapes (n, n) and (m, m), or PointCloud
        Distances, or other relations, within each space; they need not be symmetric. Two `PointCloud` of one cloud
        each, with metric "sqeuclidean", are never made a matrix; points of other metrics are, where these are small.
    a, b : array_like, shapes (n,) and (m,), optional
        Weights >= 0, default 1/n and 1/m.
    epsilon : float
        Strength of the entropy, in the units of the loss, > 0.
    linear : array_like, shape (n, m), or PointCloud, optional
        M, costs between the two spaces (fused Gromov-Wasserstein). With clouds a `PointCloud` of features.
    alpha : float, optional
        Share of E in (0, 1], default 1, or 1/2 with `linear`.
    loss : {"square", "kl"}
        L(x, y) = (x - y)^2, or x log(x / y) - x + y, for which `cost_y` must be positive.
    rows, cols : Penalty
        What the marginals are asked to be, as for `solve`.
    penalties : {"marginal", "product"}
        What entropy and penalties are of. "product": epsilon KL(P ⊗ P | R ⊗ R) / 2, and with r = P 1 and KL(rho) rows
        rho KL(r ⊗ r | a ⊗ a) / 2, the same for columns; sides are then `KL`, `Fixed` or `Free`, and clouds are made
        matrices. At mass 1 and between `Fixed` sides the two are one problem. Séjourné, Vialard, Peyré and
        ``ot.gromov.fused_unbalanced_gromov_wasserstein`` have no half, ``ot.solve_gromov`` has.
    reference : {"product", "counting"}
        R, as for `solve`.
    init : {"product", "eccentricity"} or array_like, shape (n, m)
        The plan to begin with: a b^T, or the one that sorts points by their root mean square distance from all others.
        Clouds begin with the latter.
    starts : int
        How many plans to begin with: `init`, the other one of the two, and random ones. The best result is returned.
    seed : int
        Of the random ones.
    tol : float
        Converged means: a full step moves the plan by at most `tol` of its mass in L1, and the inner problem is solved
        to `tol`.
    max_iter : int
        Outer iterations at most, from each start.
    time_limit : float, optional
        Seconds at most, for all.
    callback : callable, optional
        Called as ``callback(iteration, change)`` every outer iteration; a true value ends the descent.
    on_failure : {"warn", "raise", "ignore"}
        What to do if it ends unconverged.

    Returns
    -------
    GromovSolution
        A stationary plan with its energy, its inner solution, and lower bounds on the energy of all plans. Arrays of
        other libraries are read; those of the result are of NumPy.

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

    See Also
    --------
    solve : the linear problem, one of which is solved in each iteration.

    Notes
    -----
    The problem is not convex, and what is found depends on the start. The objective falls from iteration to iteration,
    as far as the tolerance of the inner solve shows it: a step that would raise it is made shorter by a proximal term.
    With product penalties every plan is multiplied by the number that lowers the objective most before the next problem
    is made; weak penalties beside high costs may leave no mass at all, which ends it as STALLED.
    Its derivative counts every pair twice, as for ``ot.gromov`` of POT: at a given epsilon plans and energies are the
    same.

    References
    ----------
    Peyré, Cuturi, Solomon, *Gromov-Wasserstein averaging of kernel and distance matrices*, 2016; Vayer, Chapel,
    Flamary, Tavenard, Courty, *Optimal transport for structured data with application on graphs*, 2019; Séjourné,
    Vialard, Peyré, *The unbalanced Gromov Wasserstein distance*, 2021; Scetbon, Peyré, Cuturi, *Linear-time Gromov
    Wasserstein distances using low rank couplings and costs*, 2022.

    Examples
    --------
    A path of four nodes is found in a permuted one:

    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> path = np.abs(np.subtract.outer(np.arange(4.0) ** 1.5, np.arange(4.0) ** 1.5))
    >>> order = np.array([2, 0, 3, 1])
    >>> found = eot.gromov(path, path[np.ix_(order, order)], epsilon=0.05, starts=4)
    >>> order[found.plan.argmax(axis=1)]
    array([0, 1, 2, 3])
    """
    check_choice("on_failure", on_failure, ("warn", "raise", "ignore"))
    check_choice("loss", loss, tuple(LOSSES))
    tol, max_iter, time_limit, callback = check_limits(tol, max_iter, time_limit, callback)
    if tol == 0:
        raise ValueError("tol is 0; gromov has no fixed number of steps, give a tol > 0")
    epsilon = check_epsilon(_number(epsilon))
    check_sides(rows, cols)
    count = _count(starts)
    check_choice("penalties", penalties, ("marginal", "product"))
    share = _share(alpha, linear)
    stored = penalties == "product"
    fixed = type(rows) is type(cols) is Fixed
    structure = _structure(cost_x, cost_y, linear, loss, share, fixed, stored)
    n, m = structure.shape
    weights = weights_of("a", a, n, "rows"), weights_of("b", b, m, "columns")
    for name, values in zip("ab", weights, strict=True):
        refuse_total(name, float(values.sum()))
    deadline = np.inf if time_limit is None else time.perf_counter() + time_limit
    terms: Terms = _products(epsilon, (rows, cols), weights, reference) if stored else OfMarginals(epsilon)
    how = Descent(epsilon, share, terms, tol, max_iter, deadline, callback)

    def inner(cost: Any, epsilon: float, begin: tuple[Vector, Vector] | None, tol: float) -> Inner:
        left = None if deadline == np.inf else max(deadline - time.perf_counter(), 1e-3)
        solution = solve(
            *(cost, *weights),
            epsilon=epsilon,
            rows=rows,
            cols=cols,
            reference=reference,
            init=begin,
            tol=tol,
            time_limit=left,
            on_failure="ignore",
        )
        return _inner(solution, stored=isinstance(structure, Matrices))

    best: Found | None = None
    for start in _starts(structure, init, count, seed, weights):
        found = descend(structure, start, inner, how)
        if best is None or found.value < best.value - SAME_VALUE * abs(best.value):
            best = found
        if time.perf_counter() >= deadline:
            break
    assert best is not None
    result = _result(best, structure, share, tol, min(float(x.sum()) for x in weights))
    if not result.converged:
        report_failure(result.message, on_failure)
    return result


def _number(epsilon: Any) -> Any:
    """Refuse a fraction of the range of costs."""
    if isinstance(epsilon, str):
        raise TypeError(
            f"epsilon is {epsilon!r}, and gromov makes its costs of the plan, so that they have no range beforehand; "
            f"give a number, in the units of the loss"
        )
    return epsilon


def _count(starts: Any) -> int:
    if isinstance(starts, bool) or not isinstance(starts, int | np.integer) or starts < 1:
        raise ValueError(f"starts is {starts!r}; it must be an integer >= 1")
    return int(starts)


def _share(alpha: float | None, linear: Any) -> float:
    if alpha is None:
        return 1.0 if linear is None else 0.5
    share = ingest_number("alpha", alpha)
    if not 0 < share <= 1:
        raise ValueError(f"alpha is {share}; it must lie in (0, 1]: for 0 use solve")
    if linear is None and share != 1:
        raise ValueError(f"alpha is {share} and linear is None; give the costs between the spaces, or leave alpha out")
    return share


def _products(
    epsilon: float, sides: tuple[Penalty, Penalty], weights: tuple[Vector, Vector], reference: str
) -> OfProducts:
    strengths = []
    for name, side in zip(("rows", "cols"), sides, strict=True):
        strength = strength_of(side)
        if strength is None:
            raise ValueError(f"{name} is {side!r}; penalties='product' is for KL, Fixed and Free")
        strengths.append(strength)
    return OfProducts(epsilon, (strengths[0], strengths[1]), weights, reference == "product")


def _structure(cost_x: Any, cost_y: Any, linear: Any, loss: str, share: float, fixed: bool, stored: bool) -> Structure:
    clouds = [isinstance(cost, PointCloud) and cost.metric == "sqeuclidean" for cost in (cost_x, cost_y)]
    features = linear is None or (isinstance(linear, PointCloud) and linear.metric == "sqeuclidean")
    if all(clouds) and loss == "square" and features and not stored:
        x, y = (_points(name, cost) for name, cost in (("cost_x", cost_x), ("cost_y", cost_y)))
        between = None if linear is None else (np.asarray(linear.x, np.float64), np.asarray(linear.y, np.float64))
        if between is not None and (len(between[0]), len(between[1])) != (len(x), len(y)):
            raise ValueError(f"linear has shape {linear.shape}; it must have {(len(x), len(y))}")
        return Clouds(x, y, share, between, fixed)
    first, second = (_matrix(name, cost) for name, cost in (("cost_x", cost_x), ("cost_y", cost_y)))
    for name, matrix in (("cost_x", first), ("cost_y", second)):
        if matrix.shape[0] != matrix.shape[1]:
            square = "it must be square, with costs within one space; points are passed as PointCloud(x)"
            raise ValueError(f"{name} has shape {matrix.shape}; {square}")
    costs = None if linear is None else _matrix("linear", linear)
    if costs is not None and costs.shape != (len(first), len(second)):
        raise ValueError(f"linear has shape {costs.shape}; it must have {(len(first), len(second))}")
    if loss == "kl":
        _refuse_signs(first, second)
    return Matrices(first, second, LOSSES[loss], share, costs)


def _points(name: str, cost: PointCloud) -> Array:
    """The points of a cloud, compared with themselves."""
    shape: tuple[int, ...] = cost.shape
    if len(shape) != 2 or cost.x is not cost.y:
        raise ValueError(f"{name} is a PointCloud of two sides or many clouds; pass PointCloud(x), one set of points")
    return np.asarray(cost.x, np.float64)


def _matrix(name: str, values: Any) -> Array:
    if is_cost(values):
        shape: tuple[int, ...] = values.shape
        n, m = shape[-2:]
        if len(shape) != 2 or n * m > LARGEST_PLAN:
            raise ValueError(
                f"{name} has shape {shape}, too large to be stored; gromov takes large spaces as two "
                f"PointCloud(x) with metric='sqeuclidean' and loss='square'"
            )
        return np.asarray(values.block(slice(0, n), slice(0, m)), np.float64)
    refuse_devices("gromov", **{name: values})
    matrix = ingest_stack(name, values, 2).astype(np.float64, copy=False)
    if matrix.ndim != 2:
        raise ValueError(f"{name} has shape {matrix.shape}; it must be a matrix")
    if not np.isfinite(matrix).all():
        place = tuple(int(k) for k in np.argwhere(~np.isfinite(matrix))[0])
        raise ValueError(f"{name}[{place[0]}, {place[1]}] is {matrix[place]}; it must be finite")
    return matrix


def _refuse_signs(first: Array, second: Array) -> None:
    for name, matrix, wrong in (("cost_x", first, first < 0), ("cost_y", second, second <= 0)):
        if wrong.any():
            i, j = np.argwhere(wrong)[0]
            need = ">= 0" if name == "cost_x" else "> 0"
            raise ValueError(f"{name}[{i}, {j}] is {matrix[i, j]}; loss='kl' needs numbers {need}")


def _starts(
    structure: Structure, init: Any, count: int, seed: int, weights: tuple[Vector, Vector]
) -> Iterator[Coupling]:
    """The plans to begin with."""
    n, m = structure.shape
    a, b = (x / x.sum() for x in weights)
    mass = float(np.sqrt(weights[0].sum() * weights[1].sum()))
    scaled = mass * a, mass * b
    names = list(STARTS)
    if isinstance(init, str):
        check_choice("init", init, STARTS)
        if isinstance(structure, Clouds):  # a b^T is a saddle between centred clouds
            init = "eccentricity"
        names.remove(init)
        names.insert(0, init)
    else:
        plan = _matrix("init", init)
        if plan.shape != (n, m) or (plan < 0).any():
            raise ValueError(f"init has shape {plan.shape}; it must be a plan >= 0 of shape {(n, m)}")
        yield Coupling(plan.sum(axis=1), plan.sum(axis=0), lambda x: plan @ x, plan)
        count -= 1
    rng = np.random.default_rng(seed)
    for k in range(count):
        name = names[k] if k < len(names) else "random"
        if name == "product":
            stored = np.outer(scaled[0], b) if isinstance(structure, Matrices) else None
            yield Coupling(*scaled, lambda x: np.outer(scaled[0], b @ x), stored)
        else:
            keys = structure.eccentricities(a, b) if name == "eccentricity" else (rng.random(n), rng.random(m))
            i, j, share = in_order(*keys, a, b)
            yield structure.start((i, j, mass * share), *scaled)


def _inner(solution: Solution, stored: bool) -> Inner:
    """What the loop reads of a solution."""
    problem, host = solution.problem, solution.host
    r, c, f, g = (np.asarray(x) for x in (host.row_marginal, host.col_marginal, host.f, host.g))
    plan = np.asarray(solution.plan, np.float64) if stored else None
    mass, transport = float(r.sum()), float(solution.transport_cost)
    potentials = sum(float(x[used] @ p[used]) for x, p, used in ((r, f, r > 0), (c, g, c > 0)))
    sides = (problem.rows, problem.a, r, f), (problem.cols, problem.b, c, g)
    missed = sum(float((w - x)[w > 0] @ p[w > 0]) for side, w, x, p in sides if isinstance(side, Fixed))
    divergence = (potentials - transport) / problem.epsilon - mass + problem.reference_mass
    return Inner(
        Coupling(r, c, solution.apply if plan is None else (lambda x: plan @ x), plan),
        np.where(np.isfinite(f), f, 0.0),
        np.where(np.isfinite(g), g, 0.0),
        transport,
        divergence,
        penalty_values(problem, r, c) + missed,
        missed,
        mass,
        problem.cost.largest,
        solution.converged,
        solution,
    )


def _result(found: Found, structure: Structure, share: float, tol: float, mass: float) -> GromovSolution:
    reasons = {
        Status.CONVERGED: "converged: the plan is stationary",
        Status.STALLED: "no more progress: no step, however short, lowers the objective",
    }
    reason = reasons.get(found.status, found.status.value)
    if found.status is Status.STALLED and found.inner.mass <= VANISHED_PLAN * mass:
        reason = "the plan vanishes: its costs outweigh the penalties; raise rho or lower epsilon"
    if found.status is Status.MAX_ITER and not found.inner.converged:
        reason += f"; the inner solve ended with: {found.inner.solution.message}"
    return GromovSolution(
        value=found.value,
        energy=found.near.energy,
        linear_cost=found.near.linear,
        change=found.change,
        solution=found.inner.solution,
        status=found.status,
        message=f"{reason} ({len(found.steps)} iterations; moved by {found.change:.2e}, asked for {tol:.2e})",
        history=gromov_history(found.steps),
        alpha=share,
        structure=structure,
    )
