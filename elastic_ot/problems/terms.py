"""What one problem and many have in common: terms of the objective as sums over the last axis of their arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from ..cached import cached_property
from .penalties import Fixed
from .penalty import Penalty, Vector

Reference = Literal["product", "counting"]
Number = TypeVar("Number", float, Vector)  # of one problem, or of each of many
FAR_OFF = 4.0  # ranges of the cost from 0, where its digits are better spent on differences
HIGH = 1e4  # epsilon: below it rounding of the common part shows at 1e-12


class Terms(ABC, Generic[Number]):
    """Weights, penalties and reference of a problem: a and b of shapes (n,) and (m,), or (B, n) and (B, m) of many."""

    a: Vector
    b: Vector
    rows: Penalty
    cols: Penalty
    reference: Reference

    row_used: Any
    """Rows with a weight and an allowed entry; the others carry no mass in any plan."""
    col_used: Any
    masked: Any
    """Some entry is masked."""

    @staticmethod
    @abstractmethod
    def sums(values: Vector) -> Number:
        """Return the sum of a vector, or of each of many."""

    def row_sums(self, values: Vector) -> Number:
        """Return the sum of a vector of the rows, or of each of many."""
        return self.sums(values)

    @abstractmethod
    def allowed(self, weights: Vector, transpose: bool = False) -> Vector:
        """Return sums of weights (m,) over the allowed entries of every row, of (n,) and columns with `transpose`."""

    def levels(self, budget: bool) -> bool:
        """Return True if a constant taken off all costs changes potentials only.

        That needs a `Fixed` side. With a `budget` of iterations the first update, of the rows, has to make up for it.
        """
        return isinstance(self.rows, Fixed) or (isinstance(self.cols, Fixed) and not budget)

    @cached_property
    def mass(self) -> Number:
        """The unit of mass of the kernels: that of the rows."""
        return self.row_sums(self.a)

    @property
    def reference_weights(self) -> tuple[Vector, Vector]:
        """The two factors of R, 0 for what is not used."""
        if self.reference == "product":
            return self.used_weights
        return np.where(self.row_used, 1.0, 0.0), np.where(self.col_used, 1.0, 0.0)

    @property
    def used_weights(self) -> tuple[Vector, Vector]:
        """Weights of both sides, 0 for what is not used."""
        return np.where(self.row_used, self.a, 0.0), np.where(self.col_used, self.b, 0.0)

    @cached_property
    def reference_mass(self) -> Number:
        """Sum of R over the allowed entries of the rows and columns in use."""
        u, v = self.reference_weights
        return self.row_sums(u * self.allowed(v)) if self.masked else self.row_sums(u) * self.sums(v)

    @property
    def partners(self) -> tuple[Vector, Vector]:
        """Derivatives of the sum of a b^T over the allowed entries, in a and in b."""
        return self.partners_of(self.a, self.b)

    def partners_of(self, a: Vector, b: Vector) -> tuple[Vector, Vector]:
        """Return what b sums to over the allowed columns of every row, and a over the allowed rows of every column."""
        a, b = np.where(self.row_used, a, 0.0), np.where(self.col_used, b, 0.0)
        return self.allowed(b), self.allowed(a, transpose=True)

    def fixed_mass(self) -> Number:
        """Return the mass in use of the `Fixed` side that a constant cost is paid on."""
        a, b = self.used_weights
        return self.row_sums(a) if isinstance(self.rows, Fixed) else self.sums(b)


def lies_high(lowest: Any, highest: Any, epsilon: Any) -> Any:
    """Return True if what costs have in common takes digits from their differences that epsilon shows."""
    return (abs(lowest) > FAR_OFF * (highest - lowest)) & (abs(lowest) > HIGH * epsilon)
