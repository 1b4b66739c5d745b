"""`Grid`: the cost between the points of regular grids, a sum over axes, as one small matrix an axis."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..arrays.devices import first_true
from ..arrays.ingest import as_numpy, is_real
from ..typing import ArrayLike
from .axes import entries_at, entries_between
from .base import LENGTH_POWERS, Cost, KnownCost, is_cost
from .dense import DenseCost
from .grid_plan import GridCost

SUMMED_METRICS = ("sqeuclidean", "cityblock")


class Grid(Cost):
    """The cost between the points of two regular grids, which is a sum over axes: for images and volumes.

    Point i of the first grid has an index on every axis, (i_1, ..., i_d), and so has point j of the second:
    C_ij = C^1[i_1, j_1] + ... + C^d[i_d, j_d]. The kernel exp(-C / epsilon) is then a product over axes, and an
    iteration on n points takes n^(1 + 1/d) operations and O(n) memory: no cost matrix is ever computed. `solve` takes
    a `Grid` in place of a cost matrix, with all its penalties and methods.

    Parameters
    ----------
    axes_x : sequence of (int or array_like, shape (n_k,))
        The coordinates of the first grid, an entry an axis, in any order and with any spacing. An integer k stands for
        the centres of k equal cells of [0, 1], (0.5, ..., k - 0.5) / k: so ``Grid(image.shape)`` lays images over the
        unit square (or cube), and one picture in two resolutions over itself. Pass ``np.arange(k)`` to measure in
        pixels, which also keeps the proportions of an image that is not square.
    axes_y : sequence of (int or array_like, shape (m_k,)), optional
        Those of the second grid, with as many axes; by default the same.
    metric : {"sqeuclidean", "cityblock"}
        The sum over axes of (x - y)^2, or of abs(x - y). For any other sum over axes see `Grid.from_matrices`.

    Attributes
    ----------
    shape : tuple of int
        (n, m), the numbers of points: n = n_1 ... n_d.
    shape_x, shape_y : tuple of int
        The shapes of the grids, (n_1, ..., n_d) and (m_1, ..., m_d).
    matrices : tuple of ndarray, shapes (n_k, m_k)
        The cost along each axis; read-only.
    axes_x, axes_y : tuple of ndarray, or None
        The coordinates; None for a grid made of matrices.
    metric : str or None
    dtype : dtype
        float32 if all coordinates are, else float64: that of entries and plans. Iterations are in float64 in any case.

    Raises
    ------
    ValueError
        An empty axis, coordinates that are not finite, different numbers of axes, or an unknown metric.
    TypeError
        Coordinates that are no real numbers.

    Notes
    -----
    Weights of a grid are images: ``a`` and ``b`` may have the shapes `shape_x` and `shape_y`, or be flat in C order.
    Potentials and marginals are flat; ``solution.f.reshape(grid.shape_x)`` is an image again. Pixels without mass
    have the weight 0: there is no mask.

    Up to 2**20 entries, two images of 32 x 32, the cost is computed once and kept as a matrix; along one axis alone it
    is the matrix of that axis.

    See Also
    --------
    Cost : costs of any kind that are computed a block at a time.
    solve : takes it in place of a matrix.

    References
    ----------
    Solomon, de Goes, Peyré, Cuturi, Butscher, Nguyen, Du, Guibas, *Convolutional Wasserstein distances*, 2015; Peyré
    and Cuturi, *Computational Optimal Transport*, 2019, section 4.3.

    Examples
    --------
    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> image = np.zeros((64, 48))
    >>> image[10:20, 5:15] = 1.0
    >>> grid = eot.Grid(image.shape)
    >>> grid.shape
    (3072, 3072)
    >>> sol = eot.solve(grid, image, np.roll(image, 24, axis=0), epsilon=0.01, rows=eot.KL(1.0), cols=eot.KL(1.0))
    >>> sol.converged, sol.row_marginal.reshape(grid.shape_x).shape
    (True, (64, 48))
    """

    axes_x: tuple[NDArray[np.floating], ...] | None = None
    axes_y: tuple[NDArray[np.floating], ...] | None = None
    metric: str | None = None
    _mask_advice: ClassVar[str] = (
        "a {name} has none: give points without mass the weight 0, or pass its cost as a matrix"
    )

    def __init__(
        self, axes_x: Sequence[ArrayLike], axes_y: Sequence[ArrayLike] | None = None, metric: str = "sqeuclidean"
    ) -> None:
        if metric not in SUMMED_METRICS:
            known = ", ".join(map(repr, SUMMED_METRICS))
            raise ValueError(f"metric is {metric!r}; choose from {known}, or use Grid.from_matrices for any other sum")
        first = _axes("axes_x", axes_x)
        second = first if axes_y is None else _axes("axes_y", axes_y)
        if len(first) != len(second):
            raise ValueError(f"axes_x has {len(first)} axes and axes_y has {len(second)}; they must be as many")
        self._become([_distances(x, y, metric) for x, y in zip(first, second, strict=True)])
        self.axes_x, self.axes_y, self.metric = tuple(first), tuple(second), metric

    @classmethod
    def from_matrices(cls, matrices: Sequence[ArrayLike]) -> Grid:
        """Return the cost that is a sum of any small matrices, one an axis.

        Parameters
        ----------
        matrices : sequence of array_like, shapes (n_k, m_k)
            C_ij = matrices[0][i_1, j_1] + ... + matrices[d - 1][i_d, j_d], points in C order; finite numbers. Distances
            round a circle, prices between days and between hours, another metric on every axis.

        Returns
        -------
        Grid

        Raises
        ------
        ValueError
            No matrices, one that is empty or has not two dimensions, or an entry that is not finite.
        TypeError
            Entries that are no real numbers.

        Examples
        --------
        >>> import numpy as np
        >>> import elastic_ot as eot
        >>> hours = np.arange(24)
        >>> apart = np.abs(hours[:, None] - hours)
        >>> round_the_clock = np.minimum(apart, 24 - apart)
        >>> week = 5.0 * (1 - np.eye(7))
        >>> eot.Grid.from_matrices([week, round_the_clock]).shape
        (168, 168)
        """
        given = _sequence("matrices", matrices, "matrix")
        grid = cls.__new__(cls)
        grid._become([_matrix(f"matrices[{k}]", matrix) for k, matrix in enumerate(given)])
        return grid

    def _become(self, matrices: list[NDArray[np.floating]]) -> None:
        self.dtype = np.dtype(np.float32 if all(c.dtype == np.float32 for c in matrices) else np.float64)
        for matrix in matrices:
            matrix.flags.writeable = False
        self.matrices = tuple(matrices)
        self.shape_x, self.shape_y = (tuple(c.shape[side] for c in matrices) for side in (0, 1))
        self.shape = math.prod(self.shape_x), math.prod(self.shape_y)

    def within(self) -> tuple[Grid, Grid] | None:
        """Return the costs between the points of either grid, see `Cost.within`; None for a grid made of matrices."""
        if self.axes_x is None or self.axes_y is None or self.metric is None:
            return None
        first, second = ([axis.astype(self.dtype) for axis in axes] for axes in (self.axes_x, self.axes_y))
        return Grid(first, metric=self.metric), Grid(second, metric=self.metric)

    def _length_power(self) -> int | None:
        return None if self.metric is None else LENGTH_POWERS[self.metric]

    def _known(self) -> KnownCost:
        """Along one axis alone nothing is a sum, and the cost is that axis' matrix."""
        summed = along_axes(self)
        if len(self.matrices) == 1:
            return DenseCost(self.matrices[0], summed.lowest, summed.highest, user=self)
        return summed

    def __repr__(self) -> str:
        return f"Grid({' x '.join(map(str, self.shape_x))} to {' x '.join(map(str, self.shape_y))}, {self.dtype})"

    def block(self, rows: slice, cols: slice) -> NDArray[np.floating]:
        """Return the costs of some rows and columns, see `Cost.block`."""
        return entries_between(self.matrices, rows, cols).astype(self.dtype, copy=False)

    def at(self, i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[np.floating]:
        """Return the costs of single pairs, see `Cost.at`."""
        return entries_at(self.matrices, i, j).astype(self.dtype, copy=False)


def along_axes(grid: Grid) -> GridCost:
    """Return a grid's cost with its facts: its range is the sum of those of the axes."""
    matrices = tuple(c.astype(np.float64) for c in grid.matrices)
    lowest, highest = (float(sum(map(end, matrices))) for end in (np.min, np.max))
    return GridCost(grid, grid.shape, np.dtype(np.float64), lowest, highest, matrices=matrices)


def _sequence(name: str, values: Any, what: str) -> list[Any]:
    try:
        found = list(values)
    except TypeError:
        raise TypeError(f"{name} is {values!r}; it must be a sequence with one {what} an axis") from None
    if not found:
        raise ValueError(f"{name} is empty; it must have one {what} an axis")
    return found


def _axes(name: str, values: Any) -> list[NDArray[np.floating]]:
    if getattr(values, "ndim", 1) != 1:
        given = f"{name} has shape {tuple(values.shape)}"
        raise ValueError(f"{given}; it must be a sequence with one vector an axis, or the shape of an image")
    return [_axis(f"{name}[{k}]", axis) for k, axis in enumerate(_sequence(name, values, "vector or number of points"))]


def _axis(name: str, values: Any) -> NDArray[np.floating]:
    """The coordinates of an axis."""
    if not hasattr(values, "__len__") and not getattr(values, "ndim", 0):
        try:
            count = operator.index(values)
        except TypeError:
            raise TypeError(f"{name} is {values!r}; it must be a vector or a number of points") from None
        if count < 1:
            raise ValueError(f"{name} is {count}; a number of points must be >= 1")
        return (np.arange(count) + 0.5) / count
    axis = _real(name, as_numpy(name, values))
    if axis.ndim != 1:
        raise ValueError(f"{name} has shape {axis.shape}; it must be a vector, or a number of points")
    if axis.size == 0:
        raise ValueError(f"{name} is empty; an axis needs at least one point")
    _refuse_infinite(name, axis)
    return axis


def _matrix(name: str, values: Any) -> NDArray[np.floating]:
    matrix = _real(name, as_numpy(name, values))
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"{name} has shape {matrix.shape}; it must be (n_k, m_k), both >= 1")
    _refuse_infinite(name, matrix)
    return matrix.copy(order="C")


