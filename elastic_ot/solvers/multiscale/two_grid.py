"""Newton steps for many points by the system of fewer: what is smooth is solved for cells, the rest as in a sweep.

Sweeps damp what changes within a cell and leave what is smooth on the scale of the blur (Brandt, *Multi-level adaptive
solutions to boundary-value problems*, 1977, on two grids). A system of cells takes as much less as there are fewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...backends.reference import gradients_with
from ...costs.operator import Gram
from ...problems.penalty import Indices, Vector
from .. import krylov
from ..newton.state import NewtonState
from ..newton.step import linearised

FEWER = 0.4  # of the columns, up to which cells are used
FORCING = 0.1  # of its right side, to which the system of the cells is solved
CELL_PRODUCTS = 200


@dataclass(frozen=True, eq=False)
class Cells:
    """Newton's system where a level ended.

    `cells` are those of the columns of the next level.
    """

    gram: Gram
    diagonal: Vector
    inside: NDArray[np.bool_]
    cells: Indices


def cells_of(state: NewtonState, cells: Indices) -> Cells:
    """Return the system of a swept state."""
    linear = linearised(state)
    gram = state.task.plan.gram(state.alpha.copy(), state.beta.copy(), linear.row_weight, fast=True)
    return Cells(gram, linear.diagonal, linear.inside, cells)


@dataclass(eq=False)
class TwoGrid:
    """A solution of the system of all columns, roughly; `krylov.Direct`."""

    coarse: Cells
    diagonal: Vector
    radius: float
    look: int = 0

    def price(self) -> float:
        return 0.0

    def solve(self, rhs: Vector, x: Vector) -> None:
        coarse, cells = self.coarse, self.coarse.cells
        count = coarse.diagonal.size
        sums, weights = np.bincount(cells, rhs, count), np.bincount(cells, self.diagonal, count)
        out = np.empty(count)

        def gram(direction: Vector) -> Vector:
            coarse.gram(direction, out)
            return out

        def gradients(state: object, goal: float, radius: float, most: int) -> tuple[int, int]:
            return gradients_with(gram, coarse.diagonal, state, goal, radius, most)  # type: ignore[arg-type]

        system = krylov.System(coarse.diagonal, coarse.inside, gradients, np.zeros(count), CELL_PRODUCTS)
        wanted = np.where(coarse.inside, sums, 0.0)
        smooth, _ = krylov.solve(system, wanted, FORCING * float(np.abs(wanted).sum()), self.radius, lambda: False)
        used = self.diagonal > 0
        own = np.divide(rhs, self.diagonal, out=np.zeros_like(rhs), where=used)
        mean = np.divide(sums, weights, out=np.zeros(count), where=weights > 0)
        x[:] = np.where(used, own + (smooth - mean)[cells], 0.0)
