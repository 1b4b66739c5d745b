"""A temperature that moves from one value to another over the steps of an optimisation."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any, Literal, overload

from ..typing import ArrayT
from .arguments import at_least_0, count, positive_number
from .frameworks import has_namespace, namespace, real

ScheduleKind = Literal["geometric", "linear", "cosine"]
SCHEDULE_KINDS = "geometric", "linear", "cosine"


@dataclass(frozen=True)
class EpsilonSchedule:
    r"""A temperature for every step: `start` at step 0, `end` from step `steps` on.

    The functions of this package take the value of a step, ``epsilon=schedule(step)``, as a temperature of any name.
    ``elastic_ot.torch.ElasticAttention`` and ``elastic_ot.torch.SinkhornRouter`` take the schedule itself, and count
    their steps.

    Parameters
    ----------
    start, end : float
        > 0, in the units of the scores. A falling temperature anneals; a rising one is allowed.
    steps : int
        >= 1.
    kind : {"geometric", "linear", "cosine"}
        With t = step / steps, at most 1: start^(1 - t) end^t, which falls by the same factor at every step;
        (1 - t) start + t end; or (1 - w) start + w end with w = (1 - cos(pi t)) / 2, which is slow at both ends.

    Raises
    ------
    ValueError, TypeError
        A temperature that is not a finite number > 0, steps < 1, another kind; a step < 0, when it is called.

    See Also
    --------
    attention_weights : With lam = 1 it tends to a permutation.
    damped_weights : Takes all values at once, and goes through them in one call.
    gumbel_sinkhorn : Takes them as `temperature`.
    route : Its plan tends to an assignment.

    Notes
    -----
    What the limit is depends on the columns. With lam = 1 it is the permutation of the largest score. With a lam < 1
    that is held, the strength rho = epsilon lam / (1 - lam) of the columns falls, too, and the limit is the largest
    score of every row, as with a softmax. With `rho` held the columns keep their hold, up to prices over rho.

    The smaller epsilon is beside the differences of scores, the more iterations a balance needs: give `tol`, or more
    `iterations`, where rows and columns have to be met at the end.

    References
    ----------
    Kosowsky, Yuille, *The invisible hand algorithm: solving the assignment problem with statistical physics*, 1994.

    Examples
    --------
    >>> import numpy as np
    >>> from elastic_ot.applications import EpsilonSchedule, attention_weights
    >>> schedule = EpsilonSchedule(1.0, 0.01, steps=100)
    >>> [round(schedule(step), 4) for step in (0, 50, 100, 1000)]
    [1.0, 0.1, 0.01, 0.01]
    >>> scores = np.array([[3.0, 2.9, 0.0], [3.0, 0.0, 0.0], [2.0, 0.0, 1.0]])
    >>> attention_weights(scores, lam=1.0, epsilon=schedule(100), tol=1e-6).round(2)
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 0., 1.]])
    """

    start: float
    end: float
    steps: int
    kind: ScheduleKind = "geometric"

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            object.__setattr__(self, name, float(positive_number(name, getattr(self, name))))
        object.__setattr__(self, "steps", count("steps", self.steps))
        if self.kind not in SCHEDULE_KINDS:
            raise ValueError(f"kind is {self.kind!r}; choose from {', '.join(map(repr, SCHEDULE_KINDS))}")

    @overload
    def __call__(self, step: float) -> float: ...
    @overload
    def __call__(self, step: ArrayT) -> ArrayT: ...
    def __call__(self, step: Any) -> Any:
        """Return the temperature at a step >= 0: of a number a float, of an array an array of its library."""
        share: Any
        if isinstance(step, int | float | numbers.Real):
            share, cos = min(float(positive_number("step", step, or_zero=True)) / self.steps, 1.0), math.cos
        else:
            step = step if has_namespace(step) else real("step", step)
            xp = namespace(step)
            if xp.isdtype(step.dtype, "integral"):
                step = xp.astype(step, xp.asarray(1.0).dtype)
            step = at_least_0("step", real("step", step))
            share, cos = xp.clip(step / self.steps, max=1.0), xp.cos
        if self.kind == "cosine":
            share = (1 - cos(math.pi * share)) / 2
        if self.kind == "geometric":
            return self.start ** (1 - share) * self.end**share
        return (1 - share) * self.start + share * self.end
