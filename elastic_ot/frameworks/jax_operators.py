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

from typing import Any, Unpack

from ..api.signatures import MethodOptions, OperatorOptions
from ..costs.points import PointCloud
from ..errors import BackendUnavailable
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty
from .flags import operator, with_converged
from .options import OWN_COSTS, Grad, check_axis, epsilon_of_divergence, turned

try:
    import jax
    import jax.numpy as jnp
    from jax import Array
except ImportError as error:
    raise BackendUnavailable('elastic_ot.jax needs JAX: pip install "elastic-ot[jax]"') from error
from .jax_calls import (
    as_array,
    as_matrix,
    in_working_dtype,
    prepared,
    solve_log_plan,
    solve_plan,
    solve_potentials,
    solve_value,
    strength_of,
    uniform,
)
from .jax_clouds import prepared_points, solve_carried, solve_cloud_potentials, solve_cloud_value

__all__ = ["divergence", "log_plan", "plan", "plan_apply", "potentials", "transport_cost", "value", "with_converged"]


@operator
def plan(
    cost: Array,
    a: Array | None = None,
    b: Array | None = None,
    *,
    epsilon: float | str | Array,
    grad: Grad = "implicit",
    mask: Array | None = None,
    row_rho: float | Array | None = None,
    col_rho: float | Array | None = None,
    **options: Unpack[OperatorOptions],
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
    given = prepared(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    found, converged, *_ = solve_plan(given.options, *given.problem)
    return found.astype(given.dtype), converged


@operator
def log_plan(
    cost: Array,
    a: Array | None = None,
    b: Array | None = None,
    *,
    epsilon: float | str | Array,
    grad: Grad = "implicit",
    mask: Array | None = None,
    row_rho: float | Array | None = None,
    col_rho: float | Array | None = None,
    **options: Unpack[OperatorOptions],
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
    given = prepared(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    found, converged, *_ = solve_log_plan(given.options, *given.problem)
    return found.astype(jnp.promote_types(given.dtype, jnp.float32)), converged


@operator
def potentials(
    cost: Array | PointCloud,
    a: Array | None = None,
    b: Array | None = None,
    *,
    epsilon: float | str | Array,
    grad: Grad = "implicit",
    mask: Array | None = None,
    row_rho: float | Array | None = None,
    col_rho: float | Array | None = None,
    **options: Unpack[OperatorOptions],
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
    if isinstance(cost, PointCloud):
        points = prepared_points(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
        f, g, converged, *_ = solve_cloud_potentials(points.options, *points.problem)
        return (f.astype(points.dtype), g.astype(points.dtype)), converged
    given = prepared(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    f, g, converged, *_ = solve_potentials(given.options, *given.problem)
    return (f.astype(given.dtype), g.astype(given.dtype)), converged


@operator
def transport_cost(
    cost: Array,
    a: Array | None = None,
    b: Array | None = None,
    *,
    epsilon: float | str | Array,
    grad: Grad = "implicit",
    mask: Array | None = None,
    row_rho: float | Array | None = None,
    col_rho: float | Array | None = None,
    **options: Unpack[OperatorOptions],
) -> tuple[Array, Array]:
    """<C, P>, shape (...); forbidden cells count as 0. Arguments and derivatives as those of `plan`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import elastic_ot.jax as eot_jax
    >>> float(eot_jax.transport_cost(1 - jnp.eye(2), epsilon=0.01))
    0.0
    """
    given = prepared(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    moved, converged, *_ = solve_plan(given.options, *given.problem)
    price = jnp.where(moved > 0, given.problem[0], 0.0)
    return jnp.sum(price * moved, axis=(-2, -1)).astype(given.dtype), converged


@operator
def plan_apply(
    cost: Array | PointCloud,
    right: Array,
    a: Array | None = None,
    b: Array | None = None,
    *,
    epsilon: float | str | Array,
    axis: int = 1,
    grad: Grad = "implicit",
    mask: Array | None = None,
    row_rho: float | Array | None = None,
    col_rho: float | Array | None = None,
    **options: Unpack[OperatorOptions],
) -> tuple[Array, Array]:
    """The product of the plan with vectors, P v, without the plan where the cost is a `PointCloud`.

    Parameters
    ----------
    cost : Array, shape (..., n, m), or PointCloud
        A cloud of arrays x (..., n, d) and y (..., m, d), in which the result is then differentiable.
    right : Array, shape (..., m, k), or (..., n, k) with ``axis=0``
        What is carried: the columns' points, colours or labels.
    a, b, epsilon, grad, mask, row_rho, col_rho, **options
        As for `plan`; a cloud has no mask.
    axis : {1, 0}
        0 for the transpose, P^T v.

    Returns
    -------
    Array
        Shape (..., n, k), or (..., m, k) with ``axis=0``; dtype of the cost or of the points. It can be differentiated
        once.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import elastic_ot as eot
    >>> x, y = jax.random.uniform(jax.random.key(0), (2, 50, 3))
    >>> def spread(x):
    ...     return jnp.sum(eot.jax.plan_apply(eot.PointCloud(x, y), y, epsilon=0.1) ** 2)
    >>> jax.grad(spread)(x).shape
    (50, 3)
    """
    check_axis(axis)
    right = as_array("right", right)
    if not isinstance(cost, PointCloud):
        found, converged = with_converged(plan)(
            cost, a, b, epsilon=epsilon, grad=grad, mask=mask, row_rho=row_rho, col_rho=col_rho, **options
        )
        return (found if axis else jnp.swapaxes(found, -1, -2)) @ right.astype(found.dtype), converged
    if axis == 0:
        cost, a, b, row_rho, col_rho = PointCloud(*cost.given[::-1], cost.metric), b, a, col_rho, row_rho
        options = turned(options)  # type: ignore[assignment]
    given = prepared_points(cost, a, b, epsilon, (row_rho, col_rho), grad, mask, options)
    m, batch = given.problem[1].shape[-2], given.problem[4].shape
    if right.ndim < 2 or right.shape[-2] != m:
        raise ValueError(f"right has shape {right.shape}; it must be (..., {m}, k)")
    right = jnp.broadcast_to(in_working_dtype(right), (*batch, *right.shape[-2:]))
    carried, converged, *_ = solve_carried(given.options, *given.problem, right)
    return carried.astype(given.dtype), converged


@operator
def value(
    cost: Array | PointCloud,
    a: Array | None = None,
    b: Array | None = None,
    *,
    epsilon: float | str | Array,
    mask: Array | None = None,
    row_rho: float | Array | None = None,
    col_rho: float | Array | None = None,
    **options: Unpack[OperatorOptions],
) -> tuple[Array, Array]:
    """The optimal value, shape (...): entropy and penalties included. Arguments as those of `plan`.

    Its gradients need no linear system (envelope theorem): the one in the cost is the plan. They can be differentiated
    again, by one linear system. With two ``Fixed`` sides the Hessian in the weights has a meaning along directions that
    change both masses alike; elsewhere it is what makes it symmetric.

    For a `PointCloud` of arrays x (..., n, d) and y (..., m, d) it is differentiable in these, twice. No matrix of
    more than 2**20 costs is stored.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import elastic_ot.jax as eot_jax
    >>> cost = 1.0 - jnp.eye(2)
    >>> moved = jax.grad(lambda cost: eot_jax.value(cost, epsilon=0.5))(cost)
    >>> bool(jnp.allclose(moved, eot_jax.plan(cost, epsilon=0.5)))
    True
    """
    if isinstance(cost, PointCloud):
        points = prepared_points(cost, a, b, epsilon, (row_rho, col_rho), "implicit", mask, options)
        found, converged, *_ = solve_cloud_value(points.options, *points.problem)
        return found.astype(points.dtype), converged
    given = prepared(cost, a, b, epsilon, (row_rho, col_rho), "implicit", mask, options)
    found, converged, *_ = solve_value(given.options, *given.problem)
    return found.astype(given.dtype), converged


@operator
def divergence(
    cost_xy: Array | PointCloud,
    cost_xx: Array | None = None,
    cost_yy: Array | None = None,
    a: Array | None = None,
    b: Array | None = None,
    *,
    epsilon: float | str | Array | None = None,
    blur: float | None = None,
    rows: Penalty = Fixed(),  # noqa: B008 - frozen
    cols: Penalty = Fixed(),  # noqa: B008
    **options: Unpack[MethodOptions],
) -> tuple[Array, Array]:
    """The debiased Sinkhorn divergence, shape (...): 0 between equal measures.

    value(xy; a, b) - value(xx; a, a) / 2 - value(yy; b, b) / 2 + epsilon (sum a - sum b)^2 / 2. Its derivatives are
    those of `value`.

    Parameters
    ----------
    cost_xy, cost_xx, cost_yy : Array, shapes (..., n, m), (..., n, n) and (..., m, m)
        Costs between the two measures and within each. Or one `PointCloud` of arrays (..., n, d) and (..., m, d),
        which makes all three, and in whose points the divergence is then differentiable.
    a, b : Array, shapes (..., n) and (..., m), optional
        Weights, default 1/n and 1/m.
    epsilon : float, str, or Array, shape (...)
        As for `plan`; or, for a `PointCloud`, `blur` in its place, a length (`elastic_ot.divergence`).
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
    epsilon = epsilon_of_divergence(cost_xy, epsilon, blur, options)
    if isinstance(cost_xy, PointCloud):
        if cost_xx is not None or cost_yy is not None:
            raise ValueError(OWN_COSTS)
        shape, within = cost_xy.shape, [PointCloud(z, metric=cost_xy.metric) for z in cost_xy.given]
    else:
        shape, within = as_matrix("cost_xy", cost_xy).shape, [cost_xx, cost_yy]  # type: ignore[list-item]
    a = uniform(shape[-2]) if a is None else as_array("a", a)
    b = uniform(shape[-1]) if b is None else as_array("b", b)
    solve = with_converged(value)
    between, done = solve(cost_xy, a, b, epsilon=epsilon, rows=rows, cols=cols, **options)
    width = strength_of(epsilon, cost_xy)  # a number between points: a text is refused there
    a, b = in_working_dtype(a), in_working_dtype(b)
    if isinstance(rows, Fixed) and isinstance(cols, Fixed):  # equal but for rounding, or that would have been refused
        b = b * jax.lax.stop_gradient(a.sum(axis=-1, keepdims=True) / b.sum(axis=-1, keepdims=True))
    first, first_done = solve(within[0], a, a, epsilon=width, rows=rows, cols=rows, **options)
    second, second_done = solve(within[1], b, b, epsilon=width, rows=cols, cols=cols, **options)
    excess = a.sum(axis=-1) - b.sum(axis=-1)
    found = between - 0.5 * first - 0.5 * second + 0.5 * width * excess**2
    return found.astype(between.dtype), done & first_done & second_done


def logs_and_potentials(
    cost: Any, a: Any, b: Any, *, epsilon: Any, grad: Grad, mask: Any, **options: Any
) -> tuple[Array, Array, Array]:
    """`log_plan` and `potentials` of one solve, for `elastic_ot.applications`."""
    given = prepared(cost, a, b, epsilon, (None, None), grad, mask, options)
    found, _, f, g, *_ = solve_log_plan(given.options, *given.problem)
    return found.astype(given.dtype), f.astype(given.dtype), g.astype(given.dtype)
