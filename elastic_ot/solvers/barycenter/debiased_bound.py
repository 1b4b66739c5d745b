"""A lower bound on the objective of a debiased barycenter, if the kernel within the support is positive semidefinite.

With the product references a_k b^T and b b^T, and K_ij = exp(-C_ij / epsilon) within the support, for any b of mass M,

    OT(a_k, b) >= <f_k, a_k> + <g_k, b> - epsilon (M - M^2),
    -OT(b, b) / 2 = min_u  epsilon [sum_j b_j log(b_j / u_j) + (u^T K u - M^2) / 2],

where g_kj = -epsilon log sum_i a_ki exp((f_ki - C_ij) / epsilon). The first is the dual at any f_k. The second is the
dual of the transport of b to itself with u = b exp(h / epsilon), and convex in b and u together if K is positive
semidefinite: relative entropy is, and so is the square. That square lies above its tangent at any d; what is left is
least at u_j = b_j / (K d)_j, and linear in b:

    F(b) >= sum_k w_k <f_k, a_k> + M min_j [sum_k w_k g_kj + epsilon log (K d)_j] + epsilon (M^2 - d^T K d) / 2.

At the barycenter, with its potentials and its d, this is its objective. Any d will do: far from mass, where iterates
are anything, a little more of it raises the bracket and costs next to nothing. That -OT(b, b) / 2 is convex for such
kernels is in Feydy, Séjourné, Vialard, Amari, Trouvé, Peyré 2019.
"""

from __future__ import annotations

import numpy as np

from ...problems.common import CommonProblem
from ...problems.penalty import Vector
from .iterate import Iterate, Potentials

SHARES = 0.5, 0.9, 0.99, 0.999, 1.0  # of the way from the lowest bracket to their mean, up to which some are raised


def debiased_bound(problem: CommonProblem, iterate: Iterate, potentials: Potentials) -> float:
    """Return the bound; nan where a side is not fixed, entries are forbidden, or the kernel may not be positive."""
    own, epsilon, used = problem.own, problem.epsilon, problem.used
    assert own is not None
    fixed = all(part.rows.box() == (1.0, 1.0) for part in problem.parts)
    if not fixed or own.cost.masked or any(part.cost.masked for part in problem.parts):
        return float("nan")
    if not own.cost.kernel_is_positive(epsilon):
        return float("nan")
    mass, weights = float(problem.masses[0]), problem.weights
    rows = sum(
        w * float(f[part.row_used] @ part.a[part.row_used])
        for w, f, part in zip(weights, potentials.f, problem.parts, strict=True)
    )
    of_measures = -weights @ (iterate.log_marginals - potentials.g[:, used] / epsilon)

    def bound(log_d: Vector, log_smoothed: Vector) -> float:
        square = float(np.exp(log_d[used] + log_smoothed[used]).sum())
        least = float((of_measures + log_smoothed[used]).min())
        return float(rows + epsilon * (mass * least + 0.5 * (mass**2 - square)))

    log_d = iterate.log_d
    log_smoothed = iterate.log_smoothed(log_d)
    best, brackets = bound(log_d, log_smoothed), np.full(used.size, np.inf)
    brackets[used] = of_measures + log_smoothed[used]
    level, lowest = float(potentials.b[used] @ brackets[used]) / mass, float(brackets.min())
    every = np.arange(used.size)
    within = own.cost.at(every, every) / epsilon
    for share in SHARES:  # d larger where the bracket is below this level, by what takes it there
        lacking = np.maximum(lowest + share * (level - lowest) - brackets, 0.0)
        raised = np.logaddexp(log_d, log_smoothed + within + np.log(np.expm1(lacking)))
        best = max(best, bound(raised, iterate.log_smoothed(raised)))
    return float(best + problem.offset_value - 0.5 * own.offset * mass)
