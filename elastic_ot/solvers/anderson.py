"""Anderson's acceleration of a fixed-point iteration x -> y(x): mixes the last steps so that their residual is least.

With r_i = y_i - x_i it looks for the affine combination of the last r_i of least norm, and steps to that of the y_i
(Anderson 1965; Walker and Ni 2011). Combinations with coefficients of sum 1 keep every linear condition that all y_i
meet, sum_k w_k beta_k = 0 among them.
"""

from __future__ import annotations

import numpy as np

from ..backends import load_grid
from ..problems.penalty import Vector

FIRST_REACH, LONGER, SHORTER = (
    4.0,
    1.5,
    0.1,
)  # of a mixture, in plain steps; after a mixture that went so far; after harm
PLATEAU = 1e-3  # change of the residual, relative to it, that counts as none
DISTINCT = 1e-6  # of the largest: squares of changes that are no mere mixture of the others
REGULARISED = 1e-10  # of the trace of the normal equations, added to their diagonal


class Mixing:
    """The last steps, and what is made of them.

    Where residuals hardly change, as on the way to a part of the problem that is all but cut off, their combination
    says nothing of where to go: straight on, then. Any step leads `reach` times as far as the plain update at most,
    further each time that this did no harm.
    """

    def __init__(self, memory: int) -> None:
        self.memory, self.reach = memory, FIRST_REACH
        self.moves, self.changes = np.zeros((2, memory, 0))  # rows are written in turn
        self.clear()

    def shorten(self) -> None:
        """The last mixture did harm."""
        self.reach = max(FIRST_REACH, SHORTER * self.reach)
        self.clear()

    def clear(self) -> None:
        """Forget all steps: the iteration has changed, or what was made of them did harm."""
        self.before: tuple[Vector, Vector] | None = None
        self.count, self.normal = 0, np.zeros((0, 0))

    @property
    def mixes(self) -> bool:
        """True if the last step was a mixture."""
        return self.count > 0

    def begin(self, x: Vector, y: Vector) -> None:
        """Forget all steps but the plain one from x to y."""
        self.clear()
        self.before = y, y - x

    def step(self, x: Vector, y: Vector, weight: Vector | None = None) -> Vector:
        """Return where to go from x, whose plain update is y; residuals count by the square of `weight`."""
        residual = y - x
        if self.before is not None:
            if self.moves.shape[1] != y.size:
                self.moves, self.changes = np.empty((2, self.memory, y.size))
            row = self.count % self.memory
            self.moves[row], self.changes[row] = (y - self.before[0]).ravel(), (residual - self.before[1]).ravel()
            self.count += 1
        self.before = y, residual
        if not self.count:
            return y
        kept, last = min(self.count, self.memory), (self.count - 1) % self.memory
        products = self._products(kept, residual.ravel(), weight)
        normal = products[:kept, :kept]
        self.normal = normal.copy()
        if normal[last, last] <= PLATEAU**2 * products[kept, kept]:
            straight: Vector = y + self.reach * residual
            self.reach *= LONGER
            return straight
        size = float(np.trace(normal))
        if not (np.isfinite(size) and size > 0):
            self.clear()
            return y
        normal[np.diag_indices_from(normal)] += REGULARISED * size
        share: Vector = np.linalg.solve(normal, products[:kept, kept]).astype(np.float64, copy=False)
        further = -_product(share[None], self.moves[:kept]).reshape(y.shape)
        longest, allowed = float(np.abs(further).max()), self.reach * float(np.abs(residual).max())
        if longest > allowed:
            further *= allowed / longest
            self.reach *= LONGER
        found: Vector = y + further
        return found

    def expands(self) -> bool:
        """True if plain steps lead away from where the last mixture leads: to a saddle of what the iteration lowers.

        A residual r = y - x grows along what a step multiplies by more than 1, and with it, y / r > 1. The largest such
        ratio is sought among the changes of residuals that are kept, those apart that hardly differ from the others.
        """
        kept = min(self.count, self.memory)
        if kept == 0:
            return False
        changes, moves = self.changes[:kept], self.moves[:kept]
        mixed = np.array([[float(np.einsum("i,i->", one, other)) for other in moves] for one in changes])
        sizes, bases = np.linalg.eigh(self.normal)
        if not sizes[-1] > 0:
            return False
        kept_bases = bases[:, sizes > DISTINCT * sizes[-1]] / np.sqrt(sizes[sizes > DISTINCT * sizes[-1]])
        ratios = np.linalg.eigvals(kept_bases.T @ mixed @ kept_bases)
        return bool((ratios.real > 1.0).any())

    def _products(self, kept: int, residual: Vector, weight: Vector | None) -> Vector:
        """Inner products of the changes that are kept and of the residual; without weights nothing is copied."""
        if weight is not None:
            weighed = np.vstack([self.changes[:kept], residual])
            weighed *= weight.reshape(-1)
            return _product(weighed, np.ascontiguousarray(weighed.T))
        rows = [*self.changes[:kept], residual]
        found = np.empty((kept + 1, kept + 1))
        for k, row in enumerate(rows):
            found[k, : k + 1] = found[: k + 1, k] = [float(np.einsum("i,i->", row, one)) for one in rows[: k + 1]]
        return found


def _product(a: Vector, b: Vector) -> Vector:
    """Return a @ b on the threads of this package: those of a BLAS wait for one another longer than this takes."""
    out = np.empty((1, a.shape[0], b.shape[1]))
    load_grid().multiply(a, b[None], out)
    found: Vector = out[0]
    return found
