"""The public call for barycenters on a given support: validate, run, wrap the result. No arithmetic here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from ..arrays.ingest import as_numpy
from ..arrays.origin import Origin, origin_of
from ..calls import public
from ..costs.base import Cost, is_cost
from ..costs.relative import absolute_of_all
from ..errors import report_failure
from ..problems.common import CommonProblem, Given, build_common
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty, Vector
from ..solutions.barycenter import Barycenter, barycenter_from
from ..solvers.barycenter.method import run_common
from ..solvers.driver import Limits
from ..solvers.names import BARYCENTER_METHODS, BarycenterMethod
from ..typing import ArrayLike, Number
from .options import SINGLE_TOL, check_choice, check_limits


@public
def barycenter(
    costs: ArrayLike | Cost | Sequence[ArrayLike | Cost],
    measures: ArrayLike | Sequence[ArrayLike] | None = None,
    weights: ArrayLike | None = None,
    *,
    epsilon: Number | str,
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    debiased: bool | ArrayLike | Cost = False,
    method: BarycenterMethod = "auto",
    tol: float = 1e-6,
    max_iter: int = 10_000,
    time_limit: float | None = None,
    init: Barycenter[object] | ArrayLike | None = None,
    callback: Callable[[int, float], object] | None = None,
    on_failure: Literal["warn", "raise", "ignore"] = "warn",
) -> Barycenter:
    """Barycenter of measures on a given support: the one that is nearest to all of them, in the mean.

    Minimises sum_k w_k [<C_k, P_k> + epsilon KL(P_k | a_k 1^T) + phi(P_k 1)] over b and P_k >= 0 with P_k^T 1 = b.

    Parameters
    ----------
    costs : array_like, shape (n, m) or (K, n, m), list of them, or Cost
        Costs of moving a unit of mass from the points of a measure to those of the support, which are the columns. One
        for all measures, or one for each; in a list their numbers of rows may differ. +inf forbids a cell. A `Grid`
        (images and volumes), a `PointCloud` or a `Cost` of yours is never stored, see `solve`.
    measures : array_like, shape (K, n), or list of array_like, shapes (n_k,), optional
        Weights >= 0, on a `Grid` also in its shape. All have one mass, but where `rows` allows them not to. By default,
        with one cost for each, they are uniform.
    weights : array_like, shape (K,), optional
        Of the measures, >= 0; divided by their sum. By default all are equal.
    epsilon : float or str
        Strength of the entropy, in the units of the costs, > 0. A text such as ``"0.05x"`` is a fraction of the range
        of all costs together, as for `solve`.
    rows : Penalty
        What the marginals P_k 1 are asked to be: `Fixed` (default), or any other.
    debiased : bool, or array_like, shape (m, m), or Cost
        Take off half the transport of b to itself, so that entropy does not blur it (Janati, Cuturi, Gramfort 2020). It
        needs the symmetric costs within the support: they are given here, or known to a `PointCloud` or a `Grid` of
        coordinates, or equal to ``costs`` where that is one symmetric matrix.
    method : {"auto", "log", "epsilon_scaling"}
        "epsilon_scaling" begins at a larger epsilon, "log" at the one asked for. Both have the same answer.
    tol : float
        > 0. Converged means that every transport meets it, each as in `solve`: on the returned potentials the L1
        residual of both marginals, of which that of the columns is `Barycenter.weights`, is <= tol * mass.
    max_iter : int
        Iterations at most; each is a pass over every cost.
    time_limit : float, optional
        Seconds at most.
    init : Barycenter, or array_like, shape (K, m), optional
        Warm start: potentials g in cost units.
    callback : callable, optional
        Called as ``callback(iteration, residual)`` every iteration; a true value stops.
    on_failure : {"warn", "raise", "ignore"}
        What to do if it ends unconverged.

    Returns
    -------
    Barycenter
        Its weights, the transports to it, the certificate and the gradients.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value.
    InfeasibleError
        The measures have no mass in common, or the forbidden cells leave no barycenter.
    ConvergenceError
        Not converged and ``on_failure="raise"``.

    Warns
    -----
    ConvergenceWarning
        Not converged and ``on_failure="warn"``.

    Notes
    -----
    On the side of the barycenter the entropy is relative to counting its points: to equal weights, never to b itself.
    Costs are read where they lie, but matrices in Fortran order are copied. The problem is convex, and `Barycenter.gap`
    bounds how far the returned one is from the best. That of a debiased one is convex, and has a gap, where the kernel
    exp(-C / epsilon) within the support is positive semidefinite, as for distances and their squares.

    References
    ----------
    Agueh and Carlier, *Barycenters in the Wasserstein space*, 2011; Benamou, Carlier, Cuturi, Nenna, Peyré, *Iterative
    Bregman projections for regularized transportation problems*, 2015; Chizat, Peyré, Schmitzer, Vialard, *Scaling
    algorithms for unbalanced optimal transport problems*, 2018; Janati, Cuturi, Gramfort, *Debiased Sinkhorn
    barycenters*, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> x = np.linspace(0, 1, 50)
    >>> a = np.exp(-((x - np.array([[0.2], [0.6]])) ** 2) / 0.002)
    >>> found = eot.barycenter((x[:, None] - x) ** 2, a / a.sum(axis=1, keepdims=True), epsilon=1e-3)
    >>> found.converged, found.gap < 1e-6, round(float(found.weights @ x), 4)
    (True, True, 0.4)
    """
    check_choice("method", method, BARYCENTER_METHODS)
    check_choice("on_failure", on_failure, ("warn", "raise", "ignore"))
    limits = Limits(*check_limits(tol, max_iter, time_limit, callback))
    if limits.tol == 0:
        raise ValueError("tol is 0; a barycenter needs converged transports, and a tol > 0")
    origin = _origin(costs, measures, weights)
    with origin.here():
        within = bool(debiased) if isinstance(debiased, bool | np.bool_) else debiased
        problem = build_common(Given(costs, measures, weights, within), absolute_of_all(epsilon, costs), rows)
        g, h = _initial(init, problem)
        annealed = method != "log" and g is None
        outcome = run_common(problem, (g, h), annealed, limits.tol >= SINGLE_TOL, limits)
        found = barycenter_from(problem, outcome, limits.tol, origin)
    if not found.converged:
        report_failure(found.message, on_failure)
    return found


def _origin(costs: Any, measures: Any, weights: Any) -> Origin:
    given: dict[str, Any] = {"weights": weights}
    for name, values in (("costs", costs), ("measures", measures)):
        if isinstance(values, list | tuple):
            given |= {f"{name}[{k}]": x for k, x in enumerate(values)}
        else:
            given[name] = values
    order = sorted(given, key=lambda name: (not name.startswith("costs"), name.startswith("weights")))
    return origin_of(**{name: given[name] for name in order if not is_cost(given[name])})


def _initial(init: Any, problem: CommonProblem) -> tuple[Vector | None, Vector | None]:
    if init is None:
        return None, None
    shape = len(problem.parts), problem.used.size
    own = None
    if isinstance(init, Barycenter):
        g = init.potentials + _offsets(init.problem)
        own = None if init.self_transport is None else init.measure_weights @ init.potentials
    else:
        g = as_numpy("init", init).astype(np.float64)
    if g.shape != shape:
        raise ValueError(f"init has potentials of shape {g.shape}; this problem needs {shape}")
    bad = np.argwhere(~np.isfinite(g[:, problem.used]))
    if len(bad):
        raise ValueError(f"init is not finite for measure {bad[0][0]}; potentials of points in use must be numbers")
    g = np.where(problem.used, g - _offsets(problem), 0.0)
    if problem.own is None:
        return g - problem.weights @ g, None
    return g, own if own is not None else problem.weights @ g


def _offsets(problem: CommonProblem) -> Vector:
    """What potentials of the support lack because of constants taken off the costs."""
    return np.array([[part.offsets[1]] for part in problem.parts])
