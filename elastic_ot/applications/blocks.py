"""Blocks of tokens and their soft permutation, which the solver normalises."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from .causal import balanced_past
from .frameworks import half_steps, namespace, plan, real
from .marginals import in_library
from .sequences import check_attention_inputs, check_count


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
    >>> from elastic_ot.applications.blocks import sort_blocks
    >>> sort_blocks(np.array([[0.0, 4.0], [1.0, 1.0]])).round(2)
    array([[0.05, 0.92],
           [0.95, 0.08]])
    """
    logits = sort_matrix(sort_scores, None)
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
    >>> from elastic_ot.applications.blocks import block_scores
    >>> block_scores(np.ones((6, 4)), np.ones((6, 4)), 2).shape
    (3, 3)
    """
    q, k, _ = check_attention_inputs(q, k, k)
    check_block(block, k.shape[-2])
    if summary not in ("mean", "sum"):
        raise ValueError(f"summary is {summary!r}; choose from 'mean', 'sum'")
    xp = namespace(q)
    sides = [cut(x, block) for x in (q, k)]
    present = real_keys(k, block, key_mask)
    if present is not None:
        sides = [xp.where(present[..., None], x, xp.zeros_like(x)) for x in sides]
    rows, cols = (xp.sum(x, axis=-2) for x in sides)
    if summary == "mean":
        size = block if present is None else xp.sum(xp.astype(present, q.dtype), axis=-1)[..., None]
        size = size if present is None else xp.where(size > 0, size, xp.ones_like(size))
        rows, cols = rows / size, cols / size
    if causal:
        rows = xp.concat([xp.zeros_like(rows[..., :1, :]), rows[..., :-1, :]], axis=-2)
    return xp.matmul(rows, xp.matrix_transpose(cols)) / math.sqrt(q.shape[-1])


def cut(x: Any, block: int) -> Any:
    """(..., L, d) as (..., N, block, d), the last block padded with 0."""
    xp = namespace(x)
    *lead, length, width = x.shape
    count = -(-length // block)
    if count * block > length:
        x = xp.concat([x, xp.zeros((*lead, count * block - length, width), dtype=x.dtype)], axis=-2)
    return xp.reshape(x, (*lead, count, block, width))


def real_keys(k: Any, block: int, key_mask: Any) -> Any:
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


def sort_matrix(sort_scores: Any, count: int | None) -> Any:
    """Square matrices of as many rows as there are blocks, if that is known."""
    sort_scores = real("sort_scores", sort_scores)
    shape = tuple(sort_scores.shape)
    if len(shape) < 2 or shape[-1] != shape[-2] or 0 in shape[-2:]:
        raise ValueError(f"sort_scores has shape {shape}; it must be (..., N, N)")
    if count is not None and shape[-1] != count:
        raise ValueError(f"sort_scores has shape {shape} and there are {count} blocks; it must end in that, twice")
    return sort_scores


def check_block(block: Any, length: int) -> None:
    """Refuses blocks that are longer than the sequence, or none."""
    if isinstance(block, bool) or not isinstance(block, int) or not 1 <= block <= length:
        raise ValueError(f"block is {block!r}; it must be an integer between 1 and the length {length}")
