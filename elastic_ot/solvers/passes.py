"""Where the plan is read from while a solve runs: the cost itself, a stored kernel, or the cells that carry mass.

Each kind of `Passes` does the same iterations; what differs is the price.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..backends.protocol import Krylov, Sparse, Support
from ..backends.reference import gradients_with
from ..distributed.ranks import ALONE
from ..problems.penalty import Vector
from .direct import Factorisation
from .krylov import System
from .light import weighty
from .log_domain import sweep as log_sweep
from .state import State

Omega = tuple[float, float]
SINGLE = 2e-7  # rounding of float32: so much more on its diagonal keeps Newton's matrix positive definite
ABSORB = 1e8  # scalings of a float32 kernel stay below this: what is lost under 1e-38 then carries less than 1e-22
KEPT = 0.05  # share of the tolerance that the cells left out of a support may carry
MARGIN = 12.0  # nats by which the potentials may still move before a cell left out of a support could matter
SAMPLED_ROWS = 64  # rows looked at before a support is counted
STEP_PRODUCTS = 5000  # with Newton's matrix, a step


class Passes(Protocol):
    """How an iteration reads the plan."""

    stored: bool
    """True if they hold the plan, so that products with Newton's matrix are cheap: `StoredPasses`."""
    truncated: bool
    """True if cells were left out, so that marginals have to be checked against the full cost."""
    exact: bool
    """True if marginals are sums of float64 exponentials."""

    def sweep(self, state: State, omega: Omega, count: int = 1) -> bool:
        """So many iterations; False if the state cannot be used, because rows or columns lost all their mass."""

    def left_out(self, state: State, aim: float) -> float:
        """Bound on the share of a row's or column's mass that the cells left out may carry now.

        Rows and columns that together weigh nothing beside a residual of `aim` do not count.
        """
        return 0.0

    def change_epsilon(self) -> None:
        """Let go of numbers that another epsilon makes useless."""
        return


class StoredPasses(Passes, Protocol):
    """Passes that hold the plan."""

    def system(
        self, state: State, row_weight: Vector, diagonal: Vector, free: NDArray[np.bool_], drop: float
    ) -> System:
        """Newton's reduced matrix at the swept state.

        Entries that carry less than a share `drop` of every row's and column's mass may be left out of P.
        """


@dataclass(eq=False)
class LogPasses(Passes):
    """Log-domain sweeps over the cost: nothing is stored."""

    exact: bool = False
    stored: bool = False
    truncated: bool = False

    def sweep(self, state: State, omega: Omega, count: int = 1) -> bool:
        log_sweep(state, omega, count)
        return True


@dataclass(eq=False)
class KernelPasses(StoredPasses):
    """A float32 kernel around some potentials, rebuilt when scalings grow: iterations without exponentials.

    With `exact`, iterations are log-domain sweeps in double precision and the kernel serves Newton's system only, whose
    diagonal then follows what float32 has made of the plan.
    """

    kernel: NDArray[np.float32]
    exact: bool = False
    stored: bool = True
    truncated: bool = False
    base: tuple[Vector, Vector] | None = None

    def sweep(self, state: State, omega: Omega, count: int = 1) -> bool:
        if self.exact:
            log_sweep(state, omega, count)
            return True
        task = state.task
        state.cols_updated = omega[1] != 0
        sides = task.rows, task.cols
        while count:
            if self.base is None:
                log_sweep(state, omega, 1)
                self._absorb(state)
                count -= 1
                continue
            done, serves = task.backend.scaling_sweeps(
                self.kernel, *self.base, *sides, omega, *state.vectors, state.scratch, count, ABSORB
            )
            count -= done
            if not serves:
                self.base = None
        return True

    def change_epsilon(self) -> None:
        self.base = None

    def system(
        self, state: State, row_weight: Vector, diagonal: Vector, free: NDArray[np.bool_], drop: float
    ) -> System:
        if self.exact:
            found = few_cells_system(state, row_weight, diagonal, free, drop)
            if found is not None:
                return found
        if self.base is None or not self._within(state):
            self._absorb(state)
        assert self.base is not None
        u, v = _ratio(state.alpha, self.base[0]), _ratio(state.beta, self.base[1])
        weight, backend = u * u * row_weight, state.task.backend
        if self.exact:
            diagonal = diagonal + self._rounding(state, u, v, row_weight)
        else:
            diagonal = (1.0 + SINGLE) * diagonal

        def gradients(krylov: Krylov, goal: float, radius: float, count: int) -> tuple[int, int]:
            return backend.dense_gradients(self.kernel, v, weight, diagonal, krylov, goal, radius, count)

        # with many cells a row, squares of single ones are negligible
        entries = state.task.problem.cost.entries
        return System(diagonal, free, gradients, np.zeros_like(diagonal), STEP_PRODUCTS, entries=entries)

    def _rounding(self, state: State, u: Vector, v: Vector, row_weight: Vector) -> Vector:
        """What the diagonal D_c of Newton's matrix changes by where the plan P is replaced by its rounded entries.

        S is a Laplacian plus a diagonal that is not negative: D_c = diag(P^T (w * (P 1)) + P^T (1 - w * r)), w the row
        weights and r = P 1. Made of the same entries as the rest, it keeps the relative accuracy of one entry in every
        direction, those between clusters that are linked by less than the rounding of the others included.
        """
        (r, c), backend = attained(state), state.task.backend
        sums, out = np.empty_like(r), np.empty_like(c)
        backend.dense_product(self.kernel, v, False, sums)
        backend.dense_product(self.kernel, u * (1.0 + row_weight * (u * sums - r)), True, out)
        return v * out - c

    def _within(self, state: State) -> bool:
        assert self.base is not None
        changes = ((x - b)[np.isfinite(x)] for x, b in zip((state.alpha, state.beta), self.base, strict=True))
        near = all(np.abs(change).max(initial=0.0) < np.log(ABSORB) for change in changes)
        return state.task.problem.ranks.all(near)

    def _absorb(self, state: State) -> None:
        task = state.task
        self.base = state.alpha.copy(), state.beta.copy()
        task.plan.fill(*self.base, self.kernel, coarse=True)


