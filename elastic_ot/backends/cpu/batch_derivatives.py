"""Derivatives of many problems in one call, in Numba: threads share out the problems as in `batch`.

Iterations. Shares of every half step are one kernel K between two diagonals (see `unrolled`), so a thread stores K for
one problem and goes through it once for K itself, once an iteration forwards and once backwards: the columns' half step
needs K y row by row, and the rows' half step after it K^T x, of which x_i is known as soon as (K y)_i is. The
derivative in the cost is K times a matrix of a rank of twice the iterations, summed up in one last pass.

Optimum. A thread stores the plan of one problem in double precision, and a product with S, the matrix of the conjugate
gradients, is one pass over it.

Tiny problems lie side by side, as in `batch`. Numba's cache watches this file only: after a change of `dense` or
`batch` in a checkout, delete the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from ..protocol import (
    FLOOR,
    LIMIT,
    LOG2E,
    PRODUCTS,
    ROUNDING,
    ROUNDS,
    SINGLE_LIMIT,
    SOUND,
    UNSOUND,
    Array,
    Batch,
    BatchBars,
    BatchSystem,
    Krylov,
    Side,
)
from .batch import (
    LANES,
    LEAST_LANES,
    SIDE_BY_SIDE,
    _all_frozen,
    _clear_beside,
    _collected,
    _gather,
    _gather_costs,
    _highest,
    _plain,
    _plain_lanes,
    _products,
    _side,
    _split,
    as_like,
    batch_plan,
    lanes_for,
)
from .dense import LN2, _advance, _clear, _frozen, _potential, _power, entry, log
from .flags import entry_point, inner, moves, whole
from .vectors import fill_plan

LANE_BYTES = 1 << 19  # of the vectors of all half steps, so that they stay in the cache


def lowest(like):
    """The exponent of 2 below which an entry is 0 in the precision of `like`."""
    return -125.0 if like.itemsize == 4 else -1021.0


@overload(lowest)
def _lowest(like):
    if like.dtype == types.float32:
        return lambda like: -125.0
    return lambda like: -1021.0


# --- half steps of one side -------------------------------------------------------------------------------------------
# `kept` holds what the derivative of an update needs: its argument, the log ratio, for the first two codes, and its
# value for the others.


@inner
def _update(side, base, s, i, kept):
    """The scaling of entry i after a half step that is no division."""
    around = base - side.offset[i]
    ratio = side.log_weight[i] - log(s) + around
    scaled = _potential(side.code, side.strength, side.strength2, side.weight[i], ratio)
    kept[i] = ratio if side.code < 2 else scaled
    return _power((scaled - around) * LOG2E)


@inner
def _slopes(code, strength, weight, kept):
    """Derivatives of the potential F in log ratio, log weight, log epsilon and rho / epsilon (for L2 over the mass)."""
    if code == 0:  # strength = rho / (rho + epsilon)
        rest = 1.0 - strength
        return strength, 0.0, -strength * rest * kept, rest * rest * kept if strength > 0.0 else 0.0
    if code == 1:  # strength = rho / epsilon
        sign = 0.0 if abs(kept) < strength else np.sign(kept)
        return 1.0 - abs(sign), 0.0, -sign * strength, sign
    if code == 2:
        return (1.0 if kept != 0.0 else 0.0), 0.0, 0.0, 0.0
    demand = weight - strength * kept  # = weight exp(F - ratio), strength = epsilon / (rho mass)
    slope = strength + demand
    by_strength = strength * kept / slope
    return demand / slope, by_strength, -by_strength, strength * by_strength


@inner
def _pulled(side, i, bar, kept, weight_bar, sums):
    """The derivative in the log ratio of entry i, from that in its potential; adds to those in weight and strengths."""
    by_ratio, by_weight, by_epsilon, by_strength = _slopes(side.code, side.strength, side.weight[i], kept[i])
    weight_bar[i] += bar * by_weight
    sums[0] += bar * by_epsilon
    sums[1] += bar * by_strength
    return bar * by_ratio


# --- iterations, problems of some size --------------------------------------------------------------------------------


@inner
def _fill_kernel(cost, where, inv2, beta2, row, alpha, kernel, base):
    """Rows of K sum to about 1 under the last plan's column potentials; base holds their potentials."""
    k, n, m = where
    for i in range(n):
        p = kernel[i][:m]
        if row.log_weight[i] == -np.inf:
            _clear(p)
            continue
        c = cost[k, i][:m]
        base[i] = alpha[i] - row.log_weight[i]
        total = fill_plan(c, inv2, beta2, base[i] * LOG2E, p)
        if not (1e-5 < total < 1e5):
            top = _highest(c, inv2, beta2)
            base[i] = -top * LN2
            fill_plan(c, inv2, beta2, -top, p)


@moves
def _sound_weights(weight, size, limit):
    """True if scalings in the precision that has this limit resolve all weights."""
    out = 0
    for i in range(size):
        out += 1 if 0.0 < weight[i] < 1.0 / limit / limit else 0
    return out == 0


@inner
def _rows_ahead(kernel, n, m, row, plain, base, v, kept, total, u, acc, s, limit):
    """The rows' half step, and acc = K^T u; False where a number leaves the range."""
    _clear(acc)
    weight = row.weight
    for i in range(0, n, 4):
        _products(kernel, i, n, m, v, s)
        for q in range(i, min(i + 4, n)):
            new = 0.0
            if weight[q] > 0.0:
                if not (1.0 / limit < s[q - i] < limit):
                    return False
                total[q] = s[q - i]
                new = weight[q] / s[q - i] if plain else _update(row, base[q], s[q - i], q, kept)
                if not new < limit:
                    return False
            u[q] = new
            s[q - i] = new
        _collected(kernel, i, n, s, acc)
    return True


