"""The problem of a barycenter: K problems whose columns have one marginal, which is unknown; validated data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import as_numpy, ingest_cost, ingest_stack, ingest_vector
from ..cached import cached_property
from ..costs.base import is_cost
from ..costs.grid import Grid
from ..errors import InfeasibleError
from ..results import one_line
from . import masses
from .build import build_on, check_epsilon, check_sides, range_text, refuse_total, total_range, weights_of
from .penalties import Fixed, Free
from .penalty import Penalty, Vector
from .problem import Problem
from .refusals import BAD_WEIGHT

SAME_BACK = 1e-6  # relative difference of costs there and back that counts as rounding, of single precision too


@dataclass(frozen=True, eq=False)
class CommonProblem:
    """minimise over b and P_k >= 0   sum_k w_k [<C_k, P_k> + epsilon KL(P_k | a_k 1^T) + phi(P_k 1)],  P_k^T 1 = b.

    The dual maximises sum_k w_k [-phi*(-f_k) - epsilon (sum P_k - sum a_k 1^T)] subject to sum_k w_k g_k = 0, where
    P_k = a_k exp((f_k + g_k - C_k) / epsilon).

    Attributes
    ----------
    parts : tuple of Problem
        Problem k with weights 1 for the columns in use, so that its product reference is a_k 1^T.
    weights : ndarray, shape (K,)
        w, of sum 1.
    used : ndarray of bool, shape (m,)
        Columns that every measure reaches; the barycenter has no mass elsewhere.
    own : Problem or None
        The barycenter against itself, weights 1 on both sides, if it is to be debiased.
    """

    parts: tuple[Problem, ...]
    weights: Vector
    used: NDArray[np.bool_]
    own: Problem | None = None

    __repr__ = one_line

    @property
    def epsilon(self) -> float:
        return self.parts[0].epsilon

    @property
    def rows(self) -> Penalty:
        return self.parts[0].rows

    @cached_property
    def masses(self) -> Vector:
        """Of every measure."""
        return np.array([part.mass for part in self.parts])

    @cached_property
    def reference_mass(self) -> float:
        return float(self.weights @ np.array([part.reference_mass for part in self.parts]))

    @cached_property
    def offset_value(self) -> float:
        """What values lack because of the constants taken off the costs."""
        return float(self.weights @ np.array([part.offset_value for part in self.parts]))

    @property
    def span(self) -> float:
        """The range of the costs."""
        return max(part.cost.highest - part.cost.lowest for part in self.parts)

    def at(self, epsilon: float) -> CommonProblem:
        """The same problem at another epsilon; strengths rho are held."""
        own = None if self.own is None else self.own.at(epsilon)
        return replace(self, parts=tuple(part.at(epsilon) for part in self.parts), own=own)

    def transport(self, k: int, b: Vector) -> Problem:
        """The transport of measure k to a given b, with the product reference a_k b^T."""
        return replace(self.parts[k], b=b)

    def self_transport(self, b: Vector) -> Problem:
        """The transport of b to itself."""
        assert self.own is not None
        return replace(self.own, a=b, b=b)


class Given(NamedTuple):
    """What a caller has given, with the names that messages speak of."""

    costs: Any
    measures: Any
    weights: Any
    within: Any


def build_common(given: Given, epsilon: Any, rows: Any) -> CommonProblem:
    """The validated problem; ValueError and TypeError name the argument, the index and the value."""
    epsilon = check_epsilon(epsilon)
    check_sides(rows, Fixed())
    costs, count = _costs(given.costs)
    vectors, raw = _measures(given.measures, costs, count)
    if count == 1 and len(vectors) > 1:
        costs = costs * len(vectors)
    weights = _weights(given.weights, len(vectors))
    parts = _parts(costs, vectors, epsilon, rows)
    used = np.ones(parts[0].shape[1], bool)
    for part in parts:
        used &= part.col_used
    if not used.any():
        raise InfeasibleError("no point of the support is allowed for every measure; there is no barycenter")
    if not used.all():
        parts = _parts(costs, vectors, epsilon, rows, used.astype(np.float64))
    parts = _of_one_mass(parts, raw)
    own = None if given.within is False else _own(given, costs, epsilon, used)
    if own is not None and isinstance(rows, Fixed):
        own = own.levelled()
    return CommonProblem(_levelled(parts), weights, used, own)


def _costs(given: Any) -> tuple[list[Any], int]:
    """The costs, one or K of them, as `build_on` takes them and stored by rows; and how many were given."""
    if is_cost(given):
        if given._batch:
            raise ValueError(
                f"costs is a {type(given).__name__} of shape {given.shape}; pass a list, one for every measure"
            )
        return [given], 1
    if isinstance(given, list | tuple) and given and (is_cost(given[0]) or np.ndim(given[0]) == 2):
        found = []
        for k, cost in enumerate(given):
            try:
                found.append(cost if is_cost(cost) else _by_rows(ingest_cost(cost)))
            except (TypeError, ValueError) as error:
                raise type(error)(f"costs[{k}]: {error}") from None
        columns = [int(cost.shape[1]) for cost in found]
        for k, m in enumerate(columns):
            if m != columns[0]:
                raise ValueError(
                    f"costs[{k}] has {m} columns and costs[0] has {columns[0]}; the support of the barycenter is one, "
                    f"and its points are the columns of every cost"
                )
        return found, 0
    stack = ingest_stack("costs", given, 2)
    if stack.ndim == 2:
        return [stack], 1
    if stack.ndim != 3:
        raise ValueError(f"costs has shape {stack.shape}; it must be (n, m), or (K, n, m) with one for every measure")
    return list(stack), 0


def _by_rows(matrix: Any) -> Any:
    return matrix if matrix.flags.c_contiguous else matrix.copy(order="C")


def _measures(given: Any, costs: Sequence[Any], shared: int) -> tuple[list[Vector], list[Any]]:
    """The measures (n_k,), and as they came."""
    if given is None:
        if shared:
            raise ValueError("measures is None, and costs is one for all; pass the measures, shape (K, n)")
        raw: list[Any] = [np.full(cost.shape[0], 1.0 / cost.shape[0]) for cost in costs]
    elif isinstance(given, list | tuple):
        raw = list(given)
    else:
        array = as_numpy("measures", given)
        if array.ndim < 2:
            raise ValueError(f"measures has shape {array.shape}; it must be (K, n), one measure a row")
        raw = list(array)
    if not raw:
        raise ValueError("measures is empty; a barycenter needs at least one")
    if not shared and len(raw) != len(costs):
        raise ValueError(
            f"there are {len(raw)} measures and {len(costs)} costs; give one cost for every measure, or one for all"
        )
    found = []
    for k, values in enumerate(raw):
        cost, name = costs[0 if shared else k], f"measures[{k}]"
        vector = weights_of(name, _flat(k, values, cost), int(cost.shape[0]), "rows")
        refuse_total(name, float(vector.sum()))
        found.append(vector)
    return found, raw


def _flat(k: int, values: Any, cost: Any) -> Any:
    """A measure; one of a `Grid` may have its shape."""
    array = as_numpy(f"measures[{k}]", values)
    if array.ndim == 1:
        return array
    wanted = cost.shape_x if is_cost(cost) and isinstance(cost, Grid) else (int(cost.shape[0]),)
    if array.shape != wanted:
        raise ValueError(f"measures[{k}] has shape {array.shape}; with this cost it must be {wanted}")
    return array.reshape(-1)


def _weights(given: Any, count: int) -> Vector:
    if given is None:
        return np.full(count, 1.0 / count)
    weights = ingest_vector("weights", given)
    if weights.size != count:
        raise ValueError(f"weights has {weights.size} entries for {count} measures; give one for each")
    bad = np.flatnonzero(~(weights >= 0) | np.isinf(weights))
    if bad.size:
        raise ValueError(f"weights[{bad[0]}] is {weights[bad[0]]}; {BAD_WEIGHT}")
    if not 0 < weights.sum() < np.inf:
        raise ValueError(f"weights sum to {weights.sum()}; at least one must be positive, and their sum finite")
    found: Vector = weights / weights.sum()
    return found


def _parts(
    costs: Sequence[Any], vectors: Sequence[Vector], epsilon: float, rows: Penalty, b: Vector | None = None
) -> list[Problem]:
    """Problem k with the columns' weights b, 1 by default; a cost that all share is looked at once."""
    found: list[Problem] = []
    for k, (cost, a) in enumerate(zip(costs, vectors, strict=True)):
        ones = np.ones(int(cost.shape[1])) if b is None else b
        if k and cost is costs[0] and not found[0].masked:
            found.append(replace(found[0], a=a))
            continue
        try:
            part = build_on(cost, a, ones, epsilon, rows, Free(), "product")
        except ValueError as error:
            if k == 0 and all(other is cost for other in costs):
                raise
            raise type(error)(f"measure {k}: {error}") from None
        found.append(part)
    return [replace(part, cols=Fixed()) for part in found]


