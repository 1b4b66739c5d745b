"""Sorting and ranking by projection onto a permutahedron, with derivatives: isotonic regression, O(n log n).

Arrays of NumPy, CuPy, torch or JAX. Along the last axis; leading dimensions are problems of their own. This is another
operator than the soft sort of `elastic_ot.applications.soft_sort`, which transports values to a grid: no plan is made,
results are piecewise smooth, and where neighbours are far enough apart they are exact.

The permutahedron of w is the convex hull of all orders of its entries. With z sorted, the projection of z onto it is
z - v, where v never increases and is piecewise constant: the solution of an isotonic regression of z - sort(w). So the
derivative is that of means over blocks, whose limits are held.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..backends import load_isotonic
from ..calls import public
from ..frameworks.host_functions import host_function
from ..typing import Array, ArrayT
from .arguments import positive, vectors
from .frameworks import detached, gather, home, integers, namespace, sums_at, working
from .marginals import is_array

__all__ = ["projected_rank", "projected_sort"]

Regularization = Literal["quadratic", "entropic"]


@public
def projected_rank(
    x: ArrayT,
    epsilon: float | Array = 1.0,
    *,
    regularization: Regularization = "quadratic",
    descending: bool = False,
) -> ArrayT:
    """Soft ranks from 1 to n: x / epsilon, projected onto the convex hull of the orders of (1, ..., n).

    Parameters
    ----------
    x : array, shape (..., n)
    epsilon : float or array, shape (...)
        > 0, in the units of x. The ranks are exact if no two values are closer than epsilon ("quadratic"), and tend to
        one value as it grows.
    regularization : {"quadratic", "entropic"}
        The nearest point in the Euclidean norm; or the logarithm of the point nearest to exp(x / epsilon), in the
        Kullback--Leibler divergence, among the averages of all orders of exp(1), ..., exp(n).
    descending : bool
        The largest value has rank 1.

    Returns
    -------
    array, shape (..., n)
        Library and dtype of x. Ranks never cross: they are in the order of x, and equal values have equal ranks.
        "quadratic": their sum is that of the exact ones, n (n + 1) / 2.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value.

    See Also
    --------
    elastic_ot.applications.soft_rank : by entropic transport to a grid, smooth everywhere.

    Notes
    -----
    Blocks are found on the host, from numbers: not under `jax.jit` or `jax.vmap`.

    References
    ----------
    Blondel, Teboul, Berthet, Djolonga, *Fast differentiable sorting and ranking*, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.projections import projected_rank
    >>> projected_rank(np.array([0.3, 0.1, 5.0]), epsilon=0.1)
    array([2., 1., 3.])
    >>> projected_rank(np.array([0.3, 0.1, 5.0]), epsilon=1.0)
    array([1.6, 1.4, 3. ])
    """
    given = vectors("x", x)
    x = working("x", given)
    xp = namespace(x)
    z = -x if descending else x
    order = xp.argsort(detached(z), axis=-1, descending=True, stable=True)
    ranks = _projected(gather(z, order), epsilon, _downwards(z), regularization)
    return xp.astype(gather(ranks, xp.argsort(order, axis=-1)), given.dtype, copy=False)


@public
def projected_sort(
    x: ArrayT,
    epsilon: float | Array = 1.0,
    *,
    regularization: Regularization = "quadratic",
    descending: bool = False,
) -> ArrayT:
    """Softly sorted values: (1, ..., n) / epsilon, projected onto the convex hull of the orders of x.

    Parameters
    ----------
    x : array, shape (..., n)
    epsilon : float or array, shape (...)
        > 0, in units of one over x. The result is exact if neighbours in the order of x are no further apart than
        1 / epsilon ("quadratic"), and tends to one value as it grows.
    regularization : {"quadratic", "entropic"}
        As for `projected_rank`, among averages of the orders of x or of exp(x).
    descending : bool
        Largest first.

    Returns
    -------
    array, shape (..., n)
        Library and dtype of x, never decreasing (increasing with `descending`). "quadratic": their sum is that of x.

    Raises
    ------
    ValueError, TypeError
        Bad input, named with its index and value.

    See Also
    --------
    elastic_ot.applications.soft_sort : by entropic transport to a grid, smooth everywhere.

    Notes
    -----
    Blocks are found on the host, from numbers: not under `jax.jit` or `jax.vmap`.

    References
    ----------
    Blondel, Teboul, Berthet, Djolonga, *Fast differentiable sorting and ranking*, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.projections import projected_sort
    >>> projected_sort(np.array([3.0, 1.0, 7.0]), epsilon=0.1)
    array([1., 3., 7.])
    >>> projected_sort(np.array([3.0, 1.0, 7.0]), epsilon=0.5)
    array([1.66666667, 3.66666667, 5.66666667])
    """
    given = vectors("x", x)
    x = working("x", given)
    xp = namespace(x)
    order = xp.argsort(detached(x), axis=-1, descending=True, stable=True)
    places = xp.broadcast_to(_downwards(x), x.shape)
    found = _projected(places, epsilon, gather(x, order), regularization)
    return xp.astype(found if descending else xp.flip(found, axis=-1), given.dtype, copy=False)


def _downwards(like: Any) -> Any:
    """n, ..., 2, 1."""
    xp = namespace(like)
    return xp.flip(xp.arange(1, like.shape[-1] + 1, **home(like)), axis=-1)


def _projected(s: Any, epsilon: Any, w: Any, regularization: Regularization) -> Any:
    """The projection of s / epsilon onto the permutahedron of w, both never increasing along the last axis.

    By how far s is from what its block has in common, which is exactly 0 where a block has one entry, and keeps the
    digits of s where epsilon is small.
    """
    if regularization not in ("quadratic", "entropic"):
        raise ValueError(f"regularization is {regularization!r}; choose from 'quadratic', 'entropic'")
    positive("epsilon", epsilon)
    xp = namespace(s)
    width = epsilon[..., None] if is_array(epsilon) else xp.asarray(epsilon, **home(s))
    entropic = regularization == "entropic"
    arrays = [xp.broadcast_to(detached(x), s.shape) for x in (s, w, width)]
    first = integers(_blocks, [xp.reshape(x, (-1, s.shape[-1])) for x in arrays], (int(entropic),), s.shape)
    w = xp.broadcast_to(w, s.shape)
    common = _log_sums if entropic else _means
    top = gather(detached(w), first)
    apart = (s - gather(detached(s), first)) / width  # the difference of nearly equal numbers is exact
    return apart - common(apart, first) + (top + common(w - top, first))


def _means(x: Any, first: Any) -> Any:
    """The mean over each entry's block, whose first entry is `first`."""
    return sums_at(x, first) / sums_at(namespace(x).ones_like(x), first)


def _log_sums(x: Any, first: Any) -> Any:
    """The log of the sum of exp over each entry's block, of numbers whose largest there is 0."""
    xp = namespace(x)
    return xp.log(sums_at(xp.exp(x), first))


@host_function
def _blocks(
    s: NDArray[np.floating], w: NDArray[np.floating], width: NDArray[np.floating], entropic: int
) -> NDArray[np.int64]:
    """Where the blocks of s / width begin, shape (B, n), for sorted vectors (B, n)."""
    z = s.astype(np.float64) / width
    return load_isotonic().block_starts(z, np.ascontiguousarray(w, np.float64), bool(entropic))
