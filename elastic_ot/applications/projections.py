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
from .frameworks import detached, device_of, gather, home, integers, namespace, sums_at, working
from .marginals import is_array

__all__ = ["projected_rank", "projected_sort"]

Regularization = Literal["quadratic", "entropic"]


@public
def projected_rank(
    x: ArrayT, epsilon: float | Array = 1.0, *, regularization: Regularization = "quadratic", descending: bool = False
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
    z = -x if descending else x
    width = _width(epsilon, x, regularization)
    place, block, top, size = _found(_ranked, z, width, regularization, 4)
    xp = namespace(x)
    behind = xp.astype(block - place, x.dtype)  # how far the target is below the largest of its block
    moved = _moved((z - gather(detached(z), top)) / width, behind, block, size, regularization)
    return xp.astype(moved + xp.astype(x.shape[-1] - block, x.dtype), given.dtype, copy=False)


@public
def projected_sort(
    x: ArrayT, epsilon: float | Array = 1.0, *, regularization: Regularization = "quadratic", descending: bool = False
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
    width = _width(epsilon, x, regularization)
    order, block, size = _found(_sorted, x, width, regularization, 3)
    xp = namespace(x)
    w = gather(x, order)
    top = gather(detached(w), block)
    behind = block - xp.arange(x.shape[-1], dtype=block.dtype, device=device_of(x))
    found = top + _moved(xp.astype(behind, x.dtype) / width, w - top, block, size, regularization)
    return xp.astype(found if descending else xp.flip(found, axis=-1), given.dtype, copy=False)


def _width(epsilon: Any, x: Any, regularization: Any) -> Any:
    """Epsilon beside values (..., n)."""
    if regularization not in ("quadratic", "entropic"):
        raise ValueError(f"regularization is {regularization!r}; choose from 'quadratic', 'entropic'")
    positive("epsilon", epsilon)
    return epsilon[..., None] if is_array(epsilon) else namespace(x).asarray(epsilon, **home(x))


def _found(function: Any, x: Any, width: Any, regularization: Regularization, count: int) -> list[Any]:
    """What the host finds: so many arrays of integers, each of the shape of x."""
    xp = namespace(x)
    arrays = [xp.broadcast_to(detached(y), x.shape) for y in (x, width)]
    rows = [xp.reshape(y, (-1, x.shape[-1])) for y in arrays]
    found = integers(function, rows, (int(regularization == "entropic"),), (count, *x.shape))
    return [found[k, ...] for k in range(count)]


def _moved(apart: Any, behind: Any, block: Any, size: Any, regularization: Regularization) -> Any:
    """The projection, over the largest target of each entry's block, of differences from the largest in the block.

    `apart` is that of z, `behind` that of the targets. Both are 0 where a block has one entry, and so is the result.
    """
    xp = namespace(apart)
    if regularization == "quadratic":
        return apart - sums_at(apart - behind, block) / xp.astype(size, apart.dtype)
    over = xp.log(sums_at(xp.exp(apart), block)) - xp.log(sums_at(xp.exp(behind), block))
    return apart - over


@host_function
def _ranked(z: NDArray[np.floating], width: NDArray[np.floating], entropic: int) -> NDArray[np.int64]:
    """Places in falling order; blocks, by the place of their first; that one's index; sizes. Shape (4, B, n)."""
    order = np.argsort(-z, axis=-1)
    s = np.take_along_axis(z, order, -1).astype(np.float64) / width
    w = np.broadcast_to(np.arange(z.shape[-1], 0.0, -1.0), s.shape)
    first = load_isotonic().block_starts(s, np.ascontiguousarray(w), bool(entropic))
    found = np.empty((4, *z.shape), np.int64)
    values = (
        np.broadcast_to(np.arange(z.shape[-1]), z.shape),
        first,
        np.take_along_axis(order, first, -1),
        _sizes(first),
    )
    for out, x in zip(found, values, strict=True):
        np.put_along_axis(out, order, x, -1)
    return found


@host_function
def _sorted(x: NDArray[np.floating], width: NDArray[np.floating], entropic: int) -> NDArray[np.int64]:
    """Falling order; blocks, by the place of their first; sizes. Shape (3, B, n)."""
    order = np.argsort(-x, axis=-1)
    w = np.take_along_axis(x, order, -1).astype(np.float64)
    s = np.arange(x.shape[-1], 0.0, -1.0) / width.astype(np.float64)
    first = load_isotonic().block_starts(s, w, bool(entropic))
    return np.stack([order, first, _sizes(first)])


def _sizes(first: NDArray[np.int64]) -> NDArray[np.int64]:
    """The size of each entry's block."""
    flat = (first + first.shape[-1] * np.arange(len(first))[:, None]).reshape(-1)
    return np.bincount(flat, minlength=flat.size)[flat].reshape(first.shape)
