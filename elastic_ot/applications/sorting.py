"""Sorting, ranks and quantiles by transport to a grid, with derivatives.

Arrays of NumPy, CuPy, torch or JAX. Sorting is along the last axis; leading dimensions are problems of their own.

Values x with weights a (uniform unless given) are first brought to mean 0 and variance 1, and the levels t in (0, 1) of
a grid to sqrt(12) (t - 1/2), mean 0 and variance 1 for uniform levels. Transport between the two costs the squared
distance. So epsilon has no unit: x shifted, or multiplied by a positive number, has the same plan. Neighbours among n
values are about sqrt(12) / n apart. Results are sharp once epsilon is well below 12 / n^2; above it they are smooth
over about n sqrt(epsilon) / 5 neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Unpack

from ..api.signatures import ApplicationOptions
from ..calls import public
from ..typing import Array, ArrayT
from .arguments import alike, at_least_0, count, first, in_unit_interval, positive, vectors
from .frameworks import detached, home, namespace, plan, real, working

__all__ = ["soft_quantile", "soft_rank", "soft_sort"]


@public
def soft_sort(
    x: ArrayT,
    epsilon: float | Array = 0.1,
    *,
    weights: Array | None = None,
    descending: bool = False,
    targets: int | None = None,
    **options: Unpack[ApplicationOptions],
) -> ArrayT:
    """Sorted values, each an average of x that tends to the order statistic as epsilon tends to 0.

    Parameters
    ----------
    x : array, shape (..., n)
    epsilon : float or array, shape (...)
        > 0; see the module for its scale. Large values give the mean everywhere.
    weights : array, shape (n,) or (..., n), optional
        >= 0, scaled to sum to one; default all equal. A value of weight 0 takes no part.
    descending : bool
        Largest first.
    targets : int, optional
        How many values to return, m, default n.
    **options
        Those of `elastic_ot.solve`; for torch and JAX also ``grad``. ``tol`` is 1e-9 unless given.

    Returns
    -------
    array, shape (..., m)
        Never decreasing (increasing with `descending`). With epsilon -> 0, value j is the mean of the quantile function
        over levels from j/m to (j + 1)/m: without weights and with m = n, ``sort(x)``. Their mean is that of x.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value.

    Warns
    -----
    ConvergenceWarning
        A problem has not converged.

    References
    ----------
    Cuturi, Teboul, Vert, *Differentiable ranking and sorting using optimal transport*, 2019. They squash values by a
    logistic function; here the scaling is linear, so that results are covariant.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.sorting import soft_sort
    >>> soft_sort(np.array([3.0, 1.0, 2.0]), epsilon=0.01).round(3)
    array([1., 2., 3.])
    >>> soft_sort(np.array([3.0, 1.0, 2.0]), epsilon=1.0).round(3)
    array([1.183, 2.   , 2.817])
    """
    x, a, dtype = _values(x, weights)
    m = x.shape[-1] if targets is None else count("targets", targets)
    found = _to_grid(x, a, _levels(x, m), None, epsilon, "cols", options)
    xp = namespace(x)
    means = m * xp.matmul(x[..., None, :], found)[..., 0, :]
    return _in(xp.flip(means, axis=-1) if descending else means, dtype)


@public
def soft_rank(
    x: ArrayT,
    epsilon: float | Array = 0.1,
    *,
    weights: Array | None = None,
    descending: bool = False,
    targets: int | None = None,
    **options: Unpack[ApplicationOptions],
) -> ArrayT:
    """Ranks from 1 to n, which tend to the exact ones as epsilon tends to 0.

    Parameters
    ----------
    x : array, shape (..., n)
    epsilon : float or array, shape (...)
        > 0; see the module for its scale. Large values give (n + 1)/2 everywhere.
    weights : array, shape (n,) or (..., n), optional
        >= 0, scaled to sum to one; default all equal. A value of weight 0 takes no part and has rank 0.
    descending : bool
        The largest value has rank 1.
    targets : int, optional
        Number of levels in the grid, default n.
    **options
        Those of `elastic_ot.solve`; for torch and JAX also ``grad``. ``tol`` is 1e-9 unless given.

    Returns
    -------
    array, shape (..., n)
        n times the mean level that a value is moved to, plus 1/2. Equal values have equal ranks at every epsilon; as
        epsilon -> 0 those of ``scipy.stats.rankdata(x, "average")``, that is ``argsort(argsort(x)) + 1`` without ties.
        With weights as epsilon -> 0: n times the middle of the levels that a value takes up, plus 1/2, up to half a
        step n / m of the grid.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value.

    Warns
    -----
    ConvergenceWarning
        A problem has not converged.

    References
    ----------
    Cuturi, Teboul, Vert, *Differentiable ranking and sorting using optimal transport*, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.sorting import soft_rank
    >>> soft_rank(np.array([0.3, 0.1, 0.3, 5.0]), epsilon=0.001).round(3)
    array([2.5, 1. , 2.5, 4. ])
    """
    x, a, dtype = _values(x, weights)
    n = x.shape[-1]
    levels = _levels(x, n if targets is None else count("targets", targets))
    found = _to_grid(x, a, levels, None, epsilon, "rows", options)
    xp = namespace(x)
    kept = a > 0
    moved = xp.matmul(found, levels[:, None])[..., 0] / xp.where(kept, a, xp.ones_like(a))
    ranks = n * (1 - moved if descending else moved) + 0.5
    return _in(xp.where(kept, ranks, xp.zeros_like(ranks)), dtype)


@public
def soft_quantile(
    x: ArrayT,
    q: float | Array,
    epsilon: float | Array = 0.1,
    *,
    weights: Array | None = None,
    width: float | None = None,
    **options: Unpack[ApplicationOptions],
) -> ArrayT:
    """Quantiles, each an average of x that tends to the exact one as epsilon tends to 0.

    The mass is moved to three targets: what is below the quantile, a window around it, and what is above.

    Parameters
    ----------
    x : array, shape (..., n)
    q : float, or array of shape (k,)
        In [0, 1].
    epsilon : float
        > 0; see the module for its scale.
    weights : array, shape (n,) or (..., n), optional
        >= 0, scaled to sum to one; default all equal. A value of weight 0 takes no part.
    width : float, optional
        Of the window, in (0, 1], default 1/n.
    **options
        Those of `elastic_ot.solve`; for torch and JAX also ``grad``. ``tol`` is 1e-9 unless given.

    Returns
    -------
    array, shape (...) or (..., k)
        As epsilon -> 0 the mean of the quantile function over the levels q - width/2 to q + width/2, moved into
        [0, 1] where they leave it. Without weights and with the default width that is
        ``numpy.quantile(x, q, method="hazen")``, the median being the usual one.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value.

    Warns
    -----
    ConvergenceWarning
        A problem has not converged.

    References
    ----------
    Cuturi, Teboul, Vert, *Differentiable ranking and sorting using optimal transport*, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.sorting import soft_quantile
    >>> soft_quantile(np.array([4.0, 1.0, 3.0, 2.0, 50.0]), [0.0, 0.5], epsilon=0.001).round(3)
    array([1., 3.])
    """
    x, a, dtype = _values(x, weights)
    xp = namespace(x)
    window = 1 / x.shape[-1] if width is None else positive("width", width)
    if window > 1:
        raise ValueError(f"width is {width!r}; it must be <= 1")
    at = in_unit_interval("q", xp.asarray(q, **home(x)))
    if at.ndim > 1:
        raise ValueError(f"q has shape {tuple(at.shape)}; it must be a number or a vector (k,)")
    below = xp.minimum(xp.maximum(at - window / 2, xp.zeros_like(at)), (1 - window) * xp.ones_like(at))
    above = 1 - window - below
    rounding = 8 * float(xp.finfo(x.dtype).eps)
    below, above = (xp.where(t < rounding, xp.zeros_like(t), t) for t in (below, above))
    shares = xp.stack([below, xp.full_like(below, window), above], axis=-1)
    levels = xp.stack([below / 2, below + window / 2, 1 - above / 2], axis=-1)
    if at.ndim:
        x, a = x[..., None, :], a[..., None, :]
    shares = shares / xp.sum(shares, axis=-1, keepdims=True)
    # sweeps are slow where the window ends between two values: little mass links the targets then
    found = _to_grid(x, a, levels, shares, epsilon, "cols", options)
    return _in(xp.sum(found[..., 1] * x, axis=-1) / shares[..., 1], dtype)


def _values(x: Any, weights: Any) -> tuple[Any, Any, Any]:
    """Values and their weights, which sum to one, in single precision at least; and the dtype of the values."""
    given = vectors("x", x)
    x, n = working("x", given), given.shape[-1]
    xp = namespace(x)
    if weights is None:
        return x, xp.full((n,), 1 / n, **home(x)), given.dtype
    weights = real("weights", weights)
    alike(x=given, weights=weights)
    weights = working("weights", weights)
    if weights.ndim < 1 or weights.shape[-1] != n:
        raise ValueError(f"weights has shape {tuple(weights.shape)}; it must be (..., {n}), one for each value")
    at_least_0("weights", weights)
    total = xp.sum(weights, axis=-1, keepdims=True)
    index = first(total == 0)
    if index is not None:
        raise ValueError(f"weights are all 0{f' in sample {list(index[:-1])}' if index[:-1] else ''}; one must be > 0")
    return x, weights / total, given.dtype


def _in(values: Any, dtype: Any) -> Any:
    return values if values.dtype == dtype else namespace(values).astype(values, dtype)


def _levels(x: Any, m: int) -> Any:
    """The middles of m equal parts of [0, 1]."""
    xp = namespace(x)
    return (xp.arange(m, **home(x)) + 0.5) / m


def _to_grid(x: Any, a: Any, levels: Any, shares: Any, epsilon: Any, end: str, options: Mapping[str, Any]) -> Any:
    """The plan, shape (..., n, m), from values with weights a to levels with these shares of the mass."""
    positive("epsilon", epsilon)
    z, y = _standardised(x, a), math.sqrt(12) * (levels - 0.5)
    cost = (z[..., :, None] - y[..., None, :]) ** 2
    given: dict[str, Any] = {"tol": 1e-9, "end": end, **options}
    return plan(cost, a, shares, epsilon=epsilon, **given)


def _standardised(x: Any, a: Any) -> Any:
    """Mean 0 and variance 1 under the weights a; 0 where all values are equal."""
    xp = namespace(x)
    centred = x - xp.sum(a * x, axis=-1, keepdims=True)
    # in units of the largest, whose square would overflow; that the unit depends on x cancels out
    rounding = 4 * float(xp.finfo(x.dtype).eps) * detached(xp.max(xp.abs(x), axis=-1, keepdims=True))
    unit = xp.maximum(detached(xp.max(xp.abs(centred), axis=-1, keepdims=True)), rounding)
    unit = xp.where(unit > 0, unit, xp.ones_like(unit))
    centred = centred / unit
    variance = xp.sum(a * centred * centred, axis=-1, keepdims=True)
    flat = variance <= (rounding / unit) ** 2
    return xp.where(flat, xp.zeros_like(x), centred / xp.sqrt(xp.where(flat, xp.ones_like(variance), variance)))
