"""Many problems at once, validated: leading dimensions broadcast, shorter problems lie in a corner of their matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import masses
from .arrays import as_array, as_numpy, beside, in_order, ingest_stack
from .batch_penalty import at_each, is_hard, penalty_of, strength_name, strength_shape
from .errors import InfeasibleError
from .halves import extent, finite, forbidden, is_half, not_numbers, widened
from .memory import chunk_of, first_true, library_of, on_host
from .penalties import Fixed, Penalty, Vector
from .problem import HIGH, Problem, Reference, build_on, check_reference, lies_high, range_text

CHUNK = 1 << 20  # entries looked at together
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class BatchProblem:
    """Problems of one shape (n, m), counted in C order of the batch shape; B is their number.

    Attributes
    ----------
    cost : ndarray, shape (K, n, m)
        The costs that differ; +inf forbids a cell. Of CuPy if they lie on a device, as in `DenseCost`.
    cost_of : ndarray of int, shape (B,)
        Which of them a problem has.
    batch : tuple of int
    a, b : ndarray of float64, shapes (B, n) and (B, m)
        0 beyond the lengths.
    epsilon : ndarray of float64, shape (B,)
    rows, cols : Penalty
        As they hold at each epsilon, for arrays (B, n) and (B, m).
    given : pair of Penalty
        As they were given.
    reference : {"product", "counting"}
    row_count, col_count : ndarray of int, shape (B,)
        Lengths: a problem is the leading corner of its matrix.
    row_used, col_used : ndarray of bool, shapes (B, n) and (B, m)
        Rows and columns with a weight and an allowed cell.
    masked : bool
        Some cell is forbidden.
    largest : float
        The largest finite cost in size.
    offset : ndarray of float64, shape (B,), or None
        As `Problem.offset`; None is 0.
    factor : ndarray of float64, shape (B,), or None
        As `Problem.factor`; None is 1.
    """

    cost: NDArray[np.floating]
    cost_of: NDArray[np.int64]
    batch: tuple[int, ...]
    a: Vector
    b: Vector
    epsilon: Vector
    rows: Penalty
    cols: Penalty
    given: tuple[Penalty, Penalty]
    reference: Reference
    row_count: NDArray[np.int64]
    col_count: NDArray[np.int64]
    row_used: Mask
    col_used: Mask
    masked: bool
    largest: float
    offset: Vector | None = None
    factor: Vector | None = None

    def levelled(self, budget: bool = False) -> BatchProblem:
        """As `Problem.levelled`: one copy of all costs, where some of them lie high. Ragged batches stay."""
        fixed = isinstance(self.rows, Fixed) or (isinstance(self.cols, Fixed) and not budget)
        least = float(self.epsilon.min())
        ragged = (self.row_count < self.cost.shape[1]).any() or (self.col_count < self.cost.shape[2]).any()
        if not fixed or ragged or is_half(self.cost) or not self.largest > HIGH * least:
            return self
        low, high = _ranges(self.cost)
        low = np.where(lies_high(low, high, least), low, 0.0)
        if not low.any():
            return self
        taken = library_of(self.cost).asarray(low.astype(self.cost.dtype))
        cost = self.cost - taken[:, None, None]
        largest = float(np.maximum(high - low, np.where(low == 0.0, self.largest, 0.0)).max())
        return replace(self, cost=cost, largest=largest, offset=low[self.cost_of])

    @property
    def offsets(self) -> tuple[Any, Any]:
        """What the potentials (B, n) and (B, m) lack because of `offset`."""
        if self.offset is None:
            return 0.0, 0.0
        return (self.offset[:, None], 0.0) if isinstance(self.rows, Fixed) else (0.0, self.offset[:, None])

    @property
    def offset_value(self) -> Any:
        """What primal and dual values (B,) lack."""
        if self.offset is None:
            return 0.0
        a, b = np.where(self.row_used, self.a, 0.0), np.where(self.col_used, self.b, 0.0)
        return self.offset * row_sums(a if isinstance(self.rows, Fixed) else b)

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.batch, *self.cost.shape[1:])

    @property
    def size(self) -> int:
        """The number of problems."""
        return int(self.cost_of.size)

    @cached_property
    def mass(self) -> Vector:
        return row_sums(self.a)

    @cached_property
    def reference_mass(self) -> Vector:
        """Sum of R over the allowed cells in use, for every problem."""
        a, b = self.reference_weights
        if not self.masked:
            return np.asarray(row_sums(a) * row_sums(b))
        return np.asarray(np.einsum("bn,bn->b", a, self.allowed(b)))

    @property
    def partners(self) -> tuple[Vector, Vector]:
        """As `Problem.partners`, shapes (B, n) and (B, m)."""
        a, b = np.where(self.row_used, self.a, 0.0), np.where(self.col_used, self.b, 0.0)
        return self.allowed(b), self.allowed(a, transpose=True)

    @property
    def reference_weights(self) -> tuple[Vector, Vector]:
        """The two factors of R, 0 for what is not used."""
        product = self.reference == "product"
        return np.where(self.row_used, self.a if product else 1.0, 0.0), np.where(
            self.col_used, self.b if product else 1.0, 0.0
        )

    def allowed(self, b: Vector, transpose: bool = False) -> Vector:
        """Sums of b over the allowed cells of every row (of every column, with `transpose`)."""
        if not self.masked:
            return np.repeat(row_sums(b)[:, None], self.cost.shape[2 if transpose else 1], axis=1)
        xp, out = library_of(self.cost), np.empty((self.size, self.cost.shape[2 if transpose else 1]))
        for part in self.chunks():
            allowed = finite(self.costs(part))
            out[part] = on_host(xp.einsum("bnm,bn->bm" if transpose else "bnm,bm->bn", allowed, xp.asarray(b[part])))
        return out

    def costs(self, part: slice) -> NDArray[np.floating]:
        """Those of some problems, copied, in single precision at least."""
        return widened(self.cost[library_of(self.cost).asarray(self.cost_of[part])])

    def matrices(self, dtype: Any, part: slice = slice(None)) -> NDArray[Any]:
        """One for each of some problems, to be written, where the costs lie."""
        size = len(range(*part.indices(self.size)))
        out: NDArray[Any] = library_of(self.cost).empty((size, *self.cost.shape[1:]), dtype)
        return out

    def chunks(self) -> Iterator[slice]:
        """Problems to look at together."""
        step = max(1, chunk_of(self.cost, CHUNK) // self.cost[0].size)
        return (slice(k, min(k + step, self.size)) for k in range(0, self.size, step))

    def single(self, k: int) -> Problem:
        """Problem k alone."""
        n, m = int(self.row_count[k]), int(self.col_count[k])
        rows, cols = (penalty_of(penalty, self.batch, k) for penalty in self.given)
        cost = in_order(self.cost[self.cost_of[k], :n, :m])
        epsilon = float(self.epsilon[k])
        problem = build_on(cost, self.a[k, :n], self.b[k, :m], epsilon, rows, cols, self.reference)
        offset, factor = (x if y is None else float(y[k]) for x, y in ((0.0, self.offset), (1.0, self.factor)))
        return replace(problem, offset=offset, factor=factor)

    def index(self, k: int) -> str:
        """Problem k as users count it."""
        return ", ".join(str(i) for i in np.unravel_index(k, self.batch))

    def label(self, k: int) -> str:
        """How messages about problem k begin."""
        return f"problem [{self.index(k)}]: " if self.batch else ""


def _ranges(stack: NDArray[np.floating]) -> tuple[Vector, Vector]:
    """The least and the largest finite entry of every matrix."""
    xp, low, high = library_of(stack), np.empty(len(stack)), np.empty(len(stack))
    step = max(1, chunk_of(stack, CHUNK) // stack[0].size)
    for k in range(0, len(stack), step):
        block = stack[k : k + step]
        allowed = xp.isfinite(block)
        low[k : k + step] = on_host(xp.where(allowed, block, np.inf).min(axis=(1, 2)))
        high[k : k + step] = on_host(xp.where(allowed, block, -np.inf).max(axis=(1, 2)))
    return low, high


def row_sums(values: Vector) -> Vector:
    """Sums over the last axis; where that is short, `sum` takes four times as long."""
    return np.asarray(np.einsum("...i->...", values))


def is_batch(cost: Any, a: Any, b: Any, epsilon: Any, mask: Any, penalties: tuple[Any, Any], lengths: Any) -> bool:
    """True if the arguments describe more than one problem, or one with a batch shape."""
    if any(length is not None for length in lengths) or any(
        isinstance(penalty, Penalty) and strength_shape(penalty) for penalty in penalties
    ):
        return True
    arguments = ("cost", cost, 2), ("a", a, 1), ("b", b, 1), ("epsilon", epsilon, 0), ("mask", mask, 2)
    return any(_dimensions(name, values) > least for name, values, least in arguments)


def _dimensions(name: str, values: Any) -> int:
    found = getattr(values, "ndim", None)
    if isinstance(found, int):
        return found
    if hasattr(values, "__dlpack__"):
        return as_array(name, values).ndim
    depth = 0
    while isinstance(values, list | tuple) and values:
        values, depth = values[0], depth + 1
    return depth


def build_batch(
    cost: Any,
    a: Any,
    b: Any,
    epsilon: Any,
    rows: Any,
    cols: Any,
    reference: Any,
    mask: Any,
    row_lengths: Any,
    col_lengths: Any,
    precision: str = "",
) -> BatchProblem:
    """The validated problems, as `build` has them."""
    for name, penalty in (("rows", rows), ("cols", cols)):
        if not isinstance(penalty, Penalty):
            raise TypeError(f"{name} must be a penalty such as Fixed() or KL(1.0), got {penalty!r}")
    check_reference(reference)
    stack = ingest_stack("cost", cost, 2)
    n, m = stack.shape[-2:]
    inputs = _Leading(stack.shape[:-2])
    weights_a, weights_b = inputs.vector("a", a, n, "rows"), inputs.vector("b", b, m, "columns")
    allowed = inputs.mask(mask, stack)
    strengths = inputs.numbers("epsilon", epsilon)
    lengths = inputs.lengths("row_lengths", row_lengths, n), inputs.lengths("col_lengths", col_lengths, m)
    for name, penalty in (("rows", rows), ("cols", cols)):
        inputs.add(f"the {strength_name(penalty)} of {name}", strength_shape(penalty))
    batch = inputs.shape()
    if allowed is not None:
        stack = _masked(stack, allowed)
    cost_of = np.broadcast_to(np.arange(math.prod(stack.shape[:-2])).reshape(stack.shape[:-2]), batch).reshape(-1)
    stack = stack.reshape(-1, n, m)
    row_count, col_count = (
        np.full(cost_of.size, size) if given is None else np.broadcast_to(given, batch).reshape(-1)
        for given, size in zip(lengths, (n, m), strict=True)
    )
    weights_a = _weights("a", weights_a, batch, n, row_count)
    weights_b = _weights("b", weights_b, batch, m, col_count)
    epsilons = np.array(np.broadcast_to(strengths, batch)).reshape(-1)
    problem = BatchProblem(
        cost=stack,
        cost_of=cost_of.astype(np.int64),
        batch=batch,
        a=weights_a,
        b=weights_b,
        epsilon=epsilons,
        rows=at_each(rows, epsilons, batch),
        cols=at_each(cols, epsilons, batch),
        given=(rows, cols),
        reference=reference,
        row_count=row_count.astype(np.int64),
        col_count=col_count.astype(np.int64),
        row_used=weights_a > 0,
        col_used=weights_b > 0,
        masked=False,
        largest=0.0,
    )
    problem = _check_reach(_scan(problem, inputs.shapes["cost"]))
    _check_product(problem)
    return _check_masses(problem, (a, b), precision)


class _Leading:
    """Leading dimensions of the arguments, and the shape that they broadcast to."""

    def __init__(self, cost: tuple[int, ...]) -> None:
        self.shapes = {"cost": cost}

    def add(self, name: str, shape: tuple[int, ...]) -> None:
        if 0 in shape:
            raise ValueError(f"{name} has leading dimensions {shape}; none of them may be 0")
        if shape:
            self.shapes[name] = shape

    def shape(self) -> tuple[int, ...]:
        found: tuple[int, ...] = ()
        seen: dict[str, tuple[int, ...]] = {}
        for name, shape in self.shapes.items():
            try:
                found = np.broadcast_shapes(found, shape)
            except ValueError:
                other = next(x for x, s in seen.items() if _clash(s, shape)) if len(seen) > 1 else next(iter(seen))
                raise ValueError(
                    f"{other} has leading dimensions {seen[other]} and {name} {shape}; they must broadcast"
                ) from None
            seen[name] = shape
        return found

    def vector(self, name: str, values: Any, size: int, what: str) -> Vector | None:
        if values is None:
            return None
        array = as_numpy(name, values)
        if array.ndim < 1 or array.shape[-1] != size:
            raise ValueError(f"{name} has shape {array.shape}, cost has {size} {what}; the last dimension must agree")
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name} has dtype {array.dtype}; it must hold real numbers")
        self.add(name, array.shape[:-1])
        return array

    def numbers(self, name: str, values: Any) -> Vector:
        array = as_numpy(name, values)
        if array.dtype.kind not in "iuf":
            raise TypeError(f"{name} must be a real number or an array of one for every problem, got {values!r}")
        bad = np.argwhere(~((array > 0) & np.isfinite(array)))
        if len(bad):
            index = f"[{', '.join(map(str, bad[0]))}]" if array.ndim else ""
            raise ValueError(f"{name}{index} is {array[tuple(bad[0])]}; it must be positive and finite")
        self.add(name, array.shape)
        return array.astype(np.float64)

    def lengths(self, name: str, values: Any, size: int) -> NDArray[np.int64] | None:
        if values is None:
            return None
        array = as_numpy(name, values)
        if array.dtype.kind not in "iu":
            raise TypeError(f"{name} has dtype {array.dtype}; it must hold integers")
        bad = np.argwhere((array < 1) | (array > size))
        if len(bad):
            index = f"[{', '.join(map(str, bad[0]))}]" if array.ndim else ""
            raise ValueError(f"{name}{index} is {array[tuple(bad[0])]}; it must lie between 1 and {size}")
        self.add(name, array.shape)
        return array

    def mask(self, mask: Any, stack: NDArray[np.floating]) -> Mask | None:
        if mask is None:
            return None
        array, size = beside("mask", mask, stack), stack.shape[-2:]
        if array.dtype != np.bool_:
            raise TypeError(f"mask has dtype {array.dtype}; it must be bool (True = allowed)")
        if array.shape[-2:] != size:
            raise ValueError(f"mask has shape {array.shape}, cost ends in {size}; they must agree")
        self.add("mask", array.shape[:-2])
        return array


def _clash(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return any(x != y and x != 1 and y != 1 for x, y in zip(reversed(one), reversed(other), strict=False))


def _masked(stack: NDArray[np.floating], allowed: Mask) -> NDArray[np.floating]:
    """The one copy a mask costs; nan stays where it is, to be refused."""
    if allowed.all():
        return stack
    xp = library_of(stack)
    masked: NDArray[np.floating] = xp.where(allowed | not_numbers(stack), stack, forbidden(stack))
    return xp.ascontiguousarray(masked)  # type: ignore[no-any-return]


def _weights(
    name: str, values: Vector | None, batch: tuple[int, ...], size: int, count: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(B, size), 0 beyond the lengths, where nothing is read."""
    inside = np.arange(size) < count[:, None]
    if values is None:
        return np.where(inside, 1.0 / count[:, None], 0.0)
    weights = np.array(np.broadcast_to(values, (*batch, size)), dtype=np.float64, order="C").reshape(-1, size)
    weights[~inside] = 0.0
    wrong = ~(weights >= 0) | np.isinf(weights)
    if wrong.any():
        k, i = np.argwhere(wrong)[0]
        place = _place(name, values.shape, (*np.unravel_index(k, batch), i))
        raise ValueError(f"{place} is {weights[k, i]}; weights must be finite and >= 0")
    total = row_sums(weights)
    wrong = (total == 0) | ~np.isfinite(total)
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        place = _place(name, values.shape[:-1], np.unravel_index(k, batch)).removesuffix("[]")
        raise ValueError(f"{place} sums to {total[k]}; it must be positive and finite")
    return weights


