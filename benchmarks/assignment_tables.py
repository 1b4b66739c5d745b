"""Times of assignment problems: as they are stored, as tables, and against goals."""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .assignment_problems import BEYOND_ALL_CELLS, COSTS, Case
from .assignment_solvers import EMD, OURS, SCIPY
from .assignment_timing import NOT_RUN, Certificate, Comparison, Entry
from .report import Figures, Report, Time
from .tables import CommonGoal, Goal, Table, milliseconds, times

WORST = 10
GOAL_CLOUDS = ("cloud2", "cloud3", "cube2", "cube3")
WRONG = 1e-9  # a matching that is dearer than another by more than this part of its cost


def stored(comparisons: Sequence[Comparison], certificates: Mapping[str, Certificate] | None = None) -> dict[str, Any]:
    """The same problems of every kind of costs, one record a kind and solver; what matchings cost if asked for."""
    first = [one for one in comparisons if one.case.costs == comparisons[0].case.costs]
    records: dict[tuple[str, str], dict[str, Any]] = {}
    for one in comparisons:
        for x in one.entries:
            new = {"costs": one.case.costs, "solver": x.name, "seconds": []}
            record = records.setdefault((one.case.costs, x.name), new)
            record["seconds"].append(x.time.stored())
            if certificates is not None:
                record.setdefault("runs", []).append(x.runs)
                record.setdefault("excess", []).append(x.excess)
    found: dict[str, Any] = {
        "dtype": comparisons[0].case.dtype,
        "sizes": [[one.case.n, one.case.m] for one in first],
        "times": list(records.values()),
    }
    if certificates is not None:
        found["certificates"] = {kind: asdict(proof) for kind, proof in certificates.items()}
    return found


def read_comparisons(figures: Figures) -> list[Comparison]:
    """By kind of costs, then in the order of the sizes."""
    comparisons = []
    for kind in dict.fromkeys(record["costs"] for record in figures["times"]):
        records = [record for record in figures["times"] if record["costs"] == kind]
        for k, (n, m) in enumerate(figures["sizes"]):
            entries = []
            for record in records:
                runs, excess = (record[name][k] if name in record else None for name in ("runs", "excess"))
                time = Time.read(record["seconds"][k])
                entries.append(Entry(record["solver"], time, runs or 0, math.nan if excess is None else excess))
            comparisons.append(Comparison(Case(kind, n, m, figures["dtype"]), entries))
    return comparisons


def read_certificates(figures: Figures) -> dict[str, Certificate]:
    return {kind: Certificate(**proof) for kind, proof in figures["certificates"].items()}


def worst(certificates: Sequence[Certificate]) -> Certificate:
    slack = min(proof.slack for proof in certificates)
    return Certificate(slack, max(proof.gap for proof in certificates), max(proof.distance for proof in certificates))


def square(figures: Figures) -> Report:
    comparisons = read_comparisons(figures)
    sizes = [n for n, _ in figures["sizes"]]
    tables = []
    for kind in dict.fromkeys(one.case.costs for one in comparisons):
        chosen = [one for one in comparisons if one.case.costs == kind]
        columns = [f"n = {n}" for n in sizes]
        tables.append(time_table(f"{COSTS[kind].title}: time", chosen, columns, figures["limit"]))
    tables += [
        fastest_peer_table(comparisons, sizes),
        worst_table(comparisons),
        exactness_table("Exactness, square problems", comparisons, read_certificates(figures)),
    ]
    speed = speed_goals(comparisons, figures["goal_size"])
    return Report(tables, [*speed, never_slower("square", 1.1, comparisons)])


def rectangular(figures: Figures) -> Report:
    return _together("rectangular", figures)


def float32(figures: Figures) -> Report:
    return _together("float32", figures)


def _together(what: str, figures: Figures) -> Report:
    """One column a problem, of every kind of costs."""
    if not figures:
        return Report([])
    comparisons = read_comparisons(figures)
    columns = [str(one.case) for one in comparisons]
    tables = [
        time_table(f"{what.capitalize()} costs: time", comparisons, columns, figures["limit"]),
        exactness_table(f"Exactness, {what}", comparisons, read_certificates(figures)),
    ]
    return Report(tables, [never_slower(what, 1.1, comparisons)])


