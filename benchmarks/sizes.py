"""How long typical calls take by the number of points, and what memory: the table of the frequent questions.

    python -m benchmarks.sizes [--quick] [--output FOLDER]

prints the table and writes sizes.rst, unless it is quick and was not told where. Every call has a process of its own,
whose kernels are compiled and warm; its points are uniform in the unit square. Memory is the growth of the process'
peak over what it held before the call, the cost matrix included there.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import elastic_ot as eot

from .problems import Array
from .tables import Table, show

STRIP = 100  # rows of a matrix that are computed together, so that nothing but the matrix is held
WARM = 1_200  # points of a call that loads the kernels
CALLS: dict[str, tuple[bool, Callable[[Any], object]]] = {  # with a stored matrix or without, and the call
    "solve(cost, epsilon=0.01)": (True, lambda cost: eot.solve(cost, epsilon=0.01)),
    "solve(PointCloud(x, y), epsilon=0.001, tol=1e-3)": (False, lambda c: eot.solve(c, epsilon=0.001, tol=1e-3)),
    "divergence(PointCloud(x, y), blur=0.1, tol=1e-2)": (False, lambda c: eot.divergence(c, blur=0.1, tol=1e-2)),
    "exact(cost)": (True, eot.exact),
    "assign(cost)": (True, eot.assign),
    "assign(PointCloud(x, y))": (False, eot.assign),
}
SIZES = {True: (1_000, 3_000, 10_000), False: (1_000, 10_000, 100_000)}
COLUMNS = ["call", "points a side", "seconds", "processor seconds", "MB"]


def problem(stored: bool, n: int) -> Array | eot.PointCloud:
    """Squared distances between two clouds, as a matrix or as points."""
    x, y = np.random.default_rng(0).random((2, n, 2))
    if not stored:
        return eot.PointCloud(x, y)
    cost = np.empty((n, n))
    for k in range(0, n, STRIP):
        cost[k : k + STRIP] = ((x[k : k + STRIP, None] - y) ** 2).sum(axis=-1)
    return cost


def measure(name: str, n: int) -> list[str]:
    """One call, in this process."""
    stored, call = CALLS[name]
    call(problem(stored, min(n, WARM)))
    cost = problem(stored, n)
    before, wall, busy = peak(), time.perf_counter(), time.process_time()
    call(cost)
    seconds, processor = time.perf_counter() - wall, time.process_time() - busy
    return [f"``{name}``", f"{n:,}", f"{seconds:.2f}", f"{processor:.2f}", f"{peak() - before:.0f}"]


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(name: str, n: int) -> list[str]:
    """One call in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.sizes", "--one", json.dumps([name, n])]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return list(json.loads(found.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a thousand points only")
    parser.add_argument("--output", type=Path, help="where to write, default benchmarks/results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*json.loads(options.one))))
        return
    asked = [(name, n) for name, (stored, _) in CALLS.items() for n in SIZES[stored][: 1 if options.quick else None]]
    table = Table("Time and memory by the number of points", COLUMNS, [apart(*call) for call in asked])
    show(table)
    folder = options.output or (None if options.quick else Path(__file__).parent / "results")
    if folder:
        (folder / "sizes.rst").write_text(table.rst())


if __name__ == "__main__":
    main()