@inner
def _columns_ahead(col, plain, base, acc, kept, total, v, limit):
    """The columns' half step from acc = K^T u."""
    out, weight = 0, col.weight
    for j in range(v.size):
        used = weight[j] > 0.0
        total[j] = acc[j] if used else 1.0
        out += 0 if 1.0 / limit < total[j] < limit else 1
    if out > 0:
        return False
    if plain:
        for j in range(v.size):
            v[j] = weight[j] / total[j]  # removed ones weigh nothing
        return True
    for j in range(v.size):
        new = 0.0
        if weight[j] > 0.0:
            new = _update(col, base[j], total[j], j, kept)
            if not new < limit:
                return False
        v[j] = new
    return True


@inner
def _columns_back(col, plain, product, bar, kept, total, weight_bar, y, sums):
    """The columns' half step backwards: y."""
    weight = col.weight
    for j in range(y.size):
        pulled = bar[j] if weight[j] > 0.0 else 0.0
        if not plain:
            pulled = _pulled(col, j, pulled, kept, weight_bar, sums) if weight[j] > 0.0 else 0.0
        if not product:
            weight_bar[j] += pulled
        y[j] = pulled / total[j]


@inner
def _rows_back(kernel, where, row, plain, product, columns, rows, bars, acc, s, sums):
    """The rest of the columns' half step (if there is one `after`), the rows' half step: x, and acc = K^T x."""
    (_, n, m), (u, y, after), (x, kept, total), (bar, weight_bar) = where, columns, rows, bars
    _clear(acc)
    s[0], s[1], s[2], s[3] = 0.0, 0.0, 0.0, 0.0
    weight = row.weight
    for i in range(0, n, 4):
        if after:
            _products(kernel, i, n, m, y, s)
        for q in range(i, min(i + 4, n)):
            mine = 0.0
            if weight[q] > 0.0:
                drop = u[q] * s[q - i] if after else 0.0
                pulled = bar[q] - drop
                if not plain:
                    pulled = _pulled(row, q, pulled, kept, weight_bar, sums)
                weight_bar[q] += -drop if product else pulled
                mine = pulled / total[q]
                bar[q] = 0.0
            x[q] = mine
            s[q - i] = mine
        _collected(kernel, i, n, s, acc)


@inner
def _weigh(p, v, bar, acc, z):
    """Sum of p v bar, and acc += z p bar; where p is 0, bar does not count."""
    total = as_like(0.0, p)
    for j in range(p.size):
        part = p[j] * (bar[j] if p[j] > 0.0 else as_like(0.0, p))
        total += part * v[j]
        acc[j] += z * part
    return total


@inner
def _plan_sums(kernel, n, m, u, v, bar, mass, row_bar, col_bar):
    """Add the row and column sums of plan * bar."""
    for i in range(n):
        if u[i] > 0.0:
            row_bar[i] = mass * u[i] * _weigh(kernel[i][:m], v, bar[i][:m], col_bar, as_like(mass * u[i], kernel))
    for j in range(m):
        col_bar[j] *= v[j]


@inner
def _begin(z, factor, v, bar, p):
    for j in range(z.size):
        z[j] = factor * v[j] * (bar[j] if p[j] > 0.0 else as_like(0.0, p))


@inner
def _combine(z, left, right, r, i):
    l0, l1, l2, l3 = left[r, i], left[r + 1, i], left[r + 2, i], left[r + 3, i]
    for j in range(z.size):
        z[j] += (l0 * right[r, j] + l1 * right[r + 1, j]) + (l2 * right[r + 2, j] + l3 * right[r + 3, j])


@inner
def _finish(p, c, z, scale, q):
    """Q = scale p z, and <q, c>."""
    total = as_like(0.0, p)
    for j in range(c.size):
        d = scale * p[j] * z[j]
        q[j] = d
        total += d * (c[j] if p[j] > 0.0 else as_like(0.0, c))
    return total


@inner
def _cost_bar(cost, where, kernel, factors, moved, z, inv_epsilon, out):
    """Out = K * (left^T right - mass u v^T * bar) / epsilon, and <out, cost>."""
    (k, n, m), (left, right), (has, mass, u, v, bar) = where, factors, moved
    total, scale = 0.0, as_like(inv_epsilon, kernel)
    for i in range(n):
        p = kernel[i][:m]
        if has:
            _begin(z, as_like(-mass * u[i], kernel), v, bar[i][:m], p)
        else:
            _clear(z)
        for r in range(0, left.shape[0], 4):
            _combine(z, left, right, r, i)
        total += _finish(p, cost[k, i][:m], z, scale, out[i][:m])
    _clear_beside(out, n, m)
    return total