@dataclass(eq=False)
class OperatorPasses(StoredPasses):
    """Sweeps over a cost that is not stored, and products with its plan for Newton's system: each is a pass or two.

    Where few entries carry mass the system is made of those. Products are in single precision as long as a float32
    kernel would serve for a stored cost. More on the diagonal for that, as `SINGLE` is, makes more solves stall, and
    conjugate gradients end where they meet no curvature.
    """

    exact: bool = False
    stored: bool = True
    truncated: bool = False

    def sweep(self, state: State, omega: Omega, count: int = 1) -> bool:
        log_sweep(state, omega, count)
        return True

    def system(
        self, state: State, row_weight: Vector, diagonal: Vector, free: NDArray[np.bool_], drop: float
    ) -> System:
        found = few_cells_system(state, row_weight, diagonal, free, drop)
        return self.whole_system(state, row_weight, diagonal, free) if found is None else found

    def whole_system(self, state: State, row_weight: Vector, diagonal: Vector, free: NDArray[np.bool_]) -> System:
        """Newton's matrix by products with the plan."""
        task = state.task
        product = task.plan.gram(state.alpha.copy(), state.beta.copy(), row_weight, fast=not self.exact)
        out = np.empty_like(diagonal)

        def gram(direction: Vector) -> Vector:
            product(direction, out)
            return out

        def gradients(krylov: Krylov, goal: float, radius: float, count: int) -> tuple[int, int]:
            return gradients_with(gram, diagonal, krylov, goal, radius, count)

        return System(diagonal, free, gradients, np.zeros_like(diagonal), STEP_PRODUCTS, entries=task.problem.cost.work)


@dataclass(eq=False)
class SupportPasses(StoredPasses):
    """Only the cells that carry mass (Schmitzer 2019), with the plan's values at them.

    `origin` holds epsilon, f and g where they were chosen, `log_share` the logarithm of what the others carried at
    most of any row's or column's mass.
    """

    support: Support
    matrix: Sparse
    origin: tuple[float, Vector, Vector]
    log_share: float
    exact: bool = True
    stored: bool = True
    truncated: bool = True

    def sweep(self, state: State, omega: Omega, count: int = 1) -> bool:
        task = state.task
        state.cols_updated = omega[1] != 0
        return task.backend.support_sweeps(
            self.support, task.inv_epsilon, task.rows, task.cols, omega, *state.vectors, count
        )

    def left_out(self, state: State, aim: float) -> float:
        """Bound on the share of a row's or column's mass that the other cells may carry now.

        A cell's exponent (f_i + g_j - C_ij) / epsilon has grown by the largest moves of f and of g at most; where
        epsilon fell, what was negative became more so. Potentials of rows and columns that do not count may move by
        hundreds of epsilon.
        """
        task, epsilon = state.task, state.task.problem.epsilon
        before, *potentials = self.origin
        moved, now, cost = 0.0, task.potentials(state.alpha, state.beta), task.problem.cost
        counted = (task.rows, cost.row_count, cost.ranks), (task.cols, cost.shape[1], ALONE)
        for (side, count, ranks), here, then in zip(counted, now, potentials, strict=True):
            counts = np.isfinite(here) & weighty(side, aim, count)
            moved += ranks.max(here[counts] - then[counts])
        return float(np.exp(min(self.log_share * (before / epsilon) + moved / epsilon, 0.0)))

    def evaluate(self, state: State) -> None:
        """The values of the plan as the state has it: an iteration that changes nothing."""
        task, (alpha, beta, log_row, log_col, previous, updated) = state.task, state.save()
        sides = task.rows, task.cols
        vectors = alpha, beta, log_row, log_col, previous, updated
        task.backend.support_sweeps(self.support, task.inv_epsilon, *sides, (0.0, 0.0), *vectors, 1)

    def system(
        self, state: State, row_weight: Vector, diagonal: Vector, free: NDArray[np.bool_], drop: float
    ) -> System:
        cost = state.task.problem.cost
        r, c = attained(state)
        state.task.backend.sparsify(self.support, drop / cost.shape[1] * r, drop / cost.row_count * c, self.matrix)
        return sparse_system(state, self.matrix, row_weight, diagonal, free)


