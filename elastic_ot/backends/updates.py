"""What iterations on the host share that do not read a matrix: half an iteration, and sums that a sweep has lost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .protocol import Array, Side


def update_change(
    side: Side, omega: float, alpha: Array, log_sum: Array, potential: Callable[[Side, Array, Array], None]
) -> Array:
    """Return omega times the way of alpha to its exact update, 0 for removed entries.

    `potential` is `Backend.potential`, `log_sum` the logarithms of the marginal of alpha.
    """
    used = np.isfinite(alpha) & np.isfinite(log_sum)
    old, target = np.where(used, alpha - np.where(used, side.offset, 0.0), 0.0), np.zeros_like(alpha)
    ratio = np.where(used, side.log_weight, 0.0) - np.where(used, log_sum, 0.0) + old
    potential(side, ratio, target)
    return np.where(used, omega * (target - old), 0.0)


def log_column_sums(
    cols: Side, beta: Array, log_col: Array, col_max: Callable[[Array], None], col_sums: Callable[[Array, Array], None]
) -> None:
    """Write log_col where a sum vanished or overflowed: relative to the maximum, in two more passes.

    `col_max(out)` and `col_sums(beta, out)` are those of the plan under the present alpha.
    """
    top, total = np.empty_like(log_col), np.empty_like(log_col)
    col_max(top)
    reached = np.isfinite(top) & np.isfinite(cols.log_weight)
    shift = np.where(reached, top, 0.0)
    col_sums(np.where(reached, -shift, -np.inf), total)
    log_col[:] = np.where(
        reached, np.log(np.where(reached, total, 1.0)) + shift + np.where(reached, beta, 0.0), -np.inf
    )
