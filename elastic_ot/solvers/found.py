"""What a solve has found, as passive data: plans, certificates and derivatives are made of it."""

from __future__ import annotations

from dataclasses import dataclass

from ..problems.penalty import Vector
from ..problems.problem import Problem
from ..results import one_line
from .status import Budget


@dataclass(frozen=True, eq=False)
class Found:
    """Potentials of a problem and the marginals of their plan, in NumPy and float64 whatever library they came from.

    They belong to the costs of `problem`, which may lack an offset.

    Attributes
    ----------
    problem : Problem
    f, g, row_marginal, col_marginal : ndarray
    budget : Budget or None
        The iterations that were run, if their number was fixed.
    """

    problem: Problem
    f: Vector
    g: Vector
    row_marginal: Vector
    col_marginal: Vector
    budget: Budget | None = None

    __repr__ = one_line
