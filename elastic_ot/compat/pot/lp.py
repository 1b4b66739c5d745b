"""Exact transport by POT's calls: `emd`, `emd2`."""

from __future__ import annotations

import warnings
from typing import Any, Literal, Unpack, overload

import numpy as np

from ...api.exact import exact
from ...calls import public
from ...frameworks.dispatch import is_torch
from ...problems.masses import SAME_MASS
from ...solutions.exact import ExactSolution
from ...typing import Array, ArrayT
from .arguments import MASS_MARGIN, MassMismatch
from .homes import Home, home_of_results, on_host, read, weights_or_uniform, with_gradients
from .types import Exact, ExactLog, Matrix, Scalings, Weights, answer

__all__ = ["emd", "emd2"]


@overload
def emd(a: Weights, b: Weights, M: ArrayT, *, log: Literal[False] = ..., **options: Unpack[Exact]) -> ArrayT: ...
@overload
def emd(
    a: Weights, b: Weights, M: ArrayT, *, log: Literal[True], **options: Unpack[Exact]
) -> tuple[ArrayT, ExactLog]: ...
@public
def emd(
    a: Weights,
    b: Weights,
    M: Matrix,
    numItermax: int = 100000,
    log: bool = False,
    center_dual: bool = True,
    numThreads: int | str = 1,
    check_marginals: bool = True,
    potentials_init: Scalings | None = None,
) -> Array | tuple[Array, ExactLog]:
    """The exact plan, as by ``ot.emd``: `elastic_ot.exact` with two `Fixed` sides.

    Parameters
    ----------
    a, b : array_like, shapes (n,) and (m,)
        Weights; an empty list or None for uniform ones.
    M : array_like, or sparse matrix of SciPy or PyTorch, shape (n, m)
        Costs; cells that a sparse matrix has not are forbidden.
    numItermax, potentials_init
        Ignored: the result is optimal, and proved so.
    numThreads
        Ignored; anything but 1 warns, as in POT: see `elastic_ot.set_num_threads`.
    log : bool
        Return the dictionary as well.
    center_dual : bool
        Shift the potentials so that <u, a> = <v, b>.
    check_marginals : bool
        Refuse masses that differ by more than rounding; else `b` is scaled to the mass of `a` without a word.

    Returns
    -------
    plan : array, shape (n, m)
        In the library and dtype of `a`, of `M` where that is empty. With a sparse `M` sparse, too.
    log : dict
        "cost", "u", "v", "warning" (None), "result_code" (1), and "solution", the `ExactSolution`.

    Raises
    ------
    AssertionError
        Masses or shapes that do not fit; an `InfeasibleError` as well.

    Warns
    -----
    DeprecationWarning
        A `numThreads` other than 1.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> ot.emd([0.6, 0.4], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]]).round(3)
    array([[0.5, 0.1],
           [0. , 0.4]])
    """
    _tell_of_threads(numThreads)
    costs, sparse = _dense(M)
    found, home, weights = _solved(a, b, costs, check_marginals)
    plan = _sparse(found, home) if sparse else home.give(found.plan)
    return answer(log, plan, lambda: _log(found, home, weights, center_dual))


@overload
def emd2(
    a: Weights,
    b: Weights,
    M: ArrayT,
    processes: int = ...,
    *,
    log: Literal[False] = ...,
    return_matrix: Literal[False] = ...,
    **options: Unpack[Exact],
) -> ArrayT: ...
@overload
def emd2(
    a: Weights,
    b: Weights,
    M: ArrayT,
    processes: int = ...,
    *,
    log: bool = ...,
    return_matrix: bool = ...,
    **options: Unpack[Exact],
) -> tuple[ArrayT, ExactLog]: ...
@public
def emd2(
    a: Weights,
    b: Weights,
    M: Matrix,
    processes: int = 1,
    numItermax: int = 100000,
    log: bool = False,
    return_matrix: bool = False,
    center_dual: bool = True,
    numThreads: int | str = 1,
    check_marginals: bool = True,
    potentials_init: Scalings | None = None,
) -> Array | list[Array] | tuple[Array, ExactLog] | list[tuple[Array, ExactLog]]:
    """The exact cost of transport, as by ``ot.emd2``; differentiable in PyTorch and JAX, in `a`, `b` and `M`.

    Parameters
    ----------
    a, b, M, numItermax, numThreads, check_marginals, potentials_init, center_dual
        As for `emd`; `b` of shape (m, K) is K problems, and the result a list.
    processes
        Ignored.
    log, return_matrix : bool
        Return (cost, log) in place of the cost; with `return_matrix` the plan is its entry "G".

    Returns
    -------
    number, or list of them
        Derivatives are centred potentials and the plan. Type checkers take `b` for that of one problem.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> round(float(ot.emd2([0.6, 0.4], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]])), 6)
    0.1
    """
    _tell_of_threads(numThreads)
    found: Array = costs_of(a, b, M, log, return_matrix, center_dual, check_marginals)
    return found