def _real(name: str, array: NDArray[Any]) -> NDArray[np.floating]:
    if not is_real(array):
        raise TypeError(f"{name} has dtype {array.dtype}; it must hold real numbers")
    narrow = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    return array.astype(np.float32 if narrow else np.float64, copy=False)


def _refuse_infinite(name: str, array: NDArray[np.floating]) -> None:
    wrong = ~np.isfinite(array)
    if wrong.any():
        index = first_true(wrong) if array.ndim == 2 else (int(np.argmax(wrong)),)
        raise ValueError(f"{name}[{', '.join(map(str, index))}] is {array[index]}; it must be finite")


def _distances(x: NDArray[np.floating], y: NDArray[np.floating], metric: str) -> NDArray[np.floating]:
    """The metric along an axis: differences in float64, so that those of float32 are right to their last digit."""
    with np.errstate(over="ignore"):
        apart = np.subtract(x[:, None], y, dtype=np.float64)
        found: NDArray[np.floating] = apart * apart if metric == "sqeuclidean" else np.abs(apart)
        found = found.astype(np.result_type(x, y), copy=False)
    if not np.isfinite(found).all():
        raise ValueError(f"coordinates up to {np.abs(apart).max():.3g} apart overflow a {metric} cost; rescale them")
    return found


def flat_weights(cost: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """Return weights, those of a `Grid` that have its shape flat; refuses other shapes by name."""
    if not is_cost(cost) or not isinstance(cost, Grid):
        return a, b
    return _flat("a", a, cost.shape_x), _flat("b", b, cost.shape_y)


def _flat(name: str, weights: Any, shape: tuple[int, ...]) -> Any:
    if weights is None:
        return None
    array = weights if hasattr(weights, "reshape") else as_numpy(name, weights)
    if len(array.shape) == 1:
        return array
    if tuple(array.shape) != shape:
        flat = f"({math.prod(shape)},)"
        raise ValueError(f"{name} has shape {tuple(array.shape)}; on this Grid it must be {shape} or {flat}")
    return array.reshape(-1)
