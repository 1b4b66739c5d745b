"""Unbalanced CO-optimal transport by POT's calls: a plan of rows and one of columns, with penalties of products."""

from __future__ import annotations

from typing import Any, Literal, Unpack, overload

from ...calls import public
from ...typing import Array, ArrayT
from .across import Across as Found
from .across import Given, across
from .arguments import strengths
from .homes import read, with_gradients
from .two_plans import Steps
from .types import Across, Matrix, PlansLog, Scalings, Strengths, Weights, answer


class Typed(Across, total=False):
    """The options of the call that has both problems."""

    reg_type: str


@overload
def fused_unbalanced_across_spaces_divergence(
    X: ArrayT, Y: Matrix, *, log: Literal[False] = ..., **options: Unpack[Typed]
) -> tuple[ArrayT, ArrayT]: ...
@overload
def fused_unbalanced_across_spaces_divergence(
    X: ArrayT, Y: Matrix, *, log: Literal[True], **options: Unpack[Typed]
) -> tuple[ArrayT, ArrayT, PlansLog]: ...
@public
def fused_unbalanced_across_spaces_divergence(
    X: Matrix,
    Y: Matrix,
    wx_samp: Weights = None,
    wx_feat: Weights = None,
    wy_samp: Weights = None,
    wy_feat: Weights = None,
    reg_marginals: Strengths = 10,
    epsilon: Strengths = 0,
    reg_type: str = "joint",
    divergence: str = "kl",
    unbalanced_solver: str = "sinkhorn",
    alpha: Strengths = 0,
    M_samp: Matrix | None = None,
    M_feat: Matrix | None = None,
    rescale_plan: bool = True,
    init_pi: tuple[Matrix | None, Matrix | None] | None = None,
    init_duals: tuple[Scalings | None, Scalings | None] | None = None,
    max_iter: int = 100,
    tol: float = 1e-7,
    max_iter_ot: int = 500,
    tol_ot: float = 1e-7,
    log: bool = False,
    verbose: bool = False,
    **kwargs: object,
) -> tuple[Array, Array] | tuple[Array, Array, PlansLog]:
    """Plans of rows and of columns of two matrices, as by ``ot.gromov.fused_unbalanced_across_spaces_divergence``.

    The least of the sum of (X_ik - Y_jl)^2 P_ij Q_kl, of alpha_1 <M_samp, P> + alpha_2 <M_feat, Q>, of penalties of the
    products of the marginals of P and Q, and of an entropy: epsilon KL(P ⊗ Q | R ⊗ R') ("joint", unbalanced
    Gromov-Wasserstein), or that of each plan ("independent", unbalanced CO-optimal transport).

    Parameters
    ----------
    X, Y : array_like, shapes (n, k) and (m, l)
        Rows are samples, columns features.
    wx_samp, wx_feat, wy_samp, wy_feat : array_like, shapes (n,), (k,), (m,) and (l,), optional
        Weights of rows and columns, uniform ones by default.
    reg_marginals : float or pair
        Strengths of the penalties of what belongs to `X`, and to `Y`.
    epsilon : float or pair
        Strength of the entropy; of that of P and that of Q for "independent".
    reg_type : {"joint", "independent"}
    alpha : float or pair
        Strengths of `M_samp` and `M_feat`.
    M_samp, M_feat : array_like, shapes (n, m) and (k, l), optional
        Costs of the plans.
    rescale_plan : bool
        Give both plans the same mass after each solve, and keep their product, where POT changes one of them. Where the
        objective depends on more than the product, False may find less.
    init_pi : (array_like or None, array_like or None), optional
        The plans to begin with, products of the weights by default.
    divergence, unbalanced_solver, init_duals, max_iter, tol, max_iter_ot, tol_ot, log, verbose
        As for `fused_unbalanced_gromov_wasserstein`.

    Returns
    -------
    pi_samp, pi_feat : array, shapes (n, m) and (k, l)
        Their derivatives are refused.
    log : dict
        "error", "duals_sample", "duals_feature", "linear_cost", the first sum above, and "ucoot_cost", the objective.
        (For "independent" POT 0.9.7 returns another number: it takes weights for marginals there, and the reverse.)

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> X = np.array([[0.0, 1.0], [4.0, 2.0], [9.0, 7.0]])
    >>> rows, cols = ot.gromov.fused_unbalanced_across_spaces_divergence(X, X[::-1, ::-1], epsilon=0.01)
    >>> rows.argmax(axis=1), cols.argmax(axis=1)
    (array([2, 1, 0]), array([1, 0]))
    """
    found = across(
        fused_unbalanced_across_spaces_divergence,
        Given(X, Y, (wx_samp, wx_feat, wy_samp, wy_feat), (M_samp, M_feat)),
        reg_marginals=reg_marginals,
        epsilon=epsilon,
        reg_type=reg_type,
        divergence=divergence,
        unbalanced_solver=unbalanced_solver,
        alpha=alpha,
        init_pi=init_pi,
        how=Steps(rescale_plan, max_iter, tol, tol_ot, verbose),
        options=kwargs,
    )
    return (*found.plans, _notes(found, found.value)) if log else found.plans


