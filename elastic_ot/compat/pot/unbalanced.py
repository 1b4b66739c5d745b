"""Relaxed entropic transport by POT's calls.

POT's `reg_m` is our strength ``KL(reg_m)``, one for both sides or a pair, of which an infinite one is a `Fixed` side.
With ``reg_type="kl"`` the entropy is KL(P | c), c = a b^T unless given, our reference "product"; with "entropy" it is
KL(P | 1), our "counting". ``log["total_cost"]`` is the objective that is minimised, masses included; POT's leaves the
terms ``sum(q) - sum(p)`` of every KL out, though the minimum depends on them.
"""

from __future__ import annotations

from typing import Literal, Unpack, overload

from ...calls import public
from ...typing import Array, ArrayT
from .arguments import known, method_of
from .entropic import Asked
from .objective import chosen_cost, plan_of_relaxed, relaxed
from .penalised import lbfgsb_unbalanced, lbfgsb_unbalanced2, mm_unbalanced, mm_unbalanced2
from .types import EntropicLog, Matrix, Relaxed, Scalings, Strength, Strengths, Weights

__all__ = [
    "lbfgsb_unbalanced",
    "lbfgsb_unbalanced2",
    "mm_unbalanced",
    "mm_unbalanced2",
    "sinkhorn_knopp_unbalanced",
    "sinkhorn_stabilized_unbalanced",
    "sinkhorn_unbalanced",
    "sinkhorn_unbalanced2",
    "sinkhorn_unbalanced_translation_invariant",
]


@overload
def sinkhorn_unbalanced(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    method: str = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[Relaxed],
) -> ArrayT: ...
@overload
def sinkhorn_unbalanced(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    method: str = ...,
    *,
    log: Literal[True],
    **options: Unpack[Relaxed],
) -> tuple[ArrayT, EntropicLog]: ...
@public
def sinkhorn_unbalanced(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    reg_m: Strengths,
    method: str = "sinkhorn",
    reg_type: str = "kl",
    c: Matrix | None = None,
    warmstart: Scalings | None = None,
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog]:
    """The plan of relaxed entropic transport, as by ``ot.unbalanced.sinkhorn_unbalanced``: `solve` with `KL` sides.

    Parameters
    ----------
    a, b : array_like, shapes (n,) and (m,), or (m, K)
        Weights; an empty list or None for uniform ones. With K histograms the costs of transport are returned, shape
        (K,), and the entropy is that of "entropy", as in POT.
    M : array_like, shape (n, m)
        Costs.
    reg : float
        Strength of the entropy.
    reg_m : float or pair
        Strength of the penalties KL(P 1 | a) and KL(P^T 1 | b); ``inf`` for a hard side.
    method : str
        As for `sinkhorn`, and "sinkhorn_translation_invariant" and "sinkhorn_reg_scaling".
    reg_type : {"kl", "entropy"}
        The entropy: KL(P | c), or KL(P | 1).
    c : array_like, shape (n, m), optional
        Default a b^T.
    warmstart : (log u, log v), optional
        As in POT; not read where derivatives are wanted.
    numItermax, stopThr, verbose, log, **kwargs
        As for `sinkhorn`. POT stops on the change of the scalings, which can be small far from the solution; here the
        marginals and the duality gap decide.

    Returns
    -------
    plan : array, shape (n, m)
        Differentiable as that of `sinkhorn`, in `c` as well.
    log : dict
        As for `sinkhorn`, with "cost", <M, P>, and "total_cost", the objective.

    Warns
    -----
    ConvergenceWarning
        A UserWarning: it did not converge, where POT says nothing.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> ot.unbalanced.sinkhorn_unbalanced([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], 1, 1).round(4)
    array([[0.3221, 0.1185],
           [0.1185, 0.3221]])
    """
    known(sinkhorn_unbalanced, kwargs)
    how = Asked(numItermax, stopThr, verbose, method=method_of(method), warmstart=warmstart)
    found, both = relaxed(a, b, M, reg, reg_m, reg_type, c, how)
    return plan_of_relaxed(found, both, reg_type, c, log)


