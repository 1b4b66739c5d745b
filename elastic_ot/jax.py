"""Differentiable solves on JAX arrays, under jit, vmap, grad, jvp and hessian.

Arguments and conventions are those of `elastic_ot.torch`: leading dimensions are problems, which broadcast; `grad` is
``"implicit"``, ``"unroll"`` or ``"detach"``; options are those of `elastic_ot.solve` but `init` and `callback`, and
must be Python values, not tracers. Under ``jax.vmap`` a batch is one call. Results have the dtype of the cost; solves
are in float64 on the host, or read a float32 cost, whatever ``jax_enable_x64`` says.

The solver runs on the CPU and reads and writes the memory of JAX there. (`jax.pure_callback` waits for copies, for ever
where JAX has a single thread.) Arrays on an accelerator travel to the host and back; a solver on the GPU would be
called through JAX's foreign function interface (`jax.ffi`), with the derivative rules below. Warnings come when the
compiled function runs; what the solver refuses then comes as it is or as JAX's error with its message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import numpy as np

from . import host_calls
from .call_options import (
    check_divergence,
    check_mask,
    check_options,
    check_rho,
    check_weights,
    common_batch,
    encode,
    plain,
)
from .errors import BackendUnavailable
from .flags import operator, with_converged
from .host_calls import CORE, PROBLEM, SHOWN, SOLVED, HostCall
from .penalties import Fixed, Penalty

try:
    import jax
    import jax.numpy as jnp
    from jax import Array
    from jax.experimental.buffer_callback import buffer_callback
except ImportError as error:
    raise BackendUnavailable('elastic_ot.jax needs JAX: pip install "elastic-ot[jax]"') from error

__all__ = ["divergence", "log_plan", "plan", "potentials", "transport_cost", "value", "with_converged"]

Grad = Literal["implicit", "unroll", "detach"]


@operator
def plan(
    cost: Any,
    a: Any = None,
    b: Any = None,
    *,
    epsilon: Any,
    grad: Grad = "implicit",
    mask: Any = None,
    row_rho: Any = None,
    col_rho: Any = None,
    **options: Any,
) -> tuple[Array, Array]:
    """The entropic plan.

    Parameters
    ----------
    cost : Array, shape (..., n, m)
        Cost of moving a unit of mass; +inf forbids a cell.
    a, b : Array, shapes (..., n) and (..., m), optional
        Weights, default 1/n and 1/m.
    epsilon : float or Array, shape (...)
        Strength of the entropy; may be traced.
    grad : {"implicit", "unroll", "detach"}
        What is differentiated; ``"unroll"`` needs `max_iter`.
    mask : Array of bool, optional
        False forbids a cell; broadcasts to the cost.
    row_rho, col_rho : float or Array, shape (...), optional
        Strength of the penalty of that side, which must be `KL`, `TV` or `L2`, in the place of its own; may be traced.
    **options
        Those of `elastic_ot.solve` but `init` and `callback`; ``tol`` is 1e-9 unless given.

    Returns
    -------
    Array
        Shape (..., n, m), dtype of the cost. It can be differentiated once, forward or backward.

    Raises
    ------
    ValueError, TypeError
        Shapes that do not broadcast, options that do not exist.
    ValueError, TypeError, jax.errors.JaxRuntimeError
        What `elastic_ot.solve` refuses, when it runs.

    Warns
    -----
    ConvergenceWarning
        A problem has not converged.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import elastic_ot.jax as eot_jax
    >>> costs = jnp.arange(24.0).reshape(2, 3, 4) % 5
    >>> jax.vmap(jax.grad(lambda cost: eot_jax.plan(cost, epsilon=1.0)[0, 0]))(costs).shape
    (2, 3, 4)
    """
    given = _given(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    found, converged, *_ = _solve_plan(given.options, *given.problem)
    return found.astype(given.dtype), converged


@operator
def log_plan(
    cost: Any,
    a: Any = None,
    b: Any = None,
    *,
    epsilon: Any,
    grad: Grad = "implicit",
    mask: Any = None,
    row_rho: Any = None,
    col_rho: Any = None,
    **options: Any,
) -> tuple[Array, Array]:
    """The logarithm of the plan, shape (..., n, m), for losses such as -log P_ij; arguments as those of `plan`.

    It is formed of the potentials in float64, so that entries have values and derivatives where those of the plan
    underflow to 0. -inf for forbidden cells and removed rows and columns, whose derivatives are 0, and nowhere else.
    The dtype is that of the cost, float32 where that is half precision, whose range ends at 65504. Where two parts of a
    problem are joined by less mass than rounding, their potentials' distance is held, as in all derivatives.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import elastic_ot as eot
    >>> cost = jnp.array([[0.0, 50.0], [50.0, 0.0]])
    >>> def loss(cost):
    ...     return -eot.jax.log_plan(cost, epsilon=0.1, cols=eot.KL(1.0))[0, 1]
    >>> float(loss(cost)), jax.grad(loss)(cost)[0].tolist()
    (500.693..., [-10.0, 10.0])
    """
    given = _given(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    found, converged, *_ = _solve_log_plan(given.options, *given.problem)
    return found.astype(jnp.promote_types(given.dtype, jnp.float32)), converged


@operator
def potentials(
    cost: Any,
    a: Any = None,
    b: Any = None,
    *,
    epsilon: Any,
    grad: Grad = "implicit",
    mask: Any = None,
    row_rho: Any = None,
    col_rho: Any = None,
    **options: Any,
) -> tuple[tuple[Array, Array], Array]:
    """The potentials f and g, shapes (..., n) and (..., m); arguments and derivatives as those of `plan`.

    They are -inf where a row or a column is removed.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import elastic_ot.jax as eot_jax
    >>> f, g = eot_jax.potentials(jnp.ones((8, 3, 4)), epsilon=0.1)
    >>> f.shape, g.shape
    ((8, 3), (8, 4))
    """
    given = _given(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    f, g, converged, *_ = _solve_potentials(given.options, *given.problem)
    return (f.astype(given.dtype), g.astype(given.dtype)), converged


@operator
def transport_cost(
    cost: Any,
    a: Any = None,
    b: Any = None,
    *,
    epsilon: Any,
    grad: Grad = "implicit",
    mask: Any = None,
    row_rho: Any = None,
    col_rho: Any = None,
    **options: Any,
) -> tuple[Array, Array]:
    """<C, P>, shape (...); forbidden cells count as 0. Arguments and derivatives as those of `plan`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import elastic_ot.jax as eot_jax
    >>> float(eot_jax.transport_cost(1 - jnp.eye(2), epsilon=0.01))
    0.0
    """
    given = _given(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    moved, converged, *_ = _solve_plan(given.options, *given.problem)
    price = jnp.where(moved > 0, given.problem[0], 0.0)
    return jnp.sum(price * moved, axis=(-2, -1)).astype(given.dtype), converged


@operator
def value(
    cost: Any,
    a: Any = None,
    b: Any = None,
    *,
    epsilon: Any,
    mask: Any = None,
    row_rho: Any = None,
    col_rho: Any = None,
    **options: Any,
) -> tuple[Array, Array]:
    """The optimal value, shape (...): entropy and penalties included. Arguments as those of `plan`.

    Its gradients need no linear system (envelope theorem): the one in the cost is the plan. They can be differentiated
    again, by one linear system. With two ``Fixed`` sides the Hessian in the weights has a meaning along directions that
    change both masses alike; elsewhere it is what makes it symmetric.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import elastic_ot.jax as eot_jax
    >>> cost = 1.0 - jnp.eye(2)
    >>> moved = jax.grad(lambda cost: eot_jax.value(cost, epsilon=0.5))(cost)
    >>> bool(jnp.allclose(moved, eot_jax.plan(cost, epsilon=0.5)))
    True
    """
    given = _given(cost, a, b, epsilon, (row_rho, col_rho), "implicit", mask, options)
    found, converged, *_ = _solve_value(given.options, *given.problem)
    return found.astype(given.dtype), converged


@operator
def divergence(
    cost_xy: Any,
    cost_xx: Any,
    cost_yy: Any,
    a: Any = None,
    b: Any = None,
    *,
    epsilon: Any,
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    **options: Any,
) -> tuple[Array, Array]:
    """The debiased Sinkhorn divergence, shape (...): 0 between equal measures.

    value(xy; a, b) - value(xx; a, a) / 2 - value(yy; b, b) / 2 + epsilon (sum a - sum b)^2 / 2. Its derivatives are
    those of `value`.

    Parameters
    ----------
    cost_xy, cost_xx, cost_yy : Array, shapes (..., n, m), (..., n, n) and (..., m, m)
        Costs between the two measures and within each.
    a, b : Array, shapes (..., n) and (..., m), optional
        Weights, default 1/n and 1/m.
    epsilon : float or Array, shape (...)
        Strength of the entropy.
    rows, cols : Penalty
        Of the first measure and of the second, on both sides of the problem within it.
    **options
        As for `plan`, without `mask` and `reference`.

    Returns
    -------
    Array
        Dtype of cost_xy.

    References
    ----------
    Séjourné, Feydy, Vialard, Trouvé, Peyré, *Sinkhorn divergences for unbalanced optimal transport*, 2019.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import elastic_ot.jax as eot_jax
    >>> x = jnp.linspace(0, 1, 5)
    >>> cost = (x[:, None] - x) ** 2
    >>> bool(abs(eot_jax.divergence(cost, cost, cost, epsilon=0.1)) < 1e-6)
    True
    """
    check_divergence(options)
    shape = _matrix("cost_xy", cost_xy).shape
    a = _uniform(shape[-2]) if a is None else _array("a", a)
    b = _uniform(shape[-1]) if b is None else _array("b", b)
    solve = with_converged(value)
    between, done = solve(cost_xy, a, b, epsilon=epsilon, rows=rows, cols=cols, **options)
    a, b = _working(a), _working(b)
    if isinstance(rows, Fixed) and isinstance(cols, Fixed):  # equal but for rounding, or that would have been refused
        b = b * jax.lax.stop_gradient(a.sum(axis=-1, keepdims=True) / b.sum(axis=-1, keepdims=True))
    first, first_done = solve(cost_xx, a, a, epsilon=epsilon, rows=rows, cols=rows, **options)
    second, second_done = solve(cost_yy, b, b, epsilon=epsilon, rows=cols, cols=cols, **options)
    excess = a.sum(axis=-1) - b.sum(axis=-1)
    found = between - 0.5 * first - 0.5 * second + 0.5 * epsilon * excess**2
    return found.astype(between.dtype), done & first_done & second_done


def logs_and_potentials(
    cost: Any, a: Any, b: Any, *, epsilon: Any, grad: Grad, mask: Any, **options: Any
) -> tuple[Array, Array, Array]:
    """`log_plan` and `potentials` of one solve, for `elastic_ot.applications`."""
    given = _given(cost, a, b, epsilon, (None, None), grad, mask, options)
    found, _, f, g, *_ = _solve_log_plan(given.options, *given.problem)
    return found.astype(given.dtype), f.astype(given.dtype), g.astype(given.dtype)


def detached(array: Array) -> Array:
    """The same numbers as a constant, for `elastic_ot.applications`."""
    return jax.lax.stop_gradient(array)


def traced(array: Array) -> bool:
    """True for arrays without numbers, as under jit and vmap, for `elastic_ot.applications`."""
    return isinstance(array, jax.core.Tracer)


class _Given(NamedTuple):
    """A call, ready for the solver: the problem with the same leading dimensions everywhere."""

    problem: tuple[Array, Array, Array, Array, Array]
    options: str
    dtype: Any


def _given(
    cost: Any, a: Any, b: Any, epsilon: Any, rho: tuple[Any, Any], grad: str, mask: Any, options: dict[str, Any]
) -> _Given:
    text = encode(plain(check_weights(check_rho(check_options(grad, options), *rho), a, b)))
    cost = _matrix("cost", cost)
    dtype = cost.dtype
    if mask is not None:
        mask = jnp.asarray(mask)
        check_mask(mask.dtype == bool, mask.dtype, mask.shape, cost.shape)
        cost = jnp.where(mask, cost, jnp.inf)
    n, m = cost.shape[-2:]
    a = _uniform(n) if a is None else _array("a", a)
    b = _uniform(m) if b is None else _array("b", b)
    cost, a, b = _working(cost), _working(a), _working(b)
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
    return _Given(problem, text, dtype)


def _array(name: str, values: Any) -> Array:
    if not isinstance(values, jax.Array | np.ndarray):
        raise TypeError(f"{name} must be a jax.Array, got {type(values).__name__}; elastic_ot.solve takes other arrays")
    if values.dtype.kind == "c":
        raise TypeError(f"{name} has dtype {values.dtype}; it must hold real numbers")
    array = jnp.asarray(values)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def _matrix(name: str, cost: Any) -> Array:
    matrix = _array(name, cost)
    if matrix.ndim < 2 or 0 in matrix.shape[-2:]:
        raise ValueError(f"{name} has shape {matrix.shape}; it must be (..., n, m)")
    return matrix


def _uniform(size: int) -> Array:
    return jnp.full((size,), 1.0 / size)


def _working(array: Array) -> Array:
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
        if call.inputs == PROBLEM:
            found = call(host, options)
            return [*found, *(x.view(np.uint32) for x in found[-2:])]
        bits = slice(len(PROBLEM), len(SOLVED))
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
        results = _results(call, *arrays[:3])
        on_cpu = buffer_callback(in_place, results, vmap_method="expand_dims")
        return jax.lax.platform_dependent(*arrays, cpu=on_cpu, default=partial(elsewhere, results))

    return function


def _results(call: HostCall, cost: Array, a: Array, b: Array) -> tuple[jax.ShapeDtypeStruct, ...]:
    """What `_on_host` returns."""
    shapes = call.shapes(cost.shape[:-2], *cost.shape[-2:])
    dtypes = call.dtypes(cost.dtype, a.dtype, b.dtype, jnp.bool_, cost.dtype)
    found = tuple(map(jax.ShapeDtypeStruct, shapes, dtypes))
    if call.inputs != PROBLEM:
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


def _differentiable(call: HostCall, push: HostCall, pull: HostCall) -> Any:
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
        outcome = _results(push, *problem[:3])[len(absent) :]

        def forward(*moves: Array) -> tuple[Array, ...]:
            return _on_host(push, options)(*known, *moves)[len(absent) :]

        def transpose(*bars: Array) -> tuple[Array, ...]:
            return _on_host(pull, options)(*known, *absent, *bars)

        moved = dict(zip(kept, _linear(forward, transpose, moves, outcome), strict=True))
        moved |= {shown: moved[name] for shown, name in SHOWN.items() if name in moved}
        moved["converged"], *bits = _no_moves((found[call.results.index("converged")], f, g))
        return (*found, f, g), (*(moved[name] for name in call.results), *bits)

    return solve


_solve_plan = _differentiable(host_calls.plan, host_calls.push_forward, host_calls.pull_back)
_solve_log_plan = _differentiable(host_calls.log_plan, host_calls.push_forward_logs, host_calls.pull_back_logs)
_solve_potentials = _differentiable(host_calls.potentials, host_calls.push_forward, host_calls.pull_back)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solve_value(options: str, *problem: Array) -> tuple[Array, ...]:
    found, converged, _, _, f, g = _on_host(host_calls.value, options)(*problem)
    return found, converged, f, g


@_solve_value.defjvp
def _(options: str, problem: Any, moves: Any) -> Any:
    found, converged, f, g = _solve_value(options, *problem)
    slopes = _value_gradients(options, f, g, *problem)
    terms = (
        jnp.sum(slope * move, axis=tuple(range(-len(CORE[name]), 0)))
        for slope, move, name in zip(slopes, moves, PROBLEM, strict=True)
    )
    move = sum(term.astype(found.dtype) for term in terms)
    return (found, converged, f, g), (move, *_no_moves((converged, f, g)))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _value_gradients(options: str, f: Array, g: Array, *problem: Array) -> tuple[Array, ...]:
    return _on_host(host_calls.value_gradients, options)(*problem, f, g)


@_value_gradients.defjvp
def _(options: str, primals: Any, tangents: Any) -> Any:
    """The Hessian is symmetric. Potentials, too, depend on the inputs: nothing is left for them."""
    f, g, *problem = primals
    known = (*_held(tuple(problem)), f, g)
    results = _results(host_calls.value_hvp, *problem[:3])
    multiply = partial(_on_host(host_calls.value_hvp, options), *known)
    return _value_gradients(options, *primals), _linear(multiply, multiply, tangents[2:], results)
