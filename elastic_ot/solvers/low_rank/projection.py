"""One step: the factors that minimise a linear function plus a relative entropy, and have the same column sums.

    minimise KL(X | K) + phi_a(Q 1) / s + phi_b(R 1) / s  over X = (Q, R, g) with Q^T 1 = R^T 1 = g >= least,

where all that is linear stands in the logarithms of K, over the strength s of the entropy. Given potentials of the
columns the rows have a closed form, the update of a potential, and so has g. What is left is to maximise a smooth
concave function of 2 r numbers: by Newton's method, helped by the alternating projections of Scetbon, Cuturi and Peyre
(2021) where it is far from its end. Rows are exact in every iterate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...cached import cached_property
from ...problems.penalty import Vector
from .factors import LEAST_LOG, Array, Factor, Side

SUMS_MET = 1e-13  # relative error of column sums that is none
SUMS_NEAR, SUMS_FALL = 1e-9, 0.25  # an error that will do if it is more than this share of the one before: rounding
NEWTON_STEPS, NEWTON_HALVINGS = 60, 30  # until a step counts as too long to be computed
SUMS_FAR, ALTERNATIONS = 0.1, 3  # an error from which on a step is followed by so many alternating projections
ASCENT = 1e-4  # of the increase that the gradient promises
VALUE_NOISE = 1e-14  # relative, of values of the dual that are compared
CURVATURE_FLOOR = 1e-12  # of the scaled Hessian, which is 0 along one direction between fixed sides
LONGEST_MOVE = 50.0  # of a logarithm, in a step
POTENTIAL_SPREAD = 200.0  # of potentials, beyond which exponentials are taken anew


class Kernel:
    """A matrix exp(logs) whose columns will be scaled by potentials, and its rows to what a side asks for."""

    def __init__(self, logs: Array, side: Side, strength: float) -> None:
        self.logs, self.side, self.strength = logs, side, strength
        self.tau = side.penalty.rule(strength, 1.0)[1]
        self.base = np.zeros(logs.shape[1])
        self._fill()

    def _fill(self) -> None:
        shifted = self.logs + self.base
        self.top = shifted.max(axis=1)
        self.matrix = np.exp(shifted - self.top[:, None])

    def at(self, k: Vector) -> Rows:
        """Return the rows at potentials k of the columns, in units of the strength."""
        if np.abs(k - self.base).max() > POTENTIAL_SPREAD:
            self.base = k.copy()
            self._fill()
        scale = np.exp(k - self.base)
        with np.errstate(divide="ignore"):
            log_total = self.top + np.log(self.matrix @ scale)
        used = self.side.used
        log_factor = np.where(used, self.tau * (self.side.log_weights - log_total), 0.0)
        sums = np.where(used, np.exp(log_factor + log_total), 0.0)
        return Rows(self, k, scale, log_total, log_factor, sums)


@dataclass(frozen=True, eq=False)
class Rows:
    """The best rows of a factor, given potentials of its columns."""

    kernel: Kernel
    k: Vector
    scale: Vector
    log_total: Vector
    log_factor: Vector
    sums: Vector

    @property
    def dual(self) -> float:
        """The terms of the dual that belong to these rows, over the strength."""
        side, strength = self.kernel.side, self.kernel.strength
        terms = side.penalty.dual(strength * self.log_factor[side.used], side.weights[side.used])
        return float(terms.sum() / strength - self.sums.sum())

    @property
    def per_total(self) -> Vector:
        """What a row's sum multiplies, of the matrix that is stored."""
        return np.asarray(np.exp(self.kernel.top - self.log_total))

    @property
    def columns(self) -> Vector:
        """Sums of the columns: minus the derivative of `dual`."""
        return np.asarray(self.scale * ((self.sums * self.per_total) @ self.kernel.matrix))

    def curvature(self, columns: Vector) -> Array:
        """Minus the second derivative of `dual`."""
        shares = self.kernel.matrix * (self.scale * self.per_total[:, None])
        return np.asarray(np.diag(columns) - self.kernel.tau * (shares.T @ (self.sums[:, None] * shares)))

    def factor(self) -> Factor:
        log_shares = self.kernel.logs + self.k - self.log_total[:, None]
        return Factor(self.sums, np.exp(log_shares), np.maximum(log_shares, LEAST_LOG))


