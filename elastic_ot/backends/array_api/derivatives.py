"""Derivatives of many problems on the array API standard: `protocol.BatchDerivatives` for NumPy arrays and a device.

All problems of a chunk are worked on at once, by broadcasting and batched products of matrices; nothing is asked of the
device on the way but whether conjugate gradients are done. The formulas are those of `cpu.batch_derivatives`, and so
is what counts as sound; derivatives of problems that are not are 0.

Iterations. A chunk stores one kernel K, with a maximum of 1 in every row under the column potentials at the end, and
the vectors of every half step. K is in the precision asked for, vectors are in float64. The derivative in the cost is
K times a matrix of a rank of twice the iterations, which is one product.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from array_api_compat import array_namespace

from ...arrays.half import widened
from ..protocol import LIMIT, QUADRATIC, SINGLE_LIMIT, Array, Batch, BatchBars, BatchSystem, Side
from .matrices import kernel, plan, times, totals, transposed_times, weighed, where
from .systems import pull_back, system
from .updates import HalfStep, Marginal, Pull, Rule

ENTRIES = 1 << 26  # of all temporaries together, or a quarter of the batch if that is more
MATRICES, VECTORS = 7, 9  # of them in float64, as large as the plans and as the vectors of all half steps


class Memory(Protocol):
    """Where matrices lie."""

    def put(self, values: Array) -> Array:
        """What is in NumPy, there."""

    def get(self, values: Array) -> Array:
        """The way back."""

    def holds(self, values: Array) -> bool:
        """True for what lies there."""


class HostMemory:
    """NumPy arrays stay what they are."""

    def put(self, values: Array) -> Array:
        return values

    def get(self, values: Array) -> Array:
        return values

    def holds(self, values: Array) -> bool:
        return True


# --- iterations -------------------------------------------------------------------------------------------------------


class _Problems(NamedTuple):
    """Some problems on the device; inv_epsilon (b,), mass (b, 1)."""

    cost: Array
    inv_epsilon: Array
    mass: Array
    rows: Marginal
    cols: Marginal


class _Replay(NamedTuple):
    """Half steps of rows and columns; `scalings` are the columns', before each half step of the rows and at the end."""

    rows: list[HalfStep]
    cols: list[HalfStep]
    scalings: list[Array]
    sound: Array


def _replay(
    matrix: Array, bases: tuple[Array, Array], problems: _Problems, start: Array, counts: tuple[int, int], limit: float
) -> _Replay:
    """Replay `counts` half steps of the rows and of the columns with the kernel `matrix`."""
    rows, cols = problems.rows, problems.cols
    first, fine = cols.scaling(start - bases[1], limit)
    row_steps: list[HalfStep] = []
    col_steps: list[HalfStep] = []
    scalings, sound = [first], fine & rows.resolved(limit) & cols.resolved(limit)
    for t in range(counts[0]):
        step, fine = rows.half_step(bases[0], times(matrix, scalings[t]), limit)
        row_steps.append(step)
        sound = sound & fine
        if t < counts[1]:
            step, fine = cols.half_step(bases[1], transposed_times(matrix, step.scaling), limit)
            col_steps.append(step)
            scalings.append(step.scaling)
            sound = sound & fine
    return _Replay(row_steps, col_steps, scalings, sound)


def _backwards(matrix: Array, replay: _Replay, row: Pull, col: Pull) -> Array:
    """All half steps, the last one first; returns what dL/dC epsilon is K times."""
    xp = array_namespace(matrix)
    lefts: list[Array] = []
    rights: list[Array] = []
    for t in reversed(range(len(replay.rows))):
        u, v = replay.rows[t].scaling, replay.scalings[t]
        if t < len(replay.cols):
            y = col.through(replay.cols[t])
            row.drop(u * times(matrix, y))
            lefts.append(u)
            rights.append(y)
        x = row.through(replay.rows[t])
        col.drop(v * transposed_times(matrix, x))
        lefts.append(x)
        rights.append(v)
    left, right = xp.stack(lefts, axis=2), xp.stack(rights, axis=1)
    return xp.matmul(xp.astype(left, matrix.dtype, copy=False), xp.astype(right, matrix.dtype, copy=False))


