"""Many problems in one call, in Numba: threads share out the problems, each is swept by one thread until it is done.

A sweep multiplies a stored kernel K = exp(alpha + beta - cost), made at some potentials, by scalings u and v: no
exponentials but one pass, until scalings have grown so far that K is made again at the potentials reached (stabilised
scaling; Schmitzer 2019). K belongs to the thread and holds one problem, so that it stays in the cache.

Two ways to lie in memory. Problems of some size go four rows at a time. Of tiny ones, whose rows are shorter than a
vector register, `LANES` are swept together: entry (i, j) of all of them lies side by side, and loops run over problems.

Users wait for the compiler, so sweeps are compiled for what they are called with. `omega` is None where all updates are
divisions (fixed marginals, not damped), `plans` is None where no plans are asked for: Numba then leaves out what stands
under the other condition. With omega None, what scaling alone cannot do is left to another call.

Elementary functions and the update rules are those of `dense`. Numba's cache watches this file only: after a change of
`dense` in a checkout, delete the cache (`__pycache__`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from ..protocol import LOG2E, TRUST_DOUBLE, TRUST_SINGLE, Array, Batch, Side
from .dense import SERIAL_BELOW, _clear, _frozen, _potential, _power, _rounded, _row_sum, entry, exp2, log
from .flags import entry_point, inner, moves
from .threads import available, split
from .vectors import collect, divide_lanes, fill_plan, products

LANES, LEAST_LANES = 256, 32  # tiny problems side by side: at most, and what their number is rounded up to
SIDE_BY_SIDE = 64  # entries up to which a problem is tiny
CACHE_LINE = 64  # bytes of the cache that come together
LONGEST = 2048  # entries that a float32 accumulator sums up
KINKED = {1, 2}  # codes of the update rules with kinks
# Scalings beyond are not to be trusted: `_power` ends at 2^-1021 and 2^1024.
SMALL_SCALING, LARGE_SCALING = 1e-260, 1e260


class PlainSide(NamedTuple):
    """A `Side` whose updates are divisions."""

    weight: Array
    log_weight: Array


def as_like(x, like):
    """`x` in the precision of `like`."""
    return like.dtype.type(x)


@overload(as_like)
def _as_like(x, like):
    if like.dtype == types.float32:
        return lambda x, like: np.float32(x)
    return lambda x, like: x


# --- updates of one side ----------------------------------------------------------------------------------------------
# A marginal is u_i s_i, with s_i the sum of K_ij v_j over the other side and exp(alpha_i) = u_i exp(base_i).


@moves
def _side(sides, k):
    return Side(
        sides.weight[k], sides.log_weight[k], sides.offset[k], sides.code[k], sides.strength[k], sides.strength2[k]
    )


@moves
def _damped(omega):
    if omega is None:
        return False
    return omega != 1.0


@moves
def _plain(side, omega):
    """True where the update is a division: a fixed marginal, not damped."""
    if omega is None:
        return True
    return side.code == 0 and side.strength == 1.0 and omega == 1.0


def _problem(omega, rows, cols, k):
    """The sides of problem k, and how both are damped."""
    raise AssertionError("for compiled code")


@overload(_problem, inline="always")
def _problem_of(omega, rows, cols, k):
    if isinstance(omega, types.NoneType):
        return lambda omega, rows, cols, k: (
            PlainSide(rows.weight[k], rows.log_weight[k]),
            PlainSide(cols.weight[k], cols.log_weight[k]),
            None,
            None,
        )
    return lambda omega, rows, cols, k: (_side(rows, k), _side(cols, k), omega[0], omega[1])


@inner
def _target(side, base, s, i):
    """The potential F of entry i that its update asks for."""
    ratio = side.log_weight[i] - log(max(s, 1e-300)) + base - side.offset[i]
    return _potential(side.code, side.strength, side.strength2, side.weight[i], ratio)


@inner
def _updated(side, omega, base, u, s, i):
    """The new scaling of entry i."""
    if side.log_weight[i] == -np.inf:
        return 0.0
    if omega is None:
        return side.weight[i] / s
    if _plain(side, omega):
        return side.weight[i] / s
    moved = side.offset[i] + _target(side, base, s, i) - base
    if omega != 1.0:
        old = log(max(u, 1e-300))
        moved = old + omega * (moved - old)
    return _power(moved * LOG2E)


@inner
def _exact(side, omega, base, u, s, i, new):
    """The scaling that an update without damping would give; what the residual is measured by."""
    if omega is None:
        return new
    return new if omega == 1.0 else _updated(side, 1.0, base, u, s, i)


# --- problems of some size --------------------------------------------------------------------------------------------


@inner
def _highest(c, inv2, beta2):
    top = -np.inf
    for j in range(c.size):
        top = max(top, beta2[j] - c[j] * inv2)
    return top


@inner
def _absorbed(c, inv2, beta2, alpha, p, least, huge):
    """Fill a row of K, around alpha if its sum is then a sound one, else around its highest entry: (sum, base)."""
    start, base, total = alpha * LOG2E, alpha, 0.0
    for again in range(2):  # one call, since each is compiled at its place
        total = _row_sum(c, inv2, beta2, as_like(start, beta2), p)
        if again == 1 or least < total < huge:
            break
        top = _highest(c, inv2, beta2)
        if top == -np.inf:
            _clear(p)
            return 0.0, 0.0
        start, base = np.float64(-top), -top / LOG2E
    return total, base


@inner
def _absorb_rows(cost, where, inv2, beta2, row, kernel, u, base, alpha, cold, i, last, s, range_):
    """Rows i to last of K at (alpha, beta2), their sums and scalings."""
    low, tiny, huge = range_
    k, _, m = where
    for q in range(4):
        s[q] = 0.0
        if i + q < last:
            p = kernel[i + q][:m]
            u[i + q] = 0.0
            base[i + q] = 0.0
            if row.log_weight[i + q] == -np.inf:
                _clear(p)
            else:
                c, least = cost[k, i + q][:m], max(low * row.weight[i + q], tiny)
                if cold:
                    guess = np.float64(c[0]) * (inv2 / LOG2E) - beta2[0] / LOG2E
                    alpha[i + q] = guess if abs(guess) < np.inf else alpha[i + q]
                s[q], base[i + q] = _absorbed(c, inv2, beta2, alpha[i + q], p, least, huge)
                moved = alpha[i + q] - base[i + q]
                u[i + q] = 1.0 if moved == 0.0 else _power(min(max(moved * LOG2E, -900.0), 900.0))


@inner
def _products(kernel, i, n, m, v, s):
    """Rows i to i + 3 of K v, 0 beyond the last; in the precision of v over pieces short enough for that."""
    for q in range(4):
        s[q] = 0.0
    for lo in range(0, m, LONGEST):
        products(kernel, i, n - 1, lo, min(lo + LONGEST, m), v, s)
    for q in range(n - i, 4):
        s[q] = 0.0


@inner
def _collected(kernel, i, n, s, acc):
    """Add what four rows contribute to K^T s; those beyond the last contribute nothing, whatever s is there."""
    for q in range(n - i, 4):
        s[q] = 0.0
    w0, w1, w2, w3 = as_like(s[0], kernel), as_like(s[1], kernel), as_like(s[2], kernel), as_like(s[3], kernel)
    collect(kernel, i, n - 1, w0, w1, w2, w3, acc)


@inner
def _row_pass(cost, where, inv2, row, omega, kernel, vectors, alpha, absorb, cold, range_, unseen):
    """Update all rows and sum the columns of K under the new ones: the residual of the rows, and the least sound sum.

    On exit u is updated and `before` holds what it was; (-1, 0) if some sum was no number that can be trusted. Sums of
    rows have to exceed unseen[0]; those of columns what K, which is never 0, adds where the plan is, and what is lost
    of scalings that its precision cannot hold.
    """
    u, before, base, v, beta2, acc, s = vectors
    _, n, m = where
    error, total, lost = 0.0, 0.0, 0.0
    for j in range(m):
        acc[j] = 0.0
    for i in range(0, n, 4):
        if absorb:
            _absorb_rows(cost, where, inv2, beta2, row, kernel, u, base, alpha, cold, i, n, s, range_)
        else:
            _products(kernel, i, n, m, v, s)
        for q in range(4):
            if i + q < n and row.log_weight[i + q] > -np.inf:
                old = u[i + q]
                if not (unseen[0] < s[q] < 1e250):
                    return -1.0, 0.0
                new = _updated(row, omega, base[i + q], old, s[q], i + q)
                if not (SMALL_SCALING < new < LARGE_SCALING):
                    return -1.0, 0.0
                exact = _exact(row, omega, base[i + q], old, s[q], i + q, new)
                error += abs(exact - old) * s[q]
                total += new
                if new < unseen[2]:
                    lost += new * s[q]
                before[i + q], u[i + q] = old, new
                s[q] = new
            else:
                s[q] = 0.0
        _collected(kernel, i, n, s, acc)
    return error, max(1e-28, unseen[1] * total + 1e7 * lost)


@inner
def _column_update(col, omega, base, v, acc, least, new):
    """New scalings of the columns from acc = K^T u, and the residual of the columns before; -1 for unsound sums."""
    error, sound = 0.0, True
    if _plain(col, omega):
        for j in range(v.size):
            used = col.log_weight[j] > -np.inf
            s = acc[j] if used else 1.0
            sound = sound and least < s < 1e250
            new[j] = col.weight[j] / s if used else 0.0
            error += abs(new[j] - v[j]) * s
        return error if sound else -1.0
    if omega is not None:
        for j in range(v.size):
            new[j] = 0.0
            if col.log_weight[j] > -np.inf:
                s = acc[j]
                sound = sound and least < s < 1e250
                new[j] = _updated(col, omega, base[j], v[j], s, j)
                sound = sound and SMALL_SCALING < new[j] < LARGE_SCALING
                error += abs(_exact(col, omega, base[j], v[j], s, j, new[j]) - v[j]) * s
    return error if sound else -1.0


@inner
def _log_update(side, omega, top, total, old, i):
    """New potential, in kernel units, from a sum of 2^top total, and the entry's share of the residual."""
    log_sum = top / LOG2E + log(max(total, 1e-300))
    exact = side.offset[i] + _target(side, -top / LOG2E, total, i)
    error = abs(_power((exact + log_sum) * LOG2E) - _power((old + log_sum) * LOG2E))
    return (exact if omega == 1.0 else old + omega * (exact - old)), error


