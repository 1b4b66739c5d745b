"""Dense problems on the CPU against POT and OTT-JAX: one command, everything interleaved in one run.

    python benchmarks/dense_cpu.py [--quick] [--output benchmarks/results]

prints the tables and writes dense_cpu.json (every figure) and dense_cpu.rst (the tables, for the docs).
"""

import argparse
import math
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import machine
import processes
from baselines import run_fused_log, run_fused_scaling, run_two_products
from goals import Goal
from peers import ott, pot_balanced, pot_unbalanced
from problems import Spec
from references import tight_potentials
from report import Table, milliseconds, times
from sections import Section, announced, summary, write
from solvers import baseline, elastic
from timing import Effort, Iteration, Solve, figures_of, time_iterations, time_solves
from workers import Contender, Workers


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    iteration_rounds: dict[int, int]
    epsilons: tuple[float, ...]
    n: int
    effort: Effort
    memory_n: int
    process_repeats: int


ACCURACY = 1e-6
FULL = Scale({1000: 7, 2000: 3, 4000: 1}, (1e-1, 1e-2, 1e-3), 1000, Effort(ACCURACY, 100_000, 3, 10.0), 4000, 3)
QUICK = Scale({500: 3}, (1e-1, 1e-2), 400, Effort(ACCURACY, 100_000, 1, 20.0), 1500, 1)


LOG = [
    Contender("elastic_ot log", partial(elastic, method="log")),
    Contender("elastic_ot log, float32", partial(elastic, method="log", dtype="float32")),
    Contender("bare fused log sweep", partial(baseline, iterate=run_fused_log)),
    Contender("OTT log, jit", partial(ott, scan=True), span=20),
    Contender("POT sinkhorn_log", partial(pot_balanced, method="sinkhorn_log"), span=10),
]
SCALING = [
    Contender("elastic_ot scaling", partial(elastic, method="scaling")),
    Contender("elastic_ot scaling, float32", partial(elastic, method="scaling", dtype="float32")),
    Contender("elastic_ot stabilized", partial(elastic, method="stabilized")),
    Contender("bare fused scaling sweep", partial(baseline, iterate=run_fused_scaling)),
    Contender("two BLAS products", partial(baseline, iterate=run_two_products)),
    Contender("OTT kernel, jit", partial(ott, lse_mode=False, scan=True)),
    Contender("POT sinkhorn", partial(pot_balanced, method="sinkhorn")),
]
ITERATION_GOALS = [
    ("POT sinkhorn_log", "elastic_ot log", 25.0, True),
    ("OTT log, jit", "elastic_ot log", 4.0, True),
    ("POT sinkhorn", "elastic_ot scaling", 1.5, True),
    ("elastic_ot log", "bare fused log sweep", 1.15, False),
    ("elastic_ot scaling", "bare fused scaling sweep", 1.15, False),
]


def iterations(scale: Scale) -> Section:
    """Seconds a full iteration, convergence tests never met."""
    measured: dict[int, dict[str, Iteration]] = {}
    for n, rounds in scale.iteration_rounds.items():
        problem = Spec("cloud", n, 0.015).build()
        measured[n] = {x.name: x for x in time_iterations(problem, LOG + SCALING, rounds)}
    tables = [
        iteration_table("Time of a full iteration in the log domain", LOG, measured),
        iteration_table("Time of a full iteration by scaling", SCALING, measured),
    ]
    goals = [
        Goal(f"{slow} / {fast}, an iteration, n = {n}", row[slow].median / row[fast].median, limit, at_least)
        for slow, fast, limit, at_least in ITERATION_GOALS
        for n, row in measured.items()
    ]
    return Section(tables, {n: [asdict(x) for x in row.values()] for n, row in measured.items()}, goals)


def iteration_table(title: str, contenders: list[Contender], measured: dict[int, dict[str, Iteration]]) -> Table:
    header = ["", *(f"n = {n}{unit}" for n in measured for unit in ("", ", ratio"))]
    rows = []
    for contender in contenders:
        row = [contender.name]
        for at_n in measured.values():
            median = at_n[contender.name].median
            row += [milliseconds(median), times(median / at_n[contenders[0].name].median)]
        rows.append(row)
    note = (
        f"Medians over interleaved rounds; ratio: to {contenders[0].name}. Row and column update; planar "
        "clouds, epsilon = 0.015 max C; float64 unless said. The convergence tests of elastic_ot and POT run "
        "and are never met; OTT runs without."
    )
    return Table(title, header, rows, note)


ELASTIC_OT = [
    Contender(f"elastic_ot {method}", partial(elastic, method=method))
    for method in ("auto", "log", "scaling", "stabilized", "epsilon_scaling")
]
BALANCED = [
    *ELASTIC_OT,
    *(
        Contender(f"POT {method}", partial(pot_balanced, method=method))
        for method in ("sinkhorn", "sinkhorn_log", "sinkhorn_stabilized")
    ),
    Contender("OTT log, jit", ott),
]
ELASTIC = [
    *ELASTIC_OT[:3],
    Contender("POT sinkhorn_unbalanced", partial(pot_unbalanced, method="sinkhorn")),
    Contender("POT translation invariant", partial(pot_unbalanced, method="sinkhorn_translation_invariant")),
    Contender("OTT log, jit", ott),
]
TIGHT = ELASTIC_OT[1]
RECENTRED = Contender("OTT log, jit, recentred", partial(ott, recenter=True))


