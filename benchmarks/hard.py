"""Hard problems (small epsilon, weak and strong penalties, growing size) against POT, OTT, GeomLoss and RegOT.

    python benchmarks/hard.py [--quick] [--output FOLDER] [--only NAME ...]

prints the tables and writes hard.json (every figure), hard.rst (the tables, for the docs) and hard.svg. NAME is a
section or a kind of problem; a run with --quick or --only writes nothing unless told where.
"""

import argparse
import math
import os
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from pathlib import Path

import claims
import figure
import machine
import processes
import prototypes
from contenders import AUTO, BALANCED_PEERS, ELASTIC_PEERS, LOG, own_methods
from goals import Claim, Goal
from ladder import Ladder, climb, ladder_table, time_against_leader
from problems import Array, Spec
from references import NoReference, tight_potentials
from report import Table, milliseconds, show, times
from scales import ACCURACY, FULL, KINDS, QUICK, Scale
from sections import Section, summary, write
from timing import Solve, figures_of
from workers import Contender, Workers

STRENGTHS = (10.0, 1000.0)
SPARED_EPSILON, SPARED = 1e-3, 3  # where the fastest peers are tried whatever happened before
GROWTH_KINDS = ("cloud2", "uniform")
ALWAYS = ("elastic_ot auto", "elastic_ot newton")


class Bench:
    """The sections; what one measures, a later one uses."""

    def __init__(self, scale: Scale, kinds: Collection[str], workers: Workers) -> None:
        self.scale, self.kinds, self.workers = scale, kinds, workers
        self.own = own_methods()
        self.grid: dict[str, Ladder] = {}
        self.growing: dict[tuple[str, float], Ladder] = {}

    def balanced(self) -> Section:
        """Time to the same certified accuracy, hard marginals, from large to small epsilon."""
        contenders = [*self.own, *BALANCED_PEERS]
        tables = []
        for kind in self._chosen(KINDS):
            n = self.scale.size(kind)
            specs = [Spec(kind, n, epsilon) for epsilon in self.scale.epsilons]
            self.grid[kind] = ladder = climb(specs, contenders, self._timed, ALWAYS, spared)
            title = f"{KINDS[kind]}, n = {n}: time to an L1 error of {ACCURACY:g}"
            tables.append(ladder_table(title, ladder, epsilon_columns(ladder)))
            show(tables[-1])
        merged = {spec: solves for ladder in self.grid.values() for spec, solves in ladder.items()}
        goals = [*speed_claims("balanced", merged), claims.auto_is_the_best_method(1.3, merged)]
        return Section(tables, ladder_figures(merged), goals)

    def elastic(self) -> Section:
        """The same with KL penalties on both sides, accuracy as the distance from a certified plan."""
        contenders = [c for c in self.own if c.name in (*ALWAYS, LOG.name)] + ELASTIC_PEERS
        tables, merged, pairs, bounds = [], {}, [], {}

        def measure(spec: Spec, trying: list[Contender]) -> list[Solve]:
            hard = replace(spec, rho_rows=math.inf, rho_cols=math.inf)
            try:
                reference = tight_potentials(spec, [AUTO, LOG], self.scale.effort, self.workers)
            except NoReference as error:
                print(error, flush=True)
                return [Solve(c.name, math.nan, math.nan, None, "no certified plan") for c in trying]
            bounds[spec] = reference.bound
            solves = self._timed(spec, trying, reference.potentials)
            pairs.append((spec, solves[0], self._timed(hard, [AUTO])[0]))
            return solves

        for kind in self._chosen(self.scale.elastic_kinds):
            for strength in STRENGTHS:
                n = self.scale.size(kind)
                specs = [Spec(kind, n, e, strength, strength, False) for e in self.scale.elastic_epsilons]
                ladder = climb(specs, contenders, measure, ALWAYS, spared)
                title = (
                    f"{KINDS[kind]}, KL on both sides, rho = {strength:g} epsilon, n = {n}: time to a plan within "
                    f"{ACCURACY:g} of the optimal one"
                )
                tables.append(ladder_table(title, ladder, epsilon_columns(ladder)))
                show(tables[-1])
                merged |= ladder
        goals = [
            *speed_claims("elastic", merged),
            claims.never_slower_than_balanced(1.0, pairs),
            claims.iterations_do_not_grow(2.0, merged, *STRENGTHS),
        ]
        return Section(tables, ladder_figures(merged, bounds), goals)

    def growth(self) -> Section:
        """From small to large n; what the balanced section measured is not measured again."""
        known = {spec: solves for ladder in self.grid.values() for spec, solves in ladder.items()}
        tables, merged = [], {}
        for kind in self._chosen(GROWTH_KINDS):
            for epsilon in self.scale.growth_epsilons:
                specs = [Spec(kind, n, epsilon) for n in self.scale.growth_sizes]
                ladder = climb(specs, [AUTO, *BALANCED_PEERS], self._timed, ALWAYS, known=known)
                self.growing[kind, epsilon] = ladder
                title = f"{KINDS[kind]}, epsilon = {epsilon:g} max C: time to an L1 error of {ACCURACY:g}"
                tables.append(ladder_table(title, ladder, [f"n = {spec.n}" for spec in ladder]))
                show(tables[-1])
                merged |= ladder
        return Section(tables, ladder_figures(merged), [])

    def large(self) -> Section:
        """Fresh processes, with no others beside them: a problem of 10,000 points, and peak memory."""
        self.workers.close()
        runs = [("auto", self.scale.large)]
        methods = [name.removeprefix("elastic_ot ") for name in ALWAYS if name in {c.name for c in self.own}]
        runs += [(m, Spec("cloud2", n, 1e-4)) for n in self.scale.memory_sizes for m in methods]
        rows, figures, cases = [], [], []
        for method, spec in runs:
            x = processes.measure_solve(method, spec)
            figures.append({"method": method, "problem": asdict(spec), **x})
            name = f"{method}, n = {spec.n}, {spec.dtype}, epsilon = {spec.epsilon:g} max C"
            cells = milliseconds(x["seconds"]), str(x["iterations"]), f"{x['error']:.0e}", f"{x['resident']:.2f}"
            rows.append([name, *cells])
            if spec.dtype == "float64":
                cases.append(Goal(f"{method}, n = {spec.n}", x["resident"], 0.5, False))
        table = Table(
            "Normal clouds of the plane in fresh processes",
            ["", "time", "iterations", "L1 error", "peak memory"],
            rows,
            "The second solve of the process, without the plan. Error: recomputed from the potentials in float64. "
            "Memory: growth of the process above the cost during that solve, in multiples of the cost.",
        )
        show(table)
        return Section([table], figures, [Claim("peak memory above the cost, cost matrices", 0.5, False, cases)])

    def prototype(self) -> Section:
        """Beside the prototype that shows what is reachable, where there is one."""
        folder = os.environ.get("ELASTIC_OT_PROTOTYPES")
        if not folder or not (Path(folder) / "newton.py").exists():
            reason = "skipped: ELASTIC_OT_PROTOTYPES names no folder with newton.py"
            print(f"prototype: {reason}\n", flush=True)
            return Section([], reason, [])
        newton = prototypes.load(Path(folder))
        rounds = self.scale.effort.rounds
        duels = [prototypes.duel(newton, *case, ACCURACY, rounds) for case in self.scale.duels]
        table = Table(
            "Beside the prototype of the Newton method",
            ["", "auto", "prototype", "ratio", "L1 error of auto", "L1 error of the prototype"],
            [
                [
                    d.case,
                    milliseconds(d.seconds),
                    milliseconds(d.prototype_seconds),
                    times(d.ratio),
                    f"{d.error:.0e}",
                    f"{d.prototype_error:.0e}",
                ]
                for d in duels
            ],
            "Interleaved in one process, same tolerance, without the plan. The prototype is square, balanced and "
            "float64 only, and validates nothing.",
        )
        show(table)
        cases = [Goal(d.case, d.ratio, 1.0, False) for d in duels]
        return Section([table], [asdict(d) for d in duels], [Claim("auto / prototype, time", 1.0, False, cases)])

    def picture(self, path: Path) -> None:
        drawn = self.growing.get(("cloud2", self.scale.drawn_epsilon))
        if drawn and "cloud2" in self.grid:
            figure.draw(path, drawn, self.grid["cloud2"])

    def _timed(self, spec: Spec, trying: list[Contender], reference: tuple[Array, Array] | None = None) -> list[Solve]:
        return time_against_leader(spec, trying, self.scale.effort, self.scale.patience, self.workers, reference)

    def _chosen(self, kinds: Collection[str]) -> list[str]:
        return [kind for kind in kinds if kind in self.kinds]


