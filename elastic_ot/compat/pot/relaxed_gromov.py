"""Unbalanced Gromov-Wasserstein by POT's calls: penalties of product measures, two plans of the same points."""

from __future__ import annotations

from typing import Any, Literal, Unpack, overload

from ...calls import public
from ...typing import Array, ArrayT
from .across import Across, Given, across
from .homes import read, with_gradients
from .two_plans import Steps
from .types import Matrix, PlansLog, RelaxedSpaces, Scalings, Strengths, Weights, answer


@overload
def fused_unbalanced_gromov_wasserstein(
    Cx: ArrayT,
    Cy: Matrix,
    wx: Weights = ...,
    wy: Weights = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[RelaxedSpaces],
) -> tuple[ArrayT, ArrayT]: ...
@overload
def fused_unbalanced_gromov_wasserstein(
    Cx: ArrayT,
    Cy: Matrix,
    wx: Weights = ...,
    wy: Weights = ...,
    *,
    log: Literal[True],
    **options: Unpack[RelaxedSpaces],
) -> tuple[ArrayT, ArrayT, PlansLog]: ...
@public
def fused_unbalanced_gromov_wasserstein(
    Cx: Matrix,
    Cy: Matrix,
    wx: Weights = None,
    wy: Weights = None,
    reg_marginals: Strengths = 10,
    epsilon: float = 0,
    divergence: str = "kl",
    unbalanced_solver: str = "mm",
    alpha: float = 0,
    M: Matrix | None = None,
    init_duals: Scalings | None = None,
    init_pi: Matrix | None = None,
    max_iter: int = 100,
    tol: float = 1e-7,
    max_iter_ot: int = 500,
    tol_ot: float = 1e-7,
    log: bool = False,
    verbose: bool = False,
    **kwargs: object,
) -> tuple[Array, Array] | tuple[Array, Array, PlansLog]:
    """Plans of unbalanced Gromov-Wasserstein, as by ``ot.gromov.fused_unbalanced_gromov_wasserstein``.

    The least of E(P, Q) + alpha <M, P + Q> / 2 + rho_x D(P 1 ⊗ Q 1 | wx ⊗ wx) + rho_y D(P^T 1 ⊗ Q^T 1 | wy ⊗ wy) +
    epsilon KL(P ⊗ Q | (wx ⊗ wy) ⊗ (wx ⊗ wy)), E the sum of (Cx_ik - Cy_jl)^2 P_ij Q_kl. Each plan is solved for given
    the other one. With an entropy, ``elastic_ot.gromov(..., penalties="product")`` is this problem with P = Q.

    Parameters
    ----------
    Cx, Cy : array_like, shapes (n, n) and (m, m)
        Costs within each space.
    wx, wy : array_like, shapes (n,) and (m,), optional
        Weights, uniform ones by default.
    reg_marginals : float or pair
        rho_x and rho_y; ``inf`` for marginals that are met.
    epsilon : float
        Strength of the entropy. Without one a second descent begins where one with less and less entropy has ended, and
        the better result is returned: sparse plans are stationary where they are not good.
    divergence : {"kl", "l2"}
        D: relative entropy, or half a squared distance, for ``epsilon=0`` only.
    unbalanced_solver : {"mm", "lbfgsb", "sinkhorn", "sinkhorn_log"}
        Ignored but for "l2", which is "kl" with one of the last two, as in POT.
    alpha : float
        Strength of `M`.
    M : array_like, shape (n, m), optional
        Costs between the spaces.
    init_pi : array_like, shape (n, m), optional
        The plan to begin with, default wx wy^T.
    max_iter, tol : optional
        Pairs of linear problems at most, and the L1 change of the plan that ends the descent.
    tol_ot : float
        Tolerance of these problems where there is an entropy.
    init_duals, max_iter_ot
        Ignored: they are solved to their tolerance.
    log : bool
        Return the dictionary as well.
    verbose : bool
        Print the changes.

    Returns
    -------
    plan, plan2 : array, shape (n, m)
        P and Q, equal where the energy is concave. Their derivatives are refused.
    log : dict
        "error", the changes; "duals", of P; "linear_cost", E, and "fugw_cost", the objective, as POT names them.

    Raises
    ------
    ValueError
        Costs outweigh the penalties, and the best plan has no mass.

    Warns
    -----
    ConvergenceWarning
        The plan still moves after `max_iter`, where POT says nothing.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> x = np.array([0.0, 1.0, 4.0])
    >>> C = np.abs(x[:, None] - x)
    >>> plan, _ = ot.gromov.fused_unbalanced_gromov_wasserstein(C, C[::-1, ::-1], reg_marginals=1.0)
    >>> plan.round(3)
    array([[0.   , 0.   , 0.333],
           [0.   , 0.333, 0.   ],
           [0.333, 0.   , 0.   ]])
    """
    found = fused(
        fused_unbalanced_gromov_wasserstein,
        *(Cx, Cy, wx, wy, M, alpha, reg_marginals, epsilon, divergence, unbalanced_solver, init_pi),
        how=Steps(True, max_iter, tol, tol_ot, verbose),
        options=kwargs,
    )
    return (*found.plans, notes_of_fused(found, found.value)) if log else found.plans