@whole
def _pull_rows(k, cost, batch, rows, cols, ends, start, plan, bars, out, work):
    """Iterations of problem k, replayed and then differentiated backwards."""
    count, end_cols, product, has = plan
    plan_bar, row_bars, col_bars = bars
    kernel, left, right, totals, kept, base, col_base, beta2, acc, z, last, s, sums, limit = work
    n, m = batch.row_count[k], batch.col_count[k]
    where, inv_epsilon = (batch.cost_of[k], n, m), batch.inv_epsilon[k]
    row, col = _side(rows, k), _side(cols, k)
    plain = _plain(row, 1.0), _plain(col, 1.0)
    if not (_sound_weights(row.weight, n, limit) and _sound_weights(col.weight, m, limit)):
        return False
    beta, begin, acc, z, last = ends[1][k], start[k], acc[:m], z[:m], last[:m]
    first = right[count][:m]
    for j in range(m):
        used = col.log_weight[j] > -np.inf
        col_base[j] = beta[j] if used else 0.0
        beta2[j] = beta[j] * LOG2E if used else -np.inf
        ahead = _power((begin[j] - beta[j]) * LOG2E) if used else 0.0
        if not ahead < limit:
            return False
        first[j] = ahead
    _fill_kernel(cost, where, inv_epsilon * LOG2E, beta2[:m], row, ends[0][k], kernel, base)
    for t in range(count):
        v = right[count + t][:m]
        if not _rows_ahead(kernel, n, m, row, plain[0], base, v, kept[0][t], totals[0][t], left[t], acc, s, limit):
            return False
        if t + 1 < count or end_cols:
            new = right[count + t + 1][:m] if t + 1 < count else last
            if not _columns_ahead(col, plain[1], col_base, acc, kept[1][t], totals[1][t], new, limit):
                return False
        else:
            for j in range(m):
                last[j] = v[j]
    row_bar, col_bar, row_weight, col_weight = out.a[k][:n], out.b[k][:m], base[:n], col_base[:m]
    _clear(row_bar)
    _clear(col_bar)
    if has:
        _plan_sums(kernel, n, m, left[count - 1], last, plan_bar[k], batch.mass[k], row_bar, col_bar)
    for i in range(n):  # K is not made again: its base gives way to derivatives in weights
        row_weight[i] = row_bar[i] if product else 0.0
        row_bar[i] += row_bars[k, i]
    for j in range(m):
        col_weight[j] = col_bar[j] if product else 0.0
        col_bar[j] += col_bars[k, j]
    _clear_beside(sums, 0, 0)
    for t in range(count - 1, -1, -1):
        after, y, x = t + 1 < count or end_cols, right[t][:m], left[count + t]
        if after:
            _columns_back(col, plain[1], product, col_bar, kept[1][t], totals[1][t], col_weight, y, sums[1])
            _clear(col_bar)
        else:
            _clear(y)
        steps = (left[t], y, after), (x, kept[0][t], totals[0][t]), (row_bar, row_weight)
        _rows_back(kernel, where, row, plain[0], product, steps[0], steps[1], steps[2], acc, s, sums[0])
        v = right[count + t]
        for j in range(m):
            drop = v[j] * acc[j]
            col_bar[j] -= drop
            if product:
                col_weight[j] -= drop
    moved = has, batch.mass[k], left[count - 1], last, plan_bar[k if has else 0]
    dot = _cost_bar(cost, where, kernel, (left, right), moved, z, inv_epsilon, out.cost[k])
    epsilon = sums[0, 0] + sums[1, 0] - dot
    for j in range(m):  # potentials to begin with are given in units of the cost
        epsilon -= col_bar[j] * (begin[j] - col.offset[j]) if col.log_weight[j] > -np.inf else 0.0
    out.epsilon[k] = epsilon * inv_epsilon
    out.rows[k] = sums[0, 1] * inv_epsilon * (batch.mass[k] if row.code == 3 else 1.0)
    out.cols[k] = sums[1, 1] * inv_epsilon * (batch.mass[k] if col.code == 3 else 1.0)
    _over_weights(out.a[k], row, row_weight, batch.mass[k], n)
    _over_weights(out.b[k], col, col_weight, batch.mass[k], m)
    return True


@inner
def _over_weights(out, side, weight_bar, mass, size):
    for i in range(out.size):
        used = i < size and side.log_weight[i] > -np.inf
        out[i] = weight_bar[i] / (side.weight[i] * mass) if used else 0.0


# --- the optimum ------------------------------------------------------------------------------------------------------


@inner
def _open_row(c, inv2, beta2, start, has, bar, p):
    """A row of the plan, and its product with bar."""
    total = 0.0
    fill_plan(c, inv2, beta2, start, p)
    if has:
        for j in range(p.size):
            total += p[j] * (bar[j] if p[j] > 0.0 else as_like(0.0, bar))
    return total


@inner
def _open_columns(p, has, bar, x, inverse, side, residual, squares):
    """What a row adds to the columns' right-hand side, to their part in P^T x, and to the diagonal of S."""
    if has:
        for j in range(p.size):
            side[j] += p[j] * (bar[j] if p[j] > 0.0 else as_like(0.0, bar))
    for j in range(p.size):
        residual[j] -= p[j] * x
        squares[j] += inverse * p[j] * p[j]


@inner
def _project(diagonal, residual, rigid):
    """Residual of the free columns; without its constant part, which no rigid system can take up."""
    total, sum_ = 0.0, 0.0
    for j in range(residual.size):
        residual[j] = residual[j] if diagonal[j] > 0.0 else 0.0
        total += residual[j]
        sum_ += diagonal[j]
    if rigid and sum_ > 0.0:
        for j in range(residual.size):
            residual[j] -= diagonal[j] * (total / sum_)


