"""The router of a layer of experts."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..applications.arguments import count
from ..applications.routing import Routing, route
from ..applications.routing_input import RoutingCombine, RoutingMethod
from ..applications.schedules import EpsilonSchedule
from ..frameworks.options import Grad
from .schedules import add_step, epsilon_of


class SinkhornRouter(nn.Module):
    """Linear scores of tokens for experts, routed by ``elastic_ot.applications.routing.route``.

    In evaluation it never solves: a token's experts do not depend on the tokens beside it (unless there is a
    capacity), and are those of the largest scores.

    Parameters
    ----------
    dim : int
        Width of a token.
    experts : int
        Their number.
    k : int
        Experts a token.
    method : {"sinkhorn", "softmax", "ssr", "base", "s-base"}
        How experts are chosen in training. ``"ssr"`` draws from torch's global generator which steps solve.
    bias : bool
        Of the scores.
    capacity_factor : float, optional
        >= 1. An expert takes so many times T k / experts of T tokens at most, rounded up.
    epsilon : float or EpsilonSchedule
        Temperature. With an ``elastic_ot.applications.EpsilonSchedule`` it is that of `step`.
    lam, combine, probability, grad, tol, max_iter, on_failure
        As for `route`.
    device, dtype
        Of the parameters.

    Attributes
    ----------
    step : Tensor or None
        Calls in training, shape (), where `epsilon` is a schedule; else None. A buffer, as that of `ElasticAttention`.

    Raises
    ------
    ValueError, TypeError
        Bad arguments; what `route` refuses.

    Examples
    --------
    >>> import torch
    >>> from elastic_ot.torch import SinkhornRouter
    >>> router = SinkhornRouter(16, experts=4, lam=0.9)
    >>> found = router(torch.randn(32, 16))
    >>> found.idx.shape, found.weight.shape, int(found.load.sum())
    (torch.Size([32, 1]), torch.Size([32, 1]), 32)
    """

    def __init__(
        self,
        dim: int,
        experts: int,
        k: int = 1,
        method: RoutingMethod = "sinkhorn",
        *,
        bias: bool = False,
        epsilon: float | EpsilonSchedule = 1.0,
        lam: float | None = None,
        capacity_factor: float | None = None,
        combine: RoutingCombine | None = None,
        probability: float = 0.01,
        grad: Grad = "implicit",
        tol: float = 1e-6,
        max_iter: int = 10_000,
        on_failure: Literal["warn", "raise", "ignore"] = "warn",
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.scores = nn.Linear(count("dim", dim), count("experts", experts), bias=bias, device=device, dtype=dtype)
        if capacity_factor is not None and not 1 <= capacity_factor < math.inf:
            raise ValueError(f"capacity_factor is {capacity_factor}; it must be >= 1, or tokens have no place")
        add_step(self, epsilon, device)
        self.epsilon = epsilon
        self.k, self.method, self.capacity_factor, self.probability = k, method, capacity_factor, probability
        self.options: dict[str, Any] = {
            "method": method,
            "lam": lam,
            "combine": combine,
            "probability": probability,
            "grad": grad,
            "tol": tol,
            "max_iter": max_iter,
            "on_failure": on_failure,
        }
        if not 0 <= probability <= 1:
            raise ValueError(f"probability is {probability}; it must lie between 0 and 1")
        # whatever else is wrong with the options is refused now, and not at the first step
        route(torch.zeros(1, experts), k, training=False, **self.options)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        """Route tokens x (..., T, dim), each leading index for itself; in the mask (..., T) False is padding."""
        if x.dim() < 2 or x.shape[-1] != self.scores.in_features:
            raise ValueError(f"x has shape {tuple(x.shape)}; it must be (..., T, {self.scores.in_features})")
        capacity = None
        if self.capacity_factor is not None:
            capacity = math.ceil(self.capacity_factor * x.shape[-2] * self.k / self.scores.out_features)
        options = {"epsilon": epsilon_of(self, self.epsilon), **self.options}
        draw = float(torch.rand(())) if self.method == "ssr" and self.training else None
        return route(self.scores(x), self.k, capacity=capacity, mask=mask, training=self.training, draw=draw, **options)

    def extra_repr(self) -> str:
        """What a printed module says."""
        return f"k={self.k}, method={self.method!r}, lam={self.options['lam']}, capacity_factor={self.capacity_factor}"
