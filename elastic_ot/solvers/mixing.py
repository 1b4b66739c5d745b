"""A guess whether sweeps converge fast at a small epsilon, from a few entries of the cost.

A sweep damps what couples rows and columns badly. Two things make it slow. One is rows that share their columns with
too few others: at epsilon they have hardly more than one partner each. The other is geometry, rows and columns that lie
near each other or far apart: it shows at a much larger epsilon already, in a few rows and columns of it. Where neither
is seen, as with costs of independent entries, of many factors, or with few very large ones, sweeps at a small epsilon
may take no more of them than at a large one. The guess costs about as much as one sweep over 300 rows and columns, and
what it allows is measured then.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import on_host
from ..arrays.half import widened
from ..distributed.ranks import ALONE
from ..problems.penalty import Indices, Vector
from ..problems.problem import Problem
from .annealing import FIRST_LEVEL

COUNTED, LINES = 16, 64  # whose partners are counted; rows and columns of the small problem
PARTNERS = 5.0  # a row, below which the plan falls apart; harmonic mean
CONTRACTION = 0.012  # of the residual by two sweeps of the small problem, above which there is geometry; measured


def seems_well_mixed(problem: Problem) -> bool:
    """True if rows have many partners at the problem's epsilon, and no geometry is seen at a large one."""
    rows, cols = np.flatnonzero(problem.row_used), np.flatnonzero(problem.col_used)
    if problem.masked or min(problem.ranks.totals(rows.size)[0], cols.size) < LINES:
        return False
    return _partners(problem, rows) >= PARTNERS and _contraction(problem, rows, cols) <= CONTRACTION


def _partners(problem: Problem, rows: Indices) -> float:
    """Harmonic mean over the rows of how many columns share the mass of each: (sum p)^2 / sum p^2, all potentials 0."""
    costs = problem.ranks.spread(rows, COUNTED, problem.b.size, lambda which: _costs(problem, which))
    share = problem.b * _gibbs(costs, problem.epsilon)
    return float(1.0 / np.mean((share**2).sum(axis=1) / share.sum(axis=1) ** 2))


def _contraction(problem: Problem, rows: Indices, cols: Indices) -> float:
    """By what two sweeps multiply the residual of some rows and columns, at the epsilon of the first level."""
    cols, ranks = ALONE.spread(cols, LINES, 1, lambda which: which), problem.ranks
    epsilon = FIRST_LEVEL * (problem.cost.highest - problem.cost.lowest)
    kernel = _gibbs(ranks.spread(rows, LINES, LINES, lambda which: _costs(problem, which)[:, cols]), epsilon)
    weights = ranks.spread(rows, LINES, 1, lambda which: problem.a[which, None])[:, 0]
    a, b = (side / side.sum() for side in (weights, problem.b[cols]))
    v, residuals = np.ones(LINES), []
    for _ in range(3):
        sums = (a / (kernel @ v)) @ kernel
        residuals.append(float(np.abs(v * sums - b).sum()))
        v = b / sums
    return residuals[2] / residuals[0] if residuals[0] > 0 else 0.0


def _costs(problem: Problem, rows: Indices) -> NDArray[np.floating]:
    return on_host(widened(problem.cost.rows(rows)))


def _gibbs(cost: NDArray[np.floating], epsilon: float) -> Vector:
    """exp(-cost / epsilon), every row of it divided by its largest entry."""
    kernel: Vector = np.exp((cost.min(axis=1, keepdims=True) - cost) / epsilon)
    return kernel
