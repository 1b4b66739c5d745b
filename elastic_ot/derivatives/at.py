"""Which kind of point a solution is, for its derivatives."""

from __future__ import annotations

from ..solvers.found import Found
from .cloud import CloudPoint, cloud_of
from .point import Point
from .split import SplitPoint


def point_at(solved: Found) -> Point:
    """Return the solution, for derivatives in the matrix, in the points, or in the rows of one process."""
    if not solved.problem.ranks.alone:
        return SplitPoint(solved)
    cloud = cloud_of(solved.problem)
    return Point(solved) if cloud is None else CloudPoint(solved, cloud)