@inner
def _complete(kernel, n, inverse, row_side, col_side, diagonal, rigid, y, x, residual, s):
    """The x that goes with y, and what is left of the columns' side."""
    m = y.size
    for j in range(m):
        residual[j] = 0.0
    for i in range(0, n, 4):
        _products(kernel, i, n, m, y, s)
        for q in range(4):
            x_i = 0.0
            if i + q < n:
                x_i = inverse[i + q] * (row_side[i + q] - s[q])
                x[i + q] = x_i
            s[q] = x_i
        _collected(kernel, i, n, s, residual)
    for j in range(m):
        residual[j] = col_side[j] - diagonal[j] * y[j] - residual[j]
    _project(diagonal, residual, rigid)


@inner
def _gram(kernel, n, inverse, x, acc, s):
    """Acc = P^T D_a^-1 P x."""
    for j in range(x.size):
        acc[j] = 0.0
    for i in range(0, n, 4):
        _products(kernel, i, n, x.size, x, s)
        for q in range(4):
            s[q] *= inverse[i + q] if i + q < n else 0.0
        _collected(kernel, i, n, s, acc)


@inner
def _improve(kernel, n, inverse, diagonal, krylov, y, acc, s, goal, budget):
    """Conjugate gradients on S from the residual; returns how many products they took."""
    x, residual, direction, preconditioner, scalars = krylov
    scalars[0] = 0.0
    for j in range(y.size):
        x[j] = 0.0
        direction[j] = preconditioner[j] * residual[j]
        scalars[0] += direction[j] * residual[j]
    done, code = 0, 0
    if not 0.0 < scalars[0] < np.inf:
        return 1
    while code == 0 and done < budget:
        _gram(kernel, n, inverse, direction, acc, s)
        code = _advance(diagonal, acc, krylov, goal, np.inf)
        done += 1
    for j in range(y.size):
        y[j] += x[j]
    return done


@inner
def _tangent_row(c, exponents, p, scale, has, bar, x, y, q, acc):
    """Row of P * (x + y - bar) / epsilon: its sum, and its product with log P."""
    inv2, beta2, start = exponents
    total, dot = 0.0, 0.0
    for j in range(c.size):
        e = max(start + beta2[j] - c[j] * inv2, -1100.0) * LN2  # finite where P is 0
        d = x + y[j]
        if has:
            d -= bar[j] if p[j] > 0.0 else as_like(0.0, bar)
        d *= scale * p[j]
        q[j] = d
        acc[j] += d
        total += d
        dot += d * e
    return total, dot


@whole
def _pull_optimum(k, cost, batch, alphas, betas, system, sides, has, plan_bar, out, work):
    """The linear system of problem k and what follows from it; False if it was not solved to rounding."""
    row_diagonals, col_diagonals, rigids = system
    kernel, inverse, beta2, side, squares, acc, s, krylov = work
    n, m, inv2 = batch.row_count[k], batch.col_count[k], batch.inv_epsilon[k] * LOG2E
    log_mass = np.log(batch.mass[k])
    costs, x, y = cost[batch.cost_of[k]], out.x[k][:n], out.y[k][:m]
    row_side, alpha, beta2, side, squares, acc = sides[0][k], alphas[k], beta2[:m], side[:m], squares[:m], acc[:m]
    diagonal, rigid = col_diagonals[k][:m], rigids[k]
    krylov = Krylov(krylov.x[:m], krylov.residual[:m], krylov.direction[:m], krylov.preconditioner[:m], krylov.scalars)
    residual, row_rest = krylov.residual, out.rows[k]
    for j in range(m):
        beta2[j] = betas[k, j] * LOG2E
        side[j], residual[j], squares[j], y[j] = sides[1][k, j], 0.0, 0.0, 0.0
    size = 0.0
    for i in range(n):
        p, bar = kernel[i][:m], plan_bar[k if has else 0][i if has else 0]
        start = (alpha[i] + log_mass) * LOG2E
        row_rest[i] = row_side[i] + _open_row(costs[i][:m], inv2, beta2, start, has, bar, p)
        d = row_diagonals[k, i]
        inverse[i] = 1.0 / d if d > 0.0 else 0.0
        size += abs(row_rest[i]) if d > 0.0 else 0.0
        x[i] = inverse[i] * row_rest[i]
        _open_columns(p, has, bar, x[i], inverse[i], side, residual, squares)
    heavy = 0.0
    for j in range(m):
        free = diagonal[j] > 0.0
        size += abs(side[j]) if free else 0.0
        residual[j] += side[j]
        rest = max(diagonal[j] - squares[j], FLOOR * diagonal[j])
        krylov.preconditioner[j] = 1.0 / rest if free and rest > 0.0 else 0.0
    _project(diagonal, residual, rigid)
    left, solved = np.int64(PRODUCTS), False  # a literal would be a type of its own
    for _ in range(ROUNDS):
        left -= _improve(kernel, n, inverse, diagonal, krylov, y, acc, s, ROUNDING * size, left)
        _complete(kernel, n, inverse, row_rest, side, diagonal, rigid, y, x, residual, s)
        missed, heavy = 0.0, 0.0
        for j in range(m):
            missed += abs(residual[j])
            heavy += diagonal[j] * abs(y[j])
        solved = missed <= min(SOUND * size + 1e-14 * heavy, UNSOUND * size)
        if solved:
            break
    if not solved:
        return False
    dot = 0.0
    _clear(out.cols[k])
    for i in range(n):
        q, bar, start = out.cost[k, i], plan_bar[k if has else 0][i if has else 0], (alpha[i] + log_mass) * LOG2E
        exponents, scale, acc = (inv2, beta2, start), batch.inv_epsilon[k], out.cols[k][:m]
        row_rest[i], part = _tangent_row(costs[i][:m], exponents, kernel[i][:m], scale, has, bar, x[i], y, q[:m], acc)
        dot += part
    out.dot[k] = dot
    _clear_beside(out.cost[k], n, m)
    return True


