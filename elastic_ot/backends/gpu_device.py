"""What the GPU backend asks of a device: memory and launches of kernels.cu, by CuPy.

What is done with the kernels is apart from what CuPy does: a `Device` holds memory and launches, so that the tests run
the same lines on a host build of kernels.cu.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .gpu_tiles import kinds
from .protocol import Array

SOURCE = Path(__file__).with_name("kernels.cu")
OPTIONS = ("-std=c++17",)

# Columns a thread and threads a block of the fused sweeps, narrowest first: `widest` columns fit the last one.
FUSED = ((4, 32), (4, 64), (4, 128), (8, 128), (8, 256), (8, 512), (16, 512))
WIDEST = FUSED[-1][0] * FUSED[-1][1]
STATIC = 2048  # bytes of shared memory that a kernel may declare, at most
BRIEF = 2  # launches of a block up to which no graph is made of it
UNASKED = 48 * 1024 - STATIC  # bytes more that a block has without asking


REALS, COLUMNS = ("float", "double"), ("4", "8", "16")
COSTS = *REALS, "Half"
C_TYPES = {np.dtype(np.float16): "Half", np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


def _instances(name: str, *choices: tuple[str, ...]) -> list[str]:
    return [f"{name}<{', '.join(choice)}>" for choice in product(*choices)]


KERNELS = (
    *("potentials", "sum_parts", "max_parts", "log_columns", "log_sums", "scaling_columns", "scaling_sums", "advance"),
    *_instances("log_rows", COSTS, REALS, COLUMNS),
    *_instances("wide_log_rows", COSTS, REALS),
    *_instances("wide_log_columns", COSTS, REALS),
    *_instances("dense_rows", REALS, ("Scaling", "Product"), COLUMNS),
    *_instances("wide_dense_rows", REALS, ("Scaling", "Product")),
    *_instances("wide_dense_columns", REALS),
    *_instances("largest_of_rows", COSTS),
    *_instances("largest_of_columns", COSTS),
    *_instances("fill_plan", COSTS, REALS),
    *_instances("fill_plan_coarse", COSTS),
    *_instances("plan_sums", COSTS, COLUMNS),
    *_instances("plan_times", COSTS),
    *_instances("plan_transposed_times", COSTS),
    *_instances("matrix_times", REALS),
    *_instances("matrix_transposed_times", REALS),
    *_instances("tangent_rows", COSTS, REALS),
    *_instances("rounded_rows", COSTS),
    *_instances("count_cells", COSTS),
    *_instances("write_cells", COSTS),
    *_instances("smallest_cells", COSTS),
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
    """Columns up to which a row is kept in registers."""

    def empty(self, shape: Any, dtype: Any) -> Array: ...

    def zeros(self, shape: Any, dtype: Any) -> Array: ...

    def put(self, values: Array) -> Array:
        """It on the device and C-contiguous; memory of the host is always copied."""

    def get(self, values: Array) -> Array:
        """A copy on the host."""

    def holds(self, values: Array) -> bool:
        """True if kernels can read it where it lies, given that it is C-contiguous."""

    def copy(self, values: Array, out: Array) -> None:
        """Values to `out`, which lie on the device both."""

    def launch(self, name: str, grid: tuple[int, int], threads: int, args: tuple[Any, ...], shared: int = 0) -> None:
        """Run a kernel after those launched before."""

    def repeat(self, block: Callable[[], None], times: int) -> None:
        """Run what `block` launches so many times; it does nothing but launch, the same whenever it is called."""


class CupyDevice:
    """CUDA device number `index` and CuPy's current stream of it."""

    widest = WIDEST

    def __init__(self, cupy: Any, index: int = 0) -> None:
        self.cupy, self.index = cupy, index
        attributes = cupy.cuda.Device(index).attributes
        self.multiprocessors = int(attributes["MultiProcessorCount"])
        self.cache = int(attributes["L2CacheSize"])
        self.shared = int(attributes["MaxSharedMemoryPerBlockOptin"]) - STATIC
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
        """As a CUDA graph where that pays: the host then makes one call each time, whatever the block launches.

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
            f"{free:,} of {total:,} are free; free arrays that are not needed any more, pass the cost in float32 or "
            "float16, or fewer problems at once"
        )

    def _kernel(self, name: str) -> Any:
        """Compiled on first use, a module each, so that a solve compiles what it needs; CuPy keeps the binaries."""
        module = self.cupy.RawModule(code=source(), options=OPTIONS, name_expressions=(name,))
        return module.get_function(name)


@functools.cache
def source() -> str:
    return SOURCE.read_text()


def c_type(matrix: Array) -> str:
    """The type of its entries in C++."""
    return C_TYPES[np.dtype(matrix.dtype)]
