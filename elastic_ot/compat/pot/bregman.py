"""Balanced entropic transport by POT's calls: the family of `sinkhorn`, barycenters, empirical distances."""

from __future__ import annotations

from typing import Literal, Unpack, overload

from ...calls import public
from ...typing import Array, ArrayT
from .arguments import known, method_of
from .barycenters import (
    barycenter,
    barycenter_debiased,
    barycenter_sinkhorn,
    barycenter_stabilized,
    convolutional_barycenter2d,
    convolutional_barycenter2d_debiased,
)
from .empirical import empirical_sinkhorn, empirical_sinkhorn2, empirical_sinkhorn_divergence
from .entropic import Asked, Entropic, entropic, log_of_solve
from .types import EntropicLog, Entropy, LoopedEntropy, Matrix, Scalings, Strength, Weights, answer

__all__ = [
    "barycenter",
    "barycenter_debiased",
    "barycenter_sinkhorn",
    "barycenter_stabilized",
    "convolutional_barycenter2d",
    "convolutional_barycenter2d_debiased",
    "empirical_sinkhorn",
    "empirical_sinkhorn2",
    "empirical_sinkhorn_divergence",
    "greenkhorn",
    "sinkhorn",
    "sinkhorn2",
    "sinkhorn_epsilon_scaling",
    "sinkhorn_knopp",
    "sinkhorn_log",
    "sinkhorn_stabilized",
]


@overload
def sinkhorn(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    method: str = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[LoopedEntropy],
) -> ArrayT: ...
@overload
def sinkhorn(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    method: str = ...,
    *,
    log: Literal[True],
    **options: Unpack[LoopedEntropy],
) -> tuple[ArrayT, EntropicLog]: ...
@public
def sinkhorn(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    method: str = "sinkhorn",
    numItermax: int = 1000,
    stopThr: float = 1e-9,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    warmstart: Scalings | None = None,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog]:
    """The entropic plan, as by ``ot.sinkhorn``: `elastic_ot.solve` with two `Fixed` sides.

    Parameters
    ----------
    a, b : array_like, shapes (n,) and (m,), or (m, K)
        Weights; an empty list or None for uniform ones. With K histograms the costs of transport are returned, shape
        (K,).
    M : array_like, shape (n, m)
        Costs; ``inf`` forbids a cell.
    reg : float
        Strength of the entropy, our `epsilon`.
    method : str
        POT's names ("sinkhorn", "sinkhorn_log", "sinkhorn_stabilized", "sinkhorn_epsilon_scaling", "greenkhorn",
        "screenkhorn") are all our "auto", which chooses; to force one of ours, give its name, such as "log" or
        "newton". All have the same answer.
    numItermax : int
        Passes over the costs at most.
    stopThr : float
        Threshold for the error of the marginals: the L1 error here, which is never less than the L2 norm that POT
        takes. Below 1e-12 it is 1e-12.
    verbose, log, warn : bool
        Print the error of the iterations; return the dictionary; warn if it did not converge.
    warmstart : (log u, log v), optional
        As in POT; not read where derivatives are wanted.
    **kwargs
        What only steers POT's own loops, such as ``tau``, is ignored; anything else is refused.

    Returns
    -------
    plan : array, shape (n, m)
        In the library and dtype of `M`, differentiable in PyTorch and JAX in `a`, `b`, `M` and `reg`, by the implicit
        function theorem where POT differentiates its iterations.
    log : dict
        "u", "v", "log_u", "log_v", "alpha" and "beta" (these in units of the cost), "err", "niter", "warmstart", and
        "solution", ours.

    Raises
    ------
    InfeasibleError
        The masses of `a` and `b` differ, for which POT's iterations have no limit.
    Unsupported, ValueError, TypeError
        Arguments that are not known here, with the way out.

    Warns
    -----
    ConvergenceWarning
        A UserWarning: it did not converge.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> ot.sinkhorn([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], 1).round(4)
    array([[0.3655, 0.1345],
           [0.1345, 0.3655]])
    """
    known(sinkhorn, kwargs)
    found = entropic(M, a, b, reg, Asked(numItermax, stopThr, verbose, warn, method_of(method), warmstart))
    return _plan(found, log)


@overload
def sinkhorn2(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    method: str = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[LoopedEntropy],
) -> ArrayT: ...
@overload
def sinkhorn2(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    method: str = ...,
    *,
    log: Literal[True],
    **options: Unpack[LoopedEntropy],
) -> tuple[ArrayT, EntropicLog]: ...
@public
def sinkhorn2(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    method: str = "sinkhorn",
    numItermax: int = 1000,
    stopThr: float = 1e-9,
    verbose: bool = False,
    log: bool = False,
    warn: bool = False,
    warmstart: Scalings | None = None,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog]:
    """The cost of the entropic plan <M, P>, without the entropy, as by ``ot.sinkhorn2``; arguments as of `sinkhorn`.

    Returns
    -------
    number, or array of shape (K,)
        Differentiable as the plan is.
    log : dict
        As of `sinkhorn`.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> round(float(ot.sinkhorn2([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], 1)), 6)
    0.268941
    """
    known(sinkhorn2, kwargs)
    found = entropic(M, a, b, reg, Asked(numItermax, stopThr, verbose, warn, method_of(method), warmstart))
    return answer(log, found.linear_cost, lambda: log_of_solve(found))


