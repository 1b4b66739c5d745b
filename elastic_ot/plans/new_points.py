"""The map of a solution at points that were not in its problem: rows of the plan that follow from the columns.

Whatever the penalty of the rows, row i of an optimal plan is proportional to R_j exp((g_j - C_ij) / epsilon), where R_j
is b_j or 1 by the reference. A new point has such a row too, and goes to the mean of the columns under it (Pooladian,
Niles-Weed, *Entropic estimation of optimal transport maps*, 2021).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import as_numpy, ingest_cost, is_real
from ..backends.protocol import BOUNDED_METRICS
from ..costs.base import Cost, KnownCost, is_cost
from ..costs.point_cost import PointCost
from ..costs.scan import known_cost
from ..problems.penalty import Vector
from ..solvers.found import Found
from .view import View

SIDE_NAMES = "rows", "columns"
LEFT_OF_ROWS = 1e-10  # of the mass of rows that have at least 1 each, that may be left out of all together


def map_new(solved: Found, new: Any, values: Any, axis: int) -> NDArray[np.float64]:
    """Return means of what the columns have, or the rows with axis 0, under the lines of the plan of what is new."""
    if axis not in (0, 1):
        raise ValueError(f"axis is {axis!r}; it must be 1 (new rows) or 0 (new columns)")
    user: Cost | None = getattr(solved.problem.cost, "user", None)
    size, points = solved.problem.shape[axis], None if user is None else user._points()
    if user is None or points is None or is_cost(new):
        cost = _costs_of_new(new, size, axis)
    else:
        cost = user._of_new(new, axis)
    known = known_cost(cost, None, np.ones(cost.shape[0], bool), np.ones(cost.shape[1], bool))
    means = _values(values, None if points is None else points[axis], size, axis)
    view = View(solved)
    beta = view.given.turned(*view.potentials)[axis]
    found = _means(known if axis == 1 else known.transpose(), view.task.inv_epsilon, beta, means.reshape(size, -1))
    return found.reshape(-1, *means.shape[1:])


def _costs_of_new(new: Any, size: int, axis: int) -> Cost | NDArray[np.floating]:
    """Return costs between what is new and a side, given as such; refuses others than that side's."""
    cost = new if is_cost(new) else ingest_cost(new)
    if len(cost.shape) != 2 or cost.shape[axis] != size:
        wanted = f"(k, {size})" if axis == 1 else f"({size}, k)"
        raise ValueError(
            f"points has shape {tuple(cost.shape)}; costs between what is new and the {size} {SIDE_NAMES[axis]} have "
            f"shape {wanted}; points themselves are taken where the problem was given a PointCloud or a FunctionCost"
        )
    return cost


def _values(values: Any, points: Any, size: int, axis: int) -> NDArray[Any]:
    """Return what means are taken of: the points of the side by default."""
    given = points if values is None else values
    if given is None:
        raise TypeError(
            f"values is None, and the cost knows no points of the {SIDE_NAMES[axis]}; pass what means are taken of"
        )
    found = as_numpy("values", given)
    if not is_real(found):
        raise TypeError(f"values has dtype {found.dtype}; it must hold real numbers, of which means are taken")
    if found.ndim not in (1, 2) or found.shape[0] != size:
        raise ValueError(f"values has shape {found.shape}; with axis={axis} it must be ({size},) or ({size}, k)")
    return found


def _means(cost: KnownCost, inv_epsilon: float, beta: Vector, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return sum_j P_ij values_j / sum_j P_ij of P_ij = exp(beta_j - C_ij inv_epsilon); nan where no mass is."""
    if isinstance(cost, PointCost) and cost.metric in BOUNDED_METRICS:
        cost = cost.pruned(LEFT_OF_ROWS)
    plan, turned = (cost.transpose() if cost.fortran else cost).plan(inv_epsilon), cost.fortran
    alpha, out = np.empty(cost.shape[0]), np.empty((cost.shape[0], values.shape[1] + 1))
    (plan.col_max if turned else plan.row_max)(beta, alpha)
    np.negative(alpha, out=alpha, where=np.isfinite(alpha))  # the largest entry of every row is 1; -inf stays
    first, second = (beta, alpha) if turned else (alpha, beta)
    plan.apply(first, second, np.column_stack([values, np.ones(beta.size)]).astype(np.float64), turned, out)
    mass = out[:, -1:]
    return np.divide(out[:, :-1], mass, out=np.full_like(out[:, :-1], np.nan), where=mass > 0)
