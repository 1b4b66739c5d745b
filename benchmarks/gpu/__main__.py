"""Tests and measurements of the GPU backend on this machine's CUDA device, in one go.

`python -m benchmarks.gpu [FOLDER]`, from the root of the repository, runs `pytest tests/gpu`, measures, and writes
FOLDER/gpu.json with the device, the versions, the tests' outcome, the figures and the goals, and FOLDER/gpu_tests.txt.
Nothing but the checkout and the packages that docs/gpu.rst names is needed, no network. Without a device it says
so and ends.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import elastic_ot as eot
from elastic_ot.backends import load

from . import dense, small_problems

ROOT = Path(__file__).resolve().parents[2]

DENSE = [(8192, 8192), (16384, 16384), (32768, 32768), (4000, 50_000)]
BATCHES = [((512, 256, 256), 20), ((100_000, 4, 4), 20)]  # those with goals come first
BATCHES += [((1000, 128, 128), 20), ((2000, 64, 64), 20), ((2000, 32, 32), 20), ((10_000, 32, 32), 20)]
QUICK_DENSE, QUICK_BATCHES = [(1024, 1024), (500, 9000)], [((64, 32, 32), 20), ((1000, 4, 4), 20)]
ROUNDS = 9


def tests(folder: Path) -> dict[str, Any]:
    """The outcome of `pytest tests/gpu`, whose output goes to a file."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu"]
    with (folder / "gpu_tests.txt").open("w") as output:
        status = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdout=output, stderr=output, check=False
        ).returncode
    lines = (folder / "gpu_tests.txt").read_text().strip().splitlines()
    return {"status": status, "last_line": lines[-1] if lines else ""}


def machine(cupy: Any) -> dict[str, Any]:
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    packages = ("numpy", "scipy", "numba", "cupy", "torch", "pytest")
    return {
        "device": properties["name"].decode(),
        "memory_bytes": properties["totalGlobalMem"],
        "multiprocessors": properties["multiProcessorCount"],
        "cache_bytes": properties["l2CacheSize"],
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "elastic_ot": eot.__version__,
        "commit": commit(),
    }


def version(name: str) -> str:
    try:
        return str(importlib.import_module(name).__version__)
    except ImportError:
        return "absent"


def commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def plain_loops(cupy: Any) -> dict[str, Callable[[Any], Any]]:
    """The loops to compare with; torch shares the memory of the cost."""
    loops: dict[str, Callable[[Any], Any]] = {"cupy loop": lambda cost: dense.array_loop(cupy, cost)}
    try:
        import torch
    except ImportError:
        return loops
    if torch.cuda.is_available():
        loops["torch loop"] = lambda cost: dense.torch_loop(torch, torch.from_dlpack(cost))
    return loops


def measure(
    cupy: Any, backend: Any, sizes: list[Any], stacks: list[Any], loops: dict[str, Any], rounds: int
) -> dict[str, Any]:
    found: dict[str, Any] = {"dense": [], "batches": []}
    for shape in sizes:
        for dtype in (np.float32, np.float64, np.float16):
            some = loops if dtype == np.float32 else {}
            found["dense"].append(dense.measure(cupy, backend, shape, dtype, some, rounds))
            show(found["dense"][-1])
            cupy.get_default_memory_pool().free_all_blocks()
    for shape, count in stacks:
        found["batches"].append(small_problems.measure(cupy, backend, shape, count, rounds))
        show(found["batches"][-1])
    found["memory"] = [dense.memory(cupy, backend, shape) for shape in sizes]
    found["agreement"] = dense.agreement(backend, tuple(min(x, 2048) for x in sizes[0]))
    show(found["memory"])
    show(found["agreement"])
    return found


def goals(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What was wanted, what was found; `met` says which."""
    wanted = []
    for one in found["dense"]:
        if one["dtype"] != "float32":
            continue
        name = f"{one['shape'][0]} x {one['shape'][1]}"
        share = one["share_of_copy_bandwidth"]["log"]
        wanted.append((f"{name}: share of the copy bandwidth", share, ">=", 0.7))
        for loop, ratio in one["times_as_long_as_log"].items():
            wanted += [(f"{name}: {loop} takes so many times as long", ratio, ">=", least) for least in (2.0, 8.0)]
    for one, most in zip(found["batches"], (2.0, 3.0), strict=False):
        wanted.append((f"batch {one['shape']}: kernels over a read and a write", one["times_a_copy"], "<=", most))
    for one in found["memory"]:
        name = f"{one['shape'][0]} x {one['shape'][1]}: memory beyond the cost, in vectors of n + m"
        wanted.append((name, one["vectors"], "<=", 4.0 * one["multiprocessors"] + 64.0))
    agreement = found["agreement"]
    wanted.append(("float32 potentials against the CPU in float64", agreement["error"], "<=", 1e-5))
    wanted.append(("identical from run to run", float(agreement["identical"]), ">=", 1.0))
    return [
        {
            "what": what,
            "found": value,
            "goal": f"{sign} {goal}",
            "met": value >= goal if sign == ">=" else value <= goal,
        }
        for what, value, sign, goal in wanted
    ]


def show(figures: Any) -> None:
    print(json.dumps(figures), flush=True)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "benchmarks" / "results" / "gpu")
    parser.add_argument("--quick", action="store_true", help="small sizes, which show that it runs")
    parser.add_argument("--no-tests", action="store_true", help="measure only")
    options = parser.parse_args(arguments)
    try:
        backend = load("gpu")
    except eot.BackendUnavailable as error:
        sys.exit(str(error))
    import cupy

    options.folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {"machine": machine(cupy)}
    show(record)
    sizes = (QUICK_DENSE, QUICK_BATCHES) if options.quick else (DENSE, BATCHES)
    record["tests"] = None if options.no_tests else tests(options.folder)
    show(record["tests"])
    try:
        record["measured"] = measure(cupy, backend, *sizes, plain_loops(cupy), 2 if options.quick else ROUNDS)
        record["goals"] = goals(record["measured"])
    finally:  # what there is by then
        (options.folder / "gpu.json").write_text(json.dumps(record, indent=1) + "\n")
    for goal in record["goals"]:
        print(f"{'met   ' if goal['met'] else 'MISSED'} {goal['what']}: {goal['found']:.3g} ({goal['goal']})")


if __name__ == "__main__":
    main(sys.argv[1:])
