"""One dense problem on a CUDA device: iterations beside a copy and beside plain loops, memory, agreement."""

from collections.abc import Callable
from typing import Any

import numpy as np

from elastic_ot.backends import load
from elastic_ot.backends.protocol import LOGARITHMIC, Side

from .events import Timed, seconds_each

INV_EPSILON = 50.0
ITERATIONS = 50
CHUNK = 1024  # rows made on the host, of which a matrix is many copies


def side(size: int) -> Side:
    weight = np.full(size, 1.0 / size)
    return Side(weight, np.log(weight), np.log(weight), LOGARITHMIC, 1.0, 0.0)


def matrix(device: Any, n: int, m: int, dtype: Any) -> Any:
    """Uniform costs, on the device; the host makes some rows, each chunk of which is scaled in its own way."""
    rows = np.random.default_rng(0).random((min(n, CHUNK), m))
    cost = device.empty((n, m), dtype)
    for first in range(0, n, CHUNK):
        count = min(CHUNK, n - first)
        scaled = rows[:count] * (1.0 - 0.5 * first / n)
        device.copy(device.put(scaled.astype(dtype)), cost[first : first + count])
    return cost


def log_iterations(backend: Any, cost: Any, fast: bool) -> tuple[Timed, list[Any]]:
    """Iterations in the log domain from potentials near balance, and the vectors they change."""
    n, m = cost.shape
    rows, cols, scratch = side(n), side(m), backend.scratch(cost.shape, fast)
    vectors = [rows.log_weight + 0.5 * INV_EPSILON, cols.log_weight.copy()]
    vectors += [np.zeros(n), np.zeros(m), vectors[0].copy(), np.zeros(m)]
    backend.log_sweeps(cost, INV_EPSILON, rows, cols, (1.0, 0.0), *vectors, scratch, 1)

    def run(count: int) -> None:
        backend.log_sweeps(cost, INV_EPSILON, rows, cols, (1.0, 1.0), *vectors, scratch, count)

    return run, vectors


def scaling_iterations(backend: Any, cost: Any) -> Timed:
    """The same on a stored kernel of the cost's precision."""
    n, m = cost.shape
    rows, cols = side(n), side(m)
    base = rows.log_weight + 0.5 * INV_EPSILON, cols.log_weight.copy()
    kernel, scratch = backend.matrix_like(cost, cost.dtype), backend.scratch(cost.shape, False)
    backend.plan(cost, INV_EPSILON, *base, kernel, coarse=cost.dtype == np.float32)
    vectors = base[0].copy(), base[1].copy(), np.zeros(n), cols.log_weight.copy(), base[0].copy(), np.zeros(m)

    def run(count: int) -> None:
        backend.scaling_sweeps(kernel, *base, rows, cols, (1.0, 1.0), *vectors, scratch, count, 1e30)

    return run


def copies(backend: Any, cost: Any) -> Timed:
    """Copies of the matrix on the device."""
    other = backend.matrix_like(cost, cost.dtype)

    def run(count: int) -> None:
        for _ in range(count):
            backend.device.copy(cost, other)

    return run


def array_loop(xp: Any, cost: Any) -> Timed:
    """What one writes with NumPy's functions: the logarithm of a sum over rows, then over columns."""
    n, m = cost.shape
    state = [xp.zeros(n, dtype=cost.dtype), xp.zeros(m, dtype=cost.dtype)]

    def log_sum(values: Any, axis: int) -> Any:
        top = values.max(axis=axis, keepdims=True)
        return xp.squeeze(top, axis=axis) + xp.log(xp.exp(values - top).sum(axis=axis))

    def run(count: int) -> None:
        for _ in range(count):
            state[0] = -np.log(n) - log_sum(state[1][None, :] - cost * INV_EPSILON, 1)
            state[1] = -np.log(m) - log_sum(state[0][:, None] - cost * INV_EPSILON, 0)

    run.state = state  # type: ignore[attr-defined]
    return run


