"""Second derivatives of the value along directions that part the masses of two fixed sides."""

from __future__ import annotations

from typing import Any

import numpy as np


class Parted:
    """A direction (da, db) that parts the masses of two fixed sides, along which there is no value.

    It is the tangent (da, db + s b), s = (sum da - sum db) / sum b, minus s times (0, b). On tangents the Hessian is
    that of `Solution.hvp`; to (0, b) it assigns the -w that makes it symmetric. With gamma the gradient in b and
    kappa = <b, gamma>, which is epsilon (sum R - sum a) for the product reference and 0 for the other, that is

        <d, w> = <db, gamma> - d kappa(d + (0, s b)).
    """

    def __init__(self, solution: Any, a: Any, b: Any) -> None:
        self.solution, problem = solution, solution.problem
        used = [np.reshape(x, y.shape) for x, y in ((problem.row_used, a), (problem.col_used, b))]
        self.weights = [
            np.where(x, np.reshape(y, x.shape), 0.0) for x, y in zip(used, (problem.a, problem.b), strict=True)
        ]
        self.a, b = np.where(used[0], a, 0.0), np.where(used[1], b, 0.0)
        self.mass = self.weights[1].sum(axis=-1, keepdims=True)
        self.excess = (self.a.sum(axis=-1, keepdims=True) - b.sum(axis=-1, keepdims=True)) / self.mass
        self.b, self.used = b + self.excess * self.weights[1], used

    def completed(self, found: tuple[Any, ...]) -> tuple[Any, ...]:
        """Derivatives along the direction itself, from those along the tangent."""
        *places, a, b, epsilon, rho = found
        problem, by_a, by_epsilon = self.solution.problem, 0.0, 0.0
        by_b = self.solution.gradients().b
        if problem.reference == "product":
            width = np.reshape(problem.epsilon, self.excess.shape)
            by_rows, by_cols = (np.reshape(x, y.shape) for x, y in zip(problem.partners, self.weights, strict=True))
            total = (self.weights[0] * by_rows).sum(axis=-1, keepdims=True)
            by_a = -width * (by_rows + total / self.mass - 1.0)
            by_b = by_b - width * (by_cols - total / self.mass)
            by_epsilon = (self.weights[0].sum(axis=-1, keepdims=True) - total)[..., 0]
        a = a + self.excess * np.where(self.used[0], by_a, 0.0)
        b = b + self.excess * np.where(self.used[1], by_b, 0.0)
        return *places, a, b, epsilon + self.excess[..., 0] * by_epsilon, rho
