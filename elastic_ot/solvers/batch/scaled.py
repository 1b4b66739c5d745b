"""Many problems in the units of the kernels, an entry of every array a problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arrays.devices import ModulesByName
from ...backends.protocol import LOGARITHMIC, Batch, BatchBackend, Side
from ...problems.batch import BatchProblem
from ...problems.penalty import Penalty, Vector
from ...problems.updates import scaled_potential


@dataclass(frozen=True, eq=False)
class BatchTask(ModulesByName):
    """Problems in the units of the kernels; as `Task`, an entry of every array a problem."""

    problem: BatchProblem
    backend: BatchBackend
    batch: Batch
    rows: Side
    cols: Side

    @property
    def cost(self) -> NDArray[np.floating]:
        return self.problem.cost

    def alphas(self, f: Vector, g: Vector) -> tuple[Vector, Vector]:
        """Kernel potentials of (f, g) in cost units; -inf on removed entries, 0 on free sides."""
        return self._alpha(f, self.rows, self.problem.row_used), self._alpha(g, self.cols, self.problem.col_used)

    def _alpha(self, f: Vector, side: Side, used: NDArray[np.bool_]) -> Vector:
        scaled: Vector = (f if used.all() else np.where(used, f, 0.0)) * self.batch.inv_epsilon[:, None]
        _clear(scaled, free_sides(side))
        scaled += side.offset
        return scaled

    def potentials(self, alpha: Vector, beta: Vector) -> tuple[Vector, Vector]:
        """(f, g) in cost units; -inf on removed entries."""
        return self._potential(alpha, self.rows), self._potential(beta, self.cols)

    def _potential(self, alpha: Vector, side: Side) -> Vector:
        scaled = scaled_potentials(alpha, side)
        scaled *= self.problem.epsilon[:, None]
        if not side.weight.all():
            scaled[side.weight == 0] = -np.inf
        return scaled

    def plans(self, part: slice, alpha: Vector, beta: Vector, out: NDArray[np.floating]) -> NDArray[np.floating]:
        """The plans of some problems, in `out`."""
        start = alpha[part] + np.log(self.problem.mass[part])[:, None]
        self.backend.batch_plan(self.cost, Batch(*(x[part] for x in self.batch)), start, beta[part], out)
        return out


def free_sides(side: Side) -> NDArray[np.bool_]:
    return np.asarray((side.code == LOGARITHMIC) & (side.strength == 0))


def _clear(values: Vector, where: NDArray[np.bool_]) -> None:
    if where.any():
        values[where] = 0.0


def scaled_potentials(alpha: Vector, side: Side) -> Vector:
    """Return F = alpha - offset for every problem; 0 on free sides and on entries not in use."""
    if side.weight.all():
        return scaled_potential(alpha, side)
    removed = side.weight == 0
    part = side._replace(offset=np.where(removed, 0.0, side.offset))
    return scaled_potential(np.where(removed, 0.0, alpha), part)


def make_batch_task(problem: BatchProblem, backend: BatchBackend) -> BatchTask:
    mass = problem.mass
    log_mass = np.log(mass)[:, None]
    rows = _side(problem.rows, problem.a, problem.row_used, problem.epsilon, mass)
    cols = _side(problem.cols, problem.b, problem.col_used, problem.epsilon, mass)
    if problem.reference == "product":
        row_offset, col_offset = rows.log_weight, cols.log_weight + log_mass
    else:
        row_offset, col_offset = _constant(rows, 0.0), _constant(cols, -log_mass)
    batch = Batch(problem.cost_of, 1.0 / problem.epsilon, problem.row_count, problem.col_count, mass)
    return BatchTask(problem, backend, batch, rows._replace(offset=row_offset), cols._replace(offset=col_offset))


def _constant(side: Side, value: Any) -> Vector:
    """One value for all entries, -inf for removed ones."""
    if side.weight.all():
        return np.asarray(np.zeros_like(side.weight) + value)
    return np.asarray(np.where(side.weight > 0, value, -np.inf))


def _side(penalty: Penalty, weights: Vector, used: NDArray[np.bool_], epsilon: Vector, mass: Vector) -> Side:
    rule = penalty.rule(epsilon[:, None], mass[:, None])  # type: ignore[arg-type]
    code, strength, strength2 = (np.broadcast_to(np.asarray(x).reshape(-1), epsilon.shape) for x in rule)
    weight = weights / mass[:, None]
    if not used.all():
        weight[~used] = 0.0
    with np.errstate(divide="ignore"):
        if (weight == weight[:1]).all():  # one logarithm costs four comparisons
            log_weight = np.array(np.broadcast_to(np.log(weight[:1]), weight.shape))
        else:
            log_weight = np.log(weight)
    # copies: kernels are compiled once, for arrays that are neither broadcast nor read-only
    strengths = (np.array(x, dtype=np.float64) for x in (strength, strength2))
    return Side(weight, log_weight, log_weight, np.array(code, dtype=np.int64), *strengths)
