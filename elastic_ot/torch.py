"""Differentiable solves on torch tensors: plan, potentials, value and transport cost as functions with a backward pass.

Costs may have leading dimensions, a problem each; weights broadcast over them. `grad` says what is differentiated:
``"implicit"``, the solution (one linear system, see `Solution.vjp`); ``"unroll"``, the `max_iter` iterations that were
run; ``"detach"``, nothing.
"""

from __future__ import annotations

from typing import Any, Literal

from .api import solve
from .errors import BackendUnavailable

try:
    import torch
    from torch import Tensor
    from torch.autograd.function import once_differentiable
except ImportError as error:
    raise BackendUnavailable('elastic_ot.torch needs PyTorch: pip install "elastic-ot[torch]"') from error

__all__ = ["plan", "potentials", "transport_cost", "value"]

Grad = Literal["implicit", "unroll", "detach"]
TOL = 1e-9  # of implicit differentiation, which amplifies errors


def plan(
    cost: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | Tensor,
    grad: Grad = "implicit",
    **options: Any,
) -> Tensor:
    """The entropic plan, differentiable in cost, weights and epsilon.

    Parameters
    ----------
    cost : Tensor, shape (..., n, m)
        On the CPU.
    a, b : Tensor, shapes (..., n) and (..., m), optional
        Weights; broadcast over the leading dimensions of the cost.
    epsilon : float or Tensor of one element
        Strength of the entropy.
    grad : {"implicit", "unroll", "detach"}
        What the backward pass differentiates; ``"unroll"`` needs `max_iter`.
    **options
        Those of `elastic_ot.solve` but `init` and `callback`; ``tol`` is 1e-9 unless given.

    Returns
    -------
    Tensor
        Shape (..., n, m), dtype of the cost.

    Raises
    ------
    ValueError, TypeError
        As `elastic_ot.solve`.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot.torch as eot_torch
    >>> cost = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    >>> eot_torch.plan(cost, epsilon=0.1)[0, 0].backward()
    >>> cost.grad.shape
    torch.Size([3, 4])
    """
    return _solved(cost, a, b, epsilon, grad, options)[0]


