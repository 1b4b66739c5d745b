"""Iterations on a GPU: sweeps and conjugate gradients, launched one after the other without asking how they went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..protocol import LOG2E, TRUST_DOUBLE, TRUST_SINGLE, Array, Krylov, Side
from .device import c_type
from .launches import THREADS, Scratch, sized
from .passes import Passes
from .transfers import rooms

LOOK = 64  # iterations launched before the device is asked whether they still do anything


class _Scalings(NamedTuple):
    """Vectors of one state of `scaling_sweeps`."""

    v: Array
    u: Array
    col_sum: Array
    u_before: Array
    row_sum: Array
    updated: Array


class Sweeps(Passes):
    """The primitives that iterate on a matrix."""

    def scratch(self, shape: tuple[int, int], fast: bool, brief: bool = False) -> Any:
        trust = TRUST_SINGLE if fast else TRUST_DOUBLE
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
        cost, sides = self._matrix(cost), self._sides(scratch, rows, cols)
        vectors = alpha, beta, log_row, log_col, previous_alpha, log_col_updated
        block = count
        while count:
            iteration, held = self._log_iteration(cost, inv_epsilon, sides, omega, vectors, scratch)
            done, unsound = self._log_blocks(iteration, held, vectors, block, count)
            if unsound:
                self._log_column_sums(cost, inv_epsilon, cols, alpha, beta, log_col)
            count -= done
            block = 1  # where columns vanish again and again, little is launched in vain

    def _log_iteration(
        self,
        cost: Array,
        inv_epsilon: float,
        sides: tuple[tuple[Any, ...], tuple[Any, ...]],
        omega: tuple[float, float],
        vectors: tuple[Array, ...],
        scratch: Scratch,
    ) -> tuple[Callable[[], None], list[Array]]:
        """What launches an iteration; and its vectors on the device, the flags last."""
        device, (n, m) = self.device, cost.shape
        beta2, *held = self._vectors(self._padded(np.zeros(m), cost), *vectors, np.zeros(4, np.int32))
        alpha, beta, log_row, log_col, previous_alpha, log_col_updated, state = held
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

        return iteration, held

    def _log_blocks(
        self, iteration: Callable[[], None], held: list[Array], vectors: tuple[Array, ...], block: int, count: int
    ) -> tuple[int, bool]:
        """`count` iterations in growing blocks, up to one that leaves an unsound column sum; its vectors on the host.

        Returns how many were made, and whether the last one was unsound.
        """
        begun = unsound = 0
        while begun < count and not unsound:
            block = min(block, LOOK, count - begun)
            self.device.repeat(iteration, block)
            last = begun + block == count
            *found, state = self.device.get_all(held if last else held[-1:])
            _, unsound, _, begun = (int(x) for x in state)
            block *= 2
        for vector, values in zip(vectors, found or self.device.get_all(held[:-1]), strict=True):
            vector[:] = values
        return begun, bool(unsound)

    def _log_column_sums(
        self, cost: Array, inv_epsilon: float, cols: Side, alpha: Array, beta: Array, log_col: Array
    ) -> None:
        """log_col where a sum vanished or overflowed: relative to the maximum, two more passes (early iterations)."""
        top = np.empty_like(log_col)
        self.col_max(cost, inv_epsilon, alpha, top)
        reached = np.isfinite(top) & np.isfinite(cols.log_weight)
        shift = np.where(reached, top, 0.0)
        ends = np.where(reached, -shift, -np.inf) * LOG2E
        *potentials, total = self._vectors(alpha, ends, *rooms(top.size))
        self._transposed_times(cost, (*self._plan_args(cost, inv_epsilon), *potentials), None, 1, total)
        logs = np.log(np.where(reached, self.device.get(total), 1.0)) + shift + np.where(reached, beta, 0.0)
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
        device, kernel, sides = self.device, self._matrix(kernel), self._sides(scratch, rows, cols)
        n, m = kernel.shape
        # iterations read one state and write the other, in turn, so that one that fails has spoilt nothing
        v = self._padded(_exponentials(beta, base_beta), kernel)
        first = v, _exponentials(alpha, base_alpha), np.exp(log_col), *rooms(n, n, m)
        second = np.zeros_like(v), *rooms(n, m, n, n, m)  # zeros beyond its end
        flags = np.zeros(4, np.int32)
        # the flags lie between the states, so that they come back with either
        base_rows, base_cols, *held = self._vectors(base_alpha, base_beta, *first, flags, *second)
        states, state = (_Scalings(*held[:6]), _Scalings(*held[7:])), held[6]
        iteration = self._scaling_iteration(kernel, (base_rows, base_cols), sides, omega, states, state, limit)

        def pair() -> None:
            iteration(0)
            iteration(1)

        begun = unsound = outside = 0
        found: list[Array] = []
        while begun < count and not (unsound or outside):
            some = min(LOOK, count - begun)
            device.repeat(pair, some // 2)
            device.repeat(lambda: iteration(0), some % 2)
            last = begun + some == count
            look, *found = device.get_all((state, *states[count % 2]) if last else (state,))
            _, unsound, outside, begun = (int(x) for x in look)
        done = begun - unsound
        if done:
            at = done % 2
            reached = _Scalings(*(found if found and at == count % 2 else device.get_all(states[at])))
            _logarithms(reached.u, base_alpha, alpha)
            _logarithms(reached.v[:m], base_beta, beta)
            _logarithms(reached.row_sum, 0.0, log_row)
            _logarithms(reached.col_sum, 0.0, log_col)
            _logarithms(reached.u_before, base_alpha, previous_alpha)
            _logarithms(reached.updated, 0.0, log_col_updated)
        return done, not (unsound or outside)

    def _scaling_iteration(
        self,
        kernel: Array,
        bases: tuple[Array, Array],
        sides: tuple[tuple[Any, ...], tuple[Any, ...]],
        omega: tuple[float, float],
        states: tuple[_Scalings, _Scalings],
        state: Array,
        limit: float,
    ) -> Callable[[int], None]:
        """What launches an iteration that reads the state of a number and writes the other."""
        device, (n, m), (row_side, col_side) = self.device, kernel.shape, sides
        row_omega, col_omega, bound = np.float64(omega[0]), np.float64(omega[1]), np.float64(limit)
        factors, launches = device.empty(n, np.float64), []
        for old, new in (states, states[::-1]):
            tail = row_omega, bases[0], old.u, bound, new.u, new.u_before, new.row_sum
            sweep, parts = self._sweep(
                kernel,
                f"dense_rows<{c_type(kernel)}, Scaling",
                (new.v, *row_side, *tail),
                (
                    f"wide_dense_rows<{c_type(kernel)}, Scaling>",
                    (new.v, row_side[0], np.int64(n), *row_side[1:], *tail, factors),
                ),
                (f"wide_dense_columns<{c_type(kernel)}>", (factors,)),
                state,
                kinds=1,
            )
            before = np.int64(m), *col_side, col_omega, bases[1], old.v, old.col_sum, new.v, new.updated, state
            after = parts, *sized(parts.shape), col_side[0], bound, new.v, new.col_sum, state
            launches.append((before, sweep, after))

        def iteration(parity: int) -> None:
            before, sweep, after = launches[parity]
            device.launch("scaling_columns", (-(-m // THREADS), 1), THREADS, before)
            sweep()
            device.launch("scaling_sums", (-(-m // 32), 1), THREADS, after)

        return iteration

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
        x, residual, direction, preconditioner, scalars = krylov
        weight, on_diagonal, columns, preconditioner, *changed, scaled, image = self._vectors(
            *(row_weight, diagonal, col_factor, preconditioner, x, residual, direction, scalars),
            *(np.zeros(4, np.int32), self._padded(col_factor * direction, kernel), *rooms(m)),
        )
        state = changed[-1]
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
        summed = parts, *sized(parts.shape), image
        vectors = *changed[:3], preconditioner, changed[3], scaled
        last = np.int64(m), on_diagonal, image, columns, *vectors, np.float64(goal), np.float64(radius), state

        def iteration() -> None:
            sweep()
            device.launch("sum_parts", (-(-m // 32), 1), THREADS, summed)
            device.launch("advance", (1, 1), 512, last)

        device.repeat(iteration, count)
        *found, flags = device.get_all(changed)
        for values, on_host in zip((x, residual, direction, scalars), found, strict=True):
            values[:] = on_host
        return int(flags[3]), int(flags[0])


def _exponentials(alpha: Array, base: Array) -> Array:
    """exp(alpha - base), 0 for removed entries (-inf in both)."""
    used = alpha > -np.inf
    return np.where(used, np.exp(np.where(used, alpha, 0.0) - np.where(used, base, 0.0)), 0.0)


def _logarithms(x: Array, base: Any, out: Array) -> None:
    """Elements base + log x, -inf for x = 0."""
    used = x > 0.0
    out[:] = np.where(used, base + np.log(np.where(used, x, 1.0)), -np.inf)
