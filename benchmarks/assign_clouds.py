"""Clouds of points assigned and proved, against POT's lazy network simplex: seconds, processor seconds, memory.

    python -m benchmarks.assign_clouds [--quick] [--output FOLDER]

prints the table and writes assign_clouds.rst, unless it is quick and was not told where. Every solve has a process of
its own, whose kernels are compiled and warm. Cost over bound is the matched cost less the sum of the potentials, over
the cost; slack is the least C_ij - u_i - v_j of some rows with all columns, over the largest cost of these.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import elastic_ot as eot

from .problems import Array

Row = tuple[str, str, int, int, str]
OURS: list[Row] = [
    ("ours", "uniform", 5_000, 2, "sqeuclidean"),
    ("POT", "uniform", 5_000, 2, "sqeuclidean"),
    ("ours", "uniform", 10_000, 2, "sqeuclidean"),
    ("POT", "uniform", 10_000, 2, "sqeuclidean"),
    ("ours", "mixture", 10_000, 2, "sqeuclidean"),
    ("ours", "uniform", 20_000, 3, "sqeuclidean"),
    ("ours", "uniform", 20_000, 2, "euclidean"),
    ("ours", "uniform", 20_000, 2, "cityblock"),
    ("ours", "mixture", 84_172, 2, "sqeuclidean"),
    ("ours", "uniform", 100_000, 2, "sqeuclidean"),
]
QUICK: list[Row] = [(who, law, 1_500, d, metric) for who, law, _, d, metric in OURS[:2]]
CHECKED = 50  # rows whose slack is looked at
WARM = 1_100  # points of a solve that loads the kernels
COLUMNS = ["solver", "law", "n", "d", "metric", "seconds", "processor", "MB", "cost over bound", "slack"]


def points(law: str, n: int, d: int) -> tuple[Array, Array]:
    """A uniform cloud, and another one or a mixture of Gaussians."""
    rng = np.random.default_rng(n + d)
    x, y = rng.random((n, d)), rng.random((n, d))
    if law == "mixture":
        centres = 0.2 + 0.6 * rng.random((5, d))
        y = centres[rng.integers(0, 5, n)] + 0.08 * rng.normal(size=(n, d))
    return x, y


def solve(who: str, x: Array, y: Array, metric: str) -> tuple[float, Array, Array]:
    """The cost of the assignment and potentials."""
    if who == "POT":
        import ot  # with all its frameworks: not in the memory of ours

        value, log = ot.lp.emd2_lazy(x, y, metric=metric, numItermax=10**9, log=True)
        return value * len(x), log["u"], log["v"]
    found = eot.assign(eot.PointCloud(x, y, metric))
    return float(found.cost), found.u, found.v


def measure(row: Row) -> dict[str, object]:
    """One solve, in this process."""
    who, law, n, d, metric = row
    x, y = points(law, n, d)
    solve(who, x[:WARM], y[:WARM], metric)
    wall, busy = time.perf_counter(), time.process_time()
    cost, u, v = solve(who, x, y, metric)
    seconds, processor = time.perf_counter() - wall, time.process_time() - busy
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    some = np.linspace(0, n - 1, CHECKED).astype(int)
    costs = eot.PointCloud(x[some], y, metric).block(slice(0, CHECKED), slice(0, n))
    slack = (costs - u[some, None] - v).min() / costs.max()
    numbers = f"{seconds:.2f}", f"{processor:.2f}", f"{memory:.0f}", f"{(cost - u.sum() - v.sum()) / cost:.0e}"
    return dict(zip(COLUMNS, [who, law, n, d, metric, *numbers, f"{slack:.0e}"], strict=True))


def apart(row: Row) -> dict[str, object]:
    """One solve in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.assign_clouds", "--one", json.dumps(row)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(found.stdout))


def table(rows: list[dict[str, object]]) -> str:
    lines = [".. list-table:: Assignments of clouds", "   :header-rows: 1", ""]
    found: list[list[object]] = [[*COLUMNS], *([row[name] for name in COLUMNS] for row in rows)]
    for cells in found:
        lines += [("   * - " if k == 0 else "     - ") + str(cell) for k, cell in enumerate(cells)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(tuple(given.one))))
        return
    rows = []
    for row in QUICK if given.quick else OURS:
        rows.append(apart(row))
        print(*rows[-1].values(), flush=True)
    folder = given.output or (None if given.quick else Path(__file__).parent / "results")
    if folder:
        (folder / "assign_clouds.rst").write_text(table(rows))


if __name__ == "__main__":
    main()
