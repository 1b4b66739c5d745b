"""How sharp a plan is: its entropy between that of a matching and that of independent sides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..problems.penalty import Vector


def entropy_of(masses: Any) -> float:
    """-sum p log p of masses over their sum; 0 log 0 = 0."""
    total = float(np.sum(masses))
    positive = masses[masses > 0]
    return math.log(total) - float((positive * np.log(positive)).sum()) / total


def gibbs_entropy(
    row_marginal: Vector, col_marginal: Vector, alpha: Vector, beta: Vector, transport_cost: float, epsilon: float
) -> float:
    """The entropy of P_ij = exp(alpha_i + beta_j - C_ij / epsilon) over its mass, by sums over its sides."""
    total = float(row_marginal.sum())
    logs = -transport_cost / epsilon
    for marginal, potential in ((row_marginal, alpha), (col_marginal, beta)):
        used = marginal > 0
        logs += float((marginal[used] * potential[used]).sum())
    return math.log(total) - logs / total


def renormalised_entropy(entropy: float, row_marginal: Vector, col_marginal: Vector) -> float:
    """The entropy of a plan in [0, 1]: 0 where one side says what the other is, 1 where the sides are independent.

    (H(P) - max(H(r), H(c))) / (H(r) + H(c) - max(H(r), H(c))), for the plan's own marginals r and c; 0 where a side is
    one point.
    """
    sides = entropy_of(row_marginal), entropy_of(col_marginal)
    span = min(sides)
    return min(max((entropy - max(sides)) / span, 0.0), 1.0) if span > 0 else 0.0
