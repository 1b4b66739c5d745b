"""Calls of the host from JAX for costs between points, with their derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..costs.points import PointCloud
from . import clouds as host_calls
from .jax_calls import as_array, differentiable, differentiable_value, in_working_dtype, uniform
from .options import common_batch, option_text, refuse_text


class PreparedPoints(NamedTuple):
    """A call, ready for the solver: the problem with the same leading dimensions everywhere."""

    problem: tuple[Array, ...]
    options: str
    dtype: Any


def prepared_points(
    cloud: PointCloud,
    a: Any,
    b: Any,
    epsilon: Any,
    rho: tuple[Any, Any],
    grad: str,
    mask: Any,
    options: Mapping[str, Any],
) -> PreparedPoints:
    """A call, checked, with the same leading dimensions everywhere."""
    refuse_text(epsilon)
    if mask is not None:
        raise ValueError("mask is for a cost matrix; pass the costs of a PointCloud as an array to have entries masked")
    text = option_text(grad, options, rho, a, b, cloud.metric)
    x, y = (as_array(name, z) for name, z in zip("xy", cloud.given, strict=True))
    dtype = jnp.promote_types(x.dtype, y.dtype)
    (n, d), m = x.shape[-2:], y.shape[-2]
    a = uniform(n) if a is None else as_array("a", a)
    b = uniform(m) if b is None else as_array("b", b)
    x, y, a, b = (in_working_dtype(z) for z in (x, y, a, b))
    epsilon, row_rho, col_rho = (jnp.asarray(0.0 if z is None else z).astype(x.dtype) for z in (epsilon, *rho))
    shape = (*jnp.broadcast_shapes(x.shape[:-2], y.shape[:-2]), n, m)
    batch = common_batch(shape, a.shape, b.shape, epsilon.shape, row_rho.shape, col_rho.shape)
    problem: tuple[Array, ...] = (
        jnp.broadcast_to(x, (*batch, n, d)),
        jnp.broadcast_to(y, (*batch, m, d)),
        jnp.broadcast_to(a, (*batch, n)),
        jnp.broadcast_to(b, (*batch, m)),
        jnp.broadcast_to(epsilon, batch),
        jnp.stack([jnp.broadcast_to(z, batch) for z in (row_rho, col_rho)], axis=-1),
    )
    if grad == "detach":
        problem = jax.lax.stop_gradient(problem)
    return PreparedPoints(problem, text, dtype)


solve_cloud_value = differentiable_value(host_calls.value, host_calls.value_gradients, host_calls.value_hvp)
solve_cloud_potentials = differentiable(host_calls.potentials, host_calls.push_forward, host_calls.pull_back)
solve_carried = differentiable(host_calls.carried, host_calls.push_carried_forward, host_calls.pull_carried_back)
