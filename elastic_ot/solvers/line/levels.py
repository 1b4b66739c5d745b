"""Coarser problems on the line, and which pairs of the finer one they leave to be looked at.

Neighbours are merged two by two. The staircase of a coarse optimum runs close to that of the finer one: within a cell
or two, measured along the staircase. So the pairs of the finer problem are those between the children of pairs that
lie within a few steps of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...problems.line import Array, power_costs
from ...problems.penalties import L2
from ...problems.penalty import Penalty
from .interior import Links
from .sorting import Indices, Staircase

FEW_POINTS = 40  # a side of so many or fewer is not merged
MOST_DOUBLINGS, MOST_HALVINGS = 60, 60  # in the search for potentials at which masses agree
STEPS_ASIDE = 3  # of a staircase, within which its pairs are kept


@dataclass(frozen=True, eq=False)
class Level:
    """Sorted points with positive weights, and the penalties of both sides."""

    x: Array
    y: Array
    a: Array
    b: Array
    rows: Penalty
    cols: Penalty
    exponent: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.x.size, self.y.size

    @property
    def amount(self) -> float:
        """The larger mass of the two sides."""
        return float(max(self.a.sum(), self.b.sum()))

    def balance(self, scale: float) -> float:
        """The t at which both sides ask for one mass, at potentials t of all rows and -t of all columns.

        What rows ask for falls in t, and what columns ask for rises; the search begins at potentials of this scale.
        """
        low, high = -scale, scale
        for _ in range(MOST_DOUBLINGS):
            if self._excess(low) >= 0:
                break
            low *= 2.0
        for _ in range(MOST_DOUBLINGS):
            if self._excess(high) <= 0:
                break
            high *= 2.0
        for _ in range(MOST_HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self._excess(middle) > 0 else (low, middle)
        return 0.5 * (low + high)

    def _excess(self, t: float) -> float:
        """What rows ask for and columns do not, at the potentials t and -t."""
        with np.errstate(over="ignore", invalid="ignore"):
            asked = [
                [float(end.sum()) for end in side.demand(np.full(weights.size, sign * t), weights)]
                for side, weights, sign in ((self.rows, self.a, 1.0), (self.cols, self.b, -1.0))
            ]
        (least_r, most_r), (least_c, most_c) = asked
        return least_r - most_c if least_r > most_c else min(most_r - least_c, 0.0)

    @property
    def smallest(self) -> bool:
        return max(self.shape) <= FEW_POINTS

    def costs(self, rows: Indices, cols: Indices) -> Array:
        """Those of pairs."""
        return power_costs(self.x[rows] - self.y[cols], self.exponent)

    def coarser(self) -> Level:
        """Half as many points on the sides that have many."""
        (x, a, rows), (y, b, cols) = (
            _merged(*side) for side in ((self.x, self.a, self.rows), (self.y, self.b, self.cols))
        )
        return Level(x, y, a, b, rows, cols, self.exponent)


def penalty_value(penalty: Penalty, r: Array, a: Array) -> float:
    """Phi of a marginal that a hard side allows."""
    return 0.0 if penalty.hard else float(penalty.phi(r, a).sum())


def _merged(points: Array, weights: Array, penalty: Penalty) -> tuple[Array, Array, Penalty]:
    if points.size <= FEW_POINTS:
        return points, weights, penalty
    starts = np.arange(0, points.size, 2)
    merged = np.add.reduceat(weights, starts)
    shares = np.add.reduceat(weights * (points - points[0]), starts) / merged
    middle = np.clip(points[0] + shares, points[starts], points[np.minimum(starts + 1, points.size - 1)])
    return middle, merged, replace(penalty, rho=0.5 * penalty.rho) if isinstance(penalty, L2) else penalty


def near(rows: Indices, cols: Indices) -> tuple[Indices, Indices]:
    """Pairs of a row and a column of steps of a staircase that are at most `STEPS_ASIDE` apart."""
    found = []
    for aside in range(-STEPS_ASIDE, STEPS_ASIDE + 1):
        start, stop = max(0, -aside), min(rows.size, rows.size - aside)
        found.append((rows[start:stop], cols[start + aside : stop + aside]))
    return np.concatenate([r for r, _ in found]), np.concatenate([c for _, c in found])


def children(coarse: Level, fine: Level, path: Staircase) -> tuple[Indices, Indices]:
    """The pairs of the finer level between the children of those near a staircase of the coarser one."""
    (n, m), found = fine.shape, []
    halved = [c < f for c, f in zip(coarse.shape, fine.shape, strict=True)]
    pairs = near(path.rows, path.cols)
    for i in range(1 + halved[0]):
        for j in range(1 + halved[1]):
            rows, cols = ((1 + h) * side + k for h, side, k in zip(halved, pairs, (i, j), strict=True))
            inside = (rows < n) & (cols < m)
            found.append((rows[inside], cols[inside]))
    return np.concatenate([r for r, _ in found]), np.concatenate([c for _, c in found])


def around(rows: Indices, cols: Indices, n: int, m: int) -> tuple[Indices, Indices]:
    """These pairs, and those with a neighbour of either side."""
    shifts = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    r, c = (side[:, None] + shifts[:, k] for k, side in enumerate((rows, cols)))
    inside = (r >= 0) & (r < n) & (c >= 0) & (c < m)
    return r[inside], c[inside]


def once(rows: Indices, cols: Indices, m: int) -> tuple[Indices, Indices]:
    """Every pair once, in order."""
    cells = np.unique(rows * m + cols)
    return cells // m, cells % m


def elimination(rows: Indices, cols: Indices, n: int, m: int) -> Indices:
    """The order in which rows and columns, these as n + j, are eliminated: each after the last of its partners.

    A row that has many columns comes after them, so that none of these is filled by another.
    """
    last = np.concatenate([np.arange(n), np.arange(m)])
    partner = np.zeros(n + m, np.int64)
    np.maximum.at(partner, rows, cols)
    np.maximum.at(partner, n + cols, rows)
    return np.argsort(last + partner, kind="stable")


def neighbours(x: Array, y: Array) -> tuple[Links, Array]:
    """Links from every place on the line to the next and back, and their costs.

    The potential of a place is phi = f of an x and -g of a y there, and the two links say that it changes by at most
    the distance.
    """
    places, node = np.unique(np.concatenate([x, y]), return_inverse=True)
    left, right, distances = np.arange(places.size - 1), np.arange(1, places.size), np.diff(places)
    ends = np.concatenate([left, right]), np.concatenate([right, left])
    sign = np.repeat([1.0, -1.0], [x.size, y.size])
    return Links(*ends, places.size, -1.0, node, sign), np.concatenate([distances, distances])
