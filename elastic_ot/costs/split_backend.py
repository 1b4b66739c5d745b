"""What solvers ask of a backend beside the operator of a plan, where rows are split over processes.

Iterations on a stored kernel or on few cells, and products with Newton's matrix: the rows' half is that of the own
rows, and column sums are those of all. Every iteration, and every product of conjugate gradients, takes one sum over
the processes, of the m columns. What reads no matrix is the backend's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import load_shares
from ..backends.protocol import Array, Backend, Krylov, Side, Sparse, Support, Vectors
from ..backends.reference import gradients_with
from ..backends.updates import update_change
from ..distributed.ranks import Together

SOUND_SCALINGS = 1e-300, 1e300  # that scalings and their sums are sound in


@dataclass(frozen=True, eq=False)
class SplitSparse:
    """A sparse matrix of the own rows; the last of `pointers` says how many entries all processes have."""

    own: Sparse
    pointers: Array


@dataclass(frozen=True, eq=False)
class SplitBackend:
    """The primitives of `Backend` in which rows are summed over; the others are those of `host`."""

    host: Backend
    ranks: Together
    n: int
    """Own rows; the kernels are not called where there are none."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.host, name)

    def scaling_sweeps(
        self,
        kernel: Array,
        base_alpha: Array,
        base_beta: Array,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        log_row: Array,
        log_col: Array,
        previous_alpha: Array,
        log_col_updated: Array,
        scratch: Any,
        count: int,
        limit: float,
    ) -> tuple[int, bool]:
        vectors = Vectors(alpha, beta, log_row, log_col, previous_alpha, log_col_updated)
        for done in range(count):
            health = self._scale(kernel, base_alpha, base_beta, (rows, cols), omega, vectors, limit)
            if health < 2:
                return done + health, False
        return count, True

    def _scale(
        self,
        kernel: Array,
        base_alpha: Array,
        base_beta: Array,
        sides: tuple[Side, Side],
        omega: tuple[float, float],
        vectors: Vectors,
        limit: float,
    ) -> int:
        """One iteration; its health as in `Shares.scaling_share`. At 0 the vectors are as they were."""
        (rows, cols), saved = sides, tuple(x.copy() for x in vectors)
        used = cols.log_weight > -np.inf
        change = update_change(cols, omega[1], vectors.beta, vectors.log_col, self.host.potential)
        vectors.beta[:] += change
        np.add(vectors.log_col, change, out=vectors.log_col_updated)
        v = np.where(used, np.exp(np.where(used, vectors.beta, 0.0) - np.where(used, base_beta, 0.0)), 0.0)
        told, health = np.zeros(v.size + 2), 2
        with self.ranks.noting():
            if self.n:
                share = told[: v.size]
                health = load_shares().scaling_share(kernel, base_alpha, rows, omega[0], vectors, v, limit, share)
        told[v.size + np.arange(2)] = health < 1, health < 2
        self.ranks.add(told)
        total, (low, high) = told[: v.size], SOUND_SCALINGS
        sound = (v > low) & (v < high) & (total > low) & (total < high)
        if told[-2] > 0 or not (sound | ~used).all():
            for x, old in zip(vectors, saved, strict=True):
                x[:] = old
            return 0
        vectors.log_col[:] = np.where(used, np.log(np.where(used, total, 1.0)), -np.inf)
        return 2 if told[-1] == 0 and (((v > 1.0 / limit) & (v < limit)) | ~used).all() else 1

    def support_sweeps(
        self,
        support: Support,
        inv_epsilon: float,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        log_row: Array,
        log_col: Array,
        previous_alpha: Array,
        log_col_updated: Array,
        count: int,
    ) -> bool:
        vectors, used = (
            Vectors(alpha, beta, log_row, log_col, previous_alpha, log_col_updated),
            cols.log_weight > -np.inf,
        )
        for _ in range(count):
            change = update_change(cols, omega[1], beta, log_col, self.host.potential)
            beta += change
            np.add(log_col, change, out=log_col_updated)
            told, sound = np.zeros(beta.size + 1), True
            with self.ranks.noting():
                if self.n:
                    share = told[:-1]
                    sound = load_shares().support_share(support, inv_epsilon, rows, omega[0], vectors, share)
            told[-1] = not sound
            self.ranks.add(told)
            total = told[:-1]
            fits = (total > 1e-250) & (total < 1e250)
            log_col[:] = np.where(used, np.log(np.where(fits, total, 1.0)), -np.inf)
            if told[-1] > 0 or not (fits | ~used).all():
                return False
        return True

    def sparse_like(self, support: Support) -> SplitSparse:
        return SplitSparse(self.host.sparse_like(support), np.zeros(1, np.int64))

    def sparsify(self, support: Support, row_least: Array, col_least: Array, out: SplitSparse) -> None:
        if self.n:
            self.host.sparsify(support, row_least, col_least, out.own)
        out.pointers[-1] = self._total(out.own)

    def sparse_of(self, pointers: Array, indices: Array, values: Array, m: int) -> SplitSparse:
        own = self.host.sparse_of(pointers, indices, values, m)
        return SplitSparse(own, np.array([self._total(own)]))

    def _total(self, own: Sparse) -> int:
        return int(self.ranks.totals(float(own.pointers[-1]) if self.n else 0.0)[0])

    def sparse_squares(self, matrix: SplitSparse, row_weight: Array, out: Array) -> None:
        out[:] = 0.0
        if self.n:
            self.host.sparse_squares(matrix.own, row_weight, out)
        self.ranks.add(out)

    def sparse_gram(self, matrix: SplitSparse, row_weight: Array, out: Array) -> None:
        out[:, :] = 0.0
        if self.n:
            self.host.sparse_gram(matrix.own, row_weight, out)
        self.ranks.add(out.reshape(-1))

    def sparse_gradients(
        self,
        matrix: SplitSparse,
        row_weight: Array,
        diagonal: Array,
        krylov: Krylov,
        goal: float,
        radius: float,
        count: int,
    ) -> tuple[int, int]:
        out = np.empty_like(diagonal)

        def gram(x: Array) -> Array:
            out[:] = 0.0
            with self.ranks.noting():
                if self.n:
                    load_shares().sparse_share(matrix.own, row_weight, x, out)
            self.ranks.add(out)
            return out

        return gradients_with(gram, diagonal, krylov, goal, radius, count)

    def dense_gradients(
        self,
        kernel: Array,
        col_factor: Array,
        row_weight: Array,
        diagonal: Array,
        krylov: Krylov,
        goal: float,
        radius: float,
        count: int,
    ) -> tuple[int, int]:
        out = np.empty_like(diagonal)

        def gram(x: Array) -> Array:
            out[:] = 0.0
            with self.ranks.noting():
                if self.n:
                    load_shares().dense_share(kernel, row_weight, col_factor * x, out)
            self.ranks.add(out)
            return col_factor * out

        return gradients_with(gram, diagonal, krylov, goal, radius, count)

    def dense_product(self, kernel: Array, x: Array, transpose: bool, out: Array) -> None:
        out[:] = 0.0
        with self.ranks.noting():
            if self.n:
                self.host.dense_product(kernel, x, transpose, out)
        if transpose:
            self.ranks.add(out)
