"""Bounds on the entropy of plans to which a product of marginals is added."""

from __future__ import annotations

import numpy as np

from ..backends.protocol import Array


def far_entropy(
    potentials: tuple[Array, Array], row_rest: Array, col_rest: Array, costs: Array, scaled: Array
) -> Array:
    """Bound what B = row_rest col_rest^T adds to the row sums of KL(A + B | P), in all; A has the row sums `scaled`.

    KL(A | q P) + KL(B | (1 - q) P) - KL(A | P), for the share q = s / (s + t) of the masses s of A and t of B: KL is
    convex and homogeneous, so KL(A + B | P) is no more than the two together at any q; that one is the best. P has
    the `potentials`; `costs` are C col_rest / epsilon, or bounds.
    """
    kept, added, width = float(scaled.sum()), float(row_rest.sum() * col_rest.sum()), float(col_rest.sum())
    logs = _own_logs(row_rest, potentials[0]) * width + row_rest * _own_logs(col_rest, potentials[1]).sum()
    with np.errstate(divide="ignore", invalid="ignore"):  # A without any mass
        shares = scaled * np.log1p(added / kept) - row_rest * width * np.log(added / (kept + added))
    found: Array = logs + row_rest * (costs - width) + shares
    return found


def _own_logs(rest: Array, potential: Array) -> Array:
    """Return rest (log rest - potential), 0 where rest is."""
    here = rest > 0
    return np.where(here, rest * (np.log(np.where(here, rest, 1.0)) - np.where(here, potential, 0.0)), 0.0)
