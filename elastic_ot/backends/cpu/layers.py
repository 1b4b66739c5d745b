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
what the columns' half step has left is complete for a row before the rows' half step needs it. The first pass forwards
makes K, the last one makes the plan of it, in its place. Backwards K is read from the plan, between the inverses of the
last scalings: no exponential, and no half step where those of the forward pass are kept. The first pass backwards is
the one that has the derivative in the plan summed up, the last one writes the derivative in the cost.

Numba's cache watches this file only: after a change of `batch`, `batch_derivatives` or `vectors` in a checkout, delete
the cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from ..protocol import LOG2E, Array
from .batch import _collected, _products, as_like
from .batch_derivatives import _combine
from .dense import _as_float32, _as_float64, _as_int32, _as_int64, _clear, _frozen
from .flags import entry_point, inner, moves, whole
from .threads import available, split
from .vectors import fill

REACH = {4: 32.0, 8: 250.0}  # of costs over epsilon, by the bytes of a number
RANGE = {4: 1e16, 8: 1e140}  # of scalings and sums, and of their inverses
SPREAD = {4: 1e30, 8: 1e280}  # of what a plan's entry can be, of its inverse, and of what scalings change by in all
PARALLEL_FROM = 1 << 18  # entries of all problems
NONE = np.empty((0, 0))
NO_MATRICES = {np.dtype(dtype): np.empty((0, 0, 0), dtype) for dtype in (np.float32, np.float64)}
Bars = tuple[Array, Array, Array, Array]


