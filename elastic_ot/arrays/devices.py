"""Where an n x m array lies, and what computes with it there.

A matrix is a NumPy array or, on a CUDA device, one of CuPy, whose functions have the same names. Vectors are on the
host. They cross by `asarray` and `on_host` and in no other way: CuPy refuses to be read by NumPy.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BackendUnavailable

DEVICE_CHUNK = 1 << 24  # entries of a matrix on a device that are looked at together, in place of a few for a cache


def library_of(matrix: Any) -> Any:
    """The module whose functions compute with `matrix` where it lies."""
    return np if lies_on_host(matrix) else cupy()


def cupy() -> Any:
    """CuPy, which `cuda_device` has imported before anything lies on a device."""
    return sys.modules["cupy"]


def cuda_device(index: int | None = None) -> tuple[Any, int]:
    """CuPy, imported on first use, and the number of a CUDA device that is there; by default CuPy's current one.

    Raises
    ------
    BackendUnavailable
        If CuPy or the device is missing.
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
    found = int(cupy.cuda.runtime.getDevice()) if index is None else index
    if not 0 <= found < devices:
        raise BackendUnavailable(f"there is no CUDA device {found}; this machine has {devices}, counted from 0")
    return cupy, found


def lies_on_host(matrix: Any) -> bool:
    """True for NumPy's arrays, False for CuPy's."""
    return isinstance(matrix, np.ndarray)


def on_host(values: Any) -> NDArray[Any]:
    """`values` as a NumPy array, copied if they lie on a device."""
    return np.asarray(values if lies_on_host(values) else library_of(values).asnumpy(values))


def chunk_of(matrix: Any, entries: int) -> int:
    """Entries to look at together: so many on the host, `DEVICE_CHUNK` on a device."""
    return entries if lies_on_host(matrix) else DEVICE_CHUNK


def row_chunks(matrix: Any, entries: int) -> Iterator[slice]:
    """Rows to look at together: `chunk_of` entries."""
    n, m = matrix.shape
    step = max(1, chunk_of(matrix, entries) // m)
    return (slice(i, min(i + step, n)) for i in range(0, n, step))


def first_true(wrong: Any) -> tuple[int, ...]:
    """Where a boolean array is true for the first time, in C order."""
    return tuple(map(int, np.unravel_index(int(wrong.argmax()), wrong.shape)))


class ModulesByName:
    """Base of frozen records that hold modules, which neither `copy` nor `pickle` takes: they travel by name."""

    def __getstate__(self) -> dict[str, tuple[bool, Any]]:
        return {
            name: (True, value.__name__) if isinstance(value, ModuleType) else (False, value)
            for name, value in self.__dict__.items()
        }

    def __setstate__(self, state: dict[str, tuple[bool, Any]]) -> None:
        for name, (module, value) in state.items():
            self.__dict__[name] = importlib.import_module(value) if module else value
