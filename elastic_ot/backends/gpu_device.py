"""What the GPU backend asks of a device: memory and launches of kernels.cu, by CuPy.

What is done with the kernels is apart from what CuPy does: a `Device` holds memory and launches, so that the tests run
the same lines on a host build of kernels.cu.
"""

from __future__ import annotations

import functools
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .protocol import Array

SOURCE = Path(__file__).with_name("kernels.cu")
OPTIONS = ("-std=c++17",)

# Columns a thread and threads a block of the fused sweeps, narrowest first: `widest` columns fit the last one.
FUSED = ((4, 32), (4, 64), (4, 128), (8, 128), (8, 256), (8, 512), (16, 512))
WIDEST = FUSED[-1][0] * FUSED[-1][1]
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


def c_type(matrix: Array) -> str:
    """The type of its entries in C++."""
    return C_TYPES[np.dtype(matrix.dtype)]
