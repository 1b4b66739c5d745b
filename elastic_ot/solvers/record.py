"""What the driver notes at every look, and the history made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ..result import History


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
