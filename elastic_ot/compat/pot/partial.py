"""Transport of a part of the mass by POT's calls."""

from __future__ import annotations

from typing import Any, Literal, Unpack, overload

import numpy as np

from ...api.exact import exact
from ...api.solve import solve
from ...calls import public
from ...problems.penalties import AtMost
from ...solutions.exact import ExactSolution
from ...typing import Array, ArrayT
from .arguments import check_mass, known, method_of, printer, threshold
from .homes import Home, home_of_results, on_host, read, refuse_gradients, weights_or_uniform
from .types import EntropicLog, Exact, ExactLog, Matrix, Passes, Weights, answer

__all__ = [
    "entropic_partial_wasserstein",
    "entropic_partial_wasserstein_logscale",
    "partial_wasserstein",
    "partial_wasserstein2",
    "partial_wasserstein_lagrange",
]
IGNORED = ("numItermax", "center_dual", "check_marginals", "potentials_init")  # arguments of POT's inner `emd`


@overload
def partial_wasserstein(
    a: Weights,
    b: Weights,
    M: ArrayT,
    m: float | None = ...,
    nb_dummies: int = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[Exact],
) -> ArrayT: ...
@overload
def partial_wasserstein(
    a: Weights,
    b: Weights,
    M: ArrayT,
    m: float | None = ...,
    nb_dummies: int = ...,
    *,
    log: Literal[True],
    **options: Unpack[Exact],
) -> tuple[ArrayT, ExactLog]: ...
@public
def partial_wasserstein(
    a: Weights, b: Weights, M: Matrix, m: float | None = None, nb_dummies: int = 1, log: bool = False, **kwargs: object
) -> Array | tuple[Array, ExactLog]:
    """The cheapest plan of mass `m`, as by ``ot.partial.partial_wasserstein``: `elastic_ot.exact` with a `mass`.

    Parameters
    ----------
    a, b : array_like, shapes (n,) and (m,)
        Weights, which are upper bounds; an empty list or None for uniform ones.
    M : array_like, shape (n, m)
        Costs.
    m : float, optional
        The mass, at most that of the lighter side, which is the default.
    nb_dummies
        Ignored: none is needed.
    log : bool
        Return the dictionary as well.
    **kwargs
        Those of `emd`, ignored; anything else is refused.

    Returns
    -------
    plan : array, shape (n, m)
    log : dict
        "cost" and "partial_w_dist", <M, P>; potentials "u" and "v", which with half of the price of mass each are at
        most 0; "price", what one more unit of mass costs; "solution", the `elastic_ot.ExactSolution`.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> ot.partial.partial_wasserstein([0.1, 0.2], [0.1, 0.1], [[0.0, 1.0], [2.0, 3.0]], m=0.1).round(3)
    array([[0.1, 0. ],
           [0. , 0. ]])
    """
    known(partial_wasserstein, kwargs, *IGNORED)
    plan, notes = _of_mass(a, b, M, m)
    return answer(log, plan, lambda: notes)


@overload
def partial_wasserstein_lagrange(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg_m: float | None = ...,
    nb_dummies: int = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[Exact],
) -> ArrayT: ...
@overload
def partial_wasserstein_lagrange(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg_m: float | None = ...,
    nb_dummies: int = ...,
    *,
    log: Literal[True],
    **options: Unpack[Exact],
) -> tuple[ArrayT, ExactLog]: ...
@public
def partial_wasserstein_lagrange(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg_m: float | None = None,
    nb_dummies: int = 1,
    log: bool = False,
    **kwargs: object,
) -> Array | tuple[Array, ExactLog]:
    """The plan that moves a unit of mass where that costs less than `reg_m`, at most `a` and `b` of it.

    Arguments as of `partial_wasserstein`; without `reg_m` all of the lighter side is moved. Weights need not sum to 1.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> cost = [[0.0, 1.0], [2.0, 3.0]]
    >>> ot.partial.partial_wasserstein_lagrange([0.1, 0.2], [0.1, 0.1], cost, reg_m=2.5).round(3)
    array([[0.1, 0. ],
           [0. , 0. ]])
    """
    known(partial_wasserstein_lagrange, kwargs, *IGNORED)
    costs, home, weights = _given(a, b, M)
    cost = np.asarray(on_host(costs), np.float64)
    price = float(cost.max()) + 1.0 if reg_m is None else float(reg_m)
    first, second = (np.asarray(on_host(x), np.float64) for x in weights)
    found = exact(cost - price, first, second, rows=AtMost(), cols=AtMost())
    plan, notes = _result(found, home, costs)
    return answer(log, plan, lambda: notes)


@overload
def partial_wasserstein2(
    a: Weights,
    b: Weights,
    M: ArrayT,
    m: float | None = ...,
    nb_dummies: int = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[Exact],
) -> ArrayT: ...
@overload
def partial_wasserstein2(
    a: Weights,
    b: Weights,
    M: ArrayT,
    m: float | None = ...,
    nb_dummies: int = ...,
    *,
    log: Literal[True],
    **options: Unpack[Exact],
) -> tuple[ArrayT, ExactLog]: ...
@public
def partial_wasserstein2(
    a: Weights, b: Weights, M: Matrix, m: float | None = None, nb_dummies: int = 1, log: bool = False, **kwargs: object
) -> Array | tuple[Array, ExactLog]:
    """The cost of `partial_wasserstein`, differentiable in `M`; ``log["T"]`` is the plan.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> round(float(ot.partial.partial_wasserstein2([0.1, 0.2], [0.1, 0.1], [[0.0, 1.0], [2.0, 3.0]], m=0.2)), 3)
    0.3
    """
    known(partial_wasserstein2, kwargs, *IGNORED)
    plan, notes = _of_mass(a, b, M, m)
    return answer(log, notes["partial_w_dist"], lambda: {**notes, "T": plan})


