"""What is timed: the package, its peers (peers/) and bare iterations, all behind one call.

A set-up takes a problem and an iteration limit, does what is not to be timed (compilation, conversion of
the arrays) and returns ``run(threshold) -> Answer``, which is timed. With ``threshold=None`` no convergence
test stops the run before the limit.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .problems import Array, Problem


@dataclass(frozen=True)
class Answer:
    """``converged`` is what the solver says of itself: its flag where it has one, else that it did not warn.

    ``plan()`` returns the dense plan; the timed runs to a solution include it, since POT always computes it.
    """

    plan: Callable[[], Array]
    iterations: int
    converged: bool
    potentials: tuple[Array, Array] | None = None


Run = Callable[[float | None], Answer]
Setup = Callable[[Problem, int], Run]


@dataclass(frozen=True)
class Solver:
    """A solver as it enters a comparison.

    ``span`` is the number of iterations over which one iteration is timed: a multiple of 10, the period of
    the peers' convergence tests. ``stride`` bounds the factor by which its threshold is lowered at once.
    """

    name: str
    setup: Setup
    span: int = 40
    stride: float = 100.0
