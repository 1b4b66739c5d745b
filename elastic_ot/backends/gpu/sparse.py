"""Newton's sparse matrix on a GPU: its squares, its Gram matrix, conjugate gradients with it."""

from __future__ import annotations

import numpy as np

from ..protocol import Array, Krylov
from .cells import Cells, DeviceSparse
from .transfers import rooms


class Products(Cells):
    """The primitives that read a sparse matrix."""

    def sparse_squares(self, matrix: DeviceSparse, row_weight: Array, out: Array) -> None:
        squares = self.device.empty(out.size, np.float64)
        args = *matrix.cols, np.int64(out.size), self._vector(row_weight), squares
        self.device.launch("sparse_squares", *self._each_line(matrix.cols), args)
        out[:] = self.device.get(squares)

    def sparse_gram(self, matrix: DeviceSparse, row_weight: Array, out: Array) -> None:
        (target, straight), m = self._target(out), matrix.cols.size
        args = *matrix.rows, *matrix.cols, np.int64(m), self._vector(row_weight), target
        self.device.launch("sparse_gram", self._row_blocks(m), self._line_threads(matrix.rows), args)
        if not straight:
            self._written(target, out)

    def sparse_gradients(
        self,
        matrix: DeviceSparse,
        row_weight: Array,
        diagonal: Array,
        krylov: Krylov,
        goal: float,
        radius: float,
        count: int,
    ) -> tuple[int, int]:
        device, (n, m) = self.device, (row_weight.size, diagonal.size)
        given = *krylov, np.zeros(4, np.int32), row_weight, diagonal
        *held, state, weight, diagonals, middle, image = self._vectors(*given, *rooms(n, m))
        x, residual, direction, preconditioner, scalars = held
        by_rows = *matrix.rows, np.int64(n), direction, weight, middle, state
        by_cols = *matrix.cols, np.int64(m), middle, None, image, state
        vectors = x, residual, direction, preconditioner, scalars, None
        step = np.int64(m), diagonals, image, None, *vectors, np.float64(goal), np.float64(radius), state

        def iteration() -> None:
            device.launch("sparse_times", *self._each_line(matrix.rows), by_rows)
            device.launch("sparse_times", *self._each_line(matrix.cols), by_cols)
            device.launch("advance", (1, 1), 512, step)

        device.repeat(iteration, count)
        *found, (code, _, _, done) = device.get_all((*held, state))
        for values, there in zip(krylov, found, strict=True):
            values[:] = there
        return int(done), int(code)
