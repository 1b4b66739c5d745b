"""The primitives of `protocol` on the array API standard: slow, obvious, the oracle for every other backend.

It runs on any array library that follows the standard and makes temporaries of size n x m freely.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from array_api_compat import array_namespace

from .protocol import BOXED, CLIPPED, CONTINUES, LEFT, LOGARITHMIC, REACHED, Array, Krylov, Side, Sparse, Support


def _plan(cost: Array, inv_epsilon: float, alpha: Array, beta: Array) -> Array:
    xp = array_namespace(cost)
    return xp.exp(_exponent(cost, inv_epsilon, alpha, beta))


def _exponent(cost: Array, inv_epsilon: float, alpha: Array, beta: Array) -> Array:
    xp = array_namespace(cost)
    return alpha[:, None] + beta[None, :] - xp.astype(cost, xp.float64) * inv_epsilon


def _log_sum(exponent: Array, axis: int) -> Array:
    """Log sum exp along `axis`, -inf where every term is."""
    xp = array_namespace(exponent)
    top = xp.max(exponent, axis=axis, keepdims=True)
    top = xp.where(xp.isinf(top), xp.zeros_like(top), top)
    total = xp.sum(xp.exp(exponent - top), axis=axis)
    empty = total == 0
    log = xp.log(xp.where(empty, xp.ones_like(total), total)) + xp.squeeze(top, axis=axis)
    return xp.where(empty, xp.full_like(log, -float("inf")), log)


def potential(side: Side, log_ratio: Array, out: Array) -> None:
    xp = array_namespace(log_ratio)
    active = side.log_weight > -float("inf")
    ratio = xp.where(active, log_ratio, xp.zeros_like(log_ratio))
    if side.code == LOGARITHMIC:
        result = side.strength * ratio
    elif side.code == CLIPPED:
        result = xp.clip(ratio, -side.strength, side.strength)
    elif side.code == BOXED:
        zero = xp.zeros_like(ratio)
        result = xp.minimum(xp.maximum(zero, side.strength + ratio), side.strength2 + ratio)
    else:
        result = _quadratic(side, ratio, active)
    out[:] = xp.where(active, result, xp.full_like(result, -float("inf")))


def _quadratic(side: Side, ratio: Array, active: Array) -> Array:
    """Bisection: weight - strength F - weight exp(F - ratio) falls in F and has one root between 0 and its bound."""
    xp = array_namespace(ratio)
    slope = side.strength / xp.where(active, side.weight, xp.ones_like(ratio))
    zero = xp.zeros_like(ratio)
    low, high = xp.minimum(ratio, zero), xp.minimum(xp.maximum(ratio, zero), 1.0 / slope)
    for _ in range(200):
        middle = 0.5 * (low + high)
        above = xp.exp(middle - ratio) + slope * middle > 1.0
        low, high = xp.where(above, low, middle), xp.where(above, middle, high)
    return 0.5 * (low + high)


def scratch(shape: tuple[int, int], fast: bool, brief: bool = False) -> Any:
    return None


def matrix_like(cost: Array, dtype: Any) -> Array:
    return array_namespace(cost).empty(cost.shape, dtype=dtype)


def row_max(cost: Array, inv_epsilon: float, beta: Array, out: Array) -> None:
    xp = array_namespace(cost)
    out[:] = xp.max(_exponent(cost, inv_epsilon, xp.zeros_like(out), beta), axis=1)


def col_max(cost: Array, inv_epsilon: float, alpha: Array, out: Array) -> None:
    xp = array_namespace(cost)
    out[:] = xp.max(_exponent(cost, inv_epsilon, alpha, xp.zeros_like(out)), axis=0)


def _step(side: Side, omega: float, alpha: Array, log_sum: Array) -> Array:
    """Change of alpha: omega times the way to the exact update."""
    xp = array_namespace(alpha)
    active = side.log_weight > -float("inf")
    zero = xp.zeros_like(alpha)
    old = xp.where(active, alpha, zero) - xp.where(active, side.offset, zero)
    ratio = xp.where(active, side.log_weight, zero) - xp.where(active, log_sum, zero) + old
    target = xp.empty_like(alpha)
    potential(side, ratio, target)
    return xp.where(active, omega * (xp.where(active, target, zero) - old), zero)


def least_cells(cost: Array, beta: Array, which: Array, indices: Array, least: Array) -> None:
    xp = array_namespace(cost)
    reduced = xp.astype(xp.take(cost, which, axis=0), xp.float64) - beta[None, :]
    first = xp.argsort(reduced, axis=1)[:, : indices.shape[1]]
    finite = xp.take_along_axis(reduced, first, axis=1) < float("inf")
    indices[...] = xp.astype(xp.where(finite, first, xp.full_like(first, -1)), indices.dtype)
    least[...] = xp.min(reduced, axis=1)


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
    for _ in range(count):
        change = _step(cols, omega[1], beta, log_col)
        beta[:] = beta + change
        log_col_updated[:] = log_col + change
        log_row[:] = _log_sum(_exponent(cost, inv_epsilon, alpha, beta), 1)
        previous_alpha[:] = alpha
        alpha[:] = alpha + _step(rows, omega[0], alpha, log_row)
        log_col[:] = _log_sum(_exponent(cost, inv_epsilon, alpha, beta), 0)


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
    xp = array_namespace(kernel)
    vectors = (alpha, beta, log_row, log_col, previous_alpha, log_col_updated)
    row_on, col_on = rows.log_weight > -float("inf"), cols.log_weight > -float("inf")
    for done in range(count):
        before = [xp.asarray(x, copy=True) for x in vectors]
        change = _step(cols, omega[1], beta, log_col)
        beta[:] = beta + change
        log_col_updated[:] = log_col + change
        u, v = _scalings(alpha, base_alpha), _scalings(beta, base_beta)
        row_sum = u * xp.sum(kernel * v[None, :], axis=1)
        sound = _within(row_sum, row_on, 1e300) and _within(v, col_on, 1e300)
        if sound:
            log_row[:] = _log(row_sum)
            previous_alpha[:] = alpha
            alpha[:] = alpha + _step(rows, omega[0], alpha, log_row)
            u = _scalings(alpha, base_alpha)
            col_sum = v * xp.sum(u[:, None] * kernel, axis=0)
            sound = _within(col_sum, col_on, 1e300) and _within(u, row_on, 1e300)
        if not sound:
            for vector, old in zip(vectors, before, strict=True):
                vector[:] = old
            return done, False
        log_col[:] = _log(col_sum)
        if not (_within(u, row_on, limit) and _within(v, col_on, limit)):
            return done + 1, False
    return count, True


def _scalings(alpha: Array, base: Array) -> Array:
    xp = array_namespace(alpha)
    removed = xp.isinf(alpha)
    zero = xp.zeros_like(alpha)
    return xp.where(removed, zero, xp.exp(xp.where(removed, zero, alpha) - xp.where(removed, zero, base)))


def _within(x: Array, active: Array, limit: float) -> bool:
    xp = array_namespace(x)
    return bool(xp.all(((x > 1 / limit) & (x < limit)) | ~active))


def _log(x: Array) -> Array:
    xp = array_namespace(x)
    empty = x == 0
    return xp.where(empty, xp.full_like(x, -float("inf")), xp.log(xp.where(empty, xp.ones_like(x), x)))


def plan(cost: Array, inv_epsilon: float, alpha: Array, beta: Array, out: Array, coarse: bool = False) -> None:
    xp = array_namespace(cost)
    out[:, :] = xp.astype(_plan(cost, inv_epsilon, alpha, beta), out.dtype)


def marginals(cost: Array, inv_epsilon: float, alpha: Array, beta: Array, row_sum: Array, col_sum: Array) -> None:
    xp = array_namespace(cost)
    p = _plan(cost, inv_epsilon, alpha, beta)
    row_sum[:], col_sum[:] = xp.sum(p, axis=1), xp.sum(p, axis=0)


def apply(cost: Array, inv_epsilon: float, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array) -> None:
    p = _plan(cost, inv_epsilon, alpha, beta)
    out[:, :] = p.T @ x if transpose else p @ x


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
    xp = array_namespace(cost)
    exponent = _exponent(cost, inv_epsilon, alpha, beta)
    p = xp.exp(exponent)
    inside = p > 0
    exponent = xp.where(inside, exponent, xp.zeros_like(p))
    q = inv_epsilon * p * (x[:, None] + y[None, :] + slope * exponent - xp.where(inside, bar, xp.zeros_like(p)))
    out[:, :] = q
    row_sum[:], col_sum[:], row_dot[:] = xp.sum(q, axis=1), xp.sum(q, axis=0), xp.sum(q * exponent, axis=1)


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
    xp = array_namespace(cost)
    exponent = _exponent(cost, inv_epsilon, alpha, beta)
    p = xp.exp(exponent)
    q = row_factor[:, None] * p * col_factor[None, :] + row_rest[:, None] * col_rest[None, :]
    inside = (exponent > -float("inf")) & (q > 1e-300)
    zero = xp.zeros_like(p)
    q = xp.where(inside, q, zero)
    ratio = xp.log(xp.where(inside, q, zero + 1.0)) - xp.where(inside, exponent, zero)
    divergence[:] = xp.sum(q * ratio - q + p, axis=1)
    transport[:] = xp.sum(xp.where(inside, q * xp.astype(xp.where(inside, cost, 0 * q), xp.float64), zero), axis=1)


def _kept(cost: Array, inv_epsilon: float, alpha: Array, beta: Array, row_least: Array, col_least: Array) -> Array:
    xp = array_namespace(cost)
    least = xp.minimum(row_least[:, None], col_least[None, :])
    return _exponent(cost, inv_epsilon, alpha, beta) > least


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
    xp = array_namespace(cost)
    kept = _kept(cost, inv_epsilon, alpha, beta, row_least, col_least)
    sizes[:] = xp.take(xp.sum(xp.astype(kept, sizes.dtype), axis=1), which)


def support_cells(
    cost: Array, inv_epsilon: float, alpha: Array, beta: Array, row_least: Array, col_least: Array, pointers: Array
) -> Support:
    xp = array_namespace(cost)
    rows, cells = xp.nonzero(_kept(cost, inv_epsilon, alpha, beta, row_least, col_least))
    costs = xp.reshape(cost, (-1,))[rows * cost.shape[1] + cells]
    return support_of(pointers, xp.astype(cells, xp.int32), costs, cost.shape[1])


def support_of(pointers: Array, indices: Array, cost: Array, m: int) -> Support:
    xp = array_namespace(cost)
    return Support(pointers, indices, cost, xp.zeros(cost.shape, dtype=xp.float64))


def cell_bytes(cost: Array) -> int:
    return int(cost.dtype.itemsize) + 24


def _cells(pointers: Array, indices: Array, m: int) -> Array:
    """Where the stored cells lie in the flattened matrix."""
    xp = array_namespace(pointers)
    stored = int(pointers[-1])
    rows = xp.searchsorted(pointers, xp.arange(stored, dtype=pointers.dtype), side="right") - 1
    return rows * m + xp.astype(indices[:stored], rows.dtype)


def _dense(pointers: Array, indices: Array, values: Array, m: int, otherwise: float) -> Array:
    """The matrix of stored cells, `otherwise` elsewhere."""
    xp = array_namespace(pointers)
    n = pointers.shape[0] - 1
    flat = xp.full((n * m,), otherwise, dtype=xp.float64)
    stored = xp.astype(values[: int(pointers[-1])], xp.float64)
    for k, cell in enumerate(_cells(pointers, indices, m)):  # the standard writes no arrays to arrays of places
        flat[int(cell)] = stored[k]
    return xp.reshape(flat, (n, m))


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
    xp = array_namespace(alpha)
    m = beta.shape[0]
    cost = _dense(support.pointers, support.indices, support.cost, m, float("inf"))
    exponent = _exponent(cost, inv_epsilon, alpha, beta)
    reached = xp.max(exponent, axis=1) > -float("inf")
    if bool(xp.any((rows.log_weight > -float("inf")) & ~reached)):
        return False
    vectors = alpha, beta, log_row, log_col, previous_alpha, log_col_updated
    log_sweeps(cost, inv_epsilon, rows, cols, omega, *vectors, None, count)
    plan_values = xp.reshape(_plan(cost, inv_epsilon, alpha, beta), (-1,))
    support.values[:] = plan_values[_cells(support.pointers, support.indices, m)]
    return not bool(xp.any((cols.log_weight > -float("inf")) & xp.isinf(log_col)))


def sparsify(support: Support, row_least: Array, col_least: Array, out: Sparse) -> None:
    xp = array_namespace(row_least)
    m = col_least.shape[0]
    values = _dense(support.pointers, support.indices, support.values, m, 0.0)
    kept = values > xp.minimum(row_least[:, None], col_least[None, :])
    rows, cells = xp.nonzero(kept)
    stored = rows.shape[0]
    out.pointers[0] = 0
    out.pointers[1:] = xp.cumulative_sum(xp.sum(xp.astype(kept, out.pointers.dtype), axis=1))
    out.indices[:stored] = xp.astype(cells, out.indices.dtype)
    out.values[:stored] = xp.astype(xp.reshape(values, (-1,))[rows * m + cells], out.values.dtype)


def sparse_like(support: Support) -> Sparse:
    xp = array_namespace(support.values)
    return Sparse(xp.empty_like(support.pointers), xp.empty_like(support.indices), xp.empty_like(support.values))


def sparse_of(pointers: Array, indices: Array, values: Array, m: int) -> Sparse:
    return Sparse(pointers, indices, values)


def sparse_squares(matrix: Sparse, row_weight: Array, out: Array) -> None:
    xp = array_namespace(row_weight)
    p = _dense(*matrix, out.shape[0], 0.0)
    out[:] = xp.sum(row_weight[:, None] * p * p, axis=0)


def sparse_gram(matrix: Sparse, row_weight: Array, out: Array) -> None:
    xp = array_namespace(row_weight)
    p = _dense(*matrix, out.shape[0], 0.0)
    out[:, :] = xp.matmul(p.T, row_weight[:, None] * p)


def sparse_gradients(
    matrix: Sparse, row_weight: Array, diagonal: Array, krylov: Krylov, goal: float, radius: float, count: int
) -> tuple[int, int]:
    p = _dense(*matrix, diagonal.shape[0], 0.0)
    return _gradients(p, row_weight, diagonal, krylov, goal, radius, count)


def dense_product(kernel: Array, x: Array, transpose: bool, out: Array) -> None:
    out[:] = kernel.T @ x if transpose else kernel @ x


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
    xp = array_namespace(diagonal)
    p = xp.astype(kernel, xp.float64) * col_factor[None, :]
    return _gradients(p, row_weight, diagonal, krylov, goal, radius, count)


def _gradients(
    p: Array, row_weight: Array, diagonal: Array, krylov: Krylov, goal: float, radius: float, count: int
) -> tuple[int, int]:
    xp = array_namespace(p)

    def gram(direction: Array) -> Array:
        return xp.matmul(p.T, row_weight * xp.matmul(p, direction))

    return gradients_with(gram, diagonal, krylov, goal, radius, count)


def gradients_with(
    gram: Callable[[Array], Array], diagonal: Array, krylov: Krylov, goal: float, radius: float, count: int
) -> tuple[int, int]:
    """`Backend.sparse_gradients` given the product with P^T diag(row_weight) P."""
    xp = array_namespace(diagonal)
    x, residual, direction, preconditioner, scalars = krylov
    inside = preconditioner > 0
    for done in range(1, count + 1):
        image = diagonal * direction - gram(direction)
        curvature = float(xp.sum(direction * image))
        if not curvature > 0:
            return done, LEFT
        step = float(scalars[0]) / curvature
        x[:] = x + step * direction
        residual[:] = xp.where(inside, residual - step * image, residual)
        largest = float(xp.max(xp.abs(x)))
        if largest > radius:
            x[:] = x * (radius / largest)
            return done, LEFT
        if float(xp.sum(xp.abs(residual))) <= goal:
            return done, REACHED
        product = float(xp.sum(preconditioner * residual * residual))
        direction[:] = preconditioner * residual + (product / float(scalars[0])) * direction
        scalars[0] = product
    return count, CONTINUES
