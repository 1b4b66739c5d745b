"""Potentials of optimal assignments that others have found, by relaxation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pairing = NDArray[np.intp]
RELAXED_TOGETHER = 1 << 20  # entries of the costs whose potentials are computed together


def batch_potentials(
    costs: NDArray[Any], maximize: bool, masks: Sequence[NDArray[np.bool_] | None], row_ind: Pairing, col_ind: Pairing
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pair (u, v), shapes (B, n) and (B, m), of assignments (B, min(n, m)) that are optimal for costs (B, n, m)."""
    count, n, m = costs.shape
    u, v = np.zeros((count, n)), np.zeros((count, m))
    step = max(1, RELAXED_TOGETHER // max(1, n * m))
    for at in range(0, count, step):
        part = slice(at, min(at + step, count))
        block = costs[part].astype(np.float64)
        block = -block if maximize else block
        for k, mask in enumerate(masks[part]):
            if mask is not None:
                block[k][~mask] = np.inf
        with np.errstate(over="ignore", invalid="ignore"):  # costs near the largest float
            if n <= m:
                u[part], v[part] = potentials_by_relaxation(block, col_ind[part])
            else:
                order = np.argsort(col_ind[part], axis=1)
                partners = np.take_along_axis(row_ind[part], order, axis=1)
                v[part], u[part] = potentials_by_relaxation(block.transpose(0, 2, 1), partners)
    return (-u, -v) if maximize else (u + 0.0, v + 0.0)


def potentials_by_relaxation(
    costs: NDArray[np.float64], partners: Pairing
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Potentials of optimal assignments of all rows, by Bellman and Ford's relaxation.

    u_i + v_s(i) = C_is(i) leaves v_j <= v_s(i) + C_ij - C_is(i): shortest distances, without cycles of negative length.
    Columns left over stay at 0, or there would be a cheaper assignment.
    """
    count, n, m = costs.shape
    matched = np.take_along_axis(costs, partners[:, :, None], axis=2)
    lengths = costs - matched
    v = np.zeros((count, m))
    for _ in range(n if m else 0):
        reached = (np.take_along_axis(v, partners, axis=1)[:, :, None] + lengths).min(axis=1, initial=np.inf)
        if (reached >= v).all():
            break
        v = np.minimum(v, reached)
    left = np.ones((count, m), bool)
    np.put_along_axis(left, partners, False, axis=1)
    v[left] = 0.0
    u = matched[:, :, 0] - np.take_along_axis(v, partners, axis=1)
    return np.minimum(u, (costs - v[:, None, :]).min(axis=2, initial=np.inf)), v  # rounding must not leave the domain
