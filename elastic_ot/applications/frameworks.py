"""The solver and a few array functions, in the library that the arrays came from.

Applications are written on the array API standard and know no library by name. A plan of torch tensors or JAX arrays
comes from `elastic_ot.torch` or `elastic_ot.jax`, and carries derivatives; one of other arrays from
`elastic_ot.solve`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from ..api.solve import solve, solve_with_plan
from ..arrays.ingest import as_numpy
from ..costs.points import PointCloud
from ..frameworks.dispatch import arrays_of, is_torch, operators_of, torch_namespace
from ..frameworks.options import Grad


def namespace(*arrays: Any) -> Any:
    """The array API namespace of all that is not None."""
    given = [x for x in arrays if x is not None]
    return torch_namespace() if all(map(is_torch, given)) else array_api_compat.array_namespace(*given)


def has_namespace(values: Any) -> bool:
    """True for arrays of any library that has the array API, NumPy's numbers included."""
    return is_torch(values) or array_api_compat.is_array_api_obj(values)


def device_of(values: Any) -> Any:
    """Where an array lies."""
    return values.device if is_torch(values) else array_api_compat.device(values)


def real(name: str, values: Any) -> Any:
    """`values` as an array of real floating-point numbers, from NumPy where it is a sequence."""
    if not has_namespace(values):
        values = np.asarray(values)
    xp = namespace(values)
    if xp.isdtype(values.dtype, "complex floating"):
        raise TypeError(f"{name} has dtype {values.dtype}; it must hold real numbers")
    return values if xp.isdtype(values.dtype, "real floating") else xp.astype(values, xp.float64)


def working(name: str, values: Any) -> Any:
    """`real` values in single precision at least: potentials are not to be rounded to half."""
    values = real(name, values)
    xp = namespace(values)
    return xp.astype(values, xp.float32) if xp.finfo(values.dtype).bits < 32 else values


def detached(values: Any) -> Any:
    """Return the values as a constant, without their derivatives."""
    functions = _functions_of(values)
    return values if functions is None else functions.detached(values)


def gather(values: Any, index: Any) -> Any:
    """Entries of the last axis: values (..., m) at index (..., k)."""
    functions = _functions_of(values)
    if functions is not None:
        return functions.gather(values, index)
    xp = namespace(values)
    size = values.shape[-1]
    flat = xp.reshape(index, (-1, index.shape[-1]))
    starts = size * xp.arange(flat.shape[0], dtype=flat.dtype, device=device_of(values))
    taken = xp.take(xp.reshape(values, (-1,)), xp.reshape(flat + starts[:, None], (-1,)), axis=0)
    return xp.reshape(taken, index.shape)


def differentiable(values: Any) -> Any:
    """`elastic_ot.torch` or `elastic_ot.jax`, for arrays of theirs; else None."""
    if is_torch(values):
        return operators_of("torch")
    return operators_of("jax") if array_api_compat.is_jax_array(values) else None


def _functions_of(values: Any) -> Any:
    """What torch and JAX have beyond the array API; None for other libraries."""
    if is_torch(values):
        return arrays_of("torch")
    return arrays_of("jax") if array_api_compat.is_jax_array(values) else None


def traced(values: Any) -> bool:
    """Return True for an array whose numbers are not known yet; the solver reads them when it runs."""
    functions = _functions_of(values)
    return functions is not None and bool(functions.traced(values))


def is_constant(values: Any) -> bool:
    """Return True for an array whose numbers are known and in which nothing asks for derivatives."""
    functions = _functions_of(values)
    return functions is None or bool(functions.is_constant(values))


def cityblock(x: Any, y: Any) -> Any:
    """The L1 distances of points (..., n, d) and (..., m, d), shape (..., n, m)."""
    functions = _functions_of(x)
    if functions is not None:
        return functions.cityblock(x, y)
    if isinstance(x, np.ndarray):
        cloud = PointCloud(x, y, "cityblock")
        return cloud.block(slice(0, x.shape[-2]), slice(0, y.shape[-2]))
    xp = namespace(x, y)
    return xp.sum(xp.abs(x[..., :, None, :] - y[..., None, :, :]), axis=-1)


def without(values: Any, index: Any) -> Any:
    """Values (..., m) with -inf at index (..., 1)."""
    functions = _functions_of(values)
    if functions is not None:
        return functions.without(values, index)
    xp = namespace(values)
    places = xp.arange(values.shape[-1], dtype=index.dtype, device=device_of(values))
    return xp.where(places == index, xp.full_like(values, -xp.inf), values)


