"""Assignment problems against SciPy, lapx and POT.

    python benchmarks/assignment.py [--quick] [--only SECTION ...] [--families NAME ...] [--sizes N ...]
                                    [--limit SECONDS] [--output FOLDER]

prints the tables and writes assignment.json (every figure), assignment.rst (the tables, for the docs) and
assignment.svg. A run with --quick, --only, --families or --sizes writes nothing unless told where.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import machine
import matchers
import processes
import race_figure
import race_tables
from families import FAMILIES, Case
from goals import Claim, Goal
from matchers import EMD, LAPJV, MATCHERS, OURS, SCIPY
from races import Race, Repeats, predict, race
from report import Table, milliseconds, show, times
from sections import Section, summary, write
from workers import SETTLE

CLOUDS = ("cloud2", "cloud3", "cube2", "cube3", "cube8")


@dataclass(frozen=True)
class Scale:
    """How much is measured; ``limit``: seconds a peer may take."""

    sizes: tuple[int, ...]
    goal_size: int
    crossover_sizes: tuple[int, ...]
    rectangular_size: int
    single_size: int
    memory_sizes: tuple[int, ...]
    repeats: Repeats
    crossover_repeats: Repeats
    limit: float


FULL = Scale(
    sizes=(100, 200, 500, 1000, 2000, 4000, 10_000),
    goal_size=4000,
    crossover_sizes=(50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1200, 1500),
    rectangular_size=1000,
    single_size=4000,
    memory_sizes=(2000, 4000),
    repeats=Repeats(),
    crossover_repeats=Repeats(budget=0.5, most=11, once=0.5),
    limit=40.0,
)
QUICK = Scale(
    sizes=(50, 100, 200),
    goal_size=200,
    crossover_sizes=(50, 100, 200),
    rectangular_size=100,
    single_size=200,
    memory_sizes=(1000,),
    repeats=Repeats(budget=0.05, most=20),
    crossover_repeats=Repeats(budget=0.05, most=3),
    limit=5.0,
)


class Bench:
    """The sections; the figure shows the square problems."""

    def __init__(self, scale: Scale, families: Collection[str]) -> None:
        self.scale, self.families = scale, families
        self.squares: dict[str, list[Race]] = {}

    def square(self) -> Section:
        """Every solver on every family, from small to large n; who took too long is not run at larger sizes."""
        tables = []
        columns = [f"n = {n}" for n in self.scale.sizes]
        for family in self._chosen(FAMILIES):
            self._warm_up(family)
            self.squares[family] = races = []
            for n in self.scale.sizes:
                case = Case(family, n, n)
                predicted = {matcher.name: predict(matcher.name, n, races) for matcher in MATCHERS}
                limits = {name: self._limit(case, name, seconds) for name, seconds in predicted.items()}
                races.append(race(case, MATCHERS, limits, predicted, self.scale.repeats, settle(case)))
            table = race_tables.race_table(f"{FAMILIES[family].title}: time", races, columns, self.scale.limit)
            tables.append(table)
            show(table)
        together = [x for races in self.squares.values() for x in races]
        closing = [
            race_tables.fastest_peer_table(together, self.scale.sizes),
            race_tables.worst_table(together),
            race_tables.exactness_table("Exactness, square problems", together),
        ]
        for table in closing:
            show(table)
        goals = [
            *race_tables.speed_goals(together, self.scale.goal_size),
            race_tables.never_slower("square", 1.1, together),
        ]
        return Section([*tables, *closing], [x.figures() for x in together], goals)

    def rectangular(self) -> Section:
        """Against SciPy, either side the longer one."""
        n, races = self.scale.rectangular_size, []
        for family in self._chosen(("uniform", "cloud2")):
            for factor in (2, 10):
                for case in (Case(family, n, factor * n), Case(family, factor * n, n)):
                    self._warm_up(family, case)
                    races.append(race(case, (OURS, SCIPY), {}, {}, self.scale.repeats, settle(case)))
        return self._against_scipy("rectangular", races)

    def float32(self) -> Section:
        """Single precision; the slower of the two lapx solvers does not take part."""
        races = []
        for family in self._chosen(("uniform", "cloud2")):
            case = Case(family, self.scale.single_size, self.scale.single_size, "float32")
            self._warm_up(family, replace(case, n=1000, m=1000))
            entered = [matcher for matcher in MATCHERS if matcher is not LAPJV]
            limits = {matcher.name: self.scale.limit for matcher in entered if matcher is not OURS}
            races.append(race(case, entered, limits, {}, self.scale.repeats, settle(case)))
        return self._against_scipy("float32", races)

    def memory(self) -> Section:
        """Fresh processes: peak memory above the cost."""
        rows, figures, cases = [], [], []
        for family in self._chosen(("uniform", "cloud2", "line")):
            for n in self.scale.memory_sizes:
                for dtype in ("float64", "float32"):
                    case = Case(family, n, n, dtype)
                    x = processes.measure_assign(case)
                    name = f"{FAMILIES[family].title}, n = {n}, {dtype}"
                    rows.append([name, f"{x['resident']:.2f}", milliseconds(x["seconds"])])
                    figures.append({"case": asdict(case), **x})
                    cases.append(Goal(name, x["resident"], 0.2, False))
        table = Table(
            "Peak memory of elastic_ot above the cost, in multiples of it",
            ["", "memory", "time"],
            rows,
            "Growth of a fresh process during its first problem of this size, after one of n = 1000.",
        )
        show(table)
        return Section([table], figures, [Claim("peak memory above the cost, cost matrices", 0.2, False, cases)])

    def crossover(self) -> Section:
        """Where the own engine passes SciPy: what the constant SMALL is chosen from."""
        rows, figures, ratios = [], [], []
        with matchers.own_engine_only():
            for family in self._chosen(FAMILIES):
                self._warm_up(family)
                races = []
                for n in self.scale.crossover_sizes:
                    case = Case(family, n, n)
                    races.append(race(case, (OURS, SCIPY), {}, {}, self.scale.crossover_repeats, SETTLE))
                ratios.append([race_tables.ratio_to_scipy(x) for x in races])
                figures += [x.figures() for x in races]
                rows.append([FAMILIES[family].title, *map(times, ratios[-1]), self._passes(ratios[-1])])
        by_size = list(zip(*ratios, strict=True))
        means, worst = list(map(statistics.geometric_mean, by_size)), list(map(max, by_size))
        rows.append(["geometric mean", *map(times, means), self._passes(means)])
        rows.append(["largest", *map(times, worst), self._passes(worst)])
        table = Table(
            "Crossover: elastic_ot without SciPy / SciPy, time",
            ["", *(f"n = {n}" for n in self.scale.crossover_sizes), "at most 1 from"],
            rows,
            f"elastic_ot leaves problems of fewer than {matchers.small()} rows or columns to SciPy; here it does not.",
        )
        show(table)
        return Section([table], figures, [])

    def picture(self, path: Path) -> None:
        if self.squares:
            race_figure.draw(path, self.squares)

    def _passes(self, ratios: Sequence[float]) -> str:
        """The size from which on the ratio is at most 1."""
        last = max((k for k, ratio in enumerate(ratios) if ratio > 1), default=-1)
        return f"n = {self.scale.crossover_sizes[last + 1]}" if last + 1 < len(ratios) else "none"

    def _limit(self, case: Case, name: str, predicted: float) -> float:
        """Seconds; 0: not run. What the goals are about runs, on uniform costs to the limit and else to the end."""
        if name == OURS.name:
            return math.inf
        if case.n == self.scale.goal_size and name in (SCIPY.name, EMD.name) and case.family in ("uniform", *CLOUDS):
            return math.inf
        wanted = case.n >= self.scale.goal_size and name == SCIPY.name and case.family == "uniform"
        return 0.0 if predicted > self.scale.limit and not wanted else self.scale.limit

    def _against_scipy(self, what: str, races: Sequence[Race]) -> Section:
        if not races:
            return Section([], [], [])
        columns = [str(x.case) for x in races]
        tables = [
            race_tables.race_table(f"{what.capitalize()} costs: time", races, columns, self.scale.limit),
            race_tables.exactness_table(f"Exactness, {what}", races),
        ]
        for table in tables:
            show(table)
        return Section(tables, [x.figures() for x in races], [race_tables.never_slower(what, 1.1, races)])

    @staticmethod
    def _warm_up(family: str, case: Case | None = None) -> None:
        """Load compiled code and libraries, on a problem that the own engine solves."""
        for warm in (case or Case(family, 1000, 1000), Case(family, 50, 50)):
            cost = warm.build()
            OURS.solve(cost)
        for matcher in MATCHERS:
            matcher.solve(cost)

    def _chosen(self, families: Collection[str]) -> list[str]:
        return [family for family in families if family in self.families]


def settle(case: Case) -> float:
    """Seconds to sleep after a run of ours: its idle threads spin for a while, where it has used them."""
    return SETTLE if min(case.n, case.m) >= matchers.small() else 0.0


SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "square": Bench.square,
    "rectangular": Bench.rectangular,
    "float32": Bench.float32,
    "memory": Bench.memory,
    "crossover": Bench.crossover,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that everything runs")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=[], metavar="SECTION")
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=[], metavar="NAME")
    parser.add_argument("--sizes", nargs="+", type=int, help="of the square problems", metavar="N")
    parser.add_argument("--limit", type=float, help=f"seconds a peer may take (default {FULL.limit:g})")
    parser.add_argument("--output", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    output = arguments.output
    if output is None and not (arguments.quick or arguments.only or arguments.families or arguments.sizes):
        output = Path(__file__).parent / "results"
    scale = QUICK if arguments.quick else FULL
    scale = replace(
        scale, sizes=tuple(sorted(set(arguments.sizes or scale.sizes))), limit=arguments.limit or scale.limit
    )
    machine.unset_blas_overrides()
    setting = Table("Machine and versions", ["", ""], [list(pair) for pair in machine.describe().items()])
    bench = Bench(scale, arguments.families or list(FAMILIES))
    done: dict[str, Section] = {}
    for name in [name for name in SECTIONS if name in arguments.only] or SECTIONS:
        start = time.perf_counter()
        done[name] = SECTIONS[name](bench)
        print(f"{name}: measured in {time.perf_counter() - start:.0f} s\n", flush=True)
        if output is not None:
            write(output / "assignment", done, setting)
            bench.picture(output / "assignment.svg")
    print(summary(done).text())
    print(setting.text())


if __name__ == "__main__":
    main()