def torch_loop(torch: Any, cost: Any) -> Timed:
    """The same with torch.logsumexp."""
    n, m = cost.shape
    state = [torch.zeros(n, dtype=cost.dtype, device=cost.device), torch.zeros(m, dtype=cost.dtype, device=cost.device)]

    def run(count: int) -> None:
        for _ in range(count):
            state[0] = -np.log(n) - torch.logsumexp(state[1][None, :] - cost * INV_EPSILON, dim=1)
            state[1] = -np.log(m) - torch.logsumexp(state[0][:, None] - cost * INV_EPSILON, dim=0)

    run.state = state  # type: ignore[attr-defined]
    return run


def measure(
    cupy: Any, backend: Any, shape: tuple[int, int], dtype: Any, loops: dict[str, Callable[[Any], Timed]], rounds: int
) -> dict[str, Any]:
    """Seconds an iteration of everything, and the shares and ratios that the goals are about.

    A share is bytes of one read of the cost over seconds, relative to the bandwidth of a copy: a read and a write.
    """
    cost = matrix(backend.device, *shape, dtype)
    fast = np.dtype(dtype).itemsize < 8
    runs = {"copy": copies(backend, cost), "log": log_iterations(backend, cost, fast)[0]}
    if np.dtype(dtype).itemsize > 2:
        runs["scaling"] = scaling_iterations(backend, cost)
    found = seconds_each(cupy, runs, rounds)
    absent = {}
    runs.clear()  # and their kernel and copy
    for name, loop in loops.items():
        try:
            found |= seconds_each(cupy, {name: loop(cost)}, rounds)
        except (MemoryError, RuntimeError) as error:  # torch's out of memory is the latter
            absent[name] = str(error)
        cupy.get_default_memory_pool().free_all_blocks()
    bandwidth = 2 * cost.nbytes / found["copy"]
    shares = {name: cost.nbytes / found[name] / bandwidth for name in ("log", "scaling") if name in found}
    ratios = {name: found[name] / found["log"] for name in loops if name in found}
    return {
        "shape": shape,
        "dtype": np.dtype(dtype).name,
        "seconds": found,
        "copy_bytes_per_second": bandwidth,
        "share_of_copy_bandwidth": shares,
        "times_as_long_as_log": ratios,
        "absent": absent,
    }


def memory(cupy: Any, backend: Any, shape: tuple[int, int]) -> dict[str, Any]:
    """Bytes at the peak of a solve's sweeps and marginals beyond the cost, and in units of 8 (n + m)."""
    pool = cupy.get_default_memory_pool()
    cost = matrix(backend.device, *shape, np.float32)
    pool.free_all_blocks()
    before = pool.total_bytes()
    run, vectors = log_iterations(backend, cost, True)
    run(ITERATIONS)
    backend.marginals(cost, INV_EPSILON, vectors[0], vectors[1], vectors[2], vectors[3])
    beyond = pool.total_bytes() - before
    return {
        "shape": shape,
        "cost_bytes": cost.nbytes,
        "beyond_bytes": beyond,
        "vectors": beyond / (8 * sum(shape)),
        "multiprocessors": backend.device.multiprocessors,
    }


def agreement(backend: Any, shape: tuple[int, int]) -> dict[str, Any]:
    """Potentials after iterations in float32 against those of the CPU in float64, relative to the largest cost.

    And whether a second run gives the same, to the bit.
    """
    cost, ends = matrix(backend.device, *shape, np.float32), []
    for each, values, fast in ((backend, cost, True), (backend, cost, True), (load(), backend.device.get(cost), False)):
        run, vectors = log_iterations(each, values.astype(np.float64) if each is not backend else values, fast)
        run(ITERATIONS)
        ends.append(np.concatenate(vectors[:2]))
    error = float(np.abs(ends[0] - ends[2]).max()) / INV_EPSILON
    return {"shape": shape, "error": error, "identical": bool((ends[0] == ends[1]).all())}
