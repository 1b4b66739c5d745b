"""Gromov-Wasserstein beside POT at equal accuracy, and of clouds without a matrix.

    python -m benchmarks.compare_gromov [--quick] [--output FOLDER]

prints the tables and writes gromov.json (the numbers) and gromov.rst (the tables, for the docs). A run with --quick
writes nothing unless told where; --redraw makes the tables of stored numbers.

Both start from the product plan, and have to come to a plan that one more exact step moves by a thousandth of a percent
of the mass at most. Objectives are computed anew from the plans, with marginals rounded to the weights.
"""

import resource
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import elastic_ot as eot

from .problems import Array
from .report import Benchmark, Figures, Report, Section, options
from .tables import Goal, Table, milliseconds, times

ROUNDS = 3
MATRICES = ((500, 0.02), (500, 0.005), (2000, 0.02))
CLOUDS = 20_000
MOVED = 1e-5  # of the mass, by the last step
RATIO = 10.0
PROBLEMS = "points of the plane against points in space, distances"


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.matrices = ((100, 0.05),) if quick else MATRICES
        self.clouds, self.rounds = (1500, 1) if quick else (CLOUDS, ROUNDS)


def spaces(n: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(n)
    x, y = rng.random((n, 2)), rng.random((n, 3))
    first, second = (np.linalg.norm(p[:, None] - p, axis=2) for p in (x, y))
    return first, second


def ours(first: Array, second: Array, epsilon: float) -> Array:
    return np.asarray(eot.gromov(first, second, epsilon=epsilon, tol=MOVED).plan)


def pots(first: Array, second: Array, epsilon: float) -> Array:
    import ot

    a, b = np.full(len(first), 1 / len(first)), np.full(len(second), 1 / len(second))
    norm = MOVED / np.sqrt(
        a.size * b.size
    )  # POT compares in the Frobenius norm, of plans whose entries are about equal
    options = {"max_iter": 5000, "tol": norm, "symmetric": True}
    plan = ot.gromov.entropic_gromov_wasserstein(first, second, a, b, "square_loss", epsilon=epsilon, **options)
    return np.asarray(plan)


def objective(first: Array, second: Array, epsilon: float, plan: Array) -> tuple[float, float]:
    """The objective of a plan, and by how much it misses its marginals in L1."""
    n, m = plan.shape
    missed = float(np.abs(plan.sum(axis=1) - 1 / n).sum() + np.abs(plan.sum(axis=0) - 1 / m).sum())
    for _ in range(3):
        plan = plan / (n * plan.sum(axis=1))[:, None]
        plan = plan / (m * plan.sum(axis=0))
    r, c = plan.sum(axis=1), plan.sum(axis=0)
    energy = r @ (first**2) @ r + c @ (second**2) @ c - 2.0 * float(((first @ plan @ second) * plan).sum())
    positive = plan[plan > 0]
    return float(energy + epsilon * (positive * np.log(positive * n * m)).sum()), missed


def taken(
    call: Callable[[Array, Array, float], Array], first: Array, second: Array, epsilon: float
) -> tuple[float, float, Array]:
    wall, busy = time.perf_counter(), time.process_time()
    plan = call(first, second, epsilon)
    return time.perf_counter() - wall, time.process_time() - busy, plan


def matrices(scale: Scale) -> Figures:
    ours(*spaces(60), 0.05)
    found = []
    for n, epsilon in scale.matrices:
        given = (*spaces(n), epsilon)
        runs: dict[str, list[tuple[float, float, Array]]] = {"ours": [], "POT": []}
        for _ in range(scale.rounds if n < 1000 else 1):
            for who, call in (("ours", ours), ("POT", pots)):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    runs[who].append(taken(call, *given))
        row: dict[str, Any] = {"n": n, "epsilon": epsilon}
        for who, all_runs in runs.items():
            value, missed = objective(*given, all_runs[0][2])
            row[who] = [*(float(np.median([run[k] for run in all_runs])) for k in (0, 1)), value, missed]
        found.append(row)
    return found


def report_matrices(figures: Figures) -> Report:
    rows, goals = [], []
    for x in figures:
        (wall, busy, value, missed), (pot_wall, pot_busy, pot_value, pot_missed) = x["ours"], x["POT"]
        case = f"n = {x['n']:,}, epsilon = {x['epsilon']:g}"
        rows.append(
            [
                *(case, milliseconds(wall), milliseconds(pot_wall), times(pot_wall / wall), times(pot_busy / busy)),
                *(f"{value - pot_value:.1e}", f"{missed:.0e}", f"{pot_missed:.0e}"),
            ]
        )
        goals.append(Goal(f"{case}: times as fast as POT", pot_wall / wall, RATIO, True))
    header = ["", "ours", "POT", "ratio", "of processor times", "objective, less POT's", "marginals", "POT's"]
    return Report([Table(f"Entropic Gromov-Wasserstein, {PROBLEMS}", header, rows)], goals)


def clouds(scale: Scale) -> Figures:
    rng, n = np.random.default_rng(0), scale.clouds
    x, y = rng.normal(size=(n, 3)) * [1.0, 2.0, 3.0], rng.random((n, 2)) * [3.0, 6.0]
    eot.gromov(eot.PointCloud(x[:1500]), eot.PointCloud(y[:1500]), epsilon=1.0, tol=1e-2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, busy = time.perf_counter(), time.process_time()
    found = eot.gromov(eot.PointCloud(x), eot.PointCloud(y), epsilon=1.0, tol=1e-3, on_failure="ignore")
    seconds = time.perf_counter() - wall, time.process_time() - busy
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {
        "n": n,
        "seconds": list(seconds),
        "iterations": found.n_iter,
        "moved": found.change,
        "energy": found.energy,
        "bound": found.lower_bounds()[0],
        "memory": memory,
        "status": found.status.name,
    }


def report_clouds(x: Figures) -> Report:
    header = ["points a side", "time", "processor", "iterations", "moved by", "energy", "lower bound", "memory", ""]
    row = [f"{x['n']:,}", f"{x['seconds'][0]:.1f} s", f"{x['seconds'][1]:.1f} s", str(x["iterations"])]
    row += [f"{x['moved']:.0e}", f"{x['energy']:.5g}", f"{x['bound']:.5g}", f"{x['memory']:.0f} MB", x["status"]]
    return Report([Table("Clouds with squared distances, without a matrix", header, [row])])


GROMOV = Benchmark("gromov", {"matrices": Section(matrices, report_matrices), "clouds": Section(clouds, report_clouds)})


def main() -> None:
    arguments = options(__doc__, list(GROMOV.sections)).parse_args()
    if arguments.redraw:
        GROMOV.redraw(arguments.output)
    else:
        GROMOV.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