@inner
def _plan_dot_row(c, inv2, beta, start, p):
    """<p, log p> of a row of the plan that is there, 0 log 0 = 0."""
    dot = 0.0
    for j in range(c.size):
        dot += p[j] * max(start + beta[j] * LOG2E - c[j] * inv2, -1100.0)
    return dot * LN2


# --- iterations, tiny problems side by side ---------------------------------------------------------------------------
# As in `batch`: entry i of problem z of a group is x[i, z].


@moves
def _lane_side(sides, size, which, first, plain, limit, packed, sound):
    """The sides of the problems; a plain one is its weights."""
    weight, log_weight, offset, strength, strength2 = packed
    _gather(sides.weight, size, which, first, weight)
    for z in range(sound.size):
        k = which[min(first + z, which.size - 1)]
        strength[z], strength2[z] = sides.strength[k], sides.strength2[k]
        if not _sound_weights(sides.weight[k], size, limit):
            sound[z] = 0.0
    if not plain:
        _gather(sides.log_weight, size, which, first, log_weight)
        _gather(sides.offset, size, which, first, offset)


@inner
def _lane_kernel(c, n, m, beta, start, kernel, base, col_base, v, top):
    """K with a largest entry of 1 in every row, under the last plan's column potentials; v at the first ones."""
    lanes, least = top.size, lowest(kernel)
    for j in range(m):
        for z in range(lanes):
            used = beta[j, z] > -np.inf
            col_base[j, z] = beta[j, z] if used else 0.0
            v[j, z] = _power((start[j, z] - beta[j, z]) * LOG2E) if used else 0.0
    for i in range(n):
        for z in range(lanes):
            top[z] = -np.inf
        for j in range(m):
            for z in range(lanes):
                top[z] = max(top[z], beta[j, z] * LOG2E - c[i * m + j, z])
        for z in range(lanes):
            top[z] = top[z] if top[z] > -np.inf else 0.0
            base[i, z] = -top[z] * LN2
        for j in range(m):
            for z in range(lanes):
                y = beta[j, z] * LOG2E - c[i * m + j, z] - top[z]
                e = entry(y, kernel)
                kernel[i * m + j, z] = e if y > least else as_like(0.0, kernel)


@inner
def _lane_product(kernel, start, stride, count, x, first, s, to):
    """Row `to` of s becomes the sum of kernel[start + q stride] x[first + q]."""
    lanes = s.shape[1]
    if count < 4:
        for z in range(lanes):
            s[to, z] = 0.0
    else:
        i, j = start, first
        for z in range(lanes):
            low = kernel[i, z] * x[j, z] + kernel[i + stride, z] * x[j + 1, z]
            s[to, z] = low + (kernel[i + 2 * stride, z] * x[j + 2, z] + kernel[i + 3 * stride, z] * x[j + 3, z])
    for q in range(4, count - 3, 4):
        i, j = start + q * stride, first + q
        for z in range(lanes):
            low = kernel[i, z] * x[j, z] + kernel[i + stride, z] * x[j + 1, z]
            s[to, z] += low + (kernel[i + 2 * stride, z] * x[j + 2, z] + kernel[i + 3 * stride, z] * x[j + 3, z])
    for q in range(count - count % 4, count):
        i, j = start + q * stride, first + q
        for z in range(lanes):
            s[to, z] += kernel[i, z] * x[j, z]


@inner
def _lane_divide(weight, i, s, step, u, to):
    """Divide weight i by its sum, in row `step` of s, into row `to` of u; the sum of an entry not in use becomes 1."""
    for z in range(s.shape[1]):
        total = s[step, z] if weight[i, z] > 0.0 else as_like(1.0, s)
        s[step, z], u[to, z] = total, weight[i, z] / total


@inner
def _lane_scale(code, side, i, base, s, kept, step, u, to):
    """Do a half step of entry i by any update rule: from its sum, in row `step` of s, to row `to` of u."""
    weight, log_weight, offset, strength, strength2 = side
    for z in range(s.shape[1]):
        total = s[step, z] if weight[i, z] > 0.0 else as_like(1.0, s)
        s[step, z] = total
        ratio = log_weight[i, z] + base[i, z] - offset[i, z] if weight[i, z] > 0.0 else 0.0
        kept[step, z] = ratio - log(max(total, 1e-300))
    for z in range(s.shape[1]):
        used, ratio = weight[i, z] > 0.0, kept[step, z]
        scaled = ratio * strength[z]
        if code > 0:
            scaled = _potential(code, strength[z], strength2[z], np.float64(weight[i, z]), ratio) if used else 0.0
        kept[step, z] = ratio if code < 2 else scaled
        u[to, z] = _power((scaled - base[i, z] + offset[i, z]) * LOG2E) if used else 0.0


@moves
def _lane_range(x, rows, low, high, sound):
    """Mark problems with an entry outside of [low, high] as no longer sound."""
    low, high = as_like(low, x), as_like(high, x)
    for i in range(rows):
        out = 0
        for z in range(sound.size):
            out += 0 if low <= x[i, z] <= high else 1
        if out > 0:
            for z in range(sound.size):
                sound[z] = sound[z] if low <= x[i, z] <= high else 0.0


