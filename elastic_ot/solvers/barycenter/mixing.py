"""Anderson's acceleration of a fixed-point iteration x -> y(x): mixes the last steps so that their residual is least.

With r_i = y_i - x_i it looks for the affine combination of the last r_i of least norm, and steps to that of the y_i
(Anderson 1965; Walker and Ni 2011). Combinations with coefficients of sum 1 keep every linear condition that all y_i
meet, sum_k w_k beta_k = 0 among them.
"""

from __future__ import annotations

import numpy as np

from ...problems.penalty import Vector

MEMORY = 10  # steps that are mixed; measured: 5 take a fifth more iterations, 20 a tenth fewer at three times the work
FIRST_REACH, LONGER, SHORTER = (
    4.0,
    1.5,
    0.1,
)  # of a mixture, in plain steps; after a mixture that went so far; after harm
PLATEAU = 1e-3  # change of the residual, relative to it, that counts as none
REGULARISED = 1e-10  # of the trace of the normal equations, added to their diagonal


class Mixing:
    """The last steps, and what is made of them.

    Where residuals hardly change, as on the way to a part of the problem that is all but cut off, their combination
    says nothing of where to go: straight on, then. Any step leads `reach` times as far as the plain update at most,
    further each time that this did no harm.
    """

    def __init__(self) -> None:
        self.reach = FIRST_REACH
        self.clear()

    def shorten(self) -> None:
        """The last mixture did harm."""
        self.reach = max(FIRST_REACH, SHORTER * self.reach)
        self.clear()

    def clear(self) -> None:
        """Forget all steps: the iteration has changed, or what was made of them did harm."""
        self.before: tuple[Vector, Vector] | None = None
        self.moves: list[Vector] = []
        self.changes: list[Vector] = []

    @property
    def mixes(self) -> bool:
        """True if the last step was a mixture."""
        return bool(self.changes)

    def step(self, x: Vector, y: Vector, weight: Vector) -> Vector:
        """Return where to go from x, whose plain update is y; residuals count by the square of `weight`."""
        residual = y - x
        if self.before is not None:
            self.moves.append(y - self.before[0])
            self.changes.append(residual - self.before[1])
            del self.moves[:-MEMORY], self.changes[:-MEMORY]
        self.before = y, residual
        if not self.changes:
            return y
        if np.linalg.norm(self.changes[-1] * weight) <= PLATEAU * np.linalg.norm(residual * weight):
            further = self.reach * residual
            self.reach *= LONGER
            return np.asarray(y + further)
        weighed = np.array([(change * weight).ravel() for change in self.changes])
        normal = weighed @ weighed.T
        size = float(np.trace(normal))
        if not (np.isfinite(size) and size > 0):
            self.clear()
            return y
        normal[np.diag_indices_from(normal)] += REGULARISED * size
        share = np.linalg.solve(normal, weighed @ (residual * weight).ravel())
        further = -np.tensordot(share, np.array(self.moves), axes=1)
        longest, allowed = float(np.abs(further).max()), self.reach * float(np.abs(residual).max())
        if longest > allowed:
            further *= allowed / longest
            self.reach *= LONGER
        found: Vector = y + further
        return found