@inner
def _rows_by_highest(cost, where, inv2, row, omega, alpha, beta, out):
    """Potentials of the rows from sums relative to their largest terms, in double precision, and their residual."""
    k, n, m = where
    error = 0.0
    for i in range(n):
        out[i] = -np.inf
        if row.log_weight[i] > -np.inf:
            c, top, total = cost[k, i][:m], -np.inf, 0.0
            for j in range(m):
                top = max(top, beta[j] * LOG2E - c[j] * inv2)
            for j in range(m):
                total += exp2(beta[j] * LOG2E - c[j] * inv2 - top)
            out[i], part = _log_update(row, omega, top, total, alpha[i], i)
            error += part
    return error


@inner
def _columns_by_highest(cost, where, inv2, col, omega, alpha, beta, work):
    """Compute potentials of the columns from sums relative to their largest terms, and return their residual.

    In double precision and two passes over the cost; work[1] gets the new potentials.
    """
    top, total = work
    k, n, m = where
    for j in range(m):
        top[j] = -np.inf
        total[j] = 0.0
    for i in range(n):
        start, c = alpha[i] * LOG2E, cost[k, i][:m]
        for j in range(m):
            top[j] = max(top[j], start - c[j] * inv2)
    for i in range(n):
        start, c = alpha[i] * LOG2E, cost[k, i][:m]
        if start > -np.inf:
            for j in range(m):
                total[j] += exp2(start - c[j] * inv2 - top[j])
    error = 0.0
    for j in range(m):
        if col.log_weight[j] > -np.inf:
            total[j], part = _log_update(col, omega, top[j], total[j], beta[j], j)
            error += part
        else:
            total[j] = -np.inf
    return error


