"""Gromov-Wasserstein by POT's calls, fused or not, with entropy (`elastic_ot.gromov`) and without.

The problem is not convex: what is found is a stationary plan, the one that the start leads to. POT's "square_loss" is
our "square", its "kl_loss" our "kl"; it adds 1e-18 to costs inside the logarithm, and so it is done here.
"""

from __future__ import annotations

from typing import Literal, Unpack, cast, overload

from ...calls import public
from ...typing import Array, ArrayT
from .co_optimal import (
    fused_unbalanced_across_spaces_divergence,
    unbalanced_co_optimal_transport,
    unbalanced_co_optimal_transport2,
)
from .gromov_entropic import (
    entropic_fused_gromov_wasserstein,
    entropic_fused_gromov_wasserstein2,
    entropic_gromov_wasserstein,
    entropic_gromov_wasserstein2,
)
from .relaxed_gromov import fused_unbalanced_gromov_wasserstein, fused_unbalanced_gromov_wasserstein2
from .spaces import descended, differentiable, notes_of, spaces_of
from .types import GromovLog, Matrix, Spaces, Strength, Weights, answer

__all__ = [
    "entropic_fused_gromov_wasserstein",
    "entropic_fused_gromov_wasserstein2",
    "entropic_gromov_wasserstein",
    "entropic_gromov_wasserstein2",
    "fused_gromov_wasserstein",
    "fused_gromov_wasserstein2",
    "fused_unbalanced_across_spaces_divergence",
    "fused_unbalanced_gromov_wasserstein",
    "fused_unbalanced_gromov_wasserstein2",
    "gromov_wasserstein",
    "gromov_wasserstein2",
    "unbalanced_co_optimal_transport",
    "unbalanced_co_optimal_transport2",
]


@overload
def gromov_wasserstein(
    C1: ArrayT, C2: Matrix, p: Weights = ..., q: Weights = ..., *, log: Literal[False] = ..., **options: Unpack[Spaces]
) -> ArrayT: ...
@overload
def gromov_wasserstein(
    C1: ArrayT, C2: Matrix, p: Weights = ..., q: Weights = ..., *, log: Literal[True], **options: Unpack[Spaces]
) -> tuple[ArrayT, GromovLog]: ...
@public
def gromov_wasserstein(
    C1: Matrix,
    C2: Matrix,
    p: Weights = None,
    q: Weights = None,
    loss_fun: str = "square_loss",
    symmetric: bool | None = None,
    log: bool = False,
    armijo: bool = False,
    G0: Matrix | None = None,
    max_iter: float = 1e4,
    tol_rel: float = 1e-9,
    tol_abs: float = 1e-9,
    **kwargs: object,
) -> Array | tuple[Array, GromovLog]:
    """The Gromov-Wasserstein plan without entropy, as by ``ot.gromov.gromov_wasserstein``: by conditional gradients.

    Parameters
    ----------
    C1, C2 : array_like, shapes (n, n) and (m, m)
        Costs within each space.
    p, q : array_like, shapes (n,) and (m,), optional
        Weights, uniform ones by default.
    loss_fun : {"square_loss", "kl_loss"}
        How costs are compared.
    symmetric
        Ignored: seen from the matrices.
    log : bool
        Return the dictionary as well.
    armijo
        Ignored: steps are the best ones.
    G0 : array_like, shape (n, m), optional
        The plan to begin with, with the marginals `p` and `q`; default p q^T.
    max_iter, tol_rel, tol_abs : float
        Steps at most, and changes of the objective that end the descent.
    **kwargs
        "alpha_min" and "alpha_max", bounds on the steps, "verbose"; those of POT's inner `emd` are ignored.

    Returns
    -------
    plan : array, shape (n, m)
    log : dict
        "gw_dist", "loss", "u", "v".

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> x = np.array([0.0, 1.0, 4.0])
    >>> C1 = np.abs(x[:, None] - x)
    >>> ot.gromov.gromov_wasserstein(C1, C1[::-1, ::-1], G0=np.eye(3)[::-1] / 3).argmax(axis=1)
    array([2, 1, 0])
    """
    spaces = spaces_of(None, C1, C2, p, q, loss_fun, 1.0)
    found = descended(gromov_wasserstein, spaces, G0, max_iter, tol_rel, tol_abs, kwargs)
    plan = spaces.home.give(found.plan)
    return answer(log, plan, lambda: notes_of(spaces.home, found, "gw_dist"))


@overload
def gromov_wasserstein2(
    C1: ArrayT, C2: Matrix, p: Weights = ..., q: Weights = ..., *, log: Literal[False] = ..., **options: Unpack[Spaces]
) -> ArrayT: ...
@overload
def gromov_wasserstein2(
    C1: ArrayT, C2: Matrix, p: Weights = ..., q: Weights = ..., *, log: Literal[True], **options: Unpack[Spaces]
) -> tuple[ArrayT, GromovLog]: ...
@public
def gromov_wasserstein2(
    C1: Matrix,
    C2: Matrix,
    p: Weights = None,
    q: Weights = None,
    loss_fun: str = "square_loss",
    symmetric: bool | None = None,
    log: bool = False,
    armijo: bool = False,
    G0: Matrix | None = None,
    max_iter: float = 1e4,
    tol_rel: float = 1e-9,
    tol_abs: float = 1e-9,
    **kwargs: object,
) -> Array | tuple[Array, GromovLog]:
    """The Gromov-Wasserstein loss, differentiable in `C1`, `C2`, `p` and `q`; arguments as of `gromov_wasserstein`.

    ``log["T"]`` is the plan. Derivatives hold the plan (envelope theorem).

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> C1 = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> round(float(ot.gromov_wasserstein2(C1, 3.0 * C1)), 6)
    2.0
    """
    spaces = spaces_of(None, C1, C2, p, q, loss_fun, 1.0)
    found = descended(gromov_wasserstein2, spaces, G0, max_iter, tol_rel, tol_abs, kwargs)
    value = differentiable(spaces, found)
    notes = notes_of(spaces.home, found, "gw_dist") | {"gw_dist": value, "T": spaces.home.give(found.plan)}
    return answer(log, value, lambda: cast("GromovLog", notes))


