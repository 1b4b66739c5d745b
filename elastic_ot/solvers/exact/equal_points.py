"""Equal points of a cloud as one, with their weights together: cells between copies are ties, of which there are many.

All linear penalties allow it: what is best for the sum of some weights can be split among them. A plan between the
points that are left is, in integers, handed to their copies one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...costs.ordered_points import between
from ...costs.point_cost import PointCost
from ...problems.penalty import Indices, Penalty, Vector
from ...problems.problem import Problem
from .mass_levels import MASS_BITS, side_levels
from .pricing import Exact

LARGEST = 2**61  # sum of masses that integers hold


@dataclass(frozen=True, eq=False)
class Copies:
    """Which of the distinct points of one side each point is; -1 for points that are not in use."""

    of: Indices
    points: NDArray[np.float64]
    weights: Vector

    @property
    def some(self) -> bool:
        return len(self.points) < self.of.size

    def members(self) -> Indices:
        """The points in use, those that are equal together."""
        order = np.argsort(self.of, kind="stable")
        return order[np.searchsorted(self.of[order], 0) :]

    def spread(self, potential: Vector) -> Vector:
        return np.where(self.of < 0, -np.inf, potential[self.of])

    def all_of(self, which: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.flatnonzero(np.isin(self.of, which))


@dataclass(frozen=True, eq=False)
class Merged:
    """A problem between distinct points, and the way back to the one it was made of."""

    whole: Problem
    problem: Problem
    rows: Copies
    cols: Copies

    def expanded(self, found: Exact) -> Exact:
        """The solution of the whole problem."""
        digits = MASS_BITS - int(np.frexp(found.masses.sum())[1])  # masses are integers times 2^-digits
        amounts = np.rint(np.ldexp(found.masses, digits)).astype(np.int64)
        pieces = found.rows.astype(np.int64), found.cols.astype(np.int64), amounts
        rows, cols, amounts = _handed_out(*pieces, self.rows, self.whole.rows, self.whole.a, digits)
        cols, rows, amounts = _handed_out(cols, rows, amounts, self.cols, self.whole.cols, self.whole.b, digits)
        return replace(
            found,
            rows=rows.astype(np.int32),
            cols=cols.astype(np.int32),
            masses=np.ldexp(amounts.astype(np.float64), -digits),
            u=self.rows.spread(found.u),
            v=self.cols.spread(found.v),
            blocked=self.rows.all_of(found.blocked),
            blocked_cols=self.cols.all_of(found.blocked_cols),
        )


def merged(problem: Problem, cost: PointCost) -> Merged | None:
    """The problem between distinct points; None if all points are distinct and in use."""
    x, y = cost.points
    rows, cols = _copies(x, problem.a, problem.row_used), _copies(y, problem.b, problem.col_used)
    if not (rows.some or cols.some):
        return None
    small = replace(
        problem, cost=between(cost, rows.points, cols.points, ordered=False), a=rows.weights, b=cols.weights
    )
    return Merged(problem, small, rows, cols)


def _copies(points: NDArray[np.float64], weights: Vector, used: NDArray[np.bool_]) -> Copies:
    of = np.full(weights.size, -1)
    distinct, places = np.unique(points[used] + 0.0, axis=0, return_inverse=True)  # -0 is 0
    of[used] = places.reshape(-1)  # NumPy 2.0.0 returns a column
    return Copies(of, distinct, np.bincount(of[used], weights[used], len(distinct)).astype(np.float64, copy=False))


def _handed_out(
    lines: Indices,
    others: Indices,
    amounts: NDArray[np.int64],
    copies: Copies,
    penalty: Penalty,
    weights: Vector,
    digits: int,
) -> tuple[Indices, Indices, NDArray[np.int64]]:
    """Cells of distinct lines as cells of their copies."""
    order = np.argsort(lines, kind="stable")
    lines, others, amounts = lines[order], others[order], amounts[order]
    members = copies.members()
    group = copies.of[members]
    total = np.zeros(copies.weights.size, np.int64)
    np.add.at(total, lines, amounts)
    share = _shares(total, group, penalty, weights[members], copies.weights, digits)
    cell_ends, share_ends = np.cumsum(amounts), np.cumsum(share)
    ends = np.union1d(cell_ends, share_ends)
    ends = ends[ends > 0]
    cell, member = np.searchsorted(cell_ends, ends), np.searchsorted(share_ends, ends)
    return members[member], others[cell], np.diff(ends, prepend=0)


def _shares(
    total: NDArray[np.int64], group: Indices, penalty: Penalty, weights: Vector, together: Vector, digits: int
) -> NDArray[np.int64]:
    """What each copy takes of what all of them take: as much as its penalty may ask for, the first ones most."""
    most = float(total.sum()) + 1.0
    with np.errstate(over="ignore"):
        levels, levels_together = (
            np.minimum(np.ldexp(side_levels(penalty, w), digits), most) for w in (weights, together)
        )
    upper = total >= levels_together[1] * (1.0 - 2.0**-40)
    least, room = (np.where(upper[group], levels[k], levels[k + 1]) for k in (1, 0))
    first = np.searchsorted(group, np.arange(total.size))
    base = np.rint(least).astype(np.int64)
    spare = np.rint(np.minimum(room - least, most)).astype(np.int64)
    left = np.maximum(total - np.add.reduceat(base, first), 0)
    taken = np.where(_before(spare.astype(np.float64), first, group) < LARGEST, _before(spare, first, group), LARGEST)
    ends = np.cumsum(base + np.clip(left[group] - taken.astype(np.int64), 0, spare))
    starts = np.append(0, ends)[first][group]
    whole = np.minimum(ends - starts, total[group])
    last = np.append(first[1:], group.size) - 1
    whole[last] = total
    share = np.diff(whole, prepend=0)
    share[first] = whole[first]
    return np.asarray(share)


def _before(x: NDArray[Any], first: Indices, group: Indices) -> NDArray[Any]:
    """Sums of what stands before in the same group; of integers, modulo 2**64."""
    sums = np.cumsum(x) - x
    return np.asarray(sums - sums[first][group])
