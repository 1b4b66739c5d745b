"""Many problems on a CUDA device, beside one read and one write of their costs."""

from typing import Any

import numpy as np

from elastic_ot.backends.protocol import Batch, Side

from .dense import INV_EPSILON, side
from .events import kernel_seconds, seconds


def problems(size: int, n: int, m: int) -> tuple[Any, ...]:
    """(batch, sides, potentials): uniform weights."""
    batch = Batch(np.arange(size), np.full(size, INV_EPSILON), np.full(size, n), np.full(size, m), np.ones(size))
    sides = []
    for length in (n, m):
        one = side(length)
        weight, log_weight, offset = (np.tile(x, (size, 1)) for x in one[:3])
        sides.append(Side(weight, log_weight, offset, np.zeros(size, np.int64), np.ones(size), np.zeros(size)))
    return batch, sides, [s.log_weight.copy() for s in sides]


def measure(cupy: Any, backend: Any, shape: tuple[int, int, int], count: int, rounds: int) -> dict[str, Any]:
    """Seconds of `count` iterations: of the kernels, without plans and with them, and of the whole call."""
    size, n, m = shape
    costs = np.random.default_rng(0).random((size, n, m), dtype=np.float32)
    cost = backend.device.put(costs)
    other = backend.device.empty(shape, np.float32)
    batch, sides, start = problems(size, n, m)
    done, residual = np.zeros(size, np.int64), np.full(size, np.inf)

    def run(plans: Any = None) -> None:
        potentials = [x.copy() for x in start]
        args = cost, batch, *sides, (1.0, 1.0), *potentials, np.arange(size), None, count
        backend.batch_sweeps(*args, "cols", True, "mixed", done, residual, plans)

    copy = seconds(cupy, lambda: backend.device.copy(cost, other), rounds)
    call = seconds(cupy, run, rounds)
    kernels: dict[str, list[float]] = {"alone": [], "with_plans": []}
    for _ in range(rounds):
        for name, plans in (("alone", None), ("with_plans", other)):
            with kernel_seconds(cupy, backend.device) as found:  # of every launch, those of problems done again as well
                run(plans)
            kernels[name].append(sum(found))
    return {
        "shape": shape,
        "iterations": count,
        "copy_seconds": copy,
        "call_seconds": call,
        "kernel_seconds": float(np.median(kernels["alone"])),
        "kernel_seconds_with_plans": float(np.median(kernels["with_plans"])),
        "times_a_copy": float(np.median(kernels["alone"])) / copy,
    }
