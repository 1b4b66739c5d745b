"""The unregularised problem as a linear programme, for penalties that are linear: Fixed, TV, Between, AtMost, Free."""

import numpy as np
from scipy.optimize import linprog


def _excess(spec, weight):
    """Upper bounds and prices of what a marginal may have over and under its weight."""
    kind, *strength = spec
    free = np.full(weight.size, np.inf)
    if kind == "Fixed":
        return np.zeros(2 * weight.size), 0.0
    if kind == "TV":
        return np.concatenate([free, free]), strength[0]
    if kind == "Between":
        low, high = strength
        assert low <= 1.0 <= high
        return np.concatenate([(high - 1.0) * weight, (1.0 - low) * weight]), 0.0
    assert kind == "Free"
    return np.concatenate([free, free]), 0.0


def linear_optimum(case):
    """Optimum and a plan of <C, P> + phi_a(P 1) + phi_b(P^T 1), forbidden cells kept at 0.

    The variables are the plan and, for each side, what its marginal has over and under the weights.
    """
    n, m = case.cost.shape
    (row_spec, a, _), (col_spec, b, _) = case.sides
    row_bounds, row_price = _excess(row_spec, a)
    col_bounds, col_price = _excess(col_spec, b)
    row_sums, col_sums = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    constraints = np.block(
        [
            [row_sums, -np.eye(n), np.eye(n), np.zeros((n, 2 * m))],
            [col_sums, np.zeros((m, 2 * n)), -np.eye(m), np.eye(m)],
        ]
    )
    cost = np.where(case.allowed, case.cost, 0.0).ravel()
    upper = np.concatenate([np.where(case.allowed, np.inf, 0.0).ravel(), row_bounds, col_bounds])
    answer = linprog(
        np.concatenate([cost, np.full(2 * n, row_price), np.full(2 * m, col_price)]),
        A_eq=constraints,
        b_eq=np.concatenate([a, b]),
        bounds=np.column_stack([np.zeros(upper.size), upper]),
        method="highs",
    )
    assert answer.status == 0, answer.message
    return answer.fun, answer.x[: n * m].reshape(n, m)
