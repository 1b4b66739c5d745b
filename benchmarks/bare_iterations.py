"""Bare iterations for a balanced problem, the level that the package's general ones are held against.

They have no penalties, no checks, no history and no guard against overflow. The kernels update their
vectors in place; the ``run_`` functions do ``iterations`` full iterations (row and column update) from zero
potentials and return the potentials, in the units of the cost and with respect to the counting reference.
"""

import math
from collections.abc import Callable

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .problems import Array, Problem
from .solvers import Answer, Run

Iterate = Callable[[Array, Array, Array, float, int], tuple[Array, Array]]

LOG2_E = math.log2(math.e)
C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11 = (math.log(2) ** k / math.factorial(k) for k in range(12))


@intrinsic
def _bits(typingctx, x):
    """The bit pattern of a double."""
    return types.int64(types.float64), lambda ctx, builder, sig, args: builder.bitcast(args[0], ir.IntType(64))


@intrinsic
def _double(typingctx, x):
    """The double of a bit pattern."""
    return types.float64(types.int64), lambda ctx, builder, sig, args: builder.bitcast(args[0], ir.DoubleType())


@numba.njit(inline="always", fastmath=True)
def _exp2(y):
    """2**y in a form that vectorises: a Taylor polynomial on [-1/2, 1/2], the rest added to the exponent."""
    y = max(y, -1021.0)
    k = np.floor(y + 0.5)
    r = y - k
    p = C11 * r + C10
    p = p * r + C9
    p = p * r + C8
    p = p * r + C7
    p = p * r + C6
    p = p * r + C5
    p = p * r + C4
    p = p * r + C3
    p = p * r + C2
    p = p * r + C1
    p = p * r + C0
    return _double(_bits(p) + (np.int64(k) << 52))  # type: ignore[call-arg]


@numba.njit(fastmath=True, parallel=True, nogil=True, cache=True)
def fused_scaling(kernel, a, b, u, v, partial, iterations):
    """One read of the kernel an iteration, four rows at a time; ``partial`` is (threads, m)."""
    n, m = kernel.shape
    threads = partial.shape[0]
    for _ in range(iterations):
        for t in numba.prange(threads):
            columns = partial[t]
            columns[:] = 0.0
            i, stop = t * n // threads, (t + 1) * n // threads
            while i + 4 <= stop:
                k0, k1, k2, k3 = kernel[i], kernel[i + 1], kernel[i + 2], kernel[i + 3]
                s0 = s1 = s2 = s3 = 0.0
                for j in range(m):
                    s0 += k0[j] * v[j]
                    s1 += k1[j] * v[j]
                    s2 += k2[j] * v[j]
                    s3 += k3[j] * v[j]
                u0, u1, u2, u3 = a[i] / s0, a[i + 1] / s1, a[i + 2] / s2, a[i + 3] / s3
                u[i], u[i + 1], u[i + 2], u[i + 3] = u0, u1, u2, u3
                for j in range(m):
                    columns[j] += u0 * k0[j] + u1 * k1[j] + u2 * k2[j] + u3 * k3[j]
                i += 4
            while i < stop:
                k0 = kernel[i]
                s0 = 0.0
                for j in range(m):
                    s0 += k0[j] * v[j]
                u[i] = a[i] / s0
                for j in range(m):
                    columns[j] += u[i] * k0[j]
                i += 1
        for j in range(m):
            s0 = 0.0
            for t in range(threads):
                s0 += partial[t, j]
            v[j] = b[j] / s0


@numba.njit(fastmath=True, parallel=True, nogil=True, cache=True)
def fused_log(cost, a, b, f, g, partial, row, scale):
    """One read of the cost and one exponential an entry; ``f, g`` in units of 1/scale = epsilon log 2."""
    n, m = cost.shape
    threads = partial.shape[0]
    for t in numba.prange(threads):
        columns, p = partial[t], row[t]
        columns[:] = 0.0
        for i in range(t * n // threads, (t + 1) * n // threads):
            c, fi, s = cost[i], f[i], 0.0
            for j in range(m):
                e = _exp2(fi + g[j] - c[j] * scale)
                p[j] = e
                s += e
            w = a[i] / s
            f[i] = fi + np.log2(w)
            for j in range(m):
                columns[j] += w * p[j]
    for j in range(m):
        s = 0.0
        for t in range(threads):
            s += partial[t, j]
        g[j] += np.log2(b[j] / s)


def run_fused_scaling(cost: Array, a: Array, b: Array, epsilon: float, iterations: int) -> tuple[Array, Array]:
    kernel = np.exp(cost / -epsilon)
    u, v = np.ones_like(a), np.ones_like(b)
    fused_scaling(kernel, a, b, u, v, np.empty((numba.get_num_threads(), b.size)), iterations)
    return epsilon * np.log(u), epsilon * np.log(v)


def run_fused_log(cost: Array, a: Array, b: Array, epsilon: float, iterations: int) -> tuple[Array, Array]:
    scale = LOG2_E / epsilon
    f, g = np.zeros_like(a), np.zeros_like(b)
    partial, row = np.empty((2, numba.get_num_threads(), b.size))
    for _ in range(iterations):
        fused_log(cost, a, b, f, g, partial, row, scale)
    return f / scale, g / scale


def run_two_products(cost: Array, a: Array, b: Array, epsilon: float, iterations: int) -> tuple[Array, Array]:
    """Two matrix-vector products an iteration, by NumPy's BLAS."""
    kernel = np.exp(cost / -epsilon)
    u, v = np.ones_like(a), np.ones_like(b)
    for _ in range(iterations):
        u = a / (kernel @ v)
        v = b / (kernel.T @ u)
    return epsilon * np.log(u), epsilon * np.log(v)


def bare(problem: Problem, max_iter: int, iterate: Iterate) -> Run:
    iterate(problem.cost, problem.a, problem.b, problem.epsilon, 1)

    def run(threshold: float | None) -> Answer:
        f, g = iterate(problem.cost, problem.a, problem.b, problem.epsilon, max_iter)
        return Answer(lambda: np.exp((f[:, None] + g[None] - problem.cost) / problem.epsilon), max_iter, True)

    return run
