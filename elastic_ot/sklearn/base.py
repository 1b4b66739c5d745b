"""What the transports have in common: reading two samples and their labels, the costs between them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ..calls import public
from ..costs.points import PointCloud
from ..typing import ArrayLike

Array = NDArray[np.float64]
UNKNOWN = -1  # the label of a point whose class is not known
ENTRIES_AT_ONCE = 2**22  # entries of a cost that are looked at together


class Transport(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """A map from one sample to another that is fitted by optimal transport."""

    @public
    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, *, Xt: ArrayLike | None = None, yt: ArrayLike | None = None
    ) -> Self:
        """Find the transport from one sample to another.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Points of the source.
        y : array_like, shape (n,), optional
            Their labels; -1 where one is not known.
        Xt : array_like, shape (m, d), optional
            Points of the target; by default those of the source.
        yt : array_like, shape (m,), optional
            Their labels. Only where both sides have labels do these count.

        Returns
        -------
        self
        """
        source = validate_data(self, X, dtype=np.float64)
        target = source if Xt is None else validate_data(self, Xt, reset=False, dtype=np.float64)
        self.source_, self.target_ = source, target
        cloud = PointCloud(source, target, self.metric)
        self.scale_ = _scale(cloud) if self.relative else 1.0
        cost: Any = cloud
        if y is not None and yt is not None:
            apart = _different(y, yt, cloud.shape)
            cost = matrix_of(cloud) + np.where(apart, self.label_cost * self.scale_, 0.0)
        self._solve(cost)
        return self

    @abstractmethod
    def _solve(self, cost: Any) -> None:
        """Set `solution_` and what the maps read."""

    @property
    def coupling_(self) -> Array:
        """The plan, shape (n, m), of mass 1."""
        check_is_fitted(self)
        return np.asarray(self.solution_.plan)

    def _read(self, X: Any) -> Array:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, reset=False, dtype=np.float64))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "solution_")


def matrix_of(cloud: PointCloud) -> Array:
    """Return the costs between points, written out."""
    n, m = cloud.shape
    return np.asarray(cloud.block(slice(0, n), slice(0, m)))


def blocks_of(cloud: PointCloud) -> Any:
    """Yield rows and their costs, so many at a time that they fit into memory."""
    n, m = cloud.shape
    step = max(1, ENTRIES_AT_ONCE // m)
    for begin in range(0, n, step):
        rows = slice(begin, min(begin + step, n))
        yield rows, np.asarray(cloud.block(rows, slice(0, m)))


def _scale(cloud: PointCloud) -> float:
    """Return the mean cost, 1 where all are 0."""
    mean = sum(float(block.sum()) for _, block in blocks_of(cloud)) / (cloud.shape[0] * cloud.shape[1])
    return abs(mean) or 1.0


def _different(y: Any, yt: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """True for pairs of points whose labels are known and differ."""
    labels = [np.asarray(values).ravel() for values in (y, yt)]
    for name, values, size in zip(("y", "yt"), labels, shape, strict=True):
        if values.size != size:
            raise ValueError(f"{name} has {values.size} labels for {size} points; give one for each")
    first, second = labels
    known = (first != UNKNOWN)[:, None] & (second != UNKNOWN)
    return np.asarray(known & (first[:, None] != second))
