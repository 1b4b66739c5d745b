"""Conditions that a barycenter has to meet, recomputed with matrices; and the same problem as a linear program."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linprog


def bumps(count: int, points: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The squared distance on a line, and smooth measures on it."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, points)
    centres, widths = rng.uniform(0.2, 0.8, (count, 1)), rng.uniform(0.03, 0.1, (count, 1))
    a = np.exp(-((x - centres) ** 2) / (2 * widths**2))
    return (x[:, None] - x) ** 2, a / a.sum(axis=1, keepdims=True)


def plan_of(cost: Any, a: Any, f: Any, g: Any, epsilon: float) -> np.ndarray:
    """P = a 1^T exp((f + g - C) / epsilon), of finite potentials."""
    plan: np.ndarray = np.asarray(a)[:, None] * np.exp((np.asarray(f)[:, None] + g - cost) / epsilon)
    return plan


def primal(costs: Any, measures: Any, weights: Any, plans: Any, epsilon: float, phi: Any = None) -> float:
    """sum_k w_k [<C, P> + epsilon KL(P | a 1^T) + phi(P 1)]."""
    total = 0.0
    for cost, a, w, plan in zip(costs, measures, weights, plans, strict=True):
        reference = np.repeat(np.asarray(a)[:, None], plan.shape[1], axis=1)
        on = plan > 0
        entropy = (plan[on] * np.log(plan[on] / reference[on])).sum() - plan.sum() + reference.sum()
        moved = (np.where(np.isfinite(cost), cost, 0.0) * plan).sum()
        total += w * (moved + epsilon * entropy + (0.0 if phi is None else phi(plan.sum(axis=1), a).sum()))
    return float(total)


def by_linear_program(costs: Any, measures: Any, weights: Any) -> float:
    """The least sum_k w_k <C_k, P_k> without entropy, over plans and their common marginal."""
    count, n, m = np.shape(costs)
    size = count * n * m
    objective = np.concatenate([(w * c).ravel() for w, c in zip(weights, costs, strict=True)] + [np.zeros(m)])
    rows, right = [], []
    for k in range(count):
        for i in range(n):
            row = np.zeros(size + m)
            row[(k * n + i) * m : (k * n + i + 1) * m] = 1.0
            rows.append(row)
            right.append(measures[k][i])
        for j in range(m):
            row = np.zeros(size + m)
            row[k * n * m + j : (k + 1) * n * m : m] = 1.0
            row[size + j] = -1.0
            rows.append(row)
            right.append(0.0)
    found = linprog(objective, A_eq=np.array(rows), b_eq=np.array(right), bounds=(0, None), method="highs")
    assert found.status == 0
    return float(found.fun)