def costs_of(
    a: Any,
    b: Any,
    M: Any,
    log: bool = False,
    return_matrix: bool = False,
    center_dual: bool = True,
    check_marginals: bool = True,
) -> Any:
    """Return what `emd2` does."""
    M, _ = _dense(M)
    a, b, M = read(a, b, M)

    def one(weights: Any) -> Any:
        found, home, used = _solved(a, weights, M, check_marginals)
        notes = _log(found, home, used, center_dual)
        potentials = [on_host(notes[name]) for name in "uv"]
        slopes = [x - x.mean() for x in potentials]
        value = with_gradients(home, found.transport_cost, (*used, M), (*slopes, found.plan))
        notes["cost"] = value
        if return_matrix:
            notes["G"] = home.give(found.plan)
        return (value, notes) if log or return_matrix else value

    if b is not None and b.ndim == 2:
        return [one(b[:, k]) for k in range(b.shape[1])]
    return one(b)


def _tell_of_threads(asked: int | str) -> None:
    if asked != 1:
        text = f"numThreads is {asked!r} and is ignored, as in POT; elastic_ot.set_num_threads sets ours"
        warnings.warn(text, DeprecationWarning, stacklevel=4)  # the caller of `emd`, beyond `public`


def _dense(M: Any) -> tuple[Any, bool]:
    """Return a matrix, with inf where a sparse one has no cell, and whether it was sparse."""
    if is_torch(M) and M.is_sparse:
        cells = M.coalesce()
        full = cells.values().new_full(M.shape, np.inf)
        return full.index_put(tuple(cells.indices()), cells.values()), True
    if not hasattr(M, "tocoo"):
        return M, False
    cells = M.tocoo()
    full = np.full(cells.shape, np.inf)
    full[cells.row, cells.col] = cells.data
    return full, True


def _sparse(found: ExactSolution, home: Home) -> Any:
    return home.give(found.plan).to_sparse() if home.name == "torch" else found.sparse_plan().tocoo()


def _solved(a: Any, b: Any, M: Any, check: bool) -> tuple[ExactSolution, Home, tuple[Any, Any]]:
    a, b, M = read(a, b, M)
    home = home_of_results(*(x for x in (a, b) if x is not None and len(x)), M)
    n, m = M.shape
    a, b = weights_or_uniform(home, a, n), weights_or_uniform(home, b, m)
    first, second = (np.asarray(on_host(x), np.float64) for x in (a, b))
    if first.shape != (n,) or second.shape != (m,):
        raise MassMismatch(f"a has shape {first.shape} and b {second.shape}; for M of shape {(n, m)} they must fit it")
    masses = first.sum(), second.sum()
    if check and abs(masses[0] - masses[1]) > 1.5 * MASS_MARGIN:
        raise MassMismatch(
            f"a sums to {masses[0]:.12g} and b to {masses[1]:.12g}; give both one mass, or "
            f"check_marginals=False to scale b"
        )
    cost = np.asarray(on_host(M), np.float64)
    if abs(masses[0] - masses[1]) > SAME_MASS * masses[0]:  # less is made equal by `exact`, with no more than is needed
        second = second * (masses[0] / masses[1])
    return exact(cost, first, second), home, (a, b)


def _log(found: ExactSolution, home: Home, weights: tuple[Any, Any], centred: bool) -> Any:
    """POT's dictionary. Rows and columns without weight get the largest potential that their costs allow."""
    cost = found.problem.cost
    matrix = cost.block(slice(0, cost.shape[0]), slice(0, cost.shape[1]))
    u, v = found.f.copy(), found.g.copy()
    a, b = (np.asarray(on_host(x), np.float64) for x in weights)
    if centred:
        used, met = np.isfinite(u), np.isfinite(v)
        shift = (a[used] @ u[used] - b[met] @ v[met]) / (a.sum() + b.sum())
        u, v = u - shift, v + shift
    empty, void = np.isneginf(u), np.isneginf(v)
    u[empty] = (matrix[empty][:, ~void] - v[~void]).min(axis=1, initial=np.inf)
    v[void] = (matrix[:, void] - u[:, None]).min(axis=0, initial=np.inf)
    return {
        "cost": found.transport_cost,
        "u": home.give(u),
        "v": home.give(v),
        "warning": None,
        "result_code": 1,
        "solution": found,
    }
