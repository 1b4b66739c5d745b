"""The primitives of `protocol` on a CUDA device: launches of kernels.cu through CuPy.

Matrices stay on the device; the vectors of a solver are NumPy arrays on the host and cross at each call, O(n + m). That
is little where it matters: a call is a block of up to 50 iterations, whose kernels are launched one after the other
without asking the device how they went. Work on the cells of a support (CSR) is done on the host in NumPy.

What is done with the kernels is apart from what CuPy does: a `Device` holds memory and launches, so that the tests run
the same lines on a host build of kernels.cu. CuPy is imported when a device is asked for, never before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import BackendUnavailable
from .protocol import CONTINUES, LEFT, REACHED, Array, Batch, Krylov, Side, Sparse, Support

SOURCE = Path(__file__).with_name("kernels.cu")
OPTIONS = ("-std=c++17",)
LOG2E = 1.4426950408889634

# Columns a thread and threads a block of the fused sweeps, narrowest first: `widest` columns fit the last one.
FUSED = ((4, 32), (4, 64), (4, 128), (8, 128), (8, 256), (8, 512), (16, 512))
LOOK = 64  # iterations launched before the device is asked whether they still do anything
WIDEST = FUSED[-1][0] * FUSED[-1][1]
THREADS = 256
STATIC = 2048  # bytes of shared memory that a kernel may declare, at most
UNASKED = 48 * 1024 - STATIC  # bytes more that a block has without asking

COSTS, COLUMNS = ("float", "double"), ("4", "8", "16")
C_TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


def _instances(name: str, *choices: tuple[str, ...]) -> list[str]:
    return [f"{name}<{', '.join(choice)}>" for choice in product(*choices)]


KERNELS = (
    *("potentials", "sum_parts", "max_parts", "log_columns", "log_sums", "scaling_columns", "scaling_sums", "advance"),
    *_instances("log_rows", COSTS, COSTS, COLUMNS),
    *_instances("wide_log_rows", COSTS, COSTS),
    *_instances("wide_log_columns", COSTS, COSTS),
    *_instances("dense_rows", COSTS, ("Scaling", "Product"), COLUMNS),
    *_instances("wide_dense_rows", COSTS, ("Scaling", "Product")),
    *_instances("wide_dense_columns", COSTS),
    *_instances("largest_of_rows", COSTS),
    *_instances("largest_of_columns", COSTS),
    *_instances("fill_plan", COSTS, COSTS),
    *_instances("fill_plan_coarse", COSTS),
    *_instances("plan_times", COSTS),
    *_instances("plan_transposed_times", COSTS),
    *_instances("matrix_times", COSTS),
    *_instances("matrix_transposed_times", COSTS),
    *_instances("tangent_rows", COSTS, COSTS),
    *_instances("rounded_rows", COSTS),
    *_instances("count_cells", COSTS),
    *_instances("write_cells", COSTS),
    *_instances("smallest_cells", COSTS),
    *_instances("batch_solve", COSTS, COSTS),
    *_instances("batch_fill_plan", COSTS, COSTS),
    *_instances("batch_sums", COSTS),
)
"""Every kernel that is launched, as a C++ expression."""


class Device(Protocol):
    """Memory and launches; `None` among arguments is a null pointer, numbers are NumPy scalars of the right width."""

    multiprocessors: int
    cache: int
    """Bytes of the L2 cache."""
    shared: int
    """Bytes of shared memory that a block may ask for."""
    widest: int
    """Columns up to which a row is kept in registers."""

    def empty(self, shape: Any, dtype: Any) -> Array: ...

    def zeros(self, shape: Any, dtype: Any) -> Array: ...

    def put(self, values: Array) -> Array:
        """A copy on the device."""

    def get(self, values: Array) -> Array:
        """A copy on the host."""

    def holds(self, values: Array) -> bool:
        """True if kernels can read it where it lies, given that it is C-contiguous."""

    def launch(self, name: str, grid: tuple[int, int], threads: int, args: tuple[Any, ...], shared: int = 0) -> None:
        """Run a kernel after those launched before."""


class CupyDevice:
    """The current CUDA device and CuPy's current stream."""

    widest = WIDEST

    def __init__(self, cupy: Any) -> None:
        self.cupy = cupy
        attributes = cupy.cuda.Device().attributes
        self.multiprocessors = int(attributes["MultiProcessorCount"])
        self.cache = int(attributes["L2CacheSize"])
        self.shared = int(attributes["MaxSharedMemoryPerBlockOptin"]) - STATIC
        self.kernels: dict[tuple[str, int], Any] = {}

    def empty(self, shape: Any, dtype: Any) -> Array:
        return self.cupy.empty(shape, dtype)

    def zeros(self, shape: Any, dtype: Any) -> Array:
        return self.cupy.zeros(shape, dtype)

    def put(self, values: Array) -> Array:
        return self.cupy.asarray(values)

    def get(self, values: Array) -> Array:
        return self.cupy.asnumpy(values)

    def holds(self, values: Array) -> bool:
        return isinstance(values, self.cupy.ndarray)

    def launch(self, name: str, grid: tuple[int, int], threads: int, args: tuple[Any, ...], shared: int = 0) -> None:
        key = name, self.cupy.cuda.runtime.getDevice()
        if key not in self.kernels:
            self.kernels[key] = self._kernel(name)
        kernel = self.kernels[key]
        if shared > UNASKED:
            kernel.max_dynamic_shared_size_bytes = shared
        pointers = tuple(np.uintp(0) if x is None else x for x in args)  # CuPy's None is no argument at all
        kernel(grid, (threads,), pointers, shared_mem=shared)

    def _kernel(self, name: str) -> Any:
        """Compiled on first use, a module each, so that a solve compiles what it needs; CuPy keeps the binaries."""
        module = self.cupy.RawModule(code=source(), options=OPTIONS, name_expressions=(name,))
        return module.get_function(name)


