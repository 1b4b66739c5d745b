"""Entropic transport between points by POT's calls: from coordinates in place of a matrix."""

from __future__ import annotations

from typing import Any, Literal, Unpack, cast, overload

from ...calls import public
from ...costs.points import PointCloud
from ...typing import Array, ArrayT
from .arguments import Unsupported, known
from .entropic import Asked, entropic, log_of_solve
from .homes import refuse_gradients
from .types import EntropicLog, Matrix, Points, Scalings, Weights, answer
from .utils import costs_between

LAZY_METRICS = ("sqeuclidean", "euclidean", "cityblock", "cosine")


@overload
def empirical_sinkhorn(
    X_s: ArrayT,
    X_t: Matrix,
    reg: float,
    *,
    isLazy: Literal[False] = ...,
    log: Literal[False] = ...,
    **options: Unpack[Points],
) -> ArrayT: ...
@overload
def empirical_sinkhorn(
    X_s: ArrayT, X_t: Matrix, reg: float, *, isLazy: Literal[False] = ..., log: Literal[True], **options: Unpack[Points]
) -> tuple[ArrayT, EntropicLog]: ...
@overload
def empirical_sinkhorn(
    X_s: ArrayT, X_t: Matrix, reg: float, *, isLazy: Literal[True], log: Literal[False] = ..., **options: Unpack[Points]
) -> tuple[ArrayT, ArrayT]: ...
@overload
def empirical_sinkhorn(
    X_s: ArrayT, X_t: Matrix, reg: float, *, isLazy: Literal[True], log: Literal[True], **options: Unpack[Points]
) -> tuple[ArrayT, ArrayT, EntropicLog]: ...
@public
def empirical_sinkhorn(
    X_s: Matrix,
    X_t: Matrix,
    reg: float,
    a: Weights = None,
    b: Weights = None,
    metric: str = "sqeuclidean",
    numIterMax: int = 10000,
    stopThr: float = 1e-9,
    isLazy: bool = False,
    batchSize: int = 100,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    warmstart: Scalings | None = None,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog] | tuple[Array, Array] | tuple[Array, Array, EntropicLog]:
    """The entropic plan between points, as by ``ot.bregman.empirical_sinkhorn``.

    Parameters
    ----------
    X_s, X_t : array_like, shapes (n, d) and (m, d)
        Points.
    reg, a, b, stopThr, verbose, log, warn, warmstart
        As for ``sinkhorn``.
    metric : str
        As for `dist`.
    numIterMax : int
        Passes over the costs at most.
    isLazy : bool
        Store no matrix, by a `PointCloud`: the result is then the pair (log u, log v) in place of the plan.
    batchSize
        Ignored.
    **kwargs
        What only steers POT's own loops is ignored; anything else is refused.

    Returns
    -------
    plan, or log u and log v, and the dictionary with ``log=True``
        As in POT.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> x = np.array([[0.0], [1.0]])
    >>> ot.bregman.empirical_sinkhorn(x, x, 0.1).round(3)
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    known(empirical_sinkhorn, kwargs)
    how = Asked(numIterMax, stopThr, verbose, warn, warmstart=warmstart)
    if isLazy:
        found = entropic(cloud(X_s, X_t, metric, a, b), a, b, reg, how)
        first, second = found.log_scalings
        return (first, second, log_of_solve(found)) if log else (first, second)
    found = entropic(costs_between(X_s, X_t, metric), a, b, reg, how)
    return answer(log, found.plan, lambda: log_of_solve(found))


@overload
def empirical_sinkhorn2(
    X_s: ArrayT, X_t: Matrix, reg: float, *, isLazy: bool = ..., log: Literal[False] = ..., **options: Unpack[Points]
) -> ArrayT: ...
@overload
def empirical_sinkhorn2(
    X_s: ArrayT, X_t: Matrix, reg: float, *, isLazy: bool = ..., log: Literal[True], **options: Unpack[Points]
) -> tuple[ArrayT, EntropicLog]: ...
@public
def empirical_sinkhorn2(
    X_s: Matrix,
    X_t: Matrix,
    reg: float,
    a: Weights = None,
    b: Weights = None,
    metric: str = "sqeuclidean",
    numIterMax: int = 10000,
    stopThr: float = 1e-9,
    isLazy: bool = False,
    batchSize: int = 100,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    warmstart: Scalings | None = None,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog]:
    """The cost <M, P> of `empirical_sinkhorn`, without the entropy; arguments as there.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> x = np.array([[0.0], [1.0]])
    >>> round(float(ot.bregman.empirical_sinkhorn2(x, x + 2.0, 0.01)), 6)
    4.0
    """
    known(empirical_sinkhorn2, kwargs)
    how = Asked(numIterMax, stopThr, verbose, warn, warmstart=warmstart)
    found = entropic(cloud(X_s, X_t, metric, a, b) if isLazy else costs_between(X_s, X_t, metric), a, b, reg, how)
    return answer(log, found.linear_cost, lambda: log_of_solve(found))


@overload
def empirical_sinkhorn_divergence(
    X_s: ArrayT, X_t: Matrix, reg: float, *, isLazy: bool = ..., log: Literal[False] = ..., **options: Unpack[Points]
) -> ArrayT: ...
@overload
def empirical_sinkhorn_divergence(
    X_s: ArrayT, X_t: Matrix, reg: float, *, isLazy: bool = ..., log: Literal[True], **options: Unpack[Points]
) -> tuple[ArrayT, EntropicLog]: ...
@public
def empirical_sinkhorn_divergence(
    X_s: Matrix,
    X_t: Matrix,
    reg: float,
    a: Weights = None,
    b: Weights = None,
    metric: str = "sqeuclidean",
    numIterMax: int = 10000,
    stopThr: float = 1e-9,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    warmstart: Scalings | None = None,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog]:
    """The difference of three transport costs, as by ``ot.bregman.empirical_sinkhorn_divergence``, never below 0.

    It has no entropy, and can be negative where POT returns 0. `elastic_ot.divergence` has it, and cannot. Arguments as
    of `empirical_sinkhorn`.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> x = np.array([[0.0], [1.0]])
    >>> round(float(ot.bregman.empirical_sinkhorn_divergence(x, x, 0.1)), 6)
    0.0
    """
    known(empirical_sinkhorn_divergence, kwargs, "isLazy", "batchSize")
    pairs = {"ab": (X_s, X_t, a, b, (0, 1)), "a": (X_s, X_s, a, a, (0, 0)), "b": (X_t, X_t, b, b, (1, 1))}
    costs = cloud if kwargs.get("isLazy") else costs_between
    losses: dict[str, Any] = {}
    notes: dict[str, Any] = {}
    for name, (x, y, first, second, (i, j)) in pairs.items():
        begin = None if warmstart is None else (warmstart[i], warmstart[j])
        how = Asked(numIterMax, stopThr, verbose, warn, warmstart=begin)
        found = entropic(costs(x, y, metric), first, second, reg, how)
        losses[name] = notes[f"sinkhorn_loss_{name}"] = found.linear_cost
        notes[f"log_sinkhorn_{name}"] = log_of_solve(found)
    difference = losses["ab"] - 0.5 * (losses["a"] + losses["b"])
    return answer(log, difference * (difference > 0), lambda: cast("EntropicLog", notes))


def cloud(x: Any, y: Any, metric: Any, a: Any = None, b: Any = None) -> PointCloud:
    """Return the costs between points, without a matrix."""
    refuse_gradients("a lazy plan", "pass isLazy=False or lazy=False, or call elastic_ot.torch.value", x, y, a, b)
    if metric not in LAZY_METRICS:
        raise Unsupported(f"metric is {metric!r}; without a matrix choose from {', '.join(map(repr, LAZY_METRICS))}")
    return PointCloud(x, y, metric)
