"""Published layers as they are usually written in torch, from their formulas, for `compare_systems`."""

from typing import Any

import numpy as np
import torch
from scipy.optimize import isotonic_regression, linear_sum_assignment
from torch import Tensor

DISTILLATION_EPSILON, DISTILLATION_TEMPERATURE = 0.1, 2.0
ROUTER_EPSILON = 1e-8  # added to denominators


def distillation(student: Tensor, teacher: Tensor, iterations: int) -> Tensor:
    """SinKD: the kernel of L1 distances divided by its row sums, then by its column sums, again and again."""
    p, q = (torch.softmax(x / DISTILLATION_TEMPERATURE, dim=-1) for x in (student, teacher))
    cost = torch.cdist(p, q, p=1)
    plan = torch.exp(-cost / DISTILLATION_EPSILON)
    for _ in range(iterations):
        plan = plan / plan.sum(dim=1, keepdim=True)
        plan = plan / plan.sum(dim=0, keepdim=True)
    return (plan * cost).sum()


def balanced(logits: Tensor, tol: float) -> Tensor:
    """A router's plan by two scalings, until the columns' one moves by less than `tol` in the mean."""
    kernel = torch.exp(logits)
    tokens, experts = kernel.shape
    d0, d1 = kernel.new_ones(tokens), kernel.new_ones(experts)
    error = np.inf
    while error > tol:
        before = d1
        d0 = 1 / tokens / ((d1 * kernel).sum(dim=1) + ROUTER_EPSILON)
        d1 = 1 / experts / ((d0[:, None] * kernel).sum(dim=0) + ROUTER_EPSILON)
        error = float((d1 - before).abs().mean())
    return d1 * kernel * d0[:, None]


def router(logits: Tensor, k: int, tol: float) -> tuple[Tensor, Tensor, Tensor]:
    """Experts of the plan's largest entries, their gates, and the loads; the plan is not differentiated."""
    with torch.no_grad():
        experts = torch.topk(balanced(logits, tol), k, dim=1).indices
    gates = torch.sigmoid(logits) if k == 1 else torch.softmax(logits, dim=-1)
    return experts, gates.gather(1, experts), torch.bincount(experts.reshape(-1), minlength=logits.shape[1])


def permutations(scores: Tensor) -> Tensor:
    """Hard permutations: SciPy's assignment of one matrix after the other."""
    host = scores.detach().numpy()
    columns = np.stack([linear_sum_assignment(matrix, maximize=True)[1] for matrix in host])
    return torch.nn.functional.one_hot(torch.from_numpy(columns), host.shape[-1]).to(scores.dtype)


def straight_through(scores: Tensor, iterations: int) -> Tensor:
    """Hard permutations with the derivatives of soft ones, normalised in logarithms."""
    soft = scores
    for _ in range(iterations):
        soft = soft - torch.logsumexp(soft, dim=-1, keepdim=True)
        soft = soft - torch.logsumexp(soft, dim=-2, keepdim=True)
    soft = soft.exp()
    return permutations(scores) + soft - soft.detach()


class ProjectedRank(torch.autograd.Function):  # type: ignore[misc]
    """Fast soft ranks: an isotonic regression for each row of z, by SciPy, and means over its blocks backwards."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        host = z.detach().numpy()
        w = np.arange(host.shape[-1], 0, -1, dtype=host.dtype)
        out, orders, blocks = np.empty_like(host), [], []
        for row, values in enumerate(host):
            order = np.argsort(-values, kind="stable")
            found = isotonic_regression(values[order] - w, increasing=False)
            out[row, order] = values[order] - found.x
            orders.append(order)
            blocks.append(found.blocks)
        ctx.known = orders, blocks
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> Tensor:
        host = bar.numpy()
        out = np.empty_like(host)
        for row, (order, blocks) in enumerate(zip(*ctx.known, strict=True)):
            values, sizes = host[row, order], np.diff(blocks)
            out[row, order] = values - np.repeat(np.add.reduceat(values, blocks[:-1]) / sizes, sizes)
        return torch.from_numpy(out)


def projected_rank(x: Tensor, epsilon: float) -> Tensor:
    """Ranks of rows, the largest value with rank n."""
    ranks: Tensor = ProjectedRank.apply(x / epsilon)
    return ranks
