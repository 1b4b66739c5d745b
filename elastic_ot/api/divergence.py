"""The debiased divergence: three solves with one meaning, their gradients and their certificate."""

from __future__ import annotations

import time
from typing import Unpack, overload

import numpy as np

from ..arrays.origin import origin_of
from ..calls import public
from ..costs.base import Cost
from ..costs.grid import flat_weights
from ..costs.relative import absolute
from ..problems.pairs import build_cross, build_self, complete, strength
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty
from ..solutions.batch_divergence import BatchDivergence
from ..solutions.divergence import Divergence
from ..solvers.driver import Limits
from ..solvers.methods import Method
from ..solvers.newton import Newton
from ..typing import ArrayLike, Number, Numbers
from .divergence_batch import batch_shape, divergences
from .divergence_terms import Terms
from .multiscale import pruned
from .options import check_choice, check_limits, check_method
from .signatures import DivergenceOptions, OnFailure


@overload
def divergence(
    cost_xy: ArrayLike | Cost,
    cost_xx: ArrayLike | Cost | None = None,
    cost_yy: ArrayLike | Cost | None = None,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: Numbers,
    blur: None = None,
    **options: Unpack[DivergenceOptions],
) -> BatchDivergence: ...


@overload
def divergence(
    cost_xy: ArrayLike | Cost,
    cost_xx: ArrayLike | Cost | None = None,
    cost_yy: ArrayLike | Cost | None = None,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: None = None,
    blur: Numbers,
    **options: Unpack[DivergenceOptions],
) -> BatchDivergence: ...


@overload
def divergence(
    cost_xy: ArrayLike | Cost,
    cost_xx: ArrayLike | Cost | None = None,
    cost_yy: ArrayLike | Cost | None = None,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: Number | str | None = None,
    blur: Number | None = None,
    **options: Unpack[DivergenceOptions],
) -> Divergence: ...


@public
def divergence(
    cost_xy: ArrayLike | Cost,
    cost_xx: ArrayLike | Cost | None = None,
    cost_yy: ArrayLike | Cost | None = None,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    epsilon: Number | str | Numbers | None = None,
    blur: Number | Numbers | None = None,
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    method: Method | Newton = "auto",
    tol: float = 1e-6,
    max_iter: int = 10_000,
    time_limit: float | None = None,
    on_failure: OnFailure = "warn",
    comm: object = None,
) -> Divergence | BatchDivergence:
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
    epsilon : float, str, or array_like of shape (...)
        Strength of the entropy, in the units of the cost, > 0. A text such as ``"0.05x"`` is a fraction of the range of
        `cost_xy`, as for `solve`. Either this or `blur` must be given.
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
    comm : communicator, optional
        Rows are split over processes, as for `solve`: each passes its own rows of all three costs, its own `a` and all
        of `b`. A `PointCloud` of its own rows and all columns makes the others itself.

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
    if comm is not None:
        from .divergence_split import divergence_split  # here, because few need it

        options = {"method": method, "tol": tol, "max_iter": max_iter, "time_limit": time_limit}
        costs, weights = (cost_xy, cost_xx, cost_yy), (a, b)
        return divergence_split(comm, costs, weights, (epsilon, blur), (rows, cols), on_failure, **options)
    check_method(method)
    check_choice("on_failure", on_failure, ("warn", "raise", "ignore"))
    limits = Limits(*check_limits(tol, max_iter, time_limit, None))
    if limits.tol == 0:
        raise ValueError("tol is 0; a divergence needs converged solutions, and a tol > 0")
    epsilon = strength(cost_xy, absolute(epsilon, cost_xy), blur)
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
        terms = Terms(method, limits, deadline, origin)
        return terms.divergence(problem, problem_x, problem_y, on_failure)
