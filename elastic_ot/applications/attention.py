"""Attention whose columns are balanced by the solver: elastic, damped, and with a fixed number of half steps.

Scores S have shape (..., n, m): n queries, m keys. Weights are the plan of the cost -S with the reference "counting":
rows sum to 1, and columns are asked to sum to n / m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..calls import public
from ..frameworks.options import Grad
from ..typing import Array, ArrayT
from .arguments import count
from .attention_solve import budget, column_potentials, score_matrix, weights_of
from .causal import causal_weights
from .frameworks import namespace, softmax
from .marginals import checked_mask, columns, in_library, is_array, targets, temperature
from .sequences import check_attention_inputs

ATTENTION_TOL = 1e-9


@public
def attention_weights(
    scores: ArrayT,
    *,
    epsilon: float | Array = 1.0,
    lam: float | Array | None = None,
    rho: float | Array | None = None,
    b: Array | None = None,
    mask: Array | None = None,
    n_half_steps: int | None = None,
    iterations: int = 5,
    tol: float | None = None,
    grad: Grad | None = None,
    null_score: float | Array | None = None,
) -> ArrayT:
    """Attention weights with elastic columns, from softmax to a doubly stochastic matrix.

    Rows are exact; columns are `Elastic(lam)` or `KL(rho)` around their targets `b`. At the optimum the score of key j
    is lowered by rho log(c_j / b_j), c its column sum: what is attended to too often costs more.

    Parameters
    ----------
    scores : array, shape (..., n, m)
        Of NumPy, torch, JAX or another array API library. -inf forbids a pair as `mask` does, but a query that has
        nothing else is refused then.
    epsilon : float or array, shape (...)
        Temperature, in the units of the scores.
    lam, rho : float or array, shape (...)
        One of the two. lam in [0, 1]: 0 is the softmax, 1 doubly stochastic. rho in [0, inf], in the units of the
        scores. Arrays (one number a head, say) broadcast over the leading dimensions and may carry gradients; in
        torch and JAX they must then stay below 1 or inf: learn theta with rho = epsilon exp(theta), which is
        lam = sigmoid(theta).
    b : array, shape (..., m), optional
        Targets of the columns, default n / m. With lam = 1 they must sum to n, else their scale does not matter. With a
        mask it is 0 for keys that nobody may attend to, and the number of queries over the number of keys otherwise,
        both without those that are masked altogether.
    mask : array of bool, optional
        True = may attend; broadcasts to the scores. A query that may attend to nothing has weights and gradients 0.
    n_half_steps : int, optional
        Exactly so many half steps, rows first; an even number ends on the columns. Instead of `iterations`.
    iterations : int
        So many iterations, the last one without its column update: rows are exact. Five balance mild scores; sharp
        ones at lam near 1 need more, or `tol`.
    tol : float, optional
        Solve to this tolerance instead, see `elastic_ot.solve`.
    grad : {"unroll", "implicit", "detach"}, optional
        In torch and JAX: differentiate the iterations (default without `tol`), the solution (default with it), or take
        the potentials of the columns for constants.
    null_score : float or array, shape (...), optional
        Score of one more key, which stands for no key at all and whose column is free: rows sum to what is not given
        to it, at most 1. The balance has no hold on it, so a head keeps a way to do nothing. The scale of `b`
        matters then; with lam = 1 more and more is taken from it, until what is left of the queries by `b` is.
        Not together with `tol`. With ``lam=0`` and a score of 0 it adds one to the denominator of the softmax, which is
        known as softmax-off-by-one.

    Returns
    -------
    array, shape (..., n, m)
        In the library and the dtype of the scores.

    Raises
    ------
    ValueError, TypeError
        Bad input, by name; NaN among the scores (when the solver runs).

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.attention import attention_weights
    >>> scores = np.array([[0.0, 3.0], [0.0, 3.0]])
    >>> for lam in (0.0, 0.5, 1.0):
    ...     print(lam, attention_weights(scores, lam=lam, iterations=50).sum(axis=0).round(2))
    0.0 [0.09 1.91]
    0.5 [0.36 1.64]
    1.0 [1. 1.]
    """
    scores = score_matrix(scores)
    epsilon = temperature(epsilon, scores)
    elastic = columns(lam, rho, epsilon, scores)
    return weights_of(-scores, epsilon, elastic, b, mask, budget(n_half_steps, iterations, tol, grad), null_score)


@public
def elastic_attention(
    q: ArrayT,
    k: ArrayT,
    v: ArrayT,
    *,
    scale: float | None = None,
    causal: bool = False,
    epsilon: float | Array = 1.0,
    lam: float | Array | None = None,
    rho: float | Array | None = None,
    b: Array | None = None,
    mask: Array | None = None,
    n_half_steps: int | None = None,
    iterations: int = 5,
    tol: float | None = None,
    grad: Grad | None = None,
    null_score: float | Array | None = None,
    need_weights: bool = False,
) -> ArrayT | tuple[ArrayT, ArrayT]:
    """Attention with elastic columns: `attention_weights` of the scores scale q k^T, times v.

    Parameters
    ----------
    q, k, v : arrays, shapes (..., n, d), (..., m, d) and (..., m, dv)
        Of one dtype; leading dimensions broadcast.
    scale : float, optional
        Default 1 / sqrt(d).
    causal : bool
        Query i attends to keys j <= i, by `causal_weights` with `iterations` rounds. `b`, `n_half_steps`, `tol`, `grad`
        and `null_score` are not for it.
    epsilon, lam, rho, b, mask, n_half_steps, iterations, tol, grad, null_score
        As for `attention_weights`.
    need_weights : bool
        Also return the weights.

    Returns
    -------
    array, shape (..., n, dv), or (array, weights)
        0 for a query that may attend to nothing.

    Raises
    ------
    ValueError, TypeError
        Shapes that do not fit, dtypes that differ, what `attention_weights` refuses.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.attention import elastic_attention
    >>> q, k, v = np.random.default_rng(0).normal(size=(3, 2, 8, 16, 4))
    >>> out, weights = elastic_attention(q, k, v, lam=0.5, need_weights=True)
    >>> out.shape, bool(np.allclose(weights.sum(axis=-1), 1))
    ((2, 8, 16, 4), True)
    """
    q, k, v = check_attention_inputs(q, k, v)
    xp = namespace(q)
    # The cost straight from the product: negating and scaling q is cheaper than the scores.
    cost = xp.matmul(q * (-1.0 / math.sqrt(q.shape[-1]) if scale is None else -scale), xp.matrix_transpose(k))
    if causal:
        given = {"b": b, "n_half_steps": n_half_steps, "tol": tol, "grad": grad, "null_score": null_score}
        for name, value in given.items():
            if value is not None:
                raise ValueError(f"causal attention takes iterations, lam or rho, epsilon and mask; leave {name} out")
        weights = causal_weights(-cost, rounds=iterations, lam=lam, rho=rho, epsilon=epsilon, mask=mask)
    else:
        epsilon = temperature(epsilon, cost)
        elastic = columns(lam, rho, epsilon, cost)
        weights = weights_of(cost, epsilon, elastic, b, mask, budget(n_half_steps, iterations, tol, grad), null_score)
    out = xp.matmul(weights, v)
    return (out, weights) if need_weights else out


@public
def damped_weights(scores: ArrayT, lam: float, steps: int, epsilon: float | Sequence[float] = 1.0) -> ArrayT:
    """Weights after so many steps of the damped rule v <- (b / K^T u)^lam v^(1 - lam), rows last.

    The rule is Sinkhorn's with an under-relaxed column update. For every lam in (0, 1] its fixed point is the doubly
    stochastic matrix: lam is a speed, and an elasticity only as far as `steps` cut it short. `attention_weights` has
    the elasticity that holds at convergence.

    Parameters
    ----------
    scores : array, shape (..., n, m)
        Columns aim at n / m.
    lam : float
        In [0, 1]; 0 is the softmax.
    steps : int
        Row updates; column updates are one fewer.
    epsilon : float or array, shape (levels,)
        Temperature; falling ones anneal: `steps` at each, going on from the potentials of the one before. The
        limit is a permutation of maximal score.

    Returns
    -------
    array, shape (..., n, m)
        Rows sum to 1. Gradients of torch and JAX take the potentials of the columns for constants.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.attention import damped_weights
    >>> scores = np.array([[3.0, 2.9, 0.0], [3.0, 0.0, 0.0], [2.0, 0.0, 1.0]])
    >>> damped_weights(scores, 0.5, 30, np.geomspace(1, 0.01, 10)).round(2)
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 0., 1.]])
    """
    scores = score_matrix(scores)
    xp = namespace(scores)
    count("steps", steps)
    if is_array(lam) or not 0 <= lam <= 1:
        raise ValueError(f"lam is {lam}; it must be a number between 0 and 1")
    levels = [float(x) for x in np.reshape(np.asarray(epsilon, dtype=np.float64), (-1,))]
    if not levels or not all(0 < level < math.inf for level in levels):
        raise ValueError(f"epsilon is {epsilon}; it must be positive and finite, one number or a sequence")
    a, b, _, _ = targets(scores)
    raised = scores
    for level in levels if lam > 0 and steps > 1 else ():
        # g shifts the scores, so that the next level goes on from it.
        raised = raised + column_potentials(
            -raised,
            a,
            b,
            epsilon=level,
            reference="counting",
            method="log",
            relaxation=float(lam),
            tol=1e-15,
            max_iter=steps,
            end="rows",
            on_failure="ignore",
        )
    return xp.astype(softmax(raised / levels[-1]), scores.dtype, copy=False)


@public
def sinkformer_weights(
    scores: ArrayT,
    n_half_steps: int | None = 3,
    *,
    epsilon: float | Array = 1.0,
    mask: Array | None = None,
    key_mask: Array | None = None,
    column_exponent: float | Array | None = None,
    grad: Grad | None = None,
) -> ArrayT:
    """Attention weights of a Sinkformer: a softmax over keys, over queries, over keys, and so on.

    Parameters
    ----------
    scores : array, shape (..., n, m)
    n_half_steps : int or None
        Normalisations, rows first: 1 is the softmax, an odd number has exact rows. None solves to convergence.
    epsilon : float or array, shape (...)
        Temperature.
    mask : array of bool, optional
        True = may attend; broadcasts to the scores.
    key_mask : array of bool, shape (..., m), optional
        False for padding, whose weight is exactly 0.
    column_exponent : float or array, optional
        The unbalanced variant: columns are divided by their sum to this power, q / (q + epsilon) for a strength q.
        Default 1.
    grad : {"unroll", "detach", "implicit"}, optional
        In torch and JAX. "unroll" (default): through every half step. "detach": the potentials of the columns are
        constants; needs an odd number. "implicit" (default of ``n_half_steps=None``): of the converged weights.

    Returns
    -------
    array, shape (..., n, m)

    References
    ----------
    Sander, Ablin, Blondel, Peyré, *Sinkformers: Transformers with doubly stochastic attention*, 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.attention import sinkformer_weights
    >>> scores = np.random.default_rng(0).normal(size=(4, 4))
    >>> [abs(sinkformer_weights(scores, count).sum(axis=0) - 1).max().round(3) for count in (1, 3, 21)]
    [np.float64(0.435), np.float64(0.025), np.float64(0.0)]
    """
    scores = score_matrix(scores)
    if key_mask is not None:
        keys = checked_mask(in_library(key_mask, scores)[..., None, :], scores)
        mask = keys if mask is None else keys & checked_mask(mask, scores)
    epsilon = temperature(epsilon, scores)
    elastic = columns(1.0 if column_exponent is None else column_exponent, None, epsilon, scores)
    how = budget(n_half_steps, 1, ATTENTION_TOL if n_half_steps is None else None, grad)
    return weights_of(-scores, epsilon, elastic, None, mask, how, None)
