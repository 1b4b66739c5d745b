"""Where the arithmetic on n x m data happens: one module a device, the same primitives in each.

`protocol` states every primitive's formula once. `reference` writes them on the array API (the oracle), `cpu` in Numba,
`gpu` in CUDA C++. `array_api` has derivatives of batches for a device, and `cpu.paths` the shortest paths of the exact
limit, for the host. Nothing here validates or decides when to stop.
"""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .interrupts import interrupts_kept

if TYPE_CHECKING:
    from .protocol import (
        Backend,
        BatchBackend,
        BatchDerivatives,
        CloudBackend,
        DenseAssignment,
        DenseSimplex,
        Line,
        Paths,
        Shares,
    )


@cache
def _module(name: str) -> ModuleType:
    with interrupts_kept:  # Numba comes with the first
        return importlib.import_module(f"{__name__}.{name}")


def load_for(matrix: Any) -> Backend:
    """Return the backend that reads `matrix` where it lies."""
    return load() if isinstance(matrix, np.ndarray) else load("gpu", matrix.device.id)


def load(name: str = "cpu", device: int | None = None) -> Backend:
    """Return a backend, imported on first use: "cpu", "reference" or "gpu", the last on CUDA device `device`.

    Raises
    ------
    BackendUnavailable
        For "gpu", if CuPy or a device is missing.
    """
    if name == "gpu":
        return cast("Backend", _module("gpu").connect(device))
    module = "cpu.dense" if name == "cpu" else name
    return cast("Backend", _module(module))


def load_cloud(name: str = "cpu") -> CloudBackend:
    """Return the backend for costs between points, imported on first use: "cpu" or "reference"."""
    module = {"cpu": "cpu.cloud", "reference": "reference_cloud"}[name]
    return cast("CloudBackend", _module(module))


def load_shares() -> Shares:
    """Return the module of half iterations on rows of which others lie elsewhere, imported on first use."""
    return cast("Shares", _module("cpu.shares"))


def load_batch_for(stack: Any) -> BatchBackend:
    """Return the backend for many problems that reads `stack` where it lies."""
    if isinstance(stack, np.ndarray):
        return cast("BatchBackend", _module("cpu.batch"))
    return cast("BatchBackend", load_for(stack))


def load_batch_gradients_for(stack: Any) -> BatchDerivatives:
    """Return what computes the derivatives of many problems where `stack` lies."""
    return load_batch_gradients() if isinstance(stack, np.ndarray) else load_batch_gradients("gpu", stack.device.id)


def load_batch_gradients(name: str = "cpu", device: int | None = None) -> BatchDerivatives:
    """Return what computes derivatives of many problems: "cpu", "reference" (in NumPy) or "gpu".

    It is imported on first use; `device` is the number of a CUDA device.

    Raises
    ------
    BackendUnavailable
        For "gpu", if CuPy or a device is missing.
    """
    if name == "cpu":
        return cast("BatchDerivatives", _module("cpu.batch_derivatives"))
    arrays = _module("array_api.derivatives")
    memories = {"reference": arrays.HostMemory, "gpu": lambda: _module("gpu").connect(device).device}
    return cast("BatchDerivatives", arrays.ArrayDerivatives(memories[name]()))


def load_paths() -> Paths:
    """Return the module of shortest paths, imported on first use."""
    return cast("Paths", _module("cpu.paths"))


def load_grid() -> Any:
    """Return the module of sums over fibres of a grid, imported on first use."""
    return _module("cpu.grid")


def load_far_points() -> Any:
    """Return the module of products between points of many coordinates, imported on first use."""
    return _module("cpu.far_points")


def load_small() -> Any:
    """Return the module that solves a small problem in one call, imported on first use."""
    return _module("cpu.small")


def load_layers() -> Any:
    """Return the module of fixed numbers of iterations of small problems, imported on first use."""
    return _module("cpu.layers")


def load_isotonic() -> Any:
    """Return the module of isotonic regression, imported on first use."""
    return _module("cpu.isotonic")


def load_simplex() -> DenseSimplex:
    """Return the module of the network simplex on small matrices, imported on first use."""
    return cast("DenseSimplex", _module("cpu.dense_simplex"))


def load_assignment() -> DenseAssignment:
    """Return the module of assignments on all cells of a matrix, imported on first use."""
    return cast("DenseAssignment", _module("cpu.dense_paths"))


def load_line() -> Line:
    """Return the module of relaxed transport on the line, imported on first use."""
    return cast("Line", _module("cpu.line"))
