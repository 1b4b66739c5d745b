"""Problems from easy to hard: a peer that fails at one is not tried at the harder ones."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from problems import Array, Spec
from report import Table, milliseconds, times
from timing import NOT_FINITE, NOT_MET, Effort, Solve, time_solves
from workers import Contender, Outcome, Task, Workers

Ladder = dict[Spec, list[Solve]]
NOT_TRIED = "not tried: failed at an easier problem"


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
    contenders: list[Contender],
    effort: Effort,
    patience: Patience,
    workers: Workers,
    reference: tuple[Array, Array] | None = None,
) -> list[Solve]:
    """Time all; the first of the contenders leads: its own time, taken beforehand, sets the limit for everyone.

    The second of two, for the first may have loaded compiled code.
    """
    task = Task(spec, effort.accuracy, effort.max_iter, reference)
    alone = workers.ask(contenders[0], task, patience.leader)
    if isinstance(alone, Outcome):
        alone = workers.ask(contenders[0], task, patience.leader)
    limit = patience.limit(alone.seconds) if isinstance(alone, Outcome) else patience.longest
    effort = replace(effort, time_limit=limit, search_limit=2 * limit)
    return time_solves(spec, contenders, effort, workers, reference)


def climb(
    specs: Iterable[Spec],
    contenders: Sequence[Contender],
    measure: Callable[[Spec, list[Contender]], list[Solve]],
    always: Collection[str],
    spared: Callable[[Spec], int] = lambda spec: 0,
    known: Ladder | None = None,
) -> Ladder:
    """Measure the specs in turn, without those that failed at the last one they were tried at.

    ``always`` names those that are tried whatever happened, ``spared(spec)`` says how many of the fastest others
    are, and ``known`` holds what was measured before.
    """
    ladder: Ladder = {}
    for spec in specs:
        excused = {*always, *_fastest(ladder, spared(spec), always)}
        failed = _failed(ladder)
        trying = [c for c in contenders if c.name in excused or c.name not in failed]
        if known and spec in known:
            solves = {solve.name: solve for solve in known[spec]}
        else:
            solves = {solve.name: solve for solve in measure(spec, trying)}
        ladder[spec] = [solves.get(c.name, Solve(c.name, math.nan, math.nan, None, NOT_TRIED)) for c in contenders]
    return ladder


def _failed(ladder: Ladder) -> set[str]:
    """Those whose last attempt failed."""
    last = {solve.name: solve for solves in ladder.values() for solve in solves if solve.failure != NOT_TRIED}
    return {name for name, solve in last.items() if solve.failure is not None}


def _fastest(ladder: Ladder, count: int, others: Collection[str]) -> list[str]:
    """Those who answered the hardest problems, the fastest first."""
    rank: dict[str, tuple[int, float]] = {}
    for step, solves in enumerate(ladder.values()):
        rank |= {s.name: (-step, s.seconds) for s in solves if s.failure is None and s.name not in others}
    return sorted(rank, key=lambda name: rank[name])[:count]


def ladder_table(title: str, ladder: Ladder, columns: Sequence[str]) -> Table:
    """One row a contender, one column a problem; ratios are to the first contender of the problem."""
    names = [solve.name for solve in next(iter(ladder.values()))]
    rows = [[name, *(cell(solves[k], solves[0]) for solves in ladder.values())] for k, name in enumerate(names)]
    return Table(title, ["", *columns], rows)


def cell(solve: Solve, leader: Solve) -> str:
    """Time and its ratio to the leader's, or what is known instead; docs/benchmarks.rst explains the words."""
    ratio = solve.seconds / leader.seconds
    if solve.failure is None:
        return milliseconds(solve.seconds) + ("" if solve is leader or math.isnan(ratio) else f", {times(ratio)}x")
    if math.isfinite(solve.at_least):
        ratio = solve.at_least / leader.seconds
        return f">= {milliseconds(solve.at_least)}" if math.isnan(ratio) else f">= {times(ratio)}x"
    if solve.outcome is None:
        return "not tried" if solve.failure == NOT_TRIED else "failed"
    verdict = "wrong" if solve.outcome.converged and solve.failure in (NOT_MET, NOT_FINITE) else "gave up"
    return f"{verdict}, error {solve.outcome.error:.0e}"