@overload
def unbalanced_co_optimal_transport(
    X: ArrayT, Y: Matrix, *, log: Literal[False] = ..., **options: Unpack[Across]
) -> tuple[ArrayT, ArrayT]: ...
@overload
def unbalanced_co_optimal_transport(
    X: ArrayT, Y: Matrix, *, log: Literal[True], **options: Unpack[Across]
) -> tuple[ArrayT, ArrayT, PlansLog]: ...
@public
def unbalanced_co_optimal_transport(
    X: Matrix,
    Y: Matrix,
    wx_samp: Weights = None,
    wx_feat: Weights = None,
    wy_samp: Weights = None,
    wy_feat: Weights = None,
    reg_marginals: Strengths = 10,
    epsilon: Strengths = 0,
    divergence: str = "kl",
    unbalanced_solver: str = "mm",
    alpha: Strengths = 0,
    M_samp: Matrix | None = None,
    M_feat: Matrix | None = None,
    rescale_plan: bool = True,
    init_pi: tuple[Matrix | None, Matrix | None] | None = None,
    init_duals: tuple[Scalings | None, Scalings | None] | None = None,
    max_iter: int = 100,
    tol: float = 1e-7,
    max_iter_ot: int = 500,
    tol_ot: float = 1e-7,
    log: bool = False,
    verbose: bool = False,
    **kwargs: object,
) -> tuple[Array, Array] | tuple[Array, Array, PlansLog]:
    """Plans of unbalanced CO-optimal transport: `fused_unbalanced_across_spaces_divergence` of ``"independent"``.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> X = np.array([[0.0, 1.0], [4.0, 2.0], [9.0, 7.0]])
    >>> rows, cols = ot.gromov.unbalanced_co_optimal_transport(X, X[::-1])
    >>> rows.argmax(axis=1), cols.argmax(axis=1)
    (array([2, 1, 0]), array([0, 1]))
    """
    found = across(
        unbalanced_co_optimal_transport,
        Given(X, Y, (wx_samp, wx_feat, wy_samp, wy_feat), (M_samp, M_feat)),
        reg_marginals=reg_marginals,
        epsilon=epsilon,
        reg_type="independent",
        divergence=divergence,
        unbalanced_solver=unbalanced_solver,
        alpha=alpha,
        init_pi=init_pi,
        how=Steps(rescale_plan, max_iter, tol, tol_ot, verbose),
        options=kwargs,
    )
    return (*found.plans, _notes(found, found.value)) if log else found.plans


@overload
def unbalanced_co_optimal_transport2(
    X: ArrayT, Y: Matrix, *, log: Literal[False] = ..., **options: Unpack[Across]
) -> ArrayT: ...
@overload
def unbalanced_co_optimal_transport2(
    X: ArrayT, Y: Matrix, *, log: Literal[True], **options: Unpack[Across]
) -> tuple[ArrayT, PlansLog]: ...
@public
def unbalanced_co_optimal_transport2(
    X: Matrix,
    Y: Matrix,
    wx_samp: Weights = None,
    wx_feat: Weights = None,
    wy_samp: Weights = None,
    wy_feat: Weights = None,
    reg_marginals: Strengths = 10,
    epsilon: Strengths = 0,
    divergence: str = "kl",
    unbalanced_solver: str = "sinkhorn",
    alpha: Strengths = 0,
    M_samp: Matrix | None = None,
    M_feat: Matrix | None = None,
    rescale_plan: bool = True,
    init_pi: tuple[Matrix | None, Matrix | None] | None = None,
    init_duals: tuple[Scalings | None, Scalings | None] | None = None,
    max_iter: int = 100,
    tol: float = 1e-7,
    max_iter_ot: int = 500,
    tol_ot: float = 1e-7,
    log: bool = False,
    verbose: bool = False,
    **kwargs: object,
) -> Array | tuple[Array, PlansLog]:
    """The objective of `unbalanced_co_optimal_transport`, differentiable in matrices, weights and costs.

    Derivatives hold the plans (envelope theorem).

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> X = np.array([[0.0, 1.0], [4.0, 2.0], [9.0, 7.0]])
    >>> bool(ot.gromov.unbalanced_co_optimal_transport2(X, X[::-1]) < 1e-6)
    True
    """
    found = across(
        unbalanced_co_optimal_transport2,
        Given(X, Y, (wx_samp, wx_feat, wy_samp, wy_feat), (M_samp, M_feat)),
        reg_marginals=reg_marginals,
        epsilon=epsilon,
        reg_type="independent",
        divergence=divergence,
        unbalanced_solver=unbalanced_solver,
        alpha=alpha,
        init_pi=init_pi,
        how=Steps(rescale_plan, max_iter, tol, tol_ot, verbose),
        options=kwargs,
        plans_alone=False,
    )
    value = found.value
    for M, factor, plan in zip(read(*found.given.linear), strengths(alpha, "alpha"), found.found.plans, strict=True):
        if M is not None:
            value = with_gradients(found.home, 0.0, (M,), (factor * plan,)) + value
    return answer(log, value, lambda: _notes(found, value))


def _notes(found: Found, value: Any) -> Any:
    """Return POT's dictionary."""
    first, second = found.duals
    notes = {"error": found.found.err, "duals_sample": first, "duals_feature": second}
    return notes | {"linear_cost": found.energy, "ucoot_cost": value}
