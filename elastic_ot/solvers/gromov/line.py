"""Couplings of points on a line, in their order: starts, and lower bounds on energies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...problems.penalty import Indices, Vector


def in_order(x: Vector, y: Vector, a: Vector, b: Vector) -> tuple[Indices, Indices, Vector]:
    """Return the pairs and masses of the plan that carries a at x to b at y without crossings.

    Of all plans it has the least sum of L(x_i, y_j), for any L whose mixed derivative is nowhere positive. Weights are
    shares of their sums.
    """
    rows, cols = np.argsort(x, kind="stable"), np.argsort(y, kind="stable")
    ends = [np.cumsum(weights[order]) for weights, order in ((a, rows), (b, cols))]
    ends = [end / end[-1] for end in ends]
    cuts = np.unique(np.concatenate(ends))
    masses = np.diff(cuts, prepend=0.0)
    middles = cuts - 0.5 * masses
    places = [np.minimum(np.searchsorted(end, middles, side="left"), end.size - 1) for end in ends]
    kept = masses > 0
    found: NDArray[np.float64] = masses[kept]
    return rows[places[0][kept]], cols[places[1][kept]], found
