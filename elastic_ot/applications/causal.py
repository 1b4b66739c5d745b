"""Balanced attention that never looks ahead: column normalisers over the past alone."""

from __future__ import annotations

from typing import Any

from ..calls import public
from ..typing import Array, ArrayT
from .arguments import count
from .frameworks import cumulated, namespace, real
from .marginals import checked_mask, exponent, per_entry, temperature


@public
def causal_weights(
    scores: ArrayT,
    *,
    rounds: int = 5,
    lam: float | Array | None = None,
    rho: float | Array | None = None,
    epsilon: float | Array = 1.0,
    mask: Array | None = None,
) -> ArrayT:
    """Causal attention weights whose columns are balanced as far as the past goes.

    An ordinary column update sums over all queries and so tells early queries about late ones. Here query i has column
    potentials of its own, from the queries up to i: with r(i) = {j <= i},

        f_i  = -epsilon log sum_{j in r(i)} exp((S_ij + G_ij) / epsilon)
        G_ij = tau epsilon (log B_ij - log sum_{i' <= i, j in r(i')} exp((S_i'j + f_i') / epsilon))
        B_ij = sum_{i' <= i, j in r(i')} 1 / size of r(i')

    where B is what uniform attention would give key j up to query i. Rounds start and end with f, so rows sum to 1.
    The only causal doubly stochastic matrix is the identity; B keeps the balance from driving there. No entry of row i
    depends on anything after i, to the last bit.

    Parameters
    ----------
    scores : array, shape (..., n, n)
        Entries above the diagonal are not used, whatever they are. NaN below it spreads to the rows after.
    rounds : int
        Row updates; column updates are one fewer, so that 1 is the causal softmax.
    lam, rho : float or array, shape (...)
        Elasticity: tau is lam in [0, 1], or rho / (rho + epsilon). Default lam = 1. Arrays may carry gradients.
    epsilon : float or array, shape (...)
        Temperature.
    mask : array of bool, optional
        True = may attend, within j <= i; broadcasts to the scores. A query with nothing left has weights 0.

    Returns
    -------
    array, shape (..., n, n)
        Exactly 0 above the diagonal. Differentiable by the library's own rules; its memory is that of
        rounds log2(n) matrices then.

    References
    ----------
    Tay, Bahri, Yang, Metzler, Juan, *Sparse Sinkhorn attention*, 2020, section 3.3: causal sorting.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.causal import causal_weights
    >>> scores = np.array([[0.0, 9.0, 9.0], [2.0, 0.0, 9.0], [2.0, 0.0, 0.0]])
    >>> causal_weights(scores, rounds=1).round(2)
    array([[1.  , 0.  , 0.  ],
           [0.88, 0.12, 0.  ],
           [0.79, 0.11, 0.11]])
    >>> causal_weights(scores, rounds=5).round(2)
    array([[1.  , 0.  , 0.  ],
           [0.53, 0.47, 0.  ],
           [0.37, 0.33, 0.3 ]])
    """
    scores = real("scores", scores)
    if scores.ndim < 2 or scores.shape[-1] != scores.shape[-2] or scores.shape[-1] == 0:
        raise ValueError(f"scores has shape {tuple(scores.shape)}; causal attention takes (..., n, n)")
    count("rounds", rounds)
    xp = namespace(scores)
    n = scores.shape[-1]
    past = xp.tril(xp.ones((n, n), dtype=xp.bool))
    if mask is not None:
        past = past & checked_mask(mask, scores)
    if lam is None and rho is None:
        lam = 1.0
    epsilon = temperature(epsilon, scores)
    return balanced_past(scores, past, rounds, exponent(lam, rho, epsilon, scores), epsilon)


def balanced_past(scores: Any, past: Any, rounds: int, tau: Any, epsilon: Any) -> Any:
    """`causal_weights` for any `past`, a mask (..., n, m) whose row i is what query i may see."""
    xp = namespace(scores)
    nothing = _nothing(scores)
    logits = xp.where(past, xp.where(past, scores, xp.zeros_like(scores)) / per_entry(epsilon), nothing)
    size = xp.sum(xp.astype(past, scores.dtype), axis=-1, keepdims=True)
    uniform = xp.astype(past, scores.dtype) / xp.where(size > 0, size, xp.ones_like(size))
    target = cumulated(uniform, axis=-2)
    log_target = xp.log(xp.where(target > 0, target, xp.ones_like(target)))
    balance = xp.zeros_like(logits)
    for _ in range(rounds - 1):
        f = -_row_logsumexp(logits + balance)
        sums = prefix_logsumexp(xp.where(past, logits + f, nothing), nothing)
        balance = xp.where(past, tau * (log_target - xp.where(past, sums, xp.zeros_like(sums))), xp.zeros_like(sums))
    logits = logits + balance
    weights = xp.exp(logits - _row_logsumexp(logits))
    return xp.where(past, weights, xp.zeros_like(weights))


def normalised_past(scores: Any, past: Any, iterations: int) -> Any:
    """Rows, then columns of exp(scores) are divided by their sums over `past`, those of columns over the rows so far.

    An entry of a column is divided by what it and the rows before it hold now, so that every division starts from the
    result of the last. Where nothing is left the result is 0.
    """
    xp = namespace(scores)
    nothing = _nothing(scores)
    logits = xp.where(past, xp.where(past, scores, xp.zeros_like(scores)), nothing)
    for _ in range(iterations):
        logits = xp.where(past, logits - _row_logsumexp(logits), nothing)
        logits = xp.where(past, logits - prefix_logsumexp(logits, nothing), nothing)
    return xp.where(past, xp.exp(logits), xp.zeros_like(logits))


def _nothing(scores: Any) -> Any:
    """What stands for log 0: finite, or derivatives of log(exp(-inf) + exp(-inf)) would be nan.

    A quarter of the least number, so that sums of a few are finite.
    """
    xp = namespace(scores)
    return xp.full((), xp.finfo(scores.dtype).min / 4, dtype=scores.dtype)


def prefix_logsumexp(x: Any, nothing: Any) -> Any:
    """Row i is log sum exp over rows up to i, in log2(n) shifted additions; `nothing` is what stands for log 0.

    Entry i of every addition comes from rows i and i - shift: what is later never enters, not even to be cancelled.
    """
    xp = namespace(x)
    n, m = x.shape[-2:]
    shift = 1
    while shift < n:
        before = xp.broadcast_to(nothing, (*x.shape[:-2], shift, m))
        x = xp.logaddexp(x, xp.concat([before, x[..., : n - shift, :]], axis=-2))
        shift *= 2
    return x


def _row_logsumexp(x: Any) -> Any:
    """Return the log-sum-exp of finite numbers along the last axis, which is kept with length 1."""
    xp = namespace(x)
    top = xp.max(x, axis=-1, keepdims=True)
    return top + xp.log(xp.sum(xp.exp(x - top), axis=-1, keepdims=True))
