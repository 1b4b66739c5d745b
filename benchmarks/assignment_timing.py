"""Assignment solvers on one cost: interleaved times, costs of the matchings, and our certificate, recomputed."""

import math
import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .assignment_problems import Case, Matrix
from .assignment_solvers import OURS, STOPPED, AssignmentSolver, Matching, Pairs, failure_of, run, run_limited
from .report import Time
from .workers import Failure

CHUNK = 2**20  # cells priced at once
SHORT = 1000  # rows or columns up to which no solver takes long
BRIEF = 0.05  # seconds below which a timed run follows an untimed one, which brings the cost into the caches
MISJUDGED = 4.0  # a time may be predicted too small by this factor
NOT_RUN = "not run"


@dataclass(frozen=True)
class Repeats:
    """How often a solver runs: for ``budget`` seconds, but within bounds, and once if it takes long."""

    budget: float = 0.5
    most: int = 200
    once: float = 2.0

    def of(self, seconds: float, n: int) -> int:
        if seconds > self.once:
            return 1
        return self.most if n <= 100 else min(max(math.ceil(self.budget / seconds), 3), self.most)


@dataclass(frozen=True)
class Entry:
    """One solver on one problem.

    ``excess``: cost of its matching over the cheapest one found, relative to that (or to max |C| if larger).
    """

    name: str
    time: Time
    runs: int = 0
    excess: float = math.nan


@dataclass(frozen=True)
class Certificate:
    """Of our potentials: least C_ij - u_i - v_j over all cells, and abs(cost - sum u - sum v).

    ``slack`` includes minus the potentials that must not be positive, those of the longer side. ``distance`` is what
    the two prove: the cost is at most this far from the least one, relative as in `Entry`.
    """

    slack: float
    gap: float
    distance: float


@dataclass(frozen=True)
class Comparison:
    """Of solvers on one problem; the first one is ours."""

    case: Case
    entries: Sequence[Entry]

    def __getitem__(self, name: str) -> Entry:
        return next(entry for entry in self.entries if entry.name == name)


def predict(name: str, n: int, earlier: Collection[Comparison]) -> float:
    """Seconds at size n, cubic from the last run at a smaller size; nan if there was none, infinite if it failed."""
    last = [(one.case.n, one[name].time) for one in earlier if one[name].time.verdict != NOT_RUN]
    if not last:
        return math.nan
    size, known = last[-1]
    return known.seconds * (n / size) ** 3 if known.answered else math.inf


def compare(
    case: Case,
    solvers: Sequence[AssignmentSolver],
    limits: Mapping[str, float],
    predicted: Mapping[str, float],
    repeats: Repeats,
    settle: float,
) -> tuple[Comparison, Certificate]:
    """Every solver in turn, then again as often as its first time allows, each turn started by the next one; medians.

    ``limits``: seconds, 0 for who is not to run. Who might pass a finite limit runs in a process that can be
    killed. ``settle``: seconds to sleep after each of our runs.
    """
    cost = case.build()
    found: dict[str, Matching | Failure] = {}
    for solver in solvers:
        limit, guess = limits.get(solver.name, math.inf), predicted.get(solver.name, math.nan)
        safe = math.isinf(limit) or min(case.n, case.m) <= SHORT or guess < limit / MISJUDGED
        if limit == 0:
            found[solver.name] = Failure(NOT_RUN)
        else:
            found[solver.name] = _try(solver, cost) if safe else run_limited(solver, cost, limit)
        _settle_after(solver, settle)
    ours = found[OURS.name]
    if isinstance(ours, Failure):
        raise RuntimeError(f"{case}: {ours.reason}")
    first = {name: x.seconds for name, x in found.items() if isinstance(x, Matching)}
    wanted = {name: repeats.of(seconds, min(cost.shape)) for name, seconds in first.items()}
    samples = {name: [] if seconds < BRIEF else [seconds] for name, seconds in first.items()}
    for turn in range(max(wanted.values())):
        for solver in rotated(solvers, turn):
            name = solver.name
            if len(samples.get(name, ())) >= wanted.get(name, 0):
                continue
            if first[name] < BRIEF:
                solver.solve(cost)
            samples[name].append(run(solver, cost).seconds)
            _settle_after(solver, settle)
    return Comparison(case, _entries(cost, found, samples)), certify(cost, ours)


def rotated(solvers: Sequence[AssignmentSolver], turn: int) -> list[AssignmentSolver]:
    k = turn % len(solvers)
    return [*solvers[k:], *solvers[:k]]


def _try(solver: AssignmentSolver, cost: Matrix) -> Matching | Failure:
    try:
        return run(solver, cost)
    except Exception as error:
        return failure_of(error)


def _settle_after(solver: AssignmentSolver, settle: float) -> None:
    if settle and solver is OURS:
        time.sleep(settle)


def _entries(cost: Matrix, found: Mapping[str, Matching | Failure], samples: Mapping[str, list[float]]) -> list[Entry]:
    matchings = {name: x for name, x in found.items() if isinstance(x, Matching)}
    totals = {name: total(cost, x.pairs) for name, x in matchings.items() if is_matching(cost, x.pairs)}
    best = min(totals.values())
    unit = _unit(cost, best)
    entries = []
    for name, x in found.items():
        if isinstance(x, Failure):
            stopped = x.reason == STOPPED
            entries.append(Entry(name, Time(at_least=x.at_least) if stopped else Time(verdict=x.reason)))
        elif name not in totals:
            entries.append(Entry(name, Time(verdict="no matching")))
        else:
            seconds = samples[name]
            excess = (totals[name] - best) / unit
            entries.append(Entry(name, Time(statistics.median(seconds)), len(seconds), excess))
    return entries


def is_matching(cost: Matrix, pairs: Pairs) -> bool:
    """The shorter side is matched, nobody twice."""
    return all(np.unique(side).size == side.size == min(cost.shape) for side in pairs)


def total(cost: Matrix, pairs: Pairs) -> float | int:
    """The cost of a matching: exact for integers, rounded once for others."""
    values = cost[pairs].tolist()
    return sum(values) if cost.dtype.kind == "i" else math.fsum(values)


def certify(cost: Matrix, ours: Matching) -> Certificate:
    """From the potentials and the matrix alone, a chunk of rows at a time."""
    u, v = ours.answer.u, ours.answer.v
    n, m = cost.shape
    longer = v if m > n else u if n > m else u[:0]  # must be <= 0
    slack = -float(longer.max(initial=-math.inf))
    step = max(1, CHUNK // m)
    for i in range(0, n, step):
        block = cost[i : i + step] - u[i : i + step, None]
        block -= v
        slack = min(slack, float(block.min()))
    value = total(cost, ours.pairs)
    gap = abs(value - math.fsum(u.tolist()) - math.fsum(v.tolist()))
    return Certificate(slack, gap, (gap + max(n, m) * max(-slack, 0.0)) / _unit(cost, value))


def _unit(cost: Matrix, value: float) -> float:
    return max(abs(value), abs(float(cost.max())), abs(float(cost.min())))
