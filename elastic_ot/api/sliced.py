"""The call `sliced`: validate, choose directions, wrap the result."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import as_numpy, ingest_points, is_real, refuse_devices
from ..arrays.origin import origin_of
from ..calls import public
from ..costs.points import refuse_numbers
from ..problems.line import exponent_of, line_weights, same_masses
from ..solutions.sliced import Kind, SlicedSolution
from ..solvers.sliced import (
    SlicedProblem,
    ascend,
    lifted_plan,
    lifted_values,
    lower_bound,
    orthonormal_directions,
    sliced_values,
)
from ..typing import ArrayLike
from .options import check_choice


@public
def sliced(
    x: ArrayLike,
    y: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    kind: Kind = "mean",
    p: float = 2.0,
    projections: int | ArrayLike = 100,
    seed: int | np.random.Generator | None = None,
) -> SlicedSolution:
    """Transport between projections of points on directions, each solved by sorting.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Points.
    a, b : array_like, shapes (n,) and (m,), optional
        Weights >= 0, default 1/n and 1/m, with the same sum.
    kind : {"mean", "max", "min", "expected"}
        "mean" is the sliced distance: the mean over directions of the values of the projections. "max" is the
        max-sliced distance, the largest of them: an ascent on the sphere starts from the best directions. "min" is the
        plan of the direction whose plan costs least in full space, "expected" the average of the plans of all.
    p : float
        The exponent of the cost abs(x - y)^p, >= 1.
    projections : int or array_like, shape (d, k)
        How many directions, drawn uniformly in orthonormal groups of d, or the directions in columns, of any length.
    seed : int or numpy.random.Generator, optional
        Where directions come from.

    Returns
    -------
    SlicedSolution
        The `value`, its p-th root `distance`, the bounds on transport between the points, and the plan.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value.
    InfeasibleError
        The sums of a and b differ.

    See Also
    --------
    transport_1d : one projection, with its proof.
    elastic_ot.applications.expected_sliced_plan : a dense average that is differentiable, with weighted directions.

    Notes
    -----
    A projection is never longer than its vector. So for every p the value of each direction is a lower bound on the
    cost of an optimal plan with the Euclidean cost abs(x - y)^p, and so are their mean and "max", be it the largest of
    all directions or not. The mean is one even after division by top^(min(p, 2) / 2), where top is the largest
    eigenvalue of the mean of theta theta^T, 1/d for complete orthonormal groups; `lower_bound` is the best of these. A
    plan of a projection moves the right masses, so its cost in full space, and that of an average, is an upper bound.

    O(k (n + m) (d + log(n + m))) time; no matrix of costs. The plan of "expected" has up to k (n + m) entries.

    References
    ----------
    Bonneel, Rabin, Peyre, Pfister, *Sliced and Radon Wasserstein barycenters of measures*, 2015; Deshpande et al.,
    *Max-sliced Wasserstein distance and its use for GANs*, 2019; Mahey et al., *Fast optimal transport through sliced
    generalized Wasserstein geodesics*, 2023; Liu et al., *Expected sliced transport plans*, 2025.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) + [2.0, 0.0]
    >>> exact = eot.exact(eot.PointCloud(x, y)).value
    >>> low, high = eot.sliced(x, y, seed=0), eot.sliced(x, y, kind="min", seed=0)
    >>> bool(low.value < low.lower_bound <= exact <= high.value)
    True
    """
    check_choice("kind", kind, get_args(Kind))
    given = {"x": x, "y": y, "a": a, "b": b}
    refuse_devices("sliced", **given, projections=projections)
    origin_of(**given)
    exponent = exponent_of(_number(p), "p")
    points = []
    for name, values in (("x", x), ("y", y)):
        array = ingest_points(name, values).astype(np.float64, copy=False)
        if array.ndim != 2:
            raise ValueError(f"{name} has shape {array.shape}; it must be points (n, d)")
        refuse_numbers(name, array, "sqeuclidean")
        points.append(array)
    if points[0].shape[1] != points[1].shape[1]:
        raise ValueError(f"x has shape {points[0].shape} and y {points[1].shape}; their last dimensions must be equal")
    weights_a, weights_b = (
        line_weights(*pair, len(z)) for pair, z in zip((("a", a, "x"), ("b", b, "y")), points, strict=True)
    )
    for name, weights in (("a", weights_a), ("b", weights_b)):
        if weights is not None and weights.ndim != 1:
            raise ValueError(f"{name} has shape {weights.shape}; it must be a vector")
    weights_b = same_masses((a, b), weights_a, weights_b, len(points[1]))
    directions = _directions(projections, points[0].shape[1], seed)
    return _solved(SlicedProblem(points[0], points[1], weights_a, weights_b, exponent, directions), kind)


def _number(p: Any) -> Any:
    """P as a number; names of costs are for `transport_1d`."""
    if isinstance(p, str):
        raise TypeError(f"p must be a real number, got {p!r}")
    return p


def _directions(projections: Any, d: int, seed: Any) -> NDArray[np.float64]:
    if isinstance(projections, int | np.integer) and not isinstance(projections, bool):
        if projections < 1:
            raise ValueError(f"projections is {projections}; it must be an integer >= 1 or directions (d, k)")
        return orthonormal_directions(d, int(projections), np.random.default_rng(seed))
    array = as_numpy("projections", projections)
    if not is_real(array) or array.dtype.kind == "b":
        raise TypeError(f"projections has dtype {array.dtype}; it must be an integer or hold real numbers")
    if array.ndim != 2 or array.shape[0] != d or array.shape[1] == 0:
        raise ValueError(f"projections has shape {array.shape}; it must be an integer or directions ({d}, k)")
    lengths = np.linalg.norm(array.astype(np.float64), axis=0)
    bad = np.flatnonzero(~((lengths > 0) & np.isfinite(lengths)))
    if bad.size:
        raise ValueError(f"projections[:, {bad[0]}] has the length {lengths[bad[0]]:g}; it must be finite and > 0")
    return np.asarray(array / lengths)


def _solved(problem: SlicedProblem, kind: Kind) -> SlicedSolution:
    if kind == "mean" or kind == "max":
        values = sliced_values(problem)
        below = lower_bound(values, problem.directions, problem.exponent)
        if kind == "mean":
            return SlicedSolution(problem, kind, float(values.mean()), values, problem.directions, below)
        direction, value = ascend(problem, values)
        return SlicedSolution(problem, kind, value, values, problem.directions, max(below, value), direction=direction)
    values, costs = lifted_values(problem)
    below = lower_bound(values, problem.directions, problem.exponent)
    chosen = problem.directions[:, int(np.argmin(costs))] if kind == "min" else None
    rows, cols, mass = lifted_plan(problem if chosen is None else problem.on(chosen[:, None]))
    cost = float((mass * problem.lifted_costs(rows, cols)[0]).sum())
    plan: dict[str, Any] = {"row_ind": rows, "col_ind": cols, "mass": mass}
    return SlicedSolution(
        problem, kind, cost, values, problem.directions, below, cost, direction=chosen, costs=costs, **plan
    )
