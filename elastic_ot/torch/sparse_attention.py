"""Multi-head attention over blocks that a learned soft permutation sorts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..applications.arguments import count, positive
from ..applications.blocks import block_scores, block_summaries
from ..applications.permutations import gumbel_noise
from ..applications.sparse import Combine, sparse_attention
from ..frameworks.torch_calls import HALF_DTYPES
from .attention import check_heads


class SparseSinkhornAttention(nn.Module):
    """Self-attention to the local block and to the one that a learned soft permutation brings to it, in O(L block).

    The sort net is linear in the means of blocks: with means x_i, block i asks for block j with the score
    (W_rows x_i) . (W_cols x_j) / sqrt(width of a head), one matrix of scores a head. So any length will do; one shorter
    than `block` is a single block.

    Parameters
    ----------
    embed_dim, num_heads : int
        Width of a token, and heads that share it.
    block : int
        Tokens in a block.
    bias : bool
        Of the projections.
    temperature, iterations, sortcut, combine, causal
        As for ``elastic_ot.applications.sparse_attention``. `sortcut` is cut to the number of blocks.
    noise : bool
        Add Gumbel noise from torch's global generator to the scores of blocks, in training only.
    device, dtype
        Of the parameters.

    Raises
    ------
    ValueError, TypeError
        Bad arguments; shapes that do not fit.

    References
    ----------
    Tay, Bahri, Yang, Metzler, Juan, *Sparse Sinkhorn attention*, 2020.

    Examples
    --------
    >>> import torch
    >>> from elastic_ot.torch import SparseSinkhornAttention
    >>> attention = SparseSinkhornAttention(32, 4, block=16)
    >>> attention(torch.randn(2, 100, 32)).shape
    torch.Size([2, 100, 32])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        block: int,
        *,
        bias: bool = True,
        temperature: float = 0.75,
        iterations: int = 7,
        sortcut: int | None = None,
        combine: Combine = "concat",
        causal: bool = False,
        noise: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_heads(embed_dim, num_heads)
        positive("temperature", temperature)
        if sortcut is not None:
            count("sortcut", sortcut)
            if causal:
                raise ValueError(f"sortcut is {sortcut} and causal is True; sorted blocks are no past of all queries")
        if combine not in ("concat", "sum"):
            raise ValueError(f"combine is {combine!r}; choose from 'concat', 'sum'")
        self.embed_dim, self.num_heads, self.block = embed_dim, num_heads, count("block", block)
        self.temperature, self.iterations = temperature, count("iterations", iterations)
        self.sortcut, self.combine, self.causal, self.noise = sortcut, combine, causal, noise
        made = {"device": device, "dtype": dtype}
        self.in_proj = nn.Linear(embed_dim, 3 * embed_dim, bias=bias, **made)
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias=bias, **made)
        self.sort_rows = nn.Linear(embed_dim, embed_dim, bias=False, **made)
        self.sort_cols = nn.Linear(embed_dim, embed_dim, bias=False, **made)

    def forward(self, x: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """Attention of x, (N, L, embed_dim) or (L, embed_dim), to itself; True in the mask, (N, L), is padding."""
        if x.dim() not in (2, 3) or x.shape[-1] != self.embed_dim or 0 in x.shape:
            raise ValueError(f"x has shape {tuple(x.shape)}; it must be (N, L, {self.embed_dim}) or without the N")
        present = None
        if key_padding_mask is not None:
            if key_padding_mask.dtype != torch.bool or key_padding_mask.shape != x.shape[:-1]:
                raise ValueError(
                    f"key_padding_mask has shape {tuple(key_padding_mask.shape)} and dtype {key_padding_mask.dtype}; "
                    f"it must be bool (True = padding), of shape {tuple(x.shape[:-1])}"
                )
            present = ~key_padding_mask
        block = min(self.block, x.shape[-2])
        sort_scores = self._sort_scores(x, block, present)
        blocks = sort_scores.shape[-1]
        q, k, v = (self._heads(y) for y in self.in_proj(x).chunk(3, dim=-1))
        out = sparse_attention(
            q,
            k,
            v,
            sort_scores,
            block=block,
            temperature=self.temperature,
            iterations=self.iterations,
            noise=gumbel_noise(torch.rand_like(sort_scores)) if self.noise and self.training else None,
            sortcut=None if self.sortcut is None else min(self.sortcut, blocks),
            combine=self.combine,
            causal=self.causal,
            key_mask=None if present is None else present.unsqueeze(-2),
        )
        return self.out_proj(out.transpose(-3, -2).flatten(-2))

    def extra_repr(self) -> str:
        """What a printed module says."""
        return f"{self.embed_dim}, {self.num_heads}, block={self.block}, causal={self.causal}"

    def _sort_scores(self, x: Tensor, block: int, present: Tensor | None) -> Tensor:
        """Shape (..., heads, blocks, blocks)."""
        means = block_summaries(x, block, key_mask=present)
        rows, cols = self._heads(self.sort_rows(means)), self._heads(self.sort_cols(means))
        if rows.dtype in HALF_DTYPES:
            rows, cols = rows.float(), cols.float()
        return block_scores(rows, cols, 1, causal=self.causal)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)
