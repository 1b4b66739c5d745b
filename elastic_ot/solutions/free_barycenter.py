"""What `free_barycenter` returns: points and their masses, and how the objective fell while the points moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..problems.penalty import Vector
from ..results import Result
from ..solvers.status import Status
from .barycenter import Barycenter


@dataclass(frozen=True, eq=False)
class FreeBarycenter(Result):
    """A barycenter whose points have moved to where they are best, one after the other with the masses.

    Attributes
    ----------
    support : ndarray, shape (m, d)
        The points.
    weights : array, shape (m,)
        Their masses.
    barycenter : Barycenter
        The barycenter on these points, with the transports to it and its certificate.
    values : ndarray
        The objective before every move, and at the end: it never rises by more than the gaps.
    status : Status
        CONVERGED if the last move lowered it by no more than the tolerance.
    message : str
    """

    _as_array: ClassVar[str] = "support"

    support: NDArray[np.float64]
    weights: NDArray[np.float64]
    barycenter: Barycenter
    values: Vector
    status: Status
    message: str

    def __repr__(self) -> str:
        m, d = self.support.shape
        return f"FreeBarycenter({m} points in {d} dimensions, {self.n_moves} moves, {self.status.name})"

    @property
    def converged(self) -> bool:
        """True if the points have come to rest, and the masses on them are converged."""
        return self.status is Status.CONVERGED

    @property
    def n_moves(self) -> int:
        """How often the points have moved."""
        return int(self.values.size) - 1

    @property
    def value(self) -> float:
        """The objective, of plans that meet the measures."""
        return float(self.values[-1])
