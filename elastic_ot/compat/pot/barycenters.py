"""Barycenters by POT's calls: histograms in the columns of a matrix, or images."""

from __future__ import annotations

from typing import Any, Literal, Unpack, overload

import numpy as np

from ...api.barycenter import barycenter as common
from ...calls import public
from ...costs.grid import Grid
from ...typing import Array, ArrayT
from .arguments import known, method_of, printer, threshold
from .homes import Home, home_of_results, on_host, read, refuse_gradients
from .types import BarycenterLog, LoopedMeans, Matrix, Means, Weights, answer

INSTEAD = "call elastic_ot.barycenter(...).gradients() for those of its value"


@overload
def barycenter(
    A: ArrayT,
    M: Matrix,
    reg: float,
    weights: Weights = ...,
    method: str = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[LoopedMeans],
) -> ArrayT: ...
@overload
def barycenter(
    A: ArrayT,
    M: Matrix,
    reg: float,
    weights: Weights = ...,
    method: str = ...,
    *,
    log: Literal[True],
    **options: Unpack[LoopedMeans],
) -> tuple[ArrayT, BarycenterLog]: ...
@public
def barycenter(
    A: Matrix,
    M: Matrix,
    reg: float,
    weights: Weights = None,
    method: str = "sinkhorn",
    numItermax: int = 10000,
    stopThr: float = 1e-4,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    **kwargs: object,
) -> Array | tuple[Array, BarycenterLog]:
    """The entropic barycenter of histograms on one support, as by ``ot.barycenter``: `elastic_ot.barycenter`.

    Parameters
    ----------
    A : array_like, shape (n, K)
        Histograms, one a column.
    M : array_like, shape (n, m)
        Costs from their points to those of the barycenter.
    reg : float
        Strength of the entropy.
    weights : array_like, shape (K,), optional
        Of the histograms.
    method : str
        As for `sinkhorn`; of ours "log" and "epsilon_scaling".
    numItermax, stopThr, verbose, log, warn
        As for `sinkhorn`; `stopThr` is the tolerance of every transport to the barycenter, where POT takes the spread
        of its columns.
    **kwargs
        What only steers POT's own loops is ignored; anything else is refused.

    Returns
    -------
    barycenter : array, shape (m,)
    log : dict
        "err", "niter", and "solution", the `Barycenter`.

    Notes
    -----
    With unequal `weights` POT's "sinkhorn" and "sinkhorn_stabilized" end elsewhere, because their first scalings have
    an unweighted mean; its "sinkhorn_log" agrees with this.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> x = np.arange(3.0)
    >>> ot.barycenter(np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), (x[:, None] - x) ** 2, 0.05).round(3)
    array([0., 1., 0.])
    """
    known(barycenter, kwargs)
    return _barycenter(A, M, reg, weights, method, numItermax, stopThr, verbose, log, warn, False)


@overload
def barycenter_sinkhorn(
    A: ArrayT, M: Matrix, reg: float, weights: Weights = ..., *, log: Literal[False] = ..., **options: Unpack[Means]
) -> ArrayT: ...
@overload
def barycenter_sinkhorn(
    A: ArrayT, M: Matrix, reg: float, weights: Weights = ..., *, log: Literal[True], **options: Unpack[Means]
) -> tuple[ArrayT, BarycenterLog]: ...
@public
def barycenter_sinkhorn(
    A: Matrix,
    M: Matrix,
    reg: float,
    weights: Weights = None,
    numItermax: int = 1000,
    stopThr: float = 1e-4,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
) -> Array | tuple[Array, BarycenterLog]:
    """``barycenter`` with ``method="sinkhorn"``."""
    return _barycenter(A, M, reg, weights, "sinkhorn", numItermax, stopThr, verbose, log, warn, False)


@overload
def barycenter_stabilized(
    A: ArrayT,
    M: Matrix,
    reg: float,
    tau: float = ...,
    weights: Weights = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[Means],
) -> ArrayT: ...
@overload
def barycenter_stabilized(
    A: ArrayT,
    M: Matrix,
    reg: float,
    tau: float = ...,
    weights: Weights = ...,
    *,
    log: Literal[True],
    **options: Unpack[Means],
) -> tuple[ArrayT, BarycenterLog]: ...
@public
def barycenter_stabilized(
    A: Matrix,
    M: Matrix,
    reg: float,
    tau: float = 1e10,
    weights: Weights = None,
    numItermax: int = 1000,
    stopThr: float = 1e-4,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
) -> Array | tuple[Array, BarycenterLog]:
    """``barycenter`` with ``method="sinkhorn_stabilized"``; `tau` is ignored."""
    return _barycenter(A, M, reg, weights, "sinkhorn", numItermax, stopThr, verbose, log, warn, False)


