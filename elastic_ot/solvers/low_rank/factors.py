"""The factors of a plan Q diag(1/g) R^T: each by its row sums and the shares of its columns in these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...cached import cached_property
from ...problems.penalty import Penalty, Vector

Array = NDArray[np.float64]
LEAST_LOG = -20.0  # of a share: smaller ones would take steps to come back


@dataclass(frozen=True, eq=False)
class Side:
    """The weights of a factor's rows, and what its row sums are asked to be."""

    weights: Vector
    penalty: Penalty

    @cached_property
    def used(self) -> NDArray[np.bool_]:
        return self.weights > 0

    @cached_property
    def log_weights(self) -> Vector:
        """0 where there is no weight."""
        return np.log(np.where(self.used, self.weights, 1.0))


@dataclass(frozen=True, eq=False)
class Factor:
    """Q = diag(sums) shares, with shares that sum to 1 in every row; rows without weight have the sum 0."""

    sums: Vector
    shares: Array
    log_shares: Array

    @classmethod
    def of_shares(cls, sums: Vector, shares: Array) -> Factor:
        return cls(sums, shares, np.log(np.maximum(shares, np.exp(LEAST_LOG))))

    @classmethod
    def of_values(cls, values: Array) -> Factor:
        sums = values.sum(axis=1)
        even = np.full_like(values, 1.0 / values.shape[1])
        return cls.of_shares(sums, np.divide(values, sums[:, None], out=even, where=sums[:, None] > 0))

    @property
    def values(self) -> Array:
        return self.sums[:, None] * self.shares

    @property
    def logs(self) -> Array:
        """Of the values; where the sum of a row is 0, of the shares."""
        return np.asarray(np.log(np.where(self.sums > 0, self.sums, 1.0))[:, None] + self.log_shares)

    def toward(self, other: Factor, t: float) -> Factor:
        """(1 - t) times it plus t times the other."""
        if t == 1.0:
            return other
        sums = self.sums + t * (other.sums - self.sums)
        part = np.divide(t * other.sums, sums, out=np.full_like(sums, t), where=sums > 0)
        return Factor.of_shares(sums, self.shares + part[:, None] * (other.shares - self.shares))
