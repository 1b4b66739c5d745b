"""Differentiable barycenters on JAX arrays: their masses, and the optimal value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..costs.grid import Grid
from ..costs.points import PointCloud
from ..errors import BackendUnavailable
from .barycenter_inputs import check_fit, expanded, flat_measures, places_of, plain_options, strength_of_all
from .barycenters import BARYCENTER_CALLS
from .flags import operator
from .options import encode

try:
    import jax.numpy as jnp
    from jax import Array
except ImportError as error:
    raise BackendUnavailable('elastic_ot.jax needs JAX: pip install "elastic-ot[jax]"') from error
from .jax_calls import as_array, differentiable, differentiable_value, in_working_dtype, strength_of


class _Operators(NamedTuple):
    masses: Callable[..., Any]
    value: Callable[..., Any]


_BY_KIND = {
    kind: _Operators(
        differentiable(calls.masses, calls.push_forward, calls.pull_back),
        differentiable_value(calls.value, calls.value_gradients, calls.value_hvp),
    )
    for kind, calls in BARYCENTER_CALLS.items()
}


class _Prepared(NamedTuple):
    operators: _Operators
    problem: tuple[Array, ...]
    options: str
    dtype: Any


def _prepared(
    costs: Any, measures: Any, weights: Any, epsilon: Any, row_rho: Any, options: dict[str, Any]
) -> _Prepared:
    """A call, checked, with the same leading dimensions everywhere."""
    first = as_array("measures", measures) if isinstance(costs, Grid) else None

    def array(name: str, values: Any) -> Array:
        found = in_working_dtype(as_array(name, values))
        return found if first is None or name == "weights" else found.astype(in_working_dtype(first).dtype)

    places = places_of(costs, array)
    if measures is None:
        shape = places.arrays[0].shape
        if len(shape) < 3 or shape[-3] == 1:
            raise ValueError("measures is None, and costs is one for all; pass the measures, shape (..., K, n)")
        measures = jnp.full((shape[-3], places.n), 1.0 / places.n)
    measures = flat_measures(costs, array("measures", measures), places.n)
    weights = array("weights", jnp.ones(measures.shape[-2]) if weights is None else weights)
    weights = weights / weights.sum(axis=-1, keepdims=True)
    working = places.arrays[0].dtype
    numbers = {
        "epsilon": jnp.asarray(strength_of_all(epsilon, costs, places, strength_of)).astype(working),
        "row_rho": jnp.asarray(0.0 if row_rho is None else row_rho).astype(working),
    }
    batch, count = check_fit(places, measures.shape, weights.shape, {name: x.shape for name, x in numbers.items()})
    rho = jnp.broadcast_to(numbers["row_rho"], batch)
    problem = (
        *expanded(places, batch, jnp.broadcast_to),
        jnp.broadcast_to(measures, (*batch, count, places.n)),
        jnp.broadcast_to(weights, (*batch, count)),
        jnp.broadcast_to(numbers["epsilon"], batch),
        jnp.stack([rho, jnp.zeros_like(rho)], axis=-1),
    )
    told = {**places.told, "epsilon_is_held": isinstance(epsilon, float | int | str)}
    given = costs.given[0] if isinstance(costs, PointCloud) else costs
    dtype = first.dtype if first is not None else as_array("costs", given).dtype
    return _Prepared(_BY_KIND[places.kind], problem, encode(plain_options(options, row_rho, told)), dtype)


@operator
def barycenter(
    costs: Array | Sequence[Array],
    measures: Array | None = None,
    weights: Array | None = None,
    *,
    epsilon: float | str | Array,
    row_rho: float | Array | None = None,
    **options: object,
) -> tuple[Array, Array]:
    """The masses of the barycenter of measures on a given support, differentiable in all that they depend on.

    Parameters
    ----------
    costs : Array, shape (n, m) or (..., K, n, m), PointCloud or Grid
        One for all measures, or one for each. A cloud of arrays x (n, d) or (..., K, n, d), and y (..., m, d), the
        support, in which the masses are then differentiable; a `Grid` has no derivatives of its own.
    measures : Array, shape (..., K, n), optional
        Weights; with a `Grid` also (..., K, n_1, n_2, ...). By default, with one cost for each, 1/n. Where measures
        have fewer points, fill up with weights 0.
    weights : Array, shape (..., K), optional
        Of the measures, divided by their sum; by default all are equal.
    epsilon : float, str, or Array of shape (...)
        Strength of the entropy; may be traced. A text such as ``"0.05x"`` is a fraction of the range of all matrices of
        a problem, or of a `Grid`, and no derivative goes through it; of points give a number.
    row_rho : float or Array, shape (...), optional
        Strength of the penalty on the measures, which must be `KL`, `TV` or `L2`, in the place of its own.
    **options
        ``rows``, ``method``, ``tol`` (1e-9 unless given), ``max_iter``, ``time_limit`` and ``on_failure`` of
        `elastic_ot.barycenter`.

    Returns
    -------
    Array
        Shape (..., m), of the dtype of the costs, or of the measures with a `Grid`. It can be differentiated once.

    Raises
    ------
    ValueError, TypeError
        Shapes that do not broadcast, options that do not exist; ``debiased``, which has no derivatives.
    ValueError, TypeError, jax.errors.JaxRuntimeError
        What `elastic_ot.barycenter` refuses, when it runs.

    Warns
    -----
    ConvergenceWarning
        A barycenter has not converged.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import elastic_ot as eot
    >>> x = jnp.linspace(0, 1, 30)
    >>> measures = jax.nn.softmax(-((x - jnp.array([[0.2], [0.6]])) ** 2) / 0.01)
    >>> def mean(share):
    ...     return eot.jax.barycenter((x[:, None] - x) ** 2, measures, share, epsilon=1e-2, tol=1e-6) @ x
    >>> share = jnp.array([0.5, 0.5])
    >>> round(float(mean(share)), 2), jax.grad(mean)(share).round(2).tolist()
    (0.4, [-0.2..., 0.2...])
    """
    given = _prepared(costs, measures, weights, epsilon, row_rho, options)
    found, converged, *_ = given.operators.masses(given.options, *given.problem)
    return found.astype(given.dtype), converged


@operator
def barycenter_value(
    costs: Array | Sequence[Array],
    measures: Array | None = None,
    weights: Array | None = None,
    *,
    epsilon: float | str | Array,
    row_rho: float | Array | None = None,
    **options: object,
) -> tuple[Array, Array]:
    """The optimal value of `barycenter`, shape (...): the mean cost of reaching it. Arguments as there.

    Its gradients need no linear system (envelope theorem). They can be differentiated again, by linear systems; where
    the rows hold every mass, along directions that change all masses alike.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import elastic_ot as eot
    >>> measures = jnp.array([[0.9, 0.1], [0.3, 0.7]])
    >>> plans = jax.grad(lambda cost: eot.jax.barycenter_value(cost, measures, epsilon=0.1))(jnp.eye(2))
    >>> bool(jnp.isclose(plans.sum(), 1.0))
    True
    """
    given = _prepared(costs, measures, weights, epsilon, row_rho, options)
    found, converged, *_ = given.operators.value(given.options, *given.problem)
    return found.astype(given.dtype), converged
