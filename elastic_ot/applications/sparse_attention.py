"""Sparse Sinkhorn attention: blocks of keys are sorted softly by the solver, queries attend to two blocks each.

Sequences (..., L, d) are cut into blocks of b tokens. The last block is padded and masked, and results are cut back to
L. Memory is O(L b), plus (L / b)^2 for the sorting.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from .causal import balanced_past
from .frameworks import half_steps, namespace, plan, real, softmax
from .marginals import in_library
from .sequences import check_attention_inputs, check_count

Combine = Literal["concat", "sum"]


def sparse_attention(
    q: Any,
    k: Any,
    v: Any,
    sort_scores: Any,
    *,
    block: int,
    temperature: float = 0.75,
    iterations: int = 7,
    noise: Any = None,
    sortcut: int | None = None,
    combine: Combine = "concat",
    causal: bool = False,
    key_mask: Any = None,
    scale: float | None = None,
) -> Any:
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
    temperature, iterations, noise
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
    >>> from elastic_ot.applications.sparse_attention import block_scores, sparse_attention
    >>> q, k, v = np.random.default_rng(0).normal(size=(3, 2, 100, 8))
    >>> sparse_attention(q, k, v, block_scores(q, k, 16), block=16).shape
    (2, 100, 8)
    """
    q, k, v = check_attention_inputs(q, k, v)
    length = k.shape[-2]
    if q.shape[-2] != length:
        raise ValueError(f"q has shape {tuple(q.shape)} and k {tuple(k.shape)}; blocks need one length")
    _check_block(block, length)
    if combine not in ("concat", "sum"):
        raise ValueError(f"combine is {combine!r}; choose from 'concat', 'sum'")
    xp = namespace(q)
    count = -(-length // block)
    _check_sortcut(sortcut, count, causal)
    real_keys = _real_keys(k, block, key_mask)
    order = sort_blocks(
        _matching(sort_scores, count),
        temperature=temperature,
        iterations=iterations,
        noise=noise,
        causal=causal,
        block_mask=None if real_keys is None else xp.any(real_keys, axis=-1),
    )
    dtype = q.dtype
    factor = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    q, k, v = cut(q * factor, block), cut(k, block), cut(v, block)
    brought = _sorted_keys(xp.astype(order, dtype, copy=False), k, v, real_keys, causal)
    if sortcut is not None:
        first = _Keys(*(None if x is None else _joined_blocks(x, sortcut) for x in brought))
        out = _attend(q, [first])
    else:
        allowed = xp.tril(xp.ones((block, block), dtype=xp.bool)) if causal else None
        if real_keys is not None:
            allowed = real_keys[..., None, :] if allowed is None else allowed & real_keys[..., None, :]
        local = _Keys(k, v, None if allowed is None else _log(xp.astype(allowed, dtype)))
        groups = [[brought, local]] if combine == "concat" else [[brought], [local]]
        out = sum(_attend(q, group) for group in groups)
    return xp.reshape(out, (*out.shape[:-3], count * block, out.shape[-1]))[..., :length, :]


def sort_blocks(
    sort_scores: Any,
    *,
    temperature: Any = 0.75,
    iterations: int = 7,
    noise: Any = None,
    causal: bool = False,
    block_mask: Any = None,
) -> Any:
    """A soft permutation: rows, then columns of exp((R + noise) / temperature) are normalised, so many times.

    Parameters
    ----------
    sort_scores : array, shape (..., N, N)
        Logits R.
    temperature : float
        > 0. Towards 0 the result is a permutation, given enough iterations.
    iterations : int
        Normalisations of each side; columns are last, and exact.
    noise : array, shape (..., N, N), optional
        Gumbel noise, for a random permutation.
    causal : bool
        Only blocks before it, balanced as in `causal_weights`: strictly lower triangular, the first row 0, the others
        sum to 1.
    block_mask : array of bool, shape (..., N), optional
        False removes a block: its row and its column are 0.

    Returns
    -------
    array, shape (..., N, N)

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.sparse_attention import sort_blocks
    >>> sort_blocks(np.array([[0.0, 4.0], [1.0, 1.0]])).round(2)
    array([[0.05, 0.92],
           [0.95, 0.08]])
    """
    logits = _matching(sort_scores, None)
    if not (isinstance(temperature, int | float) and temperature > 0):
        raise ValueError(f"temperature is {temperature!r}; it must be a number > 0")
    check_count("iterations", iterations)
    logits = (logits if noise is None else logits + noise) / temperature
    xp = namespace(logits)
    n = logits.shape[-1]
    if block_mask is not None:
        # Where nothing is left there is nothing to sort, and nothing will be attended to.
        block_mask = block_mask | ~xp.any(block_mask, axis=-1, keepdims=True)
    if causal:
        past = xp.tril(xp.ones((n, n), dtype=xp.bool), k=-1)
        if block_mask is not None:
            past = past & block_mask[..., None, :] & block_mask[..., :, None]
        return balanced_past(logits, past, iterations, 1.0, 1.0)
    weight = xp.asarray(np.ones(n))
    if block_mask is not None:
        weight = weight * xp.astype(block_mask, weight.dtype)
    return plan(-logits, weight, weight, epsilon=1.0, reference="counting", grad="unroll", **half_steps(2 * iterations))


def block_scores(
    q: Any, k: Any, block: int, *, summary: Literal["mean", "sum"] = "mean", causal: bool = False, key_mask: Any = None
) -> Any:
    """Scores for `sort_blocks` without a network: products of block summaries over sqrt(d), shape (..., N, N).

    Parameters
    ----------
    q, k : arrays, shape (..., L, d)
    block : int
        Tokens in a block.
    summary : {"mean", "sum"}
        Over the tokens of a block that are no padding.
    causal : bool
        Row i is made of block i - 1 (row 0 of nothing), so that no token tells an earlier one anything.
    key_mask : array of bool, shape (..., L), optional
        False for padding.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.sparse_attention import block_scores
    >>> block_scores(np.ones((6, 4)), np.ones((6, 4)), 2).shape
    (3, 3)
    """
    q, k, _ = check_attention_inputs(q, k, k)
    xp = namespace(q)
    rows, cols = (block_summaries(x, block, summary=summary, key_mask=key_mask) for x in (q, k))
    if causal:
        rows = xp.concat([xp.zeros_like(rows[..., :1, :]), rows[..., :-1, :]], axis=-2)
    return xp.matmul(rows, xp.matrix_transpose(cols)) / math.sqrt(q.shape[-1])


def block_summaries(x: Any, block: int, *, summary: Literal["mean", "sum"] = "mean", key_mask: Any = None) -> Any:
    """Means or sums over the tokens of every block that are no padding, shape (..., N, d); 0 where all are.

    Parameters
    ----------
    x : array, shape (..., L, d)
    block, summary, key_mask
        As for `block_scores`.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.sparse_attention import block_summaries
    >>> block_summaries(np.array([[1.0], [3.0], [5.0]]), 2)
    array([[2.],
           [5.]])
    """
    _check_block(block, x.shape[-2])
    if summary not in ("mean", "sum"):
        raise ValueError(f"summary is {summary!r}; choose from 'mean', 'sum'")
    xp = namespace(x)
    blocks = cut(x, block)
    present = _real_keys(x, block, key_mask)
    if present is not None:
        blocks = xp.where(present[..., None], blocks, xp.zeros_like(blocks))
    total = xp.sum(blocks, axis=-2)
    if summary == "sum":
        return total
    if present is None:
        return total / block
    size = xp.sum(xp.astype(present, total.dtype), axis=-1)[..., None]
    return total / xp.where(size > 0, size, xp.ones_like(size))


def cut(x: Any, block: int) -> Any:
    """(..., L, d) as (..., N, block, d), the last block padded with 0."""
    xp = namespace(x)
    *lead, length, width = x.shape
    count = -(-length // block)
    if count * block > length:
        x = xp.concat([x, xp.zeros((*lead, count * block - length, width), dtype=x.dtype)], axis=-2)
    return xp.reshape(x, (*lead, count, block, width))


class _Keys(NamedTuple):
    """Blocks of keys and values (..., N, c, width), and what is added to their scores: None or (..., N, 1 or b, c)."""

    k: Any
    v: Any
    bias: Any


def _sorted_keys(order: Any, k: Any, v: Any, real_keys: Any, causal: bool) -> _Keys:
    """Mixtures of the keys that are no padding; their share is what a mixture counts for."""
    xp = namespace(k)
    if real_keys is None and not causal:
        return _Keys(_mixed(order, k), _mixed(order, v), None)
    total = xp.sum(order, axis=-1)[..., None, None]
    if real_keys is None:
        return _Keys(_mixed(order, k), _mixed(order, v), _log(xp.astype(total > 0, k.dtype)))
    present = xp.astype(real_keys, k.dtype)[..., None]
    one = xp.ones_like(total)
    share = _mixed(order, present) / xp.where(total > 0, total, one)
    counted = xp.where(share > 0, share, xp.ones_like(share))
    mixed_k, mixed_v = (_mixed(order, xp.where(real_keys[..., None], x, xp.zeros_like(x))) / counted for x in (k, v))
    return _Keys(mixed_k, mixed_v, xp.matrix_transpose(_log(share)))


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


def _joined_blocks(x: Any, count: int) -> Any:
    """The first blocks as one: keys and values along their length, what is added to scores along its own."""
    xp = namespace(x)
    if x.shape[-2] == 1:  # a bias (..., N, 1, c)
        return xp.reshape(x[..., :count, :, :], (*x.shape[:-3], 1, 1, count * x.shape[-1]))
    return xp.reshape(x[..., :count, :, :], (*x.shape[:-3], 1, count * x.shape[-2], x.shape[-1]))


def _log(share: Any) -> Any:
    """Log of a share of something, -inf for 0, with derivatives that are numbers."""
    xp = namespace(share)
    return xp.where(share > 0, xp.log(xp.where(share > 0, share, xp.ones_like(share))), -xp.inf)


def _real_keys(k: Any, block: int, key_mask: Any) -> Any:
    """Which keys are no padding, shape (..., N, block); None if all are."""
    xp = namespace(k)
    length = k.shape[-2]
    if key_mask is None:
        if length % block == 0:
            return None
        key_mask = xp.ones((length,), dtype=xp.bool)
    key_mask = in_library(key_mask, k)
    if not xp.isdtype(key_mask.dtype, "bool"):
        raise TypeError(f"key_mask has dtype {key_mask.dtype}; it must be bool (False = padding)")
    if key_mask.ndim == 0 or key_mask.shape[-1] != length:
        raise ValueError(f"key_mask has shape {tuple(key_mask.shape)} and k {tuple(k.shape)}; it must be (..., L)")
    return cut(key_mask[..., None], block)[..., 0]


def _matching(sort_scores: Any, count: int | None) -> Any:
    sort_scores = real("sort_scores", sort_scores)
    shape = tuple(sort_scores.shape)
    if len(shape) < 2 or shape[-1] != shape[-2] or 0 in shape[-2:]:
        raise ValueError(f"sort_scores has shape {shape}; it must be (..., N, N)")
    if count is not None and shape[-1] != count:
        raise ValueError(f"sort_scores has shape {shape} and there are {count} blocks; it must end in that, twice")
    return sort_scores


def _check_block(block: Any, length: int) -> None:
    if isinstance(block, bool) or not isinstance(block, int) or not 1 <= block <= length:
        raise ValueError(f"block is {block!r}; it must be an integer between 1 and the length {length}")


def _check_sortcut(sortcut: Any, count: int, causal: bool) -> None:
    if sortcut is None:
        return
    if causal:
        raise ValueError(f"sortcut is {sortcut} and causal is True; the first sorted blocks are no past of all queries")
    if isinstance(sortcut, bool) or not isinstance(sortcut, int) or not 1 <= sortcut <= count:
        raise ValueError(f"sortcut is {sortcut!r}; it must be an integer between 1 and the number of blocks {count}")