@overload
def sinkhorn_knopp(
    a: Weights, b: Weights, M: ArrayT, reg: Strength, *, log: Literal[False] = ..., **options: Unpack[LoopedEntropy]
) -> ArrayT: ...
@overload
def sinkhorn_knopp(
    a: Weights, b: Weights, M: ArrayT, reg: Strength, *, log: Literal[True], **options: Unpack[LoopedEntropy]
) -> tuple[ArrayT, EntropicLog]: ...
@public
def sinkhorn_knopp(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    numItermax: int = 1000,
    stopThr: float = 1e-9,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    warmstart: Scalings | None = None,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog]:
    """`sinkhorn` with ``method="sinkhorn"``."""
    known(sinkhorn_knopp, kwargs)
    return _plan(entropic(M, a, b, reg, Asked(numItermax, stopThr, verbose, warn, warmstart=warmstart)), log)


@overload
def sinkhorn_log(
    a: Weights, b: Weights, M: ArrayT, reg: Strength, *, log: Literal[False] = ..., **options: Unpack[LoopedEntropy]
) -> ArrayT: ...
@overload
def sinkhorn_log(
    a: Weights, b: Weights, M: ArrayT, reg: Strength, *, log: Literal[True], **options: Unpack[LoopedEntropy]
) -> tuple[ArrayT, EntropicLog]: ...
@public
def sinkhorn_log(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    numItermax: int = 1000,
    stopThr: float = 1e-9,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    warmstart: Scalings | None = None,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog]:
    """`sinkhorn` with ``method="sinkhorn_log"``."""
    known(sinkhorn_log, kwargs)
    return _plan(entropic(M, a, b, reg, Asked(numItermax, stopThr, verbose, warn, warmstart=warmstart)), log)


@overload
def greenkhorn(
    a: Weights, b: Weights, M: ArrayT, reg: Strength, *, log: Literal[False] = ..., **options: Unpack[Entropy]
) -> ArrayT: ...
@overload
def greenkhorn(
    a: Weights, b: Weights, M: ArrayT, reg: Strength, *, log: Literal[True], **options: Unpack[Entropy]
) -> tuple[ArrayT, EntropicLog]: ...
@public
def greenkhorn(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    numItermax: int = 10000,
    stopThr: float = 1e-9,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    warmstart: Scalings | None = None,
) -> Array | tuple[Array, EntropicLog]:
    """`sinkhorn` with ``method="greenkhorn"``: the same plan; rows and columns are updated all together."""
    return _plan(entropic(M, a, b, reg, Asked(numItermax, stopThr, verbose, warn, warmstart=warmstart)), log)


@overload
def sinkhorn_stabilized(
    a: Weights, b: Weights, M: ArrayT, reg: Strength, *, log: Literal[False] = ..., **options: Unpack[LoopedEntropy]
) -> ArrayT: ...
@overload
def sinkhorn_stabilized(
    a: Weights, b: Weights, M: ArrayT, reg: Strength, *, log: Literal[True], **options: Unpack[LoopedEntropy]
) -> tuple[ArrayT, EntropicLog]: ...
@public
def sinkhorn_stabilized(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    numItermax: int = 1000,
    tau: float = 1e3,
    stopThr: float = 1e-9,
    warmstart: Scalings | None = None,
    verbose: bool = False,
    print_period: int = 20,
    log: bool = False,
    warn: bool = True,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog]:
    """`sinkhorn` with ``method="sinkhorn_stabilized"``; `tau` and `print_period` are ignored."""
    known(sinkhorn_stabilized, kwargs)
    return _plan(entropic(M, a, b, reg, Asked(numItermax, stopThr, verbose, warn, warmstart=warmstart)), log)


@overload
def sinkhorn_epsilon_scaling(
    a: Weights, b: Weights, M: ArrayT, reg: Strength, *, log: Literal[False] = ..., **options: Unpack[LoopedEntropy]
) -> ArrayT: ...
@overload
def sinkhorn_epsilon_scaling(
    a: Weights, b: Weights, M: ArrayT, reg: Strength, *, log: Literal[True], **options: Unpack[LoopedEntropy]
) -> tuple[ArrayT, EntropicLog]: ...
@public
def sinkhorn_epsilon_scaling(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    numItermax: int = 100,
    epsilon0: float = 1e4,
    numInnerItermax: int = 100,
    tau: float = 1e3,
    stopThr: float = 1e-9,
    warmstart: Scalings | None = None,
    verbose: bool = False,
    print_period: int = 10,
    log: bool = False,
    warn: bool = True,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog]:
    """`sinkhorn` with ``method="sinkhorn_epsilon_scaling"``, of at most `numItermax` times `numInnerItermax` passes.

    `epsilon0`, `tau` and `print_period` are ignored.
    """
    known(sinkhorn_epsilon_scaling, kwargs)
    how = Asked(numItermax * numInnerItermax, stopThr, verbose, warn, warmstart=warmstart)
    return _plan(entropic(M, a, b, reg, how), log)


def _plan(found: Entropic, log: bool) -> Array | tuple[Array, EntropicLog]:
    """Return the plan, or the costs of transport of many histograms, with the dictionary if that was asked for."""
    return answer(log, found.linear_cost if found.b.ndim == 2 else found.plan, lambda: log_of_solve(found))