@functools.cache
def source() -> str:
    return SOURCE.read_text()


@functools.cache
def connect(device: int | None = None) -> Gpu:
    """The backend on CuPy, whose devices are those of this machine.

    Raises
    ------
    BackendUnavailable
        If CuPy or a device is missing.
    """
    try:
        import cupy
    except ImportError as error:
        raise BackendUnavailable(
            "the GPU backend needs CuPy, which cannot be imported; pip install 'elastic-ot[cuda13x]', or [cuda12x] for "
            f"a driver of CUDA 12 ({error})"
        ) from error
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendUnavailable(f"the GPU backend finds no CUDA device: {error}") from error
    if not devices:
        raise BackendUnavailable("the GPU backend finds no CUDA device; without one, pass NumPy arrays")
    return Gpu(CupyDevice(cupy))


class _Scratch(NamedTuple):
    """Exponentials in float32 or not, and which sums are trusted (`cpu.scratch` says why)."""

    exponential: str
    trust: tuple[np.float64, np.float64, np.float64]


class _Fused(NamedTuple):
    """How a sweep is launched: columns a thread (0: too wide for registers), threads, blocks, rows of a chunk."""

    columns: int
    threads: int
    blocks: int
    chunk: int


def _sized(values: tuple[int, ...]) -> tuple[np.int64, ...]:
    return tuple(np.int64(x) for x in values)


def _side(device: Device, side: Side) -> tuple[Any, ...]:
    """Arguments of a kernel that reads a side: packed vectors, code and strengths."""
    packed = device.put(np.stack((side.weight, side.log_weight, side.offset)))
    return packed, np.int32(side.code), np.float64(side.strength), np.float64(side.strength2)


