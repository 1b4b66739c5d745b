"""The vectors of K plans with one column marginal, and how an iteration changes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ...backends.protocol import Side, Vectors
from ...backends.updates import update_change
from ...costs.shared_plan import shared_plan
from ...problems.common import CommonProblem
from ...problems.penalties import KL
from ...problems.penalty import Vector
from ...problems.scaled import Task, make_task
from ...problems.updates import scaled_potential

LEAST_SHARE = 1e-12  # share of the mass, or weight of a measure, below which all count the same
SETTLED_MASS = 1e-12  # nats by which potentials are moved at least to balance masses


class Look(NamedTuple):
    """What an iterate is worth: the largest L1 distance of a column marginal from the barycenter, and the dual.

    The dual comes without its constant. Where the barycenter is debiased there is none, and it is nan.
    """

    residual: float
    dual: float
    mass: float


@dataclass(frozen=True, eq=False)
class Potentials:
    """(f_k, g_k) in cost units, the barycenter (m,), and h, the potential of its transport to itself, if debiased."""

    f: list[Vector]
    g: Vector
    b: Vector
    h: Vector | None


class Iterate:
    """Kernel potentials of every plan, and their column sums after the last row update."""

    def __init__(self, problem: CommonProblem, g: Vector | None, h: Vector | None, fast: bool) -> None:
        count, m = len(problem.parts), problem.used.size
        self.problem, self.weights = problem, problem.weights
        self.log_masses = np.log(problem.masses)
        self.betas, self.log_cols = np.zeros((count, m)), np.zeros((count, m))
        self.log_d = np.zeros(m)
        ends = np.cumsum([0, *(part.shape[0] for part in problem.parts)])
        self.rows, self.updated = np.zeros((3, ends[-1])), np.zeros((count, m))
        self.vectors: list[Vectors] = []
        for k, (first, last) in enumerate(pairwise(ends)):
            alpha, log_row, previous = self.rows[:, first:last]
            self.vectors.append(Vectors(alpha, self.betas[k], log_row, self.log_cols[k], previous, self.updated[k]))
        self.row_weights = np.repeat(problem.weights, np.diff(ends))
        self.row_counted = np.concatenate([part.row_used for part in problem.parts]) & (self.row_weights > 0)
        self.measures = np.concatenate([part.a for part in problem.parts])
        self._prepare(fast)
        epsilon = problem.epsilon
        if h is None:  # no entry of the plan of the barycenter to itself exceeds 1
            h = np.full(m, 0.0 if problem.own is None else 0.5 * problem.own.cost.lowest)
        if g is None:
            g = np.tile(h, (count, 1))
        for task, vectors, start in zip(self.tasks, self.vectors, g, strict=True):
            vectors.beta[:] = np.where(problem.used, start / epsilon, -np.inf)
            top = vectors.beta[problem.used].max()
            lowest = task.problem.cost.lowest / epsilon
            vectors.alpha[:] = np.where(task.problem.row_used, lowest - top, -np.inf)  # no entry exceeds 1
        self.log_d[:] = np.where(problem.used, h / epsilon, -np.inf)

    def _prepare(self, fast: bool) -> None:
        self.tasks: list[Task] = [make_task(part) for part in self.problem.parts]
        spaces: dict[tuple[int, ...], Any] = {}
        for task in self.tasks:
            if task.problem.shape not in spaces:
                spaces[task.problem.shape] = task.plan.scratch(fast)
        self.scratch = [spaces[task.problem.shape] for task in self.tasks]
        first = self.problem.parts[0].cost
        alike = all(part.cost is first for part in self.problem.parts)
        self.shared = shared_plan(first, 1.0 / self.problem.epsilon, len(self.tasks)) if alike else None
        self.side = _joined([task.rows for task in self.tasks])
        self.fast = fast and self.shared is None  # products of matrices are in double precision
        self.own = None if self.problem.own is None else make_task(self.problem.own)
        self.own_scratch = None if self.own is None else self.own.plan.scratch(False)

    def sharpen(self) -> None:
        """From here on in double precision."""
        self._prepare(False)

    def descend(self, problem: CommonProblem) -> None:
        """To another epsilon, with the same potentials."""
        ratio = self.problem.epsilon / problem.epsilon
        potentials = [task.potentials(v.alpha, v.beta) for task, v in zip(self.tasks, self.vectors, strict=True)]
        self.problem = problem
        self._prepare(self.fast)
        for task, vectors, (f, g) in zip(self.tasks, self.vectors, potentials, strict=True):
            vectors.alpha[:], vectors.beta[:] = task.alphas(f, g)
        self.log_d *= ratio

    def update_rows(self) -> None:
        """Every plan's rows, and the sums of its columns: one pass over each cost."""
        if self.shared is not None:
            alpha, log_row, previous = self.rows
            alphas = alpha.reshape(len(self.tasks), -1)
            log_row[:], previous[:] = self.shared.log_row_sums(alphas, self.betas).reshape(-1), alpha
            backend = self.tasks[0].backend
            if self.side is not None:
                alpha += update_change(self.side, 1.0, alpha, log_row, backend.potential)
            else:
                for task, vectors in zip(self.tasks, self.vectors, strict=True):
                    vectors.alpha[:] += update_change(task.rows, 1.0, vectors.alpha, vectors.log_row, backend.potential)
            self.log_cols[:] = self.shared.log_col_sums(alphas, self.betas)
            self._note_marginals()
            return
        for task, vectors, scratch in zip(self.tasks, self.vectors, self.scratch, strict=True):
            task.plan.sweep((1.0, 0.0), vectors, scratch, 1)
        self._note_marginals()

    @property
    def columns(self) -> Vector:
        """What a column update changes, on the columns in use: beta of every plan, and log d if debiased; a copy."""
        used = self.problem.used
        if self.own is None:
            return self.betas[:, used]
        return np.concatenate([self.betas[:, used], self.log_d[None, used]])

    @columns.setter
    def columns(self, values: Vector) -> None:
        used, count = self.problem.used, len(self.tasks)
        self.betas[:, used] = values[:count]
        if self.own is not None:
            self.log_d[used] = values[count]

    def updated_columns(self) -> Vector:
        """Return `columns` after an exact update.

        Debiased, log b = log d + sum_k w_k log s_k with s_k = c_k exp(-beta_k), and d <- sqrt(d b / (K d)).
        """
        used, logs = self.problem.used, self.log_marginals
        betas = self.betas[:, used]
        if self.own is None:
            return betas + (self.weights @ logs - logs)
        log_d = self.log_d[used]
        log_b = log_d + self.weights @ (logs - betas)
        smoothed = self.log_smoothed(self.log_d)[used]
        return np.concatenate([betas + (log_b - logs), 0.5 * (log_d + log_b - smoothed)[None]])

    def importance(self) -> Vector:
        """How much every entry of `columns` counts: the square root of the mass that it moves."""
        with np.errstate(over="ignore"):
            b = self.weights @ self.marginals
        by_column = np.sqrt(b / b.sum() + LEAST_SHARE)
        by_row = np.sqrt(np.maximum(self.weights, LEAST_SHARE))
        if self.own is not None:
            by_row = np.append(by_row, 1.0)
        found: Vector = by_row[:, None] * by_column
        return found

    def _note_marginals(self) -> None:
        """Keep what the columns sum to, (K, used), and its logarithms, which a look and an update both read."""
        self.log_marginals: Vector = self.log_cols[:, self.problem.used] + self.log_masses[:, None]
        self.marginals: Vector = np.exp(self.log_marginals)

    def log_smoothed(self, log_d: Vector) -> Vector:
        """log(K d), K the kernel within the support: of the plan d K d, whose entries are in range."""
        assert self.own is not None
        m = log_d.size
        rows = np.zeros(m)
        vectors = Vectors(log_d.copy(), log_d.copy(), rows, np.zeros(m), np.zeros(m), np.zeros(m))
        self.own.plan.sweep((0.0, 0.0), vectors, self.own_scratch, 1)
        return np.where(self.problem.used, rows - log_d, -np.inf)

    def balance(self) -> None:
        """Translate (f_k, g_k) of `KL` rows where the dual is largest: the plans stay, and sum_k w_k g_k = 0.

        All demands sum a exp(-f / rho) are then the same.
        """
        rows = self.problem.rows
        if not isinstance(rows, KL) or rows.rho == 0:
            return
        rho = rows.rho / self.problem.epsilon
        logs = np.empty(len(self.tasks))
        for k, (task, vectors) in enumerate(zip(self.tasks, self.vectors, strict=True)):
            exponents = task.rows.log_weight - (vectors.alpha - task.rows.offset) / rho
            exponents = exponents[task.problem.row_used]
            top = exponents.max()
            logs[k] = top + np.log(np.exp(exponents - top).sum()) + self.log_masses[k]
        shifts = rho * (logs - self.weights @ logs)
        if np.isfinite(shifts).all() and np.abs(shifts).max() > SETTLED_MASS:
            for vectors, shift in zip(self.vectors, shifts, strict=True):
                vectors.alpha[:] += shift
                vectors.previous_alpha[:] += shift
                vectors.beta[:] -= shift

    def look(self) -> Look:
        problem = self.problem
        with np.errstate(over="ignore", invalid="ignore"):
            marginals = self.marginals
            b = self.weights @ marginals
            residual = float(np.abs(marginals - b).sum(axis=1).max())
            if self.own is not None:
                smoothed = np.exp(self.log_d[problem.used] + self.log_smoothed(self.log_d)[problem.used])
                residual = max(residual, float(np.abs(smoothed - b).sum()))
                return Look(residual, np.nan, float(b.sum()))
            dual = self._dual_of_rows() - problem.epsilon * float(self.weights @ marginals.sum(axis=1))
        return Look(residual, dual, float(b.sum()))

    def _dual_of_rows(self) -> float:
        """Return sum_k w_k sum -phi*(-f_k), of rows in use."""
        on, epsilon = self.row_counted, self.problem.epsilon
        if self.side is not None:
            scaled = scaled_potential(self.rows[0], self.side)
        else:
            parts = zip(self.vectors, self.tasks, strict=True)
            scaled = np.concatenate([scaled_potential(vectors.alpha, task.rows) for vectors, task in parts])
        values = self.problem.rows.dual(epsilon * scaled[on], self.measures[on])
        return float((self.row_weights[on] * values).sum())  # no BLAS, whose threads take longer to start

    def save(self) -> tuple[Any, ...]:
        return tuple(x.copy() for x in self._state)

    def restore(self, saved: tuple[Any, ...]) -> None:
        for now, before in zip(self._state, saved, strict=True):
            now[:] = before

    @property
    def _state(self) -> tuple[Vector, ...]:
        return self.rows, self.betas, self.log_cols, self.updated, self.log_d

    def potentials(self) -> Potentials:
        """In cost units and in a gauge: with `Fixed` rows <b, g_k> = 0, or <b, h> in place of 0 if debiased."""
        used, epsilon = self.problem.used, self.problem.epsilon
        b = np.zeros(used.size)
        with np.errstate(over="ignore"):
            b[used] = self.weights @ self.marginals
        pairs = [task.potentials(v.alpha, v.beta) for task, v in zip(self.tasks, self.vectors, strict=True)]
        h = None if self.own is None else np.where(used, epsilon * self.log_d, -np.inf)
        g = np.array([pair[1] for pair in pairs])
        if all(part.rows.box() == (1.0, 1.0) for part in self.problem.parts):
            mean = 0.0 if h is None else float(b[used] @ h[used])
            shifts = (g[:, used] @ b[used] - mean) / b[used].sum()
            g[:, used] -= shifts[:, None]
            return Potentials([pair[0] + shift for pair, shift in zip(pairs, shifts, strict=True)], g, b, h)
        return Potentials([pair[0] for pair in pairs], g, b, h)


def _joined(sides: Sequence[Side]) -> Side | None:
    """Return the rows of all plans as one side; None where strengths differ, as they do relative to other masses."""
    first = sides[0]
    if any(side[3:] != first[3:] for side in sides):
        return None
    weight, log_weight, offset = (np.concatenate(x) for x in zip(*(side[:3] for side in sides), strict=True))
    return Side(weight, log_weight, offset, *first[3:])
