"""Calls of the host from PyTorch for costs between points, as operators with their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..costs.points import PointCloud
from . import clouds as host_calls
from .calls import HostCall
from .options import common_batch, refuse_text
from .torch_calls import (
    HALF_DTYPES,
    check_tensor,
    define,
    differentiable,
    in_working_dtype,
    last,
    moves,
    number,
    pulled,
    save_inputs,
    solving,
    text_of,
    uniform,
    value_rules,
)

POINTS = len(host_calls.CLOUD_PROBLEM)


class PreparedPoints(NamedTuple):
    """A call, ready for an operator: the problem with the same leading dimensions everywhere."""

    problem: tuple[Tensor, ...]
    options: str
    dtype: torch.dtype


def prepared_points(
    cloud: PointCloud,
    a: Tensor | None,
    b: Tensor | None,
    epsilon: float | Tensor,
    rho: tuple[float | Tensor | None, float | Tensor | None],
    grad: str,
    mask: Any,
    options: Mapping[str, Any],
) -> PreparedPoints:
    """A call, checked, with the same leading dimensions everywhere."""
    refuse_text(epsilon)
    if mask is not None:
        raise ValueError("mask is for a cost matrix; pass the costs of a PointCloud as a tensor to have entries masked")
    x, y = cloud.given
    check_tensor("x", x)
    check_tensor("y", y, x)
    text = text_of(grad, options, rho, a, b, cloud.metric)
    a = uniform(x.shape[-2], x) if a is None else a
    b = uniform(y.shape[-2], x) if b is None else b
    epsilon, row_rho, col_rho = (number(0.0 if z is None else z, x) for z in (epsilon, *rho))
    for name, tensor in (("a", a), ("b", b), ("epsilon", epsilon), ("row_rho", row_rho), ("col_rho", col_rho)):
        check_tensor(name, tensor, x)
    dtype = torch.promote_types(x.dtype, y.dtype) if x.is_floating_point() or y.is_floating_point() else torch.float64
    if dtype in HALF_DTYPES and torch.is_autocast_enabled(x.device.type):
        dtype = torch.float32
    x, y, a, b = (in_working_dtype(z) for z in (x, y, a, b))
    (n, d), m = x.shape[-2:], y.shape[-2]
    shape = (*torch.broadcast_shapes(x.shape[:-2], y.shape[:-2]), n, m)
    batch = common_batch(shape, a.shape, b.shape, epsilon.shape, row_rho.shape, col_rho.shape)
    problem: tuple[Tensor, ...] = (
        x.expand(*batch, n, d),
        y.expand(*batch, m, d),
        a.expand(*batch, n),
        b.expand(*batch, m),
        epsilon.expand(batch),
        torch.stack((row_rho.expand(batch), col_rho.expand(batch)), dim=-1),
    )
    if grad == "detach":
        problem = tuple(z.detach() for z in problem)
    return PreparedPoints(problem, text, dtype)


def _gradients_backward(ctx: Any, *directions: Tensor) -> tuple[Any, ...]:
    """The Hessian is symmetric. Potentials, too, depend on the inputs: nothing is left for them."""
    return *_value_hvp(*ctx.saved_tensors, *directions, ctx.options), None, None, None


def _gradients_jvp(ctx: Any, *tangents: Any) -> Any:
    return _value_hvp(*ctx.saved_tensors, *moves(ctx, tangents[:POINTS]), ctx.options)


def _potentials_backward(ctx: Any, *bars: Any) -> tuple[Any, ...]:
    shown_f, shown_g, _, f, g = bars
    return *pulled(ctx, host_calls.pull_back, _pull_back, shown_f + f, shown_g + g), None


def _potentials_jvp(ctx: Any, *tangents: Any) -> Any:
    f, g = _push_forward(*ctx.saved_tensors, *moves(ctx, tangents[:POINTS]), ctx.options)
    return f, g, None, torch.zeros_like(f), torch.zeros_like(g)


def _carried_backward(ctx: Any, bar: Tensor, _: Any, f_bar: Tensor, g_bar: Tensor) -> tuple[Any, ...]:
    return *pulled(ctx, host_calls.pull_carried_back, _pull_carried, bar, f_bar, g_bar), None


def _carried_jvp(ctx: Any, *tangents: Any) -> Any:
    given = moves(ctx, tangents[: POINTS + 1])
    carried, f, g = _push_carried(*ctx.saved_tensors, *given, ctx.options)
    return carried, None, f, g


def _last(name: str, call: HostCall) -> Callable[..., Any]:
    return last(f"cloud_{name}", call)


_value_hvp = _last("value_hvp", host_calls.value_hvp)
_pull_back = _last("pull_back", host_calls.pull_back)
_push_forward = _last("push_forward", host_calls.push_forward)
_pull_carried = _last("pull_carried", host_calls.pull_carried_back)
_push_carried = _last("push_carried", host_calls.push_carried_forward)
_value_gradients = differentiable(
    define("cloud_value_gradients", host_calls.value_gradients), save_inputs, _gradients_backward, _gradients_jvp
)
solve_cloud_value = solving(
    "cloud_value",
    host_calls.value,
    *value_rules(host_calls.value_gradients, _value_gradients, host_calls.CLOUD_PROBLEM),
)
solve_cloud_potentials = solving("cloud_potentials", host_calls.potentials, _potentials_backward, _potentials_jvp)
solve_carried = solving("carried", host_calls.carried, _carried_backward, _carried_jvp)
