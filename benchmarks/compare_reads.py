"""How near solves and sweeps come to what reading the cost takes at least; whether "auto" is slower than plain loops.

    python -m benchmarks.compare_reads [--quick] [--only SECTION ...] [--output FOLDER]

on one thread, in processor seconds, which others on the machine hardly change: prints the tables and writes reads.json
(the numbers) and reads.rst (the tables, for the docs). A run with --quick or --only writes nothing unless told where;
--redraw makes the tables of stored numbers.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import ot
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

import elastic_ot as eot
from elastic_ot.backends.cpu import dense

from . import elastic
from .compare_small import ACCURACY
from .count_reads import counted
from .problems import Array, Problem, Spec, marginal_error
from .report import Benchmark, Figures, Report, Section, options
from .tables import CommonGoal, Goal, Table, milliseconds, times

TITLES = {
    "uniform": "uniform",
    "line": "W1 on a line",
    "low_rank": "rank 3",
    "digits_l2": "digits",
    "colours": "colours",
    "cloud2": "clouds",
}
FEW, MANY = 5, 25
LONGEST, HOPELESS = 3000, 1e-4  # iterations of POT's loop; an error at its first threshold that no other mends
ENOUGH = 1.0  # seconds of a comparison
SCALING_READS = 1.5  # times the time of one read, within which an iteration is bound by memory


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.n, self.pixels = (300, 196) if quick else (1000, 784)
        self.epsilons = (1e-3,) if quick else (1e-2, 1e-3, 1e-4)
        self.all_epsilons = (1e-1, 1e-3) if quick else (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
        self.kinds = ("uniform", "low_rank") if quick else tuple(TITLES)
        self.large = 500 if quick else 4000
        self.rounds = 3 if quick else 15

    def specs(self) -> list[Spec]:
        hard = [Spec(kind, self.size(kind), epsilon) for kind in self.kinds for epsilon in self.epsilons]
        soft = [Spec("cloud2", self.n, 1e-3, rho, rho, False) for rho in (10.0, 1000.0)]
        return hard + soft

    def size(self, kind: str) -> int:
        return self.pixels if kind.startswith("digits") else self.n


def least(call: Callable[[], object], rounds: int) -> float:
    """The least processor time of some calls: others on the machine can only add to it."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return min(seconds)


def reading(matrix: Array, rounds: int) -> float:
    """Seconds to read a matrix once, by BLAS: the product of all its entries with themselves."""
    entries = matrix.reshape(-1)
    return least(lambda: np.dot(entries, entries), rounds)


def exponentials(problem: Problem, rounds: int) -> dict[str, float]:
    """Seconds of a pass with one exponential an entry, in either precision, as solves do them."""
    n, m = problem.cost.shape
    alpha, beta, rows, cols = np.zeros(n), np.zeros(m), np.empty(n), np.empty(m)
    kernel, scale = np.empty((n, m), np.float32), 1.0 / problem.epsilon
    return {
        "float64": least(lambda: dense.marginals(problem.cost, scale, alpha, beta, rows, cols), rounds),
        "float32": least(lambda: dense.plan(problem.cost, scale, alpha, beta, kernel, coarse=True), rounds),
    }


def solve(problem: Problem) -> eot.Solution:
    def penalty(rho: float) -> Any:
        return eot.Fixed() if math.isinf(rho) else eot.KL(rho)

    sides = {"rows": penalty(problem.rho_rows), "cols": penalty(problem.rho_cols)}
    found: eot.Solution = eot.solve(problem.cost, problem.a, problem.b, epsilon=problem.epsilon, **sides)
    return found