@overload
def fused_gromov_wasserstein(
    M: Matrix,
    C1: ArrayT,
    C2: Matrix,
    p: Weights = ...,
    q: Weights = ...,
    *,
    log: Literal[False] = ...,
    alpha: Strength = ...,
    **options: Unpack[Spaces],
) -> ArrayT: ...
@overload
def fused_gromov_wasserstein(
    M: Matrix,
    C1: ArrayT,
    C2: Matrix,
    p: Weights = ...,
    q: Weights = ...,
    *,
    log: Literal[True],
    alpha: Strength = ...,
    **options: Unpack[Spaces],
) -> tuple[ArrayT, GromovLog]: ...
@public
def fused_gromov_wasserstein(
    M: Matrix,
    C1: Matrix,
    C2: Matrix,
    p: Weights = None,
    q: Weights = None,
    loss_fun: str = "square_loss",
    symmetric: bool | None = None,
    alpha: Strength = 0.5,
    armijo: bool = False,
    G0: Matrix | None = None,
    log: bool = False,
    max_iter: float = 1e4,
    tol_rel: float = 1e-9,
    tol_abs: float = 1e-9,
    **kwargs: object,
) -> Array | tuple[Array, GromovLog]:
    """The plan of (1 - alpha) <M, P> + alpha E(P), as by ``ot.gromov.fused_gromov_wasserstein``.

    Parameters
    ----------
    M : array_like, shape (n, m)
        Costs between the spaces.
    alpha : float
        Share of the Gromov-Wasserstein loss, in [0, 1].
    C1, C2, p, q, loss_fun, symmetric, armijo, G0, log, max_iter, tol_rel, tol_abs, **kwargs
        As for `gromov_wasserstein`.

    Returns
    -------
    plan : array, shape (n, m)
    log : dict
        "fgw_dist", "loss", "u", "v".

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> C1 = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> ot.gromov.fused_gromov_wasserstein(np.array([[1.0, 0.0], [0.0, 1.0]]), C1, C1)
    array([[0. , 0.5],
           [0.5, 0. ]])
    """
    spaces = spaces_of(M, C1, C2, p, q, loss_fun, alpha)
    found = descended(fused_gromov_wasserstein, spaces, G0, max_iter, tol_rel, tol_abs, kwargs)
    plan = spaces.home.give(found.plan)
    return answer(log, plan, lambda: notes_of(spaces.home, found, "fgw_dist"))


@overload
def fused_gromov_wasserstein2(
    M: Matrix,
    C1: ArrayT,
    C2: Matrix,
    p: Weights = ...,
    q: Weights = ...,
    *,
    log: Literal[False] = ...,
    alpha: Strength = ...,
    **options: Unpack[Spaces],
) -> ArrayT: ...
@overload
def fused_gromov_wasserstein2(
    M: Matrix,
    C1: ArrayT,
    C2: Matrix,
    p: Weights = ...,
    q: Weights = ...,
    *,
    log: Literal[True],
    alpha: Strength = ...,
    **options: Unpack[Spaces],
) -> tuple[ArrayT, GromovLog]: ...
@public
def fused_gromov_wasserstein2(
    M: Matrix,
    C1: Matrix,
    C2: Matrix,
    p: Weights = None,
    q: Weights = None,
    loss_fun: str = "square_loss",
    symmetric: bool | None = None,
    alpha: Strength = 0.5,
    armijo: bool = False,
    G0: Matrix | None = None,
    log: bool = False,
    max_iter: float = 1e4,
    tol_rel: float = 1e-9,
    tol_abs: float = 1e-9,
    **kwargs: object,
) -> Array | tuple[Array, GromovLog]:
    """The value (1 - alpha) <M, P> + alpha E(P), differentiable in every input; see `fused_gromov_wasserstein`.

    ``log["T"]`` is the plan, "lin_loss" and "quad_loss" are the two terms with their shares.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> C1 = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> round(float(ot.gromov.fused_gromov_wasserstein2(np.eye(2), C1, 2.0 * C1, alpha=0.5)), 6)
    0.25
    """
    spaces = spaces_of(M, C1, C2, p, q, loss_fun, alpha)
    found = descended(fused_gromov_wasserstein2, spaces, G0, max_iter, tol_rel, tol_abs, kwargs)
    value, home = differentiable(spaces, found), spaces.home
    notes = notes_of(home, found, "fgw_dist") | {"fgw_dist": value, "T": home.give(found.plan)}
    notes["lin_loss"] = home.give((1.0 - spaces.share) * found.linear)
    notes["quad_loss"] = home.give(spaces.share * found.energy)
    return answer(log, value, lambda: cast("GromovLog", notes))
