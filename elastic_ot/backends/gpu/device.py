"""What the GPU backend asks of a device: memory and launches of kernels, by CuPy.

What is done with the kernels is apart from what CuPy does: a `Device` holds memory and launches, so that the tests run
the same lines on a host build of the kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Protocol

import numpy as np

from ...arrays.half import BRAIN
from ..protocol import Array
from .kernels import source
from .tiles import kinds
from .transfers import Room, doubles, filled, places, view

OPTIONS = ("-std=c++17",)

# Columns a thread and threads a block of the fused sweeps, narrowest first: `widest` columns fit the last one. A thread
# reads its rows ahead into so many bytes of shared memory; a row of it fits a third of them.
FUSED = ((4, 32), (4, 64), (4, 128), (8, 128), (8, 256), (8, 512), (16, 512))
WIDEST = FUSED[-1][0] * FUSED[-1][1]
STREAM = 192
STATIC = 3072  # bytes of shared memory that a kernel may declare, at most
BRIEF = 2  # launches of a block up to which no graph is made of it
UNASKED = 48 * 1024 - STATIC  # bytes more that a block has without asking


REALS = "float", "double"
COSTS = *REALS, "Half", "Brain"
C_TYPES: dict[np.dtype[Any], str] = {
    np.dtype(np.float16): "Half",
    BRAIN: "Brain",
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
}
ITEMSIZES = {name: int(dtype.itemsize) for dtype, name in C_TYPES.items()}


def shapes_of(itemsize: int) -> list[tuple[int, int]]:
    """Return the shapes of `FUSED` whose threads can read ahead rows of entries of `itemsize` bytes."""
    return [(columns, threads) for columns, threads in FUSED if columns * itemsize <= STREAM // 3]


def _instances(name: str, *choices: tuple[str, ...]) -> list[str]:
    return [f"{name}<{', '.join(choice)}>" for choice in product(*choices)]


def _fused_instances(name: str, costs: tuple[str, ...], *choices: tuple[str, ...]) -> list[str]:
    """Return the instances of a fused kernel for every number of columns a thread."""
    columns = {cost: sorted({c for c, _ in shapes_of(ITEMSIZES[cost])}) for cost in costs}
    return [found for cost in costs for c in columns[cost] for found in _instances(name, (cost,), *choices, (str(c),))]


KERNELS = (
    *("potentials", "sum_parts", "max_parts", "log_columns", "log_sums", "scaling_columns", "scaling_sums", "advance"),
    "unsend",
    *_fused_instances("log_rows", COSTS, REALS),
    *_instances("wide_log_rows", COSTS, REALS),
    *_instances("wide_log_columns", COSTS, REALS),
    *_fused_instances("dense_rows", REALS, ("Scaling", "Product")),
    *_instances("wide_dense_rows", REALS, ("Scaling", "Product")),
    *_instances("wide_dense_columns", REALS),
    *_instances("largest_of_rows", COSTS),
    *_instances("largest_of_columns", COSTS),
    *_instances("fill_plan", COSTS, REALS),
    *_instances("fill_plan_coarse", COSTS),
    *_fused_instances("plan_sums", COSTS),
    *_instances("plan_times", COSTS),
    *_instances("plan_transposed_times", COSTS),
    *_instances("matrix_times", REALS),
    *_instances("matrix_transposed_times", REALS),
    *_instances("tangent_rows", COSTS, REALS),
    *_instances("rounded_rows", COSTS),
    *_instances("count_cells", COSTS),
    *_instances("write_cells", COSTS),
    *_instances("smallest_cells", COSTS),
    *("running_sums", "count_columns", "column_offsets", "sparse_times", "sparse_squares", "sparse_gram"),
    *_instances("write_columns", REALS),
    *_instances("support_rows", REALS),
    *_instances("support_columns", REALS),
    *_instances("count_entries", REALS),
    *_instances("write_entries", REALS),
    *_instances("batch_solve", COSTS, REALS),
    *_instances("batch_tiles", ("float",), kinds(single=True)),
    *_instances("batch_tiles", tuple(x for x in COSTS if x != "float"), kinds(single=False)),
    *_instances("batch_fill_plan", COSTS, REALS),
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
    """Columns up to which a block keeps a row in registers."""
    together: int
    """Blocks that may wait for each other, because so many run at once."""

    def empty(self, shape: Any, dtype: Any) -> Array: ...

    def zeros(self, shape: Any, dtype: Any) -> Array: ...

    def put(self, values: Array) -> Array:
        """Return `values` on the device and C-contiguous; memory of the host is always copied."""

    def get(self, values: Array) -> Array:
        """Return a copy of `values` on the host."""

    def pack(self, parts: Sequence[Array | Room]) -> list[Array]:
        """Copies of arrays of the host, and room for others, side by side: one allocation and at most one transfer."""

    def get_all(self, arrays: Sequence[Array]) -> list[Array]:
        """Copies on the host of arrays of one `pack`, by one transfer of what lies from the first to the last."""

    def holds(self, values: Array) -> bool:
        """True if kernels can read it where it lies, given that it is C-contiguous."""

    def copy(self, values: Array, out: Array) -> None:
        """Values to `out`, which lie on the device both."""

    def launch(self, name: str, grid: tuple[int, int], threads: int, args: tuple[Any, ...], shared: int = 0) -> None:
        """Run a kernel after those launched before."""

    def repeat(self, block: Callable[[], None], times: int) -> None:
        """Run what `block` launches so many times; it only launches, and the same kernels at every call."""


class CupyDevice:
    """CUDA device number `index` and CuPy's current stream of it."""

    widest = WIDEST

    def __init__(self, cupy: Any, index: int = 0) -> None:
        self.cupy, self.index = cupy, index
        attributes = cupy.cuda.Device(index).attributes
        self.multiprocessors = self.together = int(attributes["MultiProcessorCount"])
        self.cache = int(attributes["L2CacheSize"])
        self.shared = int(attributes["MaxSharedMemoryPerBlockOptin"]) - STATIC
        self.widest = min(self.widest, max(c * t for c, t in FUSED if t * STREAM <= self.shared))
        self.kernels: dict[str, Any] = {}

    def empty(self, shape: Any, dtype: Any) -> Array:
        return self._allocated(lambda: self.cupy.empty(shape, dtype), shape, dtype)

    def zeros(self, shape: Any, dtype: Any) -> Array:
        return self._allocated(lambda: self.cupy.zeros(shape, dtype), shape, dtype)

    def put(self, values: Array) -> Array:
        return self._allocated(lambda: self.cupy.asarray(values, order="C"), values.shape, values.dtype)

    def get(self, values: Array) -> Array:
        with self._here():
            return self.cupy.asnumpy(values)

    def pack(self, parts: Sequence[Array | Room]) -> list[Array]:
        begins, size = places(parts)
        sent, memory = filled(parts, begins), self.empty(size, np.float64)
        if sent.size:
            with self._here():
                memory[: sent.size].set(sent)  # on the current stream; the host may go on to change what it sent
        return [view(memory, begin, part) for begin, part in zip(begins, parts, strict=True)]

    def get_all(self, arrays: Sequence[Array]) -> list[Array]:
        memory = arrays[0].base
        begins = [(x.data.ptr - memory.data.ptr) // memory.itemsize for x in arrays]
        first, last = min(begins), max(begin + doubles(x) for begin, x in zip(begins, arrays, strict=True))
        found = self.get(memory[first:last])
        return [view(found, begin - first, x) for begin, x in zip(begins, arrays, strict=True)]

    def holds(self, values: Array) -> bool:
        return isinstance(values, self.cupy.ndarray) and int(values.device.id) == self.index

    def copy(self, values: Array, out: Array) -> None:
        with self._here():
            out[...] = values

    def launch(self, name: str, grid: tuple[int, int], threads: int, args: tuple[Any, ...], shared: int = 0) -> None:
        pointers = tuple(np.uintp(0) if x is None else x for x in args)  # CuPy's None is no argument at all
        with self._here():
            if name not in self.kernels:
                self.kernels[name] = self._kernel(name)
            kernel = self.kernels[name]
            if shared > UNASKED:
                kernel.max_dynamic_shared_size_bytes = shared
            kernel(grid, (threads,), pointers, shared_mem=shared)

    def repeat(self, block: Callable[[], None], times: int) -> None:
        """Run what `block` launches so many times, as a CUDA graph where that pays: one call of the host each time.

        The first time is launched plainly, which compiles and loads the kernels: a capture allows neither everywhere.
        """
        plain = min(times, 1 if times > BRIEF else BRIEF)
        for _ in range(plain):
            block()
        if times > plain:
            with self._here():
                graph = self._captured(block)
                for _ in range(times - plain):
                    graph.launch()  # on the current stream

    def _captured(self, block: Callable[[], None]) -> Any:
        """What `block` launches, as a graph, on a stream that nothing else uses: the default one cannot be captured."""
        stream = self.cupy.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                block()
            finally:
                graph = stream.end_capture()
        return graph

    def _here(self) -> Any:
        return self.cupy.cuda.Device(self.index)

    def _allocated(self, make: Callable[[], Array], shape: Any, dtype: Any) -> Array:
        """An array, if need be after CuPy has given back what it keeps for later."""
        exhausted = self.cupy.cuda.memory.OutOfMemoryError
        with self._here():
            try:
                return make()
            except exhausted:
                self.cupy.get_default_memory_pool().free_all_blocks()
            try:
                return make()
            except exhausted:
                free, total = self.cupy.cuda.runtime.memGetInfo()
        needed = math.prod(shape if isinstance(shape, tuple) else (shape,)) * np.dtype(dtype).itemsize
        raise MemoryError(
            f"CUDA device {self.index} is out of memory: an array {shape} of {np.dtype(dtype)} needs {needed:,} bytes, "
            f"{free:,} of {total:,} are free; free arrays that are not needed any more, pass the cost in float32, "
            "float16 or bfloat16, or fewer problems at once"
        )

    def _kernel(self, name: str) -> Any:
        """Compiled on first use, a module each, so that a solve compiles what it needs; CuPy keeps the binaries."""
        module = self.cupy.RawModule(code=source(), options=OPTIONS, name_expressions=(name,))
        return module.get_function(name)


def c_type(matrix: Array) -> str:
    """The type of its entries in C++."""
    return C_TYPES[np.dtype(matrix.dtype)]
