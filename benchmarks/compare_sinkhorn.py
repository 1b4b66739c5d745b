"""Entropic problems (small epsilon, weak and strong penalties, growing size) against POT, OTT, GeomLoss and RegOT.

    python -m benchmarks.compare_sinkhorn [--quick] [--only SECTION ...] [--problems KIND ...] [--output FOLDER]

prints the tables and writes sinkhorn.json (the numbers), sinkhorn.rst (the tables, for the docs) and sinkhorn.svg. A
run with --quick, --only or --problems writes nothing unless told where; --redraw makes tables and figure of stored
numbers.
"""

import math
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from . import elastic, fresh_processes, newton_prototype, plots, sinkhorn_tables
from .certified_plans import NoReference, tight_potentials
from .easy_to_hard import Patience, Solves, from_easy_to_hard, time_against_leader
from .peers import geomloss, ott, pot, regot
from .problems import Array, Spec
from .report import Benchmark, Figures, Section, options
from .sinkhorn_tables import ACCURACY, KINDS, records
from .solvers import Solver
from .timing import Effort, Solve
from .workers import Workers

STRENGTHS = (10.0, 1000.0)
SPARED_EPSILON, SPARED = 1e-3, 3  # where the fastest peers are tried whatever happened before
GROWTH_KINDS = ("cloud2", "uniform")
ALWAYS = ("elastic_ot auto", "elastic_ot newton")

AUTO = Solver("elastic_ot auto", partial(elastic.solve, method="auto"))
LOG = Solver("elastic_ot log", partial(elastic.solve, method="log"))
SINGLE_METHODS = ("scaling", "stabilized", "log", "epsilon_scaling", "newton")

# Memory 5 and ridge 1e-6 were the fastest of memories 2 to 20 and ridges 1e-2 (the default) to 1e-8 on uniform
# costs and clouds at n = 300. Its momentum, constant or adaptive, halves the iterations at best: left out.
ANDERSON = (5, 1e-6)

BALANCED_PEERS = [
    Solver("POT sinkhorn", partial(pot.balanced, method="sinkhorn")),
    Solver("POT sinkhorn_log", partial(pot.balanced, method="sinkhorn_log")),
    Solver("POT sinkhorn_stabilized", partial(pot.balanced, method="sinkhorn_stabilized")),
    Solver("OTT", ott.sinkhorn),
    Solver("OTT, Anderson", partial(ott.sinkhorn, anderson=ANDERSON)),
    Solver("GeomLoss", geomloss.sinkhorn, stride=2.0),
    Solver("RegOT bcd", partial(regot.sinkhorn, method="bcd")),
    Solver("RegOT lbfgs", partial(regot.sinkhorn, method="lbfgs_dual")),
    Solver("RegOT splr", partial(regot.sinkhorn, method="splr")),
    Solver("RegOT ssns", partial(regot.sinkhorn, method="ssns")),
]
# Left out: POT's lbfgsb_unbalanced, which optimises n * m variables, and its sinkhorn_stabilized_unbalanced, which
# stops too early at any threshold.
ELASTIC_PEERS = [
    Solver("POT sinkhorn_unbalanced", partial(pot.unbalanced, method="sinkhorn")),
    Solver("POT translation invariant", partial(pot.unbalanced, method="sinkhorn_translation_invariant")),
    Solver("OTT", ott.sinkhorn),
    Solver("OTT, recentred", partial(ott.sinkhorn, recenter=True)),
    Solver("OTT, Anderson", partial(ott.sinkhorn, anderson=ANDERSON)),
    Solver("GeomLoss", geomloss.sinkhorn, stride=2.0),
]


def own_methods() -> list[Solver]:
    """``auto``, then every single method that this version of the package has."""
    methods = elastic.offered(SINGLE_METHODS)
    return [AUTO, *(Solver(f"elastic_ot {method}", partial(elastic.solve, method=method)) for method in methods)]


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    n: int
    pixels: int
    epsilons: tuple[float, ...]
    elastic_kinds: tuple[str, ...]
    elastic_epsilons: tuple[float, ...]
    growth_sizes: tuple[int, ...]
    growth_epsilons: tuple[float, ...]
    large: Spec
    memory_sizes: tuple[int, ...]
    prototype_cases: tuple[tuple[str, int, float], ...]
    effort: Effort
    patience: Patience

    def size(self, kind: str) -> int:
        return self.pixels if kind.startswith("digits") else self.n


