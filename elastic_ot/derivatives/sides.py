"""The two marginals at an optimum, linearised: the part of derivatives that is O(n + m).

The optimum satisfies marginal = demand(potential; weight, rho) on both sides. `Side` knows which entries may move and
how their demand bends, `Optimum` what couples the two sides apart from the plan. Everything works entry by entry and
sums over the last axis: arrays may have leading axes, with strengths and epsilon of shape (..., 1).

An entry is free if its potential moves. One on a kink of its penalty keeps it, except that the kinks of `TV` move with
rho.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..costs.scan import Mask
from ..distributed.ranks import ALONE, Ranks
from ..problems.penalty import Penalty, Vector

ON_KINK = 1e-10  # distance from a kink, relative to the potential and epsilon, that counts as being on it


class Side:
    """One marginal at the optimum.

    Attributes
    ----------
    weights, potential, marginal : ndarray
        Of entries in use; 1, 0 and 0 elsewhere.
    used, free, on_moving_kink : ndarray of bool
    slack : ndarray
        -d demand / d potential of free entries, 0 elsewhere.
    """

    def __init__(
        self, penalty: Penalty, weights: Vector, used: Mask, potential: Vector, marginal: Vector, epsilon: Any
    ) -> None:
        self.penalty, self.weights, self.used = penalty, np.where(used, weights, 1.0), used
        self.potential, self.marginal = np.where(used, potential, 0.0), marginal
        slack, low, high = penalty.smooth(self.potential, self.weights)
        near = ON_KINK * (np.abs(self.potential) + epsilon)
        served = used & (marginal > 0)
        self.free = served & (self.potential - low > near) & (high - self.potential > near)
        self.slack = np.where(self.free, slack, 0.0)
        kink = penalty.kinks()[0]
        self.on_moving_kink = used & ~self.free & np.isfinite(kink) & (np.not_equal(kink, 0.0))

    def over_weights(self, values: Vector) -> Vector:
        """`values` / weights, 0 for removed entries."""
        return np.where(self.used, values, 0.0) / self.weights

    # Reverse mode

    def by_weight(self, multiplier: Vector) -> Vector:
        """Return the derivative in the weights from the multipliers of the conditions marginal = demand."""
        return np.where(self.free, multiplier * self.penalty.demand_by_weight(self.potential, self.weights), 0.0)

    def by_strength(self, multiplier: Vector, pull: Vector) -> Any:
        """Return the derivative in rho from the multipliers of the conditions marginal = demand.

        `pull` is the derivative in the potentials, which move with rho where they are on a kink.
        """
        demand = self.penalty.demand_by_strength(self.potential, self.weights)
        moved = np.where(self.on_moving_kink, np.sign(self.potential) * pull, 0.0)
        return (np.where(self.free, multiplier * demand, 0.0) + moved).sum(axis=-1)

    # Forward mode

    def kink_step(self, strength: Any) -> Vector:
        """How far potentials on kinks move with rho."""
        return np.where(self.on_moving_kink, np.sign(self.potential) * strength, 0.0)

    def demand_step(self, weights: Vector, strength: Any) -> Vector:
        """Change of the demand of free entries along a direction of weights and rho, at held potentials."""
        by_weight = self.penalty.demand_by_weight(self.potential, self.weights)
        by_strength = self.penalty.demand_by_strength(self.potential, self.weights)
        return np.where(self.free, by_weight * weights + by_strength * strength, 0.0)

    # Of the optimal value

    def dual_by_weight(self) -> Vector:
        """Derivative of the dual in the weights."""
        return np.where(self.used, self.penalty.dual_by_weight(self.potential, self.weights), 0.0)

    def dual_by_weight_step(self, potential: Vector, weights: Vector, strength: Any) -> Vector:
        """Change of `dual_by_weight` along a direction of potentials, weights and rho."""
        by_potential, by_weight, by_strength = self.penalty.dual_by_weight_slopes(self.potential, self.weights)
        return np.where(self.used, by_potential * potential + by_weight * weights + by_strength * strength, 0.0)

    def value_by_strength(self) -> Any:
        """Derivative of the penalty in rho."""
        per_entry = self.penalty.phi_by_strength(self.marginal, self.weights)
        return np.where(self.used, per_entry, 0.0).sum(axis=-1)

    def value_by_strength_step(self, marginal: Vector, weights: Vector) -> Any:
        """Change of `value_by_strength` along a direction of marginals and weights."""
        slopes = self.penalty.phi_by_strength_slopes(self.marginal, self.potential, self.weights)
        linear = np.isfinite(self.penalty.kinks()[0])
        counted = self.used & (self.on_moving_kink | ~linear)
        return np.where(counted, slopes[0] * marginal + slopes[1] * weights, 0.0).sum(axis=-1)


@dataclass(eq=False)
class Optimum:
    """The two sides at an optimum, and what couples them besides the plan.

    Attributes
    ----------
    rows, cols : Side
    epsilon : float or ndarray, shape (..., 1)
    product : bool
        The reference is a b^T.
    """

    rows: Side
    cols: Side
    epsilon: Any
    product: bool
    ranks: Ranks = ALONE
    """What sums over the rows of one problem."""

    def __post_init__(self) -> None:
        rows, cols = self.rows, self.cols
        whole = [(s.free == s.used).all(axis=-1) & ~s.slack.any(axis=-1) for s in (rows, cols)]
        if not self.ranks.alone:
            whole[0] = np.asarray(self.ranks.all(whole[0]))
        self.rigid = (whole[0] & whole[1])[..., None]
        """Where nothing holds the potentials against (f + t, g - t): <b, g> = 0 does."""
        weights = np.where(cols.used, cols.weights, 0.0)
        self.gauge = weights / weights.sum(axis=-1, keepdims=True)
        self.diagonals = rows.marginal + self.epsilon * rows.slack, cols.marginal + self.epsilon * cols.slack
        self.diagonals = np.where(rows.free, self.diagonals[0], 0.0), np.where(cols.free, self.diagonals[1], 0.0)
        """Those of epsilon A, 0 outside of the system."""

    def settle(self, f_bar: Vector, g_bar: Vector) -> tuple[Vector, Vector, Vector]:
        """Derivatives in the potentials as the system wants them, and what the gauge adds to the derivative in b."""
        f_bar, g_bar = np.where(self.rows.used, f_bar, 0.0), np.where(self.cols.used, g_bar, 0.0)
        of_rows = f_bar.sum(axis=-1, keepdims=True)
        self.ranks.add(of_rows)
        excess = of_rows - g_bar.sum(axis=-1, keepdims=True)
        shift = np.where(self.rigid, excess, 0.0) * self.gauge
        return f_bar, g_bar + shift, shift * self.cols.potential / self.cols.weights

    def pull(
        self, x: Vector, y: Vector, bars: tuple[Vector, Vector, Vector], row_rest: Vector, col_rest: Vector
    ) -> tuple[Vector, Vector, Any, Any]:
        """Derivatives in a, b and both strengths.

        From the solution of the system, what `settle` returned, and the sums of -dL/dC.
        """
        f_bar, g_bar, gauge = bars
        a, b = self.rows.by_weight(x), self.cols.by_weight(y) + gauge
        if self.product:
            a = a + self.rows.over_weights(self.epsilon * row_rest)
            b = b + self.cols.over_weights(self.epsilon * col_rest)
        rows, cols = self.rows.by_strength(x, row_rest + f_bar), self.cols.by_strength(y, col_rest + g_bar)
        return a, b, rows if self.ranks.alone else self.ranks.totals(float(rows))[0], cols

    def held(self, step: Step) -> tuple[Vector, Vector]:
        """What weights and kinks add to f + g - C along a direction, while free potentials are held."""
        f, g = self.rows.kink_step(step.rows), self.cols.kink_step(step.cols)
        if self.product:
            f = f + self.epsilon * self.rows.over_weights(step.a)
            g = g + self.epsilon * self.cols.over_weights(step.b)
        return f, g

    def demand_steps(self, step: Step) -> tuple[Vector, Vector]:
        """Changes of both sides' demands along a direction, at held potentials."""
        return self.rows.demand_step(step.a, step.rows), self.cols.demand_step(step.b, step.cols)

    def potential_steps(self, step: Step, x: Vector, y: Vector) -> tuple[Vector, Vector]:
        """Directions of f and g, gauge included, from those of the free entries."""
        f, g = x + self.rows.kink_step(step.rows), y + self.cols.kink_step(step.cols)
        moved = self.cols.over_weights(np.where(self.cols.used, step.b, 0.0)) * self.cols.potential + g
        t = np.where(self.rigid, (self.gauge * moved).sum(axis=-1, keepdims=True), 0.0)
        return np.where(self.rows.used, f + t, 0.0), np.where(self.cols.used, g - t, 0.0)


@dataclass(frozen=True, eq=False)
class Step:
    """A direction of the inputs but the cost, which is kept apart; strengths and epsilon may have shape (..., 1)."""

    a: Vector
    b: Vector
    epsilon: Any
    rows: Any
    cols: Any