def _pull_back_iterations(
    problems: _Problems,
    potentials: tuple[Array, Array],
    counts: tuple[int, int],
    product: bool,
    bars: tuple[Array | None, Array, Array],
    single: bool,
) -> BatchBars:
    """`potentials` are the columns' at the end and to begin with; derivatives in L2's strength are over the mass."""
    beta, start = potentials
    rows, cols, inv_epsilon = problems.rows, problems.cols, problems.inv_epsilon
    xp = array_namespace(beta)
    matrix, base = kernel(problems.cost, inv_epsilon, rows.used, cols.used, beta, single)
    replay = _replay(matrix, (base, beta), problems, start, counts, SINGLE_LIMIT if single else LIMIT)
    sound = replay.sound[:, None]
    u, v = problems.mass * where(sound, replay.rows[-1].scaling), replay.scalings[-1]
    moved = None if bars[0] is None else weighed(matrix, bars[0])
    row, col = (Pull(side, product, where(sound, bar)) for side, bar in zip((rows, cols), bars[1:], strict=True))
    if moved is not None:
        row.drop(-u * times(moved, v))
        col.drop(-v * transposed_times(moved, u))
    cost_bar = _backwards(matrix, replay, row, col)
    cost_bar *= matrix
    if moved is not None:
        moved *= xp.astype(u, matrix.dtype, copy=False)[:, :, None]
        moved *= xp.astype(v, matrix.dtype, copy=False)[:, None, :]
        cost_bar -= moved
    cost_bar *= xp.astype(inv_epsilon, matrix.dtype, copy=False)[:, None, None]
    dot = totals(cost_bar * where(matrix > 0.0, problems.cost))
    given = xp.sum(col.potential * (start - cols.offset), axis=1)  # in units of the cost
    epsilon = row.epsilon + col.epsilon - dot - given
    a, b = (pull.weight / (pull.side.weight * problems.mass) for pull in (row, col))
    strengths = inv_epsilon * row.strength, inv_epsilon * col.strength
    return BatchBars(cost_bar, a, b, inv_epsilon * epsilon, *strengths, replay.sound)


# --- the functions of `protocol` --------------------------------------------------------------------------------------


