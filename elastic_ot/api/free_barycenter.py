"""The public call for barycenters whose points move: masses on a given support, and maps of its points, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import ingest_number, ingest_points
from ..calls import public
from ..costs.points import PointCloud
from ..costs.relative import absolute_of_all
from ..errors import report_failure
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty
from ..solutions.barycenter import Barycenter
from ..solutions.free_barycenter import FreeBarycenter
from ..solvers.status import Status
from ..typing import ArrayLike, Number, Seed
from .barycenter import barycenter
from .options import check_choice, check_limits

Points = NDArray[np.float64]


@public
def free_barycenter(
    points: ArrayLike | Sequence[ArrayLike],
    measures: ArrayLike | Sequence[ArrayLike] | None = None,
    weights: ArrayLike | None = None,
    *,
    support: int | ArrayLike,
    epsilon: Number | str,
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    tol: float = 1e-6,
    move_tol: float = 1e-4,
    max_moves: int = 100,
    time_limit: float | None = None,
    rng: Seed = 0,
    callback: Callable[[int, float], object] | None = None,
    on_failure: Literal["warn", "raise", "ignore"] = "warn",
) -> FreeBarycenter:
    """Barycenter of clouds of points, whose own points move to where they are best.

    Minimises sum_k w_k [<C_k, P_k> + epsilon KL(P_k | a_k 1^T) + phi(P_k 1)] over the points y of the support as well,
    with C_k = abs(x_k - y)^2: the masses for the points there are (`barycenter`), and the points for the plans there
    are, y_j = sum_k w_k sum_i P_k,ij x_k,i / b_j, in turn. Both lower the objective. It is not convex in y: the answer
    depends on where the points begin.

    Parameters
    ----------
    points : list of array_like, shapes (n_k, d), or array_like, shape (K, n, d)
        The points of every measure.
    measures : list of array_like, shapes (n_k,), or array_like, shape (K, n), optional
        Their weights, as for `barycenter`; uniform by default.
    weights : array_like, shape (K,), optional
        Of the measures.
    support : int, or array_like, shape (m, d)
        Where the points begin; a number of them is drawn from those of the measures.
    epsilon : float or str
        Strength of the entropy, in the units of squared distances, > 0. A text such as ``"0.05x"`` is a fraction of
        their range where the points begin, as for `solve`.
    rows : Penalty
        As for `barycenter`.
    tol : float
        Of every barycenter on a given support.
    move_tol : float
        The points rest when a move lowers the objective by no more than this, relative to the cost of the transports,
        or by no more than the gap, below which nothing can be told.
    max_moves : int
        At most.
    time_limit : float, optional
        Seconds at most.
    rng : int, numpy.random.Generator or None
        Draws the first points.
    callback : callable, optional
        Called as ``callback(move, value)`` before every move; a true value stops.
    on_failure : {"warn", "raise", "ignore"}
        What to do if the points do not come to rest.

    Returns
    -------
    FreeBarycenter

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value.
    ConvergenceError
        Not converged and ``on_failure="raise"``.

    Warns
    -----
    ConvergenceWarning
        Not converged and ``on_failure="warn"``.

    References
    ----------
    Cuturi and Doucet, *Fast computation of Wasserstein barycenters*, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> rng = np.random.default_rng(0)
    >>> clouds = [rng.normal(size=(60, 2)), rng.normal(size=(80, 2)) + [4.0, 2.0]]
    >>> found = eot.free_barycenter(clouds, support=20, epsilon=0.5)
    >>> found.converged, found.support.shape
    (True, (20, 2))
    """
    check_choice("on_failure", on_failure, ("warn", "raise", "ignore"))
    _, moves, seconds, _ = check_limits(tol, max_moves, time_limit, callback)
    least = ingest_number("move_tol", move_tol)
    if not 0 < least < np.inf:
        raise ValueError(f"move_tol is {least}; it must be positive and finite")
    clouds = _clouds(points)
    y = _support(support, clouds, rng)
    strength = absolute_of_all(epsilon, [PointCloud(x, y) for x in clouds])
    options: dict[str, Any] = {"epsilon": strength, "rows": rows, "tol": tol, "on_failure": "ignore"}
    began, values, found, status = time.perf_counter(), list[float](), None, None
    while status is None:
        left = None if seconds is None else max(seconds - (time.perf_counter() - began), 1e-3)
        costs = [PointCloud(x, y) for x in clouds]
        found = barycenter(costs, measures, weights, init=found, time_limit=left, **options)
        values.append(found.value)
        status = _status(found, values, least, moves, left)
        if callback is not None and callback(len(values) - 1, values[-1]):
            status = Status.STOPPED
        if status is None:
            y = _moved(found, clouds, y)
    assert found is not None
    text = f"{status.value} ({len(values) - 1} moves); on the last points: {found.message}"
    result = FreeBarycenter(y, found.weights, found, np.array(values), status, text)
    if not result.converged:
        report_failure(text, on_failure)
    return result


def _status(found: Barycenter, values: Sequence[float], least: float, moves: int, left: float | None) -> Status | None:
    """Why the moves end; None while they go on."""
    if not found.converged:
        return found.status
    if len(values) > 1:
        moved = sum(
            w * part.transport_cost for w, part in zip(found.measure_weights, found.transports, strict=True) if w > 0
        )
        if values[-2] - values[-1] <= max(least * abs(moved), found.gap):
            return Status.CONVERGED
    if left is not None and left <= 1e-3:
        return Status.TIME_LIMIT
    return Status.MAX_ITER if len(values) > moves else None


def _moved(found: Barycenter, clouds: Sequence[Points], y: Points) -> Points:
    """The best points for these plans; those without mass stay."""
    total, mass = np.zeros_like(y), np.zeros(len(y))
    for w, part, x in zip(found.measure_weights, found.transports, clouds, strict=True):
        total += w * part.apply(x, axis=0)
        mass += w * np.asarray(part.col_marginal)
    there = mass > 0
    return np.where(there[:, None], total / np.where(there, mass, 1.0)[:, None], y)


def _clouds(points: Any) -> list[Points]:
    if isinstance(points, list | tuple):
        if not points:
            raise ValueError("points is empty; a barycenter needs at least one cloud")
        clouds = [ingest_points(f"points[{k}]", x).astype(np.float64) for k, x in enumerate(points)]
    else:
        clouds = list(ingest_points("points", points).astype(np.float64))
    for k, x in enumerate(clouds):
        if x.ndim != 2 or x.shape[1] != clouds[0].shape[-1]:
            raise ValueError(f"points[{k}] has shape {x.shape}; it must be (n, {clouds[0].shape[-1]})")
        if not np.isfinite(x).all():
            i, c = np.argwhere(~np.isfinite(x))[0]
            raise ValueError(f"points[{k}][{i}, {c}] is {x[i, c]}; coordinates must be finite")
    return clouds


def _support(support: Any, clouds: Sequence[Points], rng: Any) -> Points:
    """Where the points begin."""
    if isinstance(support, int | np.integer) and not isinstance(support, bool):
        every = np.concatenate(clouds)
        if not 1 <= support <= len(every):
            raise ValueError(f"support is {support}; draw between 1 and {len(every)}, the number of points there are")
        return every[np.random.default_rng(rng).choice(len(every), int(support), replace=False)]
    y = ingest_points("support", support).astype(np.float64)
    if y.ndim != 2 or y.shape[1] != clouds[0].shape[1]:
        raise ValueError(f"support has shape {y.shape}; it must be (m, {clouds[0].shape[1]}), or a number of points")
    if not np.isfinite(y).all():
        raise ValueError("support has coordinates that are not finite; points must have numbers")
    return y
