"""Passes over lists of pairs of blocks, and when it pays to store the entries that carry mass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...problems.penalty import Vector
from ..krylov import System
from ..passes import OperatorPasses, few_cells_system
from ..state import State

STRICT = 1e-4  # share of every row's and column's mass that entries may lack when they are counted, at most


@dataclass(eq=False)
class ListPasses(OperatorPasses):
    """Products with the listed part of the plan, or with its entries stored where few of the listed carry mass.

    Early in a level a looser share would do, and fewer entries; but these would have to be found again for every step.
    """

    many: bool = False
    """Too many entries carry mass at this level."""

    def system(
        self, state: State, row_weight: Vector, diagonal: Vector, free: NDArray[np.bool_], drop: float
    ) -> System:
        found = None if self.many else few_cells_system(state, row_weight, diagonal, free, min(drop, STRICT))
        if found is not None:
            return found
        self.many = True
        return self.whole_system(state, row_weight, diagonal, free)