@overload
def sinkhorn_unbalanced2(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    method: str = ...,
    *,
    log: Literal[False] = ...,
    returnCost: str = ...,
    **options: Unpack[Relaxed],
) -> ArrayT: ...
@overload
def sinkhorn_unbalanced2(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    method: str = ...,
    *,
    log: Literal[True],
    returnCost: str = ...,
    **options: Unpack[Relaxed],
) -> tuple[ArrayT, EntropicLog]: ...
@public
def sinkhorn_unbalanced2(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    reg_m: Strengths,
    method: str = "sinkhorn",
    reg_type: str = "kl",
    c: Matrix | None = None,
    warmstart: Scalings | None = None,
    returnCost: str = "linear",
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog]:
    """The cost of relaxed entropic transport, as by ``ot.unbalanced.sinkhorn_unbalanced2``.

    Parameters
    ----------
    returnCost : {"linear", "total"}
        <M, P>, or the objective with entropy and penalties.
    a, b, M, reg, reg_m, method, reg_type, c, warmstart, numItermax, stopThr, verbose, log, **kwargs
        As for ``sinkhorn_unbalanced``.

    Returns
    -------
    number, or array of shape (K,)
    log : dict

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> half = [0.5, 0.5]
    >>> round(float(ot.unbalanced.sinkhorn_unbalanced2(half, half, [[0.0, 1.0], [1.0, 0.0]], 1, 1)), 4)
    0.2369
    """
    known(sinkhorn_unbalanced2, kwargs)
    how = Asked(numItermax, stopThr, verbose, method=method_of(method), warmstart=warmstart)
    found, both = relaxed(a, b, M, reg, reg_m, reg_type, c, how)
    return chosen_cost(found, both, reg_type, c, returnCost, log)


@overload
def sinkhorn_knopp_unbalanced(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    *,
    log: Literal[False] = ...,
    **options: Unpack[Relaxed],
) -> ArrayT: ...
@overload
def sinkhorn_knopp_unbalanced(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    *,
    log: Literal[True],
    **options: Unpack[Relaxed],
) -> tuple[ArrayT, EntropicLog]: ...
@public
def sinkhorn_knopp_unbalanced(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    reg_m: Strengths,
    reg_type: str = "kl",
    c: Matrix | None = None,
    warmstart: Scalings | None = None,
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog]:
    """``sinkhorn_unbalanced`` with ``method="sinkhorn"``."""
    known(sinkhorn_knopp_unbalanced, kwargs, "method")
    how = Asked(numItermax, stopThr, verbose, warmstart=warmstart)
    return plan_of_relaxed(*relaxed(a, b, M, reg, reg_m, reg_type, c, how), reg_type, c, log)


@overload
def sinkhorn_stabilized_unbalanced(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    *,
    log: Literal[False] = ...,
    **options: Unpack[Relaxed],
) -> ArrayT: ...
@overload
def sinkhorn_stabilized_unbalanced(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    *,
    log: Literal[True],
    **options: Unpack[Relaxed],
) -> tuple[ArrayT, EntropicLog]: ...
@public
def sinkhorn_stabilized_unbalanced(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    reg_m: Strengths,
    reg_type: str = "kl",
    c: Matrix | None = None,
    warmstart: Scalings | None = None,
    tau: float = 1e5,
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog]:
    """``sinkhorn_unbalanced`` with ``method="sinkhorn_stabilized"``; `tau` is ignored."""
    known(sinkhorn_stabilized_unbalanced, kwargs)
    how = Asked(numItermax, stopThr, verbose, warmstart=warmstart)
    return plan_of_relaxed(*relaxed(a, b, M, reg, reg_m, reg_type, c, how), reg_type, c, log)


@overload
def sinkhorn_unbalanced_translation_invariant(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    *,
    log: Literal[False] = ...,
    **options: Unpack[Relaxed],
) -> ArrayT: ...
@overload
def sinkhorn_unbalanced_translation_invariant(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    *,
    log: Literal[True],
    **options: Unpack[Relaxed],
) -> tuple[ArrayT, EntropicLog]: ...
@public
def sinkhorn_unbalanced_translation_invariant(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    reg_m: Strengths,
    reg_type: str = "kl",
    c: Matrix | None = None,
    warmstart: Scalings | None = None,
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: object,
) -> Array | tuple[Array, EntropicLog]:
    """``sinkhorn_unbalanced``: our sweeps translate the potentials in any case."""
    known(sinkhorn_unbalanced_translation_invariant, kwargs)
    how = Asked(numItermax, stopThr, verbose, warmstart=warmstart)
    return plan_of_relaxed(*relaxed(a, b, M, reg, reg_m, reg_type, c, how), reg_type, c, log)
