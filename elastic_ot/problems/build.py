"""The problem, validated: the one place where input is refused, each mistake with its own message."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import ingest_cost, ingest_number, ingest_vector
from ..costs.base import Cost, is_cost
from ..costs.blocks import checked_cost
from ..costs.scan import known_cost
from ..errors import InfeasibleError
from . import masses
from .penalty import Penalty, Vector
from .problem import Problem
from .refusals import BAD_WEIGHT, refuse_empty, refuse_product, refuse_ratio, refuse_unreached
from .terms import Reference


def build(
    cost: Any, a: Any, b: Any, epsilon: Any, rows: Any, cols: Any, reference: Any, mask: Any, precision: str = ""
) -> Problem:
    """The validated problem; ValueError and TypeError name the argument, the index and the value.

    `precision` is a dtype that weights had before they were converted, as for `masses.tolerance`.
    """
    epsilon = check_epsilon(epsilon)
    check_sides(rows, cols)
    check_reference(reference)
    if is_cost(cost):
        return build_on(cost, a, b, epsilon, rows, cols, reference, mask, precision)
    return build_on(ingest_cost(cost), a, b, epsilon, rows, cols, reference, mask, precision)


def build_on(
    given: NDArray[np.floating] | Cost,
    a: Any,
    b: Any,
    epsilon: float,
    rows: Penalty,
    cols: Penalty,
    reference: Reference,
    mask: Any = None,
    precision: str = "",
) -> Problem:
    """Return the validated problem on a matrix as `ingest_cost` gives it, or on a user's cost."""
    n, m = checked_cost(given)[0] if is_cost(given) else given.shape
    weights_a, weights_b = weights_of("a", a, n, "rows"), weights_of("b", b, m, "columns")
    refuse_total("a", float(weights_a.sum()))
    refuse_total("b", float(weights_b.sum()))
    scanned = known_cost(given, mask, weights_a > 0, weights_b > 0)
    problem = Problem(scanned, weights_a, weights_b, epsilon, rows.at(epsilon), cols.at(epsilon), reference)
    return checked(problem, (a, b), precision)


def checked(problem: Problem, given: tuple[Any, Any], precision: str = "") -> Problem:
    """Return the problem with masses that agree; refuse one without a plan, or whose numbers overflow."""
    cost = problem.cost
    if cost.lowest == np.inf:
        raise InfeasibleError("every cell of cost is forbidden; there is no plan")
    refuse_ratio(cost.largest, problem.epsilon)
    with problem.ranks.noting():
        _check_reach(problem)
    if not (problem.ranks.any(problem.row_used.any()) and problem.col_used.any()):
        refuse_empty()
    sums = problem.mass, float(problem.b.sum())
    if problem.reference == "product" and math.isinf(sums[0] * sums[1]):
        refuse_product(*sums)
    return _check_masses(problem, given, precision)


def check_sides(rows: Any, cols: Any) -> None:
    """Refuse what is no penalty."""
    for name, penalty in (("rows", rows), ("cols", cols)):
        if not isinstance(penalty, Penalty):
            raise TypeError(f"{name} must be a penalty such as Fixed() or KL(1.0), got {penalty!r}")


def check_reference(reference: Any) -> None:
    """Refuse what is no reference."""
    if not isinstance(reference, str) or reference not in get_args(Reference):
        raise ValueError(f"reference is {reference!r}; choose from {', '.join(map(repr, get_args(Reference)))}")


def check_epsilon(epsilon: Any) -> float:
    """Return it as a number, refused if it is not positive and finite."""
    value = ingest_number("epsilon", epsilon)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"epsilon is {value}; it must be positive and finite")
    return value


def weights_of(name: str, values: Any, size: int, what: str, count: int | None = None) -> Vector:
    """Return weights, one over the `count` of all by default; refuse wrong numbers, each by its index."""
    if values is None:
        return np.full(size, 1.0 / (size if count is None else count))
    weights = ingest_vector(name, values)
    if weights.size != size:
        raise ValueError(f"{name} has {weights.size} entries, cost has {size} {what}; they must agree")
    bad = np.flatnonzero(~(weights >= 0) | np.isinf(weights))
    if bad.size:
        raise ValueError(f"{name}[{bad[0]}] is {weights[bad[0]]}; {BAD_WEIGHT}")
    return weights


def refuse_total(name: str, total: float) -> None:
    """Refuse weights without mass, or whose sum overflows."""
    if total == 0:
        raise ValueError(f"{name} sums to 0; at least one weight must be positive")
    if not np.isfinite(total):
        raise ValueError(f"{name} sums to {total}; divide the weights by a constant")


def _check_reach(problem: Problem) -> None:
    """A hard side that wants mass where every cell is forbidden."""
    if not problem.cost.masked:
        return
    for name, penalty, weights, used in (
        ("row", problem.rows, problem.a, problem.row_used),
        ("column", problem.cols, problem.b, problem.col_used),
    ):
        blocked = np.flatnonzero((weights > 0) & ~used)
        if blocked.size and penalty.hard and penalty.box()[0] > 0:
            refuse_unreached(name, int(blocked[0]), weights[blocked[0]], penalty)


def _check_masses(problem: Problem, given: tuple[Any, Any], precision: str) -> Problem:
    """The two sides' ranges of total mass must meet; masses equal to rounding are made equal."""
    ranks = problem.ranks
    lo_a, hi_a = total_range(problem.rows, ranks.sum(problem.a[problem.row_used]))
    lo_b, hi_b = total_range(problem.cols, float(problem.b[problem.col_used].sum()))
    needed, most = max(lo_a, lo_b), min(hi_a, hi_b)
    if needed <= most:
        return problem
    weights = problem.a, problem.b
    if needed > most * (1 + masses.SAME_MASS) and needed > most * (
        1 + masses.tolerance(given, weights, precision, ranks)
    ):
        ranges = range_text(lo_a, hi_a), range_text(lo_b, hi_b)
        sums = problem.mass, float(problem.b.sum())
        raise InfeasibleError(masses.collision(problem.rows, problem.cols, ranges, sums, False))
    factor = lo_a / hi_b if lo_a > hi_b else hi_a / lo_b
    return replace(problem, b=problem.b * factor, factor=factor)


def total_range(penalty: Penalty, total: float) -> tuple[float, float]:
    """The least and the largest mass that a side allows, whose used weights have this total."""
    lo, hi = penalty.box()
    return lo * total, math.inf if math.isinf(hi) else hi * total


def range_text(lo: float, hi: float) -> str:
    """One number or two."""
    return f"{lo:.12g}" if lo == hi else f"{lo:.12g} to {hi:.12g}"
