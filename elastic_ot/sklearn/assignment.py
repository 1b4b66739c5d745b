"""Maps by exact transport: every point goes to its partner, or to the mean of its partners."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import KDTree

from ..api.exact import exact
from ..calls import public
from ..typing import ArrayLike
from .base import Array, Transport


class AssignmentTransport(Transport):
    """The exact map from one sample to another: between samples of one size an assignment.

    A point of the source goes to the mean of the target under its row of the optimal plan. A new point is moved as the
    nearest point of the source is.

    Parameters
    ----------
    relative : bool
        Whether `label_cost` is in units of the mean cost.
    metric : {"sqeuclidean", "euclidean", "cityblock", "cosine"}
        The cost between points.
    label_cost : float
        What is added to the cost between points whose labels are known and differ; ``inf`` forbids to join them.

    Attributes
    ----------
    solution_ : ExactSolution
        The transport, with potentials that prove it.
    source_, target_ : ndarray
        The samples.
    scale_ : float
        The mean cost, or 1.
    n_features_in_ : int

    Notes
    -----
    Equal points have one image, the mean of theirs.

    References
    ----------
    Ferradans, Papadakis, Peyré, Aujol, *Regularized discrete optimal transport*, 2014, for new points.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.sklearn import AssignmentTransport
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> transport = AssignmentTransport().fit(X, Xt=[[12.0], [10.0], [11.0]])
    >>> transport.transform(X).ravel(), transport.transform([[1.1]]).ravel()
    (array([10., 11., 12.]), array([11.1]))
    """

    @public
    def __init__(self, *, relative: bool = True, metric: str = "sqeuclidean", label_cost: float = 10.0) -> None:
        self.relative = relative
        self.metric = metric
        self.label_cost = label_cost

    def _solve(self, cost: Any) -> None:
        self.solution_ = found = exact(cost)
        rows, cols, mass = found.row_ind, found.col_ind, found.mass
        self.moves_ = _moves(self.source_, self.target_, rows, cols, mass)
        self.moves_back_ = _moves(self.target_, self.source_, cols, rows, mass)

    @public
    def transform(self, X: ArrayLike) -> Array:
        """Carry points of the source to the target.

        Parameters
        ----------
        X : array_like, shape (k, d)

        Returns
        -------
        ndarray, shape (k, d)
        """
        return _moved(self._read(X), *self.moves_)

    @public
    def inverse_transform(self, X: ArrayLike) -> Array:
        """Carry points of the target to the source.

        Parameters
        ----------
        X : array_like, shape (k, d)

        Returns
        -------
        ndarray, shape (k, d)
        """
        return _moved(self._read(X), *self.moves_back_)


def _moves(points: Array, images: Array, which: Any, partners: Any, mass: Array) -> tuple[Array, Array]:
    """Return the places, each once, and by how much each is moved."""
    places, place = np.unique(points, axis=0, return_inverse=True)
    place = place.ravel()[which]
    sums = np.zeros_like(places)
    np.add.at(sums, place, mass[:, None] * images[partners])
    masses = np.bincount(place, mass, len(places))
    return places, sums / masses[:, None] - places


def _moved(points: Array, places: Array, moves: Array) -> Array:
    nearest = KDTree(places).query(points)[1]
    return points + moves[nearest]
