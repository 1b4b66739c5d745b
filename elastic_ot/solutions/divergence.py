"""What `divergence` returns: the value, its bound, its gradients and the three solutions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..arrays.origin import Origin
from ..cached import cached_property
from ..derivatives.cloud import same_points
from ..derivatives.records import Matrix
from ..problems.penalties import Fixed
from ..problems.penalty import Vector
from ..results import Result, one_line
from .html import shown, tiles_of_plan
from .solution import Solution


@dataclass(frozen=True, eq=False)
class DivergenceGradients:
    """Derivatives of a divergence in its inputs, by the envelope theorem: NumPy, float64.

    0 for cells that are forbidden, and for weights that are 0.

    Attributes
    ----------
    cost_xy, cost_xx, cost_yy : ndarray, shapes (n, m), (n, n) and (m, m), or None
        The plan of the term, times -1/2 for `cost_xx` and `cost_yy`, every cell on its own. None for a cost that is
        not stored, and between points.
    a, b : ndarray, shapes (n,) and (m,)
        With two `Fixed` sides the sums of a and b move together, and a constant may pass from one to the other; it is
        the one for which <a, gradient> = <b, gradient>, so that both are 0 where the divergence is.
    epsilon : float
        At held strengths rho, also where `Elastic` was asked for.
    x, y : ndarray, shapes (n, d) and (m, d), or None
        In the points of a `PointCloud`, which move in the term between the clouds and in that within their own. One
        given for both sides, `PointCloud(x)`, has the sum of the two.
    """

    cost_xy: Matrix | None
    cost_xx: Matrix | None
    cost_yy: Matrix | None
    a: Vector
    b: Vector
    epsilon: float
    x: Matrix | None = None
    y: Matrix | None = None

    __repr__ = one_line


@dataclass(frozen=True, eq=False)
class Divergence(Result):
    """A debiased divergence with the three solutions it is made of.

    Attributes
    ----------
    value : float
        S(a, b), from lower bounds on the three terms.
    cross : Solution
        The transport of a to b.
    self_x, self_y : Solution
        The transports of a to itself and of b to itself. Their potentials are symmetric, f = g, also with `Fixed`
        sides.

    Examples
    --------
    >>> import elastic_ot as eot
    >>> cost = [[0.0, 1.0], [1.0, 0.0]]
    >>> found = eot.divergence(cost, cost, cost, [0.7, 0.3], [0.4, 0.6], epsilon=0.2)
    >>> found.converged, found.gap < 1e-6
    (True, True)
    """

    _as_array: ClassVar[str] = "value"

    value: float
    cross: Solution
    self_x: Solution
    self_y: Solution
    origin: Origin = field(default=Origin(), repr=False)

    def __repr__(self) -> str:
        n, m = self.cross.problem.cost.row_count, self.cross.problem.shape[1]
        state = "converged" if self.converged else "not converged"
        return f"Divergence({self.value:.6g}, {n} and {m} points, epsilon={self.cross.epsilon:g}, {state})"

    def _repr_html_(self) -> str:
        n, m = self.cross.problem.cost.row_count, self.cross.problem.shape[1]
        terms = ("between both", self.cross), ("within a", self.self_x), ("within b", self.self_y)
        facts = [("value", f"{self.value:.9g}"), ("points", f"{n} and {m}"), ("epsilon", f"{self.cross.epsilon:g}")]
        facts += [(name, f"{term.status.name} (residual {term.residual:.2e})") for name, term in terms]
        with self.origin.here():
            return shown(self, facts, tiles_of_plan(self.cross.found) if n == self.cross.problem.shape[0] else None)

    @property
    def converged(self) -> bool:
        """True if all three solutions meet the tolerance."""
        return self.cross.converged and self.self_x.converged and self.self_y.converged

    @cached_property
    def gap(self) -> float:
        """A bound on the error of `value`: it is at most `cross.gap` too low, and half the other gaps too high."""
        return max(self.cross.gap, 0.5 * (self.self_x.gap + self.self_y.gap))

    def _same_points(self) -> bool:
        """True if all three terms lie between the same points."""
        return same_points(self.cross.problem, self.self_x.problem, self.self_y.problem)

    def gradients(self) -> DivergenceGradients:
        """Derivatives of `value` in costs or points, weights and epsilon.

        Returns
        -------
        DivergenceGradients
            Arrays in NumPy and float64; those in costs on a device are of CuPy.

        Warns
        -----
        ConvergenceWarning
            A solution is not converged.
        """
        with self.origin.here():
            cross, x, y = self.cross.gradients(), self.self_x.gradients(), self.self_y.gradients()
            xy, xx, yy = self.cross.problem, self.self_x.problem, self.self_y.problem
            epsilon = xy.epsilon
            by_rows, by_cols = xy.partners
            of_xx, of_yy = xx.cost.of_own_rows, yy.cost.of_all_rows
            a = cross.a - 0.5 * (x.a + of_xx(x.b)) + epsilon * np.where(xy.a > 0, xx.partners[0] - by_rows, 0.0)
            b = cross.b - 0.5 * (of_yy(y.a) + y.b) + epsilon * np.where(xy.b > 0, of_yy(yy.partners[0]) - by_cols, 0.0)
            if isinstance(xy.rows, Fixed) and isinstance(xy.cols, Fixed):
                excess = 0.5 * (xy.ranks.sum(xy.a * a) - float(xy.b @ b)) / xy.mass
                a, b = a - excess * (xy.a > 0), b + excess * (xy.b > 0)
            masses = 0.5 * (xx.reference_mass + yy.reference_mass) - xy.reference_mass
            by_points = _in_points(cross, (x.x, of_xx(x.y)), (of_yy(y.x), y.y)) if self._same_points() else {}
            return DivergenceGradients(
                cost_xy=cross.cost,
                cost_xx=_minus_half(x.cost),
                cost_yy=_minus_half(y.cost),
                a=a,
                b=b,
                epsilon=cross.epsilon - 0.5 * (x.epsilon + y.epsilon) + masses,
                **by_points,
            )


def _minus_half(plan: Any) -> Any:
    return None if plan is None else -0.5 * plan


def _in_points(cross: Any, x: tuple[Any, Any], y: tuple[Any, Any]) -> dict[str, Any]:
    """The total derivatives in the points: those of x stand on both sides of the term within x."""
    return {"x": cross.x - 0.5 * (x[0] + x[1]), "y": cross.y - 0.5 * (y[0] + y[1])}
