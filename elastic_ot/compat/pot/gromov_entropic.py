"""Entropic Gromov-Wasserstein by POT's calls: `elastic_ot.gromov`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Unpack, cast, overload

import numpy as np

from ...api.gromov import gromov
from ...api.solve import solve
from ...calls import public
from ...typing import Array, ArrayT
from .arguments import known, printer, threshold
from .conditional_gradient import proximal_point
from .homes import on_host, refuse_gradients
from .spaces import INNER, LOSS_NAMES, Spaces, spaces_of, start_of
from .types import EntropicSpaces, GromovLog, Matrix, Strength, Weights, answer


@overload
def entropic_gromov_wasserstein(
    C1: ArrayT,
    C2: Matrix,
    p: Weights = ...,
    q: Weights = ...,
    *,
    log: Literal[False] = ...,
    epsilon: float = ...,
    **options: Unpack[EntropicSpaces],
) -> ArrayT: ...
@overload
def entropic_gromov_wasserstein(
    C1: ArrayT,
    C2: Matrix,
    p: Weights = ...,
    q: Weights = ...,
    *,
    log: Literal[True],
    epsilon: float = ...,
    **options: Unpack[EntropicSpaces],
) -> tuple[ArrayT, GromovLog]: ...
@public
def entropic_gromov_wasserstein(
    C1: Matrix,
    C2: Matrix,
    p: Weights = None,
    q: Weights = None,
    loss_fun: str = "square_loss",
    epsilon: float = 0.1,
    symmetric: bool | None = None,
    G0: Matrix | None = None,
    max_iter: int = 1000,
    tol: float = 1e-9,
    solver: str = "PGD",
    warmstart: bool = False,
    verbose: bool = False,
    log: bool = False,
    **kwargs: object,
) -> Array | tuple[Array, GromovLog]:
    """The entropic Gromov-Wasserstein plan, as by ``ot.gromov.entropic_gromov_wasserstein``: `elastic_ot.gromov`.

    Parameters
    ----------
    C1, C2, p, q, loss_fun, symmetric, G0, log
        As for ``gromov_wasserstein``.
    epsilon : float
        Strength of the entropy.
    max_iter : int
        Linear problems at most.
    tol : float
        The change of the plan at which to stop: in L1, where POT takes the Frobenius norm.
    solver : {"PGD", "PPA"}
        Projected gradients; or proximal steps, towards the plan without entropy.
    warmstart
        Ignored: inner problems begin where the last one ended.
    verbose : bool
        Print the changes.
    **kwargs
        Those of POT's inner `sinkhorn`, ignored.

    Returns
    -------
    plan : array, shape (n, m)
        Its derivatives are refused.
    log : dict
        "gw_dist", the energy without the entropy; "err"; "solution", the `GromovSolution`.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> x = np.array([0.0, 1.0, 4.0])
    >>> C1 = np.abs(x[:, None] - x)
    >>> ot.gromov.entropic_gromov_wasserstein(C1, C1[::-1, ::-1], epsilon=0.1).argmax(axis=1)
    array([2, 1, 0])
    """
    spaces = spaces_of(None, C1, C2, p, q, loss_fun, 1.0)
    plan, notes = _entropic(entropic_gromov_wasserstein, spaces, epsilon, G0, max_iter, tol, solver, verbose, kwargs)
    return answer(log, plan, lambda: cast("GromovLog", notes))


@overload
def entropic_gromov_wasserstein2(
    C1: ArrayT,
    C2: Matrix,
    p: Weights = ...,
    q: Weights = ...,
    *,
    log: Literal[False] = ...,
    epsilon: float = ...,
    **options: Unpack[EntropicSpaces],
) -> ArrayT: ...
@overload
def entropic_gromov_wasserstein2(
    C1: ArrayT,
    C2: Matrix,
    p: Weights = ...,
    q: Weights = ...,
    *,
    log: Literal[True],
    epsilon: float = ...,
    **options: Unpack[EntropicSpaces],
) -> tuple[ArrayT, GromovLog]: ...
@public
def entropic_gromov_wasserstein2(
    C1: Matrix,
    C2: Matrix,
    p: Weights = None,
    q: Weights = None,
    loss_fun: str = "square_loss",
    epsilon: float = 0.1,
    symmetric: bool | None = None,
    G0: Matrix | None = None,
    max_iter: int = 1000,
    tol: float = 1e-9,
    solver: str = "PGD",
    warmstart: bool = False,
    verbose: bool = False,
    log: bool = False,
    **kwargs: object,
) -> Array | tuple[Array, GromovLog]:
    """The energy of `entropic_gromov_wasserstein`, without the entropy; ``log["T"]`` is the plan."""
    spaces = spaces_of(None, C1, C2, p, q, loss_fun, 1.0)
    plan, notes = _entropic(entropic_gromov_wasserstein2, spaces, epsilon, G0, max_iter, tol, solver, verbose, kwargs)
    return answer(log, notes["gw_dist"], lambda: cast("GromovLog", notes | {"T": plan}))


@overload
def entropic_fused_gromov_wasserstein(
    M: Matrix,
    C1: ArrayT,
    C2: Matrix,
    p: Weights = ...,
    q: Weights = ...,
    *,
    log: Literal[False] = ...,
    epsilon: float = ...,
    alpha: Strength = ...,
    **options: Unpack[EntropicSpaces],
) -> ArrayT: ...
@overload
def entropic_fused_gromov_wasserstein(
    M: Matrix,
    C1: ArrayT,
    C2: Matrix,
    p: Weights = ...,
    q: Weights = ...,
    *,
    log: Literal[True],
    epsilon: float = ...,
    alpha: Strength = ...,
    **options: Unpack[EntropicSpaces],
) -> tuple[ArrayT, GromovLog]: ...
@public
def entropic_fused_gromov_wasserstein(
    M: Matrix,
    C1: Matrix,
    C2: Matrix,
    p: Weights = None,
    q: Weights = None,
    loss_fun: str = "square_loss",
    epsilon: float = 0.1,
    symmetric: bool | None = None,
    alpha: Strength = 0.5,
    G0: Matrix | None = None,
    max_iter: int = 1000,
    tol: float = 1e-9,
    solver: str = "PGD",
    warmstart: bool = False,
    verbose: bool = False,
    log: bool = False,
    **kwargs: object,
) -> Array | tuple[Array, GromovLog]:
    """The entropic plan of (1 - alpha) <M, P> + alpha E(P); arguments as of `entropic_gromov_wasserstein`.

    ``log["fgw_dist"]`` is that sum, without the entropy.
    """
    spaces = spaces_of(M, C1, C2, p, q, loss_fun, alpha)
    plan, notes = _entropic(
        entropic_fused_gromov_wasserstein, spaces, epsilon, G0, max_iter, tol, solver, verbose, kwargs
    )
    return answer(log, plan, lambda: cast("GromovLog", notes))


@overload
def entropic_fused_gromov_wasserstein2(
    M: Matrix,
    C1: ArrayT,
    C2: Matrix,
    p: Weights = ...,
    q: Weights = ...,
    *,
    log: Literal[False] = ...,
    epsilon: float = ...,
    alpha: Strength = ...,
    **options: Unpack[EntropicSpaces],
) -> ArrayT: ...
@overload
def entropic_fused_gromov_wasserstein2(
    M: Matrix,
    C1: ArrayT,
    C2: Matrix,
    p: Weights = ...,
    q: Weights = ...,
    *,
    log: Literal[True],
    epsilon: float = ...,
    alpha: Strength = ...,
    **options: Unpack[EntropicSpaces],
) -> tuple[ArrayT, GromovLog]: ...
@public
def entropic_fused_gromov_wasserstein2(
    M: Matrix,
    C1: Matrix,
    C2: Matrix,
    p: Weights = None,
    q: Weights = None,
    loss_fun: str = "square_loss",
    epsilon: float = 0.1,
    symmetric: bool | None = None,
    alpha: Strength = 0.5,
    G0: Matrix | None = None,
    max_iter: int = 1000,
    tol: float = 1e-9,
    solver: str = "PGD",
    warmstart: bool = False,
    verbose: bool = False,
    log: bool = False,
    **kwargs: object,
) -> Array | tuple[Array, GromovLog]:
    """The value of `entropic_fused_gromov_wasserstein`; ``log["T"]`` is the plan."""
    spaces = spaces_of(M, C1, C2, p, q, loss_fun, alpha)
    plan, notes = _entropic(
        entropic_fused_gromov_wasserstein2, spaces, epsilon, G0, max_iter, tol, solver, verbose, kwargs
    )
    return answer(log, notes["fgw_dist"], lambda: cast("GromovLog", notes | {"T": plan}))


def _entropic(
    call: Callable[..., object],
    spaces: Spaces,
    epsilon: float,
    G0: Any,
    max_iter: int,
    tol: float,
    solver: str,
    verbose: bool,
    options: Mapping[str, object],
) -> tuple[Any, dict[str, Any]]:
    known(call, options, *INNER)
    refuse_gradients(call.__name__, "use gromov_wasserstein2 or fused_gromov_wasserstein2", *spaces.tracked)
    if solver not in ("PGD", "PPA"):
        raise ValueError(f"solver is {solver!r}; choose from 'PGD', 'PPA'")
    M, C1, C2, p, q = spaces.numbers
    start, tol, home = start_of(spaces, G0), threshold(tol), spaces.home
    name = "gw_dist" if spaces.M is None else "fgw_dist"
    if solver == "PPA":
        proximal = proximal_point(spaces.structure(), p, q, start, float(epsilon), max_iter, tol, printer(verbose))
        return home.give(proximal.plan), {"err": proximal.err, name: home.give(proximal.value)}
    if spaces.share == 0:
        linear = solve(M, p, q, epsilon=float(epsilon), tol=tol)
        notes = {"err": [], name: home.give(linear.transport_cost), "solution": linear}
        return home.give(linear.plan), notes
    found = gromov(
        *(C1, C2, p, q),
        epsilon=float(epsilon),
        linear=M,
        alpha=spaces.share,
        loss=LOSS_NAMES[spaces.loss],
        init="product" if G0 is None else start,
        tol=tol,
        max_iter=int(max_iter),
        callback=printer(verbose),
    )
    value = spaces.share * found.energy + (1.0 - spaces.share) * found.linear_cost
    err = [float(x) for x in found.history.change]
    f, g = (home.give(np.asarray(on_host(x))) for x in (found.solution.f, found.solution.g))
    return home.give(found.plan), {"err": err, name: home.give(value), "u": f, "v": g, "solution": found}