def sums_at(values: Any, index: Any) -> Any:
    """Sums of values (..., n) with the same index (..., n), below n, at each of them."""
    functions = _functions_of(values)
    if functions is not None:
        return functions.sums_at(values, index)
    xp, size = namespace(values), values.shape[-1]
    if isinstance(values, np.ndarray):
        flat = (index.reshape(-1, size) + size * np.arange(index.size // size)[:, None]).reshape(-1)
        found = np.bincount(flat, values.reshape(-1), values.size).astype(values.dtype)
        return found[flat].reshape(values.shape)
    same = xp.astype(index[..., :, None] == index[..., None, :], values.dtype)
    return xp.matmul(same, values[..., None])[..., 0]


def counts(index: Any, size: int) -> Any:
    """How often each of 0 to size - 1 occurs along the last axis, shape (..., size)."""
    functions = _functions_of(index)
    if functions is not None:
        return functions.counts(index, size)
    xp = namespace(index)
    return xp.sum(xp.astype(index[..., None] == xp.arange(size, dtype=index.dtype), index.dtype), axis=-2)


def on_host(values: Any) -> NDArray[Any] | None:
    """A constant as an array of NumPy in the same memory; None where there is no such view."""
    functions = _functions_of(values)
    if functions is not None:
        return functions.on_host(values)
    return values if isinstance(values, np.ndarray) else None


def home(values: Any) -> dict[str, Any]:
    """The dtype and device of `values`, as options of what creates arrays."""
    return {"dtype": values.dtype, "device": device_of(values)}


def plan(
    cost: Any, a: Any = None, b: Any = None, *, epsilon: Any, mask: Any = None, grad: Grad = "implicit", **options: Any
) -> Any:
    """The plan, shape (..., n, m), in the library of `cost`; options are those of `elastic_ot.solve`."""
    calls = differentiable(cost)
    if calls is not None:
        return calls.plan(cost, a, b, epsilon=epsilon, mask=mask, grad=grad, **options)
    return solve_with_plan(cost, a, b, epsilon=epsilon, mask=mask, **options).plan


def potentials(
    cost: Any, a: Any = None, b: Any = None, *, epsilon: Any, mask: Any = None, grad: Grad = "implicit", **options: Any
) -> tuple[Any, Any]:
    """The potentials f and g, shapes (..., n) and (..., m); arguments as those of `plan`."""
    calls = differentiable(cost)
    if calls is not None:
        f, g = calls.potentials(cost, a, b, epsilon=epsilon, mask=mask, grad=grad, **options)
        return f, g
    found = solve(cost, a, b, epsilon=epsilon, mask=mask, **options)
    return found.f, found.g


def logs_and_potentials(
    cost: Any, a: Any = None, b: Any = None, *, epsilon: Any, mask: Any = None, grad: Grad = "implicit", **options: Any
) -> tuple[Any, Any, Any]:
    """The logarithm of the plan, -inf for forbidden cells alone, and the potentials; arguments as those of `plan`."""
    calls = differentiable(cost)
    if calls is not None:
        logs, f, g = calls.logs_and_potentials(cost, a, b, epsilon=epsilon, mask=mask, grad=grad, **options)
        return logs, f, g
    found = solve(cost, a, b, epsilon=epsilon, mask=mask, **options)
    return found.log_plan, found.f, found.g


def integers(function: Callable[..., Any], arrays: Sequence[Any], numbers: Sequence[int], shape: Sequence[int]) -> Any:
    """Call a host function and return its result as a constant, in the library and on the device of the arrays.

    Under torch.compile it is a part of the graph; JAX has to know the numbers.
    """
    first = arrays[0]
    if is_torch(first):
        return arrays_of("torch").integers([detached(x) for x in arrays], function.__name__, [*numbers], [*shape])
    found = function(*(as_numpy("logits", detached(x)) for x in arrays), *numbers)
    xp = namespace(first)
    # of the dtype of indices as the library makes them by itself: JAX without float64 has no int64 either
    kind = xp.argsort(xp.reshape(first, (-1,))[:1]).dtype
    return xp.asarray(np.reshape(found, shape), dtype=kind, device=device_of(first))


def half_steps(count: Any) -> dict[str, Any]:
    """Options of a solve that runs exactly so many half steps, rows first: an odd number ends on the rows."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"the number of half steps is {count!r}; it must be an integer >= 1")
    return {"tol": 0, "max_iter": (count + 1) // 2, "end": "rows" if count % 2 else "cols"}


def cumulated(x: Any, axis: int) -> Any:
    """Cumulative sums along an axis."""
    return x.cumsum(axis) if is_torch(x) else namespace(x).cumulative_sum(x, axis=axis)


def log_softmax(x: Any) -> Any:
    """The logarithm of `probabilities`, as sharp at an offset as without."""
    functions = _functions_of(x)
    if functions is not None:
        return functions.log_softmax(x)
    xp = namespace(x)
    raised = x - xp.max(x, axis=-1, keepdims=True)
    return raised - xp.log(xp.sum(xp.exp(raised), axis=-1, keepdims=True))


def probabilities(x: Any) -> Any:
    """`softmax` along the last axis, of finite numbers: in torch and JAX one operation."""
    functions = _functions_of(x)
    return softmax(x) if functions is None else functions.softmax(x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)): in torch and JAX one operation."""
    functions = _functions_of(x)
    if functions is not None:
        return functions.sigmoid(x)
    xp = namespace(x)
    return xp.exp(-xp.logaddexp(xp.zeros_like(x), -x))


def argmax(x: Any) -> Any:
    """Where the first of the largest numbers along the last axis is."""
    functions = _functions_of(x)
    return namespace(x).argmax(x, axis=-1) if functions is None else functions.argmax(x)


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) / sum exp(x); 0 where everything is -inf."""
    xp = namespace(x)
    top = detached(xp.max(x, axis=axis, keepdims=True))
    raised = xp.exp(x - xp.where(xp.isfinite(top), top, xp.zeros_like(top)))
    total = xp.sum(raised, axis=axis, keepdims=True)
    return raised / xp.where(total == 0, xp.ones_like(total), total)
