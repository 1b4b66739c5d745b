"""Passes over lists of pairs of blocks, and when it pays to store the entries that carry mass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import CONTINUES, Krylov
from ...problems.penalty import Vector
from ..krylov import System
from ..newton.state import RADIUS
from ..passes import OperatorPasses, few_cells_system
from ..state import State
from .two_grid import Cells, TwoGrid

LEADS_ON = 0.7  # of the residual, to which a step of two grids must bring it
STRICT = 1e-4  # share of every row's and column's mass that entries may lack when they are counted, at most


@dataclass(eq=False)
class ListPasses(OperatorPasses):
    """Products with the listed part of the plan, or with its entries stored where few of the listed carry mass.

    Early in a level a looser share would do, and fewer entries; but these would have to be found again for every step.
    """

    many: bool = False
    """Too many entries carry mass at this level."""
    coarse: Cells | None = None
    """The system of the level before, for as long as it leads on."""
    residual: float = np.inf
    """Relative residual when the last system was made."""

    def system(
        self, state: State, row_weight: Vector, diagonal: Vector, free: NDArray[np.bool_], drop: float
    ) -> System:
        before, self.residual = self.residual, state.measure().relative_residual
        if self.residual > LEADS_ON * before:
            self.coarse = None
        if self.coarse is not None:
            return self._two_grid(diagonal, free)
        found = None if self.many else few_cells_system(state, row_weight, diagonal, free, min(drop, STRICT))
        if found is not None:
            return found
        self.many = True
        return self.whole_system(state, row_weight, diagonal, free)

    def _two_grid(self, diagonal: Vector, free: NDArray[np.bool_]) -> System:
        def gradients(state: Krylov, goal: float, radius: float, count: int) -> tuple[int, int]:
            return 0, CONTINUES

        assert self.coarse is not None
        direct = TwoGrid(self.coarse, diagonal, RADIUS)
        return System(diagonal, free, gradients, np.zeros_like(diagonal), 1, direct)
