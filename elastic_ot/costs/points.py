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
from ..typing import ArrayLike
from .base import LENGTH_POWERS, Cost
from .point_cost import SEARCHED_COORDINATES, PointCost

METRICS: tuple[str, ...] = get_args(Metric)
LEAST_SQUARE = 1e-30  # below which squares in float32 lose digits, because sums of them leave its range


class PointCloud(Cost):
    """A cost between points, of which no matrix is stored.

    Pass it in place of a cost matrix to `solve`, `assign`, `exact` or `divergence`. An iteration computes the costs
    from the points and takes memory of the order of n + m.

    Parameters
    ----------
    x : array, shape (n, d) or (..., n, d)
        Points of the rows, of any DLPack library. float32 and float64 are used as they are, half precision becomes
        float32, integers become float64. With leading dimensions, here or in y, there are many clouds: they broadcast,
        and `solve` returns a `BatchSolution`.
    y : array, shape (m, d) or (..., m, d), optional
        Points of the columns; x itself by default. If one of the two is float64, both are.
    metric : {"sqeuclidean", "euclidean", "cityblock", "cosine", "dot"}
        The cost by SciPy's name for it: the squared distance, the distance, the sum of absolute differences, 1 minus
        the cosine of the angle. "dot" is minus the inner product, as in attention.

    Attributes
    ----------
    x, y : ndarray, shapes (n, d) and (m, d), or (..., n, d) and (..., m, d)
    metric : str
    shape : tuple of int
        (n, m), or (..., n, m) with the leading dimensions of x and y, broadcast.
    dtype : dtype
        That of the points. float32 points whose squares leave the range of float32 are converted to float64.

    Raises
    ------
    ValueError
        For arrays that are not (..., n, d) with n and d at least 1, or of different d; for leading dimensions that do
        not broadcast; for an unknown metric. For coordinates that are nan, infinite, or so large that squares overflow
        float64, and under "cosine" for a point at the origin: of many clouds in the call that takes them, because
        `row_lengths` and `col_lengths` say there which points count.
    TypeError
        For arrays that do not hold real numbers.

    Notes
    -----
    Sweeps read offsets from centres of nearby points. With float32 points, or at a tolerance that allows it, only these
    offsets and the exponentials are rounded to float32; potentials, sums and the certificate are in double precision.
    A cloud of at most 2**20 entries is solved as a matrix, which is faster. `Solution.plan` and whatever else has shape
    (n, m) is made for up to 2**24 entries; beyond that use `Solution.apply` and `Solution.sparse_plan`.

    Of many clouds a batch stores the costs, computed once, up to 2**27 entries in all. ``cloud[index]`` is the cloud of
    one problem: where the batch is too large, solve these one by one.

    See Also
    --------
    FunctionCost : another cost between points.
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

    Many clouds, each with its own target:

    >>> many = eot.PointCloud(rng.random((5, 20, 3)), rng.random((5, 30, 3)), metric="euclidean")
    >>> eot.solve(many, epsilon=0.1).apply(many.y).shape
    (5, 20, 3)
    """

    _mask_advice: ClassVar[str] = (
        "pass the cost as an array, {name}.block(slice(0, n), slice(0, m)), to have entries masked"
    )

    def __init__(self, x: ArrayLike, y: ArrayLike | None = None, metric: str = "sqeuclidean") -> None:
        if callable(metric):
            raise TypeError(f"metric is {metric!r}; a cost of your own is an elastic_ot.FunctionCost(function, x, y)")
        if metric not in METRICS:
            raise ValueError(f"metric is {metric!r}; choose from {', '.join(map(repr, METRICS))}")
        both: Any = (x, x if y is None else y)
        self.given: tuple[Any, Any] = both
        if any(map(is_abstract, self.given)):  # numbers that are not known yet, for the operators of PyTorch and JAX
            for name, points in zip("xy", self.given, strict=True):
                check_points(name, points.shape)
            self._hold(x, y if y is not None else x, metric)
            return
        rows = _read("x", x)
        cols = rows if y is None else _read("y", y)
        alone = rows.ndim == cols.ndim == 2  # many are looked at when it is known which of their points count
        if alone:
            refuse_numbers("x", rows, metric)
            if cols is not rows:
                refuse_numbers("y", cols, metric)
        self._hold(*in_common(rows, cols, whole=alone), metric)

    def _hold(self, x: Any, y: Any, metric: str) -> None:
        """Keep points of one dtype."""
        _refuse_shapes(x, y)
        self.x, self.y, self.metric, self.dtype = x, y, metric, x.dtype
        self._batch = _common(x.shape[:-2], y.shape[:-2])
        self.shape = (*self._batch, int(x.shape[-2]), int(y.shape[-2]))  # type: ignore[assignment]

    @classmethod
    def of_checked(cls, x: NDArray[np.floating], y: NDArray[np.floating], metric: str) -> PointCloud:
        """Return the cloud of points (n, d) and (m, d) that have been looked at."""
        cloud = cls.__new__(cls)
        cloud.given = x, y
        cloud._hold(x, y, metric)
        return cloud

    def __getitem__(self, index: int | tuple[int, ...]) -> PointCloud:
        """The cloud of one problem of many.

        Parameters
        ----------
        index : int or tuple of int
            One number for every leading dimension.
        """
        index = index if isinstance(index, tuple) else (index,)
        if len(index) != len(self._batch) or not self._batch:
            raise IndexError(f"the leading dimensions are {self._batch}; one index for each of them is needed")
        x, y = (np.broadcast_to(z, (*self._batch, *z.shape[-2:]))[index] for z in (self.x, self.y))
        return PointCloud(x, None if self.y is self.x else y, self.metric)

    def _refuse_call(self) -> None:
        for name, points in zip(("x", "y"), self.given, strict=True):
            refuse_tracer(name, points)
            kept = isinstance(self.x, np.ndarray)  # a cloud that was made in a compiled function has kept tensors
            if getattr(points, "requires_grad", False) or is_abstract(points) or not kept:
                raise TypeError(
                    f"{name} is part of a computation that is differentiated, transformed or compiled; call an "
                    f"operator such as elastic_ot.torch.value, or pass {name}.detach() outside of it"
                )

    def __repr__(self) -> str:
        n, m = self.shape[-2:]
        count = f"{' x '.join(map(str, self._batch))} clouds of " if self._batch else ""
        where = f"{n} x {m} points in {self.x.shape[-1]} dimensions"
        return f"PointCloud({count}{where}, metric={self.metric!r}, {self.dtype})"

    def block(self, rows: slice, cols: slice) -> NDArray[np.floating]:
        x, y = self.x[..., rows, :].astype(np.float64), self.y[..., cols, :].astype(np.float64)
        if not self._batch:
            return distances(x, y, self.metric).astype(self.dtype, copy=False)
        x, y = (np.broadcast_to(z, (*self._batch, *z.shape[-2:])) for z in (x, y))
        out = np.empty((*self._batch, x.shape[-2], y.shape[-2]), self.dtype)
        for index in np.ndindex(self._batch):
            out[index] = distances(x[index], y[index], self.metric)
        return out

    def at(self, i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[np.floating]:
        x, y = self.x[..., i, :].astype(np.float64), self.y[..., j, :].astype(np.float64)
        return self.paired(x, y).astype(self.dtype, copy=False)

    def within(self) -> tuple[PointCloud, PointCloud]:
        """Return the costs between the points of either side, see `Cost.within`."""
        rows = PointCloud(self.x, metric=self.metric)
        return rows, rows if self.y is self.x else PointCloud(self.y, metric=self.metric)

    def _points(self) -> tuple[Any, Any]:
        return self.x, self.y

    def _of_new(self, points: Any, axis: int) -> PointCloud:
        new, d = ingest_points("points", points), self.x.shape[-1]
        if new.ndim != 2 or new.shape[1] != d:
            raise ValueError(
                f"points has shape {new.shape}; the problem lies between points of {d} coordinates: (k, {d})"
            )
        return PointCloud(new, self.y, self.metric) if axis == 1 else PointCloud(self.x, new, self.metric)

    def _length_power(self) -> int | None:
        return LENGTH_POWERS.get(self.metric)

    def _known(self) -> PointCost:
        low, high = extent(self.x.astype(np.float64), self.y.astype(np.float64), self.metric)
        return PointCost(self, self.shape, np.dtype(self.dtype), low, high, cloud=self._cloud)

    @cached_property
    def _cloud(self) -> Any:
        """The points as kernels read them."""
        return load_cloud().cloud(self.x, self.y, cast("Metric", self.metric))

    @cached_property
    def sites(self) -> tuple[object, object]:
        """The points of both sides as searches of trees read them."""
        rows = load_cloud().sites(self.x)
        return rows, rows if self.y is self.x else load_cloud().sites(self.y)

    def paired(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Costs of points and their partners."""
        if self.metric == "dot":
            return np.asarray(-np.einsum("...d,...d->...", x, y))
        if self.metric == "cosine":
            return np.asarray(1.0 - np.einsum("...d,...d->...", _normalised(x), _normalised(y)))
        if self.metric == "cityblock":
            return np.asarray(np.abs(x - y).sum(axis=-1))
        squares = ((x - y) ** 2).sum(axis=-1)
        return np.asarray(squares if self.metric == "sqeuclidean" else np.sqrt(squares))


def in_double(cost: Any) -> Any:
    """Return a cloud with points, and so costs, in double precision; whatever else as it is."""
    if not isinstance(cost, PointCloud) or cost.dtype == np.float64 or any(map(is_abstract, cost.given)):
        return cost
    x = cost.x.astype(np.float64)
    return PointCloud.of_checked(x, x if cost.y is cost.x else cost.y.astype(np.float64), cost.metric)


def _normalised(points: NDArray[np.float64]) -> Any:
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


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


def distances(x: NDArray[np.float64], y: NDArray[np.float64], metric: Any) -> NDArray[np.float64]:
    """Return the costs between points (n, d) and (m, d)."""
    if metric == "dot":
        return np.asarray(-(x @ y.T))
    from scipy.spatial.distance import cdist  # takes longer to import than a small solve

    return cdist(x, y, metric)


def _read(name: str, given: Any) -> NDArray[Any]:
    return ingest_points(name, given.detach() if getattr(given, "requires_grad", False) else given)


def refuse_numbers(name: str, points: NDArray[Any], metric: str) -> None:
    """Refuse points (..., n, d) whose coordinates or squared distances are not finite in float64, or at the origin."""

    def first(wrong: Any) -> tuple[str, Any]:
        index = np.unravel_index(int(wrong.argmax()), wrong.shape)
        return f"{name}[{', '.join(map(str, index))}]", points[index]

    most = np.sqrt(np.finfo(np.float64).max / (8.0 * points.shape[-1]))  # (x - y)^2 <= 4 most^2, d of them
    lowest, highest = points.min(), points.max()  # nan if there is one
    if not (-most <= lowest and highest <= most):
        bad = ~np.isfinite(points)
        if bad.any():
            place, value = first(bad)
            raise ValueError(f"{place} is {value}; coordinates must be finite")
        sizes = np.abs(points)
        place, value = first(sizes == sizes.max())
        raise ValueError(f"{place} is {value}; squared distances overflow float64, divide the points by a constant")
    if metric == "cosine":
        zero = ~points.any(axis=-1)
        if zero.any():
            raise ValueError(
                f"{first(zero)[0]} is the origin, whose cosine with another point is not defined; leave it out, or "
                f"take another metric"
            )


def in_common(x: NDArray[Any], y: NDArray[Any], whole: bool = True) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return points in one dtype; where their numbers are `whole`, float64 if squares leave the range of float32."""
    dtype = np.result_type(x, y)
    if whole and dtype == np.float32 and _leaves_single(x, y):
        dtype = np.dtype(np.float64)
    rows = x.astype(dtype, copy=False)
    return rows, rows if y is x else y.astype(dtype, copy=False)


def _refuse_shapes(x: Any, y: Any) -> None:
    """Refuse points of different dimensions."""
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and y has shape {tuple(y.shape)}; both must have the same number of "
            f"coordinates"
        )


def _common(x: Any, y: Any) -> tuple[int, ...]:
    """Return the leading dimensions that two broadcast to."""
    if not (x or y):
        return ()
    longer, shorter = (x, y) if len(x) >= len(y) else (y, x)
    tail = longer[len(longer) - len(shorter) :]
    if any(one != other and 1 not in (one, other) for one, other in zip(tail, shorter, strict=True)):
        raise ValueError(f"x has leading dimensions {tuple(x)} and y {tuple(y)}; they must broadcast")
    ends = (other if one == 1 else one for one, other in zip(tail, shorter, strict=True))
    return (*longer[: len(longer) - len(shorter)], *ends)


def _leaves_single(x: NDArray[Any], y: NDArray[Any]) -> bool:
    """Return True if squares of what is computed with leave the range of float32."""
    largest = max(float(np.abs(x).max()), float(np.abs(y).max()))
    return 8.0 * x.shape[-1] * largest**2 > float(np.finfo(np.float32).max) or 0.0 < largest**2 < LEAST_SQUARE


def many_coordinates(cost: Any) -> bool:
    """True for points in so many coordinates that no search of trees helps."""
    return isinstance(cost, PointCloud) and cost.x.shape[-1] > SEARCHED_COORDINATES