@inner
def _logs(u, base, alpha):
    for i in range(alpha.size):
        alpha[i] = base[i] + log(u[i]) if u[i] > 0.0 else -np.inf


@moves
def _spread(u, limit):
    """True if some scaling has left (1 / limit, limit)."""
    out = 0
    for i in range(u.size):
        out += (u[i] != 0.0) & ((u[i] > limit) | (u[i] < 1.0 / limit))
    return out > 0


@moves
def _clear_beside(out, n, m):
    """Zeros outside of the first n rows and m columns."""
    for i in range(out.shape[0]):
        for j in range(m if i < n else 0, out.shape[1]):
            out[i, j] = 0.0


@inner
def _scaled_row(p, x, v, least, out):
    for j in range(v.size):
        out[j] = x * p[j] * v[j] if p[j] > least else as_like(0.0, out)


@inner
def _multiply(kernel, mass, u, v, n, m, out):
    """The plan, mass u_i K_ij v_j; exactly 0 where K underflowed."""
    least = as_like(1.7e-38 if kernel.itemsize == 4 else 3.2e-308, kernel)
    for i in range(n):
        _scaled_row(kernel[i][:m], as_like(mass * u[i], kernel), v, least, out[i][:m])
    _clear_beside(out, n, m)


# --- tiny problems, side by side --------------------------------------------------------------------------------------
# Entry i of problem z of a group is x[i, z]; a side is (weight, log_weight, offset, strength, strength2), the strengths
# one row each, or, where omega is None, (weight,). Scalings, sums and K have one precision.


@moves
def _gather(values, size, which, first, out):
    """Fill row i of `out` with entry i of every problem; lanes beyond the last problem repeat it."""
    for z in range(out.shape[1]):
        x = values[which[min(first + z, which.size - 1)]]
        for i in range(size):
            out[i, z] = x[i]


@moves
def _gather_weights(values, size, which, first, floor, out):
    """Fill row i of `out` with weight i of every problem; lanes beyond the last problem repeat it.

    Positive weights that the precision of `out` cannot hold become `floor`, so that their scalings are tiny and not 0.
    """
    for z in range(out.shape[1]):
        x = values[which[min(first + z, which.size - 1)]]
        for i in range(size):
            out[i, z] = max(x[i], floor) if x[i] > 0.0 else 0.0


@moves
def _gather_side(sides, omega, which, first, plain, floor, packed):
    """The sides of the problems; a plain one is its weights."""
    size = packed[0].shape[0]
    _gather_weights(sides.weight, size, which, first, floor, packed[0])
    if omega is not None:
        if not plain:
            _, log_weight, offset, strength, strength2 = packed
            _gather(sides.log_weight, size, which, first, log_weight)
            _gather(sides.offset, size, which, first, offset)
            for z in range(strength.size):
                k = which[min(first + z, which.size - 1)]
                strength[z], strength2[z] = sides.strength[k], sides.strength2[k]


def _lane_sides(omega, weights, col_weights, row, col, strengths):
    """Where both sides are gathered, and how they are damped."""
    raise AssertionError("for compiled code")


@overload(_lane_sides, inline="always")
def _lane_sides_of(omega, weights, col_weights, row, col, strengths):
    if isinstance(omega, types.NoneType):
        return lambda omega, weights, col_weights, row, col, strengths: ((weights,), (col_weights,), None, None)
    return lambda omega, weights, col_weights, row, col, strengths: (
        (weights, row[2], row[3], strengths[0], strengths[1]),
        (col_weights, col[2], col[3], strengths[2], strengths[3]),
        omega[0],
        omega[1],
    )


@moves
def _gather_costs(cost, batch, n, m, which, first, out):
    """Costs in units of epsilon and base 2."""
    for z in range(out.shape[1]):
        k = which[min(first + z, which.size - 1)]
        inv2, c = batch.inv_epsilon[k] * LOG2E, cost[batch.cost_of[k]]
        rows, cols = batch.row_count[k], batch.col_count[k]
        for i in range(n):
            for j in range(m):
                out[i * m + j, z] = c[i, j] * inv2 if i < rows and j < cols else 0.0


@inner
def _lane_guesses(c, n, m, a, b):
    """Guess where a damped update begins that is given no potentials to begin from."""
    for i in range(n):
        for z in range(a.shape[1]):
            guess = c[i * m, z] / LOG2E - b[0, z]
            if a[i, z] > -np.inf and abs(guess) < np.inf:
                a[i, z] = guess