@overload
def fused_unbalanced_gromov_wasserstein2(
    Cx: ArrayT,
    Cy: Matrix,
    wx: Weights = ...,
    wy: Weights = ...,
    *,
    log: Literal[False] = ...,
    **options: Unpack[RelaxedSpaces],
) -> ArrayT: ...
@overload
def fused_unbalanced_gromov_wasserstein2(
    Cx: ArrayT,
    Cy: Matrix,
    wx: Weights = ...,
    wy: Weights = ...,
    *,
    log: Literal[True],
    **options: Unpack[RelaxedSpaces],
) -> tuple[ArrayT, PlansLog]: ...
@public
def fused_unbalanced_gromov_wasserstein2(
    Cx: Matrix,
    Cy: Matrix,
    wx: Weights = None,
    wy: Weights = None,
    reg_marginals: Strengths = 10,
    epsilon: float = 0,
    divergence: str = "kl",
    unbalanced_solver: str = "mm",
    alpha: float = 0,
    M: Matrix | None = None,
    init_duals: Scalings | None = None,
    init_pi: Matrix | None = None,
    max_iter: int = 100,
    tol: float = 1e-7,
    max_iter_ot: int = 500,
    tol_ot: float = 1e-7,
    log: bool = False,
    verbose: bool = False,
    **kwargs: object,
) -> Array | tuple[Array, PlansLog]:
    """The objective of `fused_unbalanced_gromov_wasserstein`, differentiable in `Cx`, `Cy`, `M`, `wx` and `wy`.

    Arguments and dictionary are the same. Derivatives hold the plans (envelope theorem); of "l2" they are its own,
    where POT returns those of "kl".

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot.compat.pot as ot
    >>> x = np.array([0.0, 1.0, 4.0])
    >>> C = np.abs(x[:, None] - x)
    >>> bool(ot.gromov.fused_unbalanced_gromov_wasserstein2(C, C[::-1, ::-1]) < 1e-6)
    True
    """
    found = fused(
        fused_unbalanced_gromov_wasserstein2,
        *(Cx, Cy, wx, wy, M, alpha, reg_marginals, epsilon, divergence, unbalanced_solver, init_pi),
        how=Steps(True, max_iter, tol, tol_ot, verbose),
        options=kwargs,
        plans_alone=False,
    )
    value = value_of_fused(found, alpha)
    return answer(log, value, lambda: notes_of_fused(found, value))


def fused(
    call: Any,
    Cx: Any,
    Cy: Any,
    wx: Any,
    wy: Any,
    M: Any,
    alpha: Any,
    reg_marginals: Any,
    epsilon: Any,
    divergence: str,
    unbalanced_solver: str,
    init_pi: Any,
    *,
    how: Steps,
    options: Any,
    loss: str = "square",
    plans_alone: bool = True,
) -> Across:
    """Solve with the same weights and costs for both plans."""
    return across(
        call,
        Given(Cx, Cy, (wx, wx, wy, wy), (M, M)),
        reg_marginals=reg_marginals,
        epsilon=epsilon,
        reg_type="joint",
        divergence=divergence,
        unbalanced_solver=unbalanced_solver,
        alpha=0.5 * float(alpha),
        init_pi=(init_pi, init_pi),
        how=how,
        options=options,
        loss=loss,
        plans_alone=plans_alone,
    )


def value_of_fused(found: Across, alpha: float) -> Any:
    """Return the objective with its derivatives, that in M included."""
    (M,) = read(found.given.linear[0])
    if M is None:
        return found.value
    P, Q = found.found.plans
    return with_gradients(found.home, 0.0, (M,), (0.5 * alpha * (P + Q),)) + found.value


def notes_of_fused(found: Across, value: Any) -> Any:
    """Return POT's dictionary."""
    notes = {"error": found.found.err, "duals": found.duals[0], "linear_cost": found.energy}
    return notes | {"fugw_cost": value}
