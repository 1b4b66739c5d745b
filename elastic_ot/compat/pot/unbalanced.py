"""Relaxed entropic transport by POT's calls.

POT's `reg_m` is our strength ``KL(reg_m)``, one for both sides or a pair, of which an infinite one is a `Fixed` side.
With ``reg_type="kl"`` the entropy is KL(P | c), c = a b^T unless given, our reference "product"; with "entropy" it is
KL(P | 1), our "counting". ``log["total_cost"]`` is the objective that is minimised, masses included; POT's leaves the
terms ``sum(q) - sum(p)`` of every KL out, though the minimum depends on them.
"""

from __future__ import annotations

from typing import Any

from .arguments import Unsupported, known, method_of
from .entropic import Asked, log_of_solve
from .objective import chosen_cost, notes_of_relaxed, relaxed

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


def sinkhorn_unbalanced(
    a: Any,
    b: Any,
    M: Any,
    reg: Any,
    reg_m: Any,
    method: str = "sinkhorn",
    reg_type: str = "kl",
    c: Any = None,
    warmstart: Any = None,
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: Any,
) -> Any:
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
    known("sinkhorn_unbalanced", kwargs)
    how = Asked(numItermax, stopThr, verbose, method=method_of(method), warmstart=warmstart)
    found, both = relaxed(a, b, M, reg, reg_m, reg_type, c, how)
    if found.b.ndim == 2:
        return (found.linear_cost, log_of_solve(found)) if log else found.linear_cost
    plan = found.plan
    return (plan, notes_of_relaxed(found, plan, both, reg_type, c)) if log else plan


def sinkhorn_unbalanced2(
    a: Any,
    b: Any,
    M: Any,
    reg: Any,
    reg_m: Any,
    method: str = "sinkhorn",
    reg_type: str = "kl",
    c: Any = None,
    warmstart: Any = None,
    returnCost: str = "linear",
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: Any,
) -> Any:
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
    known("sinkhorn_unbalanced2", kwargs)
    how = Asked(numItermax, stopThr, verbose, method=method_of(method), warmstart=warmstart)
    found, both = relaxed(a, b, M, reg, reg_m, reg_type, c, how)
    if found.b.ndim == 2:
        return (found.linear_cost, log_of_solve(found)) if log else found.linear_cost
    return chosen_cost(notes_of_relaxed(found, found.plan, both, reg_type, c), returnCost, log)


def sinkhorn_knopp_unbalanced(
    a: Any,
    b: Any,
    M: Any,
    reg: Any,
    reg_m: Any,
    reg_type: str = "kl",
    c: Any = None,
    warmstart: Any = None,
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: Any,
) -> Any:
    """``sinkhorn_unbalanced`` with ``method="sinkhorn"``."""
    known("sinkhorn_knopp_unbalanced", kwargs, "method")
    return sinkhorn_unbalanced(
        a, b, M, reg, reg_m, "sinkhorn", reg_type, c, warmstart, numItermax, stopThr, verbose, log
    )


def sinkhorn_stabilized_unbalanced(
    a: Any,
    b: Any,
    M: Any,
    reg: Any,
    reg_m: Any,
    reg_type: str = "kl",
    c: Any = None,
    warmstart: Any = None,
    tau: float = 1e5,
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: Any,
) -> Any:
    """``sinkhorn_unbalanced`` with ``method="sinkhorn_stabilized"``; `tau` is ignored."""
    name = "sinkhorn_stabilized"
    return sinkhorn_unbalanced(
        a, b, M, reg, reg_m, name, reg_type, c, warmstart, numItermax, stopThr, verbose, log, **kwargs
    )


def sinkhorn_unbalanced_translation_invariant(
    a: Any,
    b: Any,
    M: Any,
    reg: Any,
    reg_m: Any,
    reg_type: str = "kl",
    c: Any = None,
    warmstart: Any = None,
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: Any,
) -> Any:
    """``sinkhorn_unbalanced``: our sweeps translate the potentials in any case."""
    name = "sinkhorn_translation_invariant"
    return sinkhorn_unbalanced(
        a, b, M, reg, reg_m, name, reg_type, c, warmstart, numItermax, stopThr, verbose, log, **kwargs
    )


