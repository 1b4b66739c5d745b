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
EXTENT = {4: 1e30, 8: 1e280}  # of what a plan's entry can be, of its inverse, and of what scalings change by in all
# Rows of a thread's memory: of each side its weights, those of its updates, and derivatives in their logarithms; then
# single vectors; then, for every iteration, z of the rows, and their scalings over the last ones.
ROW, COL, PER_STEP = 0, 3, 11
PARALLEL_FROM = 1 << 18  # entries of all problems
NO_MATRIX = np.empty((0, 0))
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
def _begin(weights, factor, tau, product, work, at):
    """Write weights, and those of the updates, into two rows of `work`, and 0 into a third, for derivatives."""
    for i in range(weights.size):
        weight = weights[i] * factor
        work[at, i] = weight
        work[at + 1, i] = weight if product else _power_of(weight, tau)
        work[at + 2, i] = 0.0


@inner
def _largest(c):
    """The size of the largest entry of a row; nan if there is one."""
    top = magnitude(as_like(0.0, c))
    for j in range(c.size):
        top = max(top, magnitude(c[j]))
    return size_of(top, c)


@moves
def _span(x, at, rows, size):
    """The least and the largest of positive numbers in so many rows; 0 for what is not positive, and nan is larger."""
    low = high = _as_int64(x[at, 0])
    for r in range(at, at + rows):
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


@moves
def _scaled(p, scale, y):
    for j in range(p.size):
        p[j] = scale * p[j] * y[j]


@moves
def _copied(x, size, out):
    for j in range(size):
        out[j] = x[j]


@moves
def _ratios(x, y, size, out):
    for i in range(size):
        out[i] = x[i] / y[i]


@moves
def _updated(weights, s, tau, size, out):
    for i in range(size):
        out[i] = weights[i] / _power_of(s[i], tau)


@moves
def _sides(task, k, work):
    """Write both sides, see `_begin`; returns what b was multiplied by, nan for weights that are not served here."""
    row_tau, col_tau = task.numbers[_shared(task.numbers, k), 1], task.numbers[_shared(task.numbers, k), 2]
    a, b = task.a[_shared(task.a, k)], task.b[_shared(task.b, k)]
    factor = _factor(a, b, row_tau, col_tau, task.same)
    _begin(a, 1.0, row_tau, task.product, work, ROW)
    _begin(b, factor, col_tau, task.product, work, COL)
    return factor


@whole
def _iterate(task, k, kernel, history, work, light, limits):
    """The half steps of problem k, and its plan in place of `kernel`; False if it is not one for this module."""
    (n, m), count, acc, four = kernel.shape, task.iterations, work[6][: kernel.shape[1]], work[7]
    (width, row_tau, col_tau), cost = task.numbers[_shared(task.numbers, k)], task.cost[_shared(task.cost, k)]
    sound = _sides(task, k, work) > 0.0
    for j in range(m):
        history[count, j] = work[COL, j] if task.product else 1.0
    inv2, zero, y, top = as_like(LOG2E / width, light), as_like(0.0, light), light[0], 0.0
    _clear(light[1])
    for step in range(count if sound else 0):
        ends = step + 1 == count and not task.end_cols
        x, before, new, s = (
            history[step],
            history[count + step],
            history[count + step + 1],
            history[2 * count + 1 + step],
        )
        _copied(before, m, y)
        _clear(acc)
        for i in range(0, n, 4):
            last = min(i + 4, n)
            for r in range(i, last if step == 0 else i):
                largest = _largest(cost[r])
                sound = sound and largest <= limits[0] * width
                top = max(top, largest)
                fill(cost[r], inv2, light[1], zero, kernel[r])
            _products(kernel, i, n, m, y, four)
            for q in range(4):  # rows that are none have room, and no meaning
                s[i + q] = four[q]
                x[i + q] = work[ROW + 1, i + q] / _power_of(four[q], row_tau)
                four[q] = x[i + q]
            if not ends:
                _collected(kernel, i, n, four, acc)
            for r in range(i, last if ends else i):
                _scaled(kernel[r], as_like(x[r], light), y)
        if ends:
            _copied(before, m, new)
        else:
            _copied(acc, m, history[3 * count + 1 + step])
            _updated(work[COL + 1], acc, col_tau, m, new)
    _copied(history[2 * count], m, y)
    for i in range(n if sound and task.end_cols else 0):
        _scaled(kernel[i], as_like(history[count - 1, i], light), y)
    limit, ended = limits[1], count if task.end_cols else count - 1
    rows, cols = _span(history, 0, count, n), _span(history, count, count + 1, m)
    sound = sound and _within(rows, limit) and _within(cols, limit)
    sound = sound and _within(_span(history, 2 * count + 1, count, n), limit)
    if ended > 0:
        sound = sound and _within(_span(history, 3 * count + 1, ended, m), limit)
    return sound and _apart(rows, cols, np.exp(top / width), limits[2])


