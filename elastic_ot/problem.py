"""The problem, validated: the one place where input is refused, each mistake with its own message."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from . import masses
from .arrays import as_array, ingest_cost, ingest_mask, ingest_number, ingest_vector
from .costs import CHUNK, DenseCost
from .errors import InfeasibleError
from .halves import forbidden, is_half, is_single, widened
from .memory import chunk_of, first_true, library_of, on_host, row_chunks
from .penalties import AtMost, Fixed, Penalty, Vector

Reference = Literal["product", "counting"]
Made = TypeVar("Made")
FAR_OFF = 4.0  # ranges of the cost from 0, where its digits are better spent on differences
HIGH = 1e4  # epsilon: below it rounding of the common part shows at 1e-12
LARGEST = 2**50  # integer, so that sums of a few are exact in float64


@dataclass(frozen=True, eq=False)
class Problem:
    """minimise <C, P> + epsilon KL(P | R) + phi_a(P 1) + phi_b(P^T 1) over P >= 0.

    Attributes
    ----------
    cost : DenseCost
    a, b : ndarray of float64, shapes (n,) and (m,)
    epsilon : float
    rows, cols : Penalty
        As they hold at the epsilon asked for: `Elastic` has become `KL`, limits have become `Fixed` or `Free`.
    reference : {"product", "counting"}
        R = a b^T, or R = 1.
    offset : float
        What was taken off every cost (`levelled`). It belongs to the potentials of a `Fixed` side, `offsets`.
    amount : float or None
        The mass of the plan, if it is given.
    price : float
        What one more unit of that mass costs: as if every cost were so much lower. Half of it belongs to the potentials
        of either side.
    factor : float
        What b was multiplied by, so that masses that were equal but for rounding are equal.
    """

    cost: DenseCost
    a: Vector
    b: Vector
    epsilon: float
    rows: Penalty
    cols: Penalty
    reference: Reference
    offset: float = 0.0
    amount: float | None = None
    price: float = 0.0
    factor: float = 1.0

    def at(self, epsilon: float) -> Problem:
        """The same problem at another epsilon; strengths rho are held."""
        return replace(self, epsilon=epsilon)

    def transpose(self) -> Problem:
        """Rows and columns exchanged; nothing of the size of the cost is copied."""
        sides = self.b, self.a, self.epsilon, self.cols, self.rows
        return Problem(self.cost.transpose(), *sides, self.reference, 0.0, self.amount, self.price)

    def levelled(self, budget: bool = False) -> Problem:
        """The same problem with costs from 0 on, where what they have in common would cost them digits.

        Next to a `Fixed` side a constant changes nothing but that side's potentials. The new costs are a copy, exact
        but for their last digit. With a `budget` of iterations the first update, of the rows, has to make up for it.
        """
        cost, low = self.cost, self.cost.lowest
        fixed = isinstance(self.rows, Fixed) or (isinstance(self.cols, Fixed) and not budget)
        if not (fixed and lies_high(low, cost.highest, self.epsilon)) or is_half(cost.matrix):
            return self
        matrix = cost.matrix - cost.matrix.dtype.type(low)
        return replace(self, cost=replace(cost, matrix=matrix, lowest=0.0, highest=cost.highest - low), offset=low)

    @property
    def offsets(self) -> tuple[float, float]:
        """What the potentials of rows and columns lack because of `offset` and `price`."""
        half = 0.5 * self.price
        return (self.offset + half, half) if isinstance(self.rows, Fixed) else (half, self.offset + half)

    @property
    def offset_value(self) -> float:
        """What primal and dual values lack because of `offset`."""
        weights = self.a[self.row_used] if isinstance(self.rows, Fixed) else self.b[self.col_used]
        return self.offset * float(weights.sum()) if self.offset else 0.0

    @property
    def price_value(self) -> float:
        """What dual values lack because of `price`."""
        return 0.0 if self.amount is None else self.price * self.amount

    @property
    def shape(self) -> tuple[int, int]:
        return self.cost.shape

    @cached_property
    def row_used(self) -> NDArray[np.bool_]:
        """Rows with a weight and an allowed cell; the others carry no mass in any plan."""
        return _used(self.a, self.cost.row_reach)

    @cached_property
    def col_used(self) -> NDArray[np.bool_]:
        return _used(self.b, self.cost.col_reach)

    @cached_property
    def mass(self) -> float:
        """The unit of mass of the kernels: that of the rows."""
        return float(self.a.sum())

    @cached_property
    def reference_mass(self) -> float:
        """Sum of R over the allowed cells of the rows and columns in use."""
        product = self.reference == "product"
        u = np.where(self.row_used, self.a if product else 1.0, 0.0)
        v = np.where(self.col_used, self.b if product else 1.0, 0.0)
        if not self.cost.masked:
            return float(u.sum() * v.sum())
        return float(u @ self.cost.allowed_sums(v))

    @property
    def partners(self) -> tuple[Vector, Vector]:
        """Mass of b over the allowed columns of every row, and of a over the allowed rows of every column.

        They are the derivatives of the sum of a b^T over the allowed cells.
        """
        a, b = np.where(self.row_used, self.a, 0.0), np.where(self.col_used, self.b, 0.0)
        if not self.cost.masked:
            return np.full_like(a, b.sum()), np.full_like(b, a.sum())
        return self.cost.allowed_sums(b), self.cost.allowed_sums_of_columns(a)


def lies_high(lowest: Any, highest: Any, epsilon: Any) -> Any:
    """True if what costs have in common takes digits from their differences that epsilon shows."""
    return (abs(lowest) > FAR_OFF * (highest - lowest)) & (abs(lowest) > HIGH * epsilon)


def _used(weights: Vector, reach: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return weights > 0 if reach is None else (weights > 0) & reach


def build(
    cost: Any, a: Any, b: Any, epsilon: Any, rows: Any, cols: Any, reference: Any, mask: Any, precision: str = ""
) -> Problem:
    """The validated problem; ValueError and TypeError name the argument, the index and the value.

    `precision` is a dtype that weights had before they were converted, as for `masses.tolerance`.
    """
    epsilon = _check_epsilon(epsilon)
    for name, penalty in (("rows", rows), ("cols", cols)):
        if not isinstance(penalty, Penalty):
            raise TypeError(f"{name} must be a penalty such as Fixed() or KL(1.0), got {penalty!r}")
    check_reference(reference)
    return build_on(ingest_cost(cost), a, b, epsilon, rows, cols, reference, mask, precision)


def build_on(
    matrix: NDArray[np.floating],
    a: Any,
    b: Any,
    epsilon: float,
    rows: Penalty,
    cols: Penalty,
    reference: Reference,
    mask: Any = None,
    precision: str = "",
) -> Problem:
    """`build` on a cost as `ingest_cost` gives it."""
    n, m = matrix.shape
    weights_a, weights_b = _weights("a", a, n, "rows"), _weights("b", b, m, "columns")
    if mask is not None:
        allowed = ingest_mask(mask, matrix)
        if not allowed.all():
            _scan(matrix, weights_a > 0, weights_b > 0)  # nan is refused under the mask, too
            matrix = library_of(matrix).where(allowed, matrix, forbidden(matrix))  # the one copy a mask costs
    scanned = _scan(matrix, weights_a > 0, weights_b > 0)
    _check_range(scanned, epsilon)
    problem = Problem(scanned, weights_a, weights_b, epsilon, rows.at(epsilon), cols.at(epsilon), reference)
    _check_reach(problem)
    if reference == "product" and math.isinf(float(weights_a.sum()) * float(weights_b.sum())):
        raise ValueError(
            f"a sums to {weights_a.sum():g} and b to {weights_b.sum():g}; their product overflows, rescale the weights"
        )
    return _check_masses(problem, (a, b), precision)


def build_linear(cost: Any, a: Any, b: Any, rows: Any, cols: Any, mask: Any) -> tuple[Problem, bool]:
    """The problem without entropy (its epsilon, 1, means nothing), and whether its costs are integers."""
    problem = build(cost, a, b, 1.0, rows, cols, "product", mask)
    for name, given, penalty in (("rows", rows, problem.rows), ("cols", cols, problem.cols)):
        if math.isnan(penalty.kinks()[0]):
            raise ValueError(
                f"{name} is {given!r}, which is not linear; without entropy choose Fixed, TV, Between, AtMost or Free"
            )
    _check_bounded(problem)
    return problem, _integral("cost", as_array("cost", cost))


def assignment_problem(cost: Any, maximize: bool, mask: Any) -> tuple[Problem, bool]:
    """One unit a row and a column, at most one on the longer side, and whether costs are integers."""
    scanned, integral = _assignment_cost(cost, maximize, mask)
    n, m = scanned.shape
    rows, cols = AtMost() if n > m else Fixed(), AtMost() if m > n else Fixed()
    problem = Problem(scanned, np.ones(n), np.ones(m), 1.0, rows, cols, "product")
    for name, penalty, used in (("row", rows, problem.row_used), ("column", cols, problem.col_used)):
        empty = np.flatnonzero(~used)
        if empty.size and penalty.box()[0] > 0:
            more = f" (and {empty.size - 1} more)" if empty.size > 1 else ""
            raise InfeasibleError(f"{name} {empty[0]}{more} has only forbidden cells, so there is no assignment")
    return problem, integral


def partial_assignment_problem(cost: Any, maximize: bool, mask: Any) -> tuple[Problem | None, bool]:
    """At most one unit a row and a column, and whether costs are integers; None without an allowed cell."""
    if cost.ndim == 2 and cost.size == 0:
        return None, False
    scanned, integral = _assignment_cost(cost, maximize, mask)
    n, m = scanned.shape
    problem = Problem(scanned, np.ones(n), np.ones(m), 1.0, AtMost(), AtMost(), "product")
    return (problem if scanned.lowest < np.inf else None), integral


def _assignment_cost(cost: Any, maximize: bool, mask: Any) -> tuple[DenseCost, bool]:
    array = as_array("cost", cost)
    integral = _integral("cost", array)
    small = integral and array.ndim == 2 and array.size > 0 and _largest(array) <= 2**24
    matrix = ingest_cost(array.astype(np.float32) if small else array)  # exact, and half of the memory
    n, m = matrix.shape
    if maximize:
        if np.isposinf(matrix.max()):
            i, j = np.argwhere(np.isposinf(matrix))[0]
            raise ValueError(f"cost[{i}, {j}] is inf; with maximize=True a forbidden pair has -inf")
        matrix = np.negative(matrix, out=matrix if integral else None)  # integers are a copy already
    if mask is not None:
        allowed = ingest_mask(mask, matrix)
        _scan(matrix, np.ones(n, bool), np.ones(m, bool))
        matrix = np.where(allowed, matrix, matrix.dtype.type(np.inf))
    return _scan(matrix, np.ones(n, bool), np.ones(m, bool)), integral


def _integral(name: str, array: NDArray[Any]) -> bool:
    """True for integers, which float64 must hold exactly."""
    if array.dtype.kind not in "biu":
        return False
    if array.size and array.dtype.itemsize == 8 and _largest(array) > LARGEST:
        i, j = np.argwhere((array > LARGEST) | (array < -LARGEST))[0]
        raise ValueError(
            f"{name}[{i}, {j}] is {array[i, j]}; beyond 2**50 sums of integers are not exact in float64, rescale them"
        )
    return True


def _largest(array: NDArray[Any]) -> int:
    """The largest integer in size."""
    return max(-int(array.min()), int(array.max()))


def _check_bounded(problem: Problem) -> None:
    """Where both sides let mass grow without bound, no cell may earn more than the sides charge."""
    least = problem.rows.least_potential() + problem.cols.least_potential()
    if not problem.cost.lowest < least:
        return
    earning = (problem.cost.matrix < least) & problem.row_used[:, None] & problem.col_used
    if earning.any():
        i, j = np.argwhere(earning)[0]
        raise ValueError(
            f"cost[{i}, {j}] is {problem.cost.matrix[i, j]}, less than the {least:g} that rows={problem.rows!r} and "
            f"cols={problem.cols!r} charge for more mass: the objective has no lower bound"
        )


def check_reference(reference: Any) -> None:
    """Refuse what is no reference."""
    if not isinstance(reference, str) or reference not in get_args(Reference):
        raise ValueError(f"reference is {reference!r}; choose from {', '.join(map(repr, get_args(Reference)))}")


def _check_epsilon(epsilon: Any) -> float:
    value = ingest_number("epsilon", epsilon)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"epsilon is {value}; it must be positive and finite")
    return value


def _weights(name: str, values: Any, size: int, what: str) -> Vector:
    if values is None:
        return np.full(size, 1.0 / size)
    weights = ingest_vector(name, values)
    if weights.size != size:
        raise ValueError(f"{name} has {weights.size} entries, cost has {size} {what}; they must agree")
    bad = np.flatnonzero(~(weights >= 0) | np.isinf(weights))
    if bad.size:
        raise ValueError(f"{name}[{bad[0]}] is {weights[bad[0]]}; weights must be finite and >= 0")
    total = weights.sum()
    if total == 0:
        raise ValueError(f"{name} sums to 0; at least one weight must be positive")
    if not np.isfinite(total):
        raise ValueError(f"{name} sums to {total}; divide the weights by a constant")
    return weights


def _scan(matrix: NDArray[np.floating], row_on: NDArray[np.bool_], col_on: NDArray[np.bool_]) -> DenseCost:
    """Range and forbidden cells, looking at a chunk of the matrix at a time, in the order it is stored."""
    if not matrix.flags.c_contiguous:
        return _scan_rows(matrix.T, col_on, row_on, transposed=True).transpose()
    return _scan_rows(matrix, row_on, col_on, transposed=False)


def _scan_rows(
    matrix: NDArray[np.floating], row_on: NDArray[np.bool_], col_on: NDArray[np.bool_], transposed: bool
) -> DenseCost:
    n, m = matrix.shape
    xp = library_of(matrix)
    lowest, highest, masked = np.inf, -np.inf, False
    row_reach, col_reach = np.zeros(n, bool), np.zeros(m, bool)
    for rows in row_chunks(matrix, CHUNK):
        block, on = widened(matrix[rows]), row_on[rows]
        low, high = float(block.min()), float(block.max())  # nan passes through both
        if math.isfinite(low) and math.isfinite(high):
            row_reach[rows] = True
            col_reach |= on.any()
        else:
            _refuse_entries(block, rows.start, transposed)
            masked = True
            allowed = xp.isfinite(block)
            row_reach[rows] = on_host((allowed & xp.asarray(col_on)).any(axis=1))
            col_reach |= on_host((allowed & xp.asarray(on)[:, None]).any(axis=0))
            low = float(xp.where(allowed, block, np.inf).min())
            high = float(xp.where(allowed, block, -np.inf).max())
        lowest, highest = min(lowest, low), max(highest, high)
    if not masked:
        return DenseCost(matrix, lowest, highest)
    return DenseCost(matrix, lowest, highest, row_reach, col_reach)


def _refuse_entries(block: NDArray[np.floating], first: int, transposed: bool) -> None:
    for wrong, advice in (
        (library_of(block).isnan(block), "costs must be numbers (+inf forbids a cell)"),
        (block == -np.inf, "costs must be > -inf"),
    ):
        if wrong.any():
            i, j = first_true(wrong)
            index = (j, first + i) if transposed else (first + i, j)
            raise ValueError(f"cost[{index[0]}, {index[1]}] is {block[i, j]}; {advice}")


def _check_range(cost: DenseCost, epsilon: float) -> None:
    if cost.lowest == np.inf:
        raise InfeasibleError("every cell of cost is forbidden; there is no plan")
    largest = max(abs(cost.lowest), abs(cost.highest))
    with np.errstate(over="ignore"):
        ratio = np.float64(largest) / epsilon
    if not np.isfinite(ratio) or not np.isfinite(1.0 / np.float64(epsilon)):
        raise ValueError(
            f"cost reaches {largest:g} and epsilon is {epsilon:g}; their ratio overflows, rescale one of them"
        )


def _check_reach(problem: Problem) -> None:
    """A hard side that wants mass where every cell is forbidden, or no usable cell at all."""
    if not problem.cost.masked:
        return
    for name, penalty, weights, used in (
        ("row", problem.rows, problem.a, problem.row_used),
        ("column", problem.cols, problem.b, problem.col_used),
    ):
        blocked = np.flatnonzero((weights > 0) & ~used)
        if blocked.size and penalty.hard and penalty.box()[0] > 0:
            i = blocked[0]
            raise InfeasibleError(
                f"{name} {i} has only forbidden cells but must carry mass (weight {weights[i]:g}, {penalty!r}); "
                f"allow a cell, set its weight to 0 or relax that side"
            )
    if not (problem.row_used.any() and problem.col_used.any()):
        raise InfeasibleError("every cell between a row and a column with weight is forbidden; there is no plan")


def _check_masses(problem: Problem, given: tuple[Any, Any], precision: str) -> Problem:
    """The two sides' ranges of total mass must meet; masses equal to rounding are made equal."""
    lo_a, hi_a = total_range(problem.rows, problem.a, problem.row_used)
    lo_b, hi_b = total_range(problem.cols, problem.b, problem.col_used)
    needed, most = max(lo_a, lo_b), min(hi_a, hi_b)
    if needed <= most:
        return problem
    weights = problem.a, problem.b
    if needed > most * (1 + masses.EXACT) and needed > most * (1 + masses.tolerance(given, weights, precision)):
        ranges = range_text(lo_a, hi_a), range_text(lo_b, hi_b)
        sums = float(problem.a.sum()), float(problem.b.sum())
        raise InfeasibleError(masses.collision(problem.rows, problem.cols, ranges, sums, False))
    factor = lo_a / hi_b if lo_a > hi_b else hi_a / lo_b
    return replace(problem, b=problem.b * factor, factor=factor)