def _of_one_mass(parts: list[Problem], raw: Sequence[Any]) -> list[Problem]:
    """The masses that the measures allow must have one in common; those equal to rounding are made equal."""
    ranges = [total_range(part.rows, float(part.a[part.row_used].sum())) for part in parts]
    first, rows = parts[0], parts[0].rows
    lows, highs = np.array(ranges).T
    low, high = int(lows.argmax()), int(highs.argmin())
    if lows[low] <= highs[high]:
        return parts
    if not isinstance(rows, Fixed):
        raise InfeasibleError(
            f"measures[{low}] asks for a mass of {range_text(*ranges[low])} and measures[{high}] for "
            f"{range_text(*ranges[high])} (rows={rows!r}); a barycenter has one mass: rescale them or relax rows"
        )
    found = []
    for k, part in enumerate(parts):
        ratio = ranges[0][0] / ranges[k][0]
        given = (raw[0], raw[k]), (first.a, part.a)
        if not (
            math.isclose(ratio, 1.0, rel_tol=masses.SAME_MASS)
            or math.isclose(ratio, 1.0, rel_tol=float(masses.tolerance(*given)))
        ):
            raise InfeasibleError(
                f"measures[{k}] sums to {ranges[k][0]:.12g} and measures[0] to {ranges[0][0]:.12g}; a barycenter has "
                f"one mass: normalise the measures, or relax rows, rows=KL(rho)"
            )
        found.append(part if ratio == 1.0 else replace(part, a=part.a * ratio))
    return found


