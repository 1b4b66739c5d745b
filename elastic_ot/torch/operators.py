"""Differentiable solves on torch tensors, as operators that torch.compile, torch.func and autocast know.

Costs, weights and epsilon may have leading dimensions, a problem each, which broadcast: cost (..., n, m), a (..., n),
b (..., m), epsilon (...), strengths rho (...). Everything is differentiable in all of them. `grad` says what:
``"implicit"``, the solution (one linear system, see `Solution.vjp`); ``"unroll"``, the `max_iter` iterations that were
run; ``"detach"``, nothing. Options are those of `elastic_ot.solve` but `init` and `callback`; ``tol`` is 1e-9 unless
given, and a mask broadcasts to the cost.

Results have the dtype of the cost. Half precision is computed in float32; under autocast it comes back in float32, as
from a softmax on an accelerator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple

import numpy as np

from .. import host_calls
from ..arrays import HOST, as_array, on_device
from ..call_options import (
    check_divergence,
    check_mask,
    check_options,
    check_rho,
    check_weights,
    common_batch,
    encode,
    plain,
)
from ..doors import HOST_FUNCTIONS
from ..errors import BackendUnavailable
from ..flags import operator, with_converged
from ..host_calls import CORE, PAIR, HostCall, is_matrix
from ..memory import lies_on_host
from ..penalties import Fixed, Penalty

try:
    import torch
    from torch import Tensor
    from torch.autograd import forward_ad
except ImportError as error:
    raise BackendUnavailable('elastic_ot.torch needs PyTorch: pip install "elastic-ot[torch]"') from error

__all__ = ["divergence", "log_plan", "plan", "potentials", "transport_cost", "value", "with_converged"]

Grad = Literal["implicit", "unroll", "detach"]
INPUTS = len(host_calls.PROBLEM)
HALF = (torch.float16, torch.bfloat16)


@operator
def plan(
    cost: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | Tensor,
    grad: Grad = "implicit",
    mask: Tensor | None = None,
    row_rho: float | Tensor | None = None,
    col_rho: float | Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """The entropic plan.

    Parameters
    ----------
    cost : Tensor, shape (..., n, m)
        On the CPU or on a CUDA device, and the other tensors with it.
    a, b : Tensor, shapes (..., n) and (..., m), optional
        Weights, default 1/n and 1/m.
    epsilon : float or Tensor, shape (...)
        Strength of the entropy.
    grad : {"implicit", "unroll", "detach"}
        What the backward pass differentiates; ``"unroll"`` needs `max_iter`.
    mask : Tensor of bool, optional
        False forbids a cell; broadcasts to the cost.
    row_rho, col_rho : float or Tensor, shape (...), optional
        Strength of the penalty of that side, which must be `KL`, `TV` or `L2`, in the place of its own.
    **options
        Those of `elastic_ot.solve` but `init` and `callback`; ``tol`` is 1e-9 unless given.

    Returns
    -------
    Tensor
        Shape (..., n, m), dtype of the cost. It can be differentiated once.

    Raises
    ------
    ValueError, TypeError
        As `elastic_ot.solve`; shapes that do not broadcast; tensors on another device.

    Warns
    -----
    ConvergenceWarning
        A problem has not converged.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot.torch as eot_torch
    >>> cost = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    >>> eot_torch.plan(cost, epsilon=0.1)[0, 0].backward()
    >>> cost.grad.shape
    torch.Size([3, 4])
    """
    given = _given(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    found, converged, *_ = _solve_plan(*given.problem, given.options)
    return found.to(given.dtype), converged


@operator
def log_plan(
    cost: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | Tensor,
    grad: Grad = "implicit",
    mask: Tensor | None = None,
    row_rho: float | Tensor | None = None,
    col_rho: float | Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """The logarithm of the plan, shape (..., n, m), for losses such as -log P_ij; arguments as those of `plan`.

    It is formed of the potentials in float64, so that entries have values and derivatives where those of the plan
    underflow to 0. -inf for forbidden cells and removed rows and columns, whose derivatives are 0, and nowhere else.
    The dtype is that of the cost, float32 where that is half precision, whose range ends at 65504. Where two parts of a
    problem are joined by less mass than rounding, their potentials' distance is held, as in all derivatives.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot as eot
    >>> cost = torch.tensor([[0.0, 50.0], [50.0, 0.0]], requires_grad=True)
    >>> loss = -eot.torch.log_plan(cost, epsilon=0.1, cols=eot.KL(1.0))[0, 1]
    >>> loss.backward()
    >>> loss, cost.grad[0]
    (tensor(500.6931, grad_fn=<NegBackward0>), tensor([-10.,  10.]))
    """
    given = _given(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    found, converged, *_ = _solve_log_plan(*given.problem, given.options)
    return found.to(torch.float32 if given.dtype in HALF else given.dtype), converged


@operator
def potentials(
    cost: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | Tensor,
    grad: Grad = "implicit",
    mask: Tensor | None = None,
    row_rho: float | Tensor | None = None,
    col_rho: float | Tensor | None = None,
    **options: Any,
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The potentials f and g, shapes (..., n) and (..., m); arguments and derivatives as those of `plan`.

    They are -inf where a row or a column is removed.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot.torch as eot_torch
    >>> f, g = eot_torch.potentials(torch.rand(8, 3, 4), epsilon=0.1)
    >>> f.shape, g.shape
    (torch.Size([8, 3]), torch.Size([8, 4]))
    """
    given = _given(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    f, g, converged, *_ = _solve_potentials(*given.problem, given.options)
    return (f.to(given.dtype), g.to(given.dtype)), converged


@operator
def transport_cost(
    cost: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | Tensor,
    grad: Grad = "implicit",
    mask: Tensor | None = None,
    row_rho: float | Tensor | None = None,
    col_rho: float | Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """<C, P>, shape (...); forbidden cells count as 0. Arguments and derivatives as those of `plan`.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot.torch as eot_torch
    >>> eot_torch.transport_cost(torch.eye(2), epsilon=0.01)
    tensor(0.)
    """
    given = _given(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    moved, converged, *_ = _solve_plan(*given.problem, given.options)
    price = torch.where(moved > 0, given.problem[0], 0.0)
    return (price * moved).sum(dim=(-2, -1)).to(given.dtype), converged


@operator
def value(
    cost: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | Tensor,
    mask: Tensor | None = None,
    row_rho: float | Tensor | None = None,
    col_rho: float | Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """The optimal value, shape (...): entropy and penalties included. Arguments as those of `plan`.

    Its gradients need no linear system (envelope theorem): the one in the cost is the plan. They can be differentiated
    again, by one linear system. With two ``Fixed`` sides the Hessian in the weights has a meaning along directions that
    change both masses alike; elsewhere it is what makes it symmetric.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot.torch as eot_torch
    >>> cost = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    >>> (moved,) = torch.autograd.grad(eot_torch.value(cost, epsilon=0.1), cost)
    >>> torch.allclose(moved, eot_torch.plan(cost, epsilon=0.1))
    True
    """
    given = _given(cost, a, b, epsilon, (row_rho, col_rho), "implicit", mask, options)
    found, converged, *_ = _solve_value(*given.problem, given.options)
    return found.to(given.dtype), converged


@operator
def divergence(
    cost_xy: Tensor,
    cost_xx: Tensor,
    cost_yy: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | Tensor,
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """The debiased Sinkhorn divergence, shape (...): 0 between equal measures.

    value(xy; a, b) - value(xx; a, a) / 2 - value(yy; b, b) / 2 + epsilon (sum a - sum b)^2 / 2. Its derivatives are
    those of `value`.

    Parameters
    ----------
    cost_xy, cost_xx, cost_yy : Tensor, shapes (..., n, m), (..., n, n) and (..., m, m)
        Costs between the two measures and within each.
    a, b : Tensor, shapes (..., n) and (..., m), optional
        Weights, default 1/n and 1/m.
    epsilon : float or Tensor, shape (...)
        Strength of the entropy.
    rows, cols : Penalty
        Of the first measure and of the second, on both sides of the problem within it.
    **options
        As for `plan`, without `mask` and `reference`.

    Returns
    -------
    Tensor
        Dtype of cost_xy.

    References
    ----------
    Séjourné, Feydy, Vialard, Trouvé, Peyré, *Sinkhorn divergences for unbalanced optimal transport*, 2019.

    Examples
    --------
    >>> import torch
    >>> import elastic_ot.torch as eot_torch
    >>> x = torch.linspace(0, 1, 5, dtype=torch.float64)
    >>> cost = (x[:, None] - x) ** 2
    >>> bool(eot_torch.divergence(cost, cost, cost, epsilon=0.1).abs() < 1e-12)
    True
    """
    check_divergence(options)
    for name, cost in (("cost_xy", cost_xy), ("cost_xx", cost_xx), ("cost_yy", cost_yy)):
        _check_matrix(name, cost)
    a = _uniform(cost_xy.shape[-2], cost_xy) if a is None else a
    b = _uniform(cost_xy.shape[-1], cost_xy) if b is None else b
    solve = with_converged(value)
    between, done = solve(cost_xy, a, b, epsilon=epsilon, rows=rows, cols=cols, **options)
    a, b = _working(a), _working(b)
    if isinstance(rows, Fixed) and isinstance(cols, Fixed):  # equal but for rounding, or that would have been refused
        b = b * (a.sum(dim=-1, keepdim=True) / b.sum(dim=-1, keepdim=True)).detach()
    first, first_done = solve(cost_xx, a, a, epsilon=epsilon, rows=rows, cols=rows, **options)
    second, second_done = solve(cost_yy, b, b, epsilon=epsilon, rows=cols, cols=cols, **options)
    excess = a.sum(dim=-1) - b.sum(dim=-1)
    found = between - 0.5 * first - 0.5 * second + 0.5 * epsilon * excess**2
    return found.to(between.dtype), done & first_done & second_done


def logs_and_potentials(
    cost: Tensor, a: Tensor | None, b: Tensor | None, *, epsilon: Any, grad: Grad, mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """`log_plan` and `potentials` of one solve, for `elastic_ot.applications`."""
    given = _given(cost, a, b, epsilon, (None, None), grad, mask, options)
    found, _, f, g = _solve_log_plan(*given.problem, given.options)
    return found.to(given.dtype), f.to(given.dtype), g.to(given.dtype)


def detached(tensor: Tensor) -> Tensor:
    """The same numbers as a constant, for `elastic_ot.applications`."""
    return tensor.detach()


def traced(tensor: Tensor) -> bool:
    """True inside of torch.compile, where numbers are not known yet, for `elastic_ot.applications`."""
    return torch.compiler.is_compiling()


class _Given(NamedTuple):
    """A call, ready for an operator: the problem with the same leading dimensions everywhere."""

    problem: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    options: str
    dtype: torch.dtype


def _given(
    cost: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    epsilon: float | Tensor,
    rho: tuple[float | Tensor | None, float | Tensor | None],
    grad: str,
    mask: Tensor | None,
    options: dict[str, Any],
) -> _Given:
    text = _encoded(plain(check_weights(check_rho(check_options(grad, options), *rho), a, b)))
    _check_matrix("cost", cost)
    a = _uniform(cost.shape[-2], cost) if a is None else a
    b = _uniform(cost.shape[-1], cost) if b is None else b
    epsilon, row_rho, col_rho = (_number(0.0 if x is None else x, cost) for x in (epsilon, *rho))
    for name, tensor in (("a", a), ("b", b), ("epsilon", epsilon), ("row_rho", row_rho), ("col_rho", col_rho)):
        _check(name, tensor, cost)
    dtype = cost.dtype if cost.is_floating_point() else torch.float64
    if dtype in HALF and torch.is_autocast_enabled(cost.device.type):
        dtype = torch.float32
    cost, a, b = _working(cost), _working(a), _working(b)
    if mask is not None:
        cost = _masked(cost, mask)
    n, m = cost.shape[-2:]
    batch = common_batch(cost.shape, a.shape, b.shape, epsilon.shape, row_rho.shape, col_rho.shape)
    problem = (
        cost.expand(*batch, n, m),
        a.expand(*batch, n),
        b.expand(*batch, m),
        epsilon.expand(batch),
        torch.stack((row_rho.expand(batch), col_rho.expand(batch)), dim=-1),
    )
    if grad == "detach":
        problem = tuple(x.detach() for x in problem)
    return _Given(problem, text, dtype)


def _check(name: str, tensor: Any, cost: Tensor | None = None) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor, got {type(tensor).__name__}; elastic_ot.solve takes other arrays"
        )
    if tensor.device.type not in ("cpu", "cuda"):
        raise TypeError(f"{name} is on {tensor.device}; it must be on the CPU or on a CUDA device")
    if cost is not None and tensor.device != cost.device:
        raise TypeError(f"{name} is on {tensor.device} and the cost on {cost.device}; they must be on one device")
    if tensor.is_complex():
        raise TypeError(f"{name} has dtype {tensor.dtype}; it must hold real numbers")


def _number(value: float | Tensor, cost: Tensor) -> Tensor:
    """In float64; beside the cost, if it is one number."""
    number = value.to(torch.float64) if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    return number.to(cost.device) if number.dim() == 0 else number


def _check_matrix(name: str, cost: Any) -> None:
    _check(name, cost)
    if cost.dim() < 2 or 0 in cost.shape[-2:]:
        raise ValueError(f"{name} has shape {tuple(cost.shape)}; it must be (..., n, m)")


def _uniform(size: int, cost: Tensor) -> Tensor:
    return torch.full((size,), 1.0 / size, dtype=torch.float64, device=cost.device)


def _working(tensor: Tensor) -> Tensor:
    """float32 for half precision, float64 for integers."""
    if not tensor.is_floating_point():
        return tensor.to(torch.float64)
    return tensor.to(torch.float32) if tensor.dtype in HALF else tensor


def _masked(cost: Tensor, mask: Any) -> Tensor:
    _check("mask", mask, cost)
    check_mask(mask.dtype == torch.bool, mask.dtype, mask.shape, cost.shape)
    return torch.where(mask, cost, torch.inf)


# Matrices of a device are shared with CuPy, vectors go to the host and back


def _here(device: torch.device) -> AbstractContextManager[None]:
    """Work on the tensors' device, after what PyTorch has queued there."""
    return HOST if device.type == "cpu" else on_device(device.index or 0, "torch")


def _received(name: str, tensor: Tensor) -> Any:
    if tensor.device.type == "cpu" or not is_matrix(name):
        return tensor.numpy(force=True)
    return as_array(name, tensor.detach())


def _given_back(values: Any, device: torch.device) -> Tensor:
    return torch.from_numpy(values).to(device) if lies_on_host(values) else torch.from_dlpack(values)


# Options are constants of a compiled graph: dynamo runs this and keeps the text.
_encoded: Callable[[dict[str, Any]], str] = torch.compiler.assume_constant_result(encode)


def _define(name: str, call: HostCall, optional: Sequence[int] = ()) -> Any:
    """`call` as a torch operator elastic_ot::name(Tensor, ..., str options), with its fake kernel and its vmap."""
    count = len(call.inputs)
    arguments = ", ".join(f"Tensor{'?' if i in optional else ''} x{i}" for i in range(count))
    schema = f"({arguments}, str options) -> ({', '.join(['Tensor'] * len(call.results))})"

    @torch.library.custom_op(f"elastic_ot::{name}", mutates_args=(), schema=schema)
    def op(*arguments: Any) -> tuple[Tensor, ...]:
        *tensors, options = arguments
        device = tensors[0].device
        with _here(device):
            given = [None if x is None else _received(name, x) for name, x in zip(call.inputs, tensors, strict=True)]
            return tuple(_given_back(x, device) for x in call(given, options))

    @op.register_fake
    def _(*arguments: Any) -> tuple[Tensor, ...]:
        cost, a, b = arguments[:3]
        shapes = call.shapes(tuple(cost.shape[:-2]), *cost.shape[-2:])
        dtypes = call.dtypes(cost.dtype, a.dtype, b.dtype, torch.bool, torch.float64)
        return tuple(cost.new_empty(shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes, strict=True))

    @op.register_vmap
    def _(info: Any, in_dims: Sequence[int | None], *arguments: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        *tensors, options = arguments
        moved = [
            x if x is None else x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(tensors, in_dims, strict=False)
        ]
        return op(*moved, options), (0,) * len(call.results)

    return op


def _differentiable(
    op: Any, save: Callable[..., None], pull: Callable[..., Any], push: Callable[..., Any]
) -> Callable[..., Any]:
    """`op` with derivatives, backward (`pull`) and forward (`push`).

    Compiled graphs hold the operator with its own autograd, which torch.func and forward mode do not understand
    (pytorch issues 168393, 179652); they get a Function, whose jvp in turn torch.compile does not understand.
    """
    op.register_autograd(pull, setup_context=save)

    class Function(torch.autograd.Function):
        generate_vmap_rule = True
        forward, setup_context = staticmethod(op), staticmethod(save)
        backward, jvp = staticmethod(pull), staticmethod(push)

    def call(*arguments: Any) -> Any:
        if not torch.compiler.is_compiling():
            _refuse_nested_forward()
            return Function.apply(*arguments)
        if any(isinstance(x, Tensor) and forward_ad.unpack_dual(x).tangent is not None for x in arguments):
            raise RuntimeError("elastic_ot.torch: torch.compile has no forward mode here; call jvp outside of it")
        return op(*arguments)

    return call


@torch.compiler.disable
def _refuse_nested_forward() -> None:
    """Forward mode within forward mode drops the outer derivative of a Function, without an error."""
    levels = [level.key() for level in torch._C._functorch.get_interpreter_stack() or ()]
    if levels.count(torch._C._functorch.TransformType.Jvp) > 1:
        raise RuntimeError("elastic_ot.torch: jvp within jvp; use torch.func.hessian, or jacrev inside")


def _save_solution(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *problem, ctx.options = inputs
    _save(ctx, *problem, *output[-2:])


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.options = inputs
    _save(ctx, *tensors)


def _save(ctx: Any, *tensors: Tensor) -> None:
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


def _moves(ctx: Any, tangents: Sequence[Tensor | None]) -> list[Tensor]:
    """Tangents of the inputs; None is 0."""
    pairs = zip(ctx.saved_tensors[:INPUTS], tangents, strict=True)
    return [torch.zeros_like(x) if tangent is None else tangent for x, tangent in pairs]


# A flag that says which problems converged stands before the potentials, and has no derivative.


def _plan_backward(ctx: Any, plan_bar: Tensor, _: Any, f_bar: Tensor, g_bar: Tensor) -> tuple[Any, ...]:
    return *_pull_back(*ctx.saved_tensors, plan_bar, f_bar, g_bar, ctx.options), None


def _plan_jvp(ctx: Any, *tangents: Any) -> Any:
    plan, f, g = _push_forward(*ctx.saved_tensors, *_moves(ctx, tangents[:INPUTS]), ctx.options)
    return plan, None, f, g


def _logs_backward(ctx: Any, bar: Tensor, _: Any, f_bar: Tensor, g_bar: Tensor) -> tuple[Any, ...]:
    return *_pull_back_logs(*ctx.saved_tensors, bar, f_bar, g_bar, ctx.options), None


def _logs_jvp(ctx: Any, *tangents: Any) -> Any:
    logs, f, g = _push_forward_logs(*ctx.saved_tensors, *_moves(ctx, tangents[:INPUTS]), ctx.options)
    return logs, None, f, g


def _potentials_backward(ctx: Any, *bars: Any) -> tuple[Any, ...]:
    shown_f, shown_g, _, f, g = bars
    return *_pull_back(*ctx.saved_tensors, None, shown_f + f, shown_g + g, ctx.options), None


def _potentials_jvp(ctx: Any, *tangents: Any) -> Any:
    _, flag, f, g = _plan_jvp(ctx, *tangents)
    return f, g, flag, torch.zeros_like(f), torch.zeros_like(g)


def _value_backward(ctx: Any, bar: Tensor, _: Any, f_bar: Tensor, g_bar: Tensor) -> tuple[Any, ...]:
    """Of the value alone; the potentials are there to be saved."""
    found = _value_gradients(*ctx.saved_tensors, ctx.options)
    scale = {"nm": bar[..., None, None], "n": bar[..., None], "m": bar[..., None], PAIR: bar[..., None], "": bar}
    pairs = zip(found, host_calls.PROBLEM, strict=True)
    return *((scale[CORE[name]] * x).to(x.dtype) for x, name in pairs), None


def _value_jvp(ctx: Any, *tangents: Any) -> Any:
    found = _value_gradients(*ctx.saved_tensors, ctx.options)
    move = sum(
        (x * tangent).double().sum(dim=tuple(range(x.dim() - len(CORE[name]), x.dim())) or 0)
        if CORE[name]
        else x * tangent
        for x, tangent, name in zip(found, _moves(ctx, tangents[:INPUTS]), host_calls.PROBLEM, strict=True)
    )
    f, g = ctx.saved_tensors[INPUTS:]
    return move, None, torch.zeros_like(f), torch.zeros_like(g)


def _gradients_backward(ctx: Any, *directions: Tensor) -> tuple[Any, ...]:
    """The Hessian is symmetric. Potentials, too, depend on the inputs: nothing is left for them."""
    return *_value_hvp(*ctx.saved_tensors, *directions, ctx.options), None, None, None


def _gradients_jvp(ctx: Any, *tangents: Any) -> Any:
    return _value_hvp(*ctx.saved_tensors, *_moves(ctx, tangents[:INPUTS]), ctx.options)


def _refuse(*arguments: Any) -> Any:
    raise RuntimeError(
        "elastic_ot.torch: plan, potentials and transport_cost can be differentiated once, value and divergence twice"
    )


def _save_nothing(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """For what has no derivatives."""


def _last(name: str, call: HostCall, optional: Sequence[int] = ()) -> Callable[..., Any]:
    return _differentiable(_define(name, call, optional), _save_nothing, _refuse, _refuse)


_pull_back = _last("pull_back", host_calls.pull_back, optional=(len(host_calls.SOLVED),))
_push_forward = _last("push_forward", host_calls.push_forward)
_pull_back_logs = _last("pull_back_logs", host_calls.pull_back_logs)
_push_forward_logs = _last("push_forward_logs", host_calls.push_forward_logs)
_value_hvp = _last("value_hvp", host_calls.value_hvp)
_value_gradients = _differentiable(
    _define("value_gradients", host_calls.value_gradients), _save_inputs, _gradients_backward, _gradients_jvp
)
_solve_plan = _differentiable(_define("plan", host_calls.plan), _save_solution, _plan_backward, _plan_jvp)
_solve_log_plan = _differentiable(_define("log_plan", host_calls.log_plan), _save_solution, _logs_backward, _logs_jvp)
_solve_potentials = _differentiable(
    _define("potentials", host_calls.potentials), _save_solution, _potentials_backward, _potentials_jvp
)
_solve_value = _differentiable(_define("value", host_calls.value), _save_solution, _value_backward, _value_jvp)


@torch.library.custom_op(
    "elastic_ot::integers",
    mutates_args=(),
    schema="(Tensor[] arrays, str function, SymInt[] numbers, SymInt[] shape) -> Tensor",
)
def integers(arrays: Sequence[Tensor], function: str, numbers: Sequence[int], shape: Sequence[int]) -> Tensor:
    """What the host function of that name makes of arrays and numbers, for `elastic_ot.applications`."""
    host = [(x.float() if x.dtype in HALF else x).numpy(force=True) for x in arrays]
    found = np.asarray(HOST_FUNCTIONS[function](*host, *numbers), dtype=np.int64)
    return torch.from_numpy(found.reshape(tuple(shape))).to(arrays[0].device)


@integers.register_fake
def _(arrays: Sequence[Tensor], function: str, numbers: Sequence[int], shape: Sequence[int]) -> Tensor:
    return arrays[0].new_empty(tuple(shape), dtype=torch.int64)
