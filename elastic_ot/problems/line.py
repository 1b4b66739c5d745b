"""Transport on the line, validated: points, their weights and penalties, and a convex cost of their distance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import as_numpy, ingest_number, is_real
from ..errors import InfeasibleError
from ..results import one_line
from . import masses
from .build import check_sides, range_text
from .mixed import strength_shape
from .penalties import Fixed
from .penalty import DependsOnEpsilon, Penalty
from .refusals import BAD_WEIGHT

Array = NDArray[np.float64]
GIVEN = Fixed()
POWERS_OF_DISTANCE = {"sqeuclidean": 2.0, "euclidean": 1.0, "cityblock": 1.0}  # of abs(x - y), by the cost's name


@dataclass(frozen=True, eq=False)
class LineProblem:
    """minimise sum abs(x_i - y_j)^p P_ij + phi_rows(P 1) + phi_cols(P^T 1) over plans P >= 0, for one or many.

    Attributes
    ----------
    x, y : ndarray of float64, shapes (..., n) and (..., m)
    a, b : ndarray of float64, shapes (..., n) and (..., m), or None
        None for weights 1/n or 1/m. Both have the same sum where both sides are `Fixed`.
    exponent : float
        p >= 1.
    batch : tuple of int
        The leading dimensions, broadcast.
    rows, cols : Penalty
    """

    x: Array
    y: Array
    a: Array | None
    b: Array | None
    exponent: float
    batch: tuple[int, ...]
    rows: Penalty = GIVEN
    cols: Penalty = GIVEN

    __repr__ = one_line

    @property
    def relaxed(self) -> bool:
        """True unless both sides are `Fixed`."""
        return not (isinstance(self.rows, Fixed) and isinstance(self.cols, Fixed))

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., n, m)."""
        return (*self.batch, self.x.shape[-1], self.y.shape[-1])

    @property
    def weights(self) -> tuple[Array, Array]:
        """Those of both sides, shapes (..., n) and (..., m) up to broadcasting."""
        n, m = self.shape[-2:]
        return np.full(n, 1.0 / n) if self.a is None else self.a, np.full(m, 1.0 / m) if self.b is None else self.b

    def costs(self, differences: Array) -> Array:
        """abs(x - y)^p."""
        return power_costs(differences, self.exponent)

    def slopes(self, differences: Array) -> Array:
        """The derivative of `costs`; 0 where the two meet."""
        if self.exponent == 1.0:
            return np.sign(differences)
        if self.exponent == 2.0:
            return 2.0 * differences
        return self.exponent * np.sign(differences) * np.abs(differences) ** (self.exponent - 1.0)


def power_costs(differences: Array, exponent: float) -> Array:
    """abs(x - y)^p."""
    if exponent == 1.0:
        return np.abs(differences)
    return differences * differences if exponent == 2.0 else np.abs(differences) ** exponent


def build_line(
    x: Any, y: Any, a: Any, b: Any, metric: Any, rows: Penalty = GIVEN, cols: Penalty = GIVEN
) -> LineProblem:
    """Return the validated problem; errors name the argument, the index and the value."""
    check_sides(rows, cols)
    for name, penalty in (("rows", rows), ("cols", cols)):
        if isinstance(penalty, DependsOnEpsilon):
            raise ValueError(f"{name} is {penalty!r}, and without entropy there is no epsilon; choose KL(rho)")
    rows, cols = (side if strength_shape(side) else side.at(1.0) for side in (rows, cols))  # KL(inf) is Fixed
    exponent = exponent_of(metric)
    x_values, y_values = _points("x", x), _points("y", y)
    given = {"x": x_values, "y": y_values}
    weights_a = line_weights("a", a, "x", x_values.shape[-1])
    weights_b = line_weights("b", b, "y", y_values.shape[-1])
    given |= {name: w for name, w in (("a", weights_a), ("b", weights_b)) if w is not None}
    batch = _leading(given)
    problem = LineProblem(x_values, y_values, weights_a, weights_b, exponent, batch, rows, cols)
    if not problem.relaxed:
        return replace(problem, b=same_masses((a, b), weights_a, weights_b, y_values.shape[-1]))
    for name, penalty in (("rows", rows), ("cols", cols)):
        try:
            np.broadcast_to(np.empty(strength_shape(penalty)), batch)
        except ValueError:
            raise ValueError(
                f"{name}={penalty!r} has strengths for problems {strength_shape(penalty)}, and there are {batch}"
            ) from None
    return replace(problem, b=_possible_masses((a, b), problem))


def exponent_of(metric: Any, name: str = "metric") -> float:
    """The p of abs(x - y)^p."""
    if isinstance(metric, str):
        if metric not in POWERS_OF_DISTANCE:
            raise ValueError(
                f"{name} is {metric!r}; choose from {', '.join(map(repr, POWERS_OF_DISTANCE))} or give an exponent >= 1"
            )
        return POWERS_OF_DISTANCE[metric]
    exponent = ingest_number(name, metric)
    if not 1.0 <= exponent < np.inf:
        raise ValueError(f"{name} is {exponent}; an exponent must be finite and >= 1: below, sorting is not optimal")
    return exponent


