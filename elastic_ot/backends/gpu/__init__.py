"""The primitives of `protocol` on a CUDA device: launches of kernels through CuPy.

Matrices stay on the device; the vectors of a solver are NumPy arrays on the host and cross at each call, O(n + m), by
one copy each way (`transfers`). That is little where it matters: a call is a block of up to 50 iterations, whose
kernels are launched one after the other without asking the device how they went.

CuPy is imported when a device is asked for, never before.
"""

from __future__ import annotations

import functools
from typing import Any

from ...errors import BackendUnavailable
from .batch import Batches
from .device import KERNELS, OPTIONS, WIDEST, CupyDevice
from .kernels import source
from .launches import THREADS
from .sparse import Products
from .support import Supports
from .sweeps import LOOK, Sweeps

__all__ = ["KERNELS", "LOOK", "OPTIONS", "THREADS", "WIDEST", "CupyDevice", "Gpu", "connect", "source"]


class Gpu(Sweeps, Supports, Products, Batches):
    """`protocol.Backend` and `protocol.BatchBackend` on a device."""


def connect(device: int | None = None) -> Gpu:
    """The backend on CUDA device number `device`, by default CuPy's current one; the same object at every call.

    Everything happens on that device, on CuPy's current stream of it, whatever device is current at the call.

    Raises
    ------
    BackendUnavailable
        If CuPy or the device is missing.
    """
    cupy = _cupy()
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendUnavailable(f"the GPU backend finds no CUDA device: {error}") from error
    if not devices:
        raise BackendUnavailable("the GPU backend finds no CUDA device; without one, pass NumPy arrays")
    index = int(cupy.cuda.runtime.getDevice()) if device is None else device
    if not 0 <= index < devices:
        raise BackendUnavailable(f"there is no CUDA device {index}; this machine has {devices}, counted from 0")
    return _connected(cupy, index)


def _cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        raise BackendUnavailable(
            "the GPU backend needs CuPy, which cannot be imported; pip install 'elastic-ot[cuda13x]', or [cuda12x] for "
            f"a driver of CUDA 12 ({error})"
        ) from error
    return cupy


@functools.cache
def _connected(cupy: Any, index: int) -> Gpu:
    return Gpu(CupyDevice(cupy, index))


# As for any memoised function.
connect.cache_clear = _connected.cache_clear  # type: ignore[attr-defined]
