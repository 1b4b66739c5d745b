"""Calls of the host from PyTorch, as operators that a graph can hold, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from ..arrays.devices import lies_on_host
from ..arrays.ingest import as_array
from ..arrays.origin import HOST, on_device
from ..costs.base import Cost
from ..costs.relative import fraction
from ..errors import BackendUnavailable
from . import stateless as host_calls
from .calls import CORE, HostCall, is_matrix
from .options import check_mask, common_batch, encode, option_text, plain_options

try:
    import torch
    from torch import Tensor
    from torch.autograd import forward_ad
except ImportError as error:
    raise BackendUnavailable('elastic_ot.torch needs PyTorch: pip install "elastic-ot[torch]"') from error

INPUTS = len(host_calls.PROBLEM)
HALF_DTYPES = (torch.float16, torch.bfloat16)


class Prepared(NamedTuple):
    """A call, ready for an operator: the problem with the same leading dimensions everywhere."""

    problem: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    options: str
    dtype: torch.dtype


def prepared(
    cost: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    epsilon: float | str | Tensor,
    rho: tuple[float | Tensor | None, float | Tensor | None],
    grad: str,
    mask: Tensor | None,
    options: Mapping[str, Any],
) -> Prepared:
    """A call, checked, with the same leading dimensions everywhere."""
    text = text_of(grad, options, rho, a, b)
    check_matrix("cost", cost)
    a = uniform(cost.shape[-2], cost) if a is None else a
    b = uniform(cost.shape[-1], cost) if b is None else b
    strengths = strength_of(epsilon, cost, mask), *rho
    epsilon, row_rho, col_rho = (number(0.0 if x is None else x, cost) for x in strengths)
    for name, tensor in (("a", a), ("b", b), ("epsilon", epsilon), ("row_rho", row_rho), ("col_rho", col_rho)):
        check_tensor(name, tensor, cost)
    dtype = cost.dtype if cost.is_floating_point() else torch.float64
    if dtype in HALF_DTYPES and torch.is_autocast_enabled(cost.device.type):
        dtype = torch.float32
    cost, a, b = in_working_dtype(cost), in_working_dtype(a), in_working_dtype(b)
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
    return Prepared(problem, text, dtype)


def check_tensor(name: str, tensor: Any, cost: Tensor | None = None) -> None:
    """Refuse what is no tensor of real numbers on the CPU or a CUDA device, or not on the device of the cost."""
    if isinstance(tensor, Cost):
        raise TypeError(
            f"{name} is a {type(tensor).__name__}, of which no matrix is stored; potentials, value, plan_apply and "
            f"divergence take a PointCloud of tensors"
        )
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


def strength_of(epsilon: float | str | Tensor, cost: Tensor, mask: Tensor | None = None) -> float | Tensor:
    """Return epsilon as it is, or a text's share of the range of each problem's finite, allowed costs, a constant."""
    if not isinstance(epsilon, str):
        return epsilon
    share, costs = fraction(epsilon), cost.detach() if mask is None else _masked(cost.detach(), mask)
    inside = torch.isfinite(costs)
    low, high = (torch.where(inside, costs, end) for end in (torch.inf, -torch.inf))
    return share * (high.amax((-2, -1)) - low.amin((-2, -1))).to(torch.float64)


def number(value: float | Tensor, cost: Tensor) -> Tensor:
    """In float64; beside the cost, if it is one number."""
    number = value.to(torch.float64) if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    return number.to(cost.device) if number.dim() == 0 else number


def check_matrix(name: str, cost: Any) -> None:
    """Refuse what is no tensor (..., n, m)."""
    check_tensor(name, cost)
    if cost.dim() < 2 or 0 in cost.shape[-2:]:
        raise ValueError(f"{name} has shape {tuple(cost.shape)}; it must be (..., n, m)")


def uniform(size: int, cost: Tensor) -> Tensor:
    """Weights 1 / size, beside the cost."""
    return torch.full((size,), 1.0 / size, dtype=torch.float64, device=cost.device)


def in_working_dtype(tensor: Tensor) -> Tensor:
    """float32 for half precision, float64 for integers."""
    if not tensor.is_floating_point():
        return tensor.to(torch.float64)
    return tensor.to(torch.float32) if tensor.dtype in HALF_DTYPES else tensor


def _masked(cost: Tensor, mask: Any) -> Tensor:
    check_tensor("mask", mask, cost)
    check_mask(mask.dtype == torch.bool, mask.dtype, mask.shape, cost.shape)
    return torch.where(mask, cost, torch.inf)


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
encoded: Callable[[dict[str, Any]], str] = torch.compiler.assume_constant_result(encode)


def text_of(grad: str, options: Mapping[str, Any], rho: tuple[Any, Any], a: Any, b: Any, metric: str = "") -> str:
    """The options of a call as text, see `option_text`."""
    if torch.compiler.is_compiling():
        return encoded(plain_options(grad, options, rho, a, b, metric))
    return option_text(grad, options, rho, a, b, metric)


def define(name: str, call: HostCall, optional: Sequence[int] = ()) -> Any:
    """`call` as a torch operator elastic_ot::name(Tensor, ..., str options), with its fake kernel and its vmap."""
    count = len(call.inputs)
    arguments = ", ".join(f"Tensor{'?' if i in optional else ''} x{i}" for i in range(count))
    schema = f"({arguments}, str options) -> ({', '.join(['Tensor'] * len(call.results))})"

    def returned(found: Sequence[Any]) -> Any:
        """What an operator with that schema returns: of one result the result itself."""
        return found[0] if len(found) == 1 else tuple(found)

    @torch.library.custom_op(f"elastic_ot::{name}", mutates_args=(), schema=schema)
    def op(*arguments: Any) -> Any:
        *tensors, options = arguments
        device = tensors[0].device
        with _here(device):
            given = [None if x is None else _received(name, x) for name, x in zip(call.inputs, tensors, strict=True)]
            return returned([_given_back(x, device) for x in call(given, options)])

    @op.register_fake
    def _(*arguments: Any) -> Any:
        tensors = arguments[:-1]
        shapes = call.shapes([None if x is None else tuple(x.shape) for x in tensors])
        dtypes = call.dtypes([None if x is None else x.dtype for x in tensors], torch.bool, torch.float64)
        return returned([tensors[0].new_empty(x, dtype=dtype) for x, dtype in zip(shapes, dtypes, strict=True)])

    @op.register_vmap
    def _(info: Any, in_dims: Sequence[int | None], *arguments: Any) -> tuple[Any, Any]:
        *tensors, options = arguments
        moved = [
            x if x is None else x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(tensors, in_dims, strict=False)
        ]
        return op(*moved, options), returned([0] * len(call.results))

    return op


def differentiable(
    op: Any,
    save: Callable[..., None],
    pull: Callable[..., Any],
    push: Callable[..., Any],
    solve: HostCall | None = None,
) -> Callable[..., Any]:
    """`op` with derivatives, backward (`pull`) and forward (`push`).

    Compiled graphs hold the operator with its own autograd, which torch.func and forward mode do not understand
    (pytorch issues 168393, 179652); they get a Function, whose jvp in turn torch.compile does not understand. Plain
    tensors of the host get one that calls `solve` itself and keeps the solution for the backward pass: of a small
    problem that takes half the time.
    """
    op.register_autograd(pull, setup_context=save)

    class Function(torch.autograd.Function):
        generate_vmap_rule = True
        forward, setup_context = staticmethod(op), staticmethod(save)
        backward, jvp = staticmethod(pull), staticmethod(push)

    direct = None if solve is None else _keeping(solve, save, pull)

    def call(*arguments: Any) -> Any:
        if not torch.compiler.is_compiling():
            if direct is not None and are_plain(arguments[:-1]):
                return direct.apply(*arguments)
            _refuse_nested_forward()
            return Function.apply(*arguments)
        if any(isinstance(x, Tensor) and forward_ad.unpack_dual(x).tangent is not None for x in arguments):
            raise RuntimeError("elastic_ot.torch: torch.compile has no forward mode here; call jvp outside of it")
        return op(*arguments)

    return call


def _keeping(solve: HostCall, save: Callable[..., None], pull: Callable[..., Any]) -> Any:
    """A Function that solves on the host and keeps the solution for its backward pass."""

    class Direct(torch.autograd.Function):
        backward = staticmethod(pull)

        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
            *tensors, options = arguments
            solution, found = _on_host(solve, tensors, options)
            ctx.solution = host_calls.for_derivatives(options, solution)
            save(ctx, arguments, found)
            return found

    return Direct


@torch.compiler.disable
def _refuse_nested_forward() -> None:
    """Forward mode within forward mode drops the outer derivative of a Function, without an error."""
    levels = [level.key() for level in torch._C._functorch.get_interpreter_stack() or ()]
    if levels.count(torch._C._functorch.TransformType.Jvp) > 1:
        raise RuntimeError("elastic_ot.torch: jvp within jvp; use torch.func.hessian, or jacrev inside")


def are_plain(tensors: Sequence[Any]) -> bool:
    """Return True for tensors of the host that nothing traces, transforms or differentiates forwards."""
    return (
        not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
        and not torch._C._len_torch_dispatch_stack()
        and all(x is None or _lies_here(x) for x in tensors)
    )


def _lies_here(tensor: Any) -> bool:
    """Return True for a dense tensor in this machine's memory; one that stands for many has no such key."""
    plain = type(tensor) in (Tensor, torch.nn.Parameter)
    return plain and torch._C._dispatch_keys(tensor).has(torch._C.DispatchKey.CPU)