def total_range(penalty: Penalty, weights: Vector, used: NDArray[np.bool_]) -> tuple[float, float]:
    """The least and the largest mass that a side allows."""
    lo, hi = penalty.box()
    total = float(weights[used].sum())
    return lo * total, math.inf if math.isinf(hi) else hi * total


def range_text(lo: float, hi: float) -> str:
    """One number or two."""
    return f"{lo:.12g}" if lo == hi else f"{lo:.12g} to {hi:.12g}"


def build_cross(cost: Any, a: Any, b: Any, epsilon: Any, rows: Any, cols: Any) -> Problem:
    """The problem of two measures in a divergence; messages call its cost cost_xy."""
    return _renamed("cost_xy", "", lambda: build(cost, a, b, epsilon, rows, cols, "product", None))


def build_self(name: str, cost: Any, weights: Vector, cross: Problem, rows: bool) -> Problem:
    """The problem of one of its measures against itself, with the penalty of that side on both."""
    size, penalty = cross.shape[0 if rows else 1], cross.rows if rows else cross.cols
    matrix = _renamed(name, "", lambda: ingest_cost(cost))
    if matrix.shape != (size, size):
        raise ValueError(
            f"{name} has shape {matrix.shape}; with cost_xy of shape {cross.shape} it must be {size, size}"
        )
    problem = _renamed(
        name, f"{name}: ", lambda: build_on(matrix, weights, weights, cross.epsilon, penalty, penalty, "product")
    )
    _check_symmetric(name, problem.cost)
    return problem


