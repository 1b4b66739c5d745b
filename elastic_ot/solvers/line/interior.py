"""A primal-dual interior-point method for relaxed transport on the line, on links between few nodes.

A node has a potential z, and is the place of one point or of several: the potentials of these are z, or -z. A link
between the nodes u and v allows z_u + z_v <= C, or z_u - z_v <= C, and carries a mass P >= 0. The method solves

    P s = target,    s = C - z_u -+ z_v,    what links bring to a node = the marginals of its points,

with marginals as the sides say (`sides`), for a target that falls to 0, by Newton's method with Mehrotra's predictor
and corrector. Without P and s a step is a symmetric system in z: the graph of the links with weights P / s, and the
slopes of the sides on the diagonal. With the nodes in an order in which links are short the factor stays near the
diagonal, so a step takes linear time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...backends import load_line
from ...problems.line import Array
from .sides import Side, longest_step
from .sorting import Indices

MOST_STEPS = 150
NEAR_THE_EDGE = 0.99  # of the longest step
LEAST_CENTRING = 1e-2  # of the mean product: where errors fall slowly, products may not fall far ahead of them
STALLED_STEPS = 40  # without a better sum of gap and errors


@dataclass(frozen=True, eq=False)
class Links:
    """Links between the nodes u and v, shape (k,), of `size` nodes.

    Attributes
    ----------
    sign : float
        Of v in the sum that a link bounds.
    node : ndarray of int, shape (n + m,), or None
        The nodes of the points, rows first; None where every point is one.
    point_sign : ndarray, shape (n + m,), or None
        How the potentials of points follow from those of nodes.
    """

    u: Indices
    v: Indices
    size: int
    sign: float = 1.0
    node: Indices | None = None
    point_sign: Array | None = None

    def reach(self, z: Array) -> Array:
        """What the links bound: the sum of the potentials of the ends, or their difference."""
        return z[self.u] + self.sign * z[self.v]

    def brought(self, masses: Array) -> Array:
        """What the links bring to every node."""
        return _sums(self.u, masses, self.size) + self.sign * _sums(self.v, masses, self.size)

    def degrees(self, weights: Array) -> Array:
        """The sum of the weights at every node."""
        return _sums(self.u, weights, self.size) + _sums(self.v, weights, self.size)

    def at_points(self, z: Array) -> Array:
        """The potentials of the points."""
        return z if self.node is None or self.point_sign is None else self.point_sign * z[self.node]

    def at_nodes(self, values: Array) -> Array:
        """Masses of points, or their changes, at the nodes."""
        if self.node is None or self.point_sign is None:
            return values
        return _sums(self.node, self.point_sign * values, self.size)

    def slopes(self, slopes: Array) -> Array:
        """Slopes of points at the nodes: a sign goes in twice."""
        return slopes if self.node is None else _sums(self.node, slopes, self.size)


def _sums(places: Indices, values: Array, size: int) -> Array:
    sums: Array = np.bincount(places, values, size).astype(np.float64, copy=False)
    return sums


class Envelope:
    """Where the entries of the symmetric matrix of links lie: of every row from its first entry to the diagonal."""

    def __init__(self, links: Links, order: Indices) -> None:
        self.place = np.empty(links.size, np.int64)
        self.place[order] = np.arange(links.size)
        ends = self.place[links.u], self.place[links.v]
        later, earlier = np.maximum(*ends), np.minimum(*ends)
        self.first = np.arange(links.size)
        np.minimum.at(self.first, later, earlier)
        self.start = np.concatenate([[0], np.cumsum(np.arange(links.size) - self.first + 1)])
        self.diagonal = (self.start[1:] - 1)[self.place]
        self.entries = self.start[later] + earlier - self.first[later]
        self.sign = links.sign
        self._kernels = load_line()

    def factor(self, weights: Array, diagonal: Array) -> Array:
        """The factor of the matrix with these weights of the links, and this diagonal."""
        values = self.sign * _sums(self.entries, weights, self.start[-1])
        values[self.diagonal] = diagonal
        self._kernels.factorise(values, self.first, self.start)
        return values

    def solve(self, factor: Array, right: Array) -> Array:
        """The solution, by nodes."""
        x = np.empty_like(right)
        x[self.place] = right
        self._kernels.substitute(factor, self.first, self.start, x)
        return np.asarray(x[self.place])


@dataclass(frozen=True, eq=False)
class Interior:
    """Potentials and marginals of the points."""

    f: Array
    g: Array
    r: Array
    c: Array


def interior_point(
    links: Links,
    costs: Array,
    sides: Callable[[Array], tuple[Side, Side]],
    order: Indices,
    z: Array,
    width: float,
    mass: float,
    enough: float,
) -> Interior:
    """Solve on the links until the gap and all errors are below `enough` together, or fall no more.

    Parameters
    ----------
    links : Links
    costs : ndarray, shape (k,)
    sides : callable
        The two sides, from the potentials of the points to begin with.
    order : ndarray of int, shape (nodes,)
        The order of elimination.
    z : ndarray, shape (nodes,)
        Where to begin.
    width : float
        How far off these may be: the least slack at the start.
    mass : float
        About how much is transported.
    enough : float
    """
    envelope = Envelope(links, order)
    s = np.maximum(costs - links.reach(z), width)
    p = width * mass / links.size / s
    points = links.at_points(z)
    left, right = sides(points)
    n = left.r.size
    best, best_error, since = Interior(points[:n], points[n:], left.r, right.r), np.inf, 0
    for step in range(MOST_STEPS + 1):
        points = links.at_points(z)
        left.refresh(points[:n])
        right.refresh(points[n:])
        missing = costs - links.reach(z) - s
        short = links.at_nodes(np.concatenate([left.r, right.r])) - links.brought(p)
        gap = float((p * s).sum()) + left.products() + right.products() + left.error() + right.error()
        error = gap + float((p * np.abs(missing)).sum()) + float((np.abs(short) * (np.abs(z) + width)).sum())
        if not np.isfinite(error):
            break
        since = 0 if error < best_error else since + 1
        if since == 0:
            best, best_error = Interior(points[:n], points[n:], left.r, right.r), error
        if error <= enough or step == MOST_STEPS or since > STALLED_STEPS:
            break
        weights = p / s
        slopes = links.slopes(np.concatenate([left.slope, right.slope]))
        factor = envelope.factor(weights, links.degrees(weights) + slopes)
        aimed, corrected, change = 0.0, False, p
        for _ in range(2):
            aim = aimed - p * s - (change if corrected else 0.0)
            base = (aim - p * missing) / s
            shifts = left.shift(aimed, corrected), right.shift(aimed, corrected)
            moved = links.at_nodes(np.concatenate(shifts)) - links.brought(base)
            dz = envelope.solve(factor, short + moved)
            pull, change_f = links.reach(dz), links.at_points(dz)
            ds, dp = missing - pull, base + weights * pull
            of_sides = left.move(change_f[:n], shifts[0]), right.move(change_f[n:], shifts[1])
            room = min(longest_step(p, dp), longest_step(s, ds), *of_sides)
            if not corrected:
                products = max(p.size + left.count + right.count, 1)
                aimed = max((1.0 - room) ** 3, LEAST_CENTRING) * gap / products
                corrected, change = True, dp * ds
        room = 1.0 if room >= 1.0 else NEAR_THE_EDGE * room
        z, p, s = z + room * dz, p + room * dp, s + room * ds
        left.advance(room)
        right.advance(room)
    return best
