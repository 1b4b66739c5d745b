"""A loss between clouds of points."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..costs.points import METRICS, PointCloud
from ..frameworks.options import Grad
from ..frameworks.torch_operators import divergence, potentials, value
from ..problems.pairs import strength
from ..problems.penalties import Fixed
from ..problems.penalty import Penalty

FIXED = Fixed()


class SamplesLoss(nn.Module):
    """The Sinkhorn divergence between clouds of points as a loss, without a matrix of costs.

    It is 0 between equal clouds and positive between others, and differentiable in points, weights and `epsilon`.

    Parameters
    ----------
    epsilon : float or Tensor, optional
        Strength of the entropy, in units of the cost. Either this or `blur` must be given.
    blur : float, optional
        A length in its place: epsilon is blur**2 for "sqeuclidean", blur for "euclidean" and "cityblock".
    metric : {"sqeuclidean", "euclidean", "cityblock", "cosine", "dot"}
        The cost between points, as for `PointCloud`.
    rows, cols : Penalty
        What the marginals of the first and of the second cloud are asked to be.
    debiased : bool
        False for the optimal value of the entropic problem itself, which is not 0 between equal clouds.
    tol, max_iter, method, on_failure
        As for `elastic_ot.solve`.

    Raises
    ------
    ValueError, TypeError
        As `elastic_ot.torch.divergence`.

    See Also
    --------
    elastic_ot.torch.divergence : the function, for costs of any kind.
    elastic_ot.compat.geomloss.SamplesLoss : the same with GeomLoss' arguments.

    Examples
    --------
    >>> import torch
    >>> from elastic_ot.torch import SamplesLoss
    >>> x, y = torch.rand(30, 2, requires_grad=True), torch.rand(40, 2) + 1.0
    >>> loss = SamplesLoss(blur=0.1)(x, y)
    >>> loss.backward()
    >>> loss.item() > 1.0, x.grad.shape
    (True, torch.Size([30, 2]))
    """

    def __init__(
        self,
        *,
        epsilon: float | Tensor | None = None,
        blur: float | None = None,
        metric: str = "sqeuclidean",
        rows: Penalty = FIXED,
        cols: Penalty = FIXED,
        debiased: bool = True,
        tol: float = 1e-6,
        max_iter: int = 10_000,
        method: str = "auto",
        on_failure: str = "warn",
    ) -> None:
        super().__init__()
        if (epsilon is None) == (blur is None):
            raise ValueError("give either epsilon or blur")
        if metric not in METRICS:
            raise ValueError(f"metric is {metric!r}; choose from {', '.join(map(repr, METRICS))}")
        self.epsilon, self.blur, self.metric = epsilon, blur, metric
        self.rows, self.cols, self.debiased = rows, cols, bool(debiased)
        self.options: dict[str, Any] = {"tol": tol, "max_iter": max_iter, "method": method, "on_failure": on_failure}

    def forward(self, x: Tensor, y: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        x, y : Tensor, shapes (..., n, d) and (..., m, d)
            Points.
        a, b : Tensor, shapes (..., n) and (..., m), optional
            Weights, default 1/n and 1/m.

        Returns
        -------
        Tensor
            Shape (...).
        """
        cloud = PointCloud(x, y, self.metric)
        return self._between(cloud, None, None, a, b)

    def of_costs(
        self, xy: Tensor, xx: Tensor | None, yy: Tensor | None, a: Tensor | None = None, b: Tensor | None = None
    ) -> Tensor:
        """Return the loss for matrices of costs, those within each cloud too unless ``debiased=False``."""
        return self._between(xy, xx, yy, a, b)

    def _between(self, xy: Any, xx: Any, yy: Any, a: Any, b: Any) -> Tensor:
        options: dict[str, Any] = {**self.options, "rows": self.rows, "cols": self.cols}
        options["epsilon"] = self._epsilon(xy)
        found: Tensor = divergence(xy, xx, yy, a, b, **options) if self.debiased else value(xy, a, b, **options)
        return found

    def potentials(
        self, x: Tensor, y: Tensor, a: Tensor | None = None, b: Tensor | None = None, grad: Grad = "implicit"
    ) -> tuple[Tensor, Tensor]:
        """Return the potentials f and g, shapes (..., n) and (..., m), in units of the cost.

        Debiased, they are those between the clouds less those within each: for relaxed sides and `KL` the derivatives
        of the loss in the weights follow from them, for fixed ones they are these derivatives up to a constant.
        """
        first, second = self._pair(x, y, a, b, self.rows, self.cols, grad)
        if not self.debiased:
            return first, second
        within = self._pair(x, x, a, a, self.rows, self.rows, grad), self._pair(y, y, b, b, self.cols, self.cols, grad)
        return first - 0.5 * sum(within[0]), second - 0.5 * sum(within[1])

    def _pair(self, x: Any, y: Any, a: Any, b: Any, rows: Penalty, cols: Penalty, grad: Grad) -> tuple[Tensor, Tensor]:
        cloud = PointCloud(x, y, self.metric)
        epsilon = self._epsilon(cloud)
        found = potentials(cloud, a, b, epsilon=epsilon, rows=rows, cols=cols, grad=grad, **self.options)
        f, g = self.centred(found, a, b) if isinstance(rows, Fixed) and isinstance(cols, Fixed) else found
        return f, g

    @staticmethod
    def centred(found: tuple[Tensor, Tensor], a: Tensor | None, b: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return potentials shifted so that both have one mean under their weights."""
        f, g = found
        means = [
            torch.nan_to_num(p, neginf=0.0).mean(dim=-1, keepdim=True)
            if w is None
            else (torch.nan_to_num(p, neginf=0.0) * w).sum(dim=-1, keepdim=True) / w.sum(dim=-1, keepdim=True)
            for p, w in ((f, a), (g, b))
        ]
        shift = 0.5 * (means[0] - means[1])
        return f - shift, g + shift

    def _epsilon(self, cost: Any) -> Any:
        if self.blur is None:
            return self.epsilon
        return float(strength(cost, None, self.blur))

    def extra_repr(self) -> str:
        """Say what the loss is."""
        scale = f"epsilon={self.epsilon}" if self.blur is None else f"blur={self.blur}"
        return f"{scale}, metric={self.metric!r}, rows={self.rows}, cols={self.cols}, debiased={self.debiased}"