def _on_host(
    call: HostCall, tensors: Sequence[Tensor | None], options: str, solution: Any = None
) -> tuple[Any, tuple[Tensor, ...]]:
    """The solution and the results of a call for tensors of the host."""
    arrays = [None if x is None else x.numpy(force=True) for x in tensors]
    solution, found = call.kept(arrays, options, solution)
    return solution, tuple(map(torch.from_numpy, found))


def pulled(ctx: Any, call: HostCall, op: Callable[..., Any], *bars: Tensor | None) -> tuple[Tensor, ...]:
    """What `op` returns, the operator of `call`; by the kept solution unless it will be differentiated again."""
    solution = getattr(ctx, "solution", None)
    if solution is None or torch.is_grad_enabled() or not are_plain(bars):
        found: tuple[Tensor, ...] = op(*ctx.saved_tensors, *bars, ctx.options)
        return found
    return _on_host(call, (*ctx.saved_tensors, *bars), ctx.options, solution)[1]


def save_solution(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save the inputs and, the last two results, the potentials."""
    *problem, ctx.options = inputs
    _save(ctx, *problem, *output[-2:])


def save_inputs(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save the inputs, among which the potentials are."""
    *tensors, ctx.options = inputs
    _save(ctx, *tensors)


def _save(ctx: Any, *tensors: Tensor) -> None:
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


def moves(ctx: Any, tangents: Sequence[Tensor | None]) -> list[Tensor]:
    """Tangents of the inputs; None is 0."""
    pairs = zip(ctx.saved_tensors[: len(tangents)], tangents, strict=True)
    return [torch.zeros_like(x) if tangent is None else tangent for x, tangent in pairs]


def _plan_backward(ctx: Any, plan_bar: Tensor, _: Any, f_bar: Tensor, g_bar: Tensor) -> tuple[Any, ...]:
    return *pulled(ctx, host_calls.pull_back, pull_back, plan_bar, f_bar, g_bar), None


def _plan_jvp(ctx: Any, *tangents: Any) -> Any:
    plan, f, g = _push_forward(*ctx.saved_tensors, *moves(ctx, tangents[:INPUTS]), ctx.options)
    return plan, None, f, g


def _logs_backward(ctx: Any, bar: Tensor, _: Any, f_bar: Tensor, g_bar: Tensor) -> tuple[Any, ...]:
    return *pulled(ctx, host_calls.pull_back_logs, _pull_back_logs, bar, f_bar, g_bar), None


def _logs_jvp(ctx: Any, *tangents: Any) -> Any:
    logs, f, g = _push_forward_logs(*ctx.saved_tensors, *moves(ctx, tangents[:INPUTS]), ctx.options)
    return logs, None, f, g


def _potentials_backward(ctx: Any, *bars: Any) -> tuple[Any, ...]:
    shown_f, shown_g, _, f, g = bars
    return *pulled(ctx, host_calls.pull_back, pull_back, None, shown_f + f, shown_g + g), None


def _potentials_jvp(ctx: Any, *tangents: Any) -> Any:
    _, flag, f, g = _plan_jvp(ctx, *tangents)
    return f, g, flag, torch.zeros_like(f), torch.zeros_like(g)


def value_rules(
    call: HostCall, op: Callable[..., Any], problem: Sequence[str]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """How a value is differentiated, backward and forward, by its gradients: a host call and its operator.

    The potentials are results only to be saved.
    """

    def backward(ctx: Any, bar: Tensor, _: Any, f_bar: Tensor, g_bar: Tensor) -> tuple[Any, ...]:
        found = zip(pulled(ctx, call, op), problem, strict=True)
        return *((bar.reshape((*bar.shape, *[1] * len(CORE[name]))) * x).to(x.dtype) for x, name in found), None

    def jvp(ctx: Any, *tangents: Any) -> Any:
        found, count = op(*ctx.saved_tensors, ctx.options), len(problem)
        move = sum(
            (x * tangent).double().sum(dim=tuple(range(x.dim() - len(CORE[name]), x.dim())) or 0)
            if CORE[name]
            else x * tangent
            for x, tangent, name in zip(found, moves(ctx, tangents[:count]), problem, strict=True)
        )
        f, g = ctx.saved_tensors[count:]
        return move, None, torch.zeros_like(f), torch.zeros_like(g)

    return backward, jvp


def _gradients_backward(ctx: Any, *directions: Tensor) -> tuple[Any, ...]:
    """The Hessian is symmetric. Potentials, too, depend on the inputs: nothing is left for them."""
    return *_value_hvp(*ctx.saved_tensors, *directions, ctx.options), None, None, None


def _gradients_jvp(ctx: Any, *tangents: Any) -> Any:
    return _value_hvp(*ctx.saved_tensors, *moves(ctx, tangents[:INPUTS]), ctx.options)


def _refuse(*arguments: Any) -> Any:
    raise RuntimeError(
        "elastic_ot.torch: plan, potentials and transport_cost can be differentiated once, value and divergence twice"
    )


def _save_nothing(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save nothing, for operators without derivatives."""


def last(name: str, call: HostCall, optional: Sequence[int] = ()) -> Callable[..., Any]:
    """Return the operator of a derivative that is not differentiated again."""
    return differentiable(define(name, call, optional), _save_nothing, _refuse, _refuse)


def solving(name: str, call: HostCall, pull: Callable[..., Any], push: Callable[..., Any]) -> Callable[..., Any]:
    """Return the operator of a solve, whose last two results are the potentials."""
    return differentiable(define(name, call), save_solution, pull, push, solve=call)


pull_back = last("pull_back", host_calls.pull_back, optional=(len(host_calls.SOLVED),))
_push_forward = last("push_forward", host_calls.push_forward)
_pull_back_logs = last("pull_back_logs", host_calls.pull_back_logs)
_push_forward_logs = last("push_forward_logs", host_calls.push_forward_logs)
_value_hvp = last("value_hvp", host_calls.value_hvp)
_value_gradients = differentiable(
    define("value_gradients", host_calls.value_gradients), save_inputs, _gradients_backward, _gradients_jvp
)
solve_plan = solving("plan", host_calls.plan, _plan_backward, _plan_jvp)
solve_log_plan = solving("log_plan", host_calls.log_plan, _logs_backward, _logs_jvp)
solve_potentials = solving("potentials", host_calls.potentials, _potentials_backward, _potentials_jvp)
solve_value = solving(
    "value", host_calls.value, *value_rules(host_calls.value_gradients, _value_gradients, host_calls.PROBLEM)
)