FULL = Scale(
    n=1000,
    pixels=784,
    epsilons=(1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    elastic_kinds=("cloud2", "uniform", "digits_l2"),
    elastic_epsilons=(1e-2, 1e-3, 1e-4),
    growth_sizes=(500, 1000, 2000, 5000),
    growth_epsilons=(1e-2, 1e-3, 1e-4),
    large=Spec("cloud2", 10_000, 1e-4, dtype="float32"),
    memory_sizes=(2000, 4000),
    prototype_cases=(
        ("cloud", 1000, 1e-2),
        ("cloud", 1000, 1e-3),
        ("cloud", 1000, 1e-4),
        ("uniform", 1000, 1e-3),
        ("uniform", 1000, 1e-4),
        ("cloud", 3000, 1e-3),
        ("cloud", 3000, 1e-4),
    ),
    effort=Effort(ACCURACY, 100_000, 5, 6.0),
    patience=Patience(),
)
QUICK = Scale(
    n=200,
    pixels=196,
    epsilons=(1e-1, 1e-2, 1e-3),
    elastic_kinds=("cloud2",),
    elastic_epsilons=(1e-2, 1e-3),
    growth_sizes=(100, 200),
    growth_epsilons=(1e-2,),
    large=Spec("cloud2", 1000, 1e-3, dtype="float32"),
    memory_sizes=(500,),
    prototype_cases=(("cloud", 300, 1e-2), ("uniform", 300, 1e-3)),
    effort=Effort(ACCURACY, 100_000, 1, 2.0),
    patience=Patience(shortest=0.5, longest=1.0),
)


class Bench:
    """The sections; what one measures, a later one uses."""

    def __init__(self, scale: Scale, kinds: Collection[str], workers: Workers) -> None:
        self.scale, self.kinds, self.workers = scale, kinds, workers
        self.own = own_methods()
        self.known: Solves = {}

    def balanced(self) -> Figures:
        """Time to the same certified accuracy, hard marginals, from large to small epsilon."""
        for kind in self._chosen(KINDS):
            specs = [Spec(kind, self.scale.size(kind), epsilon) for epsilon in self.scale.epsilons]
            self.known |= from_easy_to_hard(specs, [*self.own, *BALANCED_PEERS], self._timed, ALWAYS, spared)
        return records(self.known, "epsilon")

    def elastic(self) -> Figures:
        """The same with KL penalties on both sides, accuracy as the distance from a certified plan."""
        solvers = [solver for solver in self.own if solver.name in (*ALWAYS, LOG.name)] + ELASTIC_PEERS
        found: Solves = {}
        hard_marginals: dict[Spec, Solve] = {}

        def measure(spec: Spec, trying: list[Solver]) -> list[Solve]:
            hard = replace(spec, rho_rows=math.inf, rho_cols=math.inf)
            try:
                reference = tight_potentials(spec, [AUTO, LOG], self.scale.effort, self.workers)
            except NoReference as error:
                print(error, flush=True)
                return [Solve(solver.name, math.nan, math.nan, None, "no certified plan") for solver in trying]
            solves = self._timed(spec, trying, reference.potentials)
            hard_marginals[spec] = self._timed(hard, [AUTO])[0]
            return solves

        for kind in self._chosen(self.scale.elastic_kinds):
            for rho in STRENGTHS:
                n = self.scale.size(kind)
                specs = [Spec(kind, n, epsilon, rho, rho, False) for epsilon in self.scale.elastic_epsilons]
                found |= from_easy_to_hard(specs, solvers, measure, ALWAYS, spared)
        return with_goals_of_auto(records(found, "epsilon"), found, hard_marginals)

    def growth(self) -> Figures:
        """From small to large n; what the balanced section measured is not measured again."""
        found: Solves = {}
        for kind in self._chosen(GROWTH_KINDS):
            for epsilon in self.scale.growth_epsilons:
                specs = [Spec(kind, n, epsilon) for n in self.scale.growth_sizes]
                found |= from_easy_to_hard(specs, [AUTO, *BALANCED_PEERS], self._timed, ALWAYS, known=self.known)
        return records(found, "n")

    def large(self) -> Figures:
        """Fresh processes, with no others beside them: a problem of 10,000 points, and peak memory."""
        self.workers.close()
        runs = [("auto", self.scale.large)]
        methods = [name.removeprefix("elastic_ot ") for name in ALWAYS if name in {solver.name for solver in self.own}]
        runs += [(method, Spec("cloud2", n, 1e-4)) for n in self.scale.memory_sizes for method in methods]
        return [
            {
                "method": method,
                "n": spec.n,
                "dtype": spec.dtype,
                "epsilon": spec.epsilon,
                **fresh_processes.measure_solve(method, spec),
            }
            for method, spec in runs
        ]

    def prototype(self) -> Figures:
        """Beside the prototype that shows what is reachable, where there is one."""
        folder = os.environ.get("ELASTIC_OT_PROTOTYPES")
        if not folder or not (Path(folder) / "newton.py").exists():
            print("prototype: skipped, ELASTIC_OT_PROTOTYPES names no folder with newton.py\n", flush=True)
            return []
        newton = newton_prototype.load(Path(folder))
        rounds = self.scale.effort.rounds
        return [newton_prototype.measure(newton, *case, ACCURACY, rounds) for case in self.scale.prototype_cases]

    def _timed(self, spec: Spec, trying: list[Solver], reference: tuple[Array, Array] | None = None) -> list[Solve]:
        print(f"{sinkhorn_tables.Case.of(spec)}, n {spec.n}", flush=True)
        return time_against_leader(spec, trying, self.scale.effort, self.scale.patience, self.workers, reference)

    def _chosen(self, kinds: Collection[str]) -> list[str]:
        return [kind for kind in kinds if kind in self.kinds]


def spared(spec: Spec) -> int:
    return SPARED if spec.epsilon == SPARED_EPSILON else 0


def with_goals_of_auto(
    stored: list[sinkhorn_tables.Record], found: Solves, hard_marginals: dict[Spec, Solve]
) -> list[sinkhorn_tables.Record]:
    """With what two goals are about: iterations, and the time with hard marginals at the same epsilon."""
    series = {(record["kind"], record["rho"]): record for record in stored if record["solver"] == AUTO.name}
    for spec, (auto, *_) in found.items():
        record = series[spec.kind, spec.rho_rows]
        answered = auto.outcome is not None and auto.failure is None
        iterations = auto.outcome.iterations if auto.outcome is not None and answered else None
        record.setdefault("iterations", {})[f"{spec.epsilon:g}"] = iterations
        if spec in hard_marginals:
            record.setdefault("hard_marginals", {})[f"{spec.epsilon:g}"] = hard_marginals[spec].time.stored()
    return stored


SINKHORN = Benchmark(
    "sinkhorn",
    {
        "balanced": Section(Bench.balanced, sinkhorn_tables.balanced),
        "elastic": Section(Bench.elastic, sinkhorn_tables.elastic),
        "large": Section(Bench.large, sinkhorn_tables.large),
        "prototype": Section(Bench.prototype, sinkhorn_tables.prototype),
        "growth": Section(Bench.growth, sinkhorn_tables.growth),
    },
    plots.sinkhorn,
)


def main() -> None:
    parser = options(__doc__, list(SINKHORN.sections))
    parser.add_argument("--problems", nargs="+", choices=list(KINDS), default=[], metavar="KIND")
    arguments = parser.parse_args()
    if arguments.redraw:
        SINKHORN.redraw(arguments.output)
        return
    with Workers() as workers:
        bench = Bench(QUICK if arguments.quick else FULL, arguments.problems or list(KINDS), workers)
        SINKHORN.run(arguments, bench, whole=not arguments.problems)


if __name__ == "__main__":
    main()