class Layers(NamedTuple):
    """Problems and their half steps; a stack of one matrix or of one vector is shared by all problems.

    Attributes
    ----------
    cost : ndarray, shape (B, n, m) or (1, n, m)
    a, b : ndarrays of float64, shapes (B, n) or (1, n), and (B, m) or (1, m)
    problems : int
        B.
    numbers : ndarray of float64, shape (B, 3) or (1, 3), read-only
        Epsilon and the exponents tau of the rows' update and of the columns': 1 for `Fixed`, 0 for `Free`,
        rho / (rho + epsilon) for `KL`.
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
    problems: int
    numbers: Array
    product: bool
    iterations: int
    end_cols: bool
    same: float


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
def _begin(weights, factor, tau, product, side):
    """Write weights, and those of the updates, into the first two rows of a side, and 0 into that of derivatives."""
    for i in range(weights.size):
        weight = weights[i] * factor
        side[0, i] = weight
        side[1, i] = weight if product else _power_of(weight, tau)
        side[2, i] = 0.0


@inner
def _largest(c):
    """The size of the largest entry of a row; nan if there is one."""
    top = magnitude(as_like(0.0, c))
    for j in range(c.size):
        top = max(top, magnitude(c[j]))
    return size_of(top, c)


@inner
def _span(x, rows, size):
    """The least and the largest of positive numbers in so many rows; what is not positive is less, nan is more."""
    low = high = _as_int64(x[0, 0])
    for r in range(rows):
        for i in range(size):
            bits = _as_int64(x[r, i])
            low, high = min(low, bits), max(high, bits)
    return (_as_float64(low) if low > 0 else 0.0), _as_float64(high)


@moves
def _within(span, limit):
    return 1.0 / limit < span[0] and span[1] < limit


@moves
def _apart(left, right, power, limit):
    """True if entries of the plan, and what half steps change them by, lie within the limit."""
    low, high, change = left[0] * right[0], left[1] * right[1], left[1] / left[0] * (right[1] / right[0])
    return low > power / limit and high * power < limit and change < limit


@moves
def _shared(stack, k):
    """The place of problem k in a stack that all may share."""
    return k if stack.shape[0] > 1 else 0


@inner
def _scaled(p, scale, y):
    for j in range(p.size):
        p[j] = scale * p[j] * y[j]


@whole
def _parts(history, count):
    """Scalings and sums of all half steps: x of the rows, y of the columns, also before the first, s and t."""
    x, y, s = history[:count], history[count : 2 * count + 1], history[2 * count + 1 : 3 * count + 1]
    return x, y, s, history[3 * count + 1 :]


@whole
def _sides(task, k, work):
    """Begin both sides, see `_begin`, where `work` begins; returns what b was multiplied by, nan if it is not served."""
    row_tau, col_tau = task.numbers[_shared(task.numbers, k), 1], task.numbers[_shared(task.numbers, k), 2]
    a, b = task.a[_shared(task.a, k)], task.b[_shared(task.b, k)]
    factor = _factor(a, b, row_tau, col_tau, task.same)
    _begin(a, 1.0, row_tau, task.product, work[0:3])
    _begin(b, factor, col_tau, task.product, work[3:6])
    return factor


@whole
def _iterate(task, k, kernel, history, work, light, limits):
    """The half steps of problem k, and its plan in place of `kernel`; False if it is not one for this module."""
    (n, m), count, acc, four = kernel.shape, task.iterations, work[6][: kernel.shape[1]], work[7]
    (width, row_tau, col_tau), cost = task.numbers[_shared(task.numbers, k)], task.cost[_shared(task.cost, k)]
    left, right, row_sums, col_sums = _parts(history, count)
    sound = _sides(task, k, work) > 0.0
    if not sound:
        return False
    row, col, first = work[0:3], work[3:6], right[0]
    for j in range(m):
        first[j] = col[0, j] if task.product else 1.0
    inv2, zero, y, top = as_like(LOG2E / width, light), as_like(0.0, light), light[0], 0.0
    _clear(light[1])
    ended = count if task.end_cols else count - 1
    for step in range(count):
        x, s, before, t, new = left[step], row_sums[step], right[step], col_sums[step], right[step + 1]
        for j in range(m):
            y[j] = before[j]
            acc[j] = 0.0
        for i in range(0, n, 4):
            if step == 0:
                for r in range(i, min(i + 4, n)):
                    largest = _largest(cost[r])
                    sound = sound and largest <= limits[0] * width
                    top = max(top, largest)
                    fill(cost[r], inv2, light[1], zero, kernel[r])
            _products(kernel, i, n, m, y, four)
            for q in range(min(4, n - i)):
                s[i + q] = four[q]
                x[i + q] = row[1, i + q] / _power_of(four[q], row_tau)
                four[q] = x[i + q]
            if step < ended:
                _collected(kernel, i, n, four, acc)
            else:
                for q in range(min(4, n - i)):
                    _scaled(kernel[i + q], as_like(four[q], light), y)
        if not sound:
            return False
        for j in range(m):
            t[j] = acc[j]
            new[j] = col[1, j] / _power_of(acc[j], col_tau) if step < ended else before[j]
    if task.end_cols:
        for j in range(m):
            y[j] = right[count, j]
        for i in range(n):
            _scaled(kernel[i], as_like(left[count - 1, i], light), y)
    rows, cols, limit = _span(left, count, n), _span(right, count + 1, m), limits[1]
    sound = _within(rows, limit) and _within(cols, limit) and _within(_span(row_sums, count, n), limit)
    if ended > 0:
        sound = sound and _within(_span(col_sums, ended, m), limit)
    return sound and _apart(rows, cols, np.exp(top / width), limits[2])


@moves
def _potentials(width, scalings, side, product, out):
    for i in range(out.size):
        out[i] = width * np.log(scalings[i] / side[0, i] if product else scalings[i])


@inner
def _dot(x, y):
    total = as_like(0.0, x)
    for j in range(x.size):
        total += x[j] * y[j]
    return total


@moves
def _open(width, bars, potentials, product, side, bar):
    """Add what is to be passed back to potentials; returns the derivative in epsilon of their unit."""
    total = 0.0
    for i in range(bars.size):
        bar[i] += width * bars[i]
        side[2, i] = -width * bars[i] if product else 0.0
        total += bars[i] * (potentials[i] / width)
    return total


@moves
def _weights_back(bar, lo, hi, tau, product, side, s):
    """Derivatives in log weights of a half step, for entries lo to hi; returns that in tau.

    The latter is -log s, and log weight - log s for the other reference.
    """
    weight, total = 1.0 if product else tau, 0.0
    for i in range(lo, hi):
        side[2, i] += weight * bar[i]
        if 0.0 < tau < 1.0 and bar[i] != 0.0:
            total += bar[i] * np.log(1.0 / s[i] if product else side[0, i] / s[i])
    return total


@moves
def _back(bar, lo, hi, tau, s, last, drop):
    """A half step backwards for entries lo to hi: z, over the last scalings. What is in `bar` is spent."""
    for i in range(lo, hi):
        drop[i] = -tau * bar[i] / (s[i] * last[i])
        bar[i] = 0.0


@moves
def _factors(left, last, drops, lo, hi, scale, out):
    """The factors of low rank of rows lo to hi, in the order of those of the columns."""
    for step in range(left.shape[0]):
        for i in range(lo, hi):
            out[2 * step, i - lo] = scale * drops[step, i]
            out[2 * step + 1, i - lo] = scale * (left[step, i] / last[i])


@inner
def _weigh(p, bar, acc):
    """Add the entries of p bar to acc; returns their sum."""
    total = as_like(0.0, p)
    for j in range(p.size):
        w = p[j] * bar[j]
        total += w
        acc[j] += w
    return total


@inner
def _slope(p, bar, scale, left, right, q, out):
    """Write p (scale bar + z), z the part of row q of the first four factors of low rank."""
    l0, l1, l2, l3 = left[0, q], left[1, q], left[2, q], left[3, q]
    r0, r1, r2, r3 = right[0], right[1], right[2], right[3]
    for j in range(p.size):
        out[j] = p[j] * (scale * bar[j] + ((l0 * r0[j] + l1 * r1[j]) + (l2 * r2[j] + l3 * r3[j])))


@inner
def _add_factors(bar, scale, left, right, q, out):
    """Write scale bar, and add the part of row q of all factors but four."""
    for j in range(bar.size):
        out[j] = scale * bar[j]
    for r in range(4, left.shape[0], 4):
        _combine(out, left, right, r, q)


@whole
def _pull(task, k, plan, history, work, light, lefts, bars, found, out):
    """The derivatives of problem k from its plan and half steps; that in the cost alone if nothing bears on f and g."""
    plan_bar, f_bar, g_bar = bars
    bar, moved, count, product, every = plan_bar[k], out[0][k], task.iterations, task.product, f_bar.size > 0
    (n, m), (width, row_tau, col_tau) = plan.shape, task.numbers[_shared(task.numbers, k)]
    left, right, row_sums, col_sums = _parts(history, count)
    row, col, acc, four, row_bar, col_bar = work[0:3], work[3:6], work[6][:m], work[7], work[8][:n], work[9][:m]
    row_drop, col_drop = work[10 : 10 + count], work[10 + count : 10 + 2 * count]
    x_last, y_last, v, z, rights = left[count - 1], right[count], light[0], light[1][:m], light[2:]
    by_rows, by_cols, by_epsilon, scale = 0.0, 0.0, 0.0, as_like(-1.0 / width, light)
    _clear(row_bar)
    _clear(col_bar)
    if every:
        by_epsilon += _open(width, f_bar[k], found[0][k], product, row, row_bar)
        by_epsilon += _open(width, g_bar[k], found[1][k], product, col, col_bar)
    for r in range(2 * count, lefts.shape[0]):
        _clear(lefts[r])
        _clear(rights[r])
    if task.end_cols:
        for i in range(n):
            row_bar[i] += _weigh(plan[i], bar[i], col_bar)
    for step in range(count - 1, -1, -1):
        x, y, s, t, drop = left[step], right[step], row_sums[step], col_sums[step], col_drop[step]
        columns = step + 1 < count or task.end_cols  # else what bears on y stays: the step before has made it
        collects = step > 0 or (product and every)
        for j in range(m):
            acc[j], drop[j] = 0.0, 0.0
            rights[2 * step, j] = y[j] / y_last[j]
        if columns:
            if every:
                by_cols += _weights_back(col_bar, 0, m, col_tau, product, col, t)
            _back(col_bar, 0, m, col_tau, t, y_last, drop)
        for j in range(m):
            rights[2 * step + 1, j] = v[j] = drop[j]
        for i in range(0, n, 4):
            last = min(i + 4, n)
            if columns:
                _products(plan, i, n, m, v, four)
                for r in range(i, last):
                    row_bar[r] += x[r] / x_last[r] * four[r - i]
            else:
                for r in range(i, last):
                    row_bar[r] += _weigh(plan[r], bar[r], col_bar)
            if every:
                by_rows += _weights_back(row_bar, i, last, row_tau, product, row, s)
            _back(row_bar, i, last, row_tau, s, x_last, row_drop[step])
            if collects:
                for r in range(i, last):
                    four[r - i] = row_drop[step, r]
                _collected(plan, i, n, four, acc)
            if step == 0:
                _factors(left, x_last, row_drop, i, last, scale, lefts)
                for r in range(i, last):
                    if lefts.shape[0] > 4:
                        _add_factors(bar[r], scale, lefts, rights, r - i, z)
                        _slope(plan[r], z, as_like(1.0, z), lefts, rights, r - i, moved[r])
                    else:
                        _slope(plan[r], bar[r], scale, lefts, rights, r - i, moved[r])
        for j in range(m):
            col_bar[j] += y[j] / y_last[j] * acc[j]
    if not every:
        return
    dot, cost = 0.0, task.cost[_shared(task.cost, k)]
    for i in range(n):
        dot += _dot(moved[i], cost[i])
        out[1][k, i] = row[2, i] / row[0, i]
    for j in range(m):
        out[2][k, j] = (col[2, j] + (col_bar[j] if product else 0.0)) / col[0, j]
    row_slack, col_slack = 1.0 - row_tau, 1.0 - col_tau
    out[3][k, 0] = by_epsilon - (dot + by_rows * row_tau * row_slack + by_cols * col_tau * col_slack) / width
    out[3][k, 1] = by_rows * row_slack * row_slack / width
    out[3][k, 2] = by_cols * col_slack * col_slack / width


@entry_point
def _run(thread, threads, task, forward, back, limits, history, scratch, found, bars, out, sound):
    """Run the half steps of every `threads`-th problem, or take those that are kept, and write derivatives if `back`.

    One function, because users wait for the compiler and all ways begin alike. What is in `history` belongs to problems
    or, where it is not kept, to threads.
    """
    work, light, lefts, (f, g) = scratch[0][thread], scratch[1][thread], scratch[2][thread], found
    plans, vectors = history
    for k in range(thread, task.problems, threads):
        own = vectors[k if vectors.shape[0] == task.problems else thread]
        plan = plans[k if plans.shape[0] == task.problems else thread]
        if forward:
            sound[thread] = _iterate(task, k, plan, own, work, light, limits)
            if not sound[thread]:
                return
        elif f.size > 0:
            _sides(task, k, work)
        if f.size > 0:
            width, count = task.numbers[_shared(task.numbers, k), 0], task.iterations
            _potentials(width, own[count - 1], work[0:3], task.product, f[k])
            _potentials(width, own[2 * count], work[3:6], task.product, g[k])
        if back:
            _pull(task, k, plan, own, work, light, lefts, bars, found, out)


# --- called from Python -----------------------------------------------------------------------------------------------


class History(NamedTuple):
    """What a forward pass leaves for the backward one: plans (B, n, m), and scalings and sums, see `_parts`."""

    plans: Array
    vectors: Array


def layer_forward(task: Layers, plans: Array, f: Array = NONE, g: Array = NONE) -> History | None:
    """Write plans (B, n, m) in the dtype of the cost, and potentials (B, n) and (B, m) unless they are not wanted.

    None if some problem has to go another way.
    """
    found, none = History(plans, _vectors(task, task.problems)), NO_MATRICES[plans.dtype]
    served = _on_threads(task, True, False, _threads(task), found, (f, g), (none, NONE, NONE), (none, NONE, NONE, NONE))
    return found if served else None


def layer_backward(
    task: Layers, plan_bar: Array, f_bar: Array, g_bar: Array, out: Bars, history: History | None = None
) -> bool:
    """Write derivatives in the cost (B, n, m), a (B, n), b (B, m), and epsilon and both strengths rho (B, 3).

    By what the forward pass has left, or by running it again. False if some problem has to go another way.
    """
    forward, threads = history is None, _threads(task)
    if history is None:
        history = History(np.empty((threads, *task.cost.shape[1:]), task.cost.dtype), _vectors(task, threads))
    found = np.empty_like(f_bar), np.empty_like(g_bar)
    return _on_threads(task, forward, True, threads, history, found, (plan_bar, f_bar, g_bar), out)


def cost_backward(task: Layers, plan_bar: Array, out: Array, history: History | None = None) -> bool:
    """Write those in the cost alone, where nothing bears on potentials."""
    return layer_backward(task, plan_bar, NONE, NONE, (out, NONE, NONE, NONE), history)


def _threads(task: Layers) -> int:
    entries = task.problems * task.cost.shape[1] * task.cost.shape[2]
    return 1 if entries < PARALLEL_FROM else max(1, min(available(), task.problems))


def _vectors(task: Layers, count: int) -> Array:
    return np.empty((count, 4 * task.iterations + 1, max(4, *task.cost.shape[1:])))


def _on_threads(
    task: Layers, forward: bool, back: bool, threads: int, history: History, found: Any, bars: Any, out: Bars
) -> bool:
    """True if all problems were served."""
    dtype, size, rank = task.cost.dtype, history.vectors.shape[2], -(-task.iterations // 2) * 4
    scratch = (
        np.empty((threads, 10 + 2 * task.iterations, size)),
        np.empty((threads, 2 + rank, size), dtype),
        np.empty((threads, rank, 4), dtype),
    )
    frozen, bars = Layers(*map(_frozen, task[:3]), *task[3:]), tuple(map(_frozen, bars))
    bytes_, sound = dtype.itemsize, np.ones(threads, np.bool_)
    limits = REACH[bytes_], RANGE[bytes_], SPREAD[bytes_]

    def run(t: int) -> None:
        _run(t, threads, frozen, forward, back, limits, history, scratch, found, bars, out, sound)

    split(run, threads)
    return bool(sound.all())
