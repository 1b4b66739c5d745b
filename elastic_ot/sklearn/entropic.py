"""Maps by entropic transport: smooth, and defined for new points by the potentials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..api.solve import solve
from ..calls import public
from ..costs.points import PointCloud
from ..problems.penalties import KL, L2, TV, Fixed
from ..problems.penalty import Penalty
from ..typing import ArrayLike, Number
from .base import Array, Transport

PENALTIES_BY_NAME: dict[str, Callable[[float], Penalty]] = {"KL": KL, "L2": L2, "TV": TV}


class SinkhornTransport(Transport):
    """The entropic map from one sample to another.

    A point goes to the mean of the target under its row of the plan, T(x) = sum_j p_j y_j with p_j proportional to b_j
    exp((g_j - c(x, y_j)) / epsilon). That formula holds for the points of the source and defines the map elsewhere.

    Parameters
    ----------
    epsilon : float
        Strength of the entropy.
    relative : bool
        Whether `epsilon` and `label_cost` are in units of the mean cost.
    metric : {"sqeuclidean", "euclidean", "cityblock", "cosine"}
        The cost between points.
    label_cost : float
        What is added to the cost between points whose labels are known and differ; ``inf`` forbids to join them.
    tol, max_iter, method
        As for `elastic_ot.solve`.

    Attributes
    ----------
    solution_ : Solution
        The transport, with its certificate.
    source_, target_ : ndarray
        The samples.
    scale_ : float
        The mean cost, or 1.
    epsilon_ : float
        The strength of the entropy in units of the cost.
    n_iter_ : int
    n_features_in_ : int

    Notes
    -----
    Labels change the plan and its potentials. The map of new points has none, and knows of them through the potentials
    only; that of the source is the one of the plan when `transform` gets the very points of ``fit``.

    References
    ----------
    Courty, Flamary, Tuia, Rakotomamonjy, *Optimal transport for domain adaptation*, 2017; Pooladian, Niles-Weed,
    *Entropic estimation of optimal transport maps*, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.sklearn import SinkhornTransport
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 2))
    >>> transport = SinkhornTransport(epsilon=0.01).fit(X, Xt=X + [3.0, 0.0])
    >>> transport.transform([[0.0, 0.0]])[0, 0].round(1)
    np.float64(3.1)
    """

    @public
    def __init__(
        self,
        epsilon: float = 0.05,
        *,
        relative: bool = True,
        metric: str = "sqeuclidean",
        label_cost: float = 10.0,
        tol: float = 1e-6,
        max_iter: int = 10_000,
        method: str = "auto",
    ) -> None:
        self.epsilon = epsilon
        self.relative = relative
        self.metric = metric
        self.label_cost = label_cost
        self.tol = tol
        self.max_iter = max_iter
        self.method = method

    def _penalties(self) -> tuple[Penalty, Penalty]:
        return Fixed(), Fixed()

    def _solve(self, cost: Any) -> None:
        self.epsilon_ = self.epsilon * self.scale_
        rows, cols = self._penalties()
        method: Any = self.method
        self.solution_ = solve(
            cost, epsilon=self.epsilon_, rows=rows, cols=cols, tol=self.tol, max_iter=self.max_iter, method=method
        )
        self.n_iter_ = max(1, int(self.solution_.n_iter))
        self.labelled_ = not isinstance(cost, PointCloud)

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
        points = self._read(X)
        if self.labelled_ and np.array_equal(points, self.source_):
            return np.asarray(self.solution_.barycentric_map(self.target_))
        new = PointCloud(points, self.target_, self.metric)
        return np.asarray(self.solution_.map_new(new, self.target_))

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
        points = self._read(X)
        if self.labelled_ and np.array_equal(points, self.target_):
            sent = np.asarray(self.solution_.apply(self.source_, axis=0))
            return sent / np.asarray(self.solution_.col_marginal)[:, None]
        new = PointCloud(self.source_, points, self.metric)
        return np.asarray(self.solution_.map_new(new, self.source_, axis=0))


class UnbalancedTransport(SinkhornTransport):
    """The entropic map between samples whose classes or clusters have different sizes, or that have outliers.

    Marginals are asked for at a price: what has no match nearby sends and gets less.

    Parameters
    ----------
    epsilon : float
        Strength of the entropy.
    rho : float or pair of float
        Strength of the penalties of source and target; ``inf`` for a side that must be met.
    penalty : {"KL", "TV", "L2"}
        Their kind. "TV" leaves points out.
    relative : bool
        Whether `epsilon`, `rho` (not that of "L2") and `label_cost` are in units of the mean cost.
    metric, label_cost, tol, max_iter, method
        As for `SinkhornTransport`.

    Attributes
    ----------
    solution_, source_, target_, scale_, epsilon_, n_iter_, n_features_in_
        As of `SinkhornTransport`.

    References
    ----------
    Chizat, Peyré, Schmitzer, Vialard, *Scaling algorithms for unbalanced optimal transport problems*, 2018.

    Examples
    --------
    One of the points of the target is far from all of the source, and gets nearly nothing:

    >>> import numpy as np
    >>> from elastic_ot.sklearn import UnbalancedTransport
    >>> X, Xt = np.array([[0.0], [1.0]]), np.array([[0.0], [1.0], [50.0]])
    >>> transport = UnbalancedTransport(epsilon=0.1, rho=1.0, relative=False).fit(X, Xt=Xt)
    >>> transport.transform(X).round(1)
    array([[0.],
           [1.]])
    """

    @public
    def __init__(
        self,
        epsilon: float = 0.05,
        rho: Number | tuple[Number, Number] = 1.0,
        *,
        penalty: str = "KL",
        relative: bool = True,
        metric: str = "sqeuclidean",
        label_cost: float = 10.0,
        tol: float = 1e-6,
        max_iter: int = 10_000,
        method: str = "auto",
    ) -> None:
        super().__init__(
            epsilon, relative=relative, metric=metric, label_cost=label_cost, tol=tol, max_iter=max_iter, method=method
        )
        self.rho = rho
        self.penalty = penalty

    def _penalties(self) -> tuple[Penalty, Penalty]:
        if self.penalty not in PENALTIES_BY_NAME:
            raise ValueError(f"penalty is {self.penalty!r}; choose from {', '.join(map(repr, PENALTIES_BY_NAME))}")
        kind = PENALTIES_BY_NAME[self.penalty]
        first, second = np.broadcast_to(np.asarray(self.rho, dtype=np.float64), 2).tolist()
        scale = 1.0 if self.penalty == "L2" else self.scale_
        return kind(first * scale), kind(second * scale)
