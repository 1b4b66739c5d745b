"""Relaxed entropic transport by those calls of POT that are named after a descent: any penalty, one entropy."""

from __future__ import annotations

from typing import Any, Literal, Unpack, overload

from ...calls import public
from ...typing import Array, ArrayT
from .arguments import Unsupported
from .entropic import Asked, Entropic, Sides
from .objective import chosen_cost, plan_of_relaxed, relaxed
from .types import Descent, EntropicLog, Matrix, Strength, Strengths, Weights


@overload
def mm_unbalanced(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg_m: Strengths,
    c: Matrix | None = ...,
    reg: Strength = ...,
    div: str = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[Descent],
) -> ArrayT: ...
@overload
def mm_unbalanced(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg_m: Strengths,
    c: Matrix | None = ...,
    reg: Strength = ...,
    div: str = ...,
    *,
    log: Literal[True],
    **options: Unpack[Descent],
) -> tuple[ArrayT, EntropicLog]: ...
@public
def mm_unbalanced(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg_m: Strengths,
    c: Matrix | None = None,
    reg: Strength = 0,
    div: str = "kl",
    G0: Matrix | None = None,
    numItermax: int = 1000,
    stopThr: float = 1e-15,
    verbose: bool = False,
    log: bool = False,
) -> Array | tuple[Array, EntropicLog]:
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
    _refuse_div(div)
    return plan_of_relaxed(*_solved(a, b, M, reg, reg_m, c, "kl", "kl", Asked(numItermax, stopThr, verbose)), c, log)


@overload
def mm_unbalanced2(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg_m: Strengths,
    c: Matrix | None = ...,
    reg: Strength = ...,
    div: str = ...,
    *,
    log: Literal[False] = ...,
    returnCost: str = ...,
    **options: Unpack[Descent],
) -> ArrayT: ...
@overload
def mm_unbalanced2(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg_m: Strengths,
    c: Matrix | None = ...,
    reg: Strength = ...,
    div: str = ...,
    *,
    log: Literal[True],
    returnCost: str = ...,
    **options: Unpack[Descent],
) -> tuple[ArrayT, EntropicLog]: ...
@public
def mm_unbalanced2(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg_m: Strengths,
    c: Matrix | None = None,
    reg: Strength = 0,
    div: str = "kl",
    G0: Matrix | None = None,
    returnCost: str = "linear",
    numItermax: int = 1000,
    stopThr: float = 1e-15,
    verbose: bool = False,
    log: bool = False,
) -> Array | tuple[Array, EntropicLog]:
    """The cost of `mm_unbalanced`: <M, P>, or with ``returnCost="total"`` the objective."""
    _refuse_div(div)
    found, both, entropy = _solved(a, b, M, reg, reg_m, c, "kl", "kl", Asked(numItermax, stopThr, verbose))
    return chosen_cost(found, both, entropy, c, returnCost, log)


@overload
def lbfgsb_unbalanced(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    c: Matrix | None = ...,
    reg_div: str = ...,
    regm_div: str = ...,
    *,
    method: str = ...,
    log: Literal[False] = ...,
    **options: Unpack[Descent],
) -> ArrayT: ...
@overload
def lbfgsb_unbalanced(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    c: Matrix | None = ...,
    reg_div: str = ...,
    regm_div: str = ...,
    *,
    method: str = ...,
    log: Literal[True],
    **options: Unpack[Descent],
) -> tuple[ArrayT, EntropicLog]: ...
@public
def lbfgsb_unbalanced(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    reg_m: Strengths,
    c: Matrix | None = None,
    reg_div: str = "kl",
    regm_div: str = "kl",
    G0: Matrix | None = None,
    numItermax: int = 1000,
    stopThr: float = 1e-15,
    method: str = "L-BFGS-B",
    verbose: bool = False,
    log: bool = False,
) -> Array | tuple[Array, EntropicLog]:
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
    return plan_of_relaxed(
        *_solved(a, b, M, reg, reg_m, c, reg_div, regm_div, Asked(numItermax, stopThr, verbose)), c, log
    )


@overload
def lbfgsb_unbalanced2(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    c: Matrix | None = ...,
    reg_div: str = ...,
    regm_div: str = ...,
    *,
    method: str = ...,
    log: Literal[False] = ...,
    returnCost: str = ...,
    **options: Unpack[Descent],
) -> ArrayT: ...
@overload
def lbfgsb_unbalanced2(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: Strength,
    reg_m: Strengths,
    c: Matrix | None = ...,
    reg_div: str = ...,
    regm_div: str = ...,
    *,
    method: str = ...,
    log: Literal[True],
    returnCost: str = ...,
    **options: Unpack[Descent],
) -> tuple[ArrayT, EntropicLog]: ...
@public
def lbfgsb_unbalanced2(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: Strength,
    reg_m: Strengths,
    c: Matrix | None = None,
    reg_div: str = "kl",
    regm_div: str = "kl",
    G0: Matrix | None = None,
    returnCost: str = "linear",
    numItermax: int = 1000,
    stopThr: float = 1e-15,
    method: str = "L-BFGS-B",
    verbose: bool = False,
    log: bool = False,
) -> Array | tuple[Array, EntropicLog]:
    """The cost of `lbfgsb_unbalanced`: <M, P>, or with ``returnCost="total"`` the objective."""
    found, both, entropy = _solved(a, b, M, reg, reg_m, c, reg_div, regm_div, Asked(numItermax, stopThr, verbose))
    return chosen_cost(found, both, entropy, c, returnCost, log)


def _refuse_div(div: str) -> None:
    if str(div).lower() not in ("kl", "l2"):
        raise ValueError(f"div is {div!r}; choose from 'kl', 'l2'")
    if str(div).lower() != "kl":
        raise Unsupported("div='l2' makes reg a squared penalty, which elastic_ot has not; use POT, or div='kl'")


def _solved(
    a: Any, b: Any, M: Any, reg: Any, reg_m: Any, c: Any, reg_div: Any, regm_div: str, how: Asked
) -> tuple[Entropic, Sides, str]:
    """Solve with this entropy and these penalties; return the kind of the entropy as well."""
    if not isinstance(reg_div, str) or reg_div.lower() not in ("kl", "entropy"):
        if isinstance(reg_div, str) and reg_div.lower() != "l2":
            raise ValueError(f"reg_div is {reg_div!r}; choose from 'kl', 'entropy'")
        raise Unsupported("reg is the strength of an entropy here: reg_div 'kl' or 'entropy'; for others use POT")
    if reg == 0:
        raise Unsupported(
            f"reg is 0 and the penalty {regm_div!r}; give a reg > 0, or call elastic_ot.exact with TV sides, the "
            f"penalty that it takes without entropy"
        )
    return *relaxed(a, b, M, reg, reg_m, reg_div, c, how, regm_div), reg_div
