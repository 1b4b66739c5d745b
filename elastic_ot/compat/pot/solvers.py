"""POT's front door: `solve`, `solve_sample`, `solve_gromov`, with results of its class `OTResult`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...calls import public
from ...typing import ArrayT, Seed
from .arguments import Unsupported, method_of
from .empirical import cloud
from .entropic import Asked
from .homes import detached, read
from .result import OTResult
from .solved import (
    balanced,
    debiased,
    entropic_of_points,
    exact,
    exact_of_points,
    gromov_result,
    relaxed,
    relaxed_exact,
    relaxed_gromov_result,
)
from .two_plans import Steps
from .types import Matrix, Scalings, Strength, Strengths, Weights
from .utils import costs_between

__all__ = ["OTResult", "solve", "solve_gromov", "solve_sample"]
GRADIENTS = ("autodiff", "envelope", "last_step", "detach", "implicit")
IN_PLACE_OF_GEOMLOSS = "lazy=True, or elastic_ot.compat.geomloss.SamplesLoss"
OTHER_SOLVERS = {
    "1d": "elastic_ot.transport_1d",
    "sliced": "elastic_ot.sliced",
    "max_sliced": "elastic_ot.sliced, the largest of its values",
    "geomloss": IN_PLACE_OF_GEOMLOSS,
    "geomloss_auto": IN_PLACE_OF_GEOMLOSS,
    "geomloss_tensorized": IN_PLACE_OF_GEOMLOSS,
    "geomloss_online": IN_PLACE_OF_GEOMLOSS,
    "geomloss_multiscale": IN_PLACE_OF_GEOMLOSS,
    "gaussian": "POT",
    "gaussian_hd": "POT",
    "factored": "POT",
    "lowrank": "POT",
    "nystroem": "POT, or lazy=True",
    "bsp": "POT",
}


@public
def solve(
    M: ArrayT,
    a: Weights = None,
    b: Weights = None,
    reg: Strength | None = None,
    c: Matrix | None = None,
    reg_type: str | Callable[..., object] = "KL",
    unbalanced: Strengths | None = None,
    unbalanced_type: str = "KL",
    method: str | None = None,
    n_threads: int = 1,
    max_iter: int | None = None,
    plan_init: Matrix | None = None,
    potentials_init: Scalings | None = None,
    tol: float | None = None,
    verbose: bool = False,
    grad: str = "autodiff",
) -> OTResult[ArrayT]:
    """Solve a discrete problem as ``ot.solve`` does: exact or entropic, balanced or relaxed.

    Parameters
    ----------
    M : array_like, shape (n, m)
        Costs.
    a, b : array_like, shapes (n,) and (m,), optional
        Weights, uniform ones by default.
    reg : float, optional
        Strength of the entropy; None or 0 is exact.
    c : array_like, shape (n, m), optional
        The plan that the entropy of a relaxed problem is relative to; default a b^T.
    reg_type : {"KL", "entropy"}
        The entropy: relative to `c`, or to ones. "L2" and functions are refused; not read without `reg`.
    unbalanced : float or pair, optional
        Strength of the penalties of both sides; None for hard ones.
    unbalanced_type : {"KL", "L2", "TV"}
        Their kind. Without `reg` the value is as near to the least as that of ``unbalanced.mm_unbalanced``.
    method : str, optional
        As for `sinkhorn`.
    n_threads, plan_init
        Ignored: see `elastic_ot.set_num_threads`, and `potentials_init` for a warm start.
    max_iter, tol : optional
        1000 and 1e-9 by default, as in `sinkhorn`.
    potentials_init : pair, optional
        Logarithms of scalings to begin with, of entropic problems.
    verbose : bool
        Print the error of the iterations.
    grad : {"autodiff", "envelope", "last_step", "implicit", "detach"}
        "detach" gives constants. All others are one here: plan, value and potentials are differentiated by the implicit
        function theorem, exactly and without unrolled iterations. (POT's "envelope" leaves out that a b^T moves with
        the weights.)

    Returns
    -------
    OTResult

    Notes
    -----
    Of an entropic problem `value` is <M, P> + reg sum P log(P / (a b^T)) if balanced ("entropy": reg sum P log P), and
    the objective with all masses if relaxed, which is what POT minimises but not what it returns there.

    Examples
    --------
    >>> import elastic_ot.compat.pot as ot
    >>> found = ot.solve([[0.0, 1.0], [1.0, 0.0]], [0.6, 0.4], [0.5, 0.5])
    >>> round(float(found.value), 6), found.plan.shape
    (0.1, (2, 2))
    >>> ot.solve([[0.0, 1.0], [1.0, 0.0]], reg=1.0, unbalanced=1.0).plan.round(4)
    array([[0.3221, 0.1185],
           [0.1185, 0.3221]])
    """
    if grad not in GRADIENTS:
        raise ValueError(f"grad is {grad!r}; choose from {', '.join(map(repr, GRADIENTS))}")
    if grad == "last_step" and max_iter == 0:
        raise ValueError("max_iter is 0; grad='last_step' needs at least one iteration")
    regular = reg is not None and not (isinstance(reg, float | int) and reg == 0)
    if regular and (not isinstance(reg_type, str) or reg_type.lower() not in ("kl", "entropy")):
        raise Unsupported(f"reg_type is {reg_type!r}; choose from 'KL', 'entropy', or use POT")
    if str(unbalanced_type).lower() not in ("kl", "l2", "tv"):
        raise Unsupported(f"unbalanced_type is {unbalanced_type!r}; choose from 'KL', 'L2', 'TV'")
    entropy = str(reg_type).lower()
    costs, *more = read(M, a, b, c)
    if grad == "detach":
        costs, *more = (None if x is None else detached(x) for x in (costs, *more))
    first, second, start = more
    how = Asked(
        1000 if max_iter is None else max_iter,
        1e-9 if tol is None else tol,
        verbose,
        method=method_of(method),
        warmstart=potentials_init,
    )
    if not regular:
        if unbalanced is None:
            return exact(costs, first, second)
        return relaxed_exact(costs, first, second, unbalanced, unbalanced_type.lower())
    if unbalanced is None:
        return balanced(costs, first, second, reg, entropy, how)
    return relaxed(costs, first, second, reg, start, entropy, unbalanced, unbalanced_type.lower(), how)


@public
def solve_sample(
    X_a: ArrayT,
    X_b: Matrix,
    a: Weights = None,
    b: Weights = None,
    metric: str = "sqeuclidean",
    reg: Strength | None = None,
    c: Matrix | None = None,
    reg_type: str | Callable[..., object] = "KL",
    unbalanced: Strengths | None = None,
    unbalanced_type: str = "KL",
    lazy: bool = False,
    batch_size: int | None = None,
    method: str | None = None,
    n_threads: int = 1,
    max_iter: int | None = None,
    plan_init: Matrix | None = None,
    rank: int = 100,
    scaling: float = 0.95,
    potentials_init: Scalings | None = None,
    X_init: Matrix | None = None,
    tol: float | None = None,
    verbose: bool = False,
    grad: str = "autodiff",
    random_state: Seed = None,
    debias: bool = False,
    n_projections: int = 50,
    projections: Matrix | None = None,
    scaler: object = None,
) -> OTResult[ArrayT]:
    """Solve a problem between points as ``ot.solve_sample`` does.

    Parameters
    ----------
    X_a, X_b : array_like, shapes (n, d) and (m, d)
        Points.
    metric : str
        As for `dist`; with ``lazy=True`` "sqeuclidean", "euclidean", "cityblock" or "cosine".
    lazy : bool
        Store no matrix, by a `PointCloud`: `lazy_plan` and `sparse_plan` in place of `plan`; of balanced problems.
    debias : bool
        value(a, b) - (value(a, a) + value(b, b)) / 2; `elastic_ot.divergence` bounds its error.
    a, b, reg, c, reg_type, unbalanced, unbalanced_type, max_iter, potentials_init, tol, verbose, grad
        As for `solve`.
    method : str, optional
        As for `sinkhorn`. POT's other solvers ("1d", "gaussian", "sliced", "lowrank", "nystroem", "factored",
        "geomloss", "bsp") are refused, with what to call instead.
    batch_size, n_threads, plan_init
        Ignored.
    scaler : callable, or object with a method ``transform``, optional
        Applied to `X_a` and to `X_b` first. (POT 0.9.7 applies it to `X_a` alone, by a slip.)
    rank, scaling, X_init, random_state, n_projections, projections
        Of the methods that are refused.

    Returns
    -------
    OTResult

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> x = np.array([[0.0], [1.0]])
    >>> float(ot.solve_sample(x, x + 2.0).value)
    4.0
    """
    if method is not None and method.lower() in OTHER_SOLVERS:
        raise Unsupported(f"method is {method!r}, another problem or solver; use {OTHER_SOLVERS[method.lower()]}")
    if scaler is not None:
        scale: Any = getattr(scaler, "transform", scaler)
        if not callable(scale):
            raise ValueError(f"scaler is {scaler!r}; give a function of points, or an object with a method transform")
        X_a, X_b = scale(X_a), scale(X_b)
    if debias not in (False, True):
        raise Unsupported(f"debias is {debias!r}; choose True or False")
    options: dict[str, Any] = {"reg": reg, "c": c, "reg_type": reg_type, "unbalanced": unbalanced, "grad": grad}
    options |= {"unbalanced_type": unbalanced_type, "method": method, "max_iter": max_iter, "tol": tol}
    options |= {"potentials_init": potentials_init, "verbose": verbose}
    x, y = read(X_a, X_b)
    if debias:
        options |= {"metric": metric, "lazy": lazy}
        pairs = (x, x, a, a), (y, y, b, b), (x, y, a, b)
        return debiased(*(solve_sample(*pair, **options) for pair in pairs))
    if not lazy:
        return solve(costs_between(x, y, metric), a, b, **options)
    if unbalanced is not None or c is not None:
        raise Unsupported("lazy=True is for balanced problems; call elastic_ot.solve(elastic_ot.PointCloud(x, y), ...)")
    costs = cloud(x, y, metric, a, b)
    if reg is None or reg == 0:
        return exact_of_points(costs, a, b)
    if not isinstance(reg_type, str) or reg_type.lower() not in ("kl", "entropy"):
        raise Unsupported(f"reg_type is {reg_type!r}; choose from 'KL', 'entropy', or use POT")
    max_iter, tol = 1000 if max_iter is None else max_iter, 1e-9 if tol is None else tol
    how = Asked(max_iter, tol, verbose, method=method_of(method), warmstart=potentials_init)
    return entropic_of_points(costs, a, b, reg, reg_type.lower(), how)


@public
def solve_gromov(
    Ca: ArrayT,
    Cb: Matrix,
    M: Matrix | None = None,
    a: Weights = None,
    b: Weights = None,
    loss: str = "L2",
    symmetric: bool | None = None,
    alpha: float = 0.5,
    reg: float | None = None,
    reg_type: str = "entropy",
    unbalanced: Strengths | None = None,
    unbalanced_type: str = "KL",
    n_threads: int = 1,
    method: str | None = None,
    max_iter: int | None = None,
    plan_init: Matrix | None = None,
    tol: float | None = None,
    verbose: bool = False,
) -> OTResult[ArrayT]:
    """Solve a (fused) Gromov-Wasserstein problem as ``ot.solve_gromov`` does, between hard sides or relaxed ones.

    Parameters
    ----------
    Ca, Cb, M, a, b : array_like
        C1, C2, M, p and q of `fused_gromov_wasserstein`; without `M` the problem is not fused.
    loss : {"L2", "KL"}
        Of the costs: "square_loss" or "kl_loss".
    alpha : float
        Share of the quadratic term, in [0, 1].
    reg : float, optional
        Strength of the entropy; None or 0 for none.
    reg_type : {"entropy"}
    unbalanced : float or pair, optional
        Strengths of half the penalties of products, see `fused_unbalanced_gromov_wasserstein`, which is called with
        ``unbalanced / (2 * alpha)`` and ``reg / (2 * alpha)`` and whose objective is multiplied by `alpha`; as in POT
        `alpha` counts without `M` as well.
    unbalanced_type : {"KL", "L2"}
        The penalty; "L2" without `reg` only. "semirelaxed" and "partial" are refused.
    method : {"PGD", "PPA"}, optional
        The solver with entropy.
    max_iter, tol : optional
        1000 and 1e-9 by default, 10000 without entropy; 100 and 1e-7 of relaxed sides.
    plan_init : array_like, optional
        The plan to begin with.
    symmetric, n_threads
        Ignored.
    verbose : bool

    Returns
    -------
    OTResult
        Of relaxed sides "value_linear" is (1 - alpha) <M, P>, and "value_quad" the energy times `alpha`, which POT
        0.9.7 returns by the name of the former; and the loss "KL" is taken, where POT takes the square.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> C1 = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> round(float(ot.solve_gromov(C1, 3.0 * C1).value), 6)
    2.0
    """
    losses = {"l2": "square_loss", "kl": "kl_loss"}
    if str(loss).lower() not in losses:
        raise Unsupported(f"loss is {loss!r}; choose from 'L2', 'KL'")
    kind = str(unbalanced_type).lower()
    if kind in ("semirelaxed", "partial") or (unbalanced is not None and kind not in ("kl", "l2")):
        instead = "elastic_ot.gromov(..., rows=..., cols=...) has sides of many kinds"
        raise Unsupported(f"unbalanced_type is {unbalanced_type!r}; choose from 'KL', 'L2': {instead}, or use POT")
    if str(reg_type).lower() != "entropy":
        raise Unsupported(f"reg_type is {reg_type!r}; choose 'entropy'")
    if unbalanced is not None and alpha == 0:
        if M is None:
            raise ValueError("alpha is 0 and M is None; give the costs between the spaces")
        linear: Any = M
        return solve(
            *(linear, a, b, reg),
            unbalanced=unbalanced,
            unbalanced_type=unbalanced_type,
            max_iter=max_iter,
            tol=tol,
            verbose=verbose,
        )
    if unbalanced is not None:
        how = Steps(max_iter=100 if max_iter is None else max_iter, tol=1e-7 if tol is None else tol, verbose=verbose)
        names = {"l2": "square", "kl": "kl"}
        return relaxed_gromov_result(
            (Ca, Cb, M, a, b), names[loss.lower()], float(alpha), float(reg or 0), unbalanced, kind, plan_init, how
        )
    return gromov_result(
        *(Ca, Cb, M, a, b, losses[loss.lower()], alpha, reg),
        solver=method or "PGD",
        max_iter=max_iter,
        start=plan_init,
        tol=1e-9 if tol is None else tol,
        verbose=verbose,
    )