def _place(name: str, shape: tuple[int, ...], index: tuple[Any, ...]) -> str:
    """Where an entry stands in what was given with that shape, which was broadcast."""
    own = index[len(index) - len(shape) :]
    return f"{name}[{', '.join(str(0 if size == 1 else i) for i, size in zip(own, shape, strict=True))}]"


def _scan(problem: BatchProblem, given: tuple[int, ...]) -> BatchProblem:
    """Range and forbidden cells; refuses what is no cost. One look at the costs, if all are finite."""
    least = float(problem.epsilon.min())
    low, high = extent(problem.cost)
    n, m = problem.cost.shape[1:]
    ragged = bool((problem.row_count < n).any() or (problem.col_count < m).any())
    if math.isfinite(low) and math.isfinite(high) and not (ragged and _overflows(max(abs(low), abs(high)), least)):
        _check_range(max(abs(low), abs(high)), least)
        return replace(problem, largest=max(abs(low), abs(high)))
    xp, asarray = library_of(problem.cost), library_of(problem.cost).asarray
    row_used, col_used, largest, masked = problem.row_used.copy(), problem.col_used.copy(), 0.0, False
    for part in problem.chunks():
        block = problem.costs(part)
        inside = (
            asarray(np.arange(n) < problem.row_count[part, None])[:, :, None]
            & asarray(np.arange(m) < problem.col_count[part, None])[:, None, :]
        )
        for wrong, advice in (
            (xp.isnan(block), "costs must be numbers (+inf forbids a cell)"),
            (block == -np.inf, "costs must be > -inf"),
        ):
            if (wrong & inside).any():
                k, i, j = first_true(wrong & inside)
                where = *np.unravel_index(part.start + k, problem.batch), i, j
                raise ValueError(f"{_place('cost', (*given, n, m), where)} is {block[k, i, j]}; {advice}")
        allowed = xp.isfinite(block) & inside
        masked = masked or bool((~allowed & inside).any())
        row_used[part] &= on_host((allowed & asarray(problem.col_used[part])[:, None, :]).any(axis=2))
        col_used[part] &= on_host((allowed & asarray(problem.row_used[part])[:, :, None]).any(axis=1))
        largest = max(largest, float(abs(xp.where(allowed, block, 0.0)).max()))
    _check_range(largest, least)
    return replace(problem, row_used=row_used, col_used=col_used, masked=masked, largest=largest)


