"""Times of entropic problems: as they are stored, as tables, and against goals."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .problems import Spec
from .report import Report, Time
from .tables import CommonGoal, Goal, Table, milliseconds, times
from .timing import Solve

ACCURACY = 1e-6
OURS = "elastic_ot"
KINDS = {
    "uniform": "Uniform random costs",
    "cloud2": "Normal clouds of the plane, squared distances",
    "cloud3": "Normal clouds of space, squared distances",
    "line": "Random points of a line, distances",
    "digits_l1": "Two digits, L1 distances of pixels",
    "digits_l2": "Two digits, squared distances of pixels",
    "colours": "Pixels of two photographs, squared RGB distances",
}
FIELDS = "kind", "n", "epsilon", "rho"
Record = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A problem of which times are stored; ``rho`` is relative to epsilon, infinite for hard marginals."""

    kind: str
    n: int
    epsilon: float
    rho: float = math.inf

    @classmethod
    def of(cls, spec: Spec) -> "Case":
        return cls(spec.kind, spec.n, spec.epsilon, spec.rho_rows)

    def __str__(self) -> str:
        rho = "" if math.isinf(self.rho) else f", rho {self.rho:g} epsilon"
        return f"{self.kind}, epsilon {self.epsilon:g}{rho}"


Times = dict[Case, dict[str, Time]]
"""Of every solver, by its name; the first one leads."""


def records(found: dict[Spec, list[Solve]], along: str) -> list[Record]:
    """One record a solver and series of problems, which differ in ``along`` ("epsilon" or "n") alone."""
    stored: dict[tuple[object, ...], Record] = {}
    for spec, solves in found.items():
        rest: Record = {"kind": spec.kind, "n": spec.n, "epsilon": spec.epsilon}
        if math.isfinite(spec.rho_rows):
            rest["rho"] = spec.rho_rows
        at = rest.pop(along)
        for solve in solves:
            record = stored.setdefault((*rest.values(), solve.name), {**rest, "solver": solve.name, along: {}})
            record[along][f"{at:g}"] = solve.time.stored()
    return list(stored.values())


def read_series(stored: Sequence[Record], along: str) -> list[Times]:
    """The series of problems that records are about."""
    series: dict[tuple[object, ...], Times] = {}
    for record in stored:
        rest: Record = {
            name: record[name] for name in ("kind", "n", "epsilon", "rho") if name in record and name != along
        }
        times_of = series.setdefault(tuple(rest.values()), {})
        for at, time in record[along].items():
            case = Case(**{**rest, along: int(at) if along == "n" else float(at)})
            times_of.setdefault(case, {})[record["solver"]] = Time.read(time)
    return list(series.values())


def balanced(stored: list[Record]) -> Report:
    series = read_series(stored, "epsilon")
    tables = []
    for found in series:
        case = next(iter(found))
        title = f"{KINDS[case.kind]}, n = {case.n}: time to an L1 error of {ACCURACY:g}"
        tables.append(time_table(title, found, epsilon_columns(found)))
    together = merged(series)
    return Report(tables, [*speed_goals("balanced", together), auto_is_the_best_method(1.3, together)])


def elastic(stored: list[Record]) -> Report:
    series = read_series(stored, "epsilon")
    tables = []
    for found in series:
        case = next(iter(found))
        title = (
            f"{KINDS[case.kind]}, KL on both sides, rho = {case.rho:g} epsilon, n = {case.n}: time to a plan within "
            f"{ACCURACY:g} of the optimal one"
        )
        tables.append(time_table(title, found, epsilon_columns(found)))
    together = merged(series)
    strengths = sorted({case.rho for case in together})
    goals = [
        *speed_goals("elastic", together),
        never_slower_than_balanced(1.0, stored),
        iterations_do_not_grow(2.0, stored, strengths[0], strengths[-1]),
    ]
    return Report(tables, goals)


def growth(stored: list[Record]) -> Report:
    tables = []
    for found in read_series(stored, "n"):
        case = next(iter(found))
        title = f"{KINDS[case.kind]}, epsilon = {case.epsilon:g} max C: time to an L1 error of {ACCURACY:g}"
        tables.append(time_table(title, found, [f"n = {case.n}" for case in found]))
    return Report(tables)


def large(stored: list[Record]) -> Report:
    rows, cases = [], []
    for x in stored:
        name = f"{x['method']}, n = {x['n']}, {x['dtype']}, epsilon = {x['epsilon']:g} max C"
        cells = milliseconds(x["seconds"]), str(x["iterations"]), f"{x['error']:.0e}", f"{x['resident']:.2f}"
        rows.append([name, *cells])
        if x["dtype"] == "float64":
            cases.append(Goal(f"{x['method']}, n = {x['n']}", x["resident"], 0.5, False))
    table = Table(
        "Normal clouds of the plane in fresh processes",
        ["", "time", "iterations", "L1 error", "peak memory"],
        rows,
        "The second solve of the process, without the plan. Error: recomputed from the potentials in float64. "
        "Memory: growth of the process above the cost during that solve, in multiples of the cost.",
    )
    return Report([table], [CommonGoal("peak memory above the cost, cost matrices", 0.5, False, cases)])


