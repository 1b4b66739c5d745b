"""What the outer loop reads of a solve of its linear problem."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...problems.penalty import Vector
from .structures import Coupling


class Inner(NamedTuple):
    """What an inner solve has found."""

    coupling: Coupling
    f: Vector
    g: Vector
    transport: float
    """Of the cost that was solved for."""
    divergence: float
    """KL(P | R)."""
    penalty: float
    """Of both sides; of fixed ones `missed`."""
    missed: float
    """The potentials of fixed sides times what their marginals are short of."""
    mass: float
    largest_cost: float
    converged: bool
    solution: Any
