"""The plan of a solution, read from the cost in a pass: an array, its logarithm, an operator, a sparse matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import library_of, on_host
from ..arrays.half import finite, widened
from ..arrays.ingest import as_numpy, ingest_number
from ..costs.dense import SCAN_ENTRIES
from ..costs.point_cost import is_pruned
from ..problems.penalty import Vector
from ..solvers.found import Found

if TYPE_CHECKING:
    from scipy.sparse import csr_array

from .view import View, plan_sums


def plan(solved: Found) -> NDArray[np.floating]:
    view = View(solved)
    return view.oriented(view.plan(view.matrix(view.problem.cost.working_dtype)))


def log_plan(solved: Found) -> NDArray[np.floating]:
    view = View(solved)
    out, start = view.matrix(view.problem.cost.working_dtype), view.alpha + np.log(view.problem.mass)
    for rows, block in view.problem.cost.strips(SCAN_ENTRIES):
        out[rows] = logarithms(block, view.task.inv_epsilon, start[rows], view.beta, out.dtype)
    return view.oriented(out)


def logarithms(cost: Any, inv_epsilon: Any, alpha: Vector, beta: Vector, dtype: Any = np.float64) -> NDArray[Any]:
    """The sums alpha + beta - cost / epsilon in float64, (..., n, m); -inf for forbidden cells and removed lines alone.

    What a narrow dtype cannot hold is its smallest number; what a removed line costs is not read.
    """
    xp, least = library_of(cost), float(np.finfo(dtype).min)
    alpha, beta = xp.asarray(alpha)[..., :, None], xp.asarray(beta)[..., None, :]
    with np.errstate(invalid="ignore", over="ignore"):  # nan beyond the lengths of a batch
        found: NDArray[Any] = xp.multiply(widened(cost), -xp.asarray(inv_epsilon)[..., None, None], dtype=np.float64)
        found += alpha
        found += beta
    if found.min() >= least:
        return found
    allowed = finite(cost) & xp.isfinite(alpha) & xp.isfinite(beta)
    found = xp.where(found >= least, found, least)
    return xp.where(allowed, found, -np.inf)  # type: ignore[no-any-return]


def check_operand(x: Any, axis: int, size: int) -> NDArray[Any]:
    """Return what a plan is applied to, refused if it does not have so many rows."""
    values = as_numpy("x", x)
    if values.ndim not in (1, 2) or values.shape[0] != size:
        raise ValueError(f"x has shape {values.shape}; with axis={axis} it must be ({size},) or ({size}, k)")
    return values


def apply(solved: Found, x: Any, axis: int) -> NDArray[np.float64]:
    if axis not in (0, 1):
        raise ValueError(f"axis is {axis!r}; it must be 1 (P @ x) or 0 (P.T @ x)")
    values = check_operand(x, axis, solved.problem.shape[axis])
    view = View(solved)
    columns = (
        np.ascontiguousarray(values if values.ndim == 2 else values[:, None], dtype=np.float64) * view.problem.mass
    )
    out = np.empty((solved.problem.shape[1 - axis], columns.shape[1]))
    view.task.plan.apply(*view.potentials, columns, (axis == 0) != view.swapped, out)
    return out[:, 0] if values.ndim == 1 else out


def rows(solved: Found, which: Any) -> Any:
    """Some rows of the plan in float64: an index, a slice or a vector of them."""
    n = solved.problem.shape[0]
    try:
        numbers = np.arange(n)[which]
    except (IndexError, TypeError) as error:
        raise type(error)(f"which is {which!r}; it must be a row below {n}, a slice, or a vector of rows") from None
    if numbers.ndim > 1:
        raise IndexError(f"which has shape {numbers.shape}; it must be a row, a slice, or a vector of rows")
    view, wanted = View(solved), numbers.reshape(-1)
    alpha, beta = view.given.turned(view.alpha + np.log(view.problem.mass), view.beta)
    found = logarithms(view.given.cost.rows(wanted), view.task.inv_epsilon, alpha[wanted], beta)
    return library_of(found).exp(found).reshape((*numbers.shape, -1))


def barycentric_map(solved: Found, y: Any) -> NDArray[np.float64]:
    """(P y) / (P 1), nan for rows that send nothing."""
    sums = apply(solved, y, 1)
    mass = solved.row_marginal.reshape(-1, *[1] * (sums.ndim - 1))
    return np.divide(sums, mass, out=np.full_like(sums, np.nan), where=mass > 0)


def transport_cost(solved: Found) -> float:
    view = View(solved)
    n, m = view.problem.shape
    return plan_sums(view, (np.ones(n), np.ones(m), np.zeros(n), np.zeros(m)))[1]


def sparse_plan(solved: Found, mass: float) -> csr_array:
    from scipy.sparse import csr_array

    mass = ingest_number("mass", mass)
    if not 0 < mass <= 1:
        raise ValueError(f"mass is {mass}; it must lie in (0, 1]")
    view = View(solved)
    if is_pruned(view.problem.cost):
        return _sparse_of_cells(view, mass)
    n, m = view.problem.shape
    row_least = np.zeros(n) if mass == 1 else _least_kept(view, mass, columns=False)
    col_least = np.zeros(m) if mass == 1 else _least_kept(view, mass, columns=True)
    pointers, indices, values = [0], [], []
    for rows in _chunks(n, m):
        block = on_host(_block(view, rows, slice(0, m)))
        kept = (block > 0) & ((block >= row_least[rows, None]) | (block >= col_least))
        indices.append(np.nonzero(kept)[1])
        values.append(block[kept])
        pointers.extend((pointers[-1] + np.cumsum(kept.sum(axis=1))).tolist())
    matrix = csr_array((np.concatenate(values), np.concatenate(indices), np.array(pointers)), shape=(n, m))
    return matrix.T.tocsr() if view.swapped else matrix


def _sparse_of_cells(view: View, mass: float) -> csr_array:
    """The same where few entries are read: those that may be among the wanted ones, put in order of their size."""
    from scipy.sparse import csr_array

    (n, m), (alpha, beta), plan = view.problem.shape, view.potentials, cast("Any", view.task.plan)
    r, c = (x / view.problem.mass for x in (view.row_marginal, view.col_marginal))
    with np.errstate(divide="ignore"):  # less than the share that is left, if all entries of a line were as small
        least = np.log((1.0 - mass) * r / m), np.log((1.0 - mass) * c / n)
    pointers, indices, costs = plan.cells(alpha, beta, least)
    rows = np.repeat(np.arange(n), np.diff(pointers))
    values = np.exp(alpha[rows] + beta[indices] - costs * view.task.inv_epsilon)
    kept = values > 0
    if mass < 1:
        order = np.argsort(-values, kind="stable")
        kept &= _largest_of(values, order, rows, r, mass) | _largest_of(values, order, indices, c, mass)
    values *= view.problem.mass
    return csr_array((values[kept], (rows[kept], indices[kept])), shape=(n, m))


def _largest_of(
    values: Vector, order: NDArray[np.integer], lines: NDArray[np.integer], sums: Vector, mass: float
) -> NDArray[np.bool_]:
    """Which entries, given in falling order, are among the largest of their line that carry the share `mass` of it."""
    from scipy.sparse import csr_array

    places = lines[order], np.arange(order.size)  # a conversion to rows is a sort by counting
    sorted_lines = csr_array((order, places), shape=(sums.size, order.size))
    order, sizes = sorted_lines.data, np.diff(sorted_lines.indptr)
    carried = np.concatenate([[0.0], np.cumsum(values[order])])
    before = carried[:-1] - np.repeat(carried[sorted_lines.indptr[:-1]], sizes)
    found = np.empty(values.size, np.bool_)
    found[order] = before < np.repeat(mass * sums, sizes)
    return found


def _least_kept(view: View, mass: float, columns: bool) -> Vector:
    """For every row (or column), the smallest of its largest entries that together carry the share."""
    n, m = view.problem.shape
    least = np.zeros(m if columns else n)
    for part in _chunks(m, n) if columns else _chunks(n, m):
        block = on_host(_block(view, slice(0, n), part).T if columns else _block(view, part, slice(0, m)))
        ordered = -np.sort(-block, axis=1)
        carried = np.cumsum(ordered, axis=1)
        count = (carried < mass * carried[:, -1:]).sum(axis=1)
        least[part] = ordered[np.arange(ordered.shape[0]), np.minimum(count, ordered.shape[1] - 1)]
    return least


def _chunks(n: int, m: int) -> list[slice]:
    step = max(1, (1 << 20) // m)
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def _block(view: View, rows: slice, cols: slice) -> NDArray[np.float64]:
    found: NDArray[np.float64] = view.task.plan.part(
        rows, cols, view.alpha[rows] + np.log(view.problem.mass), view.beta[cols]
    )
    return found
