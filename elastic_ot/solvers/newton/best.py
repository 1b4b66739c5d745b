"""The best iterate on target, and for how long nothing has come nearer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...problems.penalty import Vector
from ..measure import RISE, Measure

IDLE = 8  # iterations on target without progress after which rounding is all that is left
NEWTON_PATIENCE = 300  # the same, while the dual still rises


@dataclass(eq=False)
class Best:
    """What the iterates on target have come to."""

    residual: float = np.inf
    dual: float = -np.inf
    vectors: tuple[Vector, ...] | None = None
    """Those with the least residual."""
    mark: float = np.inf
    """The residual at the last progress."""
    idle: int = 0
    """Iterations since then."""
    waited: int = 0
    """Iterations since the residual has fallen."""

    def note(self, found: Measure, save: Callable[[], tuple[Vector, ...]]) -> None:
        """Remember an iterate if it is the best one so far, and whether it is progress."""
        rise = RISE * max(abs(found.dual), found.epsilon * found.mass)
        fallen = found.residual < 0.9 * self.mark
        self.waited = 0 if fallen else self.waited + 1
        if fallen or found.dual > self.dual + rise:
            self.idle, self.mark = 0, min(found.residual, self.mark)
        else:
            self.idle += 1
        self.dual = max(self.dual, found.dual)
        if found.residual < self.residual:
            self.residual, self.vectors = found.residual, save()

    @property
    def final(self) -> bool:
        """True if nothing better is to be expected of iterations like those so far."""
        return self.idle > IDLE or self.waited > NEWTON_PATIENCE