def memory(figures: Figures) -> Report:
    rows, cases = [], []
    for x in figures:
        name = f"{COSTS[x['costs']].title}, n = {x['n']}, {x['dtype']}"
        rows.append([name, f"{x['resident']:.2f}", milliseconds(x["seconds"])])
        cases.append(Goal(name, x["resident"], 0.2, False))
    table = Table(
        "Peak memory of elastic_ot above the cost, in multiples of it",
        ["", "memory", "time"],
        rows,
        f"Growth of a fresh process during its first problem of this size, after one of n = {BEYOND_ALL_CELLS}.",
    )
    return Report([table], [CommonGoal("peak memory above the cost, cost matrices", 0.2, False, cases)])


def stacks(figures: Figures) -> Report:
    kinds = list(dict.fromkeys(x["costs"] for x in figures))
    shapes = list(dict.fromkeys((x["count"], x["n"]) for x in figures))
    by_case = {(x["costs"], x["count"], x["n"]): x for x in figures}
    rows, goals = [], []
    for kind in kinds:
        cells = []
        for count, n in shapes:
            ours, scipy = (by_case[kind, count, n][name] for name in (OURS.name, SCIPY.name))
            cells.append(f"{milliseconds(ours)}, {times(scipy / ours)}x")
            goals.append(Goal(f"{COSTS[kind].title}, {count} of n = {n}", ours / scipy, 1.0, False))
        rows.append([COSTS[kind].title, *cells])
    table = Table(
        "Stacks: elastic_ot in one call, and a loop over SciPy",
        ["", *(f"{count} of n = {n}" for count, n in shapes)],
        rows,
        "Time of elastic_ot with the potentials, and that of the loop, without any, in multiples of it.",
    )
    return Report([table], [CommonGoal("elastic_ot / SciPy, stacks, time", 1.0, False, goals)] if goals else [])


def crossover(figures: Figures) -> Report:
    comparisons = read_comparisons(figures)
    sizes = [n for n, _ in figures["sizes"]]
    ratios = {
        kind: [ratio_to_scipy(one) for one in comparisons if one.case.costs == kind]
        for kind in dict.fromkeys(one.case.costs for one in comparisons)
    }
    by_size = list(zip(*ratios.values(), strict=True))
    lines = {COSTS[kind].title: found for kind, found in ratios.items()}
    lines |= {"geometric mean": list(map(statistics.geometric_mean, by_size)), "largest": list(map(max, by_size))}
    table = Table(
        "Crossover: elastic_ot without SciPy / SciPy, time",
        ["", *(f"n = {n}" for n in sizes), "at most 1 from"],
        [[name, *map(times, found), _passes(found, sizes)] for name, found in lines.items()],
        f"elastic_ot leaves problems of fewer than {figures['small']} rows or columns to SciPy; here it does not.",
    )
    return Report([table])


def _passes(ratios: Sequence[float], sizes: Sequence[int]) -> str:
    """The size from which on the ratio is at most 1."""
    last = max((k for k, ratio in enumerate(ratios) if ratio > 1), default=-1)
    return f"n = {sizes[last + 1]}" if last + 1 < len(ratios) else "none"


def time_table(title: str, comparisons: Sequence[Comparison], columns: Sequence[str], limit: float) -> Table:
    """One row a solver, one column a problem."""
    names = [x.name for x in comparisons[0].entries]
    rows = [[name, *(cell(one[name], one[OURS.name], limit) for one in comparisons)] for name in names]
    note = (
        f"In brackets: not run, for it was stopped at a smaller n, or n^3 leads from its time there past {limit:g} s."
        if any(x.time.verdict == NOT_RUN for one in comparisons for x in one.entries)
        else ""
    )
    return Table(title, ["", *columns], rows, note)


def cell(x: Entry, ours: Entry, limit: float) -> str:
    """Time and its ratio to ours, or what is known instead."""
    ratio = x.time.known / ours.time.seconds
    if x.time.answered:
        wrong = f", not optimal: +{x.excess:.0e}" if x.excess > WRONG else ""
        return milliseconds(x.time.seconds) + ("" if x is ours else f", {times(ratio)}x") + wrong
    if x.time.stopped:
        return f"> {milliseconds(x.time.at_least)}, > {times(ratio)}x"
    return f"(> {milliseconds(limit)})" if x.time.verdict == NOT_RUN else "failed"