@inner
def _lane_absorb(c, n, m, a, b, cold, kernel, bases, u, v, top, reach):
    """K and scalings (within 2^-reach, 2^reach) at the potentials a and b: every row of K is 1 at its highest entry."""
    lanes = top.size
    base, col_base = bases
    for j in range(m):
        for z in range(lanes):
            used = b[j, z] > -np.inf
            col_base[j, z] = b[j, z] if used else 0.0
            v[j, z] = 1.0 if used else 0.0
            b[j, z] *= LOG2E
    for i in range(n):
        for z in range(lanes):
            top[z] = -np.inf
        for j in range(m):
            for z in range(lanes):
                top[z] = max(top[z], b[j, z] - c[i * m + j, z])
        for z in range(lanes):
            top[z] = top[z] if top[z] > -np.inf else 0.0
            base[i, z] = -top[z] / LOG2E
        if cold:
            for z in range(lanes):
                u[i, z] = 1.0
        else:
            for z in range(lanes):
                u[i, z] = _power(min(max(a[i, z] * LOG2E + top[z], -reach), reach)) if a[i, z] > -np.inf else 0.0
        for j in range(m):
            for z in range(lanes):
                kernel[i * m + j, z] = entry(b[j, z] - c[i * m + j, z] - top[z], kernel)


@inner
def _lane_sums(kernel, start, stride, count, x, s):
    """Sum s of kernel[start + q stride] x[q], for every problem."""
    for z in range(s.size):
        s[z] = 0.0
    for q in range(0, count - 3, 4):
        k0, k1 = kernel[start + q * stride], kernel[start + (q + 1) * stride]
        k2, k3 = kernel[start + (q + 2) * stride], kernel[start + (q + 3) * stride]
        x0, x1, x2, x3 = x[q], x[q + 1], x[q + 2], x[q + 3]
        for z in range(s.size):
            s[z] += (k0[z] * x0[z] + k1[z] * x1[z]) + (k2[z] * x2[z] + k3[z] * x3[z])
    for q in range(count - count % 4, count):
        k0, x0 = kernel[start + q * stride], x[q]
        for z in range(s.size):
            s[z] += k0[z] * x0[z]


@inner
def _lane_moves(x, old, sums, error):
    """What the residual was before a plain update."""
    for i in range(x.shape[0]):
        for z in range(error.size):
            error[z] += abs(x[i, z] - old[i, z]) * sums[i, z]


@inner
def _lane_scale(code, side, i, omega, base, x, s, out, error):
    """Any other update."""
    weight, log_weight, offset, strength, strength2 = side
    for z in range(s.size):
        used = log_weight[i, z] > -np.inf
        around = base[z] - offset[i, z] if used else 0.0
        ratio = (log_weight[i, z] if used else 0.0) - log(max(np.float64(s[z]), 1e-300)) + around
        if code == 0:
            target = strength[z] * ratio
        else:
            target = _potential(code, strength[z], strength2[z], np.float64(weight[i, z]), ratio)
        moved = target - around
        exact = _power(moved * LOG2E) if used else 0.0
        error[z] += abs(exact - x[z]) * s[z]
        if omega == 1.0:
            out[z] = exact
        else:
            old = log(max(np.float64(x[z]), 1e-300))
            out[z] = _power((old + omega * (moved - old)) * LOG2E) if used else 0.0


@inner
def _lane_half(kernel, across, along, side, omega, code, plain, base, x, old, limit, measured, error, sums, out):
    """A half step from the scalings x of the other side; true if a scaling left (1 / limit, limit)."""
    spread = False
    if plain:
        spread = divide_lanes(kernel, across, along, side[0], x, limit, out, sums)
        if measured:
            _lane_moves(out, old, sums, error)
    elif omega is not None:
        for i in range(out.shape[0]):
            _lane_sums(kernel, i * across, along, x.shape[0], x, sums[i])
            _lane_scale(code, side, i, omega, base[i], old[i], sums[i], out[i], error)
        spread = _outside(out, side[0], 1.0 / limit, limit) > 0
    return spread


@moves
def _lane_floors(u, low, unseen, least):
    """The least sum of a column that can be trusted, of every lane: K is nowhere 0, which adds `unseen` u somewhere."""
    for z in range(least.size):
        least[z] = 0.0
    for i in range(u.shape[0]):
        for z in range(least.size):
            least[z] += u[i, z]
    for z in range(least.size):
        least[z] = max(low, unseen * least[z])


@moves
def _outside(x, weight, low, high):
    """How many entries in use lie outside (low, high)."""
    out = 0
    for i in range(x.shape[0]):
        for z in range(x.shape[1]):
            out += (weight[i, z] > 0.0) & ((x[i, z] > high) | (x[i, z] < low) | (x[i, z] != x[i, z]))
    return out


@moves
def _leave(x, weight, low, high, left):
    """Leave lanes with an entry in use outside (low, high) to `_sweep_rows`: left = -1; how many entries that were."""
    out = 0
    for i in range(x.shape[0]):
        for z in range(left.size):
            beyond = (weight[i, z] > 0.0) & ((x[i, z] > high) | (x[i, z] < low[z]) | (x[i, z] != x[i, z]))
            out += beyond
            left[z] = -abs(left[z]) if beyond else left[z]
    return out


@moves
def _empty(side, omega, plain, left):
    """Lanes that were left have no weight here, so that they ask for no new kernels."""
    for i in range(side[0].shape[0]):
        for z in range(left.size):
            if left[z] == -1.0:
                side[0][i, z] = 0.0
                if omega is not None:
                    if not plain:
                        side[1][i, z] = -np.inf