@overload
def barycenter_debiased(
    A: ArrayT,
    M: Matrix,
    reg: float,
    weights: Weights = ...,
    method: str = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[LoopedMeans],
) -> ArrayT: ...
@overload
def barycenter_debiased(
    A: ArrayT,
    M: Matrix,
    reg: float,
    weights: Weights = ...,
    method: str = ...,
    *,
    log: Literal[True],
    **options: Unpack[LoopedMeans],
) -> tuple[ArrayT, BarycenterLog]: ...
@public
def barycenter_debiased(
    A: Matrix,
    M: Matrix,
    reg: float,
    weights: Weights = None,
    method: str = "sinkhorn",
    numItermax: int = 10000,
    stopThr: float = 1e-4,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    **kwargs: object,
) -> Array | tuple[Array, BarycenterLog]:
    """The debiased barycenter, as by ``ot.bregman.barycenter_debiased``: ``barycenter`` for a symmetric `M`."""
    known(barycenter_debiased, kwargs)
    return _barycenter(A, M, reg, weights, method, numItermax, stopThr, verbose, log, warn, True)


@overload
def convolutional_barycenter2d(
    A: ArrayT,
    reg: float,
    weights: Weights = ...,
    method: str = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[LoopedMeans],
) -> ArrayT: ...
@overload
def convolutional_barycenter2d(
    A: ArrayT,
    reg: float,
    weights: Weights = ...,
    method: str = ...,
    *,
    log: Literal[True],
    **options: Unpack[LoopedMeans],
) -> tuple[ArrayT, BarycenterLog]: ...
@public
def convolutional_barycenter2d(
    A: Matrix,
    reg: float,
    weights: Weights = None,
    method: str = "sinkhorn",
    numItermax: int = 10000,
    stopThr: float = 1e-4,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    **kwargs: object,
) -> Array | tuple[Array, BarycenterLog]:
    """The barycenter of images, shape (K, width, height), each axis from 0 to 1; arguments as of ``barycenter``."""
    known(convolutional_barycenter2d, kwargs)
    return _of_images(A, reg, weights, method, numItermax, stopThr, verbose, log, warn, False)


@overload
def convolutional_barycenter2d_debiased(
    A: ArrayT,
    reg: float,
    weights: Weights = ...,
    method: str = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[LoopedMeans],
) -> ArrayT: ...
@overload
def convolutional_barycenter2d_debiased(
    A: ArrayT,
    reg: float,
    weights: Weights = ...,
    method: str = ...,
    *,
    log: Literal[True],
    **options: Unpack[LoopedMeans],
) -> tuple[ArrayT, BarycenterLog]: ...
@public
def convolutional_barycenter2d_debiased(
    A: Matrix,
    reg: float,
    weights: Weights = None,
    method: str = "sinkhorn",
    numItermax: int = 10000,
    stopThr: float = 1e-3,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    **kwargs: object,
) -> Array | tuple[Array, BarycenterLog]:
    """The debiased barycenter of images, see `convolutional_barycenter2d`."""
    known(convolutional_barycenter2d_debiased, kwargs)
    return _of_images(A, reg, weights, method, numItermax, stopThr, verbose, log, warn, True)


def _barycenter(A: Any, M: Any, reg: Any, weights: Any, *rest: Any) -> Array | tuple[Array, BarycenterLog]:
    A, M, weights = read(A, M, weights)
    refuse_gradients("barycenter", INSTEAD, A, M, weights)
    home = home_of_results(A, M)
    if weights is not None and len(weights) != A.shape[1]:
        raise AssertionError(f"weights has {len(weights)} entries and A {A.shape[1]} columns; give one for each")
    return _called(home, on_host(M), on_host(A).T, (M.shape[1],), reg, weights, *rest)


def _of_images(A: Any, reg: Any, weights: Any, *rest: Any) -> Array | tuple[Array, BarycenterLog]:
    if isinstance(A, list | tuple):
        A = np.stack([on_host(x) for x in A])
    A, weights = read(A, weights)
    refuse_gradients("convolutional_barycenter2d", INSTEAD, A, weights)
    grid = Grid([np.linspace(0.0, 1.0, size) for size in A.shape[1:]])
    return _called(home_of_results(A), grid, on_host(A), tuple(A.shape[1:]), reg, weights, *rest)


def _called(
    home: Home,
    cost: Any,
    measures: Any,
    shape: tuple[int, ...],
    reg: Any,
    weights: Any,
    method: str,
    max_iter: int,
    stop: float,
    verbose: bool,
    log: bool,
    warn: bool,
    debiased: bool,
) -> Array | tuple[Array, BarycenterLog]:
    found = common(
        cost,
        np.asarray(measures, np.float64),
        None if weights is None else on_host(weights),
        epsilon=float(reg),
        debiased=debiased,
        method=method_of(method),  # type: ignore[arg-type]
        tol=threshold(stop),
        max_iter=int(max_iter),
        callback=printer(verbose),
        on_failure="warn" if warn else "ignore",
    )
    return answer(
        log,
        home.give(found.weights.reshape(shape)),
        lambda: {"err": [float(x) for x in found.history.residual], "niter": found.n_iter, "solution": found},
    )
