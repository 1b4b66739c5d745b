"""Attention layers to compare: softmax and the published loop of a Sinkformer in torch, ours on the solver."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from elastic_ot.applications.attention import elastic_attention, sinkformer_weights
from elastic_ot.applications.blocks import block_scores
from elastic_ot.applications.sparse import sparse_attention

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def inputs(*shape: int) -> list[torch.Tensor]:
    """Queries, keys, values and the gradient of the output, in float32."""
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.normal(size=shape).astype(np.float32)) for _ in range(4)]


def scores(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5


def softmax(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.softmax(scores(q, k), dim=-1) @ v


def sinkformer_loop(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, half_steps: int) -> torch.Tensor:
    """As Sinkformers write it: potentials grow by what their marginal lacks, the matrix is formed at every step."""
    cost = -scores(q, k)
    f, g = cost.new_zeros(cost.shape[:-1]), cost.new_zeros((*cost.shape[:-2], cost.shape[-1]))
    for step in range(half_steps):
        logits = f[..., :, None] + g[..., None, :] - cost
        if step % 2 == 0:
            f = f - torch.logsumexp(logits, dim=-1)
        else:
            g = g - torch.logsumexp(logits, dim=-2)
    return torch.exp(f[..., :, None] + g[..., None, :] - cost) @ v


def sinkformer(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, half_steps: int) -> torch.Tensor:
    return sinkformer_weights(scores(q, k), half_steps) @ v


def elastic(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, iterations: int) -> torch.Tensor:
    return elastic_attention(q, k, v, lam=0.5, iterations=iterations)


def sparse(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, block: int) -> torch.Tensor:
    return sparse_attention(q, k, v, block_scores(q, k, block), block=block)


def fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Softmax attention that stores no weights."""
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


def kinds(block: int, iterations: int = 5) -> dict[str, Attention]:
    """Every kind whose memory is measured, by its name."""
    return {
        "full": softmax,
        "elastic": partial(elastic, iterations=iterations),
        "sparse": partial(sparse, block=block),
        "fused": fused,
    }


def step(attention: Attention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bar: torch.Tensor) -> None:
    """Forward and backward."""
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]
    torch.autograd.grad(attention(*leaves), leaves, bar)
