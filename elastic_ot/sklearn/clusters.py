"""Clusters of histograms or of clouds of points, whose centres are barycenters of transport."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ..arrays.ingest import ingest_points
from ..calls import public
from ..costs.base import Cost
from ..costs.points import PointCloud
from ..costs.relative import absolute
from ..typing import ArrayLike, Number
from .base import Array
from .measures import Clouds, Histograms, Measures

X_TYPES = "histograms, shape (N, d), or clouds of points, a list of (n, d) or an array (N, n, d)"


class WassersteinKMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """k-means of measures: histograms on common bins, or clouds of points, around barycenters of transport.

    Every measure goes to the centre that is cheapest to reach, every centre becomes the barycenter of its measures, in
    turn (Lloyd's algorithm). Both lower the sum of the costs, as far as the tolerance of the solves shows it.

    Parameters
    ----------
    n_clusters : int
        How many.
    cost : array_like, shape (d, d), PointCloud, or None
        Of histograms: symmetric costs between their bins. None has the bins on a line from 0 to 1, with squared
        distances. Clouds have squared distances.
    epsilon : float or str
        Strength of the entropy, in the units of the costs; a text such as ``"0.02x"`` is a fraction of their range.
    n_points : int, optional
        Of the centre of clouds; by default the mean number of points of the clouds.
    n_init : int
        From how many first centres to begin; the best result stays.
    max_iter : int
        Rounds at most, from each.
    tol : float
        Rounds end when the inertia falls by no more than this, relative to it.
    solve_tol : float
        Tolerance of transports and barycenters, as for `elastic_ot.solve`.
    random_state : int, optional
        The seed, or ``numpy.random.RandomState``, that draws the first centres by the rule of k-means++. None has a new
        one, not that of NumPy.

    Attributes
    ----------
    cluster_centers_ : ndarray, shape (n_clusters, d), or (n_clusters, n_points, d)
        Histograms of mass 1, or points.
    cluster_masses_ : ndarray, shape (n_clusters, n_points)
        Of the points of centres of clouds.
    labels_ : ndarray of int, shape (N,)
    inertia_ : float
        The sum of the costs to the own centre.
    n_iter_ : int
    n_features_in_ : int
        d.

    Notes
    -----
    Histograms are divided by their sums. Their costs are debiased divergences, 0 between equal ones, and the centres
    debiased barycenters, which the entropy does not blur. Those of clouds are the entropic costs of transport to the
    centre, and centres are `elastic_ot.free_barycenter`, a little narrower than the clouds: by less with a smaller
    `epsilon`. All N k problems are solved in every round.

    See Also
    --------
    elastic_ot.barycenter, elastic_ot.free_barycenter : one centre.
    elastic_ot.divergence : the cost between histograms.

    References
    ----------
    Cuturi and Doucet, *Fast computation of Wasserstein barycenters*, 2014; Janati, Cuturi, Gramfort, *Debiased Sinkhorn
    barycenters*, 2020; Arthur and Vassilvitskii, *k-means++: the advantages of careful seeding*, 2007.

    Examples
    --------
    Bumps on a line, whose bins hardly overlap within a cluster:

    >>> import numpy as np
    >>> from elastic_ot.sklearn import WassersteinKMeans
    >>> places = np.array([4.0, 6.0, 5.0, 20.0, 21.0, 19.0])
    >>> X = np.exp(-((np.arange(25) - places[:, None]) ** 2) / 0.5)
    >>> model = WassersteinKMeans(2, random_state=0).fit(X)
    >>> (model.labels_ == model.labels_[0]).tolist()
    [True, True, True, False, False, False]
    >>> (model.cluster_centers_ @ np.arange(25)).round(1)[model.labels_[[0, 3]]]
    array([ 5., 20.])
    """

    @public
    def __init__(
        self,
        n_clusters: int = 8,
        *,
        cost: ArrayLike | Cost | None = None,
        epsilon: Number | str = "0.02x",
        n_points: int | None = None,
        n_init: int = 1,
        max_iter: int = 100,
        tol: float = 1e-4,
        solve_tol: float = 1e-6,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.cost = cost
        self.epsilon = epsilon
        self.n_points = n_points
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.solve_tol = solve_tol
        self.random_state = random_state

    n_features_in_: int

    @public
    def fit(self, X: ArrayLike | list[Array], y: object = None) -> Self:
        """Find the clusters.

        Parameters
        ----------
        X : array_like, shape (N, d), or list of array_like, shapes (n, d), or array_like, shape (N, n, d)
            Histograms >= 0, or clouds of points.
        y
            Ignored.

        Returns
        -------
        self
        """
        measures = self._read(X, fit=True)
        if not 1 <= self.n_clusters <= len(measures):
            raise ValueError(f"n_clusters is {self.n_clusters}; it must lie between 1 and n_samples={len(measures)}")
        own = np.random.RandomState() if self.random_state is None else self.random_state
        rng, best = check_random_state(own), None
        for _ in range(self.n_init):
            found = _rounds(measures, self.n_clusters, self.max_iter, self.tol, rng)
            if best is None or found[2] < best[2]:
                best = found
        assert best is not None
        self.centres_, self.labels_, self.inertia_, self.n_iter_ = best
        self.clouds_ = isinstance(measures, Clouds)
        self.cluster_centers_ = np.stack([x[0] if self.clouds_ else x for x in self.centres_])
        if self.clouds_:
            self.cluster_masses_ = np.stack([masses for _, masses in self.centres_])
        return self

    @public
    def transform(self, X: ArrayLike | list[Array]) -> Array:
        """Return what it costs to carry measures to the centres.

        Parameters
        ----------
        X : as for `fit`

        Returns
        -------
        ndarray, shape (N, n_clusters)
        """
        check_is_fitted(self)
        return self._read(X).costs(self.centres_)

    @public
    def predict(self, X: ArrayLike | list[Array]) -> NDArray[np.intp]:
        """Return the number of the centre that is cheapest to reach.

        Parameters
        ----------
        X : as for `fit`

        Returns
        -------
        ndarray of int, shape (N,)
        """
        return np.asarray(self.transform(X).argmin(axis=1))

    @public
    def score(self, X: ArrayLike | list[Array], y: object = None) -> float:
        """Return minus the sum of the costs to the cheapest centre.

        Parameters
        ----------
        X : as for `fit`
        y
            Ignored.

        Returns
        -------
        float
        """
        return -float(self.transform(X).min(axis=1).sum())

    def _read(self, X: Any, fit: bool = False) -> Measures:
        """Return the measures, refused if they are of another kind than those of the fit."""
        clouds = _is_clouds(X)
        if not fit and clouds != self.clouds_:
            raise ValueError(f"X is not of the kind that was fitted: {X_TYPES}")
        return self._clouds(X, fit) if clouds else self._histograms(X, fit)

    def _histograms(self, X: Any, fit: bool) -> Histograms:
        values = validate_data(self, X, reset=fit, dtype=np.float64, ensure_non_negative=True)
        if values.shape[1] == 1:
            raise ValueError("X has 1 feature(s); histograms of one bin are all the same")
        sums = values.sum(axis=1, keepdims=True)
        if not (sums > 0).all():
            raise ValueError(f"X[{int(np.argmin(sums))}] has no mass; a histogram needs a bin > 0")
        if fit:
            bins = np.linspace(0.0, 1.0, values.shape[1])[:, None]
            self.cost_ = PointCloud(bins) if self.cost is None else self.cost
            self.epsilon_ = absolute(self.epsilon, self.cost_)
        return Histograms(values / sums, self.cost_, self.epsilon_, self.solve_tol)

    def _clouds(self, X: Any, fit: bool) -> Clouds:
        clouds = [ingest_points(f"X[{k}]", x).astype(np.float64) for k, x in enumerate(X)]
        d: int = clouds[0].shape[-1] if fit else self.n_features_in_
        for k, cloud in enumerate(clouds):
            if cloud.ndim != 2 or cloud.shape[1] != d:
                raise ValueError(f"X[{k}] has shape {cloud.shape}; it must be points of {d} coordinates, (n, {d})")
        if fit:
            every = np.concatenate(clouds)
            self.n_features_in_ = d
            self.n_points_ = self.n_points or max(1, round(len(every) / len(clouds)))
            self.epsilon_ = absolute(self.epsilon, PointCloud(every))
        return Clouds(clouds, self.n_points_, float(self.epsilon_), self.solve_tol)

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.input_tags.three_d_array = True
        return tags


def _is_clouds(X: Any) -> bool:
    """True for a list of matrices, and for an array of three dimensions."""
    if isinstance(X, list | tuple):
        return bool(X) and np.ndim(X[0]) == 2
    return getattr(X, "ndim", None) == 3


def _rounds(
    measures: Measures, count: int, most: int, tol: float, rng: np.random.RandomState
) -> tuple[list[Any], NDArray[np.intp], float, int]:
    """Return centres, the labels by them, the inertia, and how many rounds it took."""
    centres = _begin(measures, count, rng)
    costs, before, n_iter = measures.costs(centres), np.inf, 0
    while n_iter < most:
        labels, inertia = costs.argmin(axis=1), float(costs.min(axis=1).sum())
        if before - inertia <= tol * inertia:
            break
        n_iter, before = n_iter + 1, inertia
        for k in range(count):
            if not (labels == k).any():  # an empty cluster takes the measure that is farthest from its centre
                away = costs[np.arange(len(measures)), labels] * (np.bincount(labels, minlength=count)[labels] > 1)
                labels[int(away.argmax())] = k
        centres = [measures.centre(np.flatnonzero(labels == k), centres[k]) for k in range(count)]
        costs = measures.costs(centres)
    return centres, costs.argmin(axis=1), float(costs.min(axis=1).sum()), max(n_iter, 1)


def _begin(measures: Measures, count: int, rng: np.random.RandomState) -> list[Any]:
    """Return first centres by k-means++: each one of the measures, by its cost to those before."""
    centres = [measures.first(int(rng.randint(len(measures))), rng)]
    least = measures.costs(centres)[:, 0]
    while len(centres) < count:
        total = least.sum()
        which = int(rng.choice(len(measures), p=least / total)) if total > 0 else int(rng.randint(len(measures)))
        centres.append(measures.first(which, rng))
        least = np.minimum(least, measures.costs(centres[-1:])[:, 0])
    return centres
