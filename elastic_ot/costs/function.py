"""A cost that a function computes of blocks of points, or of whatever else rows and columns are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.ingest import as_numpy, is_real
from ..typing import ArrayLike, Items
from .base import Cost


class FunctionCost(Cost):
    """A cost of your own, by the function that computes it of some rows and some columns.

    Pass it in place of a cost matrix to `solve`, `assign`, `exact` or `divergence`; no matrix is stored. For a cost
    that is no function of two things, such as a file of its entries, or whose single entries are cheap, subclass
    `Cost`.

    Parameters
    ----------
    function : callable
        ``function(x[rows], y[cols])``, given some of the rows, k of them, and some of the columns, l, returns their
        costs, shape (k, l): an array of any library, or nested lists. inf forbids an entry.
    x : sequence, length n
        The rows: an array of points, a list of words, whatever `function` reads and slices are taken of. For a function
        of indices, ``range(n)`` or ``np.arange(n)``.
    y : sequence, length m, optional
        The columns; x by default.
    dtype : {numpy.float64, numpy.float32}
        What costs are computed with.

    Attributes
    ----------
    function, x, y
        As given.
    shape : tuple of int
        (n, m).
    dtype : dtype

    Raises
    ------
    TypeError
        For a function that cannot be called, or rows and columns without a length.
    ValueError
        In the call that takes it: for costs of another shape or that are no numbers, and where the function raises.

    Notes
    -----
    What `Cost` says holds: `function` is called again and again, with strips of about a million entries, and must
    return the same numbers each time. `divergence` calls it with x and x, and y and y. `Solution.map_new` takes points
    that were not in the problem.

    See Also
    --------
    PointCloud : the usual distances between points, by kernels of their own.
    Cost : the base class.

    Examples
    --------
    Angles between points of the sphere:

    >>> import numpy as np
    >>> import elastic_ot as eot
    >>> points = np.random.default_rng(0).standard_normal((300, 3))
    >>> points /= np.linalg.norm(points, axis=1, keepdims=True)
    >>> angles = eot.FunctionCost(lambda x, y: np.arccos(np.clip(x @ y.T, -1, 1)), points[:100], points[100:])
    >>> angles
    FunctionCost(<lambda>, 100 x 200)
    >>> sol = eot.solve(angles, epsilon=0.05)
    >>> sol.converged, sol.map_new([[0.0, 0.0, 1.0]]).shape
    (True, (1, 3))

    Words, a pair at a time:

    >>> apart = eot.FunctionCost(lambda x, y: [[len(set(v) ^ set(w)) for w in y] for v in x], ["tea", "coffee"])
    >>> eot.assign(apart).cost
    0.0
    """

    def __init__(
        self,
        function: Callable[..., ArrayLike],
        x: Items,
        y: Items | None = None,
        dtype: type[np.floating] | np.dtype[np.floating] = np.float64,
    ) -> None:
        if not callable(function):
            raise TypeError(f"function is {function!r}; it must be one of some rows and some columns, of their costs")
        self.function, self.x, self.y = function, x, x if y is None else y
        self.shape = _length("x", self.x), _length("y", self.y)
        self.dtype = dtype

    def __repr__(self) -> str:
        n, m = self.shape
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return f"FunctionCost({name}, {n} x {m})"

    def block(self, rows: slice, cols: slice) -> NDArray[np.floating]:
        found = as_numpy("what the function returned", self.function(self.x[rows], self.y[cols]))
        shape = rows.stop - rows.start, cols.stop - cols.start
        if found.shape != shape:
            raise ValueError(
                f"the function returned shape {found.shape} for {shape[0]} rows and {shape[1]} columns; it must be "
                f"{shape}, a cost for every pair"
            )
        if not is_real(found):
            raise TypeError(f"the function returned dtype {found.dtype}; costs are real numbers")
        return found.astype(self.dtype, copy=False)

    def within(self) -> tuple[FunctionCost, FunctionCost]:
        """Return the costs within the rows and within the columns, see `Cost.within`."""
        rows = FunctionCost(self.function, self.x, dtype=self.dtype)
        return rows, rows if self.y is self.x else FunctionCost(self.function, self.y, dtype=self.dtype)

    def _points(self) -> tuple[Any, Any]:
        return self.x, self.y

    def _of_new(self, points: Any, axis: int) -> FunctionCost:
        _length("points", points)
        x, y = (points, self.y) if axis == 1 else (self.x, points)
        return FunctionCost(self.function, x, y, self.dtype)


def _length(name: str, items: Any) -> int:
    try:
        return len(items)
    except TypeError:
        raise TypeError(f"{name} is {items!r}; it must be an array or a sequence, which slices are taken of") from None
