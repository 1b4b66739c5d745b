"""Functions of arrays of JAX that the array API has not, for `elastic_ot.applications`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray


def detached(array: Array) -> Array:
    """Return the array as a constant, without its derivatives."""
    return jax.lax.stop_gradient(array)


def traced(array: Array) -> bool:
    """True for arrays without numbers, as under jit and vmap."""
    return isinstance(array, jax.core.Tracer)


def is_constant(array: Array) -> bool:
    """True if its numbers are known: then nothing asks for derivatives in it."""
    return not traced(array)


def on_host(array: Array) -> NDArray[Any] | None:
    """The numbers of a constant, in the same memory; None on a device."""
    return np.asarray(array) if all(device.platform == "cpu" for device in array.devices()) else None


@jax.jit
@jax.checkpoint
def cityblock(x: Array, y: Array) -> Array:
    """Return the L1 distances of points (..., n, d) and (..., m, d), shape (..., n, m).

    In one loop of the compiler, forwards and backwards: differences are computed again, not kept.
    """
    return jnp.abs(x[..., :, None, :] - y[..., None, :, :]).sum(axis=-1)


def softmax(array: Array) -> Array:
    """exp(x) / sum exp(x) along the last axis, of finite numbers."""
    return jax.nn.softmax(array, axis=-1)


def log_softmax(array: Array) -> Array:
    """The logarithm of `softmax`."""
    return jax.nn.log_softmax(array, axis=-1)


def sigmoid(array: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return jax.nn.sigmoid(array)


def argmax(array: Array) -> Array:
    """Where the first of the largest numbers along the last axis is."""
    return jnp.argmax(array, axis=-1)


def gather(values: Array, index: Array) -> Array:
    """Entries of the last axis: values (..., m) at index (..., k)."""
    return jnp.take_along_axis(values, index, axis=-1)


def without(values: Array, index: Array) -> Array:
    """Values (..., m) with -inf at index (..., k)."""
    return jnp.put_along_axis(values, index, -jnp.inf, axis=-1, inplace=False)


def sums_at(values: Array, index: Array) -> Array:
    """Sums of values (..., n) with the same index (..., n), below n, at each of them."""
    size = values.shape[-1]
    rows, places = values.reshape(-1, size), index.reshape(-1, size)
    found = jnp.zeros_like(rows).at[jnp.arange(rows.shape[0])[:, None], places].add(rows)
    return jnp.take_along_axis(found, places, axis=-1).reshape(values.shape)


def counts(index: Array, size: int) -> Array:
    """How often each of 0 to size - 1 occurs along the last axis, shape (..., size)."""
    flat = index.reshape(-1, index.shape[-1])
    found = jnp.zeros((flat.shape[0], size), index.dtype)
    return found.at[jnp.arange(flat.shape[0])[:, None], flat].add(1).reshape(*index.shape[:-1], size)
