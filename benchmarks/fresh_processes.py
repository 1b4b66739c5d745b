"""What can only be measured in a fresh process: peak memory, import time, the first solve.

python -m benchmarks.fresh_processes memory SOLVER N        each prints one JSON object
python -m benchmarks.fresh_processes solve METHOD SPEC      SPEC is a JSON object
python -m benchmarks.fresh_processes first METHOD N
python -m benchmarks.fresh_processes assign COSTS CASE      CASE is a JSON object
python -m benchmarks.fresh_processes attention KIND SHAPE   SHAPE is a JSON object
python -m benchmarks.fresh_processes points SOLVER ASKED    ASKED is a JSON object
"""

import ctypes
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from . import elastic
from .assignment_problems import BEYOND_ALL_CELLS, Case
from .cloud_families import CloudCase
from .peers import ott, pot
from .problems import Spec, marginal_error_in_blocks
from .report import ROOT
from .solvers import Setup

SETUPS: dict[str, Setup] = {
    "elastic_ot log": partial(elastic.solve, method="log"),
    "elastic_ot scaling": partial(elastic.solve, method="scaling"),
    "elastic_ot stabilized": partial(elastic.solve, method="stabilized"),
    "POT sinkhorn_log": partial(pot.balanced, method="sinkhorn_log"),
    "POT sinkhorn": partial(pot.balanced, method="sinkhorn"),
    "OTT log": ott.sinkhorn,
}
ITERATIONS = 20
EPSILON = 0.05
ACCURACY = 1e-6
MAX_ITER = 100_000
GRACE = 5.0  # seconds past its limit that a solve may take to end by itself


def memory(solver: str, n: int) -> dict[str, float]:
    """Peak memory of a solve above what was held before it, in multiples of the cost matrix.

    ``numpy``: arrays allocated through NumPy, as tracemalloc counts them. ``resident``: growth of the
    process, which also sees what compiled code allocates; Linux only.
    """
    problem = Spec("cloud", n, EPSILON).build()
    run = SETUPS[solver](problem, ITERATIONS)
    SETUPS[solver](elastic.corner(problem, 300), ITERATIONS)(None)
    tracemalloc.start()
    resident_before = _reset_resident_peak()
    answer = run(None)
    resident = _status("VmHWM") - resident_before
    numpy_peak = tracemalloc.get_traced_memory()[1]
    return {
        "numpy": numpy_peak / problem.cost.nbytes,
        "resident": resident / problem.cost.nbytes,
        "iterations": answer.iterations,
    }


def solve(method: str, fields: dict[str, Any]) -> dict[str, float]:
    """Seconds, iterations, accuracy and peak growth of the process, in multiples of the cost, without the plan.

    Of the second solve: the first loads the compiled code of every phase.
    """
    spec = Spec(**fields)
    problem = spec.build()
    run = elastic.solve(problem, MAX_ITER, method)
    run(ACCURACY)
    resident_before = _reset_resident_peak()
    start = time.perf_counter()
    answer = run(ACCURACY)
    seconds = time.perf_counter() - start
    resident = _status("VmHWM") - resident_before
    assert answer.potentials is not None
    return {
        "seconds": seconds,
        "iterations": answer.iterations,
        "error": marginal_error_in_blocks(problem, *answer.potentials),
        "resident": resident / problem.cost.nbytes,
    }


def assign(costs: str, fields: dict[str, Any]) -> dict[str, float]:
    """Seconds and peak growth of the process of an assignment, in multiples of the cost.

    One that is solved in the same way before it, on a few of the cells, loads the compiled code.
    """
    import elastic_ot as eot

    case = Case(costs, **fields)
    eot.assign(replace(case, n=BEYOND_ALL_CELLS, m=BEYOND_ALL_CELLS).build())
    cost = case.build()
    resident_before = _reset_resident_peak()
    start = time.perf_counter()
    eot.assign(cost)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "resident": (_status("VmHWM") - resident_before) / cost.nbytes}


def attention(kind: str, fields: dict[str, Any]) -> dict[str, float]:
    """Peak growth of the process in bytes, of one forward pass of an attention, or of one with its backward pass.

    A short one before it loads the compiled code.
    """
    import torch

    from . import attention_layers

    shape, block, backward = fields["shape"], fields["block"], fields["backward"]
    layer = attention_layers.kinds(block)[kind]

    def run(tensors: list[torch.Tensor]) -> None:
        if backward:
            attention_layers.step(layer, *tensors)
        else:
            with torch.no_grad():
                layer(*tensors[:3])

    run(attention_layers.inputs(1, 1, 2 * block, shape[-1]))
    tensors = attention_layers.inputs(*shape)
    resident_before = _reset_resident_peak()
    run(tensors)
    return {"resident": _status("VmHWM") - resident_before}


