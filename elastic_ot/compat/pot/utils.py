"""What calls of POT begin with: uniform weights, and costs between points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ...calls import public
from ...typing import Array, ArrayLike, ArrayT
from .arguments import Unsupported
from .homes import home_of_results, on_host, read

__all__ = ["dist", "unif"]
FOREIGN_METRICS = ("sqeuclidean", "euclidean", "cityblock", "minkowski", "cosine", "correlation")


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
    backend: str = "auto",
    nx: object = None,
    use_tensor: bool = False,
) -> ArrayT:
    """Return the costs between points, shape (n, m), by any metric of SciPy for NumPy, by six for other libraries.

    Parameters
    ----------
    x1, x2 : array_like, shapes (n, d) and (m, d)
        Points; without `x2` those within `x1`.
    metric : str or callable
        "sqeuclidean", "euclidean", "cityblock", "minkowski" (of order `p`), "cosine", "correlation", or another one of
        `scipy.spatial.distance.cdist`.
    p : float
        The order.
    w : array_like, shape (d,), optional
        Weights of the coordinates; for other arrays than those of NumPy with "minkowski" only.
    backend : str
        "scipy" takes the numbers to the host, without their derivatives, so that all of SciPy's metrics serve every
        library; ignored otherwise.
    nx, use_tensor
        Ignored: the library is that of `x1`.

    Returns
    -------
    array, shape (n, m)

    Raises
    ------
    NotImplementedError
        A metric that only SciPy has, of arrays of another library; a ValueError as well.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> ot.dist([[0.0], [1.0]], [[3.0]])
    array([[9.],
           [4.]])
    """
    found: ArrayT = costs_between(x1, x2, metric, p, w, on_the_host=backend == "scipy")
    return found


def costs_between(
    x1: Any, x2: Any = None, metric: Any = "sqeuclidean", p: float = 2, w: Any = None, *, on_the_host: bool = False
) -> Any:
    """Return the costs of `dist`, also of lists."""
    x1, x2, w = read(x1, x2, w)
    x2 = x1 if x2 is None else x2
    home = home_of_results(x1)
    if home.xp is np or on_the_host:
        from scipy.spatial.distance import cdist

        options = {} if w is None else {"w": on_host(w)}
        if metric == "minkowski":
            options["p"] = p
        return home.give(cdist(on_host(x1), on_host(x2), metric, **options))
    if metric not in FOREIGN_METRICS or (w is not None and metric != "minkowski"):
        weighted = "" if w is None else " with weights"
        raise Unsupported(f"metric is {metric!r}{weighted}, which is for arrays of NumPy only; pass backend='scipy'")
    if metric in ("cosine", "correlation"):
        return one_less_cosine(home.xp, x1, x2, centred=metric == "correlation")
    return between(home.xp, x1, x2, metric, p, w)


def between(xp: Any, x: Any, y: Any, metric: str, p: float = 2, w: Any = None) -> Any:
    """Return costs by functions that can be differentiated, also where two points are one."""
    gaps = x[:, None, :] - y[None, :, :]
    if metric == "sqeuclidean":
        return xp.sum(gaps**2, axis=-1)
    if metric == "cityblock":
        return xp.sum(xp.abs(gaps), axis=-1)
    order = 2.0 if metric == "euclidean" else p
    powers = xp.abs(gaps) ** order
    sums = xp.sum(powers if w is None else w * powers, axis=-1)
    apart = sums > 0
    return xp.where(apart, xp.where(apart, sums, xp.ones_like(sums)) ** (1.0 / order), xp.zeros_like(sums))


def one_less_cosine(xp: Any, x: Any, y: Any, *, centred: bool) -> Any:
    """Return 1 - cos of the angle between points, or between points less the mean of their coordinates."""
    if centred:
        x, y = (z - xp.mean(z, axis=1, keepdims=True) for z in (x, y))
    x, y = (z / xp.sqrt(xp.sum(z**2, axis=1, keepdims=True)) for z in (x, y))
    return 1.0 - x @ y.T
