"""Many problems at once, validated: leading dimensions broadcast, messages name the problem."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import first_true, library_of, on_host
from ..arrays.half import extent, forbidden, not_numbers
from ..arrays.ingest import as_array, as_numpy, beside, ingest_stack, of_points
from ..costs.base import Cost, is_cost
from ..costs.point_stack import stack_of
from ..costs.points import PointCloud
from ..costs.scan import NOT_A_NUMBER, UNBOUNDED, Mask, refuse_mask
from ..errors import InfeasibleError
from . import masses
from .batch import BatchProblem, row_sums
from .build import check_reference, check_sides, range_text
from .mixed import at_each, is_hard, penalty_of, strength_name, strength_shape
from .penalty import Penalty, Vector
from .refusals import BAD_WEIGHT, ratio_overflows, refuse_empty, refuse_product, refuse_ratio, refuse_unreached


def is_batch(cost: Any, a: Any, b: Any, epsilon: Any, mask: Any, penalties: tuple[Any, Any], lengths: Any) -> bool:
    """True if the arguments describe more than one problem, or one with a batch shape."""
    if any(length is not None for length in lengths) or any(
        isinstance(penalty, Penalty) and strength_shape(penalty) for penalty in penalties
    ):
        return True
    arguments = ("cost", cost, 2), ("a", a, 1), ("b", b, 1), ("epsilon", epsilon, 0), ("mask", mask, 2)
    return any(_dimensions(name, values) > least for name, values, least in arguments)


def _dimensions(name: str, values: Any) -> int:
    if values is None or isinstance(values, float):  # most of them, and told soonest
        return 0
    found = getattr(values, "ndim", None)
    if isinstance(found, int):
        return found
    if is_cost(values):
        return 2 + len(values._batch)
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
    check_sides(rows, cols)
    check_reference(reference)
    cloud = _cloud(cost, mask) if is_cost(cost) else None
    stack: Any = None if cloud is not None else ingest_stack("cost", cost, 2)
    *leading, n, m = stack.shape if cloud is None else cloud.shape
    inputs = _Leading(tuple(leading))
    weights_a, weights_b = inputs.vector("a", a, n, "rows"), inputs.vector("b", b, m, "columns")
    allowed = inputs.mask(mask, stack)
    strengths = inputs.numbers("epsilon", epsilon)
    lengths = inputs.lengths("row_lengths", row_lengths, n), inputs.lengths("col_lengths", col_lengths, m)
    for name, penalty in (("rows", rows), ("cols", cols)):
        inputs.add(f"the {strength_name(penalty)} of {name}", strength_shape(penalty))
    batch = inputs.shape()
    row_count, col_count = (
        np.full(math.prod(batch), size) if given is None else np.broadcast_to(given, batch).reshape(-1)
        for given, size in zip(lengths, (n, m), strict=True)
    )
    points = None if cloud is None else stack_of(cloud, batch, row_count, col_count)
    if points is not None:
        stack = points.matrices().reshape(*leading, n, m)
    elif allowed is not None:
        stack = _masked(stack, allowed)
    cost_of = np.broadcast_to(np.arange(math.prod(stack.shape[:-2])).reshape(stack.shape[:-2]), batch).reshape(-1)
    stack = stack.reshape(-1, n, m)
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
        points=points,
    )
    problem = _check_reach(_scan(problem, inputs.shapes["cost"]))
    _check_product(problem)
    return _check_masses(problem, (a, b), precision)


def _cloud(cost: Cost, mask: Any) -> PointCloud:
    """Return a cost that can be many problems; refuses others."""
    if not isinstance(cost, PointCloud):
        raise ValueError(
            f"cost is a {type(cost).__name__}, which is one problem; weights, epsilon, strengths and lengths of many "
            f"need an array (..., n, m) or a PointCloud"
        )
    refuse_mask(cost, mask)
    return cost


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
            agree = f"the last dimension must agree{of_points(array)}"
            raise ValueError(f"{name} has shape {array.shape}, cost has {size} {what}; {agree}")
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
    given = 1.0 / count.reshape(*batch, 1) if values is None else values
    weights = np.array(np.broadcast_to(given, (*batch, size)), dtype=np.float64, order="C").reshape(-1, size)
    if (count < size).any():
        weights[np.arange(size) >= count[:, None]] = 0.0
    if values is None:
        return weights
    wrong = ~(weights >= 0) | np.isinf(weights)
    if wrong.any():
        k, i = np.argwhere(wrong)[0]
        place = _place(name, values.shape, (*np.unravel_index(k, batch), i))
        raise ValueError(f"{place} is {weights[k, i]}; {BAD_WEIGHT}")
    total = row_sums(weights)
    wrong = (total == 0) | ~np.isfinite(total)
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        place = _place(name, values.shape[:-1], np.unravel_index(k, batch)).removesuffix("[]")
        raise ValueError(f"{place} sums to {total[k]}; it must be positive and finite")
    return weights


def _place(name: str, shape: tuple[int, ...], index: tuple[Any, ...]) -> str:
    """Return the name of an entry as it was given, say a[0, 3], from its index after broadcasting."""
    own = index[len(index) - len(shape) :]
    return f"{name}[{', '.join(str(0 if size == 1 else i) for i, size in zip(own, shape, strict=True))}]"


def _scan(problem: BatchProblem, given: tuple[int, ...]) -> BatchProblem:
    """Range and forbidden cells; refuses what is no cost. One look at the costs, if all are finite."""
    least = float(problem.epsilon.min())
    low, high = extent(problem.cost)
    n, m = problem.cost.shape[1:]
    ragged = bool((problem.row_count < n).any() or (problem.col_count < m).any())
    if math.isfinite(low) and math.isfinite(high) and not (ragged and ratio_overflows(max(abs(low), abs(high)), least)):
        refuse_ratio(max(abs(low), abs(high)), least)
        return replace(problem, largest=max(abs(low), abs(high)))
    xp, asarray = library_of(problem.cost), library_of(problem.cost).asarray
    row_used, col_used, largest, masked = problem.row_used.copy(), problem.col_used.copy(), 0.0, False
    for part in problem.chunks():
        block = problem.costs(part)
        inside = (
            asarray(np.arange(n) < problem.row_count[part, None])[:, :, None]
            & asarray(np.arange(m) < problem.col_count[part, None])[:, None, :]
        )
        for wrong, advice in ((xp.isnan(block), NOT_A_NUMBER), (block == -np.inf, UNBOUNDED)):
            if (wrong & inside).any():
                k, i, j = first_true(wrong & inside)
                where = *np.unravel_index(part.start + k, problem.batch), i, j
                raise ValueError(f"{_place('cost', (*given, n, m), where)} is {block[k, i, j]}; {advice}")
        allowed = xp.isfinite(block) & inside
        masked = masked or bool((~allowed & inside).any())
        row_used[part] &= on_host((allowed & asarray(problem.col_used[part])[:, None, :]).any(axis=2))
        col_used[part] &= on_host((allowed & asarray(problem.row_used[part])[:, :, None]).any(axis=1))
        largest = max(largest, float(abs(xp.where(allowed, block, 0.0)).max()))
    refuse_ratio(largest, least)
    return replace(problem, row_used=row_used, col_used=col_used, masked=masked, largest=largest)


def _check_reach(problem: BatchProblem) -> BatchProblem:
    """A hard side that wants mass where every cell is forbidden, or no usable cell at all."""
    if not problem.masked:
        return problem
    for name, penalty, given, weights, used in (
        ("row", problem.rows, problem.given[0], problem.a, problem.row_used),
        ("column", problem.cols, problem.given[1], problem.b, problem.col_used),
    ):
        needed = is_hard(penalty) & (np.asarray(penalty.box()[0]) > 0)
        blocked = (weights > 0) & ~used & needed
        if blocked.any():
            k, i = np.argwhere(blocked)[0]
            asked = penalty_of(given, problem.batch, int(k))
            refuse_unreached(name, int(i), weights[k, i], asked, problem.label(k))
    empty = np.flatnonzero(~(problem.row_used.any(axis=1) & problem.col_used.any(axis=1)))
    if empty.size:
        refuse_empty(problem.label(int(empty[0])))
    return problem


def _check_product(problem: BatchProblem) -> None:
    if problem.reference != "product":
        return
    sums = row_sums(problem.a), row_sums(problem.b)
    with np.errstate(over="ignore"):
        bad = np.flatnonzero(np.isinf(sums[0] * sums[1]))
    if bad.size:
        k = int(bad[0])
        refuse_product(sums[0][k], sums[1][k], problem.label(k))


def _check_masses(problem: BatchProblem, given: tuple[Any, Any], precision: str) -> BatchProblem:
    """The two sides' ranges of total mass must meet; masses equal to rounding are made equal."""
    lo_a, hi_a = _total_range(problem.rows, problem.a, problem.row_used)
    lo_b, hi_b = _total_range(problem.cols, problem.b, problem.col_used)
    needed, most = np.maximum(lo_a, lo_b), np.minimum(hi_a, hi_b)
    if (needed > most * (1 + masses.SAME_MASS)).any():
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
