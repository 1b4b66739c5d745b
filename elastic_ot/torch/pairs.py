"""Pairs for flow matching, by the call that torchcfm has for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..api.couple import couple
from ..costs.points import PointCloud
from ..problems.penalties import KL
from ..solutions.coupling import Coupling

METHODS_OF_SAMPLER = ("exact", "sinkhorn", "unbalanced")


class OTPlanSampler:
    """Pairs of points of two batches, drawn from a plan between them: in place of torchcfm's class of this name.

    Parameters
    ----------
    method : {"exact", "sinkhorn", "unbalanced"}
        A cheapest plan for squared distances; one with entropy; that with `KL` on both sides.
    reg : float
        The epsilon of "sinkhorn" and "unbalanced".
    reg_m : float
        The strength of the penalties of "unbalanced".
    normalize_cost : bool
        `reg` and `reg_m` are in units of the largest cost of a batch.
    num_threads, warn
        Taken and not used: threads are `elastic_ot.set_num_threads`, and instead of a warning there is an error.
    entropy : float, optional
        In place of `reg`, for "sinkhorn": the renormalised entropy of the plan in (0, 1), see `couple`. The epsilon
        that is found for the first batch is kept, as `reg`.
    tol : float
        Tolerance of the plans with entropy.
    seed : int or numpy.random.Generator, optional
        Where randomness comes from; default a seed that torch draws, so that ``torch.manual_seed`` decides.

    Raises
    ------
    ValueError
        An unknown method. "partial" of torchcfm moves all of the mass and is "sinkhorn".
    ConvergenceError
        In a call: the solver has not converged. There is no uniform plan in place of one.

    Notes
    -----
    Points are detached and solved on the host; what is returned are rows of the tensors that came in, on their device
    and with their derivatives. Nothing of size n x m is stored but by `get_map`.

    With ``replace=False`` every point of x0 is drawn once, with a partner from its row of the plan: of "exact" between
    batches of one size that is the matching. torchcfm draws without replacement from the entries of the plan.

    Examples
    --------
    >>> import torch
    >>> from elastic_ot.torch import OTPlanSampler
    >>> sampler = OTPlanSampler(method="exact")
    >>> x0, x1 = torch.tensor([[0.0], [5.0]]), torch.tensor([[6.0], [1.0]])
    >>> sampler.sample_plan(x0, x1, replace=False)
    (tensor([[0.],
            [5.]]), tensor([[1.],
            [6.]]))
    """

    def __init__(
        self,
        method: str = "exact",
        reg: float = 0.05,
        reg_m: float = 1.0,
        normalize_cost: bool = False,
        num_threads: int | str = 1,
        warn: bool = True,
        *,
        entropy: float | None = None,
        tol: float = 1e-3,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        if method not in METHODS_OF_SAMPLER:
            advice = "; 'partial' with all of the mass is 'sinkhorn'" if method == "partial" else ""
            raise ValueError(f"method is {method!r}; choose from {', '.join(map(repr, METHODS_OF_SAMPLER))}{advice}")
        if entropy is not None and method != "sinkhorn":
            raise ValueError(f"entropy is {entropy!r} and method {method!r}; it belongs to method='sinkhorn'")
        if entropy is not None and normalize_cost:
            raise ValueError(f"entropy is {entropy!r}, which has no units; leave normalize_cost False")
        self.method, self.reg, self.reg_m, self.normalize_cost = method, reg, reg_m, normalize_cost
        self.entropy, self.tol = entropy, tol
        self._rng = None if seed is None else np.random.default_rng(seed)

    def couple(self, x0: Tensor, x1: Tensor, replace: bool = True) -> Coupling:
        """The pairs as indices, with the plan and its proof.

        Parameters
        ----------
        x0, x1 : Tensor, shapes (n, ...) and (m, ...)
        replace : bool
            Pairs drawn independently, or every point of x0 once.

        Returns
        -------
        Coupling
        """
        seed = int(torch.randint(2**62, ())) if self._rng is None else self._rng
        first, second = (x.detach().cpu() for x in (x0, x1))
        if self.method == "exact":
            return couple(first, second, replace=replace, seed=seed)
        options: dict[str, Any] = {"method": "entropic", "replace": replace, "seed": seed, "tol": self.tol}
        if self.entropy is not None:
            found = couple(first, second, entropy=self.entropy, **options)
            assert found.epsilon is not None
            self.reg, self.entropy = found.epsilon, None
            return found
        unit = _largest_cost(first, second) if self.normalize_cost else 1.0
        if self.method == "unbalanced":
            options |= {"rows": KL(unit * self.reg_m), "cols": KL(unit * self.reg_m)}
        return couple(first, second, epsilon=unit * self.reg, **options)

    def get_map(self, x0: Tensor, x1: Tensor) -> NDArray[np.float64]:
        """The plan between two batches as a NumPy array, shape (n, m)."""
        return self.couple(x0, x1).plan

    def sample_plan(self, x0: Tensor, x1: Tensor, replace: bool = True) -> tuple[Tensor, Tensor]:
        """Points of x0 and their partners, shapes (n, ...).

        Parameters
        ----------
        x0, x1 : Tensor, shapes (n, ...) and (m, ...)
        replace : bool
            Pairs drawn independently, or every point of x0 once.

        Returns
        -------
        x0[i], x1[j] : Tensor
        """
        return self.sample_plan_with_labels(x0, x1, replace=replace)[:2]

    def sample_plan_with_labels(
        self, x0: Tensor, x1: Tensor, y0: Tensor | None = None, y1: Tensor | None = None, replace: bool = True
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Points of x0 and their partners, with the labels of both.

        Parameters
        ----------
        x0, x1 : Tensor, shapes (n, ...) and (m, ...)
        y0, y1 : Tensor, shapes (n, ...) and (m, ...), optional
            Labels.
        replace : bool
            Pairs drawn independently, or every point of x0 once.

        Returns
        -------
        x0[i], x1[j], y0[i], y1[j] : Tensor
            None for labels that were not given.
        """
        i, j = (torch.from_numpy(places) for places in self.couple(x0, x1, replace))
        return (
            _taken(x0, i),
            _taken(x1, j),
            None if y0 is None else _taken(y0, i),
            None if y1 is None else _taken(y1, j),
        )

    def sample_trajectory(self, points: Tensor) -> Tensor:
        """Trajectories through batches at several times: a partner of the partner, and so on.

        Parameters
        ----------
        points : Tensor, shape (n, times, ...)

        Returns
        -------
        Tensor, shape (n, times, ...)
        """
        place = torch.arange(len(points))
        taken = [points[:, 0]]
        for t in range(points.shape[1] - 1):
            cols = self.couple(points[:, t], points[:, t + 1], replace=False).cols
            place = torch.from_numpy(cols)[place]
            taken.append(_taken(points[:, t + 1], place))
        return torch.stack(taken, dim=1)


def _taken(values: Tensor, places: Tensor) -> Tensor:
    return values[places.to(values.device)]


def _largest_cost(x0: Tensor, x1: Tensor) -> float:
    cloud = PointCloud(*(x.reshape(len(x), -1) for x in (x0, x1)))
    n, m = cloud.shape
    step = max(1, (1 << 20) // m)
    largest = max(float(cloud.block(slice(k, min(k + step, n)), slice(0, m)).max()) for k in range(0, n, step))
    return largest or 1.0
