"""Potentials that prove an assignment optimal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...problems.linear import assignment_problem
from ...problems.penalty import Vector
from .all_cells import assigned_at_once
from .bellman import Pairing, batch_potentials
from .clock import Clock
from .pricing import Exact
from .proved import solve_proved

FEW_LINES = 64  # rows or columns whose potentials are found by relaxation


def potentials_of(
    matrix: NDArray[Any], maximize: bool, mask: NDArray[np.bool_] | None, pair: tuple[Pairing, Pairing]
) -> tuple[Vector, Vector]:
    """Potentials that prove an assignment optimal: of a few lines from the pairs themselves, else whichever it is."""
    if matrix.size == 0:
        return np.zeros(matrix.shape[0]), np.zeros(matrix.shape[1])
    if min(matrix.shape) <= FEW_LINES:
        u, v = batch_potentials(matrix[None], maximize, [mask], pair[0][None], pair[1][None])
        return u[0], v[0]
    clock = Clock()
    found = assigned_at_once(matrix, maximize, mask, clock.check)
    if found is not None:
        return found[1]
    return assignment_potentials(solve_proved(*assignment_problem(matrix, maximize, mask), clock), maximize)


def assignment_potentials(found: Exact, maximize: bool) -> tuple[Vector, Vector]:
    """Those of an exact solution, with 0 on lines that are not in use and the sign that lines left over must have."""
    u, v = np.where(np.isfinite(found.u), found.u, 0.0), np.where(np.isfinite(found.v), found.v, 0.0)
    if u.size < v.size:
        v = np.minimum(v, 0.0)
    elif u.size > v.size:
        u = np.minimum(u, 0.0)
    return (-u, -v) if maximize else (u, v)
