"""Anderson's acceleration of a fixed-point iteration x -> y(x): mixes the last steps so that their residual is least.

With r_i = y_i - x_i it looks for the affine combination of the last r_i of least norm, and steps to that of the y_i
(Anderson 1965; Walker and Ni 2011). Combinations with coefficients of sum 1 keep every linear condition that all y_i
meet, sum_k w_k beta_k = 0 among them.
"""

from __future__ import annotations

import numpy as np

from ...problems.penalty import Vector

MEMORY = 10  # steps that are mixed; measured: 5 take a fifth more iterations, 20 a tenth fewer at three times the work
REGULARISED = 1e-10  # of the trace of the normal equations, added to their diagonal


class Mixing:
    """The last steps, and what is made of them."""

    def __init__(self) -> None:
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
        weighed = np.array([(change * weight).ravel() for change in self.changes])
        normal = weighed @ weighed.T
        size = float(np.trace(normal))
        if not (np.isfinite(size) and size > 0):
            self.clear()
            return y
        normal[np.diag_indices_from(normal)] += REGULARISED * size
        share = np.linalg.solve(normal, weighed @ (residual * weight).ravel())
        mixed = y.copy()
        for part, move in zip(share, self.moves, strict=True):
            mixed -= part * move
        return mixed