class ArrayDerivatives:
    """`protocol.BatchDerivatives` where `memory` is; matrices that lie elsewhere cross in chunks."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def _chunks(self, which: Array, batch: Batch, shape: tuple[int, int], count: int = 0) -> Iterator[Array]:
        """Problems whose temporaries fit `ENTRIES`."""
        n, m = shape
        most = max(ENTRIES, batch.cost_of.size * n * m // 4)
        step = max(1, most // (MATRICES * n * m + VECTORS * count * (n + m)))
        return (which[i : i + step] for i in range(0, which.size, step))

    def _matrices(self, matrix: Array, some: Array) -> Array:
        """Return the matrices of the problems `some`, to be read: a view where they are consecutive."""
        here = self.memory.holds(matrix)
        if (np.diff(some) == 1).all():
            part = matrix[int(some[0]) : int(some[-1]) + 1, ...]
            return part if here else self.memory.put(part)
        if here:
            return array_namespace(matrix).take(matrix, self.memory.put(some), axis=0)
        return self.memory.put(matrix[some])

    def _costs(self, cost: Array, batch: Batch, some: Array) -> Array:
        """(1, n, m) if they share one; in single precision at least."""
        cost_of = batch.cost_of[some]
        return widened(self._matrices(cost, cost_of[:1] if (cost_of == cost_of[0]).all() else cost_of))

    def _store(self, matrices: Array, some: Array, out: Array) -> None:
        """Run by run: the standard has no assignment to a list of indices."""
        matrices = matrices if self.memory.holds(out) else self.memory.get(matrices)
        matrices = array_namespace(matrices).astype(matrices, out.dtype, copy=False)
        cuts = [0, *(np.flatnonzero(np.diff(some) != 1) + 1).tolist(), some.size]
        for lo, hi in itertools.pairwise(cuts):
            first = int(some[lo])
            out[first : first + hi - lo, ...] = matrices[lo:hi, ...]

    def _vector(self, values: Array, used: Array, otherwise: float = 0.0) -> Array:
        """The entries in use: others may be infinite."""
        return self.memory.put(np.where(used, values, otherwise))

    def _marginal(self, side: Side, some: Array, used: Array) -> Marginal:
        rules = []
        for code in np.unique(side.code[some]).tolist():
            mine = (side.code[some] == code)[:, None]
            strengths = (self._vector(x[some][:, None], mine, 1.0) for x in (side.strength, side.strength2))
            rules.append(Rule(code, self.memory.put(mine), *strengths))
        log_weight, offset = (self._vector(x[some], used) for x in (side.log_weight, side.offset))
        weight = self._vector(side.weight[some], used, 1.0)
        return Marginal(self.memory.put(used), weight, log_weight, offset, rules)

    def batch_pull_back_iterations(
        self,
        cost: Array,
        batch: Batch,
        rows: Side,
        cols: Side,
        ends: tuple[Array, Array],
        start: Array,
        count: int,
        end: str,
        product: bool,
        plan_bar: Array | None,
        row_bar: Array,
        col_bar: Array,
        precision: str,
        which: Array,
        out: BatchBars,
    ) -> None:
        get, put, counts = self.memory.get, self.memory.put, (count, count - (end == "rows"))
        for some in self._chunks(which, batch, cost.shape[1:], count):
            used = _used(rows.log_weight, batch.row_count, some), _used(cols.log_weight, batch.col_count, some)
            problems = _Problems(
                self._costs(cost, batch, some),
                put(batch.inv_epsilon[some]),
                put(batch.mass[some][:, None]),
                self._marginal(rows, some, used[0]),
                self._marginal(cols, some, used[1]),
            )
            potentials = self._vector(ends[1][some], used[1]), self._vector(start[some], used[1])
            bar = None if plan_bar is None else self._matrices(plan_bar, some)
            bars = bar, self._vector(row_bar[some], used[0]), self._vector(col_bar[some], used[1])
            found = _pull_back_iterations(problems, potentials, counts, product, bars, precision != "double")
            self._store(found.cost, some, out.cost)
            out.a[some], out.b[some], out.epsilon[some], out.sound[some] = map(
                get, (found.a, found.b, found.epsilon, found.sound)
            )
            for side, strength, values in ((rows, found.rows, out.rows), (cols, found.cols, out.cols)):
                values[some] = get(strength) * np.where(side.code[some] == QUADRATIC, batch.mass[some], 1.0)

    def batch_pull_back(
        self,
        cost: Array,
        batch: Batch,
        alpha: Array,
        beta: Array,
        diagonals: tuple[Array, Array],
        rigid: Array,
        plan_bar: Array | None,
        row_side: Array,
        col_side: Array,
        out: BatchSystem,
    ) -> None:
        starts = alpha + np.log(batch.mass)[:, None]  # in the user's units
        for some, used, matrix, logs in self._plans(cost, batch, starts, beta, single=False):
            rows, row_rest = (self._vector(x[some], used[0]) for x in (diagonals[0], row_side))
            cols, col_rest = (self._vector(x[some], used[1]) for x in (diagonals[1], col_side))
            linear = system(matrix, (rows, cols), self.memory.put(rigid[some][:, None]))
            bar = None if plan_bar is None else self._matrices(plan_bar, some)
            inv_epsilon = self.memory.put(batch.inv_epsilon[some])
            found = pull_back(linear, logs, bar, (row_rest, col_rest), inv_epsilon)
            self._store(found.cost, some, out.cost)
            for values, kept in zip(found[1:], out[1:], strict=True):
                kept[some] = self.memory.get(values)

    def batch_plan_dots(self, cost: Array, batch: Batch, alpha: Array, beta: Array, out: Array, dots: Array) -> None:
        for some, _, matrix, logs in self._plans(cost, batch, alpha, beta, str(out.dtype).endswith("float32")):
            self._store(matrix, some, out)
            dots[some] = self.memory.get(totals(matrix * logs))

    def _plans(
        self, cost: Array, batch: Batch, alpha: Array, beta: Array, single: bool
    ) -> Iterator[tuple[Array, tuple[Array, Array], Array, Array]]:
        """Some problems, on the host what they use, their plans and the logarithms of these."""
        for some in self._chunks(np.arange(batch.cost_of.size), batch, cost.shape[1:]):
            used = _used(alpha, batch.row_count, some), _used(beta, batch.col_count, some)
            costs, inv_epsilon = self._costs(cost, batch, some), self.memory.put(batch.inv_epsilon[some])
            rows, cols = map(self.memory.put, used)
            potentials = self._vector(alpha[some], used[0]), self._vector(beta[some], used[1])
            yield some, used, *plan(costs, inv_epsilon, rows, cols, *potentials, single)


def _used(values: Array, count: Array, some: Array) -> Array:
    """Entries of some problems that are within their lengths and not removed, which is -inf."""
    return (values[some] > -np.inf) & (np.arange(values.shape[1]) < count[some][:, None])
