"""GeomLoss' call on the solvers of elastic_ot: ``from elastic_ot.compat.geomloss import SamplesLoss``.

GeomLoss' cost is ``|x - y| ** p / p``, its entropy ``blur ** p`` and its penalties ``reach ** p``. Its values are those
of `elastic_ot.divergence`, to the accuracy of a fixed annealing. The class here translates the arguments and calls
`elastic_ot.torch.SamplesLoss`, which solves to a tolerance and says where it does not arrive.
"""

from __future__ import annotations

from collections.abc import Callable

from ..calls import public
from ..errors import BackendUnavailable
from ..problems.penalties import KL, Fixed

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise BackendUnavailable('elastic_ot.compat.geomloss needs PyTorch: pip install "elastic-ot[torch]"') from error
from ..torch.samples import SamplesLoss as Loss

__all__ = ["SamplesLoss"]

KERNEL_LOSSES = ("energy", "gaussian", "laplacian", "hausdorff")
METRIC_OF = {1: "euclidean", 2: "sqeuclidean"}


class SamplesLoss(nn.Module):
    """The Sinkhorn divergence between sampled measures, called as ``geomloss.SamplesLoss``.

    Parameters
    ----------
    loss : {"sinkhorn"}
        "energy", "gaussian", "laplacian" and "hausdorff" are no optimal transport: GeomLoss has them.
    p : {1, 2}
        The cost is the distance, or half of its square.
    blur : float
        The entropy is ``blur ** p``.
    reach : float, optional
        The penalties are KL with ``reach ** p``; None is balanced.
    diameter, scaling, truncate, kernel, cluster_scale, verbose, backend
        Ignored: they steer GeomLoss' annealing, its clusters and its kernels.
    cost : callable, optional
        Makes the costs (B, N, M) of points (B, N, D) and (B, M, D), by functions of PyTorch. Formulas of KeOps, which
        are texts, are refused.
    debias : bool
        False for the value of the entropic problem itself.
    potentials : bool
        Return the potentials (F, G) in place of the value.
    tol : float
        Ours: the tolerance of the solves.

    Raises
    ------
    ValueError
        What is refused, with the way out.

    Notes
    -----
    Derivatives of relaxed losses are those of the value that is returned. Potentials of balanced problems, which are
    known up to a constant, have one mean under the weights of both sides.

    Examples
    --------
    >>> import torch
    >>> from elastic_ot.compat.geomloss import SamplesLoss
    >>> x, y = torch.rand(30, 2, requires_grad=True), torch.rand(40, 2) + 1.0
    >>> loss = SamplesLoss("sinkhorn", p=2, blur=0.05)(x, y)
    >>> loss.backward()
    >>> loss.item() > 0.5, x.grad.shape
    (True, torch.Size([30, 2]))
    """

    @public
    def __init__(
        self,
        loss: str = "sinkhorn",
        p: int = 2,
        blur: float = 0.05,
        reach: float | None = None,
        diameter: float | None = None,
        scaling: float = 0.5,
        truncate: float | None = 5,
        cost: Callable[[Tensor, Tensor], Tensor] | None = None,
        kernel: object = None,
        cluster_scale: float | None = None,
        debias: bool = True,
        potentials: bool = False,
        verbose: bool = False,
        backend: str = "auto",
        *,
        tol: float = 1e-6,
    ) -> None:
        super().__init__()
        if loss in KERNEL_LOSSES:
            raise ValueError(f"loss is {loss!r}, a norm of kernels and no optimal transport; use geomloss.SamplesLoss")
        if loss != "sinkhorn":
            raise ValueError(f"loss is {loss!r}; choose 'sinkhorn'")
        if p not in METRIC_OF:
            raise ValueError(f"p is {p!r}; choose from 1, 2")
        if isinstance(cost, str):
            raise ValueError(f"cost is the formula {cost!r}; give a function of two tensors of points")
        self.p, self.blur, self.reach = p, blur, reach
        self.cost, self.debias, self.potentials = cost, debias, potentials
        self.scale = 1.0 if cost is not None or p == 1 else 2.0  # our squared distance is twice the cost
        side = Fixed() if reach is None else KL(self.scale * reach**p)
        self.solved = Loss(
            epsilon=self.scale * blur**p, metric=METRIC_OF[p], rows=side, cols=side, debiased=debias, tol=tol
        )

    def forward(self, *args: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the loss of ``(x, y)`` or ``(a, x, b, y)``.

        Parameters
        ----------
        x, y : Tensor, shapes (N, D) and (M, D), or (B, N, D) and (B, M, D)
            Points.
        a, b : Tensor, shapes (N,) and (M,), or (B, N) and (B, M)
            Weights, default 1/N and 1/M.

        Returns
        -------
        Tensor, or pair of Tensor
            One number, shape (B,) of batches; with ``potentials=True`` F and G, of the shapes of a and b.
        """
        a, x, b, y = _read(args)
        if self.potentials:
            if self.cost is not None:
                raise ValueError("potentials=True and a cost of your own: call elastic_ot.torch.potentials(cost(x, y))")
            first, second = self.solved.potentials(x, y, a, b)
            return first / self.scale, second / self.scale
        if self.cost is None:
            found = self.solved(x, y, a, b)
        else:
            many = [z if z.dim() == 3 else z[None] for z in (x, y)]
            pairs = (0, 1), (0, 0), (1, 1)
            costs = [self.cost(many[i], many[j]) for i, j in pairs[: 3 if self.debias else 1]]
            xy, xx, yy = (*(c if x.dim() == 3 else c[0] for c in costs), None, None)[:3]
            found = self.solved.of_costs(xy, xx, yy, a, b)
        found = found / self.scale
        return found if self.debias else found + self.blur**self.p * self._entropy_of_masses(a, b)

    def _entropy_of_masses(self, a: Tensor | None, b: Tensor | None) -> Tensor | float:
        """What GeomLoss' value has beyond ours where masses are not 1."""
        if a is None or b is None:
            return 0.0
        first, second = a.sum(dim=-1), b.sum(dim=-1)
        return 0.5 * (first + second) - first * second


def _read(args: tuple[Tensor, ...]) -> tuple[Tensor | None, Tensor, Tensor | None, Tensor]:
    if len(args) == 6:
        raise ValueError("labels of clusters are not needed: call with (a, x, b, y)")
    if len(args) not in (2, 4):
        raise ValueError(f"the call has {len(args)} arguments; it takes (x, y) or (a, x, b, y)")
    a, x, b, y = (None, args[0], None, args[1]) if len(args) == 2 else args
    if x.dim() not in (2, 3) or x.dim() != y.dim():
        raise ValueError(f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}; both are (N, D) or (B, N, D)")
    if a is not None and b is not None and not torch.is_tensor(a):
        raise TypeError(f"a is a {type(a).__name__}; it must be a tensor")
    return a, x, b, y
