"""Matching of keypoints with a learned dustbin."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..applications.matching import Matches, match
from ..frameworks.options import Grad


class DustbinMatcher(nn.Module):
    """Matches from scores by ``elastic_ot.applications.matching.match``, with a learned score of having no partner.

    Parameters
    ----------
    dustbin : float
        That score at the start; the parameter `dustbin`, shape ().
    iterations, threshold, epsilon, tau, grad, tol, on_failure
        As for `match`.
    device, dtype
        Of the parameter.

    Raises
    ------
    ValueError, TypeError
        What `match` refuses.

    Examples
    --------
    >>> import torch
    >>> from elastic_ot.torch import DustbinMatcher
    >>> matcher = DustbinMatcher(dustbin=2.0)
    >>> found = matcher(torch.tensor([[5.0, 0.0, 0.0], [0.0, 0.0, 4.0], [0.0, 0.0, 0.0]]))
    >>> found.matches0
    tensor([ 0,  2, -1])
    >>> (-found.log_plan[0, 0]).backward()
    >>> matcher.dustbin.grad > 0
    tensor(True)
    """

    def __init__(
        self,
        dustbin: float = 1.0,
        *,
        iterations: int | None = 100,
        threshold: float = 0.2,
        epsilon: float = 1.0,
        tau: float = 1.0,
        grad: Grad = "implicit",
        tol: float = 1e-6,
        on_failure: Literal["warn", "raise", "ignore"] = "warn",
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.dustbin = nn.Parameter(torch.tensor(float(dustbin), device=device, dtype=dtype))
        self.options: dict[str, Any] = {
            "iterations": iterations,
            "threshold": threshold,
            "epsilon": epsilon,
            "tau": tau,
            "grad": grad,
            "tol": tol,
            "on_failure": on_failure,
        }
        # whatever is wrong with the options is refused now, and not at the first step
        match(torch.zeros(1, 1), dustbin=float(dustbin), **self.options)

    def forward(self, scores: Tensor, row_lengths: Tensor | None = None, col_lengths: Tensor | None = None) -> Matches:
        """Match scores (..., m, n); lengths (...) as for `match`."""
        return match(scores, dustbin=self.dustbin, row_lengths=row_lengths, col_lengths=col_lengths, **self.options)

    def extra_repr(self) -> str:
        """What a printed module says."""
        shown = ("iterations", "threshold", "epsilon", "tau")
        return ", ".join(f"{name}={self.options[name]}" for name in shown)