def solutions(scale: Scale, workers: Workers) -> Section:
    """Time to the same certified accuracy, balanced."""
    tables, figures = [], []
    for kind in ("uniform", "cloud"):
        for epsilon in scale.epsilons:
            spec = Spec(kind, scale.n, epsilon)
            solves = time_solves(spec, BALANCED, scale.effort, workers)
            case = f"{KINDS[kind]}, n = {scale.n}, epsilon = {epsilon:g} max C"
            title = f"{case}: time to an L1 error of {ACCURACY:g}"
            tables.append(solve_table(title, solves, "L1 error", BALANCED_NOTE))
            figures.append(figures_of(spec, solves))
    return Section(tables, figures, [])


BALANCED_NOTE = "Error: of both marginals of the returned plan, recomputed. The plan is included in the time."
KINDS = {"uniform": "Uniform costs", "cloud": "Planar clouds, squared distances"}
RELAXED = {"columns": (math.inf, 1.0), "both sides": (1.0, 1.0)}


def relaxed(scale: Scale, workers: Workers) -> Section:
    """Time and iterations to the same plan with KL penalties; a strong one is slow without the shift."""
    tables, figures = [], []
    for strength in (10.0, 1000.0):
        for sides, (rows, cols) in RELAXED.items():
            spec = Spec("cloud", scale.n, 0.01, rows * strength, cols * strength, uniform_weights=False)
            reference = tight_potentials(spec, [TIGHT], scale.effort, workers)
            contenders = ELASTIC if math.isinf(rows) else [*ELASTIC, RECENTRED]
            solves = time_solves(spec, contenders, scale.effort, workers, reference.potentials)
            title = (
                f"KL on {sides}, rho = {strength:g} epsilon, epsilon = 0.01 max C, n = {scale.n}: "
                f"time to a plan within {ACCURACY:g} of the optimal one"
            )
            note = (
                f"Distance, relative to the mass, from a plan certified within {reference.bound:.0e} of the optimum. "
                f"No threshold above {ACCURACY:g} is tried: an error far below it means a stricter test of its own."
            )
            tables.append(solve_table(title, solves, "L1 distance", note))
            figures.append({**figures_of(spec, solves), "reference_bound": reference.bound})
    return Section(tables, figures, [])


def solve_table(title: str, solves: list[Solve], error: str, note: str) -> Table:
    header = ["", "time", "ratio", "iterations", error, "threshold", "remark"]
    rows = []
    for solve in solves:
        outcome, cells = solve.outcome, [solve.name]
        if solve.failure is None:
            cells += [milliseconds(solve.seconds), times(solve.seconds / solves[0].seconds)]
        else:
            cells += ["none", "none"]
        cells += [str(outcome.iterations), f"{outcome.error:.0e}"] if outcome else ["", ""]
        rows.append([*cells, f"{solve.threshold:.1e}", solve.remark])
    return Table(title, header, rows, f"Ratio: to {solves[0].name}. {note}")


def own_processes(scale: Scale) -> Section:
    """Peak memory, import time, first solve."""
    memory = processes.measure_memory(scale.memory_n)
    imports = processes.measure_import(scale.process_repeats + 2)
    methods = ["auto", "log", "scaling"]
    firsts = processes.measure_first_solve(methods, 1000, scale.process_repeats)
    tables = [
        Table(
            f"Peak memory of a solve, n = {scale.memory_n}, in multiples of the cost matrix",
            ["", "NumPy arrays", "process"],
            [[name, f"{m['numpy']:.2f}", f"{m['resident']:.2f}"] for name, m in memory.items()],
            "Above what was held before the call. POT returns the dense plan; the others do so on demand.",
        ),
        Table(
            "Import time in a new process",
            ["", "time", "imports Numba"],
            [[m, milliseconds(x["seconds"]), "yes" if x["imports_numba"] else "no"] for m, x in imports.items()],
        ),
        Table(
            "Import and first solve in a new process, n = 1000",
            ["", "compiled code cached", "nothing cached"],
            [[m, milliseconds(x["warm"]), milliseconds(x["cold"])] for m, x in firsts.items()],
        ),
    ]
    goals = [
        Goal("peak memory of log, cost matrices", memory["elastic_ot log"]["resident"], 0.1, False),
        Goal("peak memory of scaling, cost matrices", memory["elastic_ot scaling"]["resident"], 1.1, False),
        Goal("import elastic_ot, s", imports["elastic_ot"]["seconds"], 0.3, False),
        *(Goal(f"first solve, {m}, cached, s", x["warm"], 1.0, False) for m, x in firsts.items()),
        *(Goal(f"first solve, {m}, nothing cached, s", x["cold"], 8.0, False) for m, x in firsts.items()),
    ]
    return Section(tables, {"memory": memory, "import": imports, "first_solve": firsts}, goals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that everything runs")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    scale = QUICK if arguments.quick else FULL
    setting = Table("Machine and versions", ["", ""], [list(pair) for pair in machine.describe().items()])
    done: dict[str, Section] = {}
    with Workers() as workers:
        for name, measure in {
            "iterations": partial(iterations, scale),
            "processes": partial(own_processes, scale),
            "solutions": partial(solutions, scale, workers),
            "relaxed": partial(relaxed, scale, workers),
        }.items():
            done[name] = announced(measure())
            write(arguments.output / "dense_cpu", done, setting)
    print(summary(done).text())
    print(setting.text())


if __name__ == "__main__":
    main()