def mm_unbalanced(
    a: Any,
    b: Any,
    M: Any,
    reg_m: Any,
    c: Any = None,
    reg: float = 0,
    div: str = "kl",
    G0: Any = None,
    numItermax: int = 1000,
    stopThr: float = 1e-15,
    verbose: bool = False,
    log: bool = False,
) -> Any:
    """The plan of <M, P> + reg KL(P | c) + KL penalties, as by ``ot.unbalanced.mm_unbalanced``, for ``reg > 0``.

    Parameters
    ----------
    a, b, M, reg_m, c, numItermax, stopThr, verbose, log
        As for ``sinkhorn_unbalanced``. The threshold is one for the marginals.
    reg : float
        Strength of the entropy; 0, POT's default, is refused: with KL or L2 penalties there is no solver without
        entropy here.
    div : {"kl"}
        "l2" is refused: in POT it makes the entropy a square as well.
    G0
        Ignored, where to begin.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> half = [0.5, 0.5]
    >>> ot.unbalanced.mm_unbalanced(half, half, [[1.0, 36.0], [9.0, 4.0]], 5, reg=1, div="kl").round(2)
    array([[0.43, 0.  ],
           [0.  , 0.33]])
    """
    if str(div).lower() not in ("kl", "l2"):
        raise ValueError(f"div is {div!r}; choose from 'kl', 'l2'")
    if str(div).lower() != "kl":
        raise Unsupported("div='l2' makes reg a squared penalty, which elastic_ot has not; use POT, or div='kl'")
    return lbfgsb_unbalanced(a, b, M, reg, reg_m, c, "kl", "kl", G0, numItermax, stopThr, "auto", verbose, log)


def mm_unbalanced2(
    a: Any,
    b: Any,
    M: Any,
    reg_m: Any,
    c: Any = None,
    reg: float = 0,
    div: str = "kl",
    G0: Any = None,
    returnCost: str = "linear",
    numItermax: int = 1000,
    stopThr: float = 1e-15,
    verbose: bool = False,
    log: bool = False,
) -> Any:
    """The cost of `mm_unbalanced`: <M, P>, or with ``returnCost="total"`` the objective."""
    _, notes = mm_unbalanced(a, b, M, reg_m, c, reg, div, G0, numItermax, stopThr, verbose, True)
    return chosen_cost(notes, returnCost, log)


def lbfgsb_unbalanced(
    a: Any,
    b: Any,
    M: Any,
    reg: Any,
    reg_m: Any,
    c: Any = None,
    reg_div: Any = "kl",
    regm_div: str = "kl",
    G0: Any = None,
    numItermax: int = 1000,
    stopThr: float = 1e-15,
    method: str = "L-BFGS-B",
    verbose: bool = False,
    log: bool = False,
) -> Any:
    """The plan with entropy and penalties of any kind, as by ``ot.unbalanced.lbfgsb_unbalanced``, for ``reg > 0``.

    Parameters
    ----------
    a, b, M, reg, reg_m, c, numItermax, stopThr, verbose, log
        As for ``sinkhorn_unbalanced``.
    reg_div : {"kl", "entropy"}
        The entropy; "l2" and functions are refused.
    regm_div : {"kl", "l2", "tv"}
        The penalty of both sides: `KL`, `L2` (a half square, as in POT) or `TV`.
    G0
        Ignored, where to begin.
    method
        Ignored.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> half, cost = [0.5, 0.5], [[0.0, 9.0], [9.0, 0.0]]
    >>> ot.unbalanced.lbfgsb_unbalanced(half, half, cost, reg=0.1, reg_m=1.0, regm_div="tv").round(3)
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    if not isinstance(reg_div, str) or reg_div.lower() not in ("kl", "entropy"):
        if isinstance(reg_div, str) and reg_div.lower() != "l2":
            raise ValueError(f"reg_div is {reg_div!r}; choose from 'kl', 'entropy'")
        raise Unsupported("reg is the strength of an entropy here: reg_div 'kl' or 'entropy'; for others use POT")
    if reg == 0:
        raise Unsupported(
            f"reg is 0 and the penalty {regm_div!r}; give a reg > 0, or call elastic_ot.exact with TV sides, the "
            f"penalty that it takes without entropy"
        )
    how = Asked(numItermax, stopThr, verbose)
    found, both = relaxed(a, b, M, reg, reg_m, reg_div, c, how, regm_div)
    plan = found.plan
    return (plan, notes_of_relaxed(found, plan, both, reg_div, c)) if log else plan


def lbfgsb_unbalanced2(
    a: Any,
    b: Any,
    M: Any,
    reg: Any,
    reg_m: Any,
    c: Any = None,
    reg_div: Any = "kl",
    regm_div: str = "kl",
    G0: Any = None,
    returnCost: str = "linear",
    numItermax: int = 1000,
    stopThr: float = 1e-15,
    method: str = "L-BFGS-B",
    verbose: bool = False,
    log: bool = False,
) -> Any:
    """The cost of `lbfgsb_unbalanced`: <M, P>, or with ``returnCost="total"`` the objective."""
    _, notes = lbfgsb_unbalanced(
        a, b, M, reg, reg_m, c, reg_div, regm_div, G0, numItermax, stopThr, method, verbose, True
    )
    return chosen_cost(notes, returnCost, log)
