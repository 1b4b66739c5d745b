"""Attention through a few pivots: two entropic plans, composed and never multiplied out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..calls import public
from ..frameworks.options import Grad
from ..typing import Array, ArrayT
from .attention_solve import budget
from .frameworks import namespace, plan, real
from .marginals import columns, in_library, temperature
from .sequences import check_attention_inputs


@public
def low_rank_attention(
    q: ArrayT,
    k: ArrayT,
    v: ArrayT,
    pivots: Array,
    *,
    pivot_weights: Array | None = None,
    scale: float | None = None,
    epsilon: float | Array = 1.0,
    lam: float | Array | None = None,
    rho: float | Array | None = None,
    iterations: int = 5,
    tol: float | None = None,
    grad: Grad | None = None,
    key_mask: Array | None = None,
) -> ArrayT:
    """Attention whose weights are P1 diag(1 / (n w)) P2: queries to r pivots, pivots to keys.

    P1 (n, r) has rows of 1 and columns n w, P2 (r, m) rows n w and columns n / m, so that the product is doubly
    stochastic in the convention of attention: rows of 1, columns n / m. It is applied factor by factor, in O((n + m) r)
    time and memory. Rows of both are exact, and so are those of the product; columns are as far as the iterations go.

    Parameters
    ----------
    q, k, v : arrays, shapes (..., n, d), (..., m, d) and (..., m, dv)
        Of one dtype; leading dimensions broadcast.
    pivots : array, shape (..., r, d)
        Learned, say. Scores of either plan are scale times their products with queries and keys.
    pivot_weights : array, shape (..., r), optional
        Weights w > 0 that sum to 1, default 1 / r.
    scale : float, optional
        Default 1 / sqrt(d).
    epsilon : float or array, shape (...)
        Temperature of both plans.
    lam, rho : float or array, shape (...)
        Elasticity of the columns of both plans, as in `attention_weights`; default lam = 1.
    iterations, tol, grad
        As for `attention_weights`.
    key_mask : array of bool, shape (..., m), optional
        False for padding, which has weight 0; some key must be left.

    Returns
    -------
    array, shape (..., n, dv)

    See Also
    --------
    elastic_ot.low_rank : the cheapest plan of low rank, whose factors are not given by pivots.

    References
    ----------
    Scetbon, Cuturi, Peyré, *Low-rank Sinkhorn factorization*, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.low_rank import low_rank_attention
    >>> q, k, v = np.random.default_rng(0).normal(size=(3, 2, 100, 8))
    >>> pivots = np.random.default_rng(1).normal(size=(6, 8))
    >>> low_rank_attention(q, k, v, pivots).shape
    (2, 100, 8)
    """
    q, k, v = check_attention_inputs(q, k, v)
    pivots, _, _ = check_attention_inputs(pivots, k, v, first="pivots")
    xp = namespace(q, pivots)
    n, r = q.shape[-2], pivots.shape[-2]
    factor = -1.0 / math.sqrt(q.shape[-1]) if scale is None else -scale
    w = _pivot_weights(pivot_weights, r, q)
    keys = _key_weights(key_mask, k)
    if lam is None and rho is None:
        lam = 1.0
    epsilon = temperature(epsilon, q)
    how = {"epsilon": epsilon, "reference": "counting", **columns(lam, rho, epsilon, q)}
    how |= budget(None, iterations, tol, grad)
    turned = xp.matrix_transpose(pivots)
    first = plan(xp.matmul(q * factor, turned), xp.asarray(np.ones(n)), n * w, **how)
    second = plan(xp.matmul(pivots * factor, xp.matrix_transpose(k)), n * w, n * keys, **how)
    if key_mask is not None:
        v = xp.where(in_library(key_mask, v)[..., None], v, xp.zeros_like(v))
    summaries = xp.matmul(xp.astype(second, v.dtype, copy=False), v) / xp.astype(n * w, v.dtype)[..., None]
    return xp.matmul(xp.astype(first, v.dtype, copy=False), summaries)


def _pivot_weights(weights: Any, r: int, like: Any) -> Any:
    xp = namespace(like)
    if weights is None:
        return xp.asarray(np.full(r, 1.0 / r))
    weights = in_library(real("pivot_weights", weights), like)
    if weights.ndim == 0 or weights.shape[-1] != r:
        raise ValueError(f"pivot_weights has shape {tuple(weights.shape)} and there are {r} pivots; they must agree")
    return weights


def _key_weights(key_mask: Any, k: Any) -> Any:
    """Uniform over the keys that are no padding."""
    xp = namespace(k)
    m = k.shape[-2]
    if key_mask is None:
        return xp.asarray(np.full(m, 1.0 / m))
    key_mask = in_library(key_mask, k)
    if not xp.isdtype(key_mask.dtype, "bool"):
        raise TypeError(f"key_mask has dtype {key_mask.dtype}; it must be bool (False = padding)")
    if key_mask.ndim == 0 or key_mask.shape[-1] != m:
        raise ValueError(f"key_mask has shape {tuple(key_mask.shape)} and k {tuple(k.shape)}; it must be (..., m)")
    present = xp.astype(key_mask, xp.asarray(np.ones(1)).dtype)
    return present / xp.sum(present, axis=-1, keepdims=True)