def prototype(stored: list[Record]) -> Report:
    if not stored:
        return Report([])
    rows, cases = [], []
    for x in stored:
        ratio = x["seconds"] / x["prototype_seconds"]
        cells = milliseconds(x["seconds"]), milliseconds(x["prototype_seconds"]), times(ratio)
        rows.append([x["case"], *cells, f"{x['error']:.0e}", f"{x['prototype_error']:.0e}"])
        cases.append(Goal(x["case"], ratio, 1.0, False))
    table = Table(
        "Beside the prototype of the Newton method",
        ["", "auto", "prototype", "ratio", "L1 error of auto", "L1 error of the prototype"],
        rows,
        "Interleaved in one process, same tolerance, without the plan. The prototype is square, balanced and "
        "float64 only, and validates nothing.",
    )
    return Report([table], [CommonGoal("auto / prototype, time", 1.0, False, cases)])


def merged(series: Iterable[Times]) -> Times:
    return {case: found for some in series for case, found in some.items()}


def epsilon_columns(found: Times) -> list[str]:
    return [f"epsilon = {case.epsilon:g} max C" for case in found]


def time_table(title: str, found: Times, columns: Sequence[str]) -> Table:
    """One row a solver, one column a problem; ratios are to the first solver."""
    leader, *others = next(iter(found.values()))
    rows = [[leader, *(cell(at[leader]) for at in found.values())]]
    rows += [[name, *(cell(at[name], at[leader]) for at in found.values())] for name in others]
    return Table(title, ["", *columns], rows)


def cell(time: Time, leader: Time | None = None) -> str:
    """Time and its ratio to the leader's, or what is known instead; docs/benchmarks.rst explains the words."""
    ratio = time.known / leader.seconds if leader else math.nan
    if time.answered:
        return milliseconds(time.seconds) + ("" if math.isnan(ratio) else f", {times(ratio)}x")
    if time.stopped:
        return f">= {milliseconds(time.at_least)}" if math.isnan(ratio) else f">= {times(ratio)}x"
    return time.verdict


def speed_goals(family: str, found: Times) -> list[CommonGoal]:
    regimes: list[tuple[str, float, Callable[[float], bool]]] = [
        ("epsilon >= 1e-2", 1.0, lambda epsilon: epsilon > 2e-3),
        ("epsilon = 1e-3", 10.0, lambda epsilon: 5e-4 < epsilon < 2e-3),
        ("epsilon <= 1e-4", 50.0, lambda epsilon: epsilon < 5e-4),
    ]
    goals = []
    for regime, limit, chosen in regimes:
        cases = [_fastest_peer(case, at, limit) for case, at in found.items() if chosen(case.epsilon)]
        if cases:
            goals.append(CommonGoal(f"fastest peer / auto, {family}, {regime}, time", limit, True, cases))
    return goals


def _fastest_peer(case: Case, at: dict[str, Time], limit: float) -> Goal:
    """The fastest correct peer over our time; where none is faster than its time-out, that is what is proven."""
    ours, *_ = at.values()
    peers = {name: time for name, time in at.items() if not name.startswith(OURS)}
    fastest = min((time.seconds for time in peers.values() if time.answered), default=math.inf)
    proven = min((time.at_least for time in peers.values() if time.stopped), default=math.inf)
    known = {name: time.known for name, time in peers.items() if time.answered}
    known |= {name: time.known for name, time in peers.items() if time.stopped}
    name = min(known, key=known.__getitem__, default="no peer answered")
    if not ours.answered:
        return Goal(f"{case}: elastic_ot {ours.verdict or 'was stopped'}", 0.0, limit, True)
    return Goal(f"{case}: {name}", min(fastest, proven) / ours.seconds, limit, True, proven < fastest)


def auto_is_the_best_method(limit: float, found: Times) -> CommonGoal:
    cases = []
    for case, at in found.items():
        (_, auto), *others = at.items()
        methods = {name: time.seconds for name, time in others if name.startswith(OURS) and time.answered}
        if methods:
            best = min(methods, key=methods.__getitem__)
            cases.append(Goal(f"{case}: {best}", _ratio(auto.seconds, methods[best]), limit, False))
    return CommonGoal("auto / the fastest single method, time", limit, False, cases)


def never_slower_than_balanced(limit: float, stored: list[Record]) -> CommonGoal:
    cases = []
    for record in stored:
        for epsilon, hard in record.get("hard_marginals", {}).items():
            case = Case(record["kind"], record["n"], float(epsilon), record["rho"])
            ours = Time.read(record["epsilon"][epsilon]).seconds
            cases.append(Goal(str(case), _ratio(ours, Time.read(hard).seconds), limit, False))
    return CommonGoal("elastic / balanced at the same epsilon, time", limit, False, cases)


def iterations_do_not_grow(limit: float, stored: list[Record], weak: float, strong: float) -> CommonGoal:
    """Iterations at a strong penalty over those at a weak one, same epsilon."""
    counts = {
        (record["kind"], float(epsilon), record["rho"]): math.inf if count is None else count
        for record in stored
        for epsilon, count in record.get("iterations", {}).items()
    }
    cases = [
        Goal(f"{kind}, epsilon {epsilon:g}", _ratio(count, counts[kind, epsilon, weak]), limit, False)
        for (kind, epsilon, rho), count in counts.items()
        if rho == strong
    ]
    return CommonGoal(f"iterations at rho = {strong:g} epsilon / at {weak:g} epsilon", limit, False, cases)


def _ratio(ours: float, other: float) -> float:
    """Infinite where there is no time or count of ours."""
    ratio = ours / other
    return math.inf if math.isnan(ratio) else ratio
