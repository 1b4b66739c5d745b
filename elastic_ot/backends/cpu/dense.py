"""The primitives of `protocol` in Numba: all compiled code, in one file because Numba's cache watches one file.

Contents
    bits, exp2, log        the two elementary functions, written so that LLVM vectorises them
    potential              the update rule of every penalty, on scalars
    passes                 one block of rows: log_rows, scaling_rows, marginal_rows, ...; serial, one a thread
    supports               the same on some cells only, row by row
    conjugate gradients    products with the reduced Newton matrix, and the recurrences
    primitives             the compiled entry points (split the rows over threads), then the Python functions of
    `protocol`

Why these loops. A full iteration needs each cost entry once: p = exp(alpha + beta - cost) under the old potentials
gives the row sum, the row update follows, and the same p, still in cache, times exp(change of alpha) feeds the column
sums. Four rows share one pass over the column accumulators. Arguments are kept in base 2, so the range reduction is
exact. Flags: `ninf` and `nnan` are left out of fastmath because -inf is meaningful (a removed row or cell).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic, overload

from ..protocol import LOG2E, TRUST_DOUBLE, TRUST_SINGLE, Array, Krylov, Side, Sparse, Support
from ..updates import log_column_sums
from .flags import elementary, entry_point, inner, moves, rows_kernel, threaded
from .threads import available, split, team
from .vectors import collect, collect_ahead, fill, fill_double, fill_plan, products_ahead

# Sizes below which one thread does it all. A parallel region costs 10 us on a quiet machine and milliseconds on a busy
# one, and its threads spin for a while afterwards, in the way of what comes next: that pays for long blocks of
# iterations first. Threads started from Python cost 0.1 ms each time.
SERIAL_BELOW = 200_000  # entries read by a block of iterations
BRIEF_SERIAL_BELOW = 1_500_000  # entries read by one iteration or a single pass
SPARSE_SERIAL_BELOW = 400_000  # cells of a support
LN2 = 0.6931471805599453
# 1.5 * 2^52: adding it puts a small integer in the low bits of a double. It avoids the float-to-int64 conversion,
# which AVX2 does not have.
INTEGER = 6755399441055744.0

# --- elementary functions ---------------------------------------------------------------------------------------------


def _bitcast(source: Any, target: Any) -> Any:
    llvm = {
        types.float64: ir.DoubleType(),
        types.int64: ir.IntType(64),
        types.float32: ir.FloatType(),
        types.int32: ir.IntType(32),
    }

    @intrinsic
    def cast(typingctx: Any, x: Any) -> Any:
        return target(source), lambda context, builder, sig, args: builder.bitcast(args[0], llvm[target])

    return cast


_as_float64, _as_int64 = _bitcast(types.int64, types.float64), _bitcast(types.float64, types.int64)
_as_float32, _as_int32 = _bitcast(types.int32, types.float32), _bitcast(types.float32, types.int32)


@elementary
def _power(y):
    """2^y to 2.3e-16 relative, for finite results: 2^-1021.5 below that (-inf, nan included), 1.78e308 above 1024."""
    z = min(max(y, -1021.5), 1023.99)
    k = np.floor(z + 0.5)
    r = z - k
    # interpolation of 2^r at the Chebyshev nodes of [-1/2, 1/2], degree 11; Estrin's order shortens the chain
    r2 = r * r
    r4 = r2 * r2
    low = (1.0 + 0.6931471805599453 * r) + (0.24022650695910158 + 0.055504108664821625 * r) * r2
    mid = (0.009618129107587256 + 0.001333355814640647 * r) + (0.00015403530463724353 + 1.5252733841556773e-05 * r) * r2
    top = (1.3215432535912375e-06 + 1.0178057087733941e-07 * r) + (
        7.074194297288521e-09 + 4.4558179083360645e-10 * r
    ) * r2
    p = low + (mid + top * r4) * r4
    return _as_float64(_as_int64(p) + (_as_int64(k + INTEGER) << 52))


@elementary
def exp2(y):
    """2^y, exactly 0 below 2^-1021: for plans. Sweeps take `_power`, a fifth faster, whose floor they never notice."""
    return _power(y) if y > -1021.0 else 0.0


@elementary
def _power_single(y):
    """Return 2^y in float32 to 1.2e-7 relative, between 2^-125.5 and 3.3e38."""
    z = min(max(y, np.float32(-125.5)), np.float32(127.99))
    k = np.floor(z + np.float32(0.5))
    r = z - k
    p = np.float32(1.54614447e-4)  # as above, degree 6
    p = p * r + np.float32(1.340042818e-3)
    p = p * r + np.float32(9.618056679e-3)
    p = p * r + np.float32(5.550327227e-2)
    p = p * r + np.float32(2.402265092e-1)
    p = p * r + np.float32(6.931472067e-1)
    p = p * r + np.float32(1.0)
    return _as_float32(_as_int32(p) + np.int32(np.int32(k) << np.int32(23)))


def entry(y, like):
    """2^y in the precision of `like` (the dtype of the row buffer decides); `y` is always computed in float64."""
    return np.exp2(y).astype(like.dtype)


@overload(entry)
def _entry(y, like):
    if like.dtype == types.float32:
        return lambda y, like: _power_single(np.float32(y))
    return lambda y, like: _power(y)


@elementary
def log(x):
    """Natural logarithm of a positive normal double, to 2e-16 absolute near 1 and relative elsewhere.

    The exponent is told from a number near 2^52: rearranged, as LLVM once did, the sum would be off by 1/4.
    """
    bits = _as_int64(x)
    exponent = _as_float64((bits >> 52) | 0x4330000000000000) - 4503599627370496.0 - 1023.0
    m = _as_float64((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000)
    above = m > 1.4142135623730951
    m = 0.5 * m if above else m
    exponent = exponent + 1.0 if above else exponent
    s = (m - 1.0) / (m + 1.0)  # log m = 2 artanh s, |s| < 0.172
    q = s * s
    t = 1.0 / 21.0
    t = t * q + 1.0 / 19.0
    t = t * q + 1.0 / 17.0
    t = t * q + 1.0 / 15.0
    t = t * q + 1.0 / 13.0
    t = t * q + 1.0 / 11.0
    t = t * q + 1.0 / 9.0
    t = t * q + 1.0 / 7.0
    t = t * q + 1.0 / 5.0
    t = t * q + 1.0 / 3.0
    return exponent * LN2 + (2.0 * s + 2.0 * s * q * t)


# --- the update rule of every penalty ---------------------------------------------------------------------------------


@inner
def _potential(code, strength, strength2, weight, log_ratio):
    if code == 0:
        return strength * log_ratio
    if code == 1:
        return min(max(log_ratio, -strength), strength)
    if code == 2:
        return min(max(0.0, strength + log_ratio), strength2 + log_ratio)
    return _quadratic(weight, strength, log_ratio)


@moves
def _quadratic(weight, strength, log_ratio):
    """Root F of weight - strength F = weight exp(F - log_ratio): Newton on a convex form, from the right."""
    slope = strength / weight
    if log_ratio > 0.0:
        x = min(log_ratio, 1.0 / slope)
        for _ in range(60):
            e = np.exp(x - log_ratio)
            step = (e + slope * x - 1.0) / (e + slope)
            x -= step
            if abs(step) <= 1e-15 * (1.0 + abs(x)):
                break
        return x
    # what is asked for is weight exp(z), and F = log_ratio + z; z is at most either bound, and both are met in a limit
    z = min(-log_ratio, np.log1p(-slope * log_ratio))
    for _ in range(60):
        more = np.expm1(z)
        step = (z + log_ratio + more / slope) / (1.0 + (1.0 + more) / slope)
        z -= step
        if abs(step) <= 1e-15 * (1.0 - log_ratio):
            break
    x = np.expm1(z) / slope
    return log_ratio + z if x * z > -log_ratio else -x  # whichever has more digits


@entry_point
def _potentials(side, log_ratio, out):
    for i in range(out.size):
        if side.log_weight[i] == -np.inf:
            out[i] = -np.inf
        else:
            out[i] = _potential(side.code, side.strength, side.strength2, side.weight[i], log_ratio[i])


# --- passes over a block of rows, serial ------------------------------------------------------------------------------


@moves
def _clear(x):
    """Zeros. A slice assignment would compile NumPy's messages about shapes along, for seconds."""
    for j in range(x.size):
        x[j] = 0.0


