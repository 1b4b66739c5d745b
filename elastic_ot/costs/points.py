"""Costs between points, computed when they are read: a metric's entries, its range, and what is refused of points."""

from __future__ import annotations

from typing import Any, ClassVar, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import check_points, ingest_points
from ..arrays.libraries import is_abstract, refuse_tracer
from ..backends import load_cloud
from ..backends.protocol import Metric
from ..cached import cached_property
from .base import LENGTH_POWERS, Cost
from .points_plan import PointCost

METRICS: tuple[str, ...] = get_args(Metric)
LEAST_SQUARE = 1e-30  # below which squares in float32 lose digits, because sums of them leave its range


class PointCloud(Cost):
    """A cost between points, of which no matrix is stored.

    Pass it in place of a cost matrix to `solve`, `assign`, `exact` or `divergence`. An iteration computes the costs
    from the points and takes memory of the order of n + m.

    Parameters
    ----------
    x : array, shape (n, d)
        Points of the rows, of any DLPack library. float32 and float64 are used as they are, half precision becomes
        float32, integers become float64.
    y : array, shape (m, d), optional
        Points of the columns; x itself by default. If one of the two is float64, both are.
    metric : {"sqeuclidean", "euclidean", "cityblock", "cosine", "dot"}
        The cost by SciPy's name for it: the squared distance, the distance, the sum of absolute differences, 1 minus
        the cosine of the angle. "dot" is minus the inner product, as in attention.

    Attributes
    ----------
    x, y : ndarray, shapes (n, d) and (m, d)
    metric : str
    shape : tuple of int
        (n, m).
    dtype : dtype
        That of the points. float32 points whose squares leave the range of float32 are converted to float64.

    Raises
    ------
    ValueError
        For arrays that are not (n, d) with n and d at least 1, or of different d; for coordinates that are nan,
        infinite, or so large that squares overflow float64; for an unknown metric; under "cosine", for a point at the
        origin.
    TypeError
        For arrays that do not hold real numbers.

    Notes
    -----
    Sweeps read offsets from centres of nearby points. With float32 points, or at a tolerance that allows it, only these
    offsets and the exponentials are rounded to float32; potentials, sums and the certificate are in double precision.
    A cloud of at most 2**20 entries is solved as a matrix, which is faster. `Solution.plan` and whatever else has shape
    (n, m) is made for up to 2**24 entries; beyond that use `Solution.apply` and `Solution.sparse_plan`.

    See Also
    --------
    Cost : the base class, for costs of your own.
    solve : takes it in place of a matrix.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.random((1500, 3)), 0.5 + 0.5 * rng.random((1200, 3))
    >>> sol = eot.solve(eot.PointCloud(x, y), epsilon=0.05, tol=1e-4)
    >>> sol.converged, sol.gap < 1e-4
    (True, True)
    >>> displacement = sol.apply(y) / sol.row_marginal[:, None] - x
    >>> displacement.shape
    (1500, 3)
    """

    _mask_advice: ClassVar[str] = (
        "pass the cost as an array, {name}.block(slice(0, n), slice(0, m)), to have entries masked"
    )

    def __init__(self, x: Any, y: Any = None, metric: str = "sqeuclidean") -> None:
        if metric not in METRICS:
            raise ValueError(f"metric is {metric!r}; choose from {', '.join(map(repr, METRICS))}")
        self.given = x, x if y is None else y
        if any(map(is_abstract, self.given)):
            self._stand_for(*self.given, metric)
            return
        rows = _checked("x", x)
        cols = rows if y is None else _checked("y", y)
        _refuse_shapes(rows, cols)
        dtype = np.result_type(rows, cols)
        if dtype == np.float32 and _leaves_single(rows, cols):
            dtype = np.dtype(np.float64)
        self.x: NDArray[Any] = rows.astype(dtype, copy=False)
        self.y: NDArray[Any] = self.x if cols is rows else cols.astype(dtype, copy=False)
        self.metric = metric
        self.shape, self.dtype = (rows.shape[0], cols.shape[0]), dtype
        if metric == "cosine":
            _refuse_origin("x", self.x)
            _refuse_origin("y", self.y)

    def _stand_for(self, x: Any, y: Any, metric: str) -> None:
        """Hold points whose numbers are not known yet, for the operators of PyTorch and JAX."""
        for name, points in (("x", x), ("y", y)):
            check_points(name, points.shape)
        _refuse_shapes(x, y)
        self.x, self.y, self.metric, self.dtype = x, y, metric, x.dtype
        self.shape = int(x.shape[0]), int(y.shape[0])

    def _refuse_call(self) -> None:
        for name, points in zip(("x", "y"), self.given, strict=True):
            refuse_tracer(name, points)
            if getattr(points, "requires_grad", False) or is_abstract(points):
                raise TypeError(
                    f"{name} is part of a computation that is differentiated or transformed; call an operator such as "
                    f"elastic_ot.torch.value, or pass {name}.detach()"
                )

    def __repr__(self) -> str:
        n, m = self.shape
        return f"PointCloud({n} x {m} points in {self.x.shape[1]} dimensions, metric={self.metric!r}, {self.dtype})"

    def block(self, rows: slice, cols: slice) -> Any:
        x, y = self.x[rows].astype(np.float64), self.y[cols].astype(np.float64)
        if self.metric == "dot":
            return (-(x @ y.T)).astype(self.dtype, copy=False)
        from scipy.spatial.distance import cdist  # takes longer to import than a small solve

        metric: Any = self.metric
        return cdist(x, y, metric).astype(self.dtype, copy=False)

    def at(self, i: NDArray[np.integer], j: NDArray[np.integer]) -> Any:
        x, y = self.x[i].astype(np.float64), self.y[j].astype(np.float64)
        return self._paired(x, y).astype(self.dtype, copy=False)

    def within(self) -> tuple[PointCloud, PointCloud]:
        """Return the costs between the points of either side, see `Cost.within`."""
        rows = PointCloud(self.x, metric=self.metric)
        return rows, rows if self.y is self.x else PointCloud(self.y, metric=self.metric)

    def _length_power(self) -> int | None:
        return LENGTH_POWERS.get(self.metric)

    def _known(self) -> PointCost:
        low, high = extent(self.x.astype(np.float64), self.y.astype(np.float64), self.metric)
        return PointCost(self, self.shape, self.dtype, low, high, cloud=self._cloud)

    @cached_property
    def _cloud(self) -> Any:
        """The points as kernels read them."""
        return load_cloud().cloud(self.x, self.y, cast("Metric", self.metric))

    def _paired(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> Any:
        """Costs of points and their partners."""
        if self.metric == "dot":
            return -np.einsum("kd,kd->k", x, y)
        if self.metric == "cosine":
            return 1.0 - np.einsum("kd,kd->k", _normalised(x), _normalised(y))
        if self.metric == "cityblock":
            return np.abs(x - y).sum(axis=1)
        squares = ((x - y) ** 2).sum(axis=1)
        return squares if self.metric == "sqeuclidean" else np.sqrt(squares)


def _normalised(points: NDArray[np.float64]) -> Any:
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def extent(x: NDArray[np.float64], y: NDArray[np.float64], metric: str) -> tuple[float, float]:
    """Return bounds on all entries, from boxes and balls around the points."""
    if metric == "cosine":
        return 0.0, 2.0
    (x_low, x_high), (y_low, y_high) = ((z.min(axis=0), z.max(axis=0)) for z in (x, y))
    if metric == "dot":
        corners = [u * v for u in (x_low, x_high) for v in (y_low, y_high)]
        ball = float(np.linalg.norm(x, axis=1).max() * np.linalg.norm(y, axis=1).max())
        most = min(float(np.max(corners, axis=0).sum()), ball)
        return -most, -max(float(np.min(corners, axis=0).sum()), -ball)
    gaps = np.maximum(0.0, np.maximum(y_low - x_high, x_low - y_high))
    spans = np.maximum(y_high - x_low, x_high - y_low)
    if metric == "cityblock":
        return float(gaps.sum()), float(spans.sum())
    centres = 0.5 * (x_low + x_high), 0.5 * (y_low + y_high)
    radii = sum(float(np.linalg.norm(z - c, axis=1).max()) for z, c in zip((x, y), centres, strict=True))
    between = float(np.linalg.norm(centres[0] - centres[1]))
    low = max(float(np.linalg.norm(gaps)), between - radii)
    high = min(float(np.linalg.norm(spans)), between + radii)
    return (low, high) if metric == "euclidean" else (low * low, high * high)


def _checked(name: str, given: Any) -> NDArray[Any]:
    """Return points whose coordinates and squared distances are finite in float64."""
    points = ingest_points(name, given.detach() if getattr(given, "requires_grad", False) else given)
    bad = ~np.isfinite(points)
    if bad.any():
        i, k = np.unravel_index(int(bad.argmax()), points.shape)
        raise ValueError(f"{name}[{i}, {k}] is {points[i, k]}; coordinates must be finite")
    largest = np.abs(points).max()
    if largest > np.sqrt(np.finfo(np.float64).max / (8.0 * points.shape[1])):  # (x - y)^2 <= 4 largest^2, d of them
        i, k = np.unravel_index(int(np.abs(points).argmax()), points.shape)
        raise ValueError(
            f"{name}[{i}, {k}] is {points[i, k]}; squared distances overflow float64, divide the points by a constant"
        )
    return points


def _refuse_shapes(x: Any, y: Any) -> None:
    """Refuse points of different dimensions."""
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and y has shape {tuple(y.shape)}; both must have the same number of "
            f"coordinates"
        )


def _leaves_single(x: NDArray[Any], y: NDArray[Any]) -> bool:
    """Return True if squares of what is computed with leave the range of float32."""
    largest = max(float(np.abs(x).max()), float(np.abs(y).max()))
    return 8.0 * x.shape[1] * largest**2 > float(np.finfo(np.float32).max) or 0.0 < largest**2 < LEAST_SQUARE


def _refuse_origin(name: str, points: NDArray[Any]) -> None:
    zero = np.flatnonzero(~points.any(axis=1))
    if zero.size:
        raise ValueError(
            f"{name}[{zero[0]}] is the origin, whose cosine with another point is not defined; leave it out, or take "
            f"another metric"
        )