@moves
def _potentials(width, scalings, weights, product, out):
    for i in range(out.size):
        out[i] = width * np.log(scalings[i] / weights[i] if product else scalings[i])


@inner
def _dot(x, y):
    total = as_like(0.0, x)
    for j in range(x.size):
        total += x[j] * y[j]
    return total


@moves
def _open(width, bars, potentials, product, by_weights, bar):
    """Add what is to be passed back to potentials; returns the derivative in epsilon of their unit."""
    total = 0.0
    for i in range(bars.size):
        bar[i] += width * bars[i]
        by_weights[i] = -width * bars[i] if product else 0.0
        total += bars[i] * (potentials[i] / width)
    return total


@moves
def _weights_back(bar, lo, hi, tau, product, weights, s, by_weights):
    """Derivatives in log weights of a half step, for entries lo to hi; returns that in tau.

    The latter is -log s, and log weight - log s for the other reference.
    """
    factor, total = 1.0 if product else tau, 0.0
    for i in range(lo, hi):
        by_weights[i] += factor * bar[i]
        if 0.0 < tau < 1.0 and bar[i] != 0.0:
            total += bar[i] * np.log(1.0 / s[i] if product else weights[i] / s[i])
    return total


@moves
def _gains(tau, s, last, size, out):
    """What derivatives in log scalings are multiplied by to give z, which is then divided by the last scalings."""
    for i in range(size):
        out[i] = -tau / (s[i] * last[i])


@moves
def _factors(work, count, i, scale, out):
    """The factors of low rank of rows i to i + 3, in the order of those of the columns."""
    for step in range(count):
        for q in range(4):
            out[2 * step, q] = scale * work[PER_STEP + step, i + q]
            out[2 * step + 1, q] = scale * work[PER_STEP + count + step, i + q]


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
def _slope(p, bar, scale, left, right, q, z, out):
    """Write p (scale bar + z + the part of row q of the first four factors of low rank)."""
    l0, l1, l2, l3 = left[0, q], left[1, q], left[2, q], left[3, q]
    r0, r1, r2, r3 = right[0], right[1], right[2], right[3]
    for j in range(p.size):
        out[j] = p[j] * ((scale * bar[j] + z[j]) + ((l0 * r0[j] + l1 * r1[j]) + (l2 * r2[j] + l3 * r3[j])))