def solves(scale: Scale) -> Figures:
    found = []
    for spec in scale.specs():
        problem = spec.build()
        call = partial(solve, problem)
        call()
        with counted() as reads:
            solution = call()
        read, power = reading(problem.cost, scale.rounds), exponentials(problem, scale.rounds)
        entries = problem.cost.size
        found.append(
            {
                "kind": spec.kind,
                "n": spec.n,
                "epsilon": spec.epsilon,
                "rho": None if math.isinf(spec.rho_rows) else spec.rho_rows,
                "method": solution.method,
                "iterations": solution.n_iter,
                "seconds": least(call, scale.rounds),
                "cost": 1.0 + reads.cost / entries,  # the first is the look for entries that are no costs
                "kernel": reads.kernel / entries,
                "cells": reads.cells / entries,
                "bytes": problem.cost.nbytes + reads.bytes,
                "read": read,
                "size": problem.cost.nbytes,
                "exponentials": {name: count / entries for name, count in reads.exponentials.items()},
                "power": power,
            }
        )
    return found


def report_solves(figures: Figures) -> Report:
    rows = []
    for x in figures:
        reads = x["read"] * x["bytes"] / x["size"]
        powers = sum(x["power"][name] * count for name, count in x["exponentials"].items())
        sides = "" if x["rho"] is None else f", KL {x['rho']:g} epsilon"
        passes = [x["cost"], x["kernel"], x["cells"]]
        rows.append(
            [
                f"{TITLES[x['kind']]}{sides}",
                f"{x['epsilon']:g}",
                f"{x['method']}, {x['iterations']}",
                milliseconds(x["seconds"]),
                " + ".join(f"{count:.1f}" for count in passes),
                milliseconds(reads),
                f"{sum(x['exponentials'].values()):.1f}",
                milliseconds(powers),
                times(x["seconds"] / (reads + powers)),
            ]
        )
    header = ["problem", "epsilon / max C", "method, iterations", "time", "reads: cost + kernel + cells"]
    header += ["time of these reads", "exponentials an entry", "time of these", "time / both"]
    note = (
        "n = 1000 (digits: 784), without the plan, on one thread; the least processor time of 15 runs. Reads are "
        "counted in whole passes over the cost, over a float32 kernel of it, and over cells that carry mass; their "
        "time is that of their bytes at the rate at which BLAS reads the same cost. The time of exponentials is that "
        "of passes that do nothing else."
    )
    return Report([Table("What a solve reads, and what that takes at least", header, rows, note)])


