"""The primitives of `protocol` on a CUDA device: launches of kernels.cu through CuPy.

Matrices stay on the device; the vectors of a solver are NumPy arrays on the host and cross at each call, O(n + m). That
is little where it matters: a call is a block of up to 50 iterations, whose kernels are launched one after the other
without asking the device how they went. Work on the cells of a support (CSR) is done on the host in NumPy.

CuPy is imported when a device is asked for, never before.
"""

from __future__ import annotations

import functools

from ..errors import BackendUnavailable
from .gpu_batch import Batches
from .gpu_device import KERNELS, OPTIONS, SOURCE, WIDEST, CupyDevice, source
from .gpu_launches import THREADS
from .gpu_support import Supports
from .gpu_sweeps import LOOK, Sweeps

__all__ = ["KERNELS", "LOOK", "OPTIONS", "SOURCE", "THREADS", "WIDEST", "CupyDevice", "Gpu", "connect", "source"]


class Gpu(Sweeps, Supports, Batches):
    """`protocol.Backend` and `protocol.BatchBackend` on a device."""


@functools.cache
def connect() -> Gpu:
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