@inner
def _row_sum(c, inv2, beta2, start, p):
    """Fill p_j = 2^(start + beta2_j - c_j inv2), and sum in pieces, so that float32 partial sums stay short."""
    total = 0.0
    for j in range(0, c.size, 2048):
        total += fill(c[j : j + 2048], inv2, beta2[j : j + 2048], start, p[j : j + 2048])
    return total


@inner
def _largest(c, factor, beta):
    top = -np.inf
    for j in range(c.size):
        top = max(top, beta[j] - c[j] * factor)
    return top


@inner
def _log_row(c, inv2, beta2, alpha, p, least, huge):
    """Fill p with the row of the plan; returns (log of the row sum, the alpha that p was built with).

    The sum is bounded near the marginal once potentials are sensible. When it is not (cold start, underflow), the row
    is done again relative to its maximum.
    """
    start, base, total = alpha * LOG2E, alpha, 0.0
    for again in range(2):  # one call, since each is compiled at its place
        total = _row_sum(c, inv2, beta2, start, p)
        if again == 1 or least < total < huge:
            break
        top = _largest(c, inv2, beta2)
        if top == -np.inf:
            _clear(p)
            return -np.inf, 0.0
        start, base = -top, -top * LN2
    return np.log(total) + (alpha - base), base


@inner
def _log_update(task, vectors, p, i, range_):
    """Row i of an iteration; returns the factor that turns p into the row under the new alpha."""
    cost, inv2, beta2, rows, omega = task
    alpha, previous_alpha, log_row = vectors
    old = alpha[i]
    previous_alpha[i] = old
    if rows.log_weight[i] == -np.inf:
        log_row[i] = -np.inf
        _clear(p)
        return 0.0
    low, tiny, huge = range_
    least = max(low * rows.weight[i], tiny)
    log_sum, base = _log_row(cost[i], inv2, beta2, old, p, least, huge)
    log_row[i] = log_sum
    potential = old - rows.offset[i]
    ratio = rows.log_weight[i] - log_sum + potential
    target = _potential(rows.code, rows.strength, rows.strength2, rows.weight[i], ratio)
    alpha[i] = rows.offset[i] + potential + omega * (target - potential)
    return np.exp(alpha[i] - base)


@inner
def _log_rows(cost, inv2, beta2, rows, omega, alpha, previous_alpha, log_row, acc, buffer, w, low, tiny, huge, lo, hi):
    """Rows lo to hi of an iteration: four at a time share a pass over acc, the partial column sums."""
    task, vectors, range_ = (cost, inv2, beta2, rows, omega), (alpha, previous_alpha, log_row), (low, tiny, huge)
    for j in range(acc.size):
        acc[j] = 0.0
    for i in range(lo, hi, 4):
        for q in range(4):
            w[q] = _log_update(task, vectors, buffer[q], i + q, range_) if i + q < hi else 0.0
        collect(buffer, 0, 3, w[0], w[1], w[2], w[3], acc)


@rows_kernel
def _marginal_rows(cost, inv2, alpha, beta2, row_sum, acc, buffer, w, lo, hi):
    for j in range(acc.size):
        acc[j] = 0.0
    for i in range(lo, hi, 4):
        for q in range(4):
            w[q] = 0.0
            if i + q < hi and alpha[i + q] > -np.inf:
                row_sum[i + q] = fill_double(cost[i + q], inv2, beta2, alpha[i + q] * LOG2E, buffer[q])
                w[q] = 1.0
            else:
                _clear(buffer[q])  # of an earlier row, which may have overflown
                if i + q < hi:
                    row_sum[i + q] = 0.0
        collect(buffer, 0, 3, w[0], w[1], w[2], w[3], acc)


@rows_kernel
def _col_max_rows(cost, inv_epsilon, alpha, acc, lo, hi):
    for j in range(cost.shape[1]):
        acc[j] = -np.inf
    for i in range(lo, hi):
        a, c = alpha[i], cost[i]
        for j in range(cost.shape[1]):
            acc[j] = max(acc[j], a - c[j] * inv_epsilon)


@rows_kernel
def _row_max_rows(cost, inv_epsilon, beta, out, lo, hi):
    for i in range(lo, hi):
        out[i] = _largest(cost[i], inv_epsilon, beta)


@inner
def _plan_row(c, inv2, alpha, beta2, p):
    """One row of the plan, zeros exact."""
    fill_double(c, inv2, beta2, alpha * LOG2E, p)


@inner
def _reduced_blocks(c, beta, length, reduced, lows):
    """Fill c - beta, and its minimum over every block of `length` entries."""
    for b in range(lows.size):
        low = np.inf
        for j in range(b * length, min((b + 1) * length, c.size)):
            d = c[j] - beta[j]
            reduced[j] = d
            low = min(low, d)
        lows[b] = low