def spared(spec: Spec) -> int:
    return SPARED if spec.epsilon == SPARED_EPSILON else 0


def epsilon_columns(ladder: Ladder) -> list[str]:
    return [f"epsilon = {spec.epsilon:g} max C" for spec in ladder]


def speed_claims(family: str, ladder: Ladder) -> list[Claim]:
    regimes: list[tuple[str, float, Callable[[Spec], bool]]] = [
        ("epsilon >= 1e-2", 1.0, lambda spec: spec.epsilon > 2e-3),
        ("epsilon = 1e-3", 10.0, lambda spec: 5e-4 < spec.epsilon < 2e-3),
        ("epsilon <= 1e-4", 50.0, lambda spec: spec.epsilon < 5e-4),
    ]
    return [
        claims.beats_peers(f"fastest peer / auto, {family}, {regime}, time", limit, ladder, chosen)
        for regime, limit, chosen in regimes
        if any(map(chosen, ladder))
    ]


def ladder_figures(ladder: Ladder, bounds: dict[Spec, float] | None = None) -> list[dict[str, object]]:
    bounds = bounds or {}
    return [
        figures_of(spec, solves) | ({"reference_bound": bounds[spec]} if spec in bounds else {})
        for spec, solves in ladder.items()
    ]


SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "balanced": Bench.balanced,
    "elastic": Bench.elastic,
    "large": Bench.large,
    "prototype": Bench.prototype,
    "growth": Bench.growth,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that everything runs")
    parser.add_argument("--only", nargs="+", choices=[*SECTIONS, *KINDS], default=[], metavar="NAME")
    parser.add_argument("--output", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    output = arguments.output
    if output is None and not (arguments.quick or arguments.only):
        output = Path(__file__).parent / "results"
    machine.unset_blas_overrides()
    setting = Table("Machine and versions", ["", ""], [list(pair) for pair in machine.describe().items()])
    done: dict[str, Section] = {}
    with Workers() as workers:
        bench = Bench(QUICK if arguments.quick else FULL, set(KINDS).intersection(arguments.only) or KINDS, workers)
        for name in [name for name in SECTIONS if name in arguments.only] or SECTIONS:
            start = time.perf_counter()
            done[name] = SECTIONS[name](bench)
            print(f"{name}: measured in {time.perf_counter() - start:.0f} s\n", flush=True)
            if output is not None:
                write(output / "hard", done, setting)
                bench.picture(output / "hard.svg")
    print(summary(done).text())
    print(setting.text())


if __name__ == "__main__":
    main()