class Gpu:
    """`protocol.Backend` and `protocol.BatchBackend` on a device."""

    def __init__(self, device: Device) -> None:
        self.device = device

    # --- launches -----------------------------------------------------------------------------------------------------

    def _matrix(self, matrix: Array) -> Array:
        """On the device and C-contiguous, without a copy where it is."""
        matrix = matrix if self.device.holds(matrix) else self.device.put(np.ascontiguousarray(matrix))
        return matrix if matrix.flags.c_contiguous else matrix.copy()

    def _vector(self, values: Array) -> Array:
        return self.device.put(np.ascontiguousarray(values, dtype=np.float64))

    def _padded(self, values: Array, matrix: Array) -> Array:
        """A vector for the columns of a fused sweep, zeros beyond its end: see kernels.cu."""
        plan = self._fused(matrix)
        padded = np.zeros(max(values.size, plan.columns * plan.threads))
        padded[: values.size] = values
        return self.device.put(padded)

    def _row_blocks(self, n: int) -> tuple[int, int]:
        return max(1, min(n, 16 * self.device.multiprocessors)), 1

    def _column_blocks(self, n: int, m: int) -> tuple[int, int]:
        """Blocks over the columns, and parts of the rows, so that narrow matrices keep the device busy, too."""
        across = -(-m // THREADS)
        return across, max(1, min(-(-n // 8), 4 * self.device.multiprocessors // across))

    def _fused(self, matrix: Array) -> _Fused:
        n, m = matrix.shape
        if m > self.device.widest:
            chunk = max(1, self.device.cache // 2 // (m * matrix.dtype.itemsize))
            return _Fused(0, THREADS, self._row_blocks(min(n, chunk))[0], chunk)
        columns, threads = next((c, t) for c, t in FUSED if c * t >= m)
        per_multiprocessor = max(1, 512 // threads)
        return _Fused(columns, threads, max(1, min(-(-n // 4), self.device.multiprocessors * per_multiprocessor)), n)

    def _columns_of(
        self, name: str, args: tuple[Any, ...], n: int, width: int, like: Array, top: bool = False
    ) -> Array:
        """Column results of a kernel that leaves a part for each share of the rows; `width` numbers a row."""
        grid = self._column_blocks(n, like)
        parts = self.device.empty((grid[1], width), np.float64)
        self.device.launch(name, grid, THREADS, (*args, parts))
        return self._joined(parts, top)

    def _joined(self, parts: Array, top: bool = False) -> Array:
        count, width = parts.shape
        out = self.device.empty(width, np.float64)
        sizes = _sized((count, width))
        if top:
            self.device.launch("max_parts", (-(-width // THREADS), 1), THREADS, (parts, *sizes, out))
        else:
            self.device.launch("sum_parts", (-(-width // 32), 1), THREADS, (parts, *sizes, out))
        return out

    # --- the side -----------------------------------------------------------------------------------------------------

    def potential(self, side: Side, log_ratio: Array, out: Array) -> None:
        code, strengths = np.array([side.code], np.int64), np.array([[side.strength], [side.strength2]], np.float64)
        one = Side(side.weight[None], side.log_weight[None], side.offset[None], code, *strengths)
        self.batch_potential(one, log_ratio[None], out[None])

    def scratch(self, shape: tuple[int, int], fast: bool, brief: bool = False) -> Any:
        trust = (1e-4, 1e-28, 1e30) if fast else (1e-20, 1e-250, 1e250)
        low, tiny, huge = (np.float64(x) for x in trust)
        return _Scratch("float" if fast else "double", (low, tiny, huge))

    def matrix_like(self, cost: Array, dtype: Any) -> Array:
        return self.device.empty(cost.shape, dtype)

    # --- passes over the plan -----------------------------------------------------------------------------------------

    def _plan_args(self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array) -> tuple[Any, ...]:
        """Cost, sizes and potentials, in base 2 but for alpha."""
        return (
            *(cost, *_sized(cost.shape), np.float64(inv_epsilon * LOG2E)),
            *(self._vector(alpha), self._vector(beta * LOG2E)),
        )

    def row_max(self, cost: Array, inv_epsilon: float, beta: Array, out: Array) -> None:
        cost = self._matrix(cost)
        n = cost.shape[0]
        top = self.device.empty(n, np.float64)
        args = cost, *_sized(cost.shape), np.float64(inv_epsilon), self._vector(beta), top
        self.device.launch(f"largest_of_rows<{_c(cost)}>", self._row_blocks(n), THREADS, args)
        out[:] = self.device.get(top)

    def col_max(self, cost: Array, inv_epsilon: float, alpha: Array, out: Array) -> None:
        cost = self._matrix(cost)
        n, m = cost.shape
        args = cost, *_sized(cost.shape), np.float64(inv_epsilon), self._vector(alpha)
        out[:] = self.device.get(self._columns_of(f"largest_of_columns<{_c(cost)}>", args, n, m, m, top=True))

    def least_cells(self, cost: Array, beta: Array, which: Array, indices: Array, least: Array) -> None:
        cost, k = self._matrix(cost), indices.shape[1]
        found, values = self.device.empty(indices.shape, np.int32), self.device.empty(which.size, np.float64)
        rows = self.device.put(which.astype(np.int64))
        args = cost, *_sized(cost.shape), self._vector(beta), rows, *_sized((which.size, k)), found, values
        self.device.launch(f"smallest_cells<{_c(cost)}>", self._row_blocks(which.size), 32, args)
        indices[...], least[...] = self.device.get(found), self.device.get(values)

    def plan(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, out: Array, coarse: bool = False
    ) -> None:
        cost = self._matrix(cost)
        straight = self.device.holds(out) and out.flags.c_contiguous
        target = out if straight else self.device.empty(out.shape, out.dtype)
        coarse = coarse and out.dtype == np.float32
        name = f"fill_plan_coarse<{_c(cost)}>" if coarse else f"fill_plan<{_c(cost)}, {_c(out)}>"
        args = *self._plan_args(cost, inv_epsilon, alpha, beta), target
        self.device.launch(name, self._row_blocks(cost.shape[0]), THREADS, args)
        if not straight:
            out[:, :] = target if self.device.holds(out) else self.device.get(target)

    def marginals(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, row_sum: Array, col_sum: Array
    ) -> None:
        cost = self._matrix(cost)
        args = self._plan_args(cost, inv_epsilon, alpha, beta)
        row_sum[:] = self.device.get(self._times(cost, args, None, 1))[:, 0]
        col_sum[:] = self.device.get(self._transposed_times(cost, args, None, 1))

    def apply(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array
    ) -> None:
        cost = self._matrix(cost)
        args, columns = self._plan_args(cost, inv_epsilon, alpha, beta), self._vector(x)
        times = self._transposed_times if transpose else self._times
        out[:, :] = self.device.get(times(cost, args, columns, x.shape[1])).reshape(out.shape)

    def _times(self, cost: Array, args: tuple[Any, ...], x: Array | None, k: int) -> Array:
        out = self.device.empty((cost.shape[0], k), np.float64)
        grid = self._row_blocks(cost.shape[0])
        self.device.launch(f"plan_times<{_c(cost)}>", grid, THREADS, (*args, x, np.int64(k), out))
        return out

    def _transposed_times(self, cost: Array, args: tuple[Any, ...], x: Array | None, k: int) -> Array:
        n, m = cost.shape
        return self._columns_of(f"plan_transposed_times<{_c(cost)}>", (*args, x, np.int64(k)), n, m * k, m)

    def plan_tangent(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        bar: Array,
        x: Array,
        y: Array,
        slope: float,
        out: Array,
        row_sum: Array,
        col_sum: Array,
        row_dot: Array,
    ) -> None:
        cost, bar = self._matrix(cost), self._matrix(bar)
        n, m = cost.shape
        straight = self.device.holds(out) and out.flags.c_contiguous and out.dtype == np.float64
        target = out if straight else self.device.empty((n, m), np.float64)
        total, dot = self.device.empty(n, np.float64), self.device.empty(n, np.float64)
        args = *self._plan_args(cost, inv_epsilon, alpha, beta), bar, self._vector(x), self._vector(y)
        results = np.float64(slope), target, total, dot
        self.device.launch(f"tangent_rows<{_c(cost)}, {_c(bar)}>", self._row_blocks(n), THREADS, (*args, *results))
        col_sum[:] = self.device.get(self._matrix_transposed_times(target, None))
        row_sum[:], row_dot[:] = self.device.get(total), self.device.get(dot)
        if not straight:
            out[:, :] = target if self.device.holds(out) else self.device.get(target)

    def rounded_sums(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        row_factor: Array,
        col_factor: Array,
        row_rest: Array,
        col_rest: Array,
        divergence: Array,
        transport: Array,
    ) -> None:
        cost = self._matrix(cost)
        n = cost.shape[0]
        kl, moved = self.device.empty(n, np.float64), self.device.empty(n, np.float64)
        vectors = (self._vector(v) for v in (alpha, beta, row_factor, col_factor, row_rest, col_rest))
        args = cost, *_sized(cost.shape), np.float64(inv_epsilon), *vectors, kl, moved
        self.device.launch(f"rounded_rows<{_c(cost)}>", self._row_blocks(n), THREADS, args)
        divergence[:], transport[:] = self.device.get(kl), self.device.get(moved)

    def dense_product(self, kernel: Array, x: Array, transpose: bool, out: Array) -> None:
        kernel, vector = self._matrix(kernel), self._vector(x)
        if transpose:
            out[:] = self.device.get(self._matrix_transposed_times(kernel, vector))
            return
        n = kernel.shape[0]
        image = self.device.empty(n, np.float64)
        args = kernel, *_sized(kernel.shape), vector, image
        self.device.launch(f"matrix_times<{_c(kernel)}>", self._row_blocks(n), THREADS, args)
        out[:] = self.device.get(image)

    def _matrix_transposed_times(self, matrix: Array, x: Array | None) -> Array:
        n, m = matrix.shape
        args = matrix, *_sized(matrix.shape), x
        return self._columns_of(f"matrix_transposed_times<{_c(matrix)}>", args, n, m, m)

    # --- iterations ---------------------------------------------------------------------------------------------------

    def log_sweeps(
        self,
        cost: Array,
        inv_epsilon: float,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        log_row: Array,
        log_col: Array,
        previous_alpha: Array,
        log_col_updated: Array,
        scratch: Any,
        count: int,
    ) -> None:
        cost = self._matrix(cost)
        sides = _side(self.device, rows), _side(self.device, cols)
        vectors = alpha, beta, log_row, log_col, previous_alpha, log_col_updated
        block = min(count, LOOK)
        while count:
            on_device = [self._vector(x) for x in vectors]
            done = self._log_block(cost, inv_epsilon, sides, omega, on_device, scratch, block)
            for vector, found in zip(vectors, on_device, strict=True):
                vector[:] = self.device.get(found)
            sound = done == block
            if not sound:
                self._log_column_sums(cost, inv_epsilon, cols, alpha, beta, log_col)
                done += 1
            count -= done
            # where columns vanish again and again, little is launched in vain
            block = min(count, LOOK, 2 * block if sound else 1)

    def _log_block(
        self,
        cost: Array,
        inv_epsilon: float,
        sides: tuple[tuple[Any, ...], tuple[Any, ...]],
        omega: tuple[float, float],
        vectors: list[Array],
        scratch: _Scratch,
        count: int,
    ) -> int:
        """Iterations with sound column sums; one less than `count` or fewer if the next one had an unsound one."""
        device, (n, m) = self.device, cost.shape
        alpha, beta, log_row, log_col, previous_alpha, log_col_updated = vectors
        flags, beta2 = device.zeros((3, count), np.int32), self._padded(np.zeros(m), cost)
        control = flags, np.int32(count)
        inv2, row_omega, col_omega = np.float64(inv_epsilon * LOG2E), np.float64(omega[0]), np.float64(omega[1])
        rows = *scratch.trust, alpha, previous_alpha, log_row
        types = f"{_c(cost)}, {scratch.exponential}"
        sweep, parts = self._sweep(
            cost,
            f"log_rows<{types}",
            (inv2, beta2, *sides[0], row_omega, *rows),
            (f"wide_log_rows<{types}>", (inv2, beta2, sides[0][0], np.int64(n), *sides[0][1:], row_omega, *rows)),
            (f"wide_log_columns<{types}>", (inv2, beta2, alpha)),
            control,
        )
        before = np.int64(m), *sides[1], col_omega, beta, beta2, log_col, log_col_updated, *control
        after = parts, *_sized(parts.shape), sides[1][0], *scratch.trust[1:], log_col, *control
        for it in range(count):
            device.launch("log_columns", (-(-m // THREADS), 1), THREADS, (*before, np.int32(it)))
            sweep(it)
            device.launch("log_sums", (-(-m // 32), 1), THREADS, (*after, np.int32(it)))
        return _first(device.get(flags)[1])

    def _sweep(
        self,
        matrix: Array,
        fused: str,
        args: tuple[Any, ...],
        wide_rows: tuple[str, tuple[Any, ...]],
        wide_columns: tuple[str, tuple[Any, ...]],
        control: tuple[Any, ...],
    ) -> tuple[Callable[[int], None], Array]:
        """What launches the large kernels of iteration `it`, and where column sums will lie, a part for each block."""
        device, (n, m), plan = self.device, matrix.shape, self._fused(matrix)
        if plan.columns:
            parts, name = device.empty((plan.blocks, m), np.float64), f"{fused}, {plan.columns}>"
            fixed = matrix, *_sized((n, m)), *args, parts, *control

            def sweep(it: int) -> None:
                device.launch(name, (plan.blocks, 1), plan.threads, (*fixed, np.int32(it)))

            return sweep, parts
        across, shares = self._column_blocks(min(n, plan.chunk), m)
        parts = device.empty((shares, m), np.float64)

        def sweep_chunks(it: int) -> None:
            for begin in range(0, n, plan.chunk):
                chunk = matrix, *_sized((m, begin, min(begin + plan.chunk, n)))
                end = *control, np.int32(it)
                device.launch(wide_rows[0], (plan.blocks, 1), THREADS, (*chunk, *wide_rows[1], *end))
                device.launch(wide_columns[0], (across, shares), THREADS, (*chunk, *wide_columns[1], parts, *end))

        return sweep_chunks, parts

    def _log_column_sums(
        self, cost: Array, inv_epsilon: float, cols: Side, alpha: Array, beta: Array, log_col: Array
    ) -> None:
        """log_col where a sum vanished or overflowed: relative to the maximum, two more passes (early iterations)."""
        top = np.empty_like(log_col)
        self.col_max(cost, inv_epsilon, alpha, top)
        reached = np.isfinite(top) & np.isfinite(cols.log_weight)
        shift = np.where(reached, top, 0.0)
        args = self._plan_args(cost, inv_epsilon, alpha, np.where(reached, -shift, -np.inf))
        total = self.device.get(self._transposed_times(cost, args, None, 1))
        logs = np.log(np.where(reached, total, 1.0)) + shift + np.where(reached, beta, 0.0)
        log_col[:] = np.where(reached, logs, -np.inf)

    def scaling_sweeps(
        self,
        kernel: Array,
        base_alpha: Array,
        base_beta: Array,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        log_row: Array,
        log_col: Array,
        previous_alpha: Array,
        log_col_updated: Array,
        scratch: Any,
        count: int,
        limit: float,
    ) -> tuple[int, bool]:
        device, kernel = self.device, self._matrix(kernel)
        n, m = kernel.shape
        flags = device.zeros((3, count), np.int32)
        control = flags, np.int32(count)
        row_side, col_side = _side(device, rows), _side(device, cols)
        bases = self._vector(base_alpha), self._vector(base_beta)
        # iteration `it` reads the vectors of it % 2 and writes the others, so that one that fails has spoilt nothing
        start_u, start_v = _exponentials(alpha, base_alpha), _exponentials(beta, base_beta)
        u = self._vector(start_u), self._vector(start_u)
        v = self._padded(start_v, kernel), self._padded(start_v, kernel)
        u_before = device.empty(n, np.float64), device.empty(n, np.float64)
        row_sum = device.empty(n, np.float64), device.empty(n, np.float64)
        start_sum = np.exp(log_col)
        col_sum = self._vector(start_sum), self._vector(start_sum)
        updated = device.empty(m, np.float64), device.empty(m, np.float64)
        row_omega, col_omega, bound = np.float64(omega[0]), np.float64(omega[1]), np.float64(limit)
        factors = device.empty(n, np.float64)
        launches = []
        parts: Any = None
        for new in (1, 0):
            old = 1 - new
            tail = row_omega, bases[0], u[old], bound, u[new], u_before[new], row_sum[new]
            sweep, parts = self._sweep(
                kernel,
                f"dense_rows<{_c(kernel)}, Scaling",
                (v[new], *row_side, *tail),
                (
                    f"wide_dense_rows<{_c(kernel)}, Scaling>",
                    (v[new], row_side[0], np.int64(n), *row_side[1:], *tail, factors),
                ),
                (f"wide_dense_columns<{_c(kernel)}>", (factors,)),
                control,
            )
            before = np.int64(m), *col_side, col_omega, bases[1], v[old], col_sum[old], v[new], updated[new], *control
            after = parts, *_sized(parts.shape), col_side[0], bound, v[new], col_sum[new], *control
            launches.append((before, sweep, after))
        for it in range(count):
            before, sweep, after = launches[it % 2]
            device.launch("scaling_columns", (-(-m // THREADS), 1), THREADS, (*before, np.int32(it)))
            sweep(it)
            device.launch("scaling_sums", (-(-m // 32), 1), THREADS, (*after, np.int32(it)))
            if it % LOOK == LOOK - 1 and device.get(flags)[:, it].any():
                break
        found = device.get(flags)
        sound, inside = _first(found[1]), _first(found[2])
        serves = sound == count and inside == count
        done = min(sound, inside + 1, count)
        if done:
            at = done % 2
            _logarithms(device.get(u[at]), base_alpha, alpha)
            _logarithms(device.get(v[at])[:m], base_beta, beta)
            _logarithms(device.get(row_sum[at]), 0.0, log_row)
            _logarithms(device.get(col_sum[at]), 0.0, log_col)
            _logarithms(device.get(u_before[at]), base_alpha, previous_alpha)
            _logarithms(device.get(updated[at]), 0.0, log_col_updated)
        return done, serves

    def dense_gradients(
        self,
        kernel: Array,
        col_factor: Array,
        row_weight: Array,
        diagonal: Array,
        krylov: Krylov,
        goal: float,
        radius: float,
        count: int,
    ) -> tuple[int, int]:
        device, kernel = self.device, self._matrix(kernel)
        n, m = kernel.shape
        state = device.zeros(2, np.int32)  # the code, which stops what is launched after it, and how many were done
        control = state, np.int32(0)
        scaled, weight = self._padded(col_factor * krylov.direction, kernel), self._vector(row_weight)
        x, residual, direction, preconditioner, scalars = (self._vector(values) for values in krylov)
        factors, zero, one = device.empty(n, np.float64), np.float64(0.0), np.float64(1.0)
        rule = np.int32(0), zero, zero
        sweep, parts = self._sweep(
            kernel,
            f"dense_rows<{_c(kernel)}, Product",
            (scaled, weight, *rule, one, None, None, zero, None, None, None),
            (
                f"wide_dense_rows<{_c(kernel)}, Product>",
                (scaled, weight, np.int64(n), *rule, one, None, None, zero, None, None, None, factors),
            ),
            (f"wide_dense_columns<{_c(kernel)}>", (factors,)),
            control,
        )
        image = device.empty(m, np.float64)
        summed = parts, *_sized(parts.shape), image
        vectors = x, residual, direction, preconditioner, scalars, scaled
        step = np.int64(m), self._vector(diagonal), image, self._vector(col_factor), *vectors
        for _ in range(count):
            sweep(0)
            device.launch("sum_parts", (-(-m // 32), 1), THREADS, summed)
            device.launch("advance", (1, 1), 512, (*step, np.float64(goal), np.float64(radius), state))
        for values, found in zip(krylov, (x, residual, direction, preconditioner, scalars), strict=True):
            values[:] = device.get(found)
        code, done = device.get(state)
        return int(done), int(code)

    # --- supports: found on the device, worked on by the host ---------------------------------------------------------

    def _cell_args(
        self, inv_epsilon: float, alpha: Array, beta: Array, row_least: Array, col_least: Array
    ) -> tuple[Any, ...]:
        vectors = (self._vector(v * LOG2E) for v in (alpha, beta, row_least, col_least))
        return np.float64(inv_epsilon * LOG2E), *vectors

    def support_sizes(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        row_least: Array,
        col_least: Array,
        which: Array,
        sizes: Array,
    ) -> None:
        cost = self._matrix(cost)
        rows, found = self.device.put(which.astype(np.int64)), self.device.empty(which.size, np.int64)
        cells = self._cell_args(inv_epsilon, alpha, beta, row_least, col_least)
        args = cost, np.int64(cost.shape[1]), *cells, rows, np.int64(which.size), found
        self.device.launch(f"count_cells<{_c(cost)}>", self._row_blocks(which.size), 32, args)
        sizes[:] = self.device.get(found)

    def support_cells(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        row_least: Array,
        col_least: Array,
        support: Support,
    ) -> None:
        cost, stored = self._matrix(cost), int(support.pointers[-1])
        indices, costs = self.device.empty(stored, np.int32), self.device.empty(stored, cost.dtype)
        cells = self._cell_args(inv_epsilon, alpha, beta, row_least, col_least)
        pointers = self.device.put(support.pointers.astype(np.int64))
        args = cost, *_sized(cost.shape), *cells, pointers, indices, costs
        self.device.launch(f"write_cells<{_c(cost)}>", self._row_blocks(cost.shape[0]), 32, args)
        support.indices[:stored], support.cost[:stored] = self.device.get(indices), self.device.get(costs)

    def support_sweeps(
        self,
        support: Support,
        inv_epsilon: float,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        log_row: Array,
        log_col: Array,
        previous_alpha: Array,
        log_col_updated: Array,
        count: int,
    ) -> bool:
        cells = _Cells(support.pointers, support.indices)
        cost = support.cost[: cells.stored].astype(np.float64) * inv_epsilon
        row_used, col_used = rows.log_weight > -np.inf, cols.log_weight > -np.inf
        for _ in range(count):
            change = self._step(cols, omega[1], beta, log_col)
            beta += change
            log_col_updated[:] = log_col + change
            reduced = beta[cells.cols] - cost
            top = cells.over_rows(np.maximum, reduced, -np.inf)
            if (row_used & (top == -np.inf)).any():
                return False
            top[top == -np.inf] = 0.0
            with np.errstate(divide="ignore"):
                sums = cells.over_rows(np.add, np.exp(reduced - top[cells.rows]), 0.0)
                log_row[:] = np.where(row_used, np.log(sums) + top + alpha, -np.inf)
            previous_alpha[:] = alpha
            alpha += self._step(rows, omega[0], alpha, log_row)
            support.values[: cells.stored] = np.exp(alpha[cells.rows] + reduced)
            total = cells.over_columns(support.values, beta.size)
            if (col_used & ~((total > 1e-250) & (total < 1e250))).any():
                return False
            log_col[:] = np.log(total, out=np.full_like(total, -np.inf), where=col_used)
        return True

    def _step(self, side: Side, omega: float, alpha: Array, log_sum: Array) -> Array:
        """Change of alpha: omega times the way to the exact update; 0 on removed entries."""
        used = side.log_weight > -np.inf
        old = np.where(used, alpha, 0.0) - np.where(used, side.offset, 0.0)
        target = np.empty_like(old)
        self.potential(side, np.where(used, side.log_weight, 0.0) - np.where(used, log_sum, 0.0) + old, target)
        return np.where(used, omega * (np.where(used, target, 0.0) - old), 0.0)

    def sparsify(self, support: Support, row_least: Array, col_least: Array, out: Sparse) -> None:
        cells = _Cells(support.pointers, support.indices)
        values = support.values[: cells.stored]
        kept = values > np.minimum(row_least[cells.rows], col_least[cells.cols])
        out.pointers[0] = 0
        out.pointers[1:] = np.cumsum(np.bincount(cells.rows[kept], minlength=row_least.size))
        stored = int(out.pointers[-1])
        out.indices[:stored], out.values[:stored] = cells.cols[kept], values[kept]

    def sparse_squares(self, matrix: Sparse, row_weight: Array, out: Array) -> None:
        cells = _Cells(matrix.pointers, matrix.indices)
        out[:] = cells.over_columns(row_weight[cells.rows] * matrix.values[: cells.stored] ** 2, out.size)

    def sparse_gram(self, matrix: Sparse, row_weight: Array, out: Array) -> None:
        cells, values = _Cells(matrix.pointers, matrix.indices), matrix.values
        out[:, :] = 0.0
        for first in range(0, row_weight.size, 1024):  # dense strips
            last = min(first + 1024, row_weight.size)
            part = slice(int(matrix.pointers[first]), int(matrix.pointers[last]))
            strip = np.zeros((last - first, out.shape[1]))
            strip[cells.rows[part] - first, cells.cols[part]] = values[part]
            out += strip.T @ (row_weight[first:last, None] * strip)

    def sparse_gradients(
        self, matrix: Sparse, row_weight: Array, diagonal: Array, krylov: Krylov, goal: float, radius: float, count: int
    ) -> tuple[int, int]:
        cells = _Cells(matrix.pointers, matrix.indices)
        values = matrix.values[: cells.stored]
        x, residual, direction, preconditioner, scalars = krylov
        for done in range(1, count + 1):
            y = row_weight * cells.over_rows(np.add, values * direction[cells.cols], 0.0)
            image = diagonal * direction - cells.over_columns(values * y[cells.rows], x.size)
            curvature = float(direction @ image)
            if not curvature > 0:
                return done, LEFT
            step = scalars[0] / curvature
            x += step * direction
            residual[preconditioner > 0] -= (step * image)[preconditioner > 0]
            largest = float(np.abs(x).max())
            if largest > radius:
                x *= radius / largest
                return done, LEFT
            if float(np.abs(residual).sum()) <= goal:
                return done, REACHED
            energy = float((preconditioner * residual) @ residual)
            direction[:] = preconditioner * residual + (energy / scalars[0]) * direction
            scalars[0] = energy
        return count, CONTINUES

    # --- many problems ------------------------------------------------------------------------------------------------

    def batch_sweeps(
        self,
        cost: Array,
        batch: Batch,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        which: Array,
        goal: Array | None,
        count: int,
        end: str,
        cold: bool,
        precision: str,
        done: Array,
        residual: Array,
        plans: Array | None = None,
    ) -> None:
        device, cost = self.device, self._matrix(cost)
        n, m = cost.shape[1:]
        fast = precision != "double"
        trust = (1e-4, 1e-28, 1e30, 1e8) if fast else (1e-20, 1e-250, 1e250, 1e100)
        threads = 32 if max(n, m) <= 32 else 64 if max(n, m) <= 64 else 128 if max(n, m) <= 128 else 256
        vectors, entries = 8 * 4 * (n + m), (4 if fast else 8) * n * m
        inside = vectors + entries <= device.shared
        blocks = max(1, min(which.size, (2048 // threads if inside else 2) * device.multiprocessors))
        kernel = None if inside else device.empty((blocks, n, m), np.float32 if fast else np.float64)
        found, errors = device.zeros(which.size, np.int64), self._vector(residual)
        potentials = self._vector(alpha), self._vector(beta)
        args = (
            *(cost, *self._batch_args(batch), *_sized((n, m)), *self._batch_side(rows), *self._batch_side(cols)),
            *(np.float64(omega[0]), np.float64(omega[1]), *potentials, device.put(which.astype(np.int64))),
            *(np.int64(which.size), None if goal is None else self._vector(goal), np.int64(count)),
            *(np.int32(end == "cols"), np.int32(cold), *(np.float64(x) for x in trust), kernel, found, errors),
        )
        name = f"batch_solve<{_c(cost)}, {'float' if fast else 'double'}>"
        device.launch(name, (blocks, 1), threads, args, vectors + (entries if inside else 0))
        for values, on_device in ((alpha, potentials[0]), (beta, potentials[1]), (done, found), (residual, errors)):
            values[...] = device.get(on_device)
        if plans is not None:
            self.batch_plan(cost, batch, alpha + np.log(batch.mass)[:, None], beta, plans)

    def _batch_args(self, batch: Batch) -> tuple[Any, ...]:
        counts = (self.device.put(np.ascontiguousarray(x, dtype=np.int64)) for x in (batch.row_count, batch.col_count))
        return self.device.put(batch.cost_of.astype(np.int64)), self._vector(batch.inv_epsilon), *counts

    def _batch_side(self, side: Side) -> tuple[Any, ...]:
        code = self.device.put(np.ascontiguousarray(side.code, dtype=np.int64))
        return *(self._vector(x) for x in side[:3]), code, self._vector(side.strength), self._vector(side.strength2)

    def batch_plan(self, cost: Array, batch: Batch, alpha: Array, beta: Array, out: Array) -> None:
        cost = self._matrix(cost)
        straight = self.device.holds(out) and out.flags.c_contiguous
        target = out if straight else self.device.empty(out.shape, out.dtype)
        potentials = self._vector(alpha), self._vector(beta)
        args = cost, *self._batch_args(batch), *_sized(out.shape), *potentials, target
        name = f"batch_fill_plan<{_c(cost)}, {_c(out)}>"
        self.device.launch(name, self._row_blocks(out.shape[0] * out.shape[1]), THREADS, args)
        if not straight:
            out[...] = target if self.device.holds(out) else self.device.get(target)

    def batch_marginals(
        self, cost: Array, batch: Batch, alpha: Array, beta: Array, which: Array, row_sum: Array, col_sum: Array
    ) -> None:
        cost = self._matrix(cost)
        sums = self._vector(row_sum), self._vector(col_sum)
        args = (
            *(cost, *self._batch_args(batch), *_sized(cost.shape[1:]), self._vector(alpha), self._vector(beta)),
            *(self.device.put(which.astype(np.int64)), np.int64(which.size), *sums),
        )
        self.device.launch(f"batch_sums<{_c(cost)}>", self._row_blocks(which.size), THREADS, args)
        row_sum[...], col_sum[...] = self.device.get(sums[0]), self.device.get(sums[1])

    def batch_rounded_sums(
        self,
        cost: Array,
        batch: Batch,
        alpha: Array,
        beta: Array,
        which: Array,
        row_factor: Array,
        col_factor: Array,
        row_rest: Array,
        col_rest: Array,
        divergence: Array,
        transport: Array,
    ) -> None:
        parts = row_factor, col_factor, row_rest, col_rest, divergence, transport
        for k in which:
            matrix, inv_epsilon = cost[batch.cost_of[k]], float(batch.inv_epsilon[k])
            self.rounded_sums(matrix, inv_epsilon, alpha[k], beta[k], *(part[k] for part in parts))

    def batch_potential(self, sides: Side, log_ratio: Array, out: Array) -> None:
        weight, log_weight, _, *rule = self._batch_side(sides)
        found = self.device.empty(out.shape, np.float64)
        args = weight, log_weight, *rule, *_sized(out.shape), self._vector(log_ratio), found
        self.device.launch("potentials", (self._row_blocks(-(-out.size // THREADS))[0], 1), THREADS, args)
        out[...] = self.device.get(found)


def _c(matrix: Array) -> str:
    return C_TYPES[np.dtype(matrix.dtype)]


def _first(flags: Array) -> int:
    """The first entry that is not 0, or how many there are."""
    found = np.flatnonzero(flags)
    return int(found[0]) if found.size else flags.size


def _exponentials(alpha: Array, base: Array) -> Array:
    """exp(alpha - base), 0 for removed entries (-inf in both)."""
    used = alpha > -np.inf
    return np.where(used, np.exp(np.where(used, alpha, 0.0) - np.where(used, base, 0.0)), 0.0)


def _logarithms(x: Array, base: Any, out: Array) -> None:
    """Elements base + log x, -inf for x = 0."""
    used = x > 0.0
    out[:] = np.where(used, base + np.log(np.where(used, x, 1.0)), -np.inf)


class _Cells:
    """Stored cells of a matrix by rows: where they lie, and sums over rows and columns."""

    def __init__(self, pointers: Array, indices: Array) -> None:
        self.stored = int(pointers[-1])
        self.filled = np.flatnonzero(np.diff(pointers))
        self.first = pointers[self.filled]
        self.size = pointers.size - 1
        self.rows, self.cols = np.repeat(np.arange(self.size), np.diff(pointers)), indices[: self.stored]

    def over_rows(self, ufunc: np.ufunc, values: Array, otherwise: float) -> Array:
        out = np.full(self.size, otherwise)
        if self.filled.size:
            out[self.filled] = ufunc.reduceat(values, self.first)
        return out

    def over_columns(self, values: Array, m: int) -> Array:
        return np.bincount(self.cols, weights=values[: self.stored], minlength=m)
