"""The duality gaps of many solutions, as `certificate` has that of one.

Where hard sides are met to rounding they are what was measured. Where fixed sides are met only to tolerance, plans are
rounded all at once. The rest, rounded in ways of its own (bounds; two fixed sides with forbidden cells; rows that have
underflowed), is looked at problem by problem.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..costs.scan import Mask
from ..problems.mixed import is_hard, pick
from ..problems.penalty import Vector
from ..solvers.batch.found import BatchFound
from ..solvers.batch.measure import fixed_sides
from .certificate import gap, side_gap
from .feasible import ratio
from .rounding import EXTREMES, MET


@EXTREMES
def gaps(solved: BatchFound) -> Vector:
    """Return the gap of every problem; inf where the plan overflows, or potentials are outside of the dual's domain."""
    problem, measure = solved.problem, solved.measure
    sound = np.isfinite(measure.dual) & np.isfinite(measure.residual)
    met = measure.marginal_error <= MET * measure.mass
    found = np.where(sound & met, measure.relaxed_gap, np.inf)
    open_ = sound & ~met
    fixed = fixed_sides(problem)
    hard = (
        np.broadcast_to(np.asarray(is_hard(penalty)).reshape(-1), open_.shape)
        for penalty in (problem.rows, problem.cols)
    )
    plain = np.logical_and(*(x == y for x, y in zip(fixed, hard, strict=True)))  # no bounds
    together = open_ & plain & ~(fixed[0] & fixed[1] & problem.masked)
    if together.any():
        which = np.flatnonzero(together)
        found[which], exact = _rounded(solved, which, fixed[0][:, None], fixed[1][:, None])
        together[which] = exact
    for k in np.flatnonzero(open_ & ~together):
        found[k] = gap(*solved.single(int(k)))
    return found


def _rounded(solved: BatchFound, which: NDArray[np.int64], fixed_rows: Mask, fixed_cols: Mask) -> tuple[Vector, Mask]:
    """Gaps at Q, the plan P scaled on fixed sides (Altschuler, Weed, Rigollet 2017), and whether Q meets them.

    Two fixed sides are scaled down, and what is missing is added; one is scaled.
    """
    problem, measure, task = solved.problem, solved.measure, solved.task
    mass, both = problem.mass[:, None], fixed_rows & fixed_cols
    alpha, beta = solved.potentials
    target_r, target_c = task.rows.weight, task.cols.weight
    rows, cols = np.zeros_like(alpha), np.zeros_like(beta)

    def factors(fixed: Mask, target: Vector, attained: Vector) -> Vector:
        found = np.where(fixed, ratio(target, attained), 1.0)
        return np.where(both, np.minimum(found, 1.0), found)

    row_factor = factors(fixed_rows, target_r, measure.row_marginal / mass)
    scaled = alpha + np.log(row_factor)
    task.backend.batch_marginals(task.cost, task.batch, scaled, beta, which, rows, cols)
    col_factor = factors(fixed_cols, target_c, cols)
    task.backend.batch_marginals(task.cost, task.batch, scaled, beta + np.log(col_factor), which, rows, cols)
    row_rest = np.where(both, np.maximum(target_r - rows, 0.0), 0.0)
    col_rest = np.where(both, np.maximum(target_c - cols, 0.0), 0.0)
    missing = col_rest.sum(axis=1, keepdims=True)
    col_rest = np.divide(col_rest, missing, out=np.zeros_like(col_rest), where=missing > 0)
    divergence, transport = np.zeros_like(alpha), np.zeros_like(alpha)
    parts = row_factor, col_factor, row_rest, col_rest, divergence, transport
    task.backend.batch_rounded_sums(task.cost, task.batch, alpha, beta, which, *parts)
    kl = np.maximum(divergence[which].sum(axis=1), 0.0)
    off = np.where(fixed_rows, np.abs(target_r - rows), 0.0).sum(axis=1)
    off += np.where(fixed_cols, np.abs(target_c - cols), 0.0).sum(axis=1)
    found = problem.epsilon[which] * problem.mass[which] * kl
    for penalty, marginal, potential, weights, counted in (
        (problem.rows, mass * rows, solved.f, problem.a, problem.row_used & ~fixed_rows),
        (problem.cols, mass * cols, solved.g, problem.b, problem.col_used & ~fixed_cols),
    ):
        mine = pick(penalty, which), marginal[which], potential[which], weights[which]
        found += side_gap(*mine, counted[which])
    return found, both[which, 0] | (off[which] <= 10 * MET)