@moves
def _lane_divide_back(product, i, bar, total, step, weight_bar):
    """Take a half step by division backwards: the sum of entry i becomes x, from the derivative in its potential."""
    if not product:
        for z in range(bar.shape[1]):
            weight_bar[i, z] += bar[i, z]
    for z in range(bar.shape[1]):
        total[step, z] = bar[i, z] / total[step, z]
        bar[i, z] = 0.0


@inner
def _lane_scale_back(code, product, weight, strength, i, bar, kept, total, step, weight_bar, sums, first):
    """Take a half step by any update rule backwards: the sum of entry i becomes x; add to `sums` from `first` on."""
    for z in range(bar.shape[1]):
        if code == 0:
            rest, ratio = 1.0 - strength[z], kept[step, z]
            by_ratio, by_weight, by_epsilon = strength[z], 0.0, -strength[z] * rest * ratio
            by_strength = rest * rest * ratio if strength[z] > 0.0 else 0.0
        else:
            by_ratio, by_weight, by_epsilon, by_strength = _slopes(
                code, strength[z], np.float64(weight[i, z]), kept[step, z]
            )
        used = weight[i, z] > 0.0
        b = np.float64(bar[i, z]) if used else 0.0
        share = b * by_ratio if used else 0.0
        sums[first, z] += b * by_epsilon if used else 0.0
        sums[first + 1, z] += b * by_strength if used else 0.0
        weight_bar[i, z] += (b * by_weight if used else 0.0) + (0.0 if product else share)
        total[step, z] = share / total[step, z]
        bar[i, z] = 0.0


@inner
def _lane_plan_sums(kernel, n, m, u, at, v, to, moved, mass, row_bar, col_bar):
    """Bar becomes - plan * bar / K in `moved`; the sums of plan * bar are added."""
    for i in range(n):
        for j in range(m):
            q = i * m + j
            for z in range(mass.size):
                part = (
                    mass[z] * u[at + i, z] * v[to + j, z] * (moved[q, z] if kernel[q, z] > 0.0 else as_like(0.0, moved))
                )
                moved[q, z] = -part
                row_bar[i, z] += part * kernel[q, z]
                col_bar[j, z] += part * kernel[q, z]


@moves
def _lane_drop(drop, product, bar, weight_bar, i, scaling, at):
    if product:
        for z in range(bar.shape[1]):
            part = drop[0, z] * scaling[at, z]
            bar[i, z] -= part
            weight_bar[i, z] -= part
    else:
        for z in range(bar.shape[1]):
            bar[i, z] -= drop[0, z] * scaling[at, z]


@inner
def _lane_outer(moved, n, m, step, count, u, y, x, v):
    """Add what an even step and the next one, while both are in the cache, have collected for the cost."""
    for i in range(n):
        for j in range(m):
            q, a, b, c, d = i * m + j, step * n + i, step * m + j, (step + 1) * n + i, (step + 1) * m + j
            if step + 1 < count:
                for z in range(moved.shape[1]):
                    now = u[a, z] * y[b, z] + x[a, z] * v[b, z]
                    moved[q, z] += now + (u[c, z] * y[d, z] + x[c, z] * v[d, z])
            else:
                for z in range(moved.shape[1]):
                    moved[q, z] += u[a, z] * y[b, z] + x[a, z] * v[b, z]


