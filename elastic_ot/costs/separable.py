"""Sums over a grid of exponentials whose exponents are sums over axes, one axis at a time, at any epsilon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import load_grid

Array = NDArray[np.float64]
LOST = 1e-280  # sums below may lack terms that have underflown; terms lost are below 1e-300
SAFE = 600.0  # nats of a reduced cost up to which no sum is as small as that: exp(-600) = 1e-261
HOPELESS = 3000.0  # nats from where on nearly all sums are: not tried


@dataclass(frozen=True, eq=False)
class Axis:
    """The cost along an axis, c (n, m), over epsilon, with reductions that make its kernel as even as they can.

    exp(-c inv_epsilon) = exp(-row_i - col_j) kernel_ij, all of kernel in (0, 1] and 1 somewhere in each row.
    """

    c: Array
    inv_epsilon: float
    row: Array = field(init=False)
    col: Array = field(init=False)
    kernel: Array = field(init=False)
    span: float = field(init=False)

    def __post_init__(self) -> None:
        scaled = self.c * self.inv_epsilon
        row = scaled.min(axis=1)
        scaled -= row[:, None]
        col = scaled.min(axis=0)
        scaled -= col
        span = float(scaled.max())
        np.negative(scaled, out=scaled)
        for name, value in (("row", row), ("col", col), ("span", span), ("kernel", np.exp(scaled, out=scaled))):
            object.__setattr__(self, name, value)

    def transpose(self) -> Axis:
        return Axis(np.ascontiguousarray(self.c.T), self.inv_epsilon)


class Separable:
    """The kernel exp(-sum_k c^k[i_k, j_k] inv_epsilon), applied to functions on the grid of the columns j."""

    def __init__(self, costs: Sequence[Array], inv_epsilon: float) -> None:
        self.axes = [Axis(c, inv_epsilon) for c in costs]
        self.shape_in = tuple(c.shape[1] for c in costs)
        self.inv_epsilon = inv_epsilon

    def log_sums(self, beta: Array) -> Array:
        """log sum_j exp(beta_j) kernel_ij, flat."""
        t = beta.reshape(self.shape_in)
        for k, axis in enumerate(self.axes):
            t, _ = _reduced(axis, t, k, np.empty((0, *t.shape)), np.empty(0))
        return t.reshape(-1)

    def means(self, beta: Array, fields: Array, slopes: Array) -> tuple[Array, Array]:
        """The log sums, and means under their terms as weights of fields[q]_j + slopes[q] cost_ij: (n,), (q, n)."""
        t, z = beta.reshape(self.shape_in), fields.reshape(-1, *self.shape_in)
        for k, axis in enumerate(self.axes):
            t, z = _reduced(axis, t, k, z, slopes)
        return t.reshape(-1), z.reshape(slopes.size, -1)

    def largest(self, beta: Array) -> Array:
        """max_j (beta_j - cost_ij inv_epsilon), flat."""
        t = beta.reshape(self.shape_in)
        for k, axis in enumerate(self.axes):
            fibres = np.ascontiguousarray(np.moveaxis(t, k, -1))
            out = np.empty((*fibres.shape[:-1], axis.c.shape[0]))
            flat = fibres.reshape(-1, fibres.shape[-1])
            load_grid().fibre_max(flat, axis.c, self.inv_epsilon, out.reshape(flat.shape[0], -1))
            t = np.moveaxis(out, -1, k)
        return np.ascontiguousarray(t).reshape(-1)


def _reduced(axis: Axis, t: Array, k: int, fields: Array, slopes: Array) -> tuple[Array, Array]:
    """Sum over axis k: log sum_j exp(t_j - c_ij inv_epsilon) and the means of fields[q]_j + slopes[q] c_ij."""
    along = [1] * t.ndim
    along[k] = -1
    if axis.span > HOPELESS:
        log_sum, means = _empty(t, axis, k), _empty(fields, axis, k + 1)
        return _repaired(axis, t, k, fields, slopes, np.ones(log_sum.shape, bool), log_sum, means)
    shifted = t - axis.col.reshape(along)
    top = shifted.max(axis=k, keepdims=True)
    top[np.isneginf(top)] = 0.0
    shifted -= top
    weights = np.exp(shifted, out=shifted)
    total = contract(axis.kernel, weights, k)
    means = np.empty((slopes.size, *total.shape))
    with np.errstate(divide="ignore", invalid="ignore"):
        for q, slope in enumerate(slopes):
            np.divide(contract(axis.kernel, weights * fields[q], k), total, out=means[q])
            if slope:
                means[q] += slope * contract(axis.c * axis.kernel, weights, k) / total
        log_sum = np.log(total)
    log_sum += top
    log_sum -= axis.row.reshape(along)
    lost = total < LOST if axis.span > SAFE else total == 0.0
    if lost.any():
        return _repaired(axis, t, k, fields, slopes, lost, log_sum, means)
    return log_sum, means


def _repaired(
    axis: Axis, t: Array, k: int, fields: Array, slopes: Array, lost: NDArray[np.bool_], log_sum: Array, means: Array
) -> tuple[Array, Array]:
    """The lost entries computed anew, relative to the largest term of each."""
    n, m = axis.c.shape
    flat, mask, out = (np.ascontiguousarray(np.moveaxis(x, k, -1)) for x in (t, lost, log_sum))
    given, found = (np.ascontiguousarray(np.moveaxis(x, k + 1, -1)) for x in (fields, means))
    count = flat.size // m
    load_grid().repair(
        flat.reshape(count, m),
        axis.c,
        axis.inv_epsilon,
        mask.reshape(count, n),
        out.reshape(count, n),
        given.reshape(-1, count, m),
        slopes,
        found.reshape(-1, count, n),
    )
    return np.moveaxis(out, -1, k), np.moveaxis(found, -1, k + 1)


def _empty(x: Array, axis: Axis, k: int) -> Array:
    return np.empty((*x.shape[:k], axis.c.shape[0], *x.shape[k + 1 :]))


def contract(kernel: Array, x: Array, k: int) -> Array:
    """sum_j kernel_ij x[..., j, ...] over axis k: products of matrices."""
    rest = int(np.prod(x.shape[k + 1 :], dtype=np.int64))
    if rest == 1:
        out: Any = x.reshape(-1, x.shape[k]) @ kernel.T
    else:
        out = np.matmul(kernel, x.reshape(-1, x.shape[k], rest))
    found: Array = out.reshape(*x.shape[:k], kernel.shape[0], *x.shape[k + 1 :])
    return found
