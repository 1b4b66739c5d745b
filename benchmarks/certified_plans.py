"""Certified plans, which the plans of problems with KL penalties are compared with."""

from dataclasses import dataclass

from .problems import Array, Spec, distance_bound
from .solvers import Solver
from .timing import Effort
from .workers import Failure, Task, Workers

TIGHT = 1e-13


class NoReference(RuntimeError):
    """No plan is certified well enough to judge others by."""


@dataclass(frozen=True)
class Reference:
    """Potentials, and a bound on the distance of their plan from the optimal one, relative to its mass."""

    potentials: tuple[Array, Array]
    bound: float


def tight_potentials(spec: Spec, solvers: list[Solver], effort: Effort, workers: Workers) -> Reference:
    """The first answer certified ten times as well as the accuracy that is timed."""
    tried = []
    for solver in solvers:
        task = Task(spec, TIGHT, effort.max_iter, return_potentials=True)
        outcome = workers.ask(solver, task, 10 * effort.time_limit)
        if isinstance(outcome, Failure) or outcome.potentials is None:
            tried.append(f"{solver.name}: {outcome}")
            continue
        bound = distance_bound(spec.build(), *outcome.potentials)
        if bound <= effort.accuracy / 10:
            return Reference(outcome.potentials, bound)
        tried.append(f"{solver.name}: within {bound:.0e}")
    raise NoReference(f"no certified plan of {spec} ({'; '.join(tried)})")