def potentials(
    cost: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | Tensor,
    grad: Grad = "implicit",
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """The potentials f and g, differentiable as `plan`; shapes (..., n) and (..., m)."""
    _, f, g = _solved(cost, a, b, epsilon, grad, options)
    return f, g


def transport_cost(
    cost: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | Tensor,
    grad: Grad = "implicit",
    **options: Any,
) -> Tensor:
    """<C, P>, shape (...), differentiable as `plan`; forbidden cells count as 0."""
    moved = plan(cost, a, b, epsilon=epsilon, grad=grad, **options)
    return torch.where(moved > 0, cost, torch.zeros_like(cost)).mul(moved).sum(dim=(-2, -1))


def value(
    cost: Tensor, a: Tensor | None = None, b: Tensor | None = None, *, epsilon: float | Tensor, **options: Any
) -> Tensor:
    """The optimal value, shape (...): entropy and penalties included.

    Its gradients need no linear system (envelope theorem). The one in the cost, the plan, can be differentiated again;
    those in weights and epsilon cannot.
    """
    options = _options("implicit", options)
    inputs = _inputs(cost, a, b, epsilon)
    found = [_Value.apply(*problem, options) for problem in _problems(*inputs)]
    return torch.stack(found).reshape(cost.shape[:-2])


def _solved(
    cost: Tensor, a: Tensor | None, b: Tensor | None, epsilon: float | Tensor, grad: Grad, options: dict[str, Any]
) -> tuple[Tensor, Tensor, Tensor]:
    options = _options(grad, options)
    inputs = _inputs(cost, a, b, epsilon)
    if grad == "detach":
        inputs = tuple(x.detach() for x in inputs)
    found = [_Plan.apply(*problem, options) for problem in _problems(*inputs)]
    plans, f, g = (torch.stack(parts) for parts in zip(*found, strict=True))
    batch, (n, m) = cost.shape[:-2], cost.shape[-2:]
    return plans.reshape(*batch, n, m), f.reshape(*batch, n), g.reshape(*batch, m)


def _options(grad: str, options: dict[str, Any]) -> dict[str, Any]:
    if grad not in ("implicit", "unroll", "detach"):
        raise ValueError(f"grad is {grad!r}; choose from 'implicit', 'unroll', 'detach'")
    for name in ("init", "callback"):
        if name in options:
            raise ValueError(f"{name} is not for differentiable solves; call elastic_ot.solve")
    if grad != "unroll":
        return {"tol": TOL, **options}
    if "max_iter" not in options:
        raise ValueError("grad='unroll' differentiates the iterations that are run; give their number as max_iter")
    return {**options, "tol": 0}


def _inputs(
    cost: Tensor, a: Tensor | None, b: Tensor | None, epsilon: float | Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Everything as tensors; weights default to uniform ones."""
    if not isinstance(cost, Tensor):
        raise TypeError(f"cost must be a torch.Tensor, got {type(cost).__name__}; elastic_ot.solve takes other arrays")
    if cost.dim() < 2:
        raise ValueError(f"cost has shape {tuple(cost.shape)}; it must be (..., n, m)")
    sides = []
    for name, weights, size in (("a", a, cost.shape[-2]), ("b", b, cost.shape[-1])):
        given = torch.full((size,), 1.0 / size, dtype=torch.float64) if weights is None else weights
        if not isinstance(given, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(given).__name__}")
        try:
            sides.append(given.expand(*cost.shape[:-2], size))
        except RuntimeError:
            raise ValueError(
                f"{name} has shape {tuple(given.shape)} and cost {tuple(cost.shape)}; {name} must broadcast to "
                f"{(*cost.shape[:-2], size)}"
            ) from None
    strength = torch.as_tensor(epsilon, dtype=torch.float64) if not isinstance(epsilon, Tensor) else epsilon
    if strength.numel() != 1:
        raise ValueError(f"epsilon has {strength.numel()} elements; it must be one number")
    return cost, sides[0], sides[1], strength.reshape(())


def _problems(cost: Tensor, a: Tensor, b: Tensor, epsilon: Tensor) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    n, m = cost.shape[-2:]
    parts = zip(cost.reshape(-1, n, m), a.reshape(-1, n), b.reshape(-1, m), strict=True)
    return [(c, row, col, epsilon) for c, row, col in parts]


def _solve(cost: Tensor, a: Tensor, b: Tensor, epsilon: Tensor, options: dict[str, Any]) -> Any:
    return solve(cost.detach(), a.detach(), b.detach(), epsilon=float(epsilon.detach()), **options)


def _like(values: Any, tensor: Tensor) -> Tensor:
    return torch.as_tensor(values).to(tensor.dtype)


class _Plan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cost: Tensor, a: Tensor, b: Tensor, epsilon: Tensor, options: dict[str, Any]) -> Any:
        ctx.solution = _solve(cost, a, b, epsilon, options)
        ctx.like = cost, a, b, epsilon
        return ctx.solution.plan, ctx.solution.f, ctx.solution.g

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, plan_bar: Tensor, f_bar: Tensor, g_bar: Tensor) -> Any:
        found = ctx.solution.vjp(plan=plan_bar, f=f_bar, g=g_bar)
        parts = found.cost, found.a, found.b, found.epsilon
        return *(_like(part, tensor) for part, tensor in zip(parts, ctx.like, strict=True)), None


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cost: Tensor, a: Tensor, b: Tensor, epsilon: Tensor, options: dict[str, Any]) -> Tensor:
        ctx.save_for_backward(cost, a, b, epsilon)
        ctx.options, ctx.solution = options, _solve(cost, a, b, epsilon, options)
        return torch.tensor(ctx.solution.value, dtype=cost.dtype)

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> Any:
        cost, a, b, epsilon = ctx.saved_tensors
        found = ctx.solution.gradients()
        moved = _like(found.cost, cost)
        if torch.is_grad_enabled() and cost.requires_grad:  # create_graph: the plan again, as a function of the cost
            moved = _Plan.apply(cost, a.detach(), b.detach(), epsilon.detach(), ctx.options)[0]
        rest = (bar.detach() * _like(part, x) for part, x in ((found.a, a), (found.b, b), (found.epsilon, epsilon)))
        return bar * moved, *rest, None
