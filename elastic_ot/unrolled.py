"""The exact derivative of a fixed number of iterations: their half steps, replayed backwards.

With F = f / epsilon and so on, a half step of the rows is

    L_i = log sum_j exp(G_j + q_j - C_ij / epsilon),     F_i = potential(log a_i - p_i - L_i),

where exp(p) exp(q)^T is the reference. Only the potentials of every half step are kept, O(T (n + m)); the weights of
the sums, one n x m matrix at a time, are computed again on the way back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .backends import load
from .backends.protocol import Side
from .gradients import Gradients, Matrix
from .penalties import BOXED, CLIPPED, LOGARITHMIC, Penalty, Vector

if TYPE_CHECKING:
    from .result import Solution


def pull_back_iterations(solution: Solution, plan: Matrix | None, f: Vector | None, g: Vector | None) -> Gradients:
    """`gradients.pull_back` for what was computed, converged or not."""
    problem = solution.problem
    rows, cols = np.flatnonzero(problem.row_used), np.flatnonzero(problem.col_used)
    replay = _Replay(solution, rows, cols)
    cells = np.ix_(rows, cols)
    plan_bar = np.zeros((rows.size, cols.size)) if plan is None else plan[cells]
    f_bar = np.zeros(rows.size) if f is None else f[rows]
    g_bar = np.zeros(cols.size) if g is None else g[cols]
    bars = replay.pull_back(plan_bar, f_bar, g_bar)
    cost, a, b = np.zeros(problem.shape), np.zeros(problem.shape[0]), np.zeros(problem.shape[1])
    cost[cells], a[rows], b[cols] = bars.cost, bars.rows.weight, bars.cols.weight
    return Gradients(cost, a, b, bars.epsilon, bars.rows.strength, bars.cols.strength)


@dataclass(eq=False)
class _SideBar:
    """Derivatives in one side's potential (scaled), weights and strength."""

    potential: Vector
    weight: Vector
    strength: float = 0.0


@dataclass(eq=False)
class _Bars:
    cost: Matrix
    rows: _SideBar
    cols: _SideBar
    epsilon: float