def _levelled(parts: list[Problem]) -> tuple[Problem, ...]:
    """Every `Problem.levelled`; a cost that all share stays one.

    `Fixed` rows alone hold the mass: others answer to a constant in all costs by another barycenter.
    """
    if not isinstance(parts[0].rows, Fixed):
        return tuple(parts)
    first = parts[0].levelled()
    shared = all(part.cost is parts[0].cost for part in parts)
    if not shared:
        return tuple(part.levelled() for part in parts)
    return tuple(replace(part, cost=first.cost, offset=first.offset) for part in parts)


def _own(given: Given, costs: Sequence[Any], epsilon: float, used: NDArray[np.bool_]) -> Problem:
    """The barycenter against itself; its cost is given, made by the cost of the measures, or that cost itself."""
    cost = given.within
    if cost is True:
        cost = _within(costs[0])
    elif not is_cost(cost):
        try:
            cost = _by_rows(ingest_cost(cost))
        except (TypeError, ValueError) as error:
            raise type(error)(f"debiased: {error}") from None
    m = int(costs[0].shape[1])
    if tuple(cost.shape) != (m, m):
        raise ValueError(f"debiased is a cost of shape {tuple(cost.shape)}; that within the support must be ({m}, {m})")
    _refuse_asymmetric(cost)
    ones = used.astype(np.float64)
    return replace(build_on(cost, ones, ones, epsilon, Free(), Free(), "product"), rows=Fixed(), cols=Fixed())


def _within(cost: Any) -> Any:
    found = cost.within() if is_cost(cost) else None
    if found is not None:
        return found[1]
    n, m = cost.shape
    if n == m and not is_cost(cost) and np.allclose(cost, cost.T, rtol=SAME_BACK):
        return cost
    raise ValueError(
        f"debiased=True needs the costs within the support, and costs ({n} x {m}) is no symmetric matrix of them; pass "
        f"debiased=matrix, or a PointCloud or Grid, which know them"
    )


def _refuse_asymmetric(cost: Any) -> None:
    if is_cost(cost):
        return
    if not np.allclose(cost, cost.T, rtol=SAME_BACK):
        i, j = np.unravel_index(int(np.abs(np.nan_to_num(cost - cost.T)).argmax()), cost.shape)
        raise ValueError(
            f"debiased[{i}, {j}] is {cost[i, j]} and debiased[{j}, {i}] is {cost[j, i]}; costs within the support must "
            f"be symmetric"
        )
