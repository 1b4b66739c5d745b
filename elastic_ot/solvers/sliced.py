"""Sliced transport: one-dimensional problems of projections, and what their plans cost in full space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problems.line import Array, LineProblem
from ..results import one_line
from .line import Indices, line_plans, line_values

CHUNK_NUMBERS = 1 << 20  # of projections that are sorted together
ASCENTS = 8  # directions, the best ones, that the search for the largest value starts from
ASCENT_STEPS = 200
ASCENT_GAIN = 1e-9  # relative, below which a step is none
SHORTEST_STEP = 2.0**20  # weight of the old direction in a step, beyond which there is none


@dataclass(frozen=True, eq=False)
class SlicedProblem:
    """Points (n, d) and (m, d) with weights as those of a `LineProblem`, directions of length 1 in columns (d, k)."""

    x: Array
    y: Array
    a: Array | None
    b: Array | None
    exponent: float
    directions: Array

    __repr__ = one_line

    def on(self, directions: Array) -> SlicedProblem:
        """The problem with other directions."""
        return replace(self, directions=directions)

    def line(self) -> LineProblem:
        """The problems of all projections, as many problems on the line."""
        x, y = (self.directions.T @ z.T for z in (self.x, self.y))
        return LineProblem(x, y, self.a, self.b, self.exponent, (x.shape[0],))

    def chunks(self, numbers: int) -> Iterator[tuple[slice, SlicedProblem]]:
        """Some directions at a time, each of which takes so many numbers."""
        step, count = max(1, CHUNK_NUMBERS // numbers), self.directions.shape[1]
        for first in range(0, count, step):
            here = slice(first, min(first + step, count))
            yield here, self.on(self.directions[:, here])

    @property
    def size(self) -> int:
        """Entries of a plan, at most."""
        return len(self.x) + len(self.y)

    def lifted_costs(self, rows: Indices, cols: Indices) -> tuple[Array, Array]:
        """The costs of pairs in full space, and the differences x - y."""
        differences = self.x[rows] - self.y[cols]
        squares = np.einsum("...d,...d->...", differences, differences)
        return squares if self.exponent == 2.0 else squares ** (0.5 * self.exponent), differences


def sliced_values(problem: SlicedProblem) -> Array:
    """The optimal value of every projection, shape (k,)."""
    out = np.empty(problem.directions.shape[1])
    for here, some in problem.chunks(problem.size):
        out[here] = line_values(some.line())
    return out


def lifted_values(problem: SlicedProblem) -> tuple[Array, Array]:
    """The optimal value of every projection, and what its plan costs in full space, shapes (k,)."""
    out = np.empty((2, problem.directions.shape[1]))
    for here, some in problem.chunks(problem.size * problem.x.shape[1]):
        line = some.line()
        rows, cols, mass, differences = line_plans(line)
        out[0, here] = (mass * line.costs(differences)).sum(axis=-1)
        out[1, here] = (mass * some.lifted_costs(rows, cols)[0]).sum(axis=-1)
    return out[0], out[1]


def lifted_plan(problem: SlicedProblem) -> tuple[Indices, Indices, Array]:
    """The average over directions of the plans of projections, as entries in the order of rows and columns."""
    m = problem.y.shape[0]
    parts: list[tuple[Any, Any]] = []
    for _, some in problem.chunks(problem.size):
        rows, cols, mass, _ = line_plans(some.line())
        here = mass > 0
        cells, place = np.unique((rows * m + cols)[here], return_inverse=True)
        parts.append((cells, np.bincount(place.reshape(-1), mass[here], cells.size)))
    every, place = np.unique(np.concatenate([c for c, _ in parts]), return_inverse=True)
    total = np.bincount(place.reshape(-1), np.concatenate([w for _, w in parts]), every.size)
    return every // m, every % m, total / problem.directions.shape[1]


def sliced_slopes(problem: SlicedProblem) -> tuple[Array, Array]:
    """The derivatives of the mean value over directions in the points."""
    out = np.zeros_like(problem.x), np.zeros_like(problem.y)
    for _, some in problem.chunks(problem.size):
        pulls = _pulls(some)
        for total, pull, sign in zip(out, pulls, (1.0, -1.0), strict=True):
            total += (sign / problem.directions.shape[1]) * (pull.T @ some.directions.T)
    return out


def lifted_slopes(problem: SlicedProblem, rows: Indices, cols: Indices, mass: Array) -> tuple[Array, Array]:
    """The derivatives of the cost of a plan in full space in the points, the plan held."""
    costs, differences = problem.lifted_costs(rows, cols)
    p = problem.exponent
    if p != 2.0:  # p |x - y|^(p - 2) = p cost^(1 - 2 / p); 0 where points meet
        with np.errstate(divide="ignore"):
            differences = differences * np.where(costs > 0, costs ** (1.0 - 2.0 / p), 0.0)[:, None]
    pulls = p * mass[:, None] * differences
    out = np.zeros_like(problem.x), np.zeros_like(problem.y)
    np.add.at(out[0], rows, pulls)
    np.subtract.at(out[1], cols, pulls)
    return out


def ascend(problem: SlicedProblem, values: Array) -> tuple[Array, float]:
    """A direction (d,) of a locally largest value, and that value: ascents from the best directions.

    A step goes to the direction of the gradient in the direction, as in a power iteration, mixed with the old one until
    the value grows.
    """
    best = problem.directions[:, np.argsort(-values, kind="stable")[:ASCENTS]]
    between = (_mean(problem.x, problem.a) - _mean(problem.y, problem.b))[:, None]
    starts = np.hstack([best, between / (np.linalg.norm(between) or 1.0)])
    theta = starts[:, np.linalg.norm(starts, axis=0) > 0]
    reached, keep = sliced_values(problem.on(theta)), np.zeros(theta.shape[1])
    for _ in range(ASCENT_STEPS):
        going = np.flatnonzero(keep < SHORTEST_STEP)
        if not going.size:
            break
        old = theta[:, going]
        slope = _direction_slopes(problem.on(old))
        sizes = np.linalg.norm(slope, axis=0)
        step = slope + keep[going] * sizes * old
        lengths = np.linalg.norm(step, axis=0)
        new = np.where(lengths > 0, step / np.where(lengths > 0, lengths, 1.0), old)
        found = sliced_values(problem.on(new))
        better = found > reached[going] * (1.0 + ASCENT_GAIN)
        won, lost = going[better], going[~better]
        theta[:, won], reached[won] = new[:, better], found[better]
        keep[won], keep[lost] = 0.5 * keep[won], 2.0 * keep[lost] + 1.0
    top = int(np.argmax(reached))
    return theta[:, top], float(reached[top])


def _direction_slopes(problem: SlicedProblem) -> Array:
    """The derivatives of the values in their directions, shape (d, k)."""
    out = np.empty_like(problem.directions)
    for here, some in problem.chunks(problem.size):
        pulls = _pulls(some)
        out[:, here] = problem.x.T @ pulls[0].T - problem.y.T @ pulls[1].T
    return out


def _pulls(problem: SlicedProblem) -> tuple[Array, Array]:
    """Sums of mass times slope of the cost over the entries of each row and each column, shapes (k, n) and (k, m)."""
    line = problem.line()
    rows, cols, mass, differences = line_plans(line)
    pulls, count = mass * line.slopes(differences), rows.shape[0]
    out: list[Any] = []
    for places, size in ((rows, problem.x.shape[0]), (cols, problem.y.shape[0])):
        flat = (places + size * np.arange(count)[:, None]).reshape(-1)
        out.append(np.bincount(flat, pulls.reshape(-1), count * size).reshape(count, size))
    return out[0], out[1]


def _mean(points: Array, weights: Array | None) -> Any:
    return np.average(points, axis=0, weights=weights)


def orthonormal_directions(d: int, count: int, rng: np.random.Generator) -> Array:
    """Uniform directions (d, count) in groups of d that are orthonormal: their mean varies less."""
    groups: list[NDArray[np.float64]] = []
    for _ in range(-(-count // d)):
        q, r = np.linalg.qr(rng.standard_normal((d, d)))
        groups.append(q * np.where(np.diagonal(r) < 0, -1.0, 1.0))
    return np.hstack(groups)[:, :count]


def lower_bound(values: Array, directions: Array, exponent: float) -> float:
    """A lower bound on transport with the cost |x - y|^p from values of projections.

    No projection is longer than its vector, so each value is one. And the mean of |<theta, v>|^p is at most
    top^(min(p, 2) / 2) |v|^p, where top is the largest eigenvalue of the mean of theta theta^T: 1/d for orthonormal
    bases. (For p <= 2 by Jensen, for p > 2 because |<theta, v>| <= |v|.)
    """
    d, count = directions.shape
    gram = directions @ directions.T if d <= count else directions.T @ directions
    top = min(float(np.linalg.eigvalsh(gram / count)[-1]), 1.0)
    mean: float = values.mean() / top ** (0.5 * min(exponent, 2.0))
    return float(max(values.max(), mean))