def line_weights(name: str, given: Any, points: str, size: int) -> Array | None:
    """Weights (..., n) in double precision; None for equal ones."""
    if given is None:
        return None
    array = _real(name, given)
    if array.ndim < 1 or array.shape[-1] != size:
        raise ValueError(f"{name} has shape {array.shape}, {points} has {size} points; they must agree")
    weights = array.astype(np.float64)
    _refuse(name, weights, ~(weights >= 0) | np.isinf(weights), BAD_WEIGHT)
    totals = weights.sum(axis=-1)
    bad = np.argwhere(~((totals > 0) & np.isfinite(totals)))
    if bad.size or (totals.ndim == 0 and not (0 < totals < np.inf)):
        index = tuple(bad[0])
        raise ValueError(f"{_entry(name, index)} sums to {totals[index]:g}; it must have a positive, finite sum")
    return weights


def same_masses(given: tuple[Any, Any], a: Array | None, b: Array | None, size: int) -> Array | None:
    """The weights b, or `size` equal ones, with the mass of a, from which they may differ by rounding."""
    totals = [np.asarray(1.0 if w is None else w.sum(axis=-1)) for w in (a, b)]
    if (totals[0] == totals[1]).all():
        return b
    pair = [np.ones(1) if w is None else w for w in (a, b)]
    allowed = np.maximum(masses.tolerance(given, pair), masses.SAME_MASS)
    off = np.abs(totals[0] - totals[1]) > allowed * np.minimum(*totals)
    if off.any():
        index = tuple(np.argwhere(off)[0]) if off.ndim else ()
        sum_a, sum_b = (float(np.broadcast_to(t, off.shape)[index]) for t in totals)
        text = masses.collision(Fixed(), Fixed(), (f"{sum_a:.12g}", f"{sum_b:.12g}"), (sum_a, sum_b), off.ndim > 0)
        raise InfeasibleError(f"problem {', '.join(map(str, index))}: {text}" if index else text)
    return np.asarray((np.full(size, 1.0 / size) if b is None else b) * (totals[0] / totals[1])[..., None])


def _possible_masses(given: tuple[Any, Any], problem: LineProblem) -> Array | None:
    """The weights b, refused where no plan has the masses of both sides; bounds may differ by rounding."""
    a, b = problem.weights
    sums = [np.broadcast_to(w.sum(axis=-1), problem.batch) for w in (a, b)]
    (lo_a, hi_a), (lo_b, hi_b) = (
        _total_ranges(penalty, total) for penalty, total in zip((problem.rows, problem.cols), sums, strict=True)
    )
    needed, most = np.maximum(lo_a, lo_b), np.minimum(hi_a, hi_b)
    apart = needed > most
    if not apart.any():
        return problem.b
    allowed = np.maximum(masses.tolerance(given, (a, b)), masses.SAME_MASS)
    off = needed > most * (1 + allowed)
    if off.any():
        index = tuple(np.argwhere(off)[0]) if off.ndim else ()
        ranges = range_text(float(lo_a[index]), float(hi_a[index])), range_text(float(lo_b[index]), float(hi_b[index]))
        pair = float(sums[0][index]), float(sums[1][index])
        text = masses.collision(problem.rows, problem.cols, ranges, pair, off.ndim > 0)
        raise InfeasibleError(f"problem {', '.join(map(str, index))}: {text}" if index else text)
    with np.errstate(all="ignore"):
        factor = np.where(apart, np.where(lo_a > hi_b, lo_a / hi_b, hi_a / lo_b), 1.0)
    return np.asarray(b * factor[..., None])


def _total_ranges(penalty: Penalty, totals: Array) -> tuple[Array, Array]:
    lo, hi = penalty.box()
    return lo * totals, np.full_like(totals, np.inf) if np.isinf(hi) else hi * totals


def _points(name: str, given: Any) -> Array:
    array = _real(name, given)
    if array.ndim < 1 or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}; it must be numbers (n,) or (..., n), none of these 0")
    values = array.astype(np.float64, copy=False)
    _refuse(name, values, ~np.isfinite(values), "points must be finite")
    return values


def _real(name: str, given: Any) -> NDArray[Any]:
    array = as_numpy(name, given)
    if not is_real(array):
        raise TypeError(f"{name} has dtype {array.dtype}; it must hold real numbers")
    return array


def _leading(given: dict[str, Array]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(values.shape[:-1] for values in given.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in given.items())
        raise ValueError(f"shapes are {shapes}; leading dimensions must broadcast") from None


def _refuse(name: str, values: Array, bad: NDArray[np.bool_], rule: str) -> None:
    if bad.any():
        index = tuple(np.argwhere(bad)[0])
        raise ValueError(f"{_entry(name, index)} is {values[index]}; {rule}")


def _entry(name: str, index: tuple[Any, ...]) -> str:
    return f"{name}[{', '.join(map(str, index))}]" if index else name
