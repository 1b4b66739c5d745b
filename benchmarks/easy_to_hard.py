"""Problems from easy to hard: a solver that fails at one is not tried at the harder ones."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from .problems import Array, Spec
from .solvers import Solver
from .timing import NOT_TRIED, Effort, Solve, time_solves
from .workers import Outcome, Task, Workers

Solves = dict[Spec, list[Solve]]


@dataclass(frozen=True)
class Patience:
    """The time limit as a multiple of the leader's own time, within bounds in seconds.

    A time-out proves that the peer is slower by the limit over that time: at least by ``least``, however slow
    the leader is.
    """

    multiple: float = 120.0
    shortest: float = 2.0
    longest: float = 15.0
    least: float = 3.0
    leader: float = 60.0

    def limit(self, seconds: float) -> float:
        return max(min(max(self.multiple * seconds, self.shortest), self.longest), self.least * seconds)


def time_against_leader(
    spec: Spec,
    solvers: list[Solver],
    effort: Effort,
    patience: Patience,
    workers: Workers,
    reference: tuple[Array, Array] | None = None,
) -> list[Solve]:
    """Time all; the first of the solvers leads: its own time, taken beforehand, sets the limit for everyone.

    The second of two, for the first may have loaded compiled code.
    """
    task = Task(spec, effort.accuracy, effort.max_iter, reference)
    alone = workers.ask(solvers[0], task, patience.leader)
    if isinstance(alone, Outcome):
        alone = workers.ask(solvers[0], task, patience.leader)
    limit = patience.limit(alone.seconds) if isinstance(alone, Outcome) else patience.longest
    effort = replace(effort, time_limit=limit, search_limit=2 * limit)
    return time_solves(spec, solvers, effort, workers, reference)


def from_easy_to_hard(
    specs: Iterable[Spec],
    solvers: Sequence[Solver],
    measure: Callable[[Spec, list[Solver]], list[Solve]],
    always: Collection[str],
    spared: Callable[[Spec], int] = lambda spec: 0,
    known: Solves | None = None,
) -> Solves:
    """Measure the specs in turn, without those that failed at the last one they were tried at.

    ``always`` names those that are tried whatever happened, ``spared(spec)`` says how many of the fastest others
    are, and ``known`` holds what was measured before.
    """
    found: Solves = {}
    for spec in specs:
        excused = {*always, *_fastest(found, spared(spec), always)}
        failed = _failed(found)
        trying = [c for c in solvers if c.name in excused or c.name not in failed]
        if known and spec in known:
            solves = {solve.name: solve for solve in known[spec]}
        else:
            solves = {solve.name: solve for solve in measure(spec, trying)}
        found[spec] = [solves.get(c.name, Solve(c.name, math.nan, math.nan, None, NOT_TRIED)) for c in solvers]
    return found


def _failed(found: Solves) -> set[str]:
    """Those whose last attempt failed."""
    last = {solve.name: solve for solves in found.values() for solve in solves if solve.failure != NOT_TRIED}
    return {name for name, solve in last.items() if solve.failure is not None}


def _fastest(found: Solves, count: int, others: Collection[str]) -> list[str]:
    """Those who answered the hardest problems, the fastest first."""
    rank: dict[str, tuple[int, float]] = {}
    for step, solves in enumerate(found.values()):
        rank |= {s.name: (-step, s.seconds) for s in solves if s.failure is None and s.name not in others}
    return sorted(rank, key=lambda name: rank[name])[:count]
