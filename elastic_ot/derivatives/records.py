"""Derivatives and directions, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import ingest_bar, ingest_number
from ..problems.penalty import Vector
from ..problems.problem import Problem
from ..results import one_line
from .sides import Step

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gradients:
    """Derivatives in the inputs of a solve, 0 for removed rows, columns and cells.

    Attributes
    ----------
    cost : ndarray, shape (n, m), or None
        Of CuPy if the cost lies on a device. None for a `PointCloud`, which has derivatives in its points. That of the
        optimal value, which is the plan, is None for every cost that is not stored.
    a, b : ndarray, shapes (n,) and (m,)
        With two `Fixed` sides the sums of a and b move together; gradients are those of the potentials' gauge.
    epsilon : float
        At held strengths rho, also where `Elastic` was asked for.
    rows, cols : float
        In the strength rho of the penalty; 0 where it has none.
    x, y : ndarray, shapes (n, d) and (m, d), or None
        In the points of a `PointCloud`. One given for both sides, `PointCloud(x)`, has the sum of the two.
    """

    cost: Matrix | None
    a: Vector
    b: Vector
    epsilon: float
    rows: float
    cols: float
    x: Matrix | None = None
    y: Matrix | None = None

    __repr__ = one_line

    @property
    def _matrix(self) -> Matrix:
        """That in a cost which is known to be stored."""
        assert self.cost is not None
        return self.cost


@dataclass(frozen=True, eq=False)
class Tangents:
    """Derivatives of a solution along a direction of its inputs, 0 for removed rows, columns and cells.

    Attributes
    ----------
    plan : ndarray, shape (n, m), or None
        Of CuPy if the cost lies on a device. None between points that have too many pairs for a matrix.
    f, g : ndarray, shapes (n,) and (m,)
    """

    plan: Matrix | None
    f: Vector
    g: Vector

    __repr__ = one_line


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction of the inputs; None is 0."""

    cost: Matrix | None = None
    a: Vector | None = None
    b: Vector | None = None
    epsilon: float = 0.0
    rows: float = 0.0
    cols: float = 0.0
    x: Matrix | None = None
    y: Matrix | None = None

    def turned(self, problem: Problem) -> Direction:
        """The direction of `Problem.by_rows`."""
        a, b = problem.turned(self.a, self.b)
        rows, cols = problem.turned(self.rows, self.cols)
        return Direction(problem.turned_matrix(self.cost), a, b, self.epsilon, rows, cols)

    def step(self, problem: Problem) -> Step:
        """What is not n x m, on the rows and columns in use."""
        a, b = (np.zeros(size) if x is None else x for x, size in zip((self.a, self.b), problem.shape, strict=True))
        a, b = np.where(problem.row_used, a, 0.0), np.where(problem.col_used, b, 0.0)
        return Step(a, b, self.epsilon, self.rows, self.cols)


def refuse_other_direction(between_points: bool, cost: Any, x: Any, y: Any) -> None:
    """Refuse a direction of points where the cost is a matrix, and one of a matrix where it lies between points."""
    if between_points and cost is not None:
        raise ValueError("cost is a direction of a matrix and the cost is a PointCloud; give x, y or both")
    for name, step in (("x", x), ("y", y)):
        if step is not None and not between_points:
            raise ValueError(f"{name} is a direction of points and the cost is a matrix; give the direction as cost")


def direction_of(
    problem: Problem,
    cost: Any,
    a: Any,
    b: Any,
    epsilon: Any,
    rows: Any,
    cols: Any,
    points: tuple[Any, Any] = (None, None),
) -> Direction:
    """The direction that a user gave; refuses wrong shapes, and changes of a strength that a penalty has not."""
    numbers = [
        0.0 if x is None else ingest_number(name, x)
        for name, x in (("epsilon", epsilon), ("rows", rows), ("cols", cols))
    ]
    for name, penalty, step in (("rows", problem.rows, numbers[1]), ("cols", problem.cols, numbers[2])):
        if step and not hasattr(penalty, "rho"):
            raise ValueError(f"{name} is {penalty!r}, which has no strength to change; its direction must be 0")
    shape, user = problem.shape, getattr(problem.cost, "user", None)
    sides, moved = [getattr(user, name, None) for name in ("x", "y")], []
    refuse_other_direction(sides[0] is not None, cost, *points)
    for name, step, side in zip(("x", "y"), points, sides, strict=True):
        moved.append(ingest_bar(name, step, () if side is None else side.shape))
    by_cost = ingest_bar("cost", cost, shape, like=problem.cost.memory)
    by_a, by_b = ingest_bar("a", a, shape[:1]), ingest_bar("b", b, shape[1:])
    return Direction(by_cost, by_a, by_b, numbers[0], numbers[1], numbers[2], moved[0], moved[1])
