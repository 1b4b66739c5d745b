"""Plans of layers of a network in eager PyTorch: a compiled call forward, one backward, and few of Python around them.

The common layer, whose epsilon and strengths are numbers, needs no tensors made of them, none expanded and none of
potentials. What is unusual goes the way of `torch_calls`, which knows every refusal, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..backends import load_layers
from ..derivatives.layers import Layer, Settings, fits, flat, settings
from ..problems.masses import precision_of
from .options import SIDES, decode, option_text
from .torch_calls import are_plain, pull_back, solve_plan, uniform

FLOATS = {torch.float32: np.float32, torch.float64: np.float64}


class _Call(NamedTuple):
    """What follows from the options and the shapes of a call."""

    settings: Settings
    text: str
    epsilon: float
    dtype: Any
    problems: int


def plan_of_layer(
    cost: Any, a: Any, b: Any, epsilon: Any, rho: tuple[Any, Any], grad: str, mask: Any, options: Mapping[str, Any]
) -> tuple[Tensor, Tensor] | None:
    """The plan and whether it has converged, which nothing measures; None if the call is not for this module."""
    if torch.compiler.is_compiling() or grad != "unroll" or type(epsilon) not in (float, int):
        return None
    if not (mask is None and rho[0] is None and rho[1] is None and are_plain((cost, a, b))):
        return None
    given = tuple([(name, type(value), value) for name, value in options.items()])
    try:
        call = _call(given, float(epsilon), *[None if x is None else (x.shape, x.dtype) for x in (cost, a, b)])
    except TypeError:  # an option has no hash or is refused, which is said on the long way
        return None
    if call is None:
        return None
    kernels, (n, m) = load_layers(), cost.shape[-2:]
    matrices, plans = flat(cost.numpy(force=True), 2, call.dtype), np.empty((call.problems, n, m), call.dtype)
    task = kernels.Layers(matrices, _weights(a, n), _weights(b, m), call.problems, *call.settings)
    history = kernels.layer_forward(task, plans)
    if history is None:
        return None
    layer = Layer(task, cost.shape[:-2], history, plans.reshape(cost.shape))
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (cost, a, b)):
        plan = _Layer.apply(cost, a, b, layer, call)
    else:
        plan = torch.from_numpy(layer.plan)
    return plan, torch.zeros(cost.shape[:-2], dtype=torch.bool)


@lru_cache(maxsize=256)
def _call(given: tuple[tuple[str, type, Any], ...], epsilon: float, cost: Any, a: Any, b: Any) -> _Call | None:
    """What follows from options, and from shapes and dtypes; a network makes the same call again and again."""
    shape, dtype = cost
    if dtype not in FLOATS or len(shape) < 2 or not fits(shape):
        return None
    for weights, own in ((a, shape[-2:-1]), (b, shape[-1:])):
        if weights is not None and (weights[0] not in (own, shape[:-2] + own) or weights[1] not in FLOATS):
            return None
    dtypes = [torch.float64 if x is None else x[1] for x in (a, b)]
    likes = [torch.empty(0, dtype=x) for x in dtypes]
    text = option_text("unroll", {name: value for name, _, value in given}, (None, None), *likes)
    found = settings(decode(text), np.array([epsilon]), (), precision_of(*likes))
    return None if found is None else _Call(found, text, epsilon, FLOATS[dtype], shape[:-2].numel())


def _weights(given: Tensor | None, size: int) -> Any:
    if given is None:
        return np.full((1, size), 1.0 / size)
    return np.ascontiguousarray(given.numpy(force=True), np.float64).reshape(-1, size)


class _Layer(torch.autograd.Function):
    """The plan of a layer that has run, with its derivatives in the cost and the weights."""

    @staticmethod
    def forward(ctx: Any, cost: Tensor, a: Tensor | None, b: Tensor | None, layer: Layer, call: _Call) -> Tensor:
        plan = torch.from_numpy(layer.plan)
        # The history lies in the memory of the plan, which users may change; another name for it tells whether they
        # did. The plan itself is not saved: that would refuse such a change.
        ctx.layer, ctx.call, ctx.name = layer, call, plan.detach()
        ctx.save_for_backward(cost, a, b)
        return plan

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:
        inputs, (_, *by_weights, _, _), layer = ctx.saved_tensors, ctx.needs_input_grad, ctx.layer
        if torch.is_grad_enabled() or not are_plain((bar,)):
            return *_by_operators(ctx.call, inputs, bar), None, None
        if ctx.name._version:
            layer = layer._replace(history=None)
        plan_bar = bar.numpy(force=True)
        if not any(by_weights):
            found = layer.slope(plan_bar)
            return torch.from_numpy(found), None, None, None, None
        none = np.zeros(plan_bar.shape[:-1]), np.zeros(plan_bar.shape[:-2] + plan_bar.shape[-1:])
        found = layer.vjp(plan_bar, *none)
        return *_reduced([torch.from_numpy(x) for x in (found.cost, found.a, found.b)], inputs), None, None


def _reduced(slopes: Sequence[Tensor], inputs: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Derivatives in inputs of their own shapes and dtypes."""
    pairs = zip(slopes, inputs, strict=True)
    return [None if x is None else slope.sum_to_size(x.shape).to(x.dtype) for slope, x in pairs]


def _by_operators(call: _Call, inputs: Sequence[Any], bar: Tensor) -> list[Tensor | None]:
    """The same by operators, which know transformations and refuse to be differentiated again."""
    cost, *given = inputs
    weights = [uniform(size, cost) if x is None else x for x, size in zip(given, cost.shape[-2:], strict=True)]
    batch = cost.shape[:-2]
    problem = (
        cost,
        *(x.expand(*batch, x.shape[-1]) for x in weights),
        torch.full(batch, call.epsilon, dtype=torch.float64),
        torch.zeros(*batch, len(SIDES), dtype=torch.float64),
    )
    _, _, f, g = solve_plan(*problem, call.text)
    slopes = pull_back(*problem, f, g, bar, torch.zeros_like(f), torch.zeros_like(g), call.text)
    return _reduced(slopes[:3], inputs)
