"""Supports on a GPU: their cells, sweeps on them, and the selection of them that Newton's method works with."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.half import working_dtype
from ..protocol import LOG2E, TRUST_DOUBLE, Array, Side
from .cells import Cells, DeviceSparse, DeviceSupport
from .device import c_type
from .launches import THREADS, packed, rule, sized
from .transfers import rooms

LOW, TINY, HUGE = TRUST_DOUBLE


class Supports(Cells):
    """The primitives that find the entries of supports and work on them."""

    def _cell_args(
        self, inv_epsilon: float, alpha: Array, beta: Array, row_least: Array, col_least: Array
    ) -> tuple[Any, ...]:
        vectors = (self._vector(v * LOG2E) for v in (alpha, beta, row_least, col_least))
        return np.float64(inv_epsilon * LOG2E), *vectors

    def support_sizes(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        row_least: Array,
        col_least: Array,
        which: Array,
        sizes: Array,
    ) -> None:
        cost = self._matrix(cost)
        rows, found = self.device.put(which.astype(np.int64)), self.device.empty(which.size, np.int64)
        cells = self._cell_args(inv_epsilon, alpha, beta, row_least, col_least)
        args = cost, np.int64(cost.shape[1]), *cells, rows, np.int64(which.size), found
        self.device.launch(f"count_cells<{c_type(cost)}>", self._row_blocks(which.size), 32, args)
        sizes[:] = self.device.get(found)

    def support_cells(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        row_least: Array,
        col_least: Array,
        pointers: Array,
    ) -> DeviceSupport:
        cost, stored = self._matrix(cost), int(pointers[-1])
        values = self.device.empty(stored, working_dtype(cost))
        rows = self.device.put(pointers), self.device.empty(stored, np.int32), values
        cells = self._cell_args(inv_epsilon, alpha, beta, row_least, col_least)
        args = cost, *sized(cost.shape), *cells, *rows
        self.device.launch(f"write_cells<{c_type(cost)}>", self._row_blocks(cost.shape[0]), 32, args)
        return self.support_of(*rows, cost.shape[1])

    def support_sweeps(
        self,
        support: DeviceSupport,
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
        device, (n, m) = self.device, (alpha.size, beta.size)
        vectors = alpha, beta, *rooms(n), log_col, *rooms(n, m)
        *held, state, alpha2, beta2, of_rows, of_cols = self._vectors(
            *vectors, np.zeros(4, np.int32), *rooms(n, m), packed(rows), packed(cols)
        )
        alphas, betas, row_logs, col_logs, previous, updated = held
        row_side, col_side = (of_rows, *rule(rows)), (of_cols, *rule(cols))
        inv2, (low, tiny, huge) = np.float64(inv_epsilon * LOG2E), (np.float64(x) for x in (LOW, TINY, HUGE))
        name = c_type(support.rows.values)
        kept = alphas, previous, betas, beta2, col_logs, updated
        move = *sized((n, m)), *col_side, np.float64(omega[1]), *kept, state
        by_rows = (
            *(*support.rows, np.int64(n), inv2, beta2, *row_side, np.float64(omega[0]), low, tiny, huge),
            *(alphas, alpha2, previous, row_logs, state),
        )
        by_cols = *support.cols, np.int64(m), inv2, alpha2, beta2, col_side[0], tiny, huge, col_logs, state

        def iteration() -> None:
            device.launch("log_columns", (-(-max(n, m) // THREADS), 1), THREADS, move)
            device.launch(f"support_rows<{name}>", *self._each_line(support.rows), by_rows)
            device.launch(f"support_columns<{name}>", *self._each_line(support.cols), by_cols)

        device.repeat(iteration, count)
        *found, (_, unsound, _, _) = device.get_all((*held, state))
        if unsound:
            return False
        for values, there in zip((alpha, beta, log_row, log_col, previous_alpha, log_col_updated), found, strict=True):
            values[:] = there
        support.alpha2, support.beta2, support.inv2 = alpha2, beta2, float(inv2)
        return True

    def sparsify(self, support: DeviceSupport, row_least: Array, col_least: Array, out: DeviceSparse) -> None:
        device, n, name = self.device, support.rows.size, c_type(support.rows.values)
        potentials = np.float64(support.inv2), support.alpha2, support.beta2
        least = self._vector(row_least), self._vector(col_least)
        args, sizes = (*support.rows, np.int64(n), *potentials, *least), device.empty(n, np.int64)
        grid, threads = self._each_line(support.rows)
        device.launch(f"count_entries<{name}>", grid, threads, (*args, sizes))
        self._sum_up(sizes, out.rows.pointers)
        device.launch(f"write_entries<{name}>", grid, 32, (*args, *out.rows))
        self._order(out.rows, out.cols)
