"""What calls of POT begin with: uniform weights, and costs between points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ...calls import public
from ...typing import Array, ArrayLike, ArrayT
from .arguments import Unsupported
from .homes import home_of_results, read

__all__ = ["dist", "unif"]


@overload
def unif(n: int, type_as: None = None) -> NDArray[np.float64]: ...
@overload
def unif(n: int, type_as: ArrayT) -> ArrayT: ...
@public
def unif(n: int, type_as: Array | None = None) -> Array:
    """Return n equal weights of sum 1, in the library of `type_as`.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> ot.unif(4)
    array([0.25, 0.25, 0.25, 0.25])
    """
    weights: Any = np.full(n, 1.0 / n)
    found: Array = weights if type_as is None else home_of_results(type_as).give(weights)
    return found


@public
def dist(
    x1: ArrayT,
    x2: ArrayLike | None = None,
    metric: str | Callable[[NDArray[np.float64], NDArray[np.float64]], float] = "sqeuclidean",
    p: float = 2,
    w: ArrayLike | None = None,
) -> ArrayT:
    """Return the costs between points, shape (n, m), by any metric of SciPy for NumPy, by four for other libraries.

    Parameters
    ----------
    x1, x2 : array_like, shapes (n, d) and (m, d)
        Points; without `x2` those within `x1`.
    metric : str or callable
        "sqeuclidean", "euclidean", "cityblock", "minkowski" (of order `p`), or another one of
        `scipy.spatial.distance.cdist`.
    p : float
        The order.
    w : array_like, shape (d,), optional
        Weights of the coordinates; arrays of NumPy only.

    Returns
    -------
    array, shape (n, m)

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> ot.dist([[0.0], [1.0]], [[3.0]])
    array([[9.],
           [4.]])
    """
    found: ArrayT = costs_between(x1, x2, metric, p, w)
    return found


def costs_between(x1: Any, x2: Any = None, metric: Any = "sqeuclidean", p: float = 2, w: Any = None) -> Any:
    """Return the costs of `dist`, also of lists."""
    x1, x2 = read(x1, x2)
    x2 = x1 if x2 is None else x2
    home = home_of_results(x1)
    if home.xp is np:
        from scipy.spatial.distance import cdist

        options = {} if w is None else {"w": w}
        if metric == "minkowski":
            options["p"] = p
        return cdist(x1, x2, metric, **options).astype(home.dtype, copy=False)
    if w is not None or metric not in ("sqeuclidean", "euclidean", "cityblock", "minkowski"):
        raise Unsupported(f"metric is {metric!r}, which is for arrays of NumPy only; compute the costs yourself")
    return between(home.xp, x1, x2, metric, p)


def between(xp: Any, x: Any, y: Any, metric: str, p: float = 2) -> Any:
    """Return costs by functions that can be differentiated, also where two points are one."""
    gaps = x[:, None, :] - y[None, :, :]
    if metric == "sqeuclidean":
        return xp.sum(gaps**2, axis=-1)
    if metric == "cityblock":
        return xp.sum(xp.abs(gaps), axis=-1)
    order = 2.0 if metric == "euclidean" else p
    sums = xp.sum(xp.abs(gaps) ** order, axis=-1)
    apart = sums > 0
    return xp.where(apart, xp.where(apart, sums, xp.ones_like(sums)) ** (1.0 / order), xp.zeros_like(sums))