@whole
def _pull(task, k, plan, history, work, light, lefts, bars, found, out):
    """The derivatives of problem k from its plan and half steps; that in the cost alone if nothing bears on f and g."""
    plan_bar, f_bar, g_bar = bars
    bar, moved, count, product, every = plan_bar[k], out[0][k], task.iterations, task.product, f_bar.size > 0
    (n, m), (width, row_tau, col_tau) = plan.shape, task.numbers[_shared(task.numbers, k)]
    acc, four, row_bar, col_bar, gain = work[6][:m], work[7], work[8], work[9][:m], work[10]
    x_last, y_last, v, z, rights = history[count - 1], history[2 * count], light[0], light[1][:m], light[2:]
    by_rows, by_cols, by_epsilon, scale = 0.0, 0.0, 0.0, as_like(-1.0 / width, light)
    _clear(row_bar)
    _clear(col_bar)
    _clear(z)
    if every:
        by_epsilon += _open(width, f_bar[k], found[0][k], product, work[ROW + 2], row_bar)
        by_epsilon += _open(width, g_bar[k], found[1][k], product, work[COL + 2], col_bar)
    for r in range(2 * count, lefts.shape[0]):
        _clear(lefts[r])
        _clear(rights[r])
    first = count if task.end_cols else count - 1
    for step in range(first, -1, -1):
        drop, ratio = work[PER_STEP + min(step, count - 1)], work[PER_STEP + count + min(step, count - 1)]
        _clear(acc)
        _clear(v)
        if step < first:
            t = history[3 * count + 1 + step]
            if every:
                by_cols += _weights_back(col_bar, 0, m, col_tau, product, work[COL], t, work[COL + 2])
            _gains(col_tau, t, y_last, m, gain)
            for j in range(m):
                v[j] = gain[j] * col_bar[j]
            _clear(col_bar)
        if step < count:
            s = history[2 * count + 1 + step]
            _ratios(history[step], x_last, n, ratio)
            _ratios(history[count + step], y_last, m, rights[2 * step])
            _copied(v, m, rights[2 * step + 1])
            _gains(row_tau, s, x_last, n, gain)
        for i in range(0, n, 4):
            last = min(i + 4, n)
            if step == first:
                for r in range(i, last):
                    row_bar[r] += _weigh(plan[r], bar[r], col_bar)
            else:
                _products(plan, i, n, m, v, four)
                for q in range(4):
                    row_bar[i + q] += ratio[i + q] * four[q]
            if step == count:
                continue
            if every:
                by_rows += _weights_back(row_bar, i, last, row_tau, product, work[ROW], s, work[ROW + 2])
            for q in range(4):
                four[q] = drop[i + q] = gain[i + q] * row_bar[i + q]
                row_bar[i + q] = 0.0
            if step > 0 or (product and every):
                _collected(plan, i, n, four, acc)
            if step > 0:
                continue
            _factors(work, count, i, scale, lefts)
            for r in range(i, last):
                for q in range(4, lefts.shape[0], 4):
                    if q == 4:
                        _clear(z)
                    _combine(z, lefts, rights, q, r - i)
                _slope(plan[r], bar[r], scale, lefts, rights, r - i, z, moved[r])
        for j in range(m if step < count else 0):
            col_bar[j] += rights[2 * step, j] * acc[j]
    if not every:
        return
    dot, cost = 0.0, task.cost[_shared(task.cost, k)]
    for i in range(n):
        dot += _dot(moved[i], cost[i])
        out[1][k, i] = work[ROW + 2, i] / work[ROW, i]
    for j in range(m):
        out[2][k, j] = (work[COL + 2, j] + (col_bar[j] if product else 0.0)) / work[COL, j]
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
            _potentials(width, own[count - 1], work[ROW], task.product, f[k])
            _potentials(width, own[2 * count], work[COL], task.product, g[k])
        if back:
            _pull(task, k, plan, own, work, light, lefts, bars, found, out)


# --- called from Python -----------------------------------------------------------------------------------------------


class History(NamedTuple):
    """What a forward pass leaves for the backward one: plans (B, n, m), and scalings and sums, see `_parts`."""

    plans: Array
    vectors: Array


def layer_forward(task: Layers, plans: Array, f: Array = NO_MATRIX, g: Array = NO_MATRIX) -> History | None:
    """Write plans (B, n, m) in the dtype of the cost, and potentials (B, n) and (B, m) unless they are not wanted.

    None if some problem has to go another way.
    """
    history, none = History(plans, _vectors(task, task.problems)), NO_MATRICES[plans.dtype]
    bars, out = (none, NO_MATRIX, NO_MATRIX), (none, NO_MATRIX, NO_MATRIX, NO_MATRIX)
    served = _on_threads(task, True, False, _threads(task), history, (f, g), bars, out)
    return history if served else None


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
    return layer_backward(task, plan_bar, NO_MATRIX, NO_MATRIX, (out, NO_MATRIX, NO_MATRIX, NO_MATRIX), history)


def _threads(task: Layers) -> int:
    entries = task.problems * task.cost.shape[1] * task.cost.shape[2]
    return 1 if entries < PARALLEL_FROM else max(1, min(available(), task.problems))


def _vectors(task: Layers, count: int) -> Array:
    _, n, m = task.cost.shape
    return np.empty((count, 4 * task.iterations + 1, max(-(-n // 4) * 4, m)))


def _on_threads(
    task: Layers, forward: bool, back: bool, threads: int, history: History, found: Any, bars: Any, out: Bars
) -> bool:
    """True if all problems were served."""
    dtype, size, rank = task.cost.dtype, history.vectors.shape[2], -(-task.iterations // 2) * 4
    scratch = (
        np.empty((threads, PER_STEP + 2 * task.iterations, size)),
        np.empty((threads, 2 + rank, size), dtype),
        np.empty((threads, rank, 4), dtype),
    )
    bars = tuple(map(_frozen, bars))
    frozen = task._replace(cost=_frozen(task.cost), a=_frozen(task.a), b=_frozen(task.b))
    bytes_, sound = dtype.itemsize, np.ones(threads, np.bool_)
    limits = REACH[bytes_], RANGE[bytes_], EXTENT[bytes_]

    def run(t: int) -> None:
        _run(t, threads, frozen, forward, back, limits, history, scratch, found, bars, out, sound)

    split(run, threads)
    return bool(sound.all())