@inner
def _quickselect(x, size, k):
    """The value that k entries of x[:size] are below or equal to, k >= 1; x is permuted."""
    lo, hi = 0, size - 1
    while lo < hi:
        pivot = x[(lo + hi) >> 1]
        i, j = lo, hi
        while i <= j:
            while x[i] < pivot:
                i += 1
            while x[j] > pivot:
                j -= 1
            if i <= j:
                x[i], x[j] = x[j], x[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            hi = j
        elif k - 1 >= i:
            lo = i
        else:
            break
    return x[k - 1]


@rows_kernel
def _least_rows(cost, beta, which, indices, least, work, lo, hi):
    """A few cells a row: blocks whose minimum is not among the k smallest minima need no second look."""
    m, k = cost.shape[1], indices.shape[1]
    reduced, values, lows, copy = work[0], work[1], work[2], work[3]
    length = max(1, m // (4 * k))
    blocks = (m + length - 1) // length
    for q in range(lo, hi):
        i = which[q]
        _reduced_blocks(cost[i], beta, length, reduced, lows[:blocks])
        low = np.inf
        for b in range(blocks):
            low = min(low, lows[b])
            copy[b] = lows[b]
        least[q] = low
        bound = _quickselect(copy, blocks, k)
        # from a column that depends on the row, block by block, back to it; as soon as k are as small as can be, enough
        count, begin = np.int64(0), (i * m) // cost.shape[0]
        enough = k if bound == low else m
        for r in range(blocks + 1):
            b = begin // length + r
            b = b if b < blocks else b - blocks
            if lows[b] <= bound and lows[b] < np.inf:
                from_, to = b * length, min((b + 1) * length, m)
                from_, to = (begin if r == 0 else from_), (begin if r == blocks else to)
                for j in range(from_, to):
                    if reduced[j] <= bound and reduced[j] < np.inf and count < enough:
                        values[count] = reduced[j]
                        copy[count] = j
                        count += 1
            if count == enough:
                break
        kept, last = min(k, count), np.inf
        if count > k:
            for r in range(count):
                reduced[r] = values[r]
            last = _quickselect(reduced, count, k)
        below = 0
        for r in range(count):
            below += values[r] < last
        ties, kept_so_far = kept - below if count > k else kept, 0
        for r in range(count):
            if values[r] < last or (values[r] == last and ties > 0):
                if values[r] == last:
                    ties -= 1
                indices[q, kept_so_far] = np.int32(copy[r])
                kept_so_far += 1
        for r in range(kept_so_far, k):
            indices[q, r] = -1


@rows_kernel
def _kernel_rows(cost, inv2, alpha, beta2, out, lo, hi):
    """Fill rows of the kernel in float32, arguments included: 2^-k is good to (2e-7 + 4e-8 k) relative."""
    for i in range(lo, hi):
        fill_plan(cost[i], inv2, beta2, alpha[i] * LOG2E, out[i])


@rows_kernel
def _plan_rows(cost, inv2, alpha, beta2, out, lo, hi):
    for i in range(lo, hi):
        _plan_row(cost[i], inv2, alpha[i], beta2, out[i])


@rows_kernel
def _apply_rows(cost, inv2, alpha, beta2, x, out, p, lo, hi):
    for i in range(lo, hi):
        _plan_row(cost[i], inv2, alpha[i], beta2, p)
        for q in range(x.shape[1]):
            s = 0.0
            for j in range(p.size):
                s += p[j] * x[j, q]
            out[i, q] = s


@rows_kernel
def _apply_transposed_rows(cost, inv2, alpha, beta2, x, out, p, lo, hi):
    for j in range(out.shape[0]):
        _clear(out[j])
    for i in range(lo, hi):
        _plan_row(cost[i], inv2, alpha[i], beta2, p)
        for j in range(p.size):
            for q in range(x.shape[1]):
                out[j, q] += p[j] * x[i, q]


@rows_kernel
def _tangent_rows(cost, inv2, alpha, beta2, bar, x, y, slope, out, row_sum, row_dot, acc, lo, hi):
    m, inv_epsilon = cost.shape[1], inv2 * LN2
    for j in range(m):
        acc[j] = 0.0
    for i in range(lo, hi):
        start, c, g, q, x_i = alpha[i] * LOG2E, cost[i], bar[i], out[i], x[i]
        total, dot = 0.0, 0.0
        for j in range(m):
            e = start + beta2[j] - c[j] * inv2
            p = exp2(e)
            e = max(e, -1100.0) * LN2  # finite where P is 0
            d = inv_epsilon * p * (x_i + y[j] + slope * e - (g[j] if p > 0.0 else 0.0))
            q[j] = d
            acc[j] += d
            total += d
            dot += d * e
        row_sum[i], row_dot[i] = total, dot


@inner
def _rounded(cost, inv_epsilon, alpha, beta, factors, divergence, transport, lo, hi):
    row_factor, col_factor, row_rest, col_rest = factors
    for i in range(lo, hi):
        kl, moved, c, a = 0.0, 0.0, cost[i], alpha[i]
        if a > -np.inf:
            for j in range(cost.shape[1]):
                exponent = a + beta[j] - c[j] * inv_epsilon
                p = exp2(exponent * LOG2E)
                q = row_factor[i] * p * col_factor[j] + row_rest[i] * col_rest[j]
                inside = exponent > -np.inf and q > 1e-300
                ratio = log(q if inside else 1.0) - (exponent if inside else 0.0)
                kl += q * ratio - q + p if inside else p
                moved += q * c[j] if inside else 0.0
        divergence[i] = kl
        transport[i] = moved


@rows_kernel
def _rounded_rows(
    cost, inv_epsilon, alpha, beta, row_factor, col_factor, row_rest, col_rest, divergence, transport, lo, hi
):
    factors = row_factor, col_factor, row_rest, col_rest
    _rounded(cost, inv_epsilon, alpha, beta, factors, divergence, transport, lo, hi)


@inner
def _four_sums(kernel, i, hi, v, s):
    """Rows i to i + 3 of kernel v; the last row in place of those from `hi` on."""
    for q in range(4):
        s[q] = 0.0
    products_ahead(kernel, i, hi - 1, 0, v.size, v, s)


@inner
def _scaling_potential(side, omega, base, old, total, i):
    """The new scaling of entry i from the old one and its sum; general penalties go through logarithms."""
    if side.log_weight[i] == -np.inf:
        return 0.0
    if side.code == 0 and side.strength == 1.0 and omega == 1.0:
        return side.weight[i] / total
    potential = np.log(old) + base[i] - side.offset[i]
    ratio = side.log_weight[i] - np.log(old * total) + potential
    target = _potential(side.code, side.strength, side.strength2, side.weight[i], ratio)
    return np.exp(side.offset[i] - base[i] + potential + omega * (target - potential))


@inner
def _scaling_rows(kernel, rows, omega, base, u, v, row_sum, acc, w, lo, hi):
    for j in range(acc.size):
        acc[j] = 0.0
    for i in range(lo, hi, 4):
        _four_sums(kernel, i, hi, v, w)
        for q in range(4):
            if i + q < hi:
                total = w[q]
                row_sum[i + q] = u[i + q] * total
                w[q] = _scaling_potential(rows, omega, base, u[i + q], total, i + q)
                u[i + q] = w[q]
            else:
                w[q] = 0.0
        collect_ahead(kernel, i, hi - 1, w[0], w[1], w[2], w[3], acc)


# --- supports: some cells of the plan, row by row ---------------------------------------------------------------------


@rows_kernel
def _size_rows(cost, inv2, alpha2, beta2, row_least, col_least, which, sizes, lo, hi):
    for k in range(lo, hi):
        i = which[k]
        start, least, c, size = alpha2[i], row_least[i], cost[i], 0
        for j in range(c.size):
            size += start + beta2[j] - c[j] * inv2 > min(least, col_least[j])
        sizes[k] = size


@inner
def _margins(c, inv2, start, beta2, least, col_least, out):
    """How far log2 of each entry of a row lies above its threshold; a function of its own, so that it vectorises."""
    for j in range(c.size):
        out[j] = start + beta2[j] - c[j] * inv2 - min(least, col_least[j])


@rows_kernel
def _cell_rows(cost, inv2, alpha2, beta2, row_least, col_least, pointers, indices, cells, margins, lo, hi):
    for i in range(lo, hi):
        c, k = cost[i], pointers[i]
        _margins(c, inv2, alpha2[i], beta2, row_least[i], col_least, margins)
        for j in range(c.size):
            if margins[j] > 0.0:
                indices[k] = j
                cells[k] = c[j]
                k += 1


@inner
def _support_sum(cost, indices, inv2, beta2, start, values):
    total = 0.0
    for k in range(values.size):
        e = _power(start + beta2[indices[k]] - cost[k] * inv2)
        values[k] = e
        total += e
    return total


@inner
def _support_row(cost, indices, inv2, beta2, alpha, values, least):
    """Fill `values` with a row of the plan on its support.

    Returns (log of the row sum, the alpha that `values` was built with). A row whose sum leaves (least, 1e250) is done
    again relative to its maximum.
    """
    total = _support_sum(cost, indices, inv2, beta2, alpha * LOG2E, values)
    if least < total < 1e250:
        return np.log(total), alpha
    top = -np.inf
    for k in range(values.size):
        top = max(top, beta2[indices[k]] - cost[k] * inv2)
    if top == -np.inf:
        return -np.inf, 0.0
    total = _support_sum(cost, indices, inv2, beta2, -top, values)
    return np.log(total) + top * LN2 + alpha, -top * LN2


@rows_kernel
def _support_rows(support, inv2, beta2, rows, omega, alpha, previous_alpha, log_row, acc, lo, hi):
    """Rows lo to hi of an iteration; false if a row in use has no mass on the support."""
    sound = True
    for j in range(acc.size):
        acc[j] = 0.0
    for i in range(lo, hi):
        first, last = support.pointers[i], support.pointers[i + 1]
        old = alpha[i]
        previous_alpha[i] = old
        if rows.log_weight[i] == -np.inf:
            log_row[i] = -np.inf
            continue
        indices, values = support.indices[first:last], support.values[first:last]
        least = max(1e-20 * rows.weight[i], 1e-250)
        log_sum, base = _support_row(support.cost[first:last], indices, inv2, beta2, old, values, least)
        log_row[i] = log_sum
        if log_sum == -np.inf:
            sound = False
            continue
        potential = old - rows.offset[i]
        ratio = rows.log_weight[i] - log_sum + potential
        target = _potential(rows.code, rows.strength, rows.strength2, rows.weight[i], ratio)
        alpha[i] = rows.offset[i] + potential + omega * (target - potential)
        w = np.exp(alpha[i] - base)
        for k in range(values.size):
            p = w * values[k]
            values[k] = p
            acc[indices[k]] += p
    return sound


@rows_kernel
def _sparsify(support, row_least, col_least, out):
    k = 0
    for i in range(row_least.size):
        out.pointers[i] = k
        least = row_least[i]
        for q in range(support.pointers[i], support.pointers[i + 1]):
            j = support.indices[q]
            out.indices[k] = j  # written in any case: a branch would be mispredicted too often
            out.values[k] = support.values[q]
            k += support.values[q] > min(least, col_least[j])
    out.pointers[row_least.size] = k


@rows_kernel
def _square_rows(matrix, row_weight, out):
    for j in range(out.size):
        out[j] = 0.0
    for i in range(row_weight.size):
        for k in range(matrix.pointers[i], matrix.pointers[i + 1]):
            out[matrix.indices[k]] += row_weight[i] * matrix.values[k] * matrix.values[k]


@rows_kernel
def _gram(matrix, row_weight, out):
    for i in range(row_weight.size):
        first, last = matrix.pointers[i], matrix.pointers[i + 1]
        for k in range(first, last):
            row, factor = out[matrix.indices[k]], row_weight[i] * matrix.values[k]
            for q in range(first, last):
                row[matrix.indices[q]] += factor * matrix.values[q]


# --- conjugate gradients ----------------------------------------------------------------------------------------------
# S x = diagonal x - P^T (row_weight (P x)). A block of iterations is one compiled call, because at n = 1000 a product
# takes less than the Python around it would; large problems split the product over threads instead.


@inner
def _sparse_product(matrix, row_weight, x, acc, lo, hi):
    """Partial P^T (row_weight (P x)) over rows lo to hi: each row is read once."""
    for j in range(acc.size):
        acc[j] = 0.0
    for i in range(lo, hi):
        first, last = matrix.pointers[i], matrix.pointers[i + 1]
        y = 0.0
        for k in range(first, last):
            y += matrix.values[k] * x[matrix.indices[k]]
        y *= row_weight[i]
        for k in range(first, last):
            acc[matrix.indices[k]] += matrix.values[k] * y


@inner
def _dense_product(kernel, row_weight, x, acc, s, lo, hi):
    """Sum P^T (row_weight (P x)) over rows lo to hi of a stored kernel P into acc, four rows at a time."""
    for j in range(acc.size):
        acc[j] = 0.0
    for i in range(lo, hi, 4):
        _four_sums(kernel, i, hi, x, s)
        for q in range(4):
            s[q] = s[q] * row_weight[i + q] if i + q < hi else 0.0
        collect_ahead(kernel, i, hi - 1, s[0], s[1], s[2], s[3], acc)


@rows_kernel
def _product_rows(kernel, x, out, s, lo, hi):
    """Rows lo to hi of kernel x, four at a time."""
    for i in range(lo, hi, 4):
        _four_sums(kernel, i, hi, x, s)
        for q in range(min(4, hi - i)):
            out[i + q] = s[q]


@rows_kernel
def _transposed_product_rows(kernel, x, acc, lo, hi):
    """What rows lo to hi add to kernel^T x, four at a time."""
    for j in range(acc.size):
        acc[j] = 0.0
    for i in range(lo, hi, 4):
        x1 = x[i + 1] if i + 1 < hi else 0.0
        x2, x3 = x[i + 2] if i + 2 < hi else 0.0, x[i + 3] if i + 3 < hi else 0.0
        collect_ahead(kernel, i, hi - 1, x[i], x1, x2, x3, acc)


@inner
def _advance(diagonal, acc, krylov, goal, radius):
    """A step along the direction, given acc = (P^T row_weight P) direction; then the next direction. Returns a code."""
    x, residual, direction, preconditioner, scalars = krylov
    curvature = 0.0
    for j in range(x.size):
        curvature += direction[j] * (diagonal[j] * direction[j] - acc[j])
    if not curvature > 0.0:
        return 2
    step, total, product, largest = scalars[0] / curvature, 0.0, 0.0, 0.0
    for j in range(x.size):
        inside = 1.0 if preconditioner[j] > 0.0 else 0.0
        x[j] += step * direction[j]
        residual[j] -= inside * step * (diagonal[j] * direction[j] - acc[j])
        total += abs(residual[j])
        product += preconditioner[j] * residual[j] * residual[j]
        largest = max(largest, abs(x[j]))
    if largest > radius:
        for j in range(x.size):
            x[j] *= radius / largest
        return 2
    if total <= goal:
        return 1
    ratio = product / scalars[0]
    scalars[0] = product
    for j in range(x.size):
        direction[j] = preconditioner[j] * residual[j] + ratio * direction[j]
    return 0


@rows_kernel
def _sparse_gradients(matrix, row_weight, diagonal, krylov, acc, goal, radius, count):
    code = 0
    for done in range(count):
        _sparse_product(matrix, row_weight, krylov.direction, acc, 0, row_weight.size)
        code = _advance(diagonal, acc, krylov, goal, radius)
        if code != 0:
            return done + 1, code
    return count, code


@rows_kernel
def _dense_gradients(kernel, col_factor, row_weight, diagonal, krylov, scaled, acc, s, goal, radius, count):
    code = 0
    for done in range(count):
        for j in range(scaled.size):
            scaled[j] = col_factor[j] * krylov.direction[j]
        _dense_product(kernel, row_weight, scaled, acc, s, 0, row_weight.size)
        for j in range(acc.size):
            acc[j] *= col_factor[j]
        code = _advance(diagonal, acc, krylov, goal, radius)
        if code != 0:
            return done + 1, code
    return count, code


@rows_kernel
def _sparse_product_rows(matrix, row_weight, x, acc, lo, hi):
    _sparse_product(matrix, row_weight, x, acc, lo, hi)


@rows_kernel
def _dense_product_rows(kernel, row_weight, x, acc, s, lo, hi):
    _dense_product(kernel, row_weight, x, acc, s, lo, hi)


@rows_kernel
def _advance_once(diagonal, acc, krylov, goal, radius):
    return _advance(diagonal, acc, krylov, goal, radius)


# --- iterations -----------------------------------------------------------------------------------------------------
# Only these split rows over threads in compiled code, because a block of iterations stays there; each has an entry
# point for one thread, so that small problems compile and launch nothing parallel.


@threaded
def _log_pass(cost, inv2, beta2, rows, omega, alpha, previous, log_row, acc, buffer, w, low, tiny, huge):
    n, threads = cost.shape[0], acc.shape[0]
    for t in prange(threads):
        a, b, c = acc[t], buffer[t], w[t]
        lo, hi = t * n // threads, (t + 1) * n // threads
        _log_rows(cost, inv2, beta2, rows, omega, alpha, previous, log_row, a, b, c, low, tiny, huge, lo, hi)


@threaded
def _scaling_pass(kernel, rows, omega, base, u, v, row_sum, acc, w):
    n, threads = kernel.shape[0], acc.shape[0]
    for t in prange(threads):
        lo, hi = t * n // threads, (t + 1) * n // threads
        _scaling_rows(kernel, rows, omega, base, u, v, row_sum, acc[t], w[t], lo, hi)


@inner
def _total(acc, out):
    """Sum of the threads' accumulators, in a fixed order."""
    for j in range(out.size):
        s = acc[0, j]
        for t in range(1, acc.shape[0]):
            s += acc[t, j]
        out[j] = s


@inner
def _scaled(beta, out):
    for j in range(beta.size):
        out[j] = beta[j] * LOG2E


@inner
def _update_columns(cols, omega, beta, log_col, log_col_updated):
    for j in range(beta.size):
        if cols.log_weight[j] == -np.inf:
            log_col_updated[j] = -np.inf
        else:
            potential = beta[j] - cols.offset[j]
            ratio = cols.log_weight[j] - log_col[j] + potential
            target = _potential(cols.code, cols.strength, cols.strength2, cols.weight[j], ratio)
            change = omega * (target - potential)
            beta[j] += change
            log_col_updated[j] = log_col[j] + change


@inner
def _log_columns(cols, col_sum, log_col, tiny, huge):
    """log_col from the sums; true if every sum can be trusted."""
    sound = True
    for j in range(col_sum.size):
        s = col_sum[j]
        fits = s > tiny and s < huge
        log_col[j] = log(s if fits else 1.0)
        sound = sound and fits
    if sound:
        return True
    sound = True
    for j in range(col_sum.size):
        if cols.log_weight[j] == -np.inf:
            log_col[j] = -np.inf
        elif not (tiny < col_sum[j] < huge):
            sound = False
    return sound


@entry_point
def _columns(cols, omega, beta, log_col, log_col_updated):
    _update_columns(cols, omega, beta, log_col, log_col_updated)


@entry_point
def _log_sums(cols, col_sum, log_col):
    return _log_columns(cols, col_sum, log_col, 1e-250, 1e250)


@entry_point
def _log_sweeps(cost, inv_epsilon, rows, cols, omega, alpha, beta, vectors, scratch, count):
    """Iterations done with sound column sums; one less than `count` or fewer if the last one had an unsound one."""
    log_row, log_col, previous, updated = vectors
    acc, buffer, w, beta2, col_sum, low, tiny, huge = scratch
    inv2, n = inv_epsilon * LOG2E, cost.shape[0]
    for done in range(count):
        _update_columns(cols, omega[1], beta, log_col, updated)
        _scaled(beta, beta2)
        a, b, c = acc[0], buffer[0], w[0]
        _log_rows(cost, inv2, beta2, rows, omega[0], alpha, previous, log_row, a, b, c, low, tiny, huge, 0, n)
        _total(acc, col_sum)
        if not _log_columns(cols, col_sum, log_col, tiny, huge):
            return done
    return count


@entry_point
def _log_sweeps_threaded(cost, inv_epsilon, rows, cols, omega, alpha, beta, vectors, scratch, count):
    log_row, log_col, previous, updated = vectors
    acc, buffer, w, beta2, col_sum, low, tiny, huge = scratch
    inv2 = inv_epsilon * LOG2E
    for done in range(count):
        _update_columns(cols, omega[1], beta, log_col, updated)
        _scaled(beta, beta2)
        _log_pass(cost, inv2, beta2, rows, omega[0], alpha, previous, log_row, acc, buffer, w, low, tiny, huge)
        _total(acc, col_sum)
        if not _log_columns(cols, col_sum, log_col, tiny, huge):
            return done
    return count


@inner
def _health(x, sums, side, limit):
    """2: scalings lie in (1 / limit, limit); 1: they and their sums are positive and finite; 0: not even that."""
    outside, unsound = 0, 0  # counts, because LLVM vectorises them
    for i in range(x.size):
        used = side.log_weight[i] > -np.inf
        inside = (x[i] > 1.0 / limit) & (x[i] < limit)
        sound = (x[i] > 1e-300) & (x[i] < 1e300) & (sums[i] > 1e-300) & (sums[i] < 1e300)
        outside += used & (not inside)
        unsound += used & (not sound)
    return 0 if unsound else 1 if outside else 2


@rows_kernel
def _exponentials(alpha, base, out):
    """exp(alpha - base), 0 for removed entries (-inf in both)."""
    for i in range(alpha.size):
        out[i] = _power((alpha[i] - base[i]) * LOG2E) if alpha[i] > -np.inf else 0.0


@rows_kernel
def _logarithms(x, base, out):
    """Elements base + log x, -inf for x = 0."""
    for i in range(x.size):
        logarithm = log(x[i] if x[i] > 0.0 else 1.0)
        out[i] = base[i] + logarithm if x[i] > 0.0 else -np.inf


@inner
def _copy(x, y, out_x, out_y):
    for i in range(x.size):
        out_x[i] = x[i]
        out_y[i] = y[i]


@inner
def _before_scaling(cols, omega, base_beta, work):
    """Remember the state, then update the columns."""
    u, v, row_sum, col_sum, old_u, old_v, old_rows, old_cols, updated = work
    _copy(u, row_sum, old_u, old_rows)
    _copy(v, col_sum, old_v, old_cols)
    for j in range(v.size):
        if old_v[j] > 0.0:
            v[j] = _scaling_potential(cols, omega, base_beta, old_v[j], old_cols[j] / old_v[j], j)
            updated[j] = old_cols[j] * (v[j] / old_v[j])
        else:
            updated[j] = 0.0


@inner
def _after_scaling(rows, cols, work, acc, limit):
    """Column sums and health of the iteration; if anything vanished or overflowed, the remembered state is put back."""
    u, v, row_sum, col_sum, old_u, old_v, old_rows, old_cols, _ = work
    for j in range(v.size):
        s = 0.0
        for t in range(acc.shape[0]):
            s += acc[t, j]
        col_sum[j] = v[j] * s
    health = min(_health(u, row_sum, rows, limit), _health(v, col_sum, cols, limit))
    if health == 0:
        _copy(old_u, old_rows, u, row_sum)
        _copy(old_v, old_cols, v, col_sum)
    return health


@entry_point
def _scaling_sweeps(kernel, base_alpha, base_beta, rows, cols, omega, acc, w, work, count, limit):
    done, health = 0, 2
    while health == 2 and done < count:
        _before_scaling(cols, omega[1], base_beta, work)
        u, v = work[0], work[1]
        _scaling_rows(kernel, rows, omega[0], base_alpha, u, v, work[2], acc[0], w[0], 0, kernel.shape[0])
        health = _after_scaling(rows, cols, work, acc, limit)
        done += health > 0
    return done, health == 2


@entry_point
def _scaling_sweeps_threaded(kernel, base_alpha, base_beta, rows, cols, omega, acc, w, work, count, limit):
    done, health = 0, 2
    while health == 2 and done < count:
        _before_scaling(cols, omega[1], base_beta, work)
        u, v = work[0], work[1]
        _scaling_pass(kernel, rows, omega[0], base_alpha, u, v, work[2], acc, w)
        health = _after_scaling(rows, cols, work, acc, limit)
        done += health > 0
    return done, health == 2


@rows_kernel
def _scaling_share_rows(kernel, rows, omega, base, u, v, row_sum, acc, w, lo, hi):
    _scaling_rows(kernel, rows, omega, base, u, v, row_sum, acc, w, lo, hi)


# --- the functions of `protocol` ------------------------------------------------------------------------------------


def _threads(cost: Array) -> int:
    return 1 if cost.size < BRIEF_SERIAL_BELOW else min(available(), cost.shape[0])


def _frozen(cost: Array) -> Array:
    """A read-only view, so that every kernel is compiled for one mutability only."""
    view = cost.view()
    view.flags.writeable = False
    return view


def _split(run: Callable[[int, int, int], None], n: int, threads: int) -> None:
    """run(thread, lo, hi) over blocks of rows; the kernels release the interpreter lock."""
    split(lambda t: run(t, t * n // threads, (t + 1) * n // threads), threads)


def potential(side: Side, log_ratio: Array, out: Array) -> None:
    _potentials(side, log_ratio, out)


def scratch(shape: tuple[int, int], fast: bool, brief: bool = False) -> Any:
    n, m = shape
    threads = 1 if n * m < (BRIEF_SERIAL_BELOW if brief else SERIAL_BELOW) else min(available(), n)
    # Sums are trusted in (tiny, huge). A row must also have `low` of its weight: rows are multiplied by weight / sum,
    # and what `_power` returns for nothing (3e-308, or 1e-38) must stay below tiny in the column sums.
    low, tiny, huge = TRUST_SINGLE if fast else TRUST_DOUBLE
    acc = np.empty((threads, m))
    w = np.zeros((threads, 8))  # a cache line for each thread
    buffer = np.zeros((threads, 4, m), np.float32 if fast else np.float64)
    log = acc, buffer, w, np.empty(m), np.empty(m), low, tiny, huge
    rows, cols = np.zeros((4, n)), np.zeros((6, m))
    work = rows[0], cols[0], rows[1], cols[1], rows[2], cols[2], rows[3], cols[3], cols[4]
    return log, (acc, w, work, np.zeros(n), cols[5])


def column_sums(scratch: Any) -> Array:
    """The sums over the rows that the last sweep with this scratch has left."""
    sums = scratch[0][4]
    return sums


def matrix_like(cost: Array, dtype: Any) -> Array:
    return np.empty(cost.shape, dtype)


def row_max(cost: Array, inv_epsilon: float, beta: Array, out: Array) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        _row_max_rows(frozen, inv_epsilon, beta, out, lo, hi)

    frozen = _frozen(cost)
    _split(run, cost.shape[0], _threads(cost))


def col_max(cost: Array, inv_epsilon: float, alpha: Array, out: Array) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        _col_max_rows(frozen, inv_epsilon, alpha, acc[t], lo, hi)

    frozen, acc = _frozen(cost), np.empty((_threads(cost), cost.shape[1]))
    _split(run, cost.shape[0], acc.shape[0])
    np.max(acc, axis=0, out=out)


def least_cells(cost: Array, beta: Array, which: Array, indices: Array, least: Array) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        _least_rows(frozen, beta, which, indices, least, work[t], lo, hi)

    frozen, threads = _frozen(cost), _threads(cost[: which.size])
    work = np.empty((threads, 4, cost.shape[1]))
    _split(run, which.size, threads)


def log_sweeps(
    cost: Array,
    inv_epsilon: float,
    rows: Side,
    cols: Side,
    omega: tuple[float, float],
    alpha: Array,
    beta: Array,
    log_row: Array,
    log_col: Array,
    previous_alpha: Array,
    log_col_updated: Array,
    scratch: Any,
    count: int,
) -> None:
    work, _ = scratch
    sweeps = _log_sweeps if work[0].shape[0] == 1 else _log_sweeps_threaded
    vectors, frozen = (log_row, log_col, previous_alpha, log_col_updated), _frozen(cost)
    while count:
        with team(work[0].shape[0]):
            done = sweeps(frozen, inv_epsilon, rows, cols, omega, alpha, beta, vectors, work, count)
        if done < count:
            _log_column_sums(cost, inv_epsilon, cols, alpha, beta, log_col)
            done += 1
        count -= done


def _log_column_sums(cost: Array, inv_epsilon: float, cols: Side, alpha: Array, beta: Array, log_col: Array) -> None:
    """log_col where a sum vanished or overflowed (early iterations only)."""

    def sums(beta: Array, out: Array) -> None:
        marginals(cost, inv_epsilon, alpha, beta, np.empty_like(alpha), out)

    log_column_sums(cols, beta, log_col, lambda out: col_max(cost, inv_epsilon, alpha, out), sums)


def scaling_sweeps(
    kernel: Array,
    base_alpha: Array,
    base_beta: Array,
    rows: Side,
    cols: Side,
    omega: tuple[float, float],
    alpha: Array,
    beta: Array,
    log_row: Array,
    log_col: Array,
    previous_alpha: Array,
    log_col_updated: Array,
    scratch: Any,
    count: int,
    limit: float,
) -> tuple[int, bool]:
    acc, w, work, zeros_n, zeros_m = scratch[1]
    u, v, row_sum, col_sum, old_u, _, _, _, updated = work
    _exponentials(alpha, base_alpha, u)
    _exponentials(beta, base_beta, v)
    _exponentials(log_col, zeros_m, col_sum)
    sweeps = _scaling_sweeps if acc.shape[0] == 1 else _scaling_sweeps_threaded
    with team(acc.shape[0]):
        done, serves = sweeps(_frozen(kernel), base_alpha, base_beta, rows, cols, omega, acc, w, work, count, limit)
    if done:
        _logarithms(u, base_alpha, alpha)
        _logarithms(v, base_beta, beta)
        _logarithms(row_sum, zeros_n, log_row)
        _logarithms(col_sum, zeros_m, log_col)
        _logarithms(old_u, base_alpha, previous_alpha)
        _logarithms(updated, zeros_m, log_col_updated)
    return done, serves


def plan(cost: Array, inv_epsilon: float, alpha: Array, beta: Array, out: Array, coarse: bool = False) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        rows(frozen, inv_epsilon * LOG2E, alpha, beta2, out, lo, hi)

    rows = _kernel_rows if coarse and out.dtype == np.float32 else _plan_rows
    frozen, beta2 = _frozen(cost), beta * LOG2E
    _split(run, cost.shape[0], _threads(cost))


def marginals(cost: Array, inv_epsilon: float, alpha: Array, beta: Array, row_sum: Array, col_sum: Array) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        _marginal_rows(frozen, inv_epsilon * LOG2E, alpha, beta2, row_sum, acc[t], buffer[t], w[t], lo, hi)

    frozen, beta2, threads = _frozen(cost), beta * LOG2E, _threads(cost)
    acc, buffer, w = np.empty((threads, beta.size)), np.zeros((threads, 4, beta.size)), np.empty((threads, 8))
    _split(run, cost.shape[0], acc.shape[0])
    np.sum(acc, axis=0, out=col_sum)


def apply(cost: Array, inv_epsilon: float, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        rows = _apply_transposed_rows if transpose else _apply_rows
        rows(frozen, inv_epsilon * LOG2E, alpha, beta2, x, parts[t], p[t], lo, hi)

    threads, x = _threads(cost), _frozen(x)
    frozen, beta2, p = _frozen(cost), beta * LOG2E, np.empty((threads, cost.shape[1]))
    parts = np.empty((threads, *out.shape)) if transpose else [out] * threads
    _split(run, cost.shape[0], threads)
    if transpose:
        np.sum(parts, axis=0, out=out)


def plan_tangent(
    cost: Array,
    inv_epsilon: float,
    alpha: Array,
    beta: Array,
    bar: Array,
    x: Array,
    y: Array,
    slope: float,
    out: Array,
    row_sum: Array,
    col_sum: Array,
    row_dot: Array,
) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        _tangent_rows(frozen, inv2, alpha, beta2, frozen_bar, x, y, slope, out, row_sum, row_dot, acc[t], lo, hi)

    frozen, frozen_bar, inv2, beta2 = _frozen(cost), _frozen(bar), inv_epsilon * LOG2E, beta * LOG2E
    acc = np.empty((_threads(cost), cost.shape[1]))
    _split(run, cost.shape[0], acc.shape[0])
    np.sum(acc, axis=0, out=col_sum)


def rounded_sums(
    cost: Array,
    inv_epsilon: float,
    alpha: Array,
    beta: Array,
    row_factor: Array,
    col_factor: Array,
    row_rest: Array,
    col_rest: Array,
    divergence: Array,
    transport: Array,
) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        _rounded_rows(
            frozen, inv_epsilon, alpha, beta, row_factor, col_factor, row_rest, col_rest, divergence, transport, lo, hi
        )

    frozen = _frozen(cost)
    _split(run, cost.shape[0], _threads(cost))


def support_sizes(
    cost: Array,
    inv_epsilon: float,
    alpha: Array,
    beta: Array,
    row_least: Array,
    col_least: Array,
    which: Array,
    sizes: Array,
) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        _size_rows(frozen, inv_epsilon * LOG2E, alpha2, beta2, row2, col2, which, sizes, lo, hi)

    frozen = _frozen(cost)
    alpha2, beta2, row2, col2 = alpha * LOG2E, beta * LOG2E, row_least * LOG2E, col_least * LOG2E
    _split(run, which.size, _threads(cost[: which.size]))


def support_cells(
    cost: Array, inv_epsilon: float, alpha: Array, beta: Array, row_least: Array, col_least: Array, pointers: Array
) -> Support:
    def run(t: int, lo: int, hi: int) -> None:
        _cell_rows(frozen, inv_epsilon * LOG2E, alpha2, beta2, row2, col2, pointers, indices, cells, margins[t], lo, hi)

    frozen, stored = _frozen(cost), int(pointers[-1])
    indices, cells = np.empty(stored, np.int32), np.empty(stored, cost.dtype)
    alpha2, beta2, row2, col2 = alpha * LOG2E, beta * LOG2E, row_least * LOG2E, col_least * LOG2E
    margins = np.empty((_threads(cost), cost.shape[1]))
    _split(run, cost.shape[0], margins.shape[0])
    return support_of(pointers, indices, cells, cost.shape[1])


def support_of(pointers: Array, indices: Array, cost: Array, m: int) -> Support:
    return Support(pointers, indices, cost, np.zeros(cost.size))


def cell_bytes(cost: Array) -> int:
    support, matrix = 4 + cost.dtype.itemsize + 8, 4 + 8
    return int(support + matrix)


def support_sweeps(
    support: Support,
    inv_epsilon: float,
    rows: Side,
    cols: Side,
    omega: tuple[float, float],
    alpha: Array,
    beta: Array,
    log_row: Array,
    log_col: Array,
    previous_alpha: Array,
    log_col_updated: Array,
    count: int,
) -> bool:
    def run(t: int, lo: int, hi: int) -> None:
        sound[t] = _support_rows(
            support, inv_epsilon * LOG2E, beta2, rows, omega[0], alpha, previous_alpha, log_row, acc[t], lo, hi
        )

    threads = _sparse_threads(support.values, alpha)
    acc, sound = np.empty((threads, beta.size)), [True] * threads
    col_sum = acc[0] if threads == 1 else np.empty_like(beta)
    for _ in range(count):
        _columns(cols, omega[1], beta, log_col, log_col_updated)
        beta2 = beta * LOG2E
        _split(run, alpha.size, threads)
        if threads > 1:
            np.sum(acc, axis=0, out=col_sum)
        if not (all(sound) and _log_sums(cols, col_sum, log_col)):
            return False
    return True


def _sparse_threads(values: Array, rows: Array) -> int:
    return 1 if values.size < SPARSE_SERIAL_BELOW else min(available(), rows.size)


def sparsify(support: Support, row_least: Array, col_least: Array, out: Sparse) -> None:
    _sparsify(support, row_least, col_least, out)


def sparse_like(support: Support) -> Sparse:
    return Sparse(*(np.empty_like(array) for array in (support.pointers, support.indices, support.values)))


def sparse_of(pointers: Array, indices: Array, values: Array, m: int) -> Sparse:
    return Sparse(pointers, indices, values)


def sparse_squares(matrix: Sparse, row_weight: Array, out: Array) -> None:
    _square_rows(matrix, row_weight, out)


def sparse_gram(matrix: Sparse, row_weight: Array, out: Array) -> None:
    out[:, :] = 0.0
    _gram(matrix, row_weight, out)


def sparse_gradients(
    matrix: Sparse, row_weight: Array, diagonal: Array, krylov: Krylov, goal: float, radius: float, count: int
) -> tuple[int, int]:
    def product(t: int, lo: int, hi: int) -> None:
        _sparse_product_rows(matrix, row_weight, krylov.direction, acc[t], lo, hi)

    threads = _sparse_threads(matrix.values[: matrix.pointers[-1]], row_weight)
    acc = np.empty((threads, diagonal.size))
    if threads == 1:
        done, code = _sparse_gradients(matrix, row_weight, diagonal, krylov, acc[0], goal, radius, count)
        return done, code
    for done in range(count):
        _split(product, row_weight.size, threads)
        code = _advance_once(diagonal, acc.sum(axis=0), krylov, goal, radius)
        if code:
            return done + 1, code
    return count, 0


def dense_product(kernel: Array, x: Array, transpose: bool, out: Array) -> None:
    def run(t: int, lo: int, hi: int) -> None:
        if transpose:
            _transposed_product_rows(frozen, x, acc[t], lo, hi)
        else:
            _product_rows(frozen, x, out, s[t], lo, hi)

    frozen, threads = _frozen(kernel), _threads(kernel)
    s = np.empty((threads, 8))
    acc = np.empty((threads, out.size)) if transpose else out[None]
    _split(run, kernel.shape[0], threads)
    if transpose:
        np.sum(acc, axis=0, out=out)


def dense_gradients(
    kernel: Array,
    col_factor: Array,
    row_weight: Array,
    diagonal: Array,
    krylov: Krylov,
    goal: float,
    radius: float,
    count: int,
) -> tuple[int, int]:
    def product(t: int, lo: int, hi: int) -> None:
        _dense_product_rows(frozen, row_weight, scaled, acc[t], s[t], lo, hi)

    frozen, threads = _frozen(kernel), _threads(kernel)
    acc, scaled, s = np.empty((threads, diagonal.size)), np.empty_like(diagonal), np.empty((threads, 8))
    if threads == 1:
        done, code = _dense_gradients(
            frozen, col_factor, row_weight, diagonal, krylov, scaled, acc[0], s[0], goal, radius, count
        )
        return done, code
    for done in range(count):
        np.multiply(col_factor, krylov.direction, out=scaled)
        _split(product, row_weight.size, threads)
        code = _advance_once(diagonal, acc.sum(axis=0) * col_factor, krylov, goal, radius)
        if code:
            return done + 1, code
    return count, 0