class _Replay:
    """The half steps of a budget, on the rows and columns in use."""

    def __init__(self, solution: Solution, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> None:
        problem, budget = solution.problem, solution.budget
        assert budget is not None
        self.epsilon, self.product = problem.epsilon, problem.reference == "product"
        cost = problem.cost.matrix[np.ix_(rows, cols)].astype(np.float64)
        self.allowed = np.isfinite(cost)
        self.cost = np.where(self.allowed, cost, 0.0)
        self.exponent = np.where(self.allowed, -cost / self.epsilon, -np.inf)
        self.penalties = problem.rows, problem.cols
        self.weights = problem.a[rows], problem.b[cols]
        start = [np.zeros(size.size) if x is None else x[size] for x, size in ((budget.f, rows), (budget.g, cols))]
        self.start = start[0] / self.epsilon, start[1] / self.epsilon
        self.steps = self._forward(2 * budget.count - (budget.end == "rows"))

    def _offset(self, side: int) -> Vector:
        return np.log(self.weights[side]) if self.product else np.zeros_like(self.weights[side])

    def _sums(self, side: int, other: Vector) -> tuple[Vector, Matrix]:
        """Log-sums over the other side and the weights of their terms."""
        z = self.exponent if side == 0 else self.exponent.T
        z = z + (other + self._offset(1 - side))
        top = z.max(axis=1, keepdims=True)
        terms = np.exp(z - top)
        total = terms.sum(axis=1, keepdims=True)
        return (np.log(total) + top)[:, 0], terms / total

    def _ratio(self, side: int, log_sum: Vector) -> Vector:
        return -log_sum if self.product else np.log(self.weights[side]) - log_sum

    def _forward(self, count: int) -> list[Vector]:
        """Potentials after every half step; those of even ones are the rows'."""
        current, steps = list(self.start), []
        for step in range(count):
            side = step % 2
            log_sum, _ = self._sums(side, current[1 - side])
            current[side] = _update(self.penalties[side], self._ratio(side, log_sum), self.weights[side], self.epsilon)
            steps.append(current[side])
        return steps

    def _before(self, step: int, side: int) -> Vector:
        """The potential of a side when a half step begins."""
        last = step - 1 if (step - 1) % 2 == side else step - 2
        return self.steps[last] if last >= 0 else self.start[side]

    def pull_back(self, plan_bar: Matrix, f_bar: Vector, g_bar: Vector) -> _Bars:
        count, epsilon = len(self.steps), self.epsilon
        f, g = self._before(count, 0), self._before(count, 1)
        moved = plan_bar * np.exp(self.exponent + (f + self._offset(0))[:, None] + (g + self._offset(1)))
        moved = np.where(self.allowed, moved, 0.0)
        row_sums, col_sums = moved.sum(axis=1), moved.sum(axis=0)
        rows = _SideBar(row_sums + epsilon * f_bar, row_sums / self.weights[0] if self.product else 0.0 * row_sums)
        cols = _SideBar(col_sums + epsilon * g_bar, col_sums / self.weights[1] if self.product else 0.0 * col_sums)
        bars = _Bars(
            cost=-moved / epsilon,
            rows=rows,
            cols=cols,
            epsilon=float((moved * self.cost).sum() / epsilon**2 + f_bar @ f + g_bar @ g),
        )
        for step in reversed(range(count)):
            self._pull_back_step(step, bars)
        # potentials to begin with are given in units of the cost
        bars.epsilon -= float(rows.potential @ self.start[0] + cols.potential @ self.start[1]) / epsilon
        return bars

    def _pull_back_step(self, step: int, bars: _Bars) -> None:
        side = step % 2
        this, other = (bars.rows, bars.cols) if side == 0 else (bars.cols, bars.rows)
        log_sum, share = self._sums(side, self._before(step, 1 - side))
        ratio, weights = self._ratio(side, log_sum), self.weights[side]
        by_ratio, by_weight, by_epsilon, by_strength = _slopes(
            self.penalties[side], ratio, self.steps[step], weights, self.epsilon
        )
        bar = this.potential
        this.weight += bar * by_weight
        this.strength += float((bar * by_strength).sum())
        bars.epsilon += float((bar * by_epsilon).sum())
        bar = bar * by_ratio
        if not self.product:
            this.weight += bar / weights
        pulled = bar[:, None] * share
        sums = pulled.sum(axis=0)
        other.potential -= sums
        if self.product:
            other.weight -= sums / self.weights[1 - side]
        if side == 1:
            pulled = pulled.T
        bars.cost += pulled / self.epsilon
        bars.epsilon -= float((pulled * self.cost).sum()) / self.epsilon**2
        this.potential = np.zeros_like(this.potential)


def _update(penalty: Penalty, ratio: Vector, a: Vector, epsilon: float) -> Vector:
    """`Backend.potential` for weights in the user's units."""
    out, log_weight = np.empty_like(ratio), np.log(a)
    load().potential(Side(a, log_weight, log_weight, *penalty.rule(epsilon, 1.0)), ratio, out)
    return out


def _slopes(
    penalty: Penalty, ratio: Vector, scaled: Vector, a: Vector, epsilon: float
) -> tuple[Vector, Vector, Vector, Vector]:
    """Derivatives of the update, whose value is `scaled`, in ratio, a, epsilon and rho."""
    code, strength, _ = penalty.rule(epsilon, 1.0)
    none, rho = np.zeros_like(ratio), float(getattr(penalty, "rho", np.inf))
    if code == LOGARITHMIC:  # strength = rho / (rho + epsilon)
        bend = 0.0 if np.isinf(rho) else 1.0 / (rho + epsilon) ** 2
        return np.full_like(ratio, strength), none, -rho * bend * ratio if bend else none, epsilon * bend * ratio
    if code == CLIPPED:  # strength = rho / epsilon
        clipped = np.where(np.abs(ratio) < strength, 0.0, np.sign(ratio))
        return 1.0 - np.abs(clipped), none, -clipped * rho / epsilon**2, clipped / epsilon
    if code == BOXED:
        return np.where(scaled != 0, 1.0, 0.0), none, none, none
    # a - s F = a exp(F - ratio), s = epsilon / rho
    growth = np.exp(scaled - ratio)
    slope = strength + a * growth
    by_strength = -scaled / slope
    return a * growth / slope, (1.0 - growth) / slope, by_strength / rho, -by_strength * epsilon / rho**2