def sweeps(scale: Scale) -> Figures:
    found = []
    for method in ("log", "scaling"):
        for dtype in ("float64", "float32"):
            problem = Spec("cloud", scale.large, 0.015, dtype=dtype).build()
            few, many = (elastic.solve(problem, count, method=method, dtype=dtype) for count in (FEW, MANY))
            short, long = (least(partial(run, None), scale.rounds // 4 + 1) for run in (few, many))
            read = reading(problem.cost, scale.rounds)
            size = problem.cost.nbytes
            found.append(
                {"method": method, "dtype": dtype, "n": scale.large, "read": read, "size": size}
                | {"seconds": (long - short) / (MANY - FEW)}
            )
    return found


def beside_pot(scale: Scale) -> Figures:
    """Time to a plan with an L1 error of 1e-6, of "auto" and of POT's plain loop as long as that has an answer."""
    found = []
    for kind in scale.kinds:
        answers = True
        for epsilon in scale.all_epsilons:
            problem = Spec(kind, scale.size(kind), epsilon).build()
            threshold = threshold_of_pot(problem) if answers else None
            seconds, answers = None, threshold is not None
            if threshold is not None:
                calls = partial(our_plan, problem, ACCURACY), partial(their_plan, problem, threshold)
                seconds = interleaved(*calls, scale.rounds)
            error = marginal_error(problem, our_plan(problem, ACCURACY))
            found.append({"kind": kind, "epsilon": epsilon, "seconds": seconds, "error": error})
    return found


def threshold_of_pot(problem: Problem) -> float | None:
    """The largest threshold from 1e-6 down whose plan is as accurate as asked; None if there is none."""
    threshold, error = ACCURACY, math.inf
    while threshold > 1e-12:
        error = marginal_error(problem, their_plan(problem, threshold))
        if error <= ACCURACY:
            return threshold
        if not error < HOPELESS:
            return None
        threshold /= 10
    return None


def our_plan(problem: Problem, tol: float) -> Array:
    plan: Array = eot.solve(problem.cost, problem.a, problem.b, epsilon=problem.epsilon, tol=tol).plan
    return plan


def their_plan(problem: Problem, tol: float) -> Array:
    with np.errstate(all="ignore"):
        plan: Array = ot.sinkhorn(
            problem.a, problem.b, problem.cost, problem.epsilon, stopThr=tol, numItermax=LONGEST, warn=False
        )
    return plan


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> list[float]:
    """The least processor times of both, in turn: so often, or until `ENOUGH` seconds have passed."""
    began, pairs = time.perf_counter(), list[tuple[float, float]]()
    while not pairs or (len(pairs) < rounds and time.perf_counter() - began < ENOUGH):
        pairs.append((least(ours, 1), least(theirs, 1)))
    return [min(column) for column in zip(*pairs, strict=True)]


def report_beside_pot(figures: Figures) -> Report:
    epsilons = sorted({x["epsilon"] for x in figures}, reverse=True)
    rows: dict[str, list[str]] = {}
    cases = []
    for x in figures:
        row = rows.setdefault(TITLES[x["kind"]], [])
        if x["seconds"] is None:
            row.append("POT has no answer")
            continue
        ours, theirs = x["seconds"]
        row.append(f"{milliseconds(ours)}, {times(ours / theirs)}")
        cases.append(Goal(f"{TITLES[x['kind']]}, epsilon {x['epsilon']:g}", ours / theirs, 1.0, False))
    header = ["problem", *(f"epsilon = {epsilon:g} max C" for epsilon in epsilons)]
    note = (
        "n = 1000 (digits: 784), one thread; the least processor time with the plan, and its ratio to that of "
        "``ot.sinkhorn``, each at the largest threshold whose plan has an L1 error of 1e-6. POT's loop has no answer "
        "where its kernel underflows or 3000 iterations do not do."
    )
    table = Table('``"auto"`` beside a plain loop', header, [[name, *cells] for name, cells in rows.items()], note)
    return Report([table], [CommonGoal("time of auto over POT's, where POT has an answer", 1.0, False, cases)])


def report_sweeps(figures: Figures) -> Report:
    rows = [
        [
            f"{x['method']}, {x['dtype']}",
            milliseconds(x["seconds"]),
            f"{x['size'] / 1e6:.0f} MB",
            f"{x['size'] / x['read'] / 1e9:.1f} GB/s",
            milliseconds(x["read"]),
            times(x["seconds"] / x["read"]),
        ]
        for x in figures
    ]
    header = ["iteration", "time", "reads", "measured bandwidth", "time of one read", "time / read"]
    note = "Row and column update; planar clouds; a sweep reads the cost (log) or its kernel (scaling) once."
    n = figures[0]["n"] if figures else 0
    goals = [
        Goal(f"scaling / one read of the kernel, {x['dtype']}", x["seconds"] / x["read"], SCALING_READS, False)
        for x in figures
        if x["method"] == "scaling"
    ]
    return Report([Table(f"An iteration beside one read of its matrix, n = {n}", header, rows, note)], goals)


READS = Benchmark(
    "reads",
    {
        "beside_pot": Section(beside_pot, report_beside_pot),
        "solves": Section(solves, report_solves),
        "sweeps": Section(sweeps, report_sweeps),
    },
)


def main() -> None:
    arguments = options(__doc__, list(READS.sections)).parse_args()
    if arguments.redraw:
        READS.redraw(arguments.output)
        return
    eot.set_num_threads(1)
    with threadpool_limits(1):
        READS.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
