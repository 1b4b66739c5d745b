"""Calls of the host from JAX, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from ..costs.relative import fraction
from ..errors import BackendUnavailable
from . import stateless as host_calls
from .calls import CORE, SHOWN, HostCall
from .options import check_mask, common_batch, option_text

try:
    import jax
    import jax.numpy as jnp
    from jax import Array
    from jax.experimental.buffer_callback import buffer_callback
except ImportError as error:
    raise BackendUnavailable('elastic_ot.jax needs JAX: pip install "elastic-ot[jax]"') from error


class Prepared(NamedTuple):
    """A call, ready for the solver: the problem with the same leading dimensions everywhere."""

    problem: tuple[Array, Array, Array, Array, Array]
    options: str
    dtype: Any


def prepared(
    cost: Any, a: Any, b: Any, epsilon: Any, rho: tuple[Any, Any], grad: str, mask: Any, options: Mapping[str, Any]
) -> Prepared:
    """A call, checked, with the same leading dimensions everywhere."""
    text = option_text(grad, options, rho, a, b)
    cost = as_matrix("cost", cost)
    dtype = cost.dtype
    if mask is not None:
        mask = jnp.asarray(mask)
        check_mask(mask.dtype == bool, mask.dtype, mask.shape, cost.shape)
        cost = jnp.where(mask, cost, jnp.inf)
    n, m = cost.shape[-2:]
    a = uniform(n) if a is None else as_array("a", a)
    b = uniform(m) if b is None else as_array("b", b)
    cost, a, b = in_working_dtype(cost), in_working_dtype(a), in_working_dtype(b)
    epsilon = strength_of(epsilon, cost)
    epsilon, row_rho, col_rho = (jnp.asarray(0.0 if x is None else x).astype(cost.dtype) for x in (epsilon, *rho))
    batch = common_batch(cost.shape, a.shape, b.shape, epsilon.shape, row_rho.shape, col_rho.shape)
    problem = (
        jnp.broadcast_to(cost, (*batch, n, m)),
        jnp.broadcast_to(a, (*batch, n)),
        jnp.broadcast_to(b, (*batch, m)),
        jnp.broadcast_to(epsilon, batch),
        jnp.stack([jnp.broadcast_to(x, batch) for x in (row_rho, col_rho)], axis=-1),
    )
    if grad == "detach":
        problem = jax.lax.stop_gradient(problem)
    return Prepared(problem, text, dtype)


def strength_of(epsilon: Any, cost: Array) -> Any:
    """Return epsilon as it is, or a text's share of the range of each problem's finite costs, a constant."""
    if not isinstance(epsilon, str):
        return epsilon
    share, costs = fraction(epsilon), jax.lax.stop_gradient(cost)
    inside = jnp.isfinite(costs)
    low, high = (jnp.where(inside, costs, end) for end in (jnp.inf, -jnp.inf))
    return share * (high.max((-2, -1)) - low.min((-2, -1)))


def as_array(name: str, values: Any) -> Array:
    """An array of JAX; refuses other arrays, and complex numbers."""
    if not isinstance(values, jax.Array | np.ndarray):
        raise TypeError(f"{name} must be a jax.Array, got {type(values).__name__}; elastic_ot.solve takes other arrays")
    if values.dtype.kind == "c":
        raise TypeError(f"{name} has dtype {values.dtype}; it must hold real numbers")
    array = jnp.asarray(values)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def as_matrix(name: str, cost: Any) -> Array:
    """An array (..., n, m) in the dtype that is computed with."""
    matrix = as_array(name, cost)
    if matrix.ndim < 2 or 0 in matrix.shape[-2:]:
        raise ValueError(f"{name} has shape {matrix.shape}; it must be (..., n, m)")
    return matrix


def uniform(size: int) -> Array:
    """Weights 1 / size."""
    return jnp.full((size,), 1.0 / size)


def in_working_dtype(array: Array) -> Array:
    """float32 for half precision."""
    return array.astype(jnp.float32) if array.dtype.itemsize < 4 else array


@lru_cache(maxsize=1024)
def _on_host(call: HostCall, options: str) -> Callable[..., tuple[Array, ...]]:
    """`call` as a function of JAX arrays, one for one call and options, so that JAX compiles it once.

    JAX without float64 has no place for the potentials that derivatives need, so their bits travel as integers: as the
    last two results of a solve, and back as the inputs f and g of its derivatives.
    """

    def compute(arrays: Sequence[Any]) -> list[Any]:
        host = [None if x is None else np.asarray(x) for x in arrays]
        first = call.known
        if first is None:
            found = call(host, options)
            return [*found, *(x.view(np.uint32) for x in found[-2:])]
        bits = slice(first, first + 2)
        host[bits] = (np.ascontiguousarray(x).view(np.float64) for x in host[bits] if x is not None)
        return list(call(host, options))

    def in_place(_: Any, out: Sequence[Any], *arrays: Any) -> None:
        for place, values in zip(out, compute(arrays), strict=True):
            np.asarray(place)[...] = values

    def elsewhere(results: Sequence[Any], *arrays: Any) -> Any:
        def run(*arrays: Any) -> list[Any]:
            return [x.astype(to.dtype) for x, to in zip(compute(arrays), results, strict=True)]

        return tuple(jax.pure_callback(run, results, *arrays, vmap_method="expand_dims"))

    @jax.jit
    def function(*arrays: Any) -> tuple[Array, ...]:
        results = _results(call, *arrays)
        on_cpu = buffer_callback(in_place, results, vmap_method="expand_dims")
        return jax.lax.platform_dependent(*arrays, cpu=on_cpu, default=partial(elsewhere, results))

    return function


def _results(call: HostCall, *arrays: Array | None) -> tuple[jax.ShapeDtypeStruct, ...]:
    """What `_on_host` returns, of these arrays or the first ones of them."""
    assert arrays[0] is not None
    shapes = call.shapes([None if x is None else x.shape for x in arrays])
    dtypes = call.dtypes([None if x is None else x.dtype for x in arrays], jnp.bool_, arrays[0].dtype)
    found = tuple(map(jax.ShapeDtypeStruct, shapes, dtypes))
    if not call.solves:
        return found
    return *found, *(jax.ShapeDtypeStruct((*x.shape[:-1], 2 * x.shape[-1]), jnp.uint32) for x in found[-2:])


def _no_moves(bits: Sequence[Array]) -> tuple[Any, ...]:
    """Tangents of integers and flags."""
    return tuple(np.zeros(x.shape, jax.dtypes.float0) for x in bits)


@jax.custom_jvp
def _held(problem: tuple[Array, ...]) -> tuple[Array, ...]:
    """The problem in the last derivative that there is: it must not be taken for a constant."""
    return problem


@_held.defjvp
def _(primals: Any, tangents: Any) -> Any:
    raise TypeError(
        "elastic_ot.jax: plan, potentials and transport_cost can be differentiated once, value and divergence twice"
    )


def _linear(
    forward: Callable[..., tuple[Array, ...]], transpose: Callable[..., tuple[Array, ...]], moves: Any, results: Any
) -> tuple[Array, ...]:
    """``forward(*moves)``, a linear function whose transpose is `transpose`.

    The only public function of JAX that takes both, and that jit, vmap, jvp and grad all know, is for linear systems:
    the system here is the identity in (moves, results), and its "solution" is (0, forward(moves)).
    """
    zero = sum(jnp.sum(0 * x) for x in moves)  # a linear function of all: JAX asserts that nothing here is constant
    moves = tuple(x + zero.astype(x.dtype) for x in moves)
    padding = tuple(jnp.broadcast_to(zero.astype(x.dtype), x.shape) for x in results)

    def solve(_: Any, right: Any) -> Any:
        return tuple(map(jnp.zeros_like, right[0])), forward(*right[0])

    def transpose_solve(_: Any, right: Any) -> Any:
        return transpose(*right[1]), tuple(map(jnp.zeros_like, right[1]))

    return jax.lax.custom_linear_solve(lambda x: x, (moves, padding), solve, transpose_solve)[1]


def differentiable(call: HostCall, push: HostCall, pull: HostCall) -> Any:
    """A solve whose results are differentiated by `push` and `pull`; the flag before the potentials is not."""
    kept = [name for name in push.results if name in call.results]
    absent = (None,) * (len(push.results) - len(kept))

    @partial(jax.custom_jvp, nondiff_argnums=(0,))
    def solve(options: str, *problem: Array) -> tuple[Array, ...]:
        return _on_host(call, options)(*problem)

    @solve.defjvp
    def _(options: str, problem: Any, moves: Any) -> Any:
        *found, f, g = solve(options, *problem)
        known = (*_held(problem), f, g)
        outcome = _results(push, *problem)[len(absent) :]

        def forward(*moves: Array) -> tuple[Array, ...]:
            return _on_host(push, options)(*known, *moves)[len(absent) :]

        def transpose(*bars: Array) -> tuple[Array, ...]:
            return _on_host(pull, options)(*known, *absent, *bars)

        moved = dict(zip(kept, _linear(forward, transpose, moves, outcome), strict=True))
        moved |= {shown: moved[name] for shown, name in SHOWN.items() if name in moved}
        moved |= {name: jnp.zeros_like(x) for name, x in zip(call.results, found, strict=True) if name not in moved}
        moved["converged"], *bits = _no_moves((found[call.results.index("converged")], f, g))
        return (*found, f, g), (*(moved[name] for name in call.results), *bits)

    return solve


def differentiable_value(call: HostCall, slopes: HostCall, curvature: HostCall) -> Callable[..., tuple[Array, ...]]:
    """The value, the flag and the potentials of a solve; differentiated by `slopes`, and these by `curvature`."""
    problem_names = call.inputs

    @partial(jax.custom_jvp, nondiff_argnums=(0,))
    def solve(options: str, *problem: Array) -> tuple[Array, ...]:
        found, converged, _, _, f, g = _on_host(call, options)(*problem)
        return found, converged, f, g

    @solve.defjvp
    def _(options: str, problem: Any, moves: Any) -> Any:
        found, converged, f, g = solve(options, *problem)
        terms = (
            jnp.sum(slope * move, axis=tuple(range(-len(CORE[name]), 0)))
            for slope, move, name in zip(gradients(options, f, g, *problem), moves, problem_names, strict=True)
        )
        move = sum(term.astype(found.dtype) for term in terms)
        return (found, converged, f, g), (move, *_no_moves((converged, f, g)))

    @partial(jax.custom_jvp, nondiff_argnums=(0,))
    def gradients(options: str, f: Array, g: Array, *problem: Array) -> tuple[Array, ...]:
        return _on_host(slopes, options)(*problem, f, g)

    @gradients.defjvp
    def _(options: str, primals: Any, tangents: Any) -> Any:
        """The Hessian is symmetric. Potentials, too, depend on the inputs: nothing is left for them."""
        f, g, *problem = primals
        known = (*_held(tuple(problem)), f, g)
        multiply = partial(_on_host(curvature, options), *known)
        return gradients(options, *primals), _linear(multiply, multiply, tangents[2:], _results(curvature, *problem))

    return solve


solve_plan = differentiable(host_calls.plan, host_calls.push_forward, host_calls.pull_back)
solve_log_plan = differentiable(host_calls.log_plan, host_calls.push_forward_logs, host_calls.pull_back_logs)
solve_potentials = differentiable(host_calls.potentials, host_calls.push_forward, host_calls.pull_back)
solve_value = differentiable_value(host_calls.value, host_calls.value_gradients, host_calls.value_hvp)