def points(solver: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Seconds, error and peak growth of the process in bytes, of a solve between points.

    A small one before it loads the compiled code. Past the limit the kernel ends the process, whatever it is at.
    """
    from . import cloud_solvers

    asked = cloud_solvers.Asked(CloudCase(**fields.pop("case")), **fields)
    cloud_solvers.warm_up(solver, asked)
    resident_before = _reset_resident_peak()
    signal.setitimer(signal.ITIMER_REAL, asked.limit + GRACE)
    solved = cloud_solvers.solve(solver, asked)
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    resident = _status("VmHWM") - resident_before
    return {**solved.figures(), "resident": resident}


def _reset_resident_peak() -> float:
    """Bytes resident now; the kernel's high-water mark starts again from here.

    Freed memory that the C library keeps is given back first, or using it again would not count.
    """
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return float("nan")
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    clear.write_text("5")
    return _status("VmRSS")


def _status(field: str) -> float:
    status = Path("/proc/self/status")
    found = re.search(rf"{field}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return float(found[1]) * 1024 if found else float("nan")


def first(method: Any, n: int) -> dict[str, float]:
    """Seconds of the first solve of this process, its import of the solver included."""
    problem = Spec("cloud", n, EPSILON).build()
    start = time.perf_counter()
    import elastic_ot as eot

    eot.solve(problem.cost, problem.a, problem.b, epsilon=problem.epsilon, method=method, on_failure="ignore")
    return {"seconds": time.perf_counter() - start}


def measure_memory(n: int) -> dict[str, dict[str, float]]:
    return {solver: _child("memory", solver, n) for solver in SETUPS}


def measure_solve(method: str, spec: Spec) -> dict[str, float]:
    return _child("solve", method, asdict(spec))


def measure_assign(case: Case) -> dict[str, float]:
    fields = asdict(case)
    return _child("assign", fields.pop("costs"), fields)


def measure_attention(kind: str, shape: tuple[int, ...], block: int, backward: bool = False) -> dict[str, float]:
    return _child("attention", kind, {"shape": shape, "block": block, "backward": backward})


def measure_points(solver: str, asked: Any) -> dict[str, Any] | None:
    """None where the limit was passed."""
    try:
        return _child("points", solver, asdict(asked))
    except TimeoutError:
        return None


def measure_first_solve(methods: list[str], n: int, repeats: int) -> dict[str, dict[str, float]]:
    """Cold: an empty Numba cache. Warm: the cache that the cold solve of the same method left; median."""
    seconds = {}
    for method in methods:
        with tempfile.TemporaryDirectory() as cache:
            environment = {"NUMBA_CACHE_DIR": cache}
            cold = _child("first", method, n, environment)["seconds"]
            warm = [_child("first", method, n, environment)["seconds"] for _ in range(repeats)]
        seconds[method] = {"cold": cold, "warm": statistics.median(warm)}
    return seconds


IMPORT = """
import sys, time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start, "numba" in sys.modules)
"""


def measure_import(repeats: int) -> dict[str, dict[str, Any]]:
    """Median seconds of ``import`` in new processes, and whether Numba came with it; POT without backends."""
    environment = {f"POT_BACKEND_DISABLE_{name}": "1" for name in ("JAX", "PYTORCH", "CUPY", "TENSORFLOW")}
    samples: dict[str, list[float]] = {module: [] for module in ("elastic_ot", "ot", "ott", "numpy")}
    numba = {}
    for _ in range(repeats):
        for module, seconds in samples.items():
            elapsed, loaded = python_output(["-c", IMPORT.format(module=module)], environment).split()
            seconds.append(float(elapsed))
            numba[module] = loaded == "True"
    return {m: {"seconds": statistics.median(s), "imports_numba": numba[m]} for m, s in samples.items()}


def _child(kind: str, name: str, problem: Any, environment: dict[str, str] | None = None) -> dict[str, float]:
    printed = python_output(["-m", "benchmarks.fresh_processes", kind, name, json.dumps(problem)], environment)
    result: dict[str, float] = json.loads(printed.splitlines()[-1])
    return result


def python_output(arguments: list[str], environment: dict[str, str] | None = None) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True)
    if done.returncode == -signal.SIGALRM:
        raise TimeoutError(f"{' '.join(arguments[:4])} took too long")
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments[:4])} failed:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    measurements: dict[str, Callable[[str, Any], dict[str, float]]]
    measurements = {"memory": memory, "solve": solve, "first": first, "assign": assign, "attention": attention}
    measurements["points"] = points
    print(json.dumps(measurements[sys.argv[1]](sys.argv[2], json.loads(sys.argv[3]))))