def _overflows(largest: float, epsilon: float) -> bool:
    with np.errstate(over="ignore"):
        return not np.isfinite(np.array([largest, 1.0]) / epsilon).all()


def _check_range(largest: float, epsilon: float) -> None:
    if _overflows(largest, epsilon):
        raise ValueError(
            f"cost reaches {largest:g} and epsilon is {epsilon:g}; their ratio overflows, rescale one of them"
        )


def _check_reach(problem: BatchProblem) -> BatchProblem:
    """A hard side that wants mass where every cell is forbidden, or no usable cell at all."""
    if not problem.masked:
        return problem
    for name, penalty, weights, used in (
        ("row", problem.rows, problem.a, problem.row_used),
        ("column", problem.cols, problem.b, problem.col_used),
    ):
        needed = is_hard(penalty) & (np.asarray(penalty.box()[0]) > 0)
        blocked = (weights > 0) & ~used & needed
        if blocked.any():
            k, i = np.argwhere(blocked)[0]
            raise InfeasibleError(
                f"{problem.label(k)}{name} {i} has only forbidden cells but must carry mass (weight "
                f"{weights[k, i]:g}); allow a cell, set its weight to 0 or relax that side"
            )
    empty = np.flatnonzero(~(problem.row_used.any(axis=1) & problem.col_used.any(axis=1)))
    if empty.size:
        raise InfeasibleError(
            f"{problem.label(int(empty[0]))}every cell between a row and a column with weight is forbidden; "
            f"there is no plan"
        )
    return problem


