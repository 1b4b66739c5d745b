"""What the first call of a process costs, with an empty cache of compiled code and with a filled one.

    python -m benchmarks.first_call [--quick] [--output FOLDER]

prints the table and writes first_call.json and first_call.rst (a quick run only if told where). Every row is a process
of its own. Seconds are those of the processor, user and system, of all threads: other work on the machine
hardly changes them. What importing NumPy, Numba and a framework takes stands apart. The package's bytecode is there, as
`pip` leaves it.
"""

import argparse
import compileall
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from .report import ROOT, Benchmark, Figures, Report, Section, options
from .tables import Goal, Table

Call = Callable[[], object]
REPEATS = 3  # of a process that finds compiled code


def numpy_call(name: str) -> Call:
    import numba  # noqa: F401
    import numpy as np

    rng = np.random.default_rng(0)
    x, y = rng.random((2, 100, 2))
    cloud = ((x[:, None] - y[None]) ** 2).sum(axis=2)
    stacks: dict[str, Any] = {"tiny batch": rng.random((64, 8, 8)).astype(np.float32)}
    stacks["batch"] = rng.random((8, 128, 128))
    costs = rng.random((1500, 1500)) if name == "assign" else cloud

    def call() -> object:
        import elastic_ot as eot

        if name == "assign":
            return eot.assign(costs)
        if name == "exact":
            return eot.exact(cloud)
        if name in stacks:
            return eot.solve(stacks[name], epsilon=0.1).plan
        penalties: Any = {"rows": eot.KL(1.0), "cols": eot.KL(1.0)} if name == "KL penalties" else {}
        return eot.solve(cloud, epsilon=1e-4 if name == "small epsilon" else 0.05, **penalties).plan

    return call


def torch_call() -> Call:
    import numba  # noqa: F401
    import torch
    import torch._dynamo  # which torch loads before it first calls any operator that is written in Python

    cost = torch.rand(64, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    warm = torch.ones(3, requires_grad=True)
    (warm * warm).sum().backward()

    def call() -> object:
        import elastic_ot as eot

        plan = eot.torch.plan(cost, epsilon=0.1, grad="unroll", max_iter=5, on_failure="ignore")
        return (plan * plan).sum().backward()

    return call


def jax_call() -> Call:
    import jax
    import numba  # noqa: F401
    import numpy as np

    jax.config.update("jax_enable_x64", True)
    cost = jax.numpy.asarray(np.random.default_rng(0).random((100, 100)))
    jax.grad(lambda x: (x * x).sum())(cost)

    def call() -> object:
        import elastic_ot as eot

        return jax.grad(lambda c: eot.jax.transport_cost(c, epsilon=0.05))(cost)

    return call


ROWS = {  # name: what it is
    "solve": "`solve`, 100 x 100",
    "KL penalties": "`solve`, 100 x 100, KL penalties",
    "small epsilon": "`solve`, 100 x 100, small epsilon (Newton's method)",
    "tiny batch": "`solve`, (64, 8, 8), float32",
    "batch": "`solve`, (8, 128, 128), float64",
    "assign": "`assign`, 1500 x 1500",
    "exact": "`exact`, 100 x 100",
    "torch": "`torch.plan`, (64, 8, 8), 5 iterations, and its backward pass",
    "jax": "`jax.grad` of `jax.transport_cost`, 100 x 100",
}
SPECIAL = {"torch": torch_call, "jax": jax_call}
GOALS = {  # processor seconds at most
    "empty": {"solve": 2.0, "tiny batch": 4.0, "batch": 4.0, "assign": 5.0, "exact": 5.0, "torch": 8.0, "jax": 8.0},
    "filled": {name: 0.8 if name == "torch" else 0.4 for name in ROWS if name != "jax"},
}


def child(name: str) -> dict[str, float]:
    """Processor seconds of this process: of imports and what a framework does once, and of the call."""
    start = time.process_time()
    call = SPECIAL[name]() if name in SPECIAL else numpy_call(name)
    ready = time.process_time()
    call()
    return {"imports": ready - start, "call": time.process_time() - ready}


def measured(name: str, repeats: int) -> dict[str, float]:
    from .fresh_processes import python_output  # here, because it imports the package, whose import is measured

    with tempfile.TemporaryDirectory() as cache:

        def run() -> dict[str, float]:
            printed = python_output(["-m", "benchmarks.first_call", "child", name], {"NUMBA_CACHE_DIR": cache})
            result: dict[str, float] = json.loads(printed.splitlines()[-1])
            return result

        empty, *filled = [run() for _ in range(1 + repeats)]
    return {
        "empty": empty["call"],
        "filled": statistics.median(x["call"] for x in filled),
        "imports": statistics.median(x["imports"] for x in filled),
    }


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.rows = ["solve"] if quick else list(ROWS)
        self.repeats = 1 if quick else REPEATS


def measure(scale: Scale) -> Figures:
    compileall.compile_dir(ROOT / "elastic_ot", quiet=1)
    return {name: measured(name, scale.repeats) for name in scale.rows}


def report(figures: Figures) -> Report:
    rows = [[ROWS[name], *(f"{x[key]:.2f}" for key in ("empty", "filled", "imports"))] for name, x in figures.items()]
    table = Table(
        "The first call of a process, processor seconds",
        ["", "empty cache", "filled cache", "imports, not counted before"],
        rows,
        "Imports: NumPy, Numba, and a framework with the first gradient that it takes.",
    )
    goals = [
        Goal(f"{name}: {kind} cache, processor seconds", figures[name][kind], limit, False)
        for kind, limits in GOALS.items()
        for name, limit in limits.items()
        if name in figures
    ]
    return Report([table], goals)


FIRST_CALL = Benchmark("first_call", {"first call": Section(measure, report)})


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(child(sys.argv[2])))
        return
    arguments = options(__doc__).parse_args(namespace=argparse.Namespace(only=[]))
    if arguments.redraw:
        FIRST_CALL.redraw(arguments.output)
    else:
        FIRST_CALL.run(arguments, Scale(arguments.quick))


if __name__ == "__main__":
    main()
