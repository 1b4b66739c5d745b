"""The primitives of `protocol` on a CUDA device: launches of kernels through CuPy.

Matrices stay on the device; the vectors of a solver are NumPy arrays on the host and cross at each call, O(n + m), by
one copy each way (`transfers`). That is little where it matters: a call is a block of up to 50 iterations, whose
kernels are launched one after the other without asking the device how they went.

CuPy is imported when a device is asked for, never before.
"""

from __future__ import annotations

import functools
from typing import Any

from ...arrays.devices import cuda_device
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
    return _connected(*cuda_device(device))


@functools.cache
def _connected(cupy: Any, index: int) -> Gpu:
    return Gpu(CupyDevice(cupy, index))


# As for any memoised function.
connect.cache_clear = _connected.cache_clear  # type: ignore[attr-defined]