@overload
def entropic_partial_wasserstein(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: float,
    m: float | None = ...,
    method: str = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[Passes],
) -> ArrayT: ...
@overload
def entropic_partial_wasserstein(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: float,
    m: float | None = ...,
    method: str = ...,
    *,
    log: Literal[True],
    **options: Unpack[Passes],
) -> tuple[ArrayT, EntropicLog]: ...
@public
def entropic_partial_wasserstein(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: float,
    m: float | None = None,
    method: str = "sinkhorn",
    numItermax: int = 1000,
    stopThr: float = 1e-100,
    verbose: bool = False,
    log: bool = False,
) -> Array | tuple[Array, EntropicLog]:
    """The entropic plan of mass `m`, as by ``ot.partial.entropic_partial_wasserstein``.

    It is ``elastic_ot.solve(..., mass=m, reference="counting")``.

    Parameters
    ----------
    a, b, M, m
        As for `partial_wasserstein`.
    reg : float
        Strength of the entropy.
    method : {"sinkhorn", "sinkhorn_log"}
        As for `sinkhorn`.
    numItermax, stopThr, verbose, log
        As for `sinkhorn`.

    Returns
    -------
    plan : array, shape (n, m)
    log : dict
        "err", "partial_w_dist", <M, P>, and "solution", ours.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> ot.partial.entropic_partial_wasserstein([0.1, 0.2], [0.1, 0.1], [[0.0, 1.0], [2.0, 3.0]], 1, 0.1).round(2)
    array([[0.06, 0.02],
           [0.01, 0.  ]])
    """
    return _entropic(a, b, M, reg, m, method, numItermax, stopThr, verbose, log)


@overload
def entropic_partial_wasserstein_logscale(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: float,
    m: float | None = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[Passes],
) -> ArrayT: ...
@overload
def entropic_partial_wasserstein_logscale(
    a: Weights,
    b: Weights,
    M: ArrayT,
    reg: float,
    m: float | None = ...,
    *,
    log: Literal[True],
    **options: Unpack[Passes],
) -> tuple[ArrayT, EntropicLog]: ...
@public
def entropic_partial_wasserstein_logscale(
    a: Weights,
    b: Weights,
    M: Matrix,
    reg: float,
    m: float | None = None,
    numItermax: int = 1000,
    stopThr: float = 1e-100,
    verbose: bool = False,
    log: bool = False,
) -> Array | tuple[Array, EntropicLog]:
    """`entropic_partial_wasserstein` with ``method="sinkhorn_log"``."""
    return _entropic(a, b, M, reg, m, "sinkhorn_log", numItermax, stopThr, verbose, log)


def _entropic(
    a: Any,
    b: Any,
    M: Any,
    reg: float,
    m: float | None,
    method: str,
    numItermax: int,
    stopThr: float,
    verbose: bool,
    log: bool,
) -> Array | tuple[Array, EntropicLog]:
    M, home, weights = _given(a, b, M)
    refuse_gradients("entropic_partial_wasserstein", "use sinkhorn_unbalanced", M, *weights)
    first, second = (np.asarray(on_host(x), np.float64) for x in weights)
    by: Any = method_of(method)
    found = solve(
        *(on_host(M), first, second),
        epsilon=float(reg),
        mass=check_mass(m, float(first.sum()), float(second.sum())),
        reference="counting",
        method=by,
        tol=threshold(stopThr),
        max_iter=int(numItermax),
        callback=printer(verbose),
    )
    err = [float(x) for x in found.history.residual]
    notes: EntropicLog = {"err": err, "partial_w_dist": home.give(found.transport_cost), "solution": found}
    return answer(log, home.give(found.plan), lambda: notes)


def _of_mass(a: Any, b: Any, M: Any, m: float | None) -> tuple[Array, ExactLog]:
    """Return the cheapest plan of a mass."""
    M, home, weights = _given(a, b, M)
    first, second = (np.asarray(on_host(x), np.float64) for x in weights)
    mass = check_mass(m, float(first.sum()), float(second.sum()))
    return _result(exact(np.asarray(on_host(M), np.float64), first, second, mass=mass), home, M)


def _given(a: Any, b: Any, M: Any) -> tuple[Any, Home, tuple[Any, Any]]:
    a, b, M = read(a, b, M)
    home = home_of_results(M, a, b)
    return M, home, (weights_or_uniform(home, a, M.shape[0]), weights_or_uniform(home, b, M.shape[1]))


def _result(found: ExactSolution, home: Home, M: Any) -> tuple[Array, ExactLog]:
    plan = home.give(found.plan)
    cost = home.xp.sum(home.xp.where(plan > 0, M, home.xp.zeros_like(plan)) * plan)
    notes: ExactLog = {"cost": cost, "partial_w_dist": cost, "u": home.give(found.f), "v": home.give(found.g)}
    return plan, {**notes, "price": found.price, "warning": None, "solution": found}
