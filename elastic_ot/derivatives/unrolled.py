"""The exact derivative of a fixed number of iterations: their half steps, replayed backwards or with tangents.

With F = f / epsilon and so on, a half step of the rows is

    L_i = log sum_j exp(G_j + q_j - C_ij / epsilon),     F_i = potential(log a_i - p_i - L_i),

where exp(p) exp(q)^T is the reference, and its derivative needs products with the shares exp(G_j + q_j - C_ij / epsilon
- L_i). The shares of every half step are one kernel between two diagonal matrices. So the kernel, that of the last plan
to begin with, is stored once, every half step takes a product with it, and the derivative in the cost is the kernel
times a matrix of a rank of twice the iterations. Where a diagonal leaves the range in which underflow in the kernel
does not show, the kernel is computed anew for that half step. Otherwise only potentials are kept, O(T (n + m)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import chunk_of, library_of, on_host
from ..arrays.half import finite, in_double
from ..backends.protocol import BOXED, CLIPPED, LIMIT, LOGARITHMIC, Backend, Side
from ..costs.dense import DenseCost
from ..problems.penalties import Free
from ..problems.penalty import Penalty, Vector
from ..solvers.found import Found
from .records import Direction, Gradients, Matrix, Tangents

ONE_THREAD = 1 << 18  # multiplications that a BLAS gives to one thread


def pull_back_iterations(solved: Found, plan: Matrix | None, f: Vector | None, g: Vector | None) -> Gradients:
    """`gradients.pull_back` for what was computed, converged or not."""
    problem, replay = solved.problem, _Replay(solved)
    f, g = problem.turned(f, g)
    bars = replay.pull_back(problem.turned_matrix(plan), replay.part(f, 0), replay.part(g, 1))
    a, b = problem.turned(replay.whole(bars.rows.weight, 0), replay.whole(bars.cols.weight, 1))
    strengths = problem.turned(bars.rows.strength, bars.cols.strength)
    return Gradients(problem.turned_matrix(replay.outer(bars.cost)), a, b, bars.epsilon, *strengths)


def push_forward_iterations(solved: Found, direction: Direction) -> Tangents:
    """`gradients.push_forward` for what was computed."""
    problem, replay = solved.problem, _Replay(solved)
    plan, f, g = replay.push_forward(direction.turned(problem))
    return Tangents(problem.turned_matrix(replay.outer(plan)), *problem.turned(replay.whole(f, 0), replay.whole(g, 1)))


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


class _Kernel:
    """K_ij = exp(base[0]_i + base[1]_j - C_ij / epsilon) in float64."""

    def __init__(self, cost: NDArray[np.floating], inv_epsilon: float, base: tuple[Vector, Vector]) -> None:
        dense = DenseCost(cost, -np.inf, np.inf)
        self.plan, self.matrix = dense.plan(inv_epsilon), dense.empty(np.float64)
        self.backend = self.plan.backend
        self.fill(base)

    def fill(self, base: tuple[Vector, Vector]) -> None:
        self.base = base
        self.plan.fill(*base, self.matrix)

    def normalise(self, side: int, other: Vector) -> None:
        """Fill for a half step from the other side's potentials (offset included), with maximum 1 along it."""
        top = np.empty(self.matrix.shape[side])
        largest = self.plan.row_max if side == 0 else self.plan.col_max
        largest(other, top)
        self.fill((-top, other) if side == 0 else (other, -top))

    def factor(self, side: int, potential: Vector) -> Vector | None:
        """exp(potential - base), None if out of range."""
        with np.errstate(over="ignore"):
            found: Vector = np.exp(potential - self.base[side])
        return found if found.max() < LIMIT else None

    def sums(self, side: int, x: Vector, matrix: Matrix | None = None) -> Vector:
        """K x for the rows, K^T x for the columns; or of another matrix."""
        matrix = self.matrix if matrix is None else matrix
        out = np.empty(matrix.shape[side])
        self.backend.dense_product(matrix, x, side == 1, out)
        return out

    def add_outer(self, rows: list[Vector], cols: list[Vector], scale: float, out: Matrix) -> None:
        """Out += scale K * sum_t rows_t cols_t^T, in blocks of rows that stay in cache and on one thread."""
        xp = library_of(out)
        factors, others = xp.asarray(scale * np.array(rows).T), xp.asarray(np.array(cols))
        length = max(1, chunk_of(out, ONE_THREAD // len(rows)) // out.shape[1])
        for i in range(0, out.shape[0], length):
            part = factors[i : i + length] @ others
            part *= self.matrix[i : i + length]
            out[i : i + length] += part


class _Replay:
    """The half steps of a budget as kernels see them (`Problem.by_rows`), on the rows and columns in use."""

    def __init__(self, solved: Found) -> None:
        given, problem, budget = solved.problem, solved.problem.by_rows, solved.budget
        assert budget is not None
        self.first = 1 if given.cost.fortran else 0
        self.shape, self.epsilon, self.product = problem.shape, problem.epsilon, problem.reference == "product"
        self.used = np.flatnonzero(problem.row_used), np.flatnonzero(problem.col_used)
        self.full = all(used.size == size for used, size in zip(self.used, self.shape, strict=True))
        matrix = problem.cost.as_matrix()
        self.xp = library_of(matrix)
        self.cost = matrix if self.full else matrix[self._block]
        self.allowed = finite(self.cost) if problem.cost.masked else None
        self.penalties, self.weights = (problem.rows, problem.cols), (self.part(problem.a, 0), self.part(problem.b, 1))
        self.offsets = tuple(np.log(w) if self.product else np.zeros_like(w) for w in self.weights)
        first, second = given.turned(budget.f, budget.g)
        self.start = self._begin(first, 0), self._begin(second, 1)
        self.count = 2 * budget.count - (budget.end == "rows")
        ends = (self.part(x, side) / self.epsilon for side, x in enumerate(given.turned(solved.f, solved.g)))
        f, g = (end + offset for end, offset in zip(ends, self.offsets, strict=True))
        self.ends = f, g
        self.kernel = _Kernel(self.cost, 1.0 / self.epsilon, self.ends)
        self.steps: list[Vector] = []
        self.log_sums: list[Vector] = []

    # Between all rows and columns, and those in use

    def part(self, x: Vector | None, side: int) -> Vector:
        used = self.used[side]
        return np.zeros(used.size) if x is None else x[used]

    @property
    def _block(self) -> tuple[NDArray[np.int64], ...]:
        """What of a matrix is in use, as its index."""
        index: tuple[NDArray[np.int64], ...] = self.xp.ix_(*map(self.xp.asarray, self.used))
        return index

    def inner(self, matrix: Matrix) -> Matrix:
        """Forbidden cells of it do not count."""
        return self._finite(matrix if self.full else matrix[self._block])

    def _finite(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """With 0 in forbidden cells."""
        return matrix if self.allowed is None else self.xp.where(self.allowed, matrix, matrix.dtype.type(0))

    def _begin(self, x: Vector | None, side: int) -> Vector:
        """Scaled potentials to begin with; a free side has none."""
        return self.part(None if isinstance(self.penalties[side], Free) else x, side) / self.epsilon

    def whole(self, x: Vector, side: int) -> Vector:
        out = np.zeros(self.shape[side])
        out[self.used[side]] = x
        return out

    def outer(self, matrix: Matrix) -> Matrix:
        if self.full:
            return matrix
        out: Matrix = self.xp.zeros(self.shape)
        out[self._block] = matrix
        return out

    def _finite_cost(self) -> Matrix:
        return in_double(self._finite(self.cost))

    # The iterations

    def _ratio(self, side: int, log_sum: Vector) -> Vector:
        return -log_sum if self.product else np.log(self.weights[side]) - log_sum

    def _side(self, step: int) -> int:
        """The side that a half step updates: the user's rows in those of even numbers."""
        return (step + self.first) % 2

    def _before(self, step: int, side: int) -> Vector:
        """The potential of a side when a half step begins."""
        last = step - 1 if self._side(step - 1) == side else step - 2
        return self.steps[last] if last >= 0 else self.start[side]

    def _advance(self) -> tuple[int, Vector, Vector]:
        """The next half step. Returns its side, the other one's factor and the sums."""
        step, kernel = len(self.steps), self.kernel
        side = self._side(step)
        other = self._before(step, 1 - side) + self.offsets[1 - side]
        factor = kernel.factor(1 - side, other)
        total = kernel.sums(side, factor) if factor is not None else np.zeros(1)
        if factor is None or not (total.min() > 1.0 / LIMIT and total.max() < LIMIT):
            kernel.normalise(side, other)
            factor = np.ones_like(other)
            total = kernel.sums(side, factor)
        log_sum = np.log(total) - kernel.base[side]
        penalty, weights = self.penalties[side], self.weights[side]
        self.steps.append(_update(kernel.backend, penalty, self._ratio(side, log_sum), weights, self.epsilon))
        self.log_sums.append(log_sum)
        return side, factor, total

    def _slopes(self, step: int) -> tuple[Vector, Vector, Vector, Vector]:
        side = self._side(step)
        ratio = self._ratio(side, self.log_sums[step])
        return _slopes(self.penalties[side], ratio, self.steps[step], self.weights[side], self.epsilon)

    # Reverse mode

    def pull_back(self, plan_bar: Matrix | None, f_bar: Vector, g_bar: Vector) -> _Bars:
        epsilon = self.epsilon
        matrix = self.kernel.matrix
        moved = self.xp.empty_like(matrix)
        self.xp.multiply(matrix, 0.0 if plan_bar is None else self.inner(plan_bar), out=moved)
        row_sums, col_sums = on_host(moved.sum(axis=1)), on_host(moved.sum(axis=0))
        moved *= -1.0 / epsilon
        while len(self.steps) < self.count:
            self._advance()
        rows = _SideBar(row_sums + epsilon * f_bar, row_sums / self.weights[0] if self.product else 0.0 * row_sums)
        cols = _SideBar(col_sums + epsilon * g_bar, col_sums / self.weights[1] if self.product else 0.0 * col_sums)
        f, g = self._before(self.count, 0), self._before(self.count, 1)
        bars = _Bars(cost=moved, rows=rows, cols=cols, epsilon=float(f_bar @ f + g_bar @ g))
        factors: tuple[list[Vector], list[Vector]] = [], []
        for step in reversed(range(self.count)):
            self._pull_back_step(step, bars, factors)
        self._flush(bars, factors)
        # potentials to begin with are given in units of the cost
        bars.epsilon -= float(rows.potential @ self.start[0] + cols.potential @ self.start[1]) / epsilon
        bars.epsilon -= float(self.xp.einsum("ij,ij->", bars.cost, self._finite_cost())) / epsilon
        return bars

    def _pull_back_step(self, step: int, bars: _Bars, factors: tuple[list[Vector], list[Vector]]) -> None:
        side = self._side(step)
        this, other = (bars.rows, bars.cols) if side == 0 else (bars.cols, bars.rows)
        by_ratio, by_weight, by_epsilon, by_strength = self._slopes(step)
        bar = this.potential
        this.weight += bar * by_weight
        this.strength += float((bar * by_strength).sum())
        bars.epsilon += float((bar * by_epsilon).sum())
        bar = bar * by_ratio
        if not self.product:
            this.weight += bar / self.weights[side]
        mine, others = self._share(step, bars, factors)
        mine = mine * bar
        sums = others * self.kernel.sums(1 - side, mine)
        factors[side].append(mine)
        factors[1 - side].append(others)
        other.potential -= sums
        if self.product:
            other.weight -= sums / self.weights[1 - side]
        this.potential = np.zeros_like(this.potential)

    def _share(self, step: int, bars: _Bars, factors: tuple[list[Vector], list[Vector]]) -> tuple[Vector, Vector]:
        """The diagonals that make the kernel the shares of a half step, on its side and on the other."""
        side, kernel = self._side(step), self.kernel
        potentials = -self.log_sums[step], self._before(step, 1 - side) + self.offsets[1 - side]
        mine, others = kernel.factor(side, potentials[0]), kernel.factor(1 - side, potentials[1])
        if mine is None or others is None or not mine.min() > 1.0 / LIMIT:
            self._flush(bars, factors)
            kernel.fill(potentials if side == 0 else potentials[::-1])
            mine, others = np.ones_like(potentials[0]), np.ones_like(potentials[1])
        return mine, others

    def _flush(self, bars: _Bars, factors: tuple[list[Vector], list[Vector]]) -> None:
        """Add what the half steps since the last time have collected for the cost."""
        if factors[0]:
            self.kernel.add_outer(*factors, 1.0 / self.epsilon, bars.cost)
        for side in factors:
            side.clear()

    # Forward mode

    def push_forward(self, direction: Direction) -> tuple[Matrix, Vector, Vector]:
        """Changes of the plan and of the potentials."""
        epsilon, change = self.epsilon, self._exponent_change(direction)
        weights = self.part(direction.a, 0), self.part(direction.b, 1)
        relative = weights[0] / self.weights[0], weights[1] / self.weights[1]
        strengths = direction.rows, direction.cols
        moves = [-start * (direction.epsilon / epsilon) for start in self.start]
        filled, weighted = None, self.kernel.matrix
        for step in range(self.count):
            side, factor, total = self._advance()
            by_ratio, by_weight, by_epsilon, by_strength = self._slopes(step)
            offset = relative[1 - side] if self.product else 0.0
            log_sum = self.kernel.sums(side, factor * (moves[1 - side] + offset))
            if change is not None:
                if filled is not self.kernel.base:
                    filled = self.kernel.base
                    weighted = self.kernel.matrix * change
                log_sum += self.kernel.sums(side, factor, weighted)
            ratio = (0.0 if self.product else relative[side]) - log_sum / total
            moves[side] = (
                by_ratio * ratio
                + by_weight * weights[side]
                + by_epsilon * direction.epsilon
                + by_strength * strengths[side]
            )
        if self.kernel.base is not self.ends:
            self.kernel.fill(self.ends)
        ends = [move + (part if self.product else 0.0) for move, part in zip(moves, relative, strict=True)]
        asarray, plan = self.xp.asarray, self.xp.empty_like(self.kernel.matrix)
        self.xp.add(asarray(ends[0])[:, None], asarray(ends[1]), out=plan)
        if change is not None:
            plan += change
        plan *= self.kernel.matrix
        f, g = self._before(self.count, 0), self._before(self.count, 1)
        return plan, epsilon * moves[0] + direction.epsilon * f, epsilon * moves[1] + direction.epsilon * g

    def _exponent_change(self, direction: Direction) -> Matrix | None:
        """That of -C / epsilon, None for 0."""
        if direction.cost is None and direction.epsilon == 0:
            return None
        change: Matrix = self._finite_cost() * (direction.epsilon / self.epsilon**2)
        if direction.cost is not None:
            change -= self.inner(direction.cost) / self.epsilon
        return change


def _update(backend: Backend, penalty: Penalty, ratio: Vector, a: Vector, epsilon: float) -> Vector:
    """`Backend.potential` for weights in the user's units."""
    out, log_weight = np.empty_like(ratio), np.log(a)
    backend.potential(Side(a, log_weight, log_weight, *penalty.rule(epsilon, 1.0)), ratio, out)
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