@moves
def _lane_gather(bar, which, first, m, out):
    for z in range(out.shape[1]):
        g = bar[which[min(first + z, which.size - 1)]]
        for q in range(out.shape[0]):
            out[q, z] = g[q // m, q % m]


@moves
def _lane_begin(bars, which, first, product, bar, weight_bar, spare):
    """Derivatives in potentials as they were given are added to those through the plan."""
    _gather(bars, bar.shape[0], which, first, spare)
    for i in range(bar.shape[0]):
        for z in range(bar.shape[1]):
            weight_bar[i, z] = bar[i, z] if product else as_like(0.0, bar)
            bar[i, z] += spare[i, z]


@moves
def _lane_finish(which, first, batch, rows, cols, c, kernel, moved, found, start, sound, out):
    """From the lanes to the arrays of all problems."""
    row_weight, col_weight, col_bar, sums = found
    n, m, held = row_weight.shape[0], col_weight.shape[0], min(row_weight.shape[1], which.size - first)
    for q in range(n * m):
        for z in range(row_weight.shape[1]):
            moved[q, z] *= kernel[q, z]
            sums[4, z] += moved[q, z] * (c[q, z] if kernel[q, z] > 0.0 else 0.0)
    for z in range(held):
        k = which[first + z]
        out.sound[k] = sound[z] > 0.0
        inv_epsilon, q, epsilon = batch.inv_epsilon[k], out.cost[k], sums[0, z] + sums[2, z] - sums[4, z] * LN2
        for i in range(n):
            for j in range(m):
                q[i, j] = moved[i * m + j, z] * inv_epsilon
        for j in range(m):
            used = cols.log_weight[k, j] > -np.inf
            epsilon -= col_bar[j, z] * (start[k, j] - cols.offset[k, j]) if used else 0.0
            out.b[k, j] = col_weight[j, z] / (cols.weight[k, j] * batch.mass[k]) if used else 0.0
        for i in range(n):
            used = rows.log_weight[k, i] > -np.inf
            out.a[k, i] = row_weight[i, z] / (rows.weight[k, i] * batch.mass[k]) if used else 0.0
        out.epsilon[k] = epsilon * inv_epsilon
        out.rows[k] = sums[1, z] * inv_epsilon * (batch.mass[k] if rows.code[k] == 3 else 1.0)
        out.cols[k] = sums[3, z] * inv_epsilon * (batch.mass[k] if cols.code[k] == 3 else 1.0)


# --- entry points -----------------------------------------------------------------------------------------------------
# Thread t of so many; `task` as the functions above take it.


@entry_point
def _iterations(t, threads, task, which, out, scratch):
    cost, batch, rows, cols, ends, start, plan, bars = task
    for q in range(t, which.size, threads):
        k = which[q]
        out.sound[k] = _pull_rows(k, cost, batch, rows, cols, ends, start, plan, bars, out, scratch)


@entry_point
def _tiny_iterations(thread, threads, task, which, out, scratch):
    """Replay the iterations of groups of problems and differentiate them backwards."""
    cost, batch, rows, cols, ends, start, plan, bars = task
    count, end_cols, product, has = plan
    matrices, (row_side, col_side), bases, steps, (row_kept, col_kept), found, vectors, small, limit = scratch
    (c, kernel, moved), (u, v, s, t), (row_bar, col_bar, spare) = matrices, steps, vectors
    (row_weight, col_weight, sums), (base, col_base, beta, begin), (top, drop, sound, masses) = found, bases, small
    n, m, lanes = cost.shape[1], cost.shape[2], top.size
    for group in range(thread, (which.size + lanes - 1) // lanes, threads):
        first = group * lanes
        codes = rows.code[which[first]], cols.code[which[first]]
        plain = _plain_lanes(rows, 1.0, which, first, lanes), _plain_lanes(cols, 1.0, which, first, lanes)
        for z in range(lanes):
            sound[z] = 1.0
        _lane_side(rows, n, which, first, plain[0], limit, row_side, sound)
        _lane_side(cols, m, which, first, plain[1], limit, col_side, sound)
        _gather(ends[1], m, which, first, beta)
        _gather(start, m, which, first, begin)
        _gather_costs(cost, batch, n, m, which, first, c)
        for z in range(lanes):
            masses[z] = batch.mass[which[min(first + z, which.size - 1)]]
        _lane_kernel(c, n, m, beta, begin, kernel, base, col_base, v, top)
        ended = count if end_cols else count - 1
        zero, one, two = np.int64(0), np.int64(1), np.int64(2)  # literals would be types of their own
        for step in range(count):
            for i in range(n):
                at = step * n + i
                _lane_product(kernel, i * m, one, m, v, step * m, s, at)
                if plain[0]:
                    _lane_divide(row_side[0], i, s, at, u, at)
                else:
                    _lane_scale(codes[0], row_side, i, base, s, row_kept, at, u, at)
            if step < ended:
                for j in range(m):
                    at = step * m + j
                    _lane_product(kernel, j, m, n, u, step * n, t, at)
                    if plain[1]:
                        _lane_divide(col_side[0], j, t, at, v, at + m)
                    else:
                        _lane_scale(codes[1], col_side, j, col_base, t, col_kept, at, v, at + m)
        _lane_range(s, count * n, 1.0 / limit, limit, sound)
        _lane_range(t, ended * m, 1.0 / limit, limit, sound)
        _lane_range(u, count * n, 0.0, limit, sound)
        _lane_range(v, (ended + 1) * m, 0.0, limit, sound)
        _clear_beside(row_bar, 0, 0)
        _clear_beside(col_bar, 0, 0)
        _clear_beside(moved, 0, 0)
        if has:
            _lane_gather(bars[0], which, first, m, moved)
            _lane_plan_sums(kernel, n, m, u, (count - 1) * n, v, ended * m, moved, masses, row_bar, col_bar)
        _lane_begin(bars[1], which, first, product, row_bar, row_weight, spare[0])
        _lane_begin(bars[2], which, first, product, col_bar, col_weight, spare[1])
        _clear_beside(sums, 0, 0)
        for step in range(count - 1, -1, -1):
            after = step < ended
            for j in range(m):
                at = step * m + j
                if not after:
                    for z in range(lanes):
                        t[at, z] = 0.0
                elif plain[1]:
                    _lane_divide_back(product, j, col_bar, t, at, col_weight)
                else:
                    weight, rho, code = col_side[0], col_side[3], codes[1]
                    _lane_scale_back(code, product, weight, rho, j, col_bar, col_kept, t, at, col_weight, sums, two)
            for i in range(n):
                at = step * n + i
                if after:
                    _lane_product(kernel, i * m, one, m, t, step * m, drop, zero)
                    _lane_drop(drop, product, row_bar, row_weight, i, u, at)
                if plain[0]:
                    _lane_divide_back(product, i, row_bar, s, at, row_weight)
                else:
                    weight, rho, code = row_side[0], row_side[3], codes[0]
                    _lane_scale_back(code, product, weight, rho, i, row_bar, row_kept, s, at, row_weight, sums, zero)
            for j in range(m):
                _lane_product(kernel, j, m, n, s, step * n, drop, zero)
                _lane_drop(drop, product, col_bar, col_weight, j, v, step * m + j)
            if step % 2 == 0:
                _lane_outer(moved, n, m, step, count, u, t, s, v)
        pulled = row_weight, col_weight, col_bar, sums
        _lane_finish(which, first, batch, rows, cols, c, kernel, moved, pulled, start, sound, out)


@entry_point
def _optima(t, threads, task, out, scratch):
    cost, batch, alpha, beta, system, sides, has, bar = task
    for k in range(t, alpha.shape[0], threads):
        out.sound[k] = _pull_optimum(k, cost, batch, alpha, beta, system, sides, has, bar, out, scratch)


@entry_point
def _plan_dots(t, threads, task, out, dots):
    cost, batch, alpha, beta = task
    for k in range(t, dots.size, threads):
        n, m, where, inv2 = batch.row_count[k], batch.col_count[k], batch.cost_of[k], batch.inv_epsilon[k] * LOG2E
        dot = 0.0
        for i in range(n):
            dot += _plan_dot_row(cost[where, i][:m], inv2, beta[k], alpha[k, i] * LOG2E, out[k, i][:m])
        dots[k] = dot


# --- the functions of `protocol` --------------------------------------------------------------------------------------


def _rows_scratch(n: int, m: int, count: int, dtype: Any) -> tuple[Any, ...]:
    """K, the vectors of all half steps, and a few more."""
    rank = 4 * ((2 * count + 3) // 4)  # they are summed up four at a time
    left, right = np.zeros((rank, n), dtype), np.zeros((rank, m), dtype)
    totals = np.empty((count, n)), np.empty((count, m))
    kept = np.empty((count, n)), np.empty((count, m))
    vectors = np.empty(n), np.empty(m), np.empty(m), np.empty(m), np.empty(m, dtype), np.empty(m, dtype)
    limit = SINGLE_LIMIT if dtype == np.float32 else LIMIT
    return np.empty((n, m), dtype), left, right, totals, kept, *vectors, np.empty(4), np.empty((2, 2)), limit


def _lanes_scratch(n: int, m: int, count: int, dtype: Any, problems: int) -> tuple[Any, ...]:
    lanes = lanes_for(problems)
    while lanes > LEAST_LANES and 2 * count * (n + m) * lanes * np.dtype(dtype).itemsize > LANE_BYTES:
        lanes = max(LEAST_LANES, lanes // 2)

    def light(*shape: int) -> Array:
        return np.empty((*shape, lanes), dtype)

    def double(*shape: int) -> Array:
        return np.empty((*shape, lanes))

    matrices = double(n * m), light(n * m), light(n * m)
    sides = tuple((light(size), double(size), double(size), double(), double()) for size in (n, m))
    bases = double(n), double(m), double(m), double(m)
    steps = light(count * n), light((count + 1) * m), light(count * n), light(count * m)
    kept = double(count * n), double(count * m)
    found = light(n), light(m), double(5)
    vectors = light(n), light(m), (light(n), light(m))
    small = double(), light(1), double(), light()
    limit = SINGLE_LIMIT if dtype == np.float32 else LIMIT
    return matrices, sides, bases, steps, kept, found, vectors, small, limit


def batch_pull_back_iterations(
    cost: Array,
    batch: Batch,
    rows: Side,
    cols: Side,
    ends: tuple[Array, Array],
    start: Array,
    count: int,
    end: str,
    product: bool,
    plan_bar: Array | None,
    row_bar: Array,
    col_bar: Array,
    precision: str,
    which: Array,
    out: BatchBars,
) -> None:
    def sweep(some: Array) -> None:
        def run(t: int, threads: int) -> None:
            size = n, m, count, dtype
            scratch = _lanes_scratch(*size, some.size) if lanes else _rows_scratch(*size)
            (_tiny_iterations if lanes else _iterations)(t, threads, task, _frozen(some), out, scratch)

        _split(run, 2 * some.size * n * m * (count + 2), some.size // LANES if lanes else some.size)

    n, m = cost.shape[1:]
    dtype, has = np.float64 if precision == "double" else np.float32, plan_bar is not None
    lanes = n * m <= SIDE_BY_SIDE and cost.dtype == dtype  # what has left single precision is rare
    bars = np.zeros((1, 1, 1), cost.dtype) if plan_bar is None else plan_bar, row_bar, col_bar
    plan = count, end == "cols", product, has
    task = _all_frozen((cost, batch, rows, cols, ends, start, plan, bars))
    rule = 4 * rows.code[which] + cols.code[which]  # lanes need one for all
    for code in np.unique(rule) if lanes else (None,):
        sweep(which if code is None else which[rule == code])


def batch_pull_back(
    cost: Array,
    batch: Batch,
    alpha: Array,
    beta: Array,
    diagonals: tuple[Array, Array],
    rigid: Array,
    plan_bar: Array | None,
    row_side: Array,
    col_side: Array,
    out: BatchSystem,
) -> None:
    def run(t: int, threads: int) -> None:
        vectors = np.empty(n), *np.empty((4, m)), np.empty(4)
        x, residual, direction, preconditioner = np.empty((4, m))
        krylov = Krylov(x, residual, direction, preconditioner, np.empty(1))
        _optima(t, threads, task, out, (np.empty((n, m)), *vectors, krylov))

    n, m = cost.shape[1:]
    bar = np.zeros((1, 1, 1), cost.dtype) if plan_bar is None else plan_bar
    system, sides, has = (*diagonals, rigid), (row_side, col_side), plan_bar is not None
    task = _all_frozen((cost, batch, alpha, beta, system, sides, has, bar))
    _split(run, out.cost.size * 10, out.cost.shape[0])


def batch_plan_dots(cost: Array, batch: Batch, alpha: Array, beta: Array, out: Array, dots: Array) -> None:
    batch_plan(cost, batch, alpha, beta, out)
    task = _all_frozen((cost, batch, alpha, beta))
    _split(lambda t, threads: _plan_dots(t, threads, task, out, dots), out.size, out.shape[0])
