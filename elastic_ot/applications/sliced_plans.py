"""Expected sliced plans, and attention by them: one-dimensional transports, lifted to the points and averaged.

Arrays of NumPy, CuPy, torch or JAX. Each direction sorts the projections of both point sets and matches them in order;
no iteration is needed. Memory is that of a plan for every direction.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..calls import public
from ..typing import Array, ArrayT
from .arguments import alike, matrices, positive
from .frameworks import detached, home, namespace, softmax, working

__all__ = ["expected_sliced_plan", "sliced_attention"]


@public
def expected_sliced_plan(
    x: ArrayT,
    y: ArrayT,
    directions: Array | None = None,
    *,
    inv_temp: float | Array = 0.0,
    tau: float | None = None,
    straight_through: float | None = None,
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
        a direction's plan moves the points in full space; >= 0, and 0 (default) means equal weights. An inverse
        temperature: large values keep the cheapest direction alone.
    tau : float, optional
        Sort softly, by the matrix softmax(-abs(sort(z)_i - z_j) / tau) in place of a permutation of the projections z,
        > 0 in their units. Default: sort exactly.
    straight_through : float, optional
        Sort exactly, with the derivatives of a soft sort of this tau. Without either, the sorting has none: what is
        left are those of the weights.

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
    plans = _lifted(_projections(x, directions), _projections(y, directions), tau, straight_through)
    xp = namespace(x)
    if not isinstance(inv_temp, int | float) or inv_temp > 0:
        p, q = working("x", x), working("y", y)  # squares of half precision overflow
        far = xp.sum((p[..., :, None, :] - q[..., None, :, :]) ** 2, axis=-1)
        costs = xp.mean(xp.sum(plans * far[..., None, :, :], axis=-1), axis=-1)
        shares = xp.astype(softmax(-inv_temp * costs), plans.dtype, copy=False)
        return xp.sum(shares[..., None, None] * plans, axis=-3)
    return xp.mean(plans, axis=-3)


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
    need_weights: bool = False,
) -> ArrayT | tuple[ArrayT, ArrayT]:
    """Attention whose weights are the expected sliced plan between q / sqrt(d) and k / sqrt(d).

    Parameters
    ----------
    q, k : arrays, shapes (..., n, d) and (..., m, d)
        Queries and keys; leading dimensions, say batch and heads, broadcast.
    v : array, shape (..., m, p)
        Values.
    directions, inv_temp, tau, straight_through
        As for `expected_sliced_plan`. With the default directions, d axes, learned projections of queries and keys are
        directions that are learned.
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
        scale * q, scale * k, directions, inv_temp=inv_temp, tau=tau, straight_through=straight_through
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


def _projections(points: Any, directions: Any) -> Any:
    """Shape (..., k, n)."""
    xp = namespace(points)
    return xp.matrix_transpose(points if directions is None else xp.matmul(points, directions))


def _lifted(x: Any, y: Any, tau: float | None, straight_through: float | None) -> Any:
    """A plan for every direction from projections (..., k, n) and (..., k, m), shape (..., k, n, m)."""
    xp = namespace(x)
    n, m = x.shape[-1], y.shape[-1]
    shared = xp.asarray(_shared_masses(n, m), **home(x))
    if tau is None and straight_through is None:
        places = xp.argsort(xp.argsort(x, axis=-1), axis=-1), xp.argsort(xp.argsort(y, axis=-1), axis=-1)
        cells = places[0][..., :, None] * m + places[1][..., None, :]
        return xp.reshape(xp.take(xp.reshape(shared, (-1,)), xp.reshape(cells, (-1,)), axis=0), cells.shape)
    first, second = (_sorting(z, tau, straight_through) for z in (x, y))
    if n != m:
        second = xp.matmul(shared, second)
    return xp.matmul(xp.matrix_transpose(first), second)


def _sorting(z: Any, tau: float | None, straight_through: float | None) -> Any:
    """Matrices (..., n, n) that sort z: soft, or exact with soft derivatives."""
    xp = namespace(z)
    sharpness = straight_through if tau is None else tau
    soft = softmax(-xp.abs(xp.sort(z, axis=-1)[..., :, None] - z[..., None, :]) / sharpness)
    if tau is not None:
        return soft
    index = xp.arange(z.shape[-1], device=home(z)["device"])
    hard = xp.argsort(detached(z), axis=-1)[..., :, None] == index
    return xp.astype(hard, z.dtype) + (soft - detached(soft))


def _shared_masses(n: int, m: int) -> Any:
    """What n sorted points and m of them share, in units of the former's mass: the identity if n = m."""
    if n == m:
        return np.eye(n)
    # whole numbers: the points are intervals of lengths m and n on a line of length n m
    rows, cols = np.arange(n)[:, None] * m, np.arange(m) * n
    return np.clip(np.minimum(rows + m, cols + n) - np.maximum(rows, cols), 0, None) / m