def _renamed(name: str, prefix: str, make: Callable[[], Made]) -> Made:
    """What `make` returns; its refusals speak of `name` where they would say cost."""
    try:
        return make()
    except (ValueError, TypeError) as error:
        text = str(error)
        raise type(error)(name + text[4:] if text.startswith("cost") else prefix + text) from None


def _check_symmetric(name: str, cost: DenseCost) -> None:
    """Tile by tile, so that nothing of the size of the matrix is allocated."""
    matrix, n = cost.matrix, cost.shape[0]
    step = math.isqrt(chunk_of(matrix, CHUNK)) // 2
    close = (1e-6 if is_single(matrix) else 1e-12) * max(abs(cost.lowest), abs(cost.highest))
    for i in range(0, n, step):
        for j in range(i, n, step):
            one, other = widened(matrix[i : i + step, j : j + step]), widened(matrix[j : j + step, i : i + step]).T
            with np.errstate(invalid="ignore"):  # inf - inf, which is nan
                difference = one - other
            if difference.max() <= close and difference.min() >= -close:
                continue
            wrong = ~((abs(difference) <= close) | (one == other))
            if wrong.any():
                k, m = first_true(wrong)
                raise ValueError(
                    f"{name}[{i + k}, {j + m}] is {one[k, m]} and {name}[{j + m}, {i + k}] is {other[k, m]}; "
                    f"a cost within one cloud must be symmetric"
                )
