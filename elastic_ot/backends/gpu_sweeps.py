"""Iterations on a GPU: sweeps and conjugate gradients, launched one after the other without asking how they went."""

from __future__ import annotations

from typing import Any

import numpy as np

from .gpu_device import c_type
from .gpu_launches import LOG2E, THREADS, Scratch, side_args, sized
from .gpu_passes import Passes
from .protocol import Array, Krylov, Side

LOOK = 64  # iterations launched before the device is asked whether they still do anything


class Sweeps(Passes):
    """The primitives that iterate on a matrix."""

    def scratch(self, shape: tuple[int, int], fast: bool, brief: bool = False) -> Any:
        trust = (1e-4, 1e-28, 1e30) if fast else (1e-20, 1e-250, 1e250)
        low, tiny, huge = (np.float64(x) for x in trust)
        return Scratch("float" if fast else "double", (low, tiny, huge))

    def matrix_like(self, cost: Array, dtype: Any) -> Array:
        return self.device.empty(cost.shape, dtype)

    def log_sweeps(
        self,
        cost: Array,
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
        scratch: Any,
        count: int,
    ) -> None:
        cost = self._matrix(cost)
        sides = side_args(self.device, rows), side_args(self.device, cols)
        vectors = alpha, beta, log_row, log_col, previous_alpha, log_col_updated
        block = min(count, LOOK)
        while count:
            on_device = [self._vector(x) for x in vectors]
            done = self._log_block(cost, inv_epsilon, sides, omega, on_device, scratch, block)
            for vector, found in zip(vectors, on_device, strict=True):
                vector[:] = self.device.get(found)
            sound = done == block
            if not sound:
                self._log_column_sums(cost, inv_epsilon, cols, alpha, beta, log_col)
                done += 1
            count -= done
            # where columns vanish again and again, little is launched in vain
            block = min(count, LOOK, 2 * block if sound else 1)

    def _log_block(
        self,
        cost: Array,
        inv_epsilon: float,
        sides: tuple[tuple[Any, ...], tuple[Any, ...]],
        omega: tuple[float, float],
        vectors: list[Array],
        scratch: Scratch,
        count: int,
    ) -> int:
        """Iterations with sound column sums; one less than `count` or fewer if the next one had an unsound one."""
        device, (n, m) = self.device, cost.shape
        alpha, beta, log_row, log_col, previous_alpha, log_col_updated = vectors
        state, beta2 = device.zeros(4, np.int32), self._padded(np.zeros(m), cost)
        inv2, row_omega, col_omega = np.float64(inv_epsilon * LOG2E), np.float64(omega[0]), np.float64(omega[1])
        rows = *scratch.trust, alpha, previous_alpha, log_row
        types = f"{c_type(cost)}, {scratch.exponential}"
        sweep, parts = self._sweep(
            cost,
            f"log_rows<{types}",
            (inv2, beta2, *sides[0], row_omega, *rows),
            (f"wide_log_rows<{types}>", (inv2, beta2, sides[0][0], np.int64(n), *sides[0][1:], row_omega, *rows)),
            (f"wide_log_columns<{types}>", (inv2, beta2, alpha)),
            state,
            kinds=3,
        )
        kept = alpha, previous_alpha, beta, beta2, log_col, log_col_updated
        before = *sized((n, m)), *sides[1], col_omega, *kept, state
        after = parts, *sized(parts.shape), sides[1][0], *scratch.trust[1:], log_col, state

        def iteration() -> None:
            device.launch("log_columns", (-(-max(n, m) // THREADS), 1), THREADS, before)
            sweep()
            device.launch("log_sums", (-(-m // 32), 1), THREADS, after)

        device.repeat(iteration, count)
        _, unsound, _, begun = device.get(state)
        return int(begun) - int(unsound)

    def _log_column_sums(
        self, cost: Array, inv_epsilon: float, cols: Side, alpha: Array, beta: Array, log_col: Array
    ) -> None:
        """log_col where a sum vanished or overflowed: relative to the maximum, two more passes (early iterations)."""
        top = np.empty_like(log_col)
        self.col_max(cost, inv_epsilon, alpha, top)
        reached = np.isfinite(top) & np.isfinite(cols.log_weight)
        shift = np.where(reached, top, 0.0)
        args = self._plan_args(cost, inv_epsilon, alpha, np.where(reached, -shift, -np.inf))
        total = self.device.get(self._transposed_times(cost, args, None, 1))
        logs = np.log(np.where(reached, total, 1.0)) + shift + np.where(reached, beta, 0.0)
        log_col[:] = np.where(reached, logs, -np.inf)

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
        device, kernel = self.device, self._matrix(kernel)
        n, m = kernel.shape
        state = device.zeros(4, np.int32)
        row_side, col_side = side_args(device, rows), side_args(device, cols)
        bases = self._vector(base_alpha), self._vector(base_beta)
        # iterations read one set of vectors and write the other, in turn, so that one that fails has spoilt nothing
        start_u, start_v = _exponentials(alpha, base_alpha), _exponentials(beta, base_beta)
        u = self._vector(start_u), self._vector(start_u)
        v = self._padded(start_v, kernel), self._padded(start_v, kernel)
        u_before = device.empty(n, np.float64), device.empty(n, np.float64)
        row_sum = device.empty(n, np.float64), device.empty(n, np.float64)
        start_sum = np.exp(log_col)
        col_sum = self._vector(start_sum), self._vector(start_sum)
        updated = device.empty(m, np.float64), device.empty(m, np.float64)
        row_omega, col_omega, bound = np.float64(omega[0]), np.float64(omega[1]), np.float64(limit)
        factors = device.empty(n, np.float64)
        launches = []
        parts: Any = None
        for new in (1, 0):
            old = 1 - new
            tail = row_omega, bases[0], u[old], bound, u[new], u_before[new], row_sum[new]
            sweep, parts = self._sweep(
                kernel,
                f"dense_rows<{c_type(kernel)}, Scaling",
                (v[new], *row_side, *tail),
                (
                    f"wide_dense_rows<{c_type(kernel)}, Scaling>",
                    (v[new], row_side[0], np.int64(n), *row_side[1:], *tail, factors),
                ),
                (f"wide_dense_columns<{c_type(kernel)}>", (factors,)),
                state,
                kinds=1,
            )
            before = np.int64(m), *col_side, col_omega, bases[1], v[old], col_sum[old], v[new], updated[new], state
            after = parts, *sized(parts.shape), col_side[0], bound, v[new], col_sum[new], state
            launches.append((before, sweep, after))

        def iteration(parity: int) -> None:
            before, sweep, after = launches[parity]
            device.launch("scaling_columns", (-(-m // THREADS), 1), THREADS, before)
            sweep()
            device.launch("scaling_sums", (-(-m // 32), 1), THREADS, after)

        def pair() -> None:
            iteration(0)
            iteration(1)

        begun = unsound = outside = 0
        for first in range(0, count, LOOK):
            some = min(LOOK, count - first)
            device.repeat(pair, some // 2)
            device.repeat(lambda: iteration(0), some % 2)
            _, unsound, outside, begun = (int(x) for x in device.get(state))
            if unsound or outside:
                break
        done = begun - unsound
        if done:
            at = done % 2
            _logarithms(device.get(u[at]), base_alpha, alpha)
            _logarithms(device.get(v[at])[:m], base_beta, beta)
            _logarithms(device.get(row_sum[at]), 0.0, log_row)
            _logarithms(device.get(col_sum[at]), 0.0, log_col)
            _logarithms(device.get(u_before[at]), base_alpha, previous_alpha)
            _logarithms(device.get(updated[at]), 0.0, log_col_updated)
        return done, not (unsound or outside)

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
        device, kernel = self.device, self._matrix(kernel)
        n, m = kernel.shape
        state = device.zeros(4, np.int32)
        scaled, weight = self._padded(col_factor * krylov.direction, kernel), self._vector(row_weight)
        x, residual, direction, preconditioner, scalars = (self._vector(values) for values in krylov)
        factors, zero, one = device.empty(n, np.float64), np.float64(0.0), np.float64(1.0)
        rule = np.int32(0), zero, zero
        sweep, parts = self._sweep(
            kernel,
            f"dense_rows<{c_type(kernel)}, Product",
            (scaled, weight, *rule, one, None, None, zero, None, None, None),
            (
                f"wide_dense_rows<{c_type(kernel)}, Product>",
                (scaled, weight, np.int64(n), *rule, one, None, None, zero, None, None, None, factors),
            ),
            (f"wide_dense_columns<{c_type(kernel)}>", (factors,)),
            state,
            kinds=1,
        )
        image = device.empty(m, np.float64)
        summed = parts, *sized(parts.shape), image
        vectors = x, residual, direction, preconditioner, scalars, scaled
        step = np.int64(m), self._vector(diagonal), image, self._vector(col_factor), *vectors

        def iteration() -> None:
            sweep()
            device.launch("sum_parts", (-(-m // 32), 1), THREADS, summed)
            device.launch("advance", (1, 1), 512, (*step, np.float64(goal), np.float64(radius), state))

        device.repeat(iteration, count)
        for values, found in zip(krylov, (x, residual, direction, preconditioner, scalars), strict=True):
            values[:] = device.get(found)
        code, _, _, done = device.get(state)
        return int(done), int(code)


def _exponentials(alpha: Array, base: Array) -> Array:
    """exp(alpha - base), 0 for removed entries (-inf in both)."""
    used = alpha > -np.inf
    return np.where(used, np.exp(np.where(used, alpha, 0.0) - np.where(used, base, 0.0)), 0.0)


def _logarithms(x: Array, base: Any, out: Array) -> None:
    """Elements base + log x, -inf for x = 0."""
    used = x > 0.0
    out[:] = np.where(used, base + np.log(np.where(used, x, 1.0)), -np.inf)
