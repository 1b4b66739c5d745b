"""Expected sliced plans, and attention by them: one-dimensional transports, lifted to the points and averaged.

Arrays of NumPy, CuPy, torch or JAX. Each direction sorts the projections of both point sets and matches them in order;
no iteration is needed. Memory is that of a plan for every direction.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from ..calls import public
from ..typing import Array, ArrayT
from .arguments import alike, matrices, positive
from .frameworks import namespace, softmax, working
from .marginals import in_library
from .slices import Side, SoftSort, lifted, matched

__all__ = ["expected_sliced_plan", "sliced_attention"]

SlicedMetric = Literal["sqeuclidean", "euclidean"]
SlicedReduction = Literal["mean", "sum"]


@public
def expected_sliced_plan(
    x: ArrayT,
    y: ArrayT,
    directions: Array | None = None,
    *,
    inv_temp: float | Array = 0.0,
    tau: float | None = None,
    straight_through: float | None = None,
    squared: bool = False,
    metric: SlicedMetric = "sqeuclidean",
    reduction: SlicedReduction = "mean",
    x_mask: Array | None = None,
    y_mask: Array | None = None,
    interpolation: Array | None = None,
) -> ArrayT:
    """The average over directions of the plans that match projections in order.

    Parameters
    ----------
    x, y : arrays, shapes (..., n, d) and (..., m, d)
        Two sets of points, all of the same weight. Leading dimensions broadcast.
    directions : array, shape (d, k), optional
        A direction in each column, of any length; default the d coordinate axes.
    inv_temp : float or array of one number
        Directions are averaged with weights softmax(-inv_temp * cost), where the cost is the mean squared distance that
        a direction's plan moves the points in full space (see `metric` and `reduction`); >= 0, and 0 (default) means
        equal weights. An inverse temperature: large values keep the cheapest direction alone.
    tau : float, optional
        Sort softly, by the matrix softmax(-abs(sort(z)_i - z_j) / tau) in place of a permutation of the projections z,
        > 0 in their units. Default: sort exactly.
    straight_through : float, optional
        Sort exactly, with the derivatives of a soft sort of this tau. Without either, the sorting has none: what is
        left are those of the weights.
    squared : bool
        Soft sorts are of squared differences, softmax(-(sort(z)_i - z_j)^2 / tau), with tau in squared units.
    metric, reduction : {"sqeuclidean", "euclidean"}, {"mean", "sum"}
        The cost of a direction's plan: distances or their squares, their mean over the points x or their sum.
    x_mask, y_mask : array of bool, shapes (..., n) and (..., m), optional
        False for padding, whose rows and columns are 0: the others are as without it.
    interpolation : array, shape (n, m), optional
        What sorted x and sorted y share, in place of the overlaps of intervals. Not together with masks.

    Returns
    -------
    array, shape (..., n, m)
        Rows sum to one and columns to n/m, to rounding where the sorting is exact: with n = m doubly stochastic. A soft
        sort is a matrix whose rows sum to one and whose columns do not, so with `tau` rows and columns are off, and
        only the total is exact.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value; shapes or dtypes that do not fit.

    Notes
    -----
    Projections that are equal keep their order, as one of several optimal matchings. With n != m, sorted points share
    their masses as intervals of [0, 1] overlap.

    ESPFormer's public code is ``squared=True, metric="euclidean", reduction="sum"``, with ``tau=1e-3`` and one mask of
    padding for queries and keys; its ``temperature`` is `inv_temp`.

    References
    ----------
    Liu et al., *Expected sliced transport plans*, 2025; Shahbazi et al., *ESPFormer: doubly-stochastic attention with
    expected sliced transport plans*, 2025; Prillo, Eisenschlos, *SoftSort: a continuous relaxation for the argsort
    operator*, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.sliced_plans import expected_sliced_plan
    >>> x, y = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 0.9]])
    >>> expected_sliced_plan(x, y)
    array([[0.5, 0.5],
           [0.5, 0.5]])
    >>> expected_sliced_plan(x, y, np.array([[1.0], [0.0]]))
    array([[1., 0.],
           [0., 1.]])
    """
    x, y = matrices("x", x), matrices("y", y)
    if directions is not None:
        directions = matrices("directions", directions, "(d, k)")
    alike(x=x, y=y, directions=directions)
    _check_shapes(x, y, directions)
    positive("inv_temp", inv_temp, or_zero=True)
    if tau is not None and straight_through is not None:
        raise ValueError(f"tau is {tau!r} and straight_through {straight_through!r}; pass one of them")
    for name, value in (("tau", tau), ("straight_through", straight_through)):
        if value is not None:
            positive(name, value)
    if metric not in ("sqeuclidean", "euclidean"):
        raise ValueError(f"metric is {metric!r}; choose from 'sqeuclidean', 'euclidean'")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; choose from 'mean', 'sum'")
    xp = namespace(x)
    sides = Side(x, directions, _padding("x_mask", x_mask, x)), Side(y, directions, _padding("y_mask", y_mask, y))
    shares = _given_shares(interpolation, x, y, x_mask, y_mask)
    soft = None if tau is None and straight_through is None else SoftSort(tau, straight_through, squared)
    plans = matched(*sides, shares) if soft is None else lifted(*sides, shares, soft)
    if isinstance(inv_temp, int | float) and inv_temp == 0:
        return xp.mean(plans, axis=-3)
    costs = xp.sum(plans * _distances(x, y, metric)[..., None, :, :], axis=(-2, -1))
    if reduction == "mean":
        costs = costs / sides[0].count(costs.dtype)
    weights = xp.astype(softmax(-inv_temp * costs), plans.dtype, copy=False)
    return xp.sum(weights[..., None, None] * plans, axis=-3)


@public
def sliced_attention(
    q: ArrayT,
    k: ArrayT,
    v: ArrayT,
    directions: Array | None = None,
    *,
    inv_temp: float | Array = 0.0,
    tau: float | None = None,
    straight_through: float | None = None,
    squared: bool = False,
    metric: SlicedMetric = "sqeuclidean",
    reduction: SlicedReduction = "mean",
    query_mask: Array | None = None,
    key_mask: Array | None = None,
    interpolation: Array | None = None,
    need_weights: bool = False,
) -> ArrayT | tuple[ArrayT, ArrayT]:
    """Attention whose weights are the expected sliced plan between q / sqrt(d) and k / sqrt(d).

    Parameters
    ----------
    q, k : arrays, shapes (..., n, d) and (..., m, d)
        Queries and keys; leading dimensions, say batch and heads, broadcast.
    v : array, shape (..., m, p)
        Values.
    directions, inv_temp, tau, straight_through, squared, metric, reduction, interpolation
        As for `expected_sliced_plan`. With the default directions, d axes, learned projections of queries and keys are
        directions that are learned.
    query_mask, key_mask : array of bool, shapes (..., n) and (..., m), optional
        False for padding: such a key has the weight 0, such a query the output 0. Self-attention to a padded sequence
        passes its mask as both.
    need_weights : bool
        Also return the weights.

    Returns
    -------
    array, shape (..., n, p), or (array, weights)

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value; shapes or dtypes that do not fit.

    References
    ----------
    Shahbazi et al., *ESPFormer: doubly-stochastic attention with expected sliced transport plans*, 2025. What is called
    temperature there is `inv_temp` here.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.sliced_plans import sliced_attention
    >>> q, k, v = np.random.default_rng(0).normal(size=(3, 2, 5, 4))  # two heads, five tokens
    >>> sliced_attention(q, k, v, tau=0.1).shape
    (2, 5, 4)
    """
    q, k, v = matrices("q", q), matrices("k", k, "(..., m, d)"), matrices("v", v, "(..., m, p)")
    alike(q=q, k=k, v=v, directions=directions)
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q has shape {tuple(q.shape)} and k {tuple(k.shape)}; their last dimensions must be equal")
    if v.shape[-2] != k.shape[-2]:
        raise ValueError(f"v has shape {tuple(v.shape)} and k {tuple(k.shape)}; there must be a value for each key")
    scale = 1 / math.sqrt(q.shape[-1])
    weights = expected_sliced_plan(
        scale * q,
        scale * k,
        directions,
        inv_temp=inv_temp,
        tau=tau,
        straight_through=straight_through,
        squared=squared,
        metric=metric,
        reduction=reduction,
        x_mask=query_mask,
        y_mask=key_mask,
        interpolation=interpolation,
    )
    out = namespace(v).matmul(weights, v)
    return (out, weights) if need_weights else out


def _check_shapes(x: Any, y: Any, directions: Any) -> None:
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}; their last dimensions must be equal")
    if directions is not None and (directions.ndim != 2 or directions.shape[0] != x.shape[-1]):
        raise ValueError(f"directions has shape {tuple(directions.shape)}; it must be ({x.shape[-1]}, k)")
    try:
        np.broadcast_shapes(tuple(x.shape[:-2]), tuple(y.shape[:-2]))
    except ValueError:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}; leading dimensions must broadcast"
        ) from None


def _padding(name: str, mask: Any, points: Any) -> Any:
    """The mask of points (..., n, d), or None; refuses what is none."""
    if mask is None:
        return None
    xp = namespace(points)
    mask = in_library(mask, points)
    if not xp.isdtype(mask.dtype, "bool"):
        raise TypeError(f"{name} has dtype {mask.dtype}; it must be bool (False = padding)")
    shape, wanted = tuple(mask.shape), tuple(points.shape[:-1])
    try:
        fits = np.broadcast_shapes(shape, wanted)[-1:] == wanted[-1:] and mask.ndim > 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} has shape {shape} and its points {tuple(points.shape)}; it must be (..., {wanted[-1]})"
        )
    return mask


def _given_shares(shares: Any, x: Any, y: Any, x_mask: Any, y_mask: Any) -> Any:
    """What sorted points share, shape (n, m), or None for the overlaps of intervals."""
    if shares is None:
        return None
    if x_mask is not None or y_mask is not None:
        raise ValueError(
            "interpolation and a mask are given; padding changes what sorted points share, pass one of them"
        )
    alike(x=x, interpolation=shares)
    wanted = (x.shape[-2], y.shape[-2])
    if tuple(shares.shape) != wanted:
        raise ValueError(f"interpolation has shape {tuple(shares.shape)}; it must be {wanted}")
    return shares


def _distances(x: Any, y: Any, metric: SlicedMetric) -> Any:
    """Shape (..., n, m), in single precision at least: squares of half precision overflow."""
    xp = namespace(x)
    p, q = working("x", x), working("y", y)
    far = xp.sum((p[..., :, None, :] - q[..., None, :, :]) ** 2, axis=-1)
    if metric == "sqeuclidean":
        return far
    apart = far > 0
    return xp.where(apart, xp.sqrt(xp.where(apart, far, xp.ones_like(far))), far)
