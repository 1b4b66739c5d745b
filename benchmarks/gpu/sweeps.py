"""Seconds a full iteration on a CUDA device, and how much of the device's memory bandwidth it uses.

`python benchmarks/gpu/sweeps.py` prints a table and writes results/gpu.json. A full iteration is the time of many less
that of few, over the difference of their numbers, median over interleaved rounds; the yardstick is a copy on the same
device in the same rounds. Without a device it says so and ends.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import elastic_ot as eot
from elastic_ot.backends import load
from elastic_ot.backends.protocol import LOGARITHMIC, Batch, Side

SIZES = [(1000, 1000), (4096, 4096), (8192, 8192), (10_000, 10_000), (20_000, 20_000), (4000, 50_000)]
BATCHES = [(100_000, 8, 8), (10_000, 32, 32), (2000, 128, 128), (500, 256, 256)]
FEW, MANY, ROUNDS = 10, 50, 7
INV_EPSILON = 50.0

Timed = Callable[[int], None]


def side(size: int) -> Side:
    weight = np.full(size, 1.0 / size)
    return Side(weight, np.log(weight), np.log(weight), LOGARITHMIC, 1.0, 0.0)


def log_iterations(backend: Any, cost: Any, fast: bool) -> Timed:
    """So many iterations in the log domain from potentials near balance; returns when they are done."""
    n, m = cost.shape
    rows, cols = side(n), side(m)
    scratch = backend.scratch(cost.shape, fast)
    alpha, beta = rows.log_weight + 0.5 * INV_EPSILON, cols.log_weight.copy()
    vectors = alpha, beta, np.zeros(n), np.zeros(m), alpha.copy(), np.zeros(m)
    backend.log_sweeps(cost, INV_EPSILON, rows, cols, (1.0, 0.0), *vectors, scratch, 1)

    def run(count: int) -> None:
        backend.log_sweeps(cost, INV_EPSILON, rows, cols, (1.0, 1.0), *vectors, scratch, count)

    return run


def scaling_iterations(backend: Any, cost: Any, dtype: Any) -> Timed:
    """The same on a stored kernel."""
    n, m = cost.shape
    rows, cols = side(n), side(m)
    base = rows.log_weight + 0.5 * INV_EPSILON, cols.log_weight.copy()
    kernel = backend.matrix_like(cost, dtype)
    backend.plan(cost, INV_EPSILON, *base, kernel, coarse=dtype == np.float32)
    vectors = base[0].copy(), base[1].copy(), np.zeros(n), cols.log_weight.copy(), base[0].copy(), np.zeros(m)

    def run(count: int) -> None:
        backend.scaling_sweeps(kernel, *base, rows, cols, (1.0, 1.0), *vectors, None, count, 1e30)

    return run


def copies(cost: Any, synchronise: Callable[[], None]) -> Timed:
    """So many copies of the matrix on the device."""
    other = cost.copy()

    def run(count: int) -> None:
        for _ in range(count):
            other[...] = cost
        synchronise()

    return run


def seconds_each(runs: dict[str, Timed], rounds: int) -> dict[str, float]:
    """Median seconds of one iteration of everything, interleaved."""
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(MANY)  # compiled, and the clocks up
    for _ in range(rounds):
        for name, run in runs.items():
            samples[name].append((stopwatch(run, MANY) - stopwatch(run, FEW)) / (MANY - FEW))
    return {name: statistics.median(values) for name, values in samples.items()}


def stopwatch(run: Timed, count: int) -> float:
    begin = time.perf_counter()
    run(count)
    return time.perf_counter() - begin


def batch_seconds(stack: Any, rounds: int) -> float:
    """Seconds a problem-iteration of a batch, with its transfers: `batch_sweeps` is one launch."""
    size, n, m = stack.shape
    backend = load("gpu")

    batch = Batch(np.arange(size), np.full(size, INV_EPSILON), np.full(size, n), np.full(size, m))
    sides = []
    for length in (n, m):
        one = side(length)
        vectors = (np.tile(x, (size, 1)) for x in one[:3])
        sides.append(Side(*vectors, np.zeros(size, np.int64), np.ones(size), np.zeros(size)))
    potentials = sides[0].log_weight.copy(), sides[1].log_weight.copy()
    done, residual = np.zeros(size, np.int64), np.full(size, np.inf)

    def run(count: int) -> None:
        args = stack, batch, *sides, (1.0, 1.0), *potentials, np.arange(size), None, count
        backend.batch_sweeps(*args, "rows", True, "mixed", done, residual)

    return seconds_each({"batch": run}, rounds)["batch"]


def measure(cupy: Any, sizes: list[tuple[int, int]], batches: list[tuple[int, int, int]], rounds: int) -> list[Any]:
    backend, found = load("gpu"), []
    for n, m in sizes:
        for dtype in (np.float32, np.float64):
            cost = cupy.random.default_rng(0).random((n, m), dtype=dtype)
            runs = {
                "copy": copies(cost, cupy.cuda.Device().synchronize),
                "log": log_iterations(backend, cost, dtype == np.float32),
                "scaling": scaling_iterations(backend, cost, dtype),
            }
            for name, seconds in seconds_each(runs, rounds).items():
                read = cost.nbytes * (2 if name == "copy" else 1)
                found.append({"what": name, "n": n, "m": m, "dtype": np.dtype(dtype).name, "seconds": seconds})
                found[-1]["bytes_per_second"] = read / seconds
                print(f"{name:8} {n:6} x {m:6} {np.dtype(dtype).name}  {seconds * 1e6:10.1f} us", flush=True)
    for shape in batches:
        stack = cupy.random.default_rng(0).random(shape, dtype=np.float32)
        seconds = batch_seconds(stack, rounds)
        found.append({"what": "batch", "shape": shape, "dtype": "float32", "seconds": seconds})
        print(f"batch    {shape}  {seconds * 1e6:10.1f} us an iteration of all", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, writes nothing")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "results" / "gpu.json")
    options = parser.parse_args()
    try:
        load("gpu")
    except eot.BackendUnavailable as error:
        sys.exit(str(error))
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    small = options.quick
    found = measure(cupy, SIZES[:2] if small else SIZES, BATCHES[1:3] if small else BATCHES, 2 if small else ROUNDS)
    if not small:
        record = {"device": properties["name"].decode(), "cupy": cupy.__version__, "measured": found}
        options.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
