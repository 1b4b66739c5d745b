"""Matrices of many problems (b, n, m) on the array API standard: their exponentials, and batched products.

Vectors (b, n) are in float64, whatever the matrices are in. `rows` and `cols` say which of them are in use.
"""

from __future__ import annotations

import math

from array_api_compat import array_namespace
from array_api_compat import device as device_of

from ..protocol import Array


def where(mask: Array, x: Array, otherwise: float = 0.0) -> Array:
    """`x` or a number; in the standard of 2023 both have to be arrays."""
    xp = array_namespace(x)
    return xp.where(mask, x, xp.full((), otherwise, dtype=x.dtype, device=device_of(x)))


def _exponents(cost: Array, inv_epsilon: Array, rows: Array, cols: Array) -> Array:
    """-cost / epsilon in float64; -inf outside of the rows and columns in use, where nothing is read."""
    xp = array_namespace(cost)
    out = xp.astype(where(rows[:, :, None] & cols[:, None, :], cost, math.inf), xp.float64, copy=False)
    out *= -inv_epsilon[:, None, None]
    return out


def _exponentials(exponents: Array, single: bool) -> Array:
    """Return exponentials in float32 or float64: normal numbers or exact zeros."""
    xp = array_namespace(exponents)
    least = -125.0 if single else -1021.0
    normal = where(exponents > least * math.log(2.0), exponents, -math.inf)  # first: a cast might overflow
    return xp.exp(xp.astype(normal, xp.float32 if single else xp.float64, copy=False))


def kernel(cost: Array, inv_epsilon: Array, rows: Array, cols: Array, beta: Array, single: bool) -> tuple[Array, Array]:
    """exp(base_i + beta_j - cost_ij / epsilon) with a largest entry of 1 in every row, and base."""
    xp = array_namespace(cost)
    exponents = _exponents(cost, inv_epsilon, rows, cols)
    exponents += beta[:, None, :]
    top = xp.max(exponents, axis=2)
    top = where(top > -math.inf, top)
    exponents -= top[:, :, None]
    return _exponentials(exponents, single), -top


def plan(
    cost: Array, inv_epsilon: Array, rows: Array, cols: Array, alpha: Array, beta: Array, single: bool
) -> tuple[Array, Array]:
    """P, and its logarithms in float64, 0 where P is."""
    exponents = _exponents(cost, inv_epsilon, rows, cols)
    exponents += alpha[:, :, None]
    exponents += beta[:, None, :]
    found = _exponentials(exponents, single)
    return found, where(found > 0.0, exponents)


def weighed(plan: Array, bar: Array) -> Array:
    """Plan * bar; where the plan is 0, bar does not count, whatever it is."""
    xp = array_namespace(plan)
    return plan * xp.astype(where(plan > 0.0, bar), plan.dtype, copy=False)


def times(matrix: Array, x: Array) -> Array:
    """Matrix x of every problem, in the precision of the matrix."""
    xp = array_namespace(matrix)
    product = xp.matmul(matrix, xp.astype(x, matrix.dtype, copy=False)[:, :, None])
    return xp.astype(product[:, :, 0], xp.float64, copy=False)


def transposed_times(matrix: Array, x: Array) -> Array:
    xp = array_namespace(matrix)
    product = xp.matmul(xp.astype(x, matrix.dtype, copy=False)[:, None, :], matrix)
    return xp.astype(product[:, 0, :], xp.float64, copy=False)


def totals(matrices: Array) -> Array:
    """The sum of each, in float64."""
    xp = array_namespace(matrices)
    return xp.sum(matrices, axis=(1, 2), dtype=xp.float64)
