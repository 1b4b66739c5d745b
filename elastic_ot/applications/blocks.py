"""Blocks of tokens and their soft permutation, which the solver normalises."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from ..calls import public
from ..typing import Array, ArrayT
from .arguments import count
from .causal import balanced_past, normalised_past
from .frameworks import half_steps, namespace, plan, real
from .marginals import in_library
from .sequences import check_attention_inputs

CausalColumns = Literal["uniform", "one"]


@public
def sort_blocks(
    sort_scores: ArrayT,
    *,
    temperature: float | Array = 0.75,
    iterations: int = 7,
    noise: Array | None = None,
    causal: bool = False,
    causal_columns: CausalColumns = "uniform",
    block_mask: Array | None = None,
) -> ArrayT:
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
        Only blocks before it: strictly lower triangular, the first row 0. Row i depends on the rows up to i alone, to
        the last bit.
    causal_columns : {"uniform", "one"}
        What columns aim at with ``causal``. "uniform": what uniform attention to the past would give them, as in
        `causal_weights`; rows come last, and sum to 1. "one": 1, by the paper's rule in the notes; columns come last.
    block_mask : array of bool, shape (..., N), optional
        False removes a block: its row and its column are 0.

    Returns
    -------
    array, shape (..., N, N)

    Raises
    ------
    ValueError, TypeError
        Bad arguments; ``causal_columns="one"`` without ``causal``.

    See Also
    --------
    block_scores : Scores without a network.
    causal_weights : Balanced attention between tokens that never looks ahead.

    Notes
    -----
    With "one", L = (R + noise) / temperature is normalised in turn, so many times:

        L_ij <- L_ij - log sum_{j' < i} exp(L_ij')
        L_ij <- L_ij - log sum_{j < i' <= i} exp(L_i'j)

    The result is exp(L). The first entry of a column is alone in its sum, so that it is 1: the block just before
    block i always comes to it whole. What comes from others falls as 1 / iterations, whatever the scores.

    References
    ----------
    Tay, Bahri, Yang, Metzler, Juan, *Sparse Sinkhorn attention*, 2020, section 3.3: causal sorting.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.blocks import sort_blocks
    >>> sort_blocks(np.array([[0.0, 4.0], [1.0, 1.0]])).round(2)
    array([[0.05, 0.92],
           [0.95, 0.08]])
    >>> scores = np.array([[0.0, 9.0, 9.0], [0.0, 0.0, 9.0], [2.0, 0.0, 0.0]])
    >>> sort_blocks(scores, causal=True).round(2)
    array([[0.  , 0.  , 0.  ],
           [1.  , 0.  , 0.  ],
           [0.51, 0.49, 0.  ]])
    >>> sort_blocks(scores, causal=True, causal_columns="one").round(2)
    array([[0.  , 0.  , 0.  ],
           [1.  , 0.  , 0.  ],
           [0.07, 1.  , 0.  ]])
    """
    logits = sort_matrix(sort_scores, None)
    if not (isinstance(temperature, int | float) and temperature > 0):
        raise ValueError(f"temperature is {temperature!r}; it must be a number > 0")
    count("iterations", iterations)
    check_causal_columns(causal_columns, causal)
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
        if causal_columns == "one":
            return normalised_past(logits, past, iterations)
        return balanced_past(logits, past, iterations, 1.0, 1.0)
    weight = xp.asarray(np.ones(n))
    if block_mask is not None:
        weight = weight * xp.astype(block_mask, weight.dtype)
    return plan(-logits, weight, weight, epsilon=1.0, reference="counting", grad="unroll", **half_steps(2 * iterations))


@public
def block_scores(
    q: ArrayT,
    k: ArrayT,
    block: int,
    *,
    summary: Literal["mean", "sum"] = "mean",
    causal: bool = False,
    key_mask: Array | None = None,
) -> ArrayT:
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
    xp = namespace(q)
    rows, cols = (block_summaries(x, block, summary=summary, key_mask=key_mask) for x in (q, k))
    if causal:
        rows = xp.concat([xp.zeros_like(rows[..., :1, :]), rows[..., :-1, :]], axis=-2)
    return xp.matmul(rows, xp.matrix_transpose(cols)) / math.sqrt(q.shape[-1])


@public
def block_summaries(
    x: ArrayT, block: int, *, summary: Literal["mean", "sum"] = "mean", key_mask: Array | None = None
) -> ArrayT:
    """Means or sums over the tokens of every block that are no padding, shape (..., N, d); 0 where all are.

    Parameters
    ----------
    x : array, shape (..., L, d)
    block, summary, key_mask
        As for `block_scores`.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications.blocks import block_summaries
    >>> block_summaries(np.array([[1.0], [3.0], [5.0]]), 2)
    array([[2.],
           [5.]])
    """
    check_block(block, x.shape[-2])
    if summary not in ("mean", "sum"):
        raise ValueError(f"summary is {summary!r}; choose from 'mean', 'sum'")
    xp = namespace(x)
    blocks = cut(x, block)
    present = real_keys(x, block, key_mask)
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


def check_causal_columns(causal_columns: Any, causal: bool) -> None:
    """Refuses what is no choice, and a choice that would have no effect."""
    if causal_columns not in ("uniform", "one"):
        raise ValueError(f"causal_columns is {causal_columns!r}; choose from 'uniform', 'one'")
    if causal_columns != "uniform" and not causal:
        raise ValueError(f"causal_columns is {causal_columns!r} and causal is False; columns then sum to 1 anyway")
