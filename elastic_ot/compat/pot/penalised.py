"""Relaxed transport by those calls of POT that are named after a descent: any penalty, one entropy or none."""

from __future__ import annotations

from typing import Any, Literal, Unpack, overload

from ...calls import public
from ...typing import Array, ArrayT
from .arguments import Unsupported
from .entropic import Asked, Entropic, Sides
from .homes import refuse_gradients
from .objective import chosen_cost, name_of_cost, plan_of_relaxed, relaxed
from .types import Descent, EntropicLog, Matrix, Strength, Strengths, Weights, answer
from .without_entropy import relaxed_of_call


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
    """The plan of <M, P> + reg KL(P | c) + penalties, as by ``ot.unbalanced.mm_unbalanced``.

    Parameters
    ----------
    a, b, M, reg_m, c, numItermax, stopThr, verbose, log
        As for ``sinkhorn_unbalanced``. The threshold is one for the marginals.
    reg : float
        Strength of the entropy. Without one the objective is within 1e-8 of the least, relative to its value or to the
        range of the costs times the mass, which potentials prove (``log["solution"].gap``), or there is a
        `ConvergenceWarning`; `numItermax` and `stopThr` are then ignored, and there are no derivatives. Rows and
        columns without weight stay empty.
    div : {"kl", "l2"}
        The penalty. "l2" is for ``reg=0`` only: with an entropy POT makes that a square as well.
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
    kind = _penalty_of(div, reg)
    return _plan(a, b, M, reg, reg_m, c, "kl", kind, Asked(numItermax, stopThr, verbose), log)


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
    kind = _penalty_of(div, reg)
    return _cost(a, b, M, reg, reg_m, c, "kl", kind, Asked(numItermax, stopThr, verbose), returnCost, log)


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
    """The plan with penalties of any kind, with entropy or without, as by ``ot.unbalanced.lbfgsb_unbalanced``.

    Parameters
    ----------
    a, b, M, reg_m, c, numItermax, stopThr, verbose, log
        As for ``sinkhorn_unbalanced``.
    reg : float
        Strength of the entropy; 0 as in ``mm_unbalanced``.
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
    return _plan(a, b, M, reg, reg_m, c, reg_div, regm_div, Asked(numItermax, stopThr, verbose), log)


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
    how = Asked(numItermax, stopThr, verbose)
    return _cost(a, b, M, reg, reg_m, c, reg_div, regm_div, how, returnCost, log)


def _penalty_of(div: str, reg: Any) -> str:
    """Return the kind of penalty of `mm_unbalanced`, which with an entropy is KL."""
    if str(div).lower() not in ("kl", "l2"):
        raise ValueError(f"div is {div!r}; choose from 'kl', 'l2'")
    if str(div).lower() != "kl" and reg != 0:
        raise Unsupported("div='l2' makes reg a squared penalty, which elastic_ot has not; use POT, div='kl', or reg=0")
    return str(div).lower()


def _plan(
    a: Any, b: Any, M: Any, reg: Any, reg_m: Any, c: Any, reg_div: Any, regm_div: str, how: Asked, log: bool
) -> Array | tuple[Array, EntropicLog]:
    if reg != 0:
        return plan_of_relaxed(*_solved(a, b, M, reg, reg_m, c, reg_div, regm_div, how), c, log)
    plan, notes = _without_entropy(a, b, M, reg_m, regm_div, how)
    return answer(log, plan, lambda: notes)


def _cost(
    a: Any, b: Any, M: Any, reg: Any, reg_m: Any, c: Any, reg_div: Any, regm_div: str, how: Asked, which: str, log: bool
) -> Array | tuple[Array, EntropicLog]:
    name = name_of_cost(which)
    if reg != 0:
        found, both, entropy = _solved(a, b, M, reg, reg_m, c, reg_div, regm_div, how)
        return chosen_cost(found, both, entropy, c, which, log)
    _, notes = _without_entropy(a, b, M, reg_m, regm_div, how)
    return answer(log, notes[name], lambda: notes)


def _without_entropy(a: Any, b: Any, M: Any, reg_m: Any, kind: str, how: Asked) -> tuple[Array, EntropicLog]:
    refuse_gradients("a relaxed plan without entropy", "give a reg > 0, or take the value of solve", M, a, b)
    found, home, *_ = relaxed_of_call(a, b, M, reg_m, kind, how.verbose)
    costs = {"cost": home.give(found.transport_cost), "total_cost": home.give(found.value)}
    notes: Any = costs | {"err": found.err, "solution": found}
    return home.give(found.plan), notes


def _solved(
    a: Any, b: Any, M: Any, reg: Any, reg_m: Any, c: Any, reg_div: Any, regm_div: str, how: Asked
) -> tuple[Entropic, Sides, str]:
    """Solve with this entropy and these penalties; return the kind of the entropy as well."""
    if not isinstance(reg_div, str) or reg_div.lower() not in ("kl", "entropy"):
        if isinstance(reg_div, str) and reg_div.lower() != "l2":
            raise ValueError(f"reg_div is {reg_div!r}; choose from 'kl', 'entropy'")
        raise Unsupported("reg is the strength of an entropy here: reg_div 'kl' or 'entropy'; for others use POT")
    return *relaxed(a, b, M, reg, reg_m, reg_div, c, how, regm_div), reg_div