@inner
def _lane_logs(x, base, out):
    for i in range(x.shape[0]):
        for z in range(out.shape[1]):
            out[i, z] = base[i, z] + log(np.float64(x[i, z])) if x[i, z] > 0.0 else -np.inf


@inner
def _scatter(x, base, k, z, out):
    for i in range(x.shape[0]):
        out[k, i] = base[i, z] + log(np.float64(x[i, z])) if x[i, z] > 0.0 else -np.inf


@moves
def _lane_plans(kernel, n, m, u, v, out):
    """Write the plans u_i K_ij v_j of a group of lanes; exactly 0 where K underflowed."""
    least = 1.7e-38 if kernel.itemsize == 4 else 3.2e-308
    for i in range(n):
        for j in range(m):
            for z in range(out.shape[1]):
                p = kernel[i * m + j, z]
                out[i * m + j, z] = u[i, z] * p * v[j, z] if p > least else 0.0


@moves
def _plain_lanes(side, omega, which, first, lanes):
    """True if the update is a division for all of these problems."""
    plain = True
    for z in range(lanes):
        k = which[min(first + z, which.size - 1)]
        plain = plain and side.code[k] == 0 and side.strength[k] == 1.0 and omega == 1.0
    return plain


# --- the plan and its sums --------------------------------------------------------------------------------------------


@inner
def _plan_of(k, cost, batch, alpha, beta, beta2, out):
    """In the precision of the plan: in float32 an entry of 2^-k is good to (2e-7 + 4e-8 k) relative."""
    n, m, where, inv2 = batch.row_count[k], batch.col_count[k], batch.cost_of[k], batch.inv_epsilon[k] * LOG2E
    for j in range(m):
        beta2[j] = beta[k, j] * LOG2E
    for i in range(n):
        fill_plan(cost[where, i][:m], inv2, beta2[:m], alpha[k, i] * LOG2E, out[k, i][:m])
    _clear_beside(out[k], n, m)


@inner
def _marginals_of(k, cost, batch, alpha, beta, row_sum, col_sum):
    n, m, where, inv2 = batch.row_count[k], batch.col_count[k], batch.cost_of[k], batch.inv_epsilon[k] * LOG2E
    acc, sums, b = col_sum[k], row_sum[k], beta[k]
    _clear(acc)
    _clear(sums)
    for i in range(n):
        start, s, c = alpha[k, i] * LOG2E, 0.0, cost[where, i]
        if start > -np.inf:
            for j in range(m):
                e = exp2(start + b[j] * LOG2E - c[j] * inv2)
                acc[j] += e
                s += e
        sums[i] = s


# --- entry points -----------------------------------------------------------------------------------------------------
# Thread t of so many. Loops over problems, or groups of them, stand in here: a function for one of them, whether Numba
# or LLVM inlines it, would take as long again to compile.


@entry_point
def _sweep_rows(t, threads, omega, plans, task, scratch):
    """Iterate on one problem after another until its residual is at most its goal, or there were enough iterations.

    done says how many there were before. With omega None, an iteration that has to be one in the log domain is left to
    a call with all of the rules: done is then -1 less what it was before that iteration.
    """
    cost, batch, rows, cols, alphas, betas, which, goal, plan, done, residual = task
    count, end_cols, cold, measured = plan
    for q in range(t, which.size, threads):
        k = which[q]
        row, col, row_omega, col_omega = _problem(omega, rows, cols, k)
        kernel, of_rows, of_cols, beta2, v, s, limits = scratch
        n, m = batch.row_count[k], batch.col_count[k]
        where, inv_double = (batch.cost_of[k], n, m), batch.inv_epsilon[k] * LOG2E
        inv2 = as_like(inv_double, beta2)
        alpha, beta = alphas[k][:n], betas[k][:m]
        u, before, base = of_rows[0][:n], of_rows[1][:n], of_rows[2][:n]
        new, fresh, col_base, acc = of_cols[0][:m], of_cols[1][:m], of_cols[2][:m], of_cols[3][:m]
        beta2, v = beta2[:m], v[:m]
        vectors, range_, limit = (u, before, base, v, beta2, acc, s), limits[:3], limits[3]
        absorb, met, iteration = count >= 0, False, done[q]  # True, but of no type of its own
        while iteration < count:
            if absorb:
                for j in range(m):
                    col_base[j] = beta[j]
                    beta2[j] = beta[j] * LOG2E
                    fresh[j] = 1.0 if beta[j] > -np.inf else 0.0
            total = 0.0
            for j in range(m):
                v[j] = fresh[j]
                total += fresh[j]
            for i in range(n):
                before[i] = u[i]
            unseen = max(1e-250, limits[4] * total), limits[4], limits[5]
            row_error, least = _row_pass(
                cost,
                where,
                inv2,
                row,
                row_omega,
                kernel,
                vectors,
                alpha,
                absorb,
                cold and iteration == 0,
                range_,
                unseen,
            )
            if absorb and (iteration > 0 or _damped(row_omega)) and _spread(before, LARGE_SCALING):
                row_error = -1.0
            col_error = _column_update(col, col_omega, col_base, fresh, acc, least, new) if row_error >= 0.0 else -1.0
            lost = col_error < 0.0  # sums that cannot be trusted
            if omega is None and lost and absorb:
                iteration = -1 - iteration
                done[q] = iteration
                break
            if omega is not None and lost and absorb:  # an iteration in the log domain
                iteration += 1
                done[q] = iteration
                looks, moves = measured and iteration > 1, measured or end_cols or iteration < count
                if row_error < 0.0:
                    row_error = _rows_by_highest(cost, where, inv_double, row, row_omega, alpha, beta, u)
                else:
                    _logs(u, base, u)
                if looks and end_cols and row_error <= goal[k]:
                    residual[q] = row_error
                    met = True
                    break
                for i in range(n):
                    alpha[i], u[i] = u[i], 0.0
                if moves:
                    col_error = _columns_by_highest(cost, where, inv_double, col, col_omega, alpha, beta, (new, acc))
                    if looks:
                        residual[q] = row_error if end_cols else col_error
                    if looks and not end_cols and col_error <= goal[k]:
                        met = True
                        break
                    for j in range(m):
                        beta[j] = acc[j]
                continue
            ended = before
            if not lost:
                iteration += 1
                done[q] = iteration
                if measured and iteration > 1:
                    residual[q] = row_error if end_cols else col_error
                    met = residual[q] <= goal[k]
                if not (met and end_cols):
                    ended = u
                if not met and (measured or end_cols or iteration < count):
                    for j in range(m):
                        fresh[j] = new[j]
            absorb = lost or _spread(u, limit) or _spread(fresh, limit)
            if absorb or met or iteration == count:  # one place, since logarithms are compiled at each
                _logs(ended, base, alpha)
                _logs(fresh, col_base, beta)
            if met:
                break
        if plans is not None and iteration >= 0 and not met:
            if absorb:
                _plan_of(k, cost, batch, alphas, betas, acc, plans)
                for i in range(n):
                    for j in range(m):
                        plans[k, i, j] *= as_like(batch.mass[k], plans)
            else:
                for j in range(m):
                    v[j] = fresh[j]
                _multiply(kernel, batch.mass[k], u, v, n, m, plans[k])


