"""The call `transport_1d`: validate, sort, wrap the result."""

from __future__ import annotations

import numpy as np

from ..arrays.ingest import refuse_devices
from ..arrays.origin import origin_of
from ..calls import public
from ..problems.line import LineProblem, build_line
from ..solutions.line import LineSolution
from ..solvers.line import solve_line
from ..typing import ArrayLike


@public
def transport_1d(
    x: ArrayLike,
    y: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    metric: str | float = "sqeuclidean",
) -> LineSolution:
    """Exact optimal transport between points on the line, by sorting, with a proof.

    Minimises sum abs(x_i - y_j)^p P_ij over plans P >= 0 with P 1 = a and P^T 1 = b.

    Parameters
    ----------
    x, y : array_like, shapes (..., n) and (..., m)
        Points, in any order. Leading dimensions are many problems; those of all arguments broadcast.
    a, b : array_like, shapes (..., n) and (..., m), optional
        Weights >= 0, default 1/n and 1/m, with the same sum.
    metric : {"sqeuclidean", "euclidean", "cityblock"} or float
        The cost abs(x - y)^p by the name that `PointCloud` has for it, or p >= 1 itself.

    Returns
    -------
    LineSolution
        Plan, value, potentials and the gap between them, named as those of `exact`.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value; an exponent below 1, for which sorting is not optimal.
    InfeasibleError
        The sums of a and b differ.

    See Also
    --------
    exact : any cost, and penalties in place of given weights.
    sliced : points in more coordinates, by their projections.

    Notes
    -----
    O((n + m) log(n + m)) time and O(n + m) memory a problem. Computed in double precision, whatever the dtype of the
    points. The plan is that of the north-west corner of the sorted points; equal points keep their order. Its
    potentials are sums along the staircase, feasible for every pair because the sorted costs are a Monge matrix.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> sol = eot.transport_1d([0.0, 2.0, 1.0], [1.5, 0.5])
    >>> sol.plan.round(3)
    array([[0.   , 0.333],
           [0.333, 0.   ],
           [0.167, 0.167]])
    >>> round(sol.value, 6), sol.gap < 1e-12
    (0.25, True)

    Many problems at once:

    >>> rng = np.random.default_rng(0)
    >>> eot.transport_1d(rng.random((4, 100)), rng.random(80), metric=1.5).value.shape
    (4,)
    """
    given = {"x": x, "y": y, "a": a, "b": b}
    refuse_devices("transport_1d", **given)
    origin_of(**given)
    problem = build_line(x, y, a, b, metric)
    with np.errstate(over="ignore", invalid="ignore"):
        return _solved(problem)


def _solved(problem: LineProblem) -> LineSolution:
    found, batch = solve_line(problem), problem.batch
    value = (found.mass * found.costs).sum(axis=-1)
    a, b = problem.weights
    dual_value = (a * found.f).sum(axis=-1) + (b * found.g).sum(axis=-1)
    if not (np.isfinite(value) & np.isfinite(dual_value)).all():
        raise ValueError("x and y lie so far apart that costs of this metric overflow; rescale the points")
    f, g = (np.broadcast_to(z, (*batch, z.shape[-1])) for z in (found.f, found.g))
    rows, cols = (np.broadcast_to(z, (*batch, z.shape[-1])) for z in (found.rows, found.cols))
    mass = np.broadcast_to(found.mass, rows.shape)
    value, dual_value = np.broadcast_to(value, batch), np.broadcast_to(dual_value, batch)
    if batch:
        return LineSolution(problem, f, g, rows, cols, mass, value, value, dual_value)
    here = mass > 0
    numbers = float(value), float(value), float(dual_value)
    return LineSolution(problem, f, g, rows[here], cols[here], mass[here], *numbers)
