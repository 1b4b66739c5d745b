"""Sums over a grid of exponentials whose exponents are sums over axes, one axis at a time, right at any epsilon.

    log sum_j exp(t_j - sum_k c^k[i_k, j_k] / epsilon)

is d sums over one axis each, of the numbers that the last one has left. Along an axis the largest number of every fibre
is taken off, and what remains is a product of matrices. Where that product is so small that terms may have underflown
(at a small epsilon) the sum is computed anew, relative to its own largest term.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import load_grid

Array = NDArray[np.float64]
LEAST_SUM = 1e-280  # sums below may lack terms that count: those that have underflown are below 1e-305 each
SAFE = 600.0  # nats of a reduced cost up to which no sum is as small as that: exp(-600) = 1e-261
UNDERFLOWING = 3000.0  # nats from where on most sums are, so that products are a waste; measured


@dataclass(frozen=True, eq=False)
class Axis:
    """The cost c (n, m) along an axis and its kernel, which is as even as shifts of rows and columns make it.

    exp(-c inv_epsilon) = exp(-row_i - col_j) kernel_ij, with kernel in [0, 1]; nats of it reach down to -span.
    """

    c: Array
    inv_epsilon: float
    row: Array = field(init=False)
    col: Array = field(init=False)
    kernel: Array = field(init=False)
    turned: Array = field(init=False)
    span: float = field(init=False)

    def __post_init__(self) -> None:
        nats = self.c * self.inv_epsilon
        row = nats.min(axis=1)
        nats -= row[:, None]
        col = nats.min(axis=0)
        nats -= col
        span = float(nats.max())
        kernel = np.exp(-nats)
        fields = {"row": row, "col": col, "span": span, "kernel": kernel, "turned": np.ascontiguousarray(kernel.T)}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def transposed(self) -> Axis:
        """Return the kernel with rows and columns exchanged; no exponential is evaluated again."""
        other = object.__new__(Axis)
        turned = {"c": np.ascontiguousarray(self.c.T), "inv_epsilon": self.inv_epsilon, "span": self.span}
        turned |= {"row": self.col, "col": self.row, "kernel": self.turned, "turned": self.kernel}
        for name, value in turned.items():
            object.__setattr__(other, name, value)
        return other

    def contract(self, x: Array, k: int, times_cost: bool = False) -> Array:
        """Return sum_j kernel_ij x[..., j, ...] over axis k; with `times_cost` of the kernel times c."""
        n, m = self.c.shape
        kernel, turned = (self.kernel * self.c, self.turned * self.c.T) if times_cost else (self.kernel, self.turned)
        out = np.empty(_replaced(x.shape, k, n))
        if k == x.ndim - 1:
            load_grid().multiply(x.reshape(-1, m), turned[None], out.reshape(1, -1, n))
        else:
            rest = math.prod(x.shape[k + 1 :])
            load_grid().multiply(kernel, x.reshape(-1, m, rest), out.reshape(-1, n, rest))
        return out


class Separable:
    """The kernel exp(-sum_k c^k[i_k, j_k] inv_epsilon) from the grid of the points j to that of the points i."""

    def __init__(self, costs: Sequence[Array], inv_epsilon: float) -> None:
        self.axes = [Axis(np.ascontiguousarray(c), inv_epsilon) for c in costs]
        self.shape = tuple(c.shape[1] for c in costs)

    def transposed(self) -> Separable:
        """Return the kernel to the grid of the points j from that of the points i."""
        other = object.__new__(Separable)
        other.axes = [axis.transposed() for axis in self.axes]
        other.shape = tuple(axis.c.shape[0] for axis in self.axes)
        return other

    def log_sums(self, t: Array) -> Array:
        """Return log sum_j exp(t_j) kernel_ij, flat."""
        t = t.reshape(self.shape)
        for k, axis in enumerate(self.axes):
            t = Stage(axis, t, k).log_sum
        return t.reshape(-1)

    def many_log_sums(self, t: Array) -> Array:
        """Return log sum_j exp(t_qj) kernel_ij of many t (q, m) at once, shape (q, n)."""
        t = np.ascontiguousarray(t.T).reshape(*self.shape, -1)
        for k, axis in enumerate(self.axes):
            t = Stage(axis, t, k).log_sum
        return np.ascontiguousarray(t.reshape(-1, t.shape[-1]).T)

    def means(self, t: Array, fields: Array, slopes: Array) -> tuple[Array, Array]:
        """Return the log sums (n,), and means (q, n) of fields[q]_j + slopes[q] cost_ij with the terms for weights."""
        t, fields = t.reshape(self.shape), fields.reshape(-1, *self.shape)
        for k, axis in enumerate(self.axes):
            stage = Stage(axis, t, k)
            t, fields = stage.log_sum, stage.means(fields, slopes)
        return t.reshape(-1), fields.reshape(slopes.size, -1)

    def largest(self, t: Array) -> Array:
        """Return max_j (t_j - cost_ij inv_epsilon), flat."""
        t = t.reshape(self.shape)
        for k, axis in enumerate(self.axes):
            lines = _lines(t, k)
            out = np.empty((len(lines), axis.c.shape[0]))
            load_grid().fibre_max(lines, axis.c, axis.inv_epsilon, out)
            t = _from_lines(out, k, t.shape)
        return t.reshape(-1)


class Products:
    """Sums over exp(outer_i + t_j - sum_k c^k[i_k, j_k] inv_epsilon) x_j, of many x one after the other.

    A sum is what its terms add up to times the mean of x, and that mean one over axis after axis. Where no sum has
    underflown, what stands between two products of matrices is multiplied together once.
    """

    def __init__(self, kernel: Separable, t: Array, outer: Array) -> None:
        self.shape, self.stages = kernel.shape, []
        t = t.reshape(self.shape)
        for k, axis in enumerate(kernel.axes):
            self.stages.append(Stage(axis, t, k))
            t = self.stages[-1].log_sum
        self.total = np.exp(outer.reshape(t.shape) + t)
        self.factors: list[Array] = []
        if all(stage.lost is None for stage in self.stages):
            before: Array | float = 1.0
            for stage in self.stages:
                self.factors.append(stage.weights * before)
                before = stage.inverse
            self.total *= before

    def __call__(self, x: Array) -> Array:
        """Return the sums (n,) for x (m,)."""
        x = x.reshape(self.shape)
        if self.factors:
            for stage, factor in zip(self.stages, self.factors, strict=True):
                x = stage.axis.contract(factor * x, stage.k)
        else:
            fields, none = x[None], np.zeros(1)
            for stage in self.stages:
                fields = stage.means(fields, none)
            x = fields[0]
        return (self.total * x).reshape(-1)


class Stage:
    """The sum over axis k: log_sum = log sum_j exp(t_j - c_ij inv_epsilon), and its terms as weights."""

    def __init__(self, axis: Axis, t: Array, k: int) -> None:
        self.axis, self.t, self.k = axis, t, k
        self.lost: NDArray[np.bool_] | None = None
        if axis.span > UNDERFLOWING:
            self.log_sum = np.empty(_replaced(t.shape, k, axis.c.shape[0]))
            self.lost = np.ones(self.log_sum.shape, bool)
        else:
            self._sum()
        if self.lost is not None:
            self._repair(self.lost)

    def _sum(self) -> None:
        axis, k, backend = self.axis, self.k, load_grid()
        t = self.t - axis.col.reshape(_along(k, self.t.ndim)) if axis.col.any() else np.ascontiguousarray(self.t)
        top = np.asarray(t.max(axis=k))
        empty = np.isneginf(top)
        top[empty] = 0.0
        self.weights = np.empty(t.shape)
        backend.exponentials(*_by_rows(t, k, np.zeros(t.shape[k]), -top), _rows(self.weights, k))
        if empty.any():
            self.weights *= np.expand_dims(~empty, k)
        total = axis.contract(self.weights, k)
        self.log_sum = np.empty(total.shape)
        backend.logarithms(*_by_rows(total, k, -axis.row, top), _rows(self.log_sum, k))
        if axis.span > SAFE:
            lost = total < LEAST_SUM
            self.lost = lost if lost.any() else None
        self.inverse = np.divide(1.0, total, out=total, where=total >= LEAST_SUM)

    def means(self, fields: Array, slopes: Array) -> Array:
        """Means of fields[q]_j + slopes[q] c_ij over axis k with the terms for weights, 0 where there are none."""
        axis, k = self.axis, self.k
        found = np.empty((slopes.size, *self.log_sum.shape))
        if axis.span <= UNDERFLOWING:
            for q, slope in enumerate(slopes):
                np.multiply(axis.contract(self.weights * fields[q], k), self.inverse, out=found[q])
                if slope:
                    found[q] += slope * self.inverse * axis.contract(self.weights, k, times_cost=True)
        return found if self.lost is None else self._repaired(fields, slopes, found)

    def _repair(self, lost: NDArray[np.bool_]) -> None:
        """Compute the lost log sums anew, relative to the largest term of each."""
        k = self.k
        self.lines, self.wanted, sums = _lines(self.t, k), _lines(lost, k), _lines(self.log_sum, k)
        self.sums = sums, np.empty(sums.shape, np.int64), np.empty(sums.shape, np.int64)
        load_grid().fibre_sums(self.lines, self.axis.c, self.axis.inv_epsilon, self.wanted, *self.sums)
        self.log_sum = _from_lines(sums, k, self.t.shape)

    def _repaired(self, fields: Array, slopes: Array, means: Array) -> Array:
        """The means, with those whose log sums were lost computed anew."""
        k, count = self.k, len(self.lines)
        given, found = (_lines(x, k + 1).reshape(slopes.size, count, x.shape[k + 1]) for x in (fields, means))
        how = self.lines, self.axis.c, self.axis.inv_epsilon, self.wanted, self.sums
        load_grid().fibre_means(*how, given, slopes, found)
        return _from_lines(found.reshape(-1, found.shape[2]), k + 1, (slopes.size, *self.t.shape))


def _along(k: int, ndim: int) -> list[int]:
    """The shape of a vector along axis k."""
    return [-1 if axis == k else 1 for axis in range(ndim)]


def _replaced(shape: tuple[int, ...], k: int, size: int) -> tuple[int, ...]:
    return *shape[:k], size, *shape[k + 1 :]


def _rows(x: Array, k: int) -> Array:
    """Return x as a matrix: a line along the last axis in each row, or what follows axis k."""
    return x.reshape(-1, x.shape[-1] if k == x.ndim - 1 else math.prod(x.shape[k + 1 :]))


def _by_rows(x: Array, k: int, along: Array, across: Array) -> tuple[Array, Array, Array]:
    """Return x as `_rows` has it, and how a vector along axis k and an array of the other axes are added to it."""
    if k == x.ndim - 1:
        return _rows(x, k), across.reshape(-1), along[None]
    return _rows(x, k), along, across.reshape(-1, math.prod(x.shape[k + 1 :]))


def _lines(x: NDArray[Any], k: int) -> NDArray[Any]:
    """The fibres of x along axis k, one a row; a copy, but where they lie so."""
    return np.array(np.moveaxis(x, k, -1), order="C").reshape(-1, x.shape[k])


def _from_lines(lines: Array, k: int, shape: tuple[int, ...]) -> Array:
    """What `_lines` has made of an array that had this shape but for axis k."""
    return np.ascontiguousarray(np.moveaxis(lines.reshape(*shape[:k], *shape[k + 1 :], lines.shape[1]), -1, k))
