"""A fixed number of iterations of many small problems, and their derivative backwards: each in one compiled call.

This is the layer of a network, where what surrounds the arithmetic costs more than it. It knows matrices without masked
entries, positive weights, update rules that are powers (`Fixed`, `KL`, `Free`) and exponents that need no care, and
says which problems are not of that kind: the caller then takes the way of `batch` and `batch_derivatives`.

The plan is x_i K_ij y_j with K = exp(-C / epsilon): the reference and the scalings of a side are one vector. A half
step of the rows is

    s = K y,     x_i = w_i s_i^-tau,     w = a for the product reference and a^tau for the other,

and y begins as b, or as 1. With X and Y the derivatives in log x and log y, the same half step backwards is

    z_i = -tau X_i / s_i,     Y_j += y_j sum_i K_ij z_i,

and adds z_i y_j to a matrix of low rank, which times K is the part of the half steps in the derivative in -C / epsilon.
Columns likewise. An iteration is one pass over K, four rows at a time, forwards and backwards: the product of K with
what the columns' half step has left is complete for a row before the rows' half step needs it.

Numba's cache watches this file only: after a change of `batch`, `batch_derivatives` or `vectors` in a checkout, delete
the cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from ..protocol import LOG2E, Array
from .batch import _all_frozen, _collected, _products, as_like
from .batch_derivatives import _combine
from .dense import _as_float32, _as_float64, _as_int32, _as_int64, _clear, _frozen
from .flags import entry_point, inner, moves, whole
from .threads import available, split
from .vectors import fill

REACH = {4: 32.0, 8: 250.0}  # of costs over epsilon, by the bytes of a number
RANGE = {4: 1e20, 8: 1e150}  # of scalings and sums, and of their inverses
PARALLEL_FROM = 1 << 18  # entries of all problems


class Layers(NamedTuple):
    """Problems and their half steps; a stack of one matrix or one vector is shared by all problems.

    Attributes
    ----------
    cost : ndarray, shape (B, n, m) or (1, n, m)
    a, b : ndarrays of float64, shapes (B, n) or (1, n), and (B, m) or (1, m)
    epsilon, row_tau, col_tau : ndarrays of float64, shape (B,)
        Each tau is 1 for `Fixed`, 0 for `Free`, rho / (rho + epsilon) for `KL`.
    product : bool
        The reference is a b^T, not 1.
    iterations : int
    end_cols : bool
        The last of them has a half step of the columns, too.
    same : float
        Relative difference of two fixed masses that is rounding: b is multiplied by their ratio.
    """

    cost: Array
    a: Array
    b: Array
    epsilon: Array
    row_tau: Array
    col_tau: Array
    product: bool
    iterations: int
    end_cols: bool
    same: float


class LayerBars(NamedTuple):
    """Derivatives of all problems: cost (B, n, m), a (B, n), b (B, m); epsilon, rows and cols (B,)."""

    cost: Array
    a: Array
    b: Array
    epsilon: Array
    rows: Array
    cols: Array


def magnitude(x):
    """The bits of a number without its sign, an integer: they have the order of sizes, and nan is above inf."""
    return abs(x).view(np.int32 if x.dtype == np.float32 else np.int64)


@overload(magnitude)
def _magnitude(x):
    if x == types.float32:
        return lambda x: _as_int32(x) & np.int32(0x7FFFFFFF)
    return lambda x: _as_int64(x) & np.int64(0x7FFFFFFFFFFFFFFF)


def size_of(bits, like):
    """The number of `magnitude`, whose bits compiled code holds in 64, in the precision of `like`."""
    return bits.view(like.dtype.type)


@overload(size_of)
def _size_of(bits, like):
    if like.dtype == types.float32:
        return lambda bits, like: np.float64(_as_float32(np.int32(bits)))
    return lambda bits, like: _as_float64(bits)


@moves
def _total(weights):
    """The sum of positive weights, nan of others."""
    total, sound = 0.0, True
    for i in range(weights.size):
        total += weights[i]
        sound = sound and weights[i] > 0.0
    return total if sound else np.nan


@whole
def _power_of(x, tau):
    """x^tau, cheap where tau is 0 or 1."""
    if tau == 1.0:
        return x
    return 1.0 if tau == 0.0 else np.exp(tau * np.log(x))


@moves
def _factor(a, b, row_tau, col_tau, same):
    """What b is multiplied by, nan for weights that are not served here."""
    sum_a, sum_b = _total(a), _total(b)
    if not (0.0 < sum_a * sum_b < np.inf):
        return np.nan
    if row_tau < 1.0 or col_tau < 1.0:
        return 1.0
    return sum_a / sum_b if abs(sum_a - sum_b) <= same * min(sum_a, sum_b) else np.nan


@moves
def _begin(weights, factor, tau, product, side, scalings):
    """Write weights, those of the updates, and scalings before the first of them."""
    for i in range(weights.size):
        weight = weights[i] * factor
        side[0, i] = weight
        side[1, i] = weight if product else _power_of(weight, tau)
        scalings[i] = weight if product else 1.0


@inner
def _largest(c):
    """The size of the largest entry of a row; nan if there is one."""
    top = magnitude(as_like(0.0, c))
    for j in range(c.size):
        top = max(top, magnitude(c[j]))
    return size_of(top, c)


@moves
def _within(x, rows, size, limit):
    """True if the numbers in so many rows lie between 1 / limit and limit."""
    for r in range(rows):
        for i in range(size):
            if not 1.0 / limit < x[r, i] < limit:
                return False
    return True


@whole
def _iterate(task, k, work, limits):
    """The half steps of problem k; False if it is not one for this module."""
    kernel, row, col, left, right, row_sums, col_sums, light, acc, four = work
    n, m, count, width = task.cost.shape[1], task.cost.shape[2], task.iterations, task.epsilon[k]
    cost = task.cost[k if task.cost.shape[0] > 1 else 0]
    a, b = task.a[k if task.a.shape[0] > 1 else 0], task.b[k if task.b.shape[0] > 1 else 0]
    row_tau, col_tau = task.row_tau[k], task.col_tau[k]
    factor = _factor(a, b, row_tau, col_tau, task.same)
    sound = factor > 0.0
    if sound:
        _begin(a, 1.0, row_tau, task.product, row, left[0])
        _begin(b, factor, col_tau, task.product, col, right[0])
    inv2 = as_like(LOG2E / width, light)
    _clear(light)
    for i in range(n):
        sound = sound and _largest(cost[i]) <= limits[0] * width
        fill(cost[i], inv2, light, as_like(0.0, light), kernel[i])
    ended = count if task.end_cols else count - 1
    for step in range(count if sound else 0):
        x, s, y, t, new = left[step], row_sums[step], right[step], col_sums[step], right[step + 1]
        for j in range(m):
            light[j] = y[j]
            acc[j] = 0.0
        for i in range(0, kernel.shape[0], 4):
            _products(kernel, i, kernel.shape[0], m, light, four)
            for q in range(4):
                s[i + q] = four[q]
                x[i + q] = row[1, i + q] / _power_of(four[q], row_tau)
                four[q] = x[i + q]
            if step < ended:
                _collected(kernel, i, kernel.shape[0], four, acc)
        for j in range(m):
            t[j] = acc[j]
            new[j] = col[1, j] / _power_of(acc[j], col_tau) if step < ended else y[j]
    sound = sound and _within(left, count, n, limits[1]) and _within(row_sums, count, n, limits[1])
    return sound and _within(right, count + 1, m, limits[1]) and _within(col_sums, ended, m, limits[1])


@moves
def _potentials(width, scalings, side, product, out):
    for i in range(out.size):
        out[i] = width * np.log(scalings[i] / side[0, i] if product else scalings[i])


@inner
def _weigh(p, scale, y, bar, acc, out):
    """Write W = scale p y bar, add it to acc and return its sum."""
    total = as_like(0.0, p)
    for j in range(p.size):
        w = scale * p[j] * y[j] * bar[j]
        out[j] = w
        total += w
        acc[j] += w
    return total


@inner
def _cost_row(p, c, z, scale, out):
    """Turn W into scale (W + p z), and return its product with c."""
    total = as_like(0.0, p)
    for j in range(p.size):
        d = scale * (out[j] + p[j] * z[j])
        out[j] = d
        total += d * c[j]
    return total


@moves
def _open(width, bars, potentials, product, side, size, bar):
    """Add what is to be passed back to potentials; returns the derivative in epsilon of their unit."""
    total = 0.0
    for i in range(size):
        bar[i] += width * bars[i]
        side[2, i] = -width * bars[i] if product else 0.0
        total += bars[i] * (potentials[i] / width)
    return total


@moves
def _back(bar, tau, product, side, s, drop):
    """A half step backwards: z, and the derivatives in log weights; returns that in tau. What is in `bar` is spent.

    The derivative of an update in tau is -log s, and log weight - log s for the other reference.
    """
    weight, by_tau = 1.0 if product else tau, 0.0
    for i in range(bar.size):
        drop[i] = -tau * bar[i] / s[i]
        side[2, i] += weight * bar[i]
        if 0.0 < tau < 1.0 and bar[i] != 0.0:  # rows that are none have weight 0
            by_tau += bar[i] * np.log(1.0 / s[i] if product else side[0, i] / s[i])
        bar[i] = 0.0
    return by_tau


@whole
def _pull(task, k, work, spare, bars, found, out):
    """The derivatives of problem k, whose half steps have been run."""
    kernel, row, col, left, right, row_sums, col_sums, light, acc, four = work
    row_bar, col_bar, row_drop, col_drop, lefts, rights = spare
    plan_bar, f_bar, g_bar, has = bars
    cost, width, moved = task.cost[k if task.cost.shape[0] > 1 else 0], task.epsilon[k], out.cost[k]
    n, m, count, row_tau, col_tau = cost.shape[0], cost.shape[1], task.iterations, task.row_tau[k], task.col_tau[k]
    x, y, by_rows, by_cols = left[count - 1], right[count], 0.0, 0.0
    _clear(row_bar)
    for j in range(m):
        light[j] = y[j]
        col_bar[j] = 0.0
    for i in range(n):
        if has:
            row_bar[i] = _weigh(kernel[i], as_like(x[i], kernel), light, plan_bar[k, i], col_bar, moved[i])
        else:
            _clear(moved[i])
    by_epsilon = _open(width, f_bar[k], found[1][k], task.product, row, n, row_bar)
    by_epsilon += _open(width, g_bar[k], found[2][k], task.product, col, m, col_bar)
    for step in range(count - 1, -1, -1):
        x, y = left[step], right[step]
        columns = step + 1 < count or task.end_cols  # else what bears on y stays: the step before has made it
        _clear(col_drop[step])
        if columns:
            by_cols += _back(col_bar, col_tau, task.product, col, col_sums[step], col_drop[step])
        for j in range(m):
            light[j] = col_drop[step, j]
            acc[j] = 0.0
        if columns:
            for i in range(0, kernel.shape[0], 4):
                _products(kernel, i, kernel.shape[0], m, light, four)
                for q in range(4):
                    row_bar[i + q] += x[i + q] * four[q]
        by_rows += _back(row_bar, row_tau, task.product, row, row_sums[step], row_drop[step])
        for i in range(0, kernel.shape[0], 4):
            for q in range(4):
                four[q] = row_drop[step, i + q]
            _collected(kernel, i, kernel.shape[0], four, acc)
        for j in range(m):
            col_bar[j] += y[j] * acc[j]
    for step in range(count):
        for i in range(n):
            lefts[2 * step, i], lefts[2 * step + 1, i] = left[step, i], row_drop[step, i]
        for j in range(m):
            rights[2 * step, j], rights[2 * step + 1, j] = col_drop[step, j], right[step, j]
    scale, dot = as_like(-1.0 / width, kernel), 0.0
    for i in range(n):
        _clear(light)
        for r in range(0, lefts.shape[0], 4):
            _combine(light, lefts, rights, r, i)
        dot += _cost_row(kernel[i], cost[i], light, scale, moved[i])
    for i in range(n):
        out.a[k, i] = row[2, i] / row[0, i]
    for j in range(m):
        out.b[k, j] = (col[2, j] + (col_bar[j] if task.product else 0.0)) / col[0, j]
    row_slack, col_slack = 1.0 - row_tau, 1.0 - col_tau
    out.rows[k], out.cols[k] = by_rows * row_slack * row_slack / width, by_cols * col_slack * col_slack / width
    out.epsilon[k] = by_epsilon - (dot + by_rows * row_tau * row_slack + by_cols * col_tau * col_slack) / width


@entry_point
def _run(thread, threads, task, work, limits, found, back, spare, bars, out, sound):
    """Run every `threads`-th problem, and write its plan or, if `back`, its derivatives.

    One function, because users wait for the compiler and both ways begin alike.
    """
    kernel, row, col, left, right, row_sums, col_sums, light, acc, four = work
    plans, f, g = found
    count = task.iterations
    for k in range(thread, sound.size, threads):
        sound[k] = _iterate(task, k, work, limits)
        if not sound[k]:
            continue
        x, y = left[count - 1], right[count]
        _potentials(task.epsilon[k], x, row, task.product, f[k])
        _potentials(task.epsilon[k], y, col, task.product, g[k])
        if back:
            _pull(task, k, work, spare, bars, found, out)
            continue
        for j in range(light.size):
            light[j] = y[j]
        for i in range(f.shape[1]):
            scale, p, q = as_like(x[i], kernel), kernel[i], plans[k, i]
            for j in range(light.size):
                q[j] = scale * p[j] * light[j]


# --- called from Python -----------------------------------------------------------------------------------------------


def _work(task: Layers) -> tuple[Array, ...]:
    """What a thread needs for one problem: K, both sides' weights, the scalings and sums of all half steps.

    Rows come in fours: those that are none have weight 0 and positive sums.
    """
    (_, n, m), count, dtype = task.cost.shape, task.iterations, task.cost.dtype
    padded = -(-n // 4) * 4
    kernel, row = np.empty((padded, m), dtype), np.empty((3, padded))
    kernel[n:], row[:, n:] = 1.0, 0.0
    left, right = np.empty((count, padded)), np.empty((count + 1, m))
    sums = np.empty((count, padded)), np.empty((count, m))
    return kernel, row, np.empty((3, m)), left, right, *sums, np.empty(m, dtype), np.empty(m), np.empty(4)


def _spare(task: Layers, back: bool) -> tuple[Array, ...]:
    """What the way back needs besides: derivatives, what half steps leave, and the factors of low rank."""
    (_, n, m), count, dtype = task.cost.shape, task.iterations if back else 0, task.cost.dtype
    padded, rank = -(-n // 4) * 4, -(-2 * count // 4) * 4  # factors are summed up four at a time
    lefts, rights = np.zeros((rank, n), dtype), np.zeros((rank, m), dtype)
    return np.empty(padded), np.empty(m), np.empty((count, padded)), np.empty((count, m)), lefts, rights


def _on_threads(task: Layers, found: tuple[Array, Array, Array], back: bool, bars: Any, out: LayerBars) -> bool:
    """True if all problems were served."""
    cost, problems = task.cost, task.epsilon.size
    bytes_, sound = cost.dtype.itemsize, np.empty(problems, np.bool_)
    frozen, limits = _all_frozen(task), (REACH[bytes_], RANGE[bytes_])
    threads = 1 if problems * cost[0].size < PARALLEL_FROM else max(1, min(available(), problems))

    def run(t: int) -> None:
        _run(t, threads, frozen, _work(task), limits, found, back, _spare(task, back), bars, out, sound)

    split(run, threads)
    return bool(sound.all())


def layer_forward(task: Layers, plans: Array, f: Array, g: Array) -> bool:
    """Write plans (B, n, m) in the dtype of the cost, and potentials; False if some problem has to go another way."""
    vector, matrix = np.empty(0), np.empty((0, 0))
    stack = np.empty((0, 0, 0), task.cost.dtype)
    bars = _frozen(stack), _frozen(matrix), _frozen(matrix), False
    return _on_threads(task, (plans, f, g), False, bars, LayerBars(stack, matrix, matrix, vector, vector, vector))


def layer_backward(task: Layers, plan_bar: Array | None, f_bar: Array, g_bar: Array, out: LayerBars) -> bool:
    """Write the derivatives; False if some problem has to go another way."""
    has, stack = plan_bar is not None, np.empty((0, 0, 0), task.cost.dtype)
    bars = *(_frozen(stack if x is None else x) for x in (plan_bar, f_bar, g_bar)), has
    return _on_threads(task, (stack, np.empty_like(f_bar), np.empty_like(g_bar)), True, bars, out)
