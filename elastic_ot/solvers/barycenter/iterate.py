"""The vectors of K plans with one column marginal, and how an iteration changes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...backends.protocol import Vectors
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
        self.vectors: list[Vectors] = []
        for k, part in enumerate(problem.parts):
            alpha, log_row, previous = np.zeros((3, part.shape[0]))
            self.vectors.append(Vectors(alpha, self.betas[k], log_row, self.log_cols[k], previous, np.zeros(m)))
        self._prepare(fast)
        epsilon = problem.epsilon
        for task, vectors, start in zip(self.tasks, self.vectors, self.betas if g is None else g, strict=True):
            vectors.beta[:] = np.where(problem.used, start / epsilon, -np.inf)
            top = vectors.beta[problem.used].max()
            lowest = task.problem.cost.lowest / epsilon
            vectors.alpha[:] = np.where(task.problem.row_used, lowest - top, -np.inf)  # no entry exceeds 1
        self.log_d[:] = np.where(problem.used, 0.0 if h is None else h / epsilon, -np.inf)

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
            alphas = np.array([vectors.alpha for vectors in self.vectors])
            log_rows = self.shared.log_row_sums(alphas, self.betas)
            for task, vectors, log_row in zip(self.tasks, self.vectors, log_rows, strict=True):
                vectors.log_row[:], vectors.previous_alpha[:] = log_row, vectors.alpha
                vectors.alpha[:] += update_change(task.rows, 1.0, vectors.alpha, log_row, task.backend.potential)
            alphas = np.array([vectors.alpha for vectors in self.vectors])
            self.log_cols[:] = self.shared.log_col_sums(alphas, self.betas)
            return
        for task, vectors, scratch in zip(self.tasks, self.vectors, self.scratch, strict=True):
            task.plan.sweep((1.0, 0.0), vectors, scratch, 1)

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
        used, logs = self.problem.used, self._log_marginals()
        betas = self.betas[:, used]
        if self.own is None:
            return betas + (self.weights @ logs - logs)
        log_d = self.log_d[used]
        log_b = log_d + self.weights @ (logs - betas)
        smoothed = self._log_smoothed()[used]
        return np.concatenate([betas + (log_b - logs), 0.5 * (log_d + log_b - smoothed)[None]])

    def importance(self) -> Vector:
        """How much every entry of `columns` counts: the square root of the mass that it moves."""
        with np.errstate(over="ignore"):
            b = self.weights @ np.exp(self._log_marginals())
        by_column = np.sqrt(b / b.sum() + LEAST_SHARE)
        by_row = np.sqrt(np.maximum(self.weights, LEAST_SHARE))
        if self.own is not None:
            by_row = np.append(by_row, 1.0)
        found: Vector = by_row[:, None] * by_column
        return found

    def _log_marginals(self) -> Vector:
        """Logarithms of the columns' marginals (K, used)."""
        found: Vector = self.log_cols[:, self.problem.used] + self.log_masses[:, None]
        return found

    def _log_smoothed(self) -> Vector:
        """log(K d), K the kernel within the support."""
        assert self.own is not None
        m = self.log_d.size
        rows = np.zeros(m)
        vectors = Vectors(np.zeros(m), self.log_d.copy(), rows, np.zeros(m), np.zeros(m), np.zeros(m))
        self.own.plan.sweep((0.0, 0.0), vectors, self.own_scratch, 1)
        return rows

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
            marginals = np.exp(self._log_marginals())
            b = self.weights @ marginals
            residual = float(np.abs(marginals - b).sum(axis=1).max())
            if self.own is not None:
                smoothed = np.exp(self.log_d[problem.used] + self._log_smoothed()[problem.used])
                residual = max(residual, float(np.abs(smoothed - b).sum()))
                return Look(residual, np.nan, float(b.sum()))
            dual = 0.0
            for weight, task, vectors, c in zip(self.weights, self.tasks, self.vectors, marginals, strict=True):
                part = task.problem
                on = part.row_used
                f = part.epsilon * scaled_potential(vectors.alpha, task.rows)[on]
                values = part.rows.dual(f, part.a[on]).sum() - part.epsilon * c.sum()
                dual += weight * float(values) if weight else 0.0
        return Look(residual, dual, float(b.sum()))

    def save(self) -> tuple[Any, ...]:
        return tuple(x.copy() for vectors in self.vectors for x in vectors), self.log_d.copy()

    def restore(self, saved: tuple[Any, ...]) -> None:
        flat = (x for vectors in self.vectors for x in vectors)
        for now, before in zip(flat, saved[0], strict=True):
            now[:] = before
        self.log_d[:] = saved[1]

    def potentials(self) -> Potentials:
        """In cost units and in a gauge: with `Fixed` rows <b, g_k> = 0, or <b, h> in place of 0 if debiased."""
        used, epsilon = self.problem.used, self.problem.epsilon
        b = np.zeros(used.size)
        with np.errstate(over="ignore"):
            b[used] = self.weights @ np.exp(self._log_marginals())
        pairs = [task.potentials(v.alpha, v.beta) for task, v in zip(self.tasks, self.vectors, strict=True)]
        h = None if self.own is None else np.where(used, epsilon * self.log_d, -np.inf)
        g = np.array([pair[1] for pair in pairs])
        if all(part.rows.box() == (1.0, 1.0) for part in self.problem.parts):
            mean = 0.0 if h is None else float(b[used] @ h[used])
            shifts = (g[:, used] @ b[used] - mean) / b[used].sum()
            g[:, used] -= shifts[:, None]
            return Potentials([pair[0] + shift for pair, shift in zip(pairs, shifts, strict=True)], g, b, h)
        return Potentials([pair[0] for pair in pairs], g, b, h)