@dataclass(frozen=True, eq=False)
class Projected:
    """Factors with common column sums g, and the potentials of their columns in units of the strength."""

    q: Factor
    r: Factor
    g: Vector
    potentials: tuple[Vector, Vector]


def project(
    kernels: tuple[Kernel, Kernel], log_g: Vector, least: float, start: tuple[Vector, Vector]
) -> Projected | None:
    """Return the factors; None where the step is too sharp for Newton's method."""
    count, before = log_g.size, np.inf
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        here = _Dual(kernels, log_g, float(np.log(least)), np.concatenate(start))
        for _ in range(NEWTON_STEPS):
            if here.missed <= SUMS_MET or (before <= SUMS_NEAR and here.missed > SUMS_FALL * before):
                sides = here.k[:count], here.k[count:]
                return Projected(here.rows.factor(), here.cols.factor(), here.g, sides)
            before, there = here.missed, here.newton()
            if there is None or before > SUMS_FAR:
                there = there or here
                for _ in range(ALTERNATIONS):
                    there = there.swept()
            here = there
    return None


class _Dual:
    """The concave function, at some potentials, with its gradient."""

    def __init__(self, kernels: tuple[Kernel, Kernel], log_g: Vector, log_least: float, k: Vector) -> None:
        count = log_g.size
        self.kernels, self.log_g, self.log_least, self.k = kernels, log_g, log_least, k
        self.rows, self.cols = kernels[0].at(k[:count]), kernels[1].at(k[count:])
        free = log_g - k[:count] - k[count:]
        self.bound = free <= log_least
        self.g = np.exp(np.maximum(free, log_least))
        at_bound = self.g * (log_least - free - 1.0)
        self.value = self.rows.dual + self.cols.dual + float(np.where(self.bound, at_bound, -self.g).sum())

    @cached_property
    def columns(self) -> tuple[Vector, Vector]:
        """Column sums of both factors."""
        return self.rows.columns, self.cols.columns

    @property
    def gradient(self) -> Vector:
        return np.tile(self.g, 2) - np.concatenate(self.columns)

    @property
    def missed(self) -> float:
        """The largest relative difference of column sums from g; infinite for numbers out of range."""
        found = float((np.abs(self.gradient) / np.maximum(np.tile(self.g, 2), np.concatenate(self.columns))).max())
        return found if np.isfinite(found) else np.inf

    def newton(self) -> _Dual | None:
        """Return the function after a step of Newton's method; None if that is no ascent."""
        count, moving = self.g.size, np.where(self.bound, 0.0, self.g)
        hessian = np.tile(np.diag(moving), (2, 2))
        hessian[:count, :count] += self.rows.curvature(self.columns[0])
        hessian[count:, count:] += self.cols.curvature(self.columns[1])
        scale = 1.0 / np.sqrt(np.concatenate(self.columns) + np.tile(moving, 2))
        hessian *= scale[:, None] * scale
        hessian[np.diag_indices(2 * count)] += CURVATURE_FLOOR
        gradient = self.gradient
        try:
            change = scale * np.linalg.solve(hessian, scale * gradient)
        except np.linalg.LinAlgError:
            return None
        slope, size = float(gradient @ change), float(np.abs(change).max())
        if not 0.0 < slope < np.inf:
            return None
        noise, t = VALUE_NOISE * (float(self.g.sum()) + abs(self.value)), min(1.0, LONGEST_MOVE / size)
        for _ in range(NEWTON_HALVINGS):
            there = self._moved(self.k + t * change)
            if there.value >= self.value + ASCENT * t * slope - noise:
                return there
            t *= 0.5
        return None

    def swept(self) -> _Dual:
        """Return the function at the potentials that are best beside these rows: an alternating projection."""
        logs = tuple(np.log(np.maximum(x, np.finfo(float).tiny)) for x in self.columns)
        count = self.g.size
        free = (self.log_g + logs[0] - self.k[:count] + logs[1] - self.k[count:]) / 3.0
        log_g = np.maximum(free, self.log_least)
        return self._moved(self.k + np.concatenate([log_g - logs[0], log_g - logs[1]]))

    def _moved(self, k: Vector) -> _Dual:
        return _Dual(self.kernels, self.log_g, self.log_least, k)