@entry_point
def _sweep_lanes(t, threads, omega, plans, task, scratch):
    """Iterate on groups of `LANES` problems until their residuals meet their goals, or there were enough iterations.

    done is -1 for a problem that only `_sweep_rows` can do.
    """
    cost, batch, rows, cols, alphas, betas, which, goal, plan, done, residual = task
    c, kernel, row, col, row_light, col_light, strengths, small, error, limits = scratch
    count, end_cols, cold, measured = plan
    n, m, lanes = cost.shape[1], cost.shape[2], small.shape[1]
    low, high, limit, reach, least, most, unseen = limits
    zero, one, width = np.int64(0), np.int64(1), np.int64(m)  # a literal would be a type of its own
    side, other, row_omega, col_omega = _lane_sides(omega, row_light[0], col_light[0], row, col, strengths)
    damped, codes, plain = _damped(row_omega), (zero, zero), (True, True)
    a, b, bases, left, top, lowest = row[0], col[0], (row[1], col[1]), small[0], small[1], small[2]
    u, before, sums = row_light[1], row_light[2], row_light[3]
    v, new, acc = col_light[1], col_light[2], col_light[3]
    for group in range(t, (which.size + lanes - 1) // lanes, threads):
        first = group * lanes
        if omega is not None:
            codes = rows.code[which[first]], cols.code[which[first]]
            plain = (
                _plain_lanes(rows, row_omega, which, first, lanes),
                _plain_lanes(cols, col_omega, which, first, lanes),
            )
        _gather_side(rows, omega, which, first, plain[0], 1e-9 * least, side)
        _gather_side(cols, omega, which, first, plain[1], 1e-9 * least, other)
        _gather(betas, m, which, first, b)
        _gather_costs(cost, batch, n, m, which, first, c)
        if not cold or damped:
            _gather(alphas, n, which, first, a)
        if omega is not None:
            if cold and damped:
                _lane_guesses(c, n, m, a, b)
        held = min(lanes, which.size - first)
        for z in range(lanes):
            left[z] = 1.0 if z < held else 0.0
            lowest[z] = least
        gone = False
        absorb, fresh = True, cold and not damped
        for iteration in range(count):
            if absorb:
                _lane_absorb(c, n, m, a, b, fresh, kernel, bases, u, v, top, reach)
                fresh = False
                if iteration > 0 or damped:
                    gone = _leave(u, side[0], lowest, most, left) > 0
            if gone:
                _empty(side, omega, plain[0], left)
                _empty(other, omega, plain[1], left)
                gone = False
            for z in range(lanes):
                error[0, z] = 0.0
                error[1, z] = 0.0
            if measured or not plain[0]:
                for i in range(n):
                    for z in range(lanes):
                        before[i, z] = u[i, z]
            spread = _lane_half(
                *(kernel, width, one, side, row_omega, codes[0], plain[0], bases[0]),
                *(v, before, limit, measured, error[0], sums, u),
            )
            spread |= _lane_half(
                *(kernel, one, width, other, col_omega, codes[1], plain[1], bases[1]),
                *(u, v, limit, measured, error[1], acc, new),
            )
            # plain scalings within the limit come from sums that are
            if spread or not (plain[0] and plain[1]):
                _lane_floors(u, low, unseen, top)
                gone = _leave(acc, other[0], top, high, left) > 0
            if spread:
                _leave(u, side[0], lowest, most, left)
                _leave(new, other[0], lowest, most, left)
                gone = True
            if measured and iteration > 0:
                busy = 0
                for z in range(held):
                    if left[z] == 1.0:
                        busy += 1
                        found = error[0, z] if end_cols else error[1, z]
                        residual[first + z], done[first + z] = found, iteration + 1
                        if found <= goal[which[first + z]]:
                            left[z] = 0.0
                            busy -= 1
                            _scatter(before if end_cols else u, bases[0], which[first + z], z, alphas)
                            _scatter(v, bases[1], which[first + z], z, betas)
                if busy == 0:
                    break
            if measured or end_cols or iteration + 1 < count:
                for j in range(m):
                    for z in range(lanes):
                        v[j, z] = new[j, z]
            absorb = spread
            if absorb or iteration + 1 == count:
                _lane_logs(u, bases[0], a)
                _lane_logs(v, bases[1], b)
        if plans is not None:
            _lane_plans(kernel, n, m, u, v, c)
            for z in range(held):
                k = which[first + z]
                p = plans[k]
                for i in range(n):
                    for j in range(m):
                        p[i, j] = batch.mass[k] * c[i * m + j, z]
        for z in range(held):
            k = which[first + z]
            if left[z] == 1.0:
                done[first + z] = count
                for i in range(n):
                    alphas[k, i] = a[i, z]
                for j in range(m):
                    betas[k, j] = b[j, z]
            elif left[z] == -1.0:
                done[first + z] = -1


@entry_point
def _plans(t, threads, cost, batch, alpha, beta, beta2, out):
    for k in range(t, out.shape[0], threads):
        _plan_of(k, cost, batch, alpha, beta, beta2[t], out)


@entry_point
def _tiny_plans(t, threads, cost, batch, alpha, beta, y, p, out):
    """Plans of tiny problems, a lane each."""
    n, m, lanes = out.shape[1], out.shape[2], y.shape[1]
    least = -125.0 if p.itemsize == 4 else -1021.0
    for group in range(t, (out.shape[0] + lanes - 1) // lanes, threads):
        first = group * lanes
        held = min(lanes, out.shape[0] - first)
        for z in range(held):
            k = first + z
            inv2, c = batch.inv_epsilon[k] * LOG2E, cost[batch.cost_of[k]]
            for i in range(n):
                start = alpha[k, i] * LOG2E
                for j in range(m):
                    inside = i < batch.row_count[k] and j < batch.col_count[k]
                    y[i * m + j, z] = start + beta[k, j] * LOG2E - c[i, j] * inv2 if inside else -np.inf
        for q in range(n * m):
            for z in range(p.shape[1]):
                e = entry(y[q, z], p)
                p[q, z] = e if y[q, z] > least else 0.0
        for z in range(held):
            for i in range(n):
                for j in range(m):
                    out[first + z, i, j] = p[i * m + j, z]


@entry_point
def _marginals(t, threads, cost, batch, alpha, beta, which, row_sum, col_sum):
    for q in range(t, which.size, threads):
        _marginals_of(which[q], cost, batch, alpha, beta, row_sum, col_sum)


@entry_point
def _all_rounded(t, threads, cost, batch, alpha, beta, which, parts, divergence, transport):
    row_factor, col_factor, row_rest, col_rest = parts
    n = cost.shape[1]
    for q in range(t, which.size, threads):
        k = which[q]
        factors = row_factor[k], col_factor[k], row_rest[k], col_rest[k]
        where, inv = batch.cost_of[k], batch.inv_epsilon[k]
        _rounded(cost[where], inv, alpha[k], beta[k], factors, divergence[k], transport[k], 0, n)


@entry_point
def _targets(sides, log_ratio, out):
    for k in range(out.shape[0]):
        code, strength, strength2 = sides.code[k], sides.strength[k], sides.strength2[k]
        for i in range(out.shape[1]):
            used = sides.log_weight[k, i] > -np.inf
            out[k, i] = _potential(code, strength, strength2, sides.weight[k, i], log_ratio[k, i]) if used else -np.inf


# --- the functions of `protocol` --------------------------------------------------------------------------------------


def _split(run: Callable[[int, int], None], entries: int, problems: int) -> None:
    """run(thread, threads); the kernels release the interpreter lock."""
    threads = 1 if entries < SERIAL_BELOW else max(1, min(available(), problems))
    split(lambda t: run(t, threads), threads)


def _all_frozen(values: Any) -> Any:
    """Every array in nested tuples read-only, so that kernels are compiled once, and for derivatives as well."""
    if not isinstance(values, tuple):
        return _frozen(values) if isinstance(values, np.ndarray) else values
    parts = (_all_frozen(x) for x in values)
    return type(values)(*parts) if hasattr(values, "_fields") else tuple(parts)


def _rows_scratch(n: int, m: int, fast: bool, single: bool) -> tuple[Any, ...]:
    """The one array of the size of a problem, K, in float32 if `fast`, and bounds of what can be trusted.

    These are for the sum of a row (times its weight, least, most), for scalings, for sums relative to that of the
    scalings (1e7 or 1e12 times the floor of an entry of K) and for what a scaling in the precision of K can be.
    """
    dtype = np.float32 if fast else np.float64
    limits = (*TRUST_SINGLE, 1e8, 2e-31, 1.2e-38) if fast else (*TRUST_DOUBLE, 1e100, 4e-296, 0.0)
    beta2, v = np.empty(m, np.float32 if single else np.float64), np.empty(m, dtype)
    return np.empty((n, m), dtype), np.zeros((3, n)), np.empty((4, m)), beta2, v, np.empty(4), limits


def lanes_for(count: int) -> int:
    """Lanes that so many problems take; those without a problem are swept for nothing."""
    return min(LANES, -(-count // LEAST_LANES) * LEAST_LANES)


def _lanes_scratch(n: int, m: int, lanes: int, fast: bool, plain: bool) -> tuple[Any, ...]:
    dtype = np.float32 if fast else np.float64
    # sums and scalings stay within these bounds, K is made again at the third
    limits = (
        (1e-28, 1e28, 1e8, 120.0, 1e-35, 1e35, 2e-31)
        if fast
        else (1e-250, 1e250, 1e100, 900.0, SMALL_SCALING, LARGE_SCALING, 4e-296)
    )
    each = 2 if plain else 4
    doubles = np.empty((each, n, lanes)), np.empty((each, m, lanes))
    strengths = None if plain else np.empty((4, lanes))
    # On lines of the cache, and rows of K half a row from those of the scalings: a multiple of a page apart, they would
    # drive each other out of it.
    rows_end, cols_end = 4 * n * lanes, 4 * (n + m) * lanes
    together = np.empty(cols_end + lanes // 2 + n * m * lanes + CACHE_LINE, dtype)
    together = together[-together.ctypes.data % CACHE_LINE // together.itemsize :]
    light = together[:rows_end].reshape(4, n, lanes), together[rows_end:cols_end].reshape(4, m, lanes)
    kernel = together[cols_end + lanes // 2 :][: n * m * lanes].reshape(n * m, lanes)
    small, error = np.empty((3, lanes)), np.empty((2, lanes), dtype)
    return np.empty((n * m, lanes)), kernel, *doubles, *light, strengths, small, error, limits


def batch_sweeps(
    cost: Array,
    batch: Batch,
    rows: Side,
    cols: Side,
    omega: tuple[float, float],
    alpha: Array,
    beta: Array,
    which: Array,
    goal: Array | None,
    count: int,
    end: str,
    cold: bool,
    precision: str,
    done: Array,
    residual: Array,
    plans: Array | None = None,
) -> None:
    n, m = cost.shape[1:]
    fast = precision != "double"
    plan = count, end == "cols", cold, goal is not None
    goals = residual if goal is None else goal
    costs, problems, *sides = _all_frozen((cost, batch, rows, cols))

    def sweep(some: Array, lanes: bool, plain: bool, done: Array, residual: Array) -> None:
        def run(t: int, threads: int) -> None:
            if lanes:
                _sweep_lanes(t, threads, how, plans, task, _lanes_scratch(n, m, lanes_for(some.size), light, plain))
            else:
                _sweep_rows(t, threads, how, plans, task, _rows_scratch(n, m, fast, precision == "single"))

        # scalings in float32 would miss the kinks of a penalty, where potentials have to be exact
        light = fast and not {rows.code[some[0]], cols.code[some[0]]} & KINKED
        how = None if plain else omega
        given = [PlainSide(x.weight, x.log_weight) if plain else x for x in sides]
        task = costs, problems, *given, alpha, beta, _frozen(some), goals, plan, done, residual
        _split(run, some.size * n * m * count, some.size // LANES if lanes else some.size)

    def divides(some: Array) -> bool:
        return all(_divides(side, w, some) for side, w in zip((rows, cols), omega, strict=True))

    done[:] = 0
    rule = 4 * rows.code[which] + cols.code[which]  # lanes need one rule for all
    if n * m > SIDE_BY_SIDE or (rule == rule[0]).all():
        sweep(which, n * m <= SIDE_BY_SIDE, divides(which), done, residual)
    else:
        for code in np.unique(rule):
            where = np.flatnonzero(rule == code)
            _scattered(sweep, which, where, True, divides(which[where]), done, residual)
    if (done < 0).any():
        left = np.flatnonzero(done < 0)
        done[left] = -1 - done[left]
        _scattered(sweep, which, left, False, False, done, residual)


def _divides(side: Side, omega: float, some: Array) -> bool:
    """True if the updates of these problems are divisions."""
    return bool(omega == 1.0 and not side.code[some].any() and (side.strength[some] == 1.0).all())


def _scattered(sweep: Any, which: Array, where: Array, lanes: bool, plain: bool, done: Array, residual: Array) -> None:
    """`sweep` on some of the problems."""
    parts = done[where], residual[where]
    sweep(which[where], lanes, plain, *parts)
    done[where], residual[where] = parts


def batch_plan(cost: Array, batch: Batch, alpha: Array, beta: Array, out: Array) -> None:
    def run(t: int, threads: int) -> None:
        if out[0].size > SIDE_BY_SIDE:
            _plans(t, threads, frozen, batch, alpha, beta, np.empty((threads, beta.shape[1])), out)
        else:
            lanes = lanes_for(out.shape[0])
            y, p = np.zeros((out[0].size, lanes)), np.empty((out[0].size, lanes), out.dtype)
            _tiny_plans(t, threads, frozen, batch, alpha, beta, y, p, out)

    frozen = _frozen(cost)
    _split(run, out.size, out.shape[0])


def batch_marginals(
    cost: Array, batch: Batch, alpha: Array, beta: Array, which: Array, row_sum: Array, col_sum: Array
) -> None:
    frozen = _frozen(cost)
    _split(
        lambda t, threads: _marginals(t, threads, frozen, batch, alpha, beta, which, row_sum, col_sum),
        which.size * cost[0].size,
        which.size,
    )


def batch_rounded_sums(
    cost: Array,
    batch: Batch,
    alpha: Array,
    beta: Array,
    which: Array,
    row_factor: Array,
    col_factor: Array,
    row_rest: Array,
    col_rest: Array,
    divergence: Array,
    transport: Array,
) -> None:
    frozen, parts = _frozen(cost), (row_factor, col_factor, row_rest, col_rest)
    _split(
        lambda t, threads: _all_rounded(t, threads, frozen, batch, alpha, beta, which, parts, divergence, transport),
        which.size * cost[0].size,
        which.size,
    )


def batch_potential(sides: Side, log_ratio: Array, out: Array) -> None:
    _targets(sides, log_ratio, out)
