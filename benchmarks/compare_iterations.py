"""What an iteration on a dense cost takes, memory, import and the first solve, against POT and OTT.

    python -m benchmarks.compare_iterations [--quick] [--only SECTION ...] [--output FOLDER]

prints the tables and writes iterations.json (the numbers) and iterations.rst (the tables, for the docs). A run with
--quick or --only writes nothing unless told where; --redraw makes the tables of stored numbers.
"""

from dataclasses import dataclass
from functools import partial

from . import elastic, fresh_processes
from .bare_iterations import bare, run_fused_log, run_fused_scaling, run_two_products
from .peers import ott, pot
from .problems import Spec
from .report import Benchmark, Figures, Report, Section, options
from .solvers import Solver
from .tables import Goal, Table, milliseconds, times
from .timing import time_iterations


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    rounds: dict[int, int]  # of every size
    memory_size: int
    process_repeats: int


FULL = Scale({1000: 7, 2000: 3, 4000: 1}, 4000, 3)
QUICK = Scale({500: 3}, 1500, 1)
FIRST_SOLVE_SIZE = 1000

LOG = [
    Solver("elastic_ot log", partial(elastic.solve, method="log")),
    Solver("elastic_ot log, float32", partial(elastic.solve, method="log", dtype="float32")),
    Solver("bare fused log sweep", partial(bare, iterate=run_fused_log)),
    Solver("OTT log, jit", partial(ott.sinkhorn, scan=True), span=20),
    Solver("POT sinkhorn_log", partial(pot.balanced, method="sinkhorn_log"), span=10),
]
SCALING = [
    Solver("elastic_ot scaling", partial(elastic.solve, method="scaling")),
    Solver("elastic_ot scaling, float32", partial(elastic.solve, method="scaling", dtype="float32")),
    Solver("elastic_ot stabilized", partial(elastic.solve, method="stabilized")),
    Solver("bare fused scaling sweep", partial(bare, iterate=run_fused_scaling)),
    Solver("two BLAS products", partial(bare, iterate=run_two_products)),
    Solver("OTT kernel, jit", partial(ott.sinkhorn, lse_mode=False, scan=True)),
    Solver("POT sinkhorn", partial(pot.balanced, method="sinkhorn")),
]
GOALS = [
    ("POT sinkhorn_log", "elastic_ot log", 25.0, True),
    ("OTT log, jit", "elastic_ot log", 4.0, True),
    ("POT sinkhorn", "elastic_ot scaling", 1.5, True),
    ("elastic_ot log", "bare fused log sweep", 1.15, False),
    ("elastic_ot scaling", "bare fused scaling sweep", 1.15, False),
]


def iterations(scale: Scale) -> Figures:
    """Seconds a full iteration, convergence tests never met."""
    return {
        n: time_iterations(Spec("cloud", n, 0.015).build(), LOG + SCALING, rounds) for n, rounds in scale.rounds.items()
    }


def report_iterations(figures: Figures) -> Report:
    tables = [
        iteration_table("Time of a full iteration in the log domain", LOG, figures),
        iteration_table("Time of a full iteration by scaling", SCALING, figures),
    ]
    goals = [
        Goal(f"{slow} / {fast}, an iteration, n = {n}", at[slow] / at[fast], limit, at_least)
        for slow, fast, limit, at_least in GOALS
        for n, at in figures.items()
    ]
    return Report(tables, goals)


def iteration_table(title: str, solvers: list[Solver], figures: Figures) -> Table:
    first = solvers[0].name
    header = ["", *(f"n = {n}{unit}" for n in figures for unit in ("", ", ratio"))]
    rows = []
    for solver in solvers:
        row = [solver.name]
        for at in figures.values():
            row += [milliseconds(at[solver.name]), times(at[solver.name] / at[first])]
        rows.append(row)
    note = (
        f"Medians over interleaved rounds; ratio: to {first}. Row and column update; planar "
        "clouds, epsilon = 0.015 max C; float64 unless said. The convergence tests of elastic_ot and POT run "
        "and are never met; OTT runs without."
    )
    return Table(title, header, rows, note)


def processes(scale: Scale) -> Figures:
    """Peak memory, import time, first solve."""
    methods = ["auto", "log", "scaling"]
    return {
        "memory_size": scale.memory_size,
        "memory": fresh_processes.measure_memory(scale.memory_size),
        "import": fresh_processes.measure_import(scale.process_repeats + 2),
        "first_solve": fresh_processes.measure_first_solve(methods, FIRST_SOLVE_SIZE, scale.process_repeats),
    }


def report_processes(figures: Figures) -> Report:
    memory, imports, firsts = figures["memory"], figures["import"], figures["first_solve"]
    tables = [
        Table(
            f"Peak memory of a solve, n = {figures['memory_size']}, in multiples of the cost matrix",
            ["", "NumPy arrays", "process"],
            [[name, f"{x['numpy']:.2f}", f"{x['resident']:.2f}"] for name, x in memory.items()],
            "Above what was held before the call. POT returns the dense plan; the others do so on demand.",
        ),
        Table(
            "Import time in a new process",
            ["", "time", "imports Numba"],
            [[m, milliseconds(x["seconds"]), "yes" if x["imports_numba"] else "no"] for m, x in imports.items()],
        ),
        Table(
            f"Import and first solve in a new process, n = {FIRST_SOLVE_SIZE}",
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
    return Report(tables, goals)


ITERATIONS = Benchmark(
    "iterations",
    {"iterations": Section(iterations, report_iterations), "processes": Section(processes, report_processes)},
)


def main() -> None:
    arguments = options(__doc__, list(ITERATIONS.sections)).parse_args()
    if arguments.redraw:
        ITERATIONS.redraw(arguments.output)
    else:
        ITERATIONS.run(arguments, QUICK if arguments.quick else FULL)


if __name__ == "__main__":
    main()