def sparse_system(
    state: State, matrix: Sparse, row_weight: Vector, diagonal: Vector, free: NDArray[np.bool_]
) -> System:
    """Newton's matrix where P is sparse."""
    backend = state.task.backend
    squares = np.empty_like(diagonal)
    backend.sparse_squares(matrix, row_weight, squares)

    def gradients(krylov: Krylov, goal: float, radius: float, count: int) -> tuple[int, int]:
        return backend.sparse_gradients(matrix, row_weight, diagonal, krylov, goal, radius, count)

    def gram(out: NDArray[np.float64]) -> None:
        backend.sparse_gram(matrix, row_weight, out)

    direct = Factorisation(matrix, row_weight, diagonal, free, gram, settle=state.task.problem.ranks.follow_first)
    return System(diagonal, free, gradients, squares, STEP_PRODUCTS, direct, int(matrix.pointers[-1]))


def few_cells_system(
    state: State, row_weight: Vector, diagonal: Vector, free: NDArray[np.bool_], drop: float
) -> System | None:
    """Newton's matrix made of the cells that matter, if they are few."""
    build = support_of(state, drop / KEPT, margin=0.0)
    if build is None:
        return None
    cells = build()
    cells.evaluate(state)
    return cells.system(state, row_weight, diagonal, free, drop)


def attained(state: State) -> tuple[Vector, Vector]:
    """Marginals of (alpha, beta) after a sweep, in units of the mass."""
    iterate = state.rows_exact()
    with np.errstate(over="ignore"):
        return np.exp(iterate.log_row), np.exp(iterate.log_col)


def support_of(state: State, tol: float, margin: float = MARGIN) -> Callable[[], SupportPasses] | None:
    """Makes passes of the cells with all but a share `KEPT` tol of every row's and column's mass.

    None if they are too many to take less memory than the cost.
    """
    task = state.task
    limit = task.plan.cell_share()
    if limit == 0:
        return None
    (n, m), ranks, count = task.problem.shape, task.problem.ranks, task.problem.cost.row_count
    share = max(KEPT * tol, 1e-17)
    r, c = attained(state)
    row_least = np.log(r) + np.log(share / m) - margin
    col_least = np.log(c) + np.log(share / count) - margin

    def sizes_of(which: NDArray[np.int64]) -> NDArray[np.int64]:
        sizes = np.empty(which.size, np.int64)
        task.plan.support_sizes(state.alpha, state.beta, (row_least, col_least), which, sizes)
        return sizes

    if count > 2 * SAMPLED_ROWS:
        sampled = ranks.spread(np.arange(n), SAMPLED_ROWS, 1, lambda which: sizes_of(which)[:, None])
        if sampled.mean() > 1.5 * limit * m:
            return None
    sizes = sizes_of(np.arange(n))
    if ranks.totals(int(sizes.sum()))[0] > limit * count * m:
        return None
    pointers = np.zeros(n + 1, np.int64)
    np.cumsum(sizes, out=pointers[1:])

    def build() -> SupportPasses:
        support = task.plan.support_cells(state.alpha, state.beta, (row_least, col_least), pointers)
        origin = task.problem.epsilon, *task.potentials(state.alpha, state.beta)
        return SupportPasses(support, task.backend.sparse_like(support), origin, float(np.log(share)) - margin)

    return build


def _ratio(x: Vector, base: Vector) -> Vector:
    """exp(x - base), 0 for removed entries."""
    used = np.isfinite(x)
    return np.where(used, np.exp(np.where(used, x, 0.0) - np.where(used, base, 0.0)), 0.0)