def fastest_peer_table(comparisons: Collection[Comparison], sizes: Sequence[int]) -> Table:
    """The fastest of the others that answered, over our time."""
    by_case = {(one.case.costs, one.case.n): one for one in comparisons}
    kinds = dict.fromkeys(one.case.costs for one in comparisons)
    rows = []
    for kind in kinds:
        cells = []
        for n in sizes:
            one = by_case[kind, n]
            known = {x.name: x.time.known for x in one.entries[1:] if not x.excess > WRONG}
            known = {name: seconds for name, seconds in known.items() if not math.isnan(seconds)}
            best = min(known, key=known.__getitem__, default="none run")
            if known:
                sign = "> " if one[best].time.stopped else ""
                best = f"{sign}{times(known[best] / one[OURS.name].time.seconds)}x, {best}"
            cells.append(best)
        rows.append([COSTS[kind].title, *cells])
    note = (
        "Its time in multiples of that of elastic_ot: below 1 it is faster. After > it was stopped there. Those that "
        "were not run, for they would have taken longer than the limit, are left out."
    )
    return Table("The fastest peer", ["", *(f"n = {n}" for n in sizes)], rows, note)


def exactness_table(title: str, comparisons: Collection[Comparison], certificates: Mapping[str, Certificate]) -> Table:
    """The worst of every kind of costs."""
    kinds = dict.fromkeys(one.case.costs for one in comparisons)
    names = list(dict.fromkeys(x.name for one in comparisons for x in one.entries))
    rows = []
    for kind in kinds:
        chosen = [one for one in comparisons if one.case.costs == kind]
        excess = [max((one[name].excess for one in chosen if one[name].runs), default=math.nan) for name in names]
        proof = certificates[kind]
        cells = ["none" if math.isnan(x) else f"{x:.0e}" for x in excess]
        rows.append([COSTS[kind].title, *cells, f"{proof.slack:.0e}", f"{proof.gap:.0e}", f"{proof.distance:.0e}"])
    note = (
        "By family the worst over all sizes. Solvers: cost of the matching over that of the cheapest found, relative, "
        "recomputed. Certificate of elastic_ot, recomputed: least C_ij - u_i - v_j of all cells; abs(cost - sum u - "
        "sum v); and the relative distance from the least cost that these two leave possible."
    )
    return Table(title, ["", *names, "least slack", "gap", "proven within"], rows, note)


def worst_table(comparisons: Collection[Comparison]) -> Table:
    """Where SciPy is left behind least."""
    timed = [one for one in comparisons if one[SCIPY.name].runs]
    timed.sort(key=lambda one: -ratio_to_scipy(one))
    rows = [
        [
            str(one.case),
            milliseconds(one[OURS.name].time.seconds),
            milliseconds(one[SCIPY.name].time.seconds),
            f"{ratio_to_scipy(one):.3f}",
            str(one[SCIPY.name].runs),
        ]
        for one in timed[:WORST]
    ]
    return Table("elastic_ot / SciPy, the largest ratios", ["", "elastic_ot", "SciPy", "ratio", "runs"], rows)


def ratio_to_scipy(one: Comparison) -> float:
    """Our time over that of SciPy: an upper bound where SciPy was stopped, nan where it did not run."""
    return one[OURS.name].time.seconds / one[SCIPY.name].time.known


def never_slower(what: str, limit: float, comparisons: Collection[Comparison]) -> CommonGoal:
    cases = []
    for one in comparisons:
        ratio, bound = ratio_to_scipy(one), " (at most)" if one[SCIPY.name].time.stopped else ""
        if not math.isnan(ratio):
            cases.append(Goal(f"{one.case}{bound}", ratio, limit, False))
    return CommonGoal(f"elastic_ot / SciPy, {what}, time", limit, False, cases)


def faster(one: Comparison, name: str, limit: float) -> Goal:
    """The time of a peer over ours; 0 if it has none."""
    peer, statement = one[name], f"{name} / elastic_ot, {one.case}, time"
    seconds = peer.time.known
    ratio = 0.0 if math.isnan(seconds) else seconds / one[OURS.name].time.seconds
    return Goal(statement, ratio, limit, True, peer.time.stopped)


def speed_goals(comparisons: Collection[Comparison], n: int) -> list[Goal]:
    """On clouds at n against SciPy and POT, on uniform costs from n on against SciPy."""
    clouds = [one for one in comparisons if one.case.n == n and one.case.costs in GOAL_CLOUDS]
    uniform = [one for one in comparisons if one.case.n >= n and one.case.costs == "uniform"]
    peers = ((SCIPY.name, 60.0), (EMD.name, 4.0))
    goals = [faster(one, name, limit) for one in clouds for name, limit in peers]
    return goals + [faster(one, SCIPY.name, 3.0) for one in uniform]