def _check_product(problem: BatchProblem) -> None:
    if problem.reference != "product":
        return
    sums = row_sums(problem.a), row_sums(problem.b)
    with np.errstate(over="ignore"):
        bad = np.flatnonzero(np.isinf(sums[0] * sums[1]))
    if bad.size:
        k = int(bad[0])
        raise ValueError(
            f"{problem.label(k)}a sums to {sums[0][k]:g} and b to {sums[1][k]:g}; their product overflows, rescale the "
            f"weights"
        )


def _check_masses(problem: BatchProblem, given: tuple[Any, Any], precision: str) -> BatchProblem:
    """The two sides' ranges of total mass must meet; masses equal to rounding are made equal."""
    lo_a, hi_a = _total_range(problem.rows, problem.a, problem.row_used)
    lo_b, hi_b = _total_range(problem.cols, problem.b, problem.col_used)
    needed, most = np.maximum(lo_a, lo_b), np.minimum(hi_a, hi_b)
    if (needed > most * (1 + masses.EXACT)).any():
        bad = np.flatnonzero(needed > most * (1 + masses.tolerance(given, (problem.a, problem.b), precision)))
        if bad.size:
            k = int(bad[0])
            rows, cols = (penalty_of(penalty, problem.batch, k) for penalty in problem.given)
            ranges = range_text(lo_a[k], hi_a[k]), range_text(lo_b[k], hi_b[k])
            sums = float(problem.a[k].sum()), float(problem.b[k].sum())
            raise InfeasibleError(problem.label(k) + masses.collision(rows, cols, ranges, sums, bool(problem.batch)))
    off = needed > most
    if not off.any():
        return problem
    with np.errstate(all="ignore"):
        factor = np.where(off, np.where(lo_a > hi_b, lo_a / hi_b, hi_a / lo_b), 1.0)
    return replace(problem, b=problem.b * factor[:, None], factor=factor)


def _total_range(penalty: Penalty, weights: Vector, used: Mask) -> tuple[Vector, Vector]:
    lo, hi = (np.broadcast_to(np.asarray(x, dtype=np.float64).reshape(-1), weights.shape[:1]) for x in penalty.box())
    total = row_sums(weights if used.all() else np.where(used, weights, 0.0))
    with np.errstate(invalid="ignore"):
        return lo * total, np.where(np.isinf(hi), np.inf, hi * total)
