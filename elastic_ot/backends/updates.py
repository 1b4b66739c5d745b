"""The half of an iteration that reads no cost, for those who run the other half a part at a time."""

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
