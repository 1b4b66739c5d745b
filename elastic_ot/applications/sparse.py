"""Sparse Sinkhorn attention: blocks of keys are sorted softly by the solver, queries attend to two blocks each.

Sequences (..., L, d) are cut into blocks of b tokens. The last block is padded and masked, and results are cut back to
L. Memory is O(L b), plus (L / b)^2 for the sorting.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from ..calls import public
from ..typing import Array, ArrayT
from .blocks import CausalColumns, block_scores, check_block, cut, real_keys, sort_blocks, sort_matrix
from .frameworks import namespace, softmax
from .sequences import check_attention_inputs

__all__ = ["block_scores", "sort_blocks", "sparse_attention"]

Combine = Literal["concat", "sum"]


@public
def sparse_attention(
    q: ArrayT,
    k: ArrayT,
    v: ArrayT,
    sort_scores: Array,
    *,
    block: int,
    temperature: float = 0.75,
    iterations: int = 7,
    noise: Array | None = None,
    sortcut: int | None = None,
    combine: Combine = "concat",
    causal: bool = False,
    causal_columns: CausalColumns = "uniform",
    key_mask: Array | None = None,
    scale: float | None = None,
) -> ArrayT:
    """Attention to the local block and to the block that a soft permutation brings to it.

    ``P = sort_blocks(sort_scores)`` mixes the blocks of keys, and of values, by the same weights: sorted block i is
    sum_j P_ij block j, position by position.

    Parameters
    ----------
    q, k, v : arrays, shapes (..., L, d), (..., L, d) and (..., L, dv)
        Of one dtype; leading dimensions broadcast.
    sort_scores : array, shape (..., N, N)
        N = ceil(L / block); row i says which blocks block i should see, in logits. From a learned network, or
        `block_scores`.
    block : int
        Tokens in a block, at most L.
    temperature, iterations, noise, causal_columns
        As for `sort_blocks`.
    sortcut : int, optional
        Every query attends to the first so many sorted blocks, and to nothing else.
    combine : {"concat", "sum"}
        One softmax over both blocks, or the sum of two attentions.
    causal : bool
        Block i sorts blocks before it, and attends within itself to the past; the first block does only that. Row i of
        `sort_scores` must then depend on tokens before block i alone, as `block_scores(..., causal=True)` does.
    key_mask : array of bool, shape (..., L), optional
        False for padding. A mixed position counts for its share of keys that are none. A block of padding alone takes
        no part: its queries return 0, unless there is a `sortcut`.
    scale : float, optional
        Default 1 / sqrt(d).

    Returns
    -------
    array, shape (..., L, dv)

    References
    ----------
    Tay, Bahri, Yang, Metzler, Juan, *Sparse Sinkhorn attention*, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.blocks import block_scores
    >>> from elastic_ot.applications.sparse import sparse_attention
    >>> q, k, v = np.random.default_rng(0).normal(size=(3, 2, 100, 8))
    >>> sparse_attention(q, k, v, block_scores(q, k, 16), block=16).shape
    (2, 100, 8)
    """
    q, k, v = check_attention_inputs(q, k, v)
    length = k.shape[-2]
    if q.shape[-2] != length:
        raise ValueError(f"q has shape {tuple(q.shape)} and k {tuple(k.shape)}; blocks need one length")
    check_block(block, length)
    if combine not in ("concat", "sum"):
        raise ValueError(f"combine is {combine!r}; choose from 'concat', 'sum'")
    xp = namespace(q)
    count = -(-length // block)
    _check_sortcut(sortcut, count, causal)
    present = real_keys(k, block, key_mask)
    order = sort_blocks(
        sort_matrix(sort_scores, count),
        temperature=temperature,
        iterations=iterations,
        noise=noise,
        causal=causal,
        causal_columns=causal_columns,
        block_mask=None if present is None else xp.any(present, axis=-1),
    )
    dtype = q.dtype
    factor = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    q, k, v = cut(q * factor, block), cut(k, block), cut(v, block)
    if present is not None:
        k, v = (xp.where(present[..., None], x, xp.zeros_like(x)) for x in (k, v))
    brought = _sorted_keys(xp.astype(order, dtype, copy=False), k, v, present, causal)
    if sortcut is not None:
        out = _attend(q, [_first_blocks(brought, sortcut)])
    else:
        allowed = xp.tril(xp.ones((block, block), dtype=xp.bool)) if causal else None
        if present is not None:
            allowed = present[..., None, :] if allowed is None else allowed & present[..., None, :]
        local = _Keys(k, v, None if allowed is None else _log(xp.astype(allowed, dtype)))
        groups = [[brought, local]] if combine == "concat" else [[brought], [local]]
        out = sum(_attend(q, group) for group in groups)
    return xp.reshape(out, (*out.shape[:-3], count * block, out.shape[-1]))[..., :length, :]


class _Keys(NamedTuple):
    """Blocks of keys and values (..., N, c, width), and what is added to their scores: None or (..., N, 1 or b, c)."""

    k: Any
    v: Any
    bias: Any


def _sorted_keys(order: Any, k: Any, v: Any, present: Any, causal: bool) -> _Keys:
    """Mixtures of the keys that are no padding (those are 0); their share is what a mixture counts for."""
    xp = namespace(k)
    mixed_k, mixed_v = _mixed(order, k), _mixed(order, v)
    if present is None and not causal:
        return _Keys(mixed_k, mixed_v, None)
    total = xp.sum(order, axis=-1)[..., None, None]
    if present is None:
        return _Keys(mixed_k, mixed_v, _log(xp.astype(total > 0, k.dtype)))
    share = _mixed(order, xp.astype(present, k.dtype)[..., None]) / xp.where(total > 0, total, xp.ones_like(total))
    counted = xp.where(share > 0, share, xp.ones_like(share))
    return _Keys(mixed_k / counted, mixed_v / counted, xp.matrix_transpose(_log(share)))


def _mixed(order: Any, x: Any) -> Any:
    """Block i is sum_j order_ij block j."""
    xp = namespace(x)
    *_, count, block, width = x.shape
    flat = xp.matmul(order, xp.reshape(x, (*x.shape[:-2], block * width)))
    return xp.reshape(flat, (*flat.shape[:-2], count, block, width))


def _attend(q: Any, groups: list[_Keys]) -> Any:
    """Softmax attention of every block of queries to its blocks of keys, all in one softmax."""
    xp = namespace(q)
    scores = []
    for keys in groups:
        products = xp.matmul(q, xp.matrix_transpose(keys.k))
        scores.append(products if keys.bias is None else products + keys.bias)
    lead = np.broadcast_shapes(*(tuple(x.shape[:-1]) for x in scores))
    scores = [xp.broadcast_to(x, (*lead, x.shape[-1])) for x in scores]
    weights = softmax(scores[0] if len(scores) == 1 else xp.concat(scores, axis=-1))
    out, start = 0, 0
    for keys in groups:
        stop = start + keys.k.shape[-2]
        out = out + xp.matmul(weights[..., start:stop], keys.v)
        start = stop
    return out


def _first_blocks(keys: _Keys, count: int) -> _Keys:
    """The first blocks as one that all queries share."""
    xp = namespace(keys.k)

    def joined(x: Any) -> Any:
        return xp.reshape(x[..., :count, :, :], (*x.shape[:-3], 1, count * x.shape[-2], x.shape[-1]))

    bias = keys.bias
    if bias is not None:
        bias = xp.matrix_transpose(joined(xp.matrix_transpose(bias)))
    return _Keys(joined(keys.k), joined(keys.v), bias)


def _log(share: Any) -> Any:
    """Log of a share of something, -inf for 0, with derivatives that are numbers."""
    xp = namespace(share)
    return xp.where(share > 0, xp.log(xp.where(share > 0, share, xp.ones_like(share))), -xp.inf)


def _check_sortcut(sortcut: Any, count: int, causal: bool) -> None:
    if sortcut is None:
        return
    if causal:
        raise ValueError(f"sortcut is {sortcut} and causal is True; the first sorted blocks are no past of all queries")
    if isinstance(sortcut, bool) or not isinstance(sortcut, int) or not 1 <= sortcut <= count:
        raise ValueError(f"sortcut is {sortcut!r}; it must be an integer between 1 and the number of blocks {count}")
