"""What a solve notes at every look, and the history made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ..problems.penalty import Vector
from ..results import one_line


@dataclass(frozen=True, eq=False)
class History:
    """One entry a check of the solver (each iteration at first, more rarely later; always with a callback).

    Attributes
    ----------
    iteration : ndarray of int
        Passes over the cost done so far.
    residual : ndarray
        L1 distance from optimality of the marginals, in units of mass.
    dual : ndarray
        Dual value, in units of cost times mass.
    epsilon : ndarray
        The epsilon the entry belongs to (annealing passes through larger ones).
    seconds : ndarray
        Wall time since the start.
    method : ndarray of str
        The method at work: ``"auto"`` may go through several.
    products : ndarray of int
        Products with Newton's matrix done so far.
    """

    iteration: NDArray[np.int64]
    residual: Vector
    dual: Vector
    epsilon: Vector
    seconds: Vector
    method: NDArray[np.str_]
    products: NDArray[np.int64]

    __repr__ = one_line

    def __len__(self) -> int:
        return int(self.iteration.size)


@dataclass(frozen=True)
class Entry:
    """A row of the history; `epsilon` and `dual` in the problem's units, the dual without its constant."""

    iteration: int
    residual: float
    dual: float
    epsilon: float
    seconds: float
    method: str
    products: int


def history_of(entries: Sequence[Entry], reference_mass: float) -> History:
    """The columns; the dual with its constant epsilon * sum(R)."""
    columns = {field.name: np.array([getattr(entry, field.name) for entry in entries]) for field in fields(Entry)}
    columns["dual"] = columns["dual"] + columns["epsilon"] * reference_mass
    return History(**columns)
