"""Multi-head attention over blocks that a learned soft permutation sorts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..applications.arguments import count, positive
from ..applications.blocks import CausalColumns, block_scores, block_summaries, check_causal_columns
from ..applications.permutations import gumbel_noise
from ..applications.sparse import Combine, sparse_attention
from ..frameworks.torch_calls import HALF_DTYPES
from .attention import check_heads

SortNet = Literal["products", "mlp"]


class SparseSinkhornAttention(nn.Module):
    """Self-attention to the local block and to the one that a learned soft permutation brings to it, in O(L block).

    A sort net makes of the means x_i of blocks the scores R_ij with which block i asks for block j, one matrix a head:

        "products":  R_ij = (W_rows x_i) . (W_cols x_j) / sqrt(width of a head)
        "mlp":       R_i = relu(W_2 relu(W_1 x_i + b_1) + b_2)

    Products take sequences of any length. The perceptron, which is the paper's, scores positions: it has `max_blocks`
    outputs a head, of which a shorter sequence uses the first. A sequence shorter than `block` is a single block.

    Parameters
    ----------
    embed_dim, num_heads : int
        Width of a token, and heads that share it.
    block : int
        Tokens in a block.
    bias : bool
        Of the projections to queries, keys, values and to the result. The perceptron always has its own.
    sort_net : {"products", "mlp"}
        How scores of blocks come about.
    max_blocks : int, optional
        The most blocks of a sequence, ceil(L / block) for the longest L. Needed for "mlp", and for it alone.
    temperature, iterations, sortcut, combine, causal, causal_columns
        As for ``elastic_ot.applications.sparse_attention``. `sortcut` is cut to the number of blocks.
    noise : bool
        Add Gumbel noise from torch's global generator to the scores of blocks, in training only.
    device, dtype
        Of the parameters.

    Raises
    ------
    ValueError, TypeError
        Bad arguments; shapes that do not fit; more blocks than `max_blocks`.

    See Also
    --------
    elastic_ot.applications.sparse_attention : The same attention with scores of blocks that are given.
    elastic_ot.applications.block_scores : Scores without parameters.

    Notes
    -----
    In the causal case row i is made of the mean of block i - 1. The paper has sums in place of means, and there the sum
    of all that comes before block i. Scores of the perceptron that its last step cuts off at 0 pass no gradient on.

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
    >>> attention = SparseSinkhornAttention(32, 4, block=16, sort_net="mlp", max_blocks=8)
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
        sort_net: SortNet = "products",
        max_blocks: int | None = None,
        temperature: float = 0.75,
        iterations: int = 7,
        sortcut: int | None = None,
        combine: Combine = "concat",
        causal: bool = False,
        causal_columns: CausalColumns = "uniform",
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
        check_causal_columns(causal_columns, causal)
        self.embed_dim, self.num_heads, self.block = embed_dim, num_heads, count("block", block)
        self.temperature, self.iterations = temperature, count("iterations", iterations)
        self.sortcut, self.combine, self.causal, self.noise = sortcut, combine, causal, noise
        self.causal_columns = causal_columns
        made = {"device": device, "dtype": dtype}
        self.in_proj = nn.Linear(embed_dim, 3 * embed_dim, bias=bias, **made)
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias=bias, **made)
        self.max_blocks = _most_blocks(sort_net, max_blocks)
        if self.max_blocks is None:
            self.sort_rows = nn.Linear(embed_dim, embed_dim, bias=False, **made)
            self.sort_cols = nn.Linear(embed_dim, embed_dim, bias=False, **made)
        else:
            self.sort_hidden = nn.Linear(embed_dim, embed_dim, **made)
            self.sort_out = nn.Linear(embed_dim, num_heads * self.max_blocks, **made)

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
            causal_columns=self.causal_columns,
            key_mask=None if present is None else present.unsqueeze(-2),
        )
        return self.out_proj(out.transpose(-3, -2).flatten(-2))

    def extra_repr(self) -> str:
        """What a printed module says."""
        most = "" if self.max_blocks is None else f", max_blocks={self.max_blocks}"
        return f"{self.embed_dim}, {self.num_heads}, block={self.block}, causal={self.causal}{most}"

    def _sort_scores(self, x: Tensor, block: int, present: Tensor | None) -> Tensor:
        """Shape (..., heads, blocks, blocks)."""
        blocks = -(-x.shape[-2] // block)
        if self.max_blocks is not None and blocks > self.max_blocks:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, {blocks} blocks of {block}, and max_blocks is {self.max_blocks}; "
                "give a larger max_blocks, or sort_net='products', which takes any length"
            )
        means = block_summaries(x, block, key_mask=present)
        if self.max_blocks is None:
            rows, cols = (_single(self._heads(net(means))) for net in (self.sort_rows, self.sort_cols))
            return block_scores(rows, cols, 1, causal=self.causal)
        if self.causal:
            means = torch.cat([torch.zeros_like(means[..., :1, :]), means[..., :-1, :]], dim=-2)
        scores = self.sort_out(self.sort_hidden(means).relu()).relu()
        return _single(self._heads(scores)[..., :blocks])

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)


def _single(x: Tensor) -> Tensor:
    """In single precision at least, in which blocks are sorted."""
    return x.float() if x.dtype in HALF_DTYPES else x


def _most_blocks(sort_net: SortNet, max_blocks: int | None) -> int | None:
    """How many scores a block gets of a perceptron; None where there is none."""
    if sort_net not in ("products", "mlp"):
        raise ValueError(f"sort_net is {sort_net!r}; choose from 'products', 'mlp'")
    if sort_net == "products":
        if max_blocks is not None:
            raise ValueError(f"max_blocks is {max_blocks!r} and sort_net 'products', which has no bound; leave it out")
        return None
    if max_blocks is None:
        raise ValueError("sort_net is 'mlp' and max_blocks is None; give the most blocks of a sequence")
    return count("max_blocks", max_blocks)
