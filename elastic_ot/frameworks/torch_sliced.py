"""The sliced distances as an operator of PyTorch, differentiable in the points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..api.sliced import sliced as sliced_of_numbers
from ..solutions.sliced import Kind
from ..typing import Seed


def sliced(
    x: Tensor,
    y: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    kind: Kind = "mean",
    p: float = 2.0,
    projections: int | Tensor = 100,
    seed: Seed = None,
) -> Tensor:
    """The value of `elastic_ot.sliced`, with its derivatives in the points.

    Parameters
    ----------
    x, y : Tensor, shapes (n, d) and (m, d)
        Points; their derivatives hold orders, plan and direction, see `SlicedSolution.gradients`.
    a, b : Tensor, shapes (n,) and (m,), optional
        Weights, without derivatives.
    kind, p, projections, seed
        As for `elastic_ot.sliced`; the same `seed` has the same directions.

    Returns
    -------
    Tensor, shape ()
        Of the dtype and device of x; computed on the host, in double precision.

    Raises
    ------
    ValueError, TypeError
        What `elastic_ot.sliced` refuses, and weights that require grad.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot.torch as eot_torch
    >>> x = torch.zeros(5, 2, requires_grad=True)
    >>> value = eot_torch.sliced(x, torch.ones(7, 2), projections=2, seed=0)
    >>> value.backward()
    >>> value.item(), x.grad[0]
    (1.0, tensor([-0.2000, -0.2000]))
    """
    for name, weights in (("a", a), ("b", b)):
        if weights is not None and weights.requires_grad:
            raise TypeError(
                f"{name} requires grad, and sliced has derivatives in the points alone; pass {name}.detach()"
            )
    options = {"kind": kind, "p": p, "projections": _on_host(projections), "seed": seed}
    value: Tensor = _Sliced.apply(x, y, _on_host(a), _on_host(b), options)
    return value


def _on_host(values: Any) -> Any:
    return values.detach().cpu() if isinstance(values, Tensor) else values


class _Sliced(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, a: Any, b: Any, options: Mapping[str, Any]) -> Tensor:
        found = sliced_of_numbers(_on_host(x), _on_host(y), a, b, **options)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(*(torch.from_numpy(g).to(z) for g, z in zip(found.gradients(), (x, y), strict=True)))
        return torch.tensor(found.value, dtype=x.dtype, device=x.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, bar: Tensor) -> tuple[Any, ...]:
        slope_x, slope_y = ctx.saved_tensors
        return bar * slope_x, bar.to(slope_y) * slope_y, None, None, None
