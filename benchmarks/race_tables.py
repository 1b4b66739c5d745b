"""Tables of races, and what is claimed of them."""

import math
from collections.abc import Collection, Sequence

from families import FAMILIES
from goals import Claim, Goal
from matchers import EMD, OURS, SCIPY
from races import NOT_RUN, Race, Time
from report import Table, milliseconds, times

WORST = 10
GOAL_CLOUDS = ("cloud2", "cloud3", "cube2", "cube3")
WRONG = 1e-9  # a matching that is dearer than another by more than this part of its cost


def race_table(title: str, races: Sequence[Race], columns: Sequence[str], limit: float) -> Table:
    """One row a solver, one column a race."""
    names = [x.name for x in races[0].times]
    rows = [[name, *(cell(race[name], race[OURS.name], limit) for race in races)] for name in names]
    note = (
        f"In brackets: not run, for it was stopped at a smaller n, or n^3 leads from its time there past {limit:g} s."
        if any(x.failure == NOT_RUN for race in races for x in race.times)
        else ""
    )
    return Table(title, ["", *columns], rows, note)


def cell(x: Time, ours: Time, limit: float) -> str:
    """Time and its ratio to ours, or what is known instead."""
    if x.failure is None:
        wrong = f", not optimal: +{x.excess:.0e}" if x.excess > WRONG else ""
        ratio = "" if x is ours else f", {times(x.seconds / ours.seconds)}x"
        return milliseconds(x.seconds) + ratio + wrong
    if x.stopped:
        return f"> {milliseconds(x.at_least)}, > {times(x.at_least / ours.seconds)}x"
    return f"(> {milliseconds(limit)})" if x.failure == NOT_RUN else "failed"


def fastest_peer_table(races: Collection[Race], sizes: Sequence[int]) -> Table:
    """The fastest of the others that answered, over our time."""
    by_case = {(race.case.family, race.case.n): race for race in races}
    families = dict.fromkeys(race.case.family for race in races)
    rows = []
    for family in families:
        cells = []
        for n in sizes:
            race = by_case[family, n]
            known = {x.name: x.known for x in race.times[1:] if not x.excess > WRONG}
            known = {name: seconds for name, seconds in known.items() if not math.isnan(seconds)}
            best = min(known, key=known.__getitem__, default="none run")
            if known:
                sign = "> " if race[best].stopped else ""
                best = f"{sign}{times(known[best] / race[OURS.name].seconds)}x, {best}"
            cells.append(best)
        rows.append([FAMILIES[family].title, *cells])
    note = (
        "Its time in multiples of that of elastic_ot: below 1 it is faster. After > it was stopped there. Those that "
        "were not run, for they would have taken longer than the limit, are left out."
    )
    return Table("The fastest peer", ["", *(f"n = {n}" for n in sizes)], rows, note)


def exactness_table(title: str, races: Collection[Race]) -> Table:
    """The worst of each family."""
    families = dict.fromkeys(race.case.family for race in races)
    names = list(dict.fromkeys(x.name for race in races for x in race.times))
    rows = []
    for family in families:
        chosen = [race for race in races if race.case.family == family]
        excess = [max((race[name].excess for race in chosen if race[name].runs), default=math.nan) for name in names]
        slack = min(race.certificate.slack for race in chosen)
        gap, distance = (max(getattr(race.certificate, x) for race in chosen) for x in ("gap", "distance"))
        cells = ["none" if math.isnan(x) else f"{x:.0e}" for x in excess]
        rows.append([FAMILIES[family].title, *cells, f"{slack:.0e}", f"{gap:.0e}", f"{distance:.0e}"])
    note = (
        "By family the worst over all sizes. Solvers: cost of the matching over that of the cheapest found, relative, "
        "recomputed. Certificate of elastic_ot, recomputed: least C_ij - u_i - v_j of all cells; abs(cost - sum u - "
        "sum v); and the relative distance from the least cost that these two leave possible."
    )
    return Table(title, ["", *names, "least slack", "gap", "proven within"], rows, note)


def worst_table(races: Collection[Race]) -> Table:
    """Where SciPy is left behind least."""
    timed = [race for race in races if race[SCIPY.name].runs]
    timed.sort(key=lambda race: -ratio_to_scipy(race))
    rows = [
        [
            str(race.case),
            milliseconds(race[OURS.name].seconds),
            milliseconds(race[SCIPY.name].seconds),
            f"{ratio_to_scipy(race):.3f}",
            str(race[SCIPY.name].runs),
        ]
        for race in timed[:WORST]
    ]
    return Table("elastic_ot / SciPy, the largest ratios", ["", "elastic_ot", "SciPy", "ratio", "runs"], rows)


def ratio_to_scipy(race: Race) -> float:
    """Our time over that of SciPy: an upper bound where SciPy was stopped, nan where it did not run."""
    return race[OURS.name].seconds / race[SCIPY.name].known


def never_slower(what: str, limit: float, races: Collection[Race]) -> Claim:
    cases = []
    for race in races:
        ratio, bound = ratio_to_scipy(race), " (at most)" if race[SCIPY.name].stopped else ""
        if not math.isnan(ratio):
            cases.append(Goal(f"{race.case}{bound}", ratio, limit, False))
    return Claim(f"elastic_ot / SciPy, {what}, time", limit, False, cases)


def faster(race: Race, name: str, limit: float) -> Goal:
    """The time of a peer over ours; 0 if it has none."""
    peer, statement = race[name], f"{name} / elastic_ot, {race.case}, time"
    seconds = peer.known
    ratio = 0.0 if math.isnan(seconds) else seconds / race[OURS.name].seconds
    return Goal(statement, ratio, limit, True, peer.stopped)


def speed_goals(races: Collection[Race], n: int) -> list[Goal]:
    """On clouds at n against SciPy and POT, on uniform costs from n on against SciPy."""
    clouds = [race for race in races if race.case.n == n and race.case.family in GOAL_CLOUDS]
    uniform = [race for race in races if race.case.n >= n and race.case.family == "uniform"]
    peers = ((SCIPY.name, 60.0), (EMD.name, 4.0))
    goals = [faster(race, name, limit) for race in clouds for name, limit in peers]
    return goals + [faster(race, SCIPY.name, 3.0) for race in uniform]
