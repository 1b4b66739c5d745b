"""The solver and a few array functions, in the library that the arrays came from.

Applications are written on the array API standard and know no library by name. A plan of torch tensors or JAX arrays
comes from `elastic_ot.torch` or `elastic_ot.jax`, and carries derivatives; one of other arrays from
`elastic_ot.solve`.
"""

from __future__ import annotations

import importlib
from typing import Any, Literal

import array_api_compat
import numpy as np

from ..api import solve, solve_with_plan

Grad = Literal["implicit", "unroll", "detach"]


def namespace(*arrays: Any) -> Any:
    """The array API namespace of all that is not None."""
    return array_api_compat.array_namespace(*(x for x in arrays if x is not None))


def real(name: str, values: Any) -> Any:
    """`values` as an array of real floating-point numbers, from NumPy where it is a sequence."""
    if not hasattr(values, "__array_namespace__") and not array_api_compat.is_array_api_obj(values):
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


def refuse_nonfinite(name: str, values: Any) -> None:
    """Names the first entry that is nan or infinite; says nothing inside of jax.jit, where there are no values yet."""
    xp = namespace(values)
    bad = ~xp.isfinite(values)
    try:
        found = bool(xp.any(bad))
    except TypeError:  # that of a tracer
        return
    if found:
        first = int(xp.argmax(xp.astype(xp.reshape(bad, (-1,)), xp.int32)))
        index = tuple(map(int, np.unravel_index(first, tuple(bad.shape))))
        place = f"[{', '.join(map(str, index))}]" if index else ""
        raise ValueError(f"{name}{place} is {float(values[index])}; {name} must be finite")


def detached(values: Any) -> Any:
    """The same numbers as a constant."""
    calls = differentiable(values)
    return values if calls is None else calls.detached(values)


def gather(values: Any, index: Any) -> Any:
    """Entries of the last axis: values (..., m) at index (..., k)."""
    xp = namespace(values)
    size = values.shape[-1]
    flat = xp.reshape(index, (-1, index.shape[-1]))
    starts = size * xp.arange(flat.shape[0], dtype=flat.dtype, device=array_api_compat.device(values))
    taken = xp.take(xp.reshape(values, (-1,)), xp.reshape(flat + starts[:, None], (-1,)), axis=0)
    return xp.reshape(taken, index.shape)


def differentiable(values: Any) -> Any:
    """`elastic_ot.torch` or `elastic_ot.jax`, for arrays of theirs; else None."""
    for known, name in ((array_api_compat.is_torch_array, "torch"), (array_api_compat.is_jax_array, "jax")):
        if known(values):
            return importlib.import_module(f"elastic_ot.{name}")
    return None


def home(values: Any) -> dict[str, Any]:
    """The dtype and device of `values`, as options of what creates arrays."""
    return {"dtype": values.dtype, "device": array_api_compat.device(values)}


def constant(values: Any) -> Any:
    """`values` without derivatives."""
    if differentiable(values) is None:
        return values
    return values.detach() if hasattr(values, "detach") else importlib.import_module("jax").lax.stop_gradient(values)


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


def half_steps(count: Any) -> dict[str, Any]:
    """Options of a solve that runs exactly so many half steps, rows first: an odd number ends on the rows."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"the number of half steps is {count!r}; it must be an integer >= 1")
    return {"tol": 0, "max_iter": (count + 1) // 2, "end": "rows" if count % 2 else "cols"}


def logsumexp(x: Any, axis: int = -1) -> Any:
    """Log sum exp, keeping the axis with size 1; -inf where everything is."""
    xp = namespace(x)
    top = xp.max(x, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    total = xp.sum(xp.exp(x - top), axis=axis, keepdims=True)
    empty = total == 0
    return xp.where(empty, -xp.inf, top + xp.log(xp.where(empty, xp.ones_like(total), total)))


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) / sum exp(x); 0 where everything is -inf."""
    xp = namespace(x)
    top = xp.max(x, axis=axis, keepdims=True)
    raised = xp.exp(x - xp.where(xp.isfinite(top), top, xp.zeros_like(top)))
    total = xp.sum(raised, axis=axis, keepdims=True)
    return raised / xp.where(total == 0, xp.ones_like(total), total)
