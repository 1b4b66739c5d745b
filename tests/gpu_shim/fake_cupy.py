"""As much of CuPy as the GPU backend uses, on the shim: its arrays refuse to be computed with on the host."""

from __future__ import annotations

import types

import numpy as np

from . import Device

ACCEPTED = (np.int32, np.int64, np.uint64, np.float64)  # numbers that CuPy passes to a kernel in their own width


class ndarray(np.ndarray):
    """Memory of the device."""

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        raise TypeError("the host computes with memory of the device")

    def __array_function__(self, func, types, args, kwargs):
        raise TypeError("the host computes with memory of the device")


class CUDARuntimeError(RuntimeError):
    pass


class RawModule:
    def __init__(self, *, code, options, name_expressions):
        assert code.startswith("//")
        assert isinstance(options, tuple)
        self.names = name_expressions

    def get_function(self, name):
        assert name in self.names
        return RawKernel(name)


class RawKernel:
    max_dynamic_shared_size_bytes = 48 * 1024

    def __init__(self, name):
        self.name = name

    def __call__(self, grid, block, args, *, shared_mem):
        assert all(isinstance(x, (ndarray, *ACCEPTED)) for x in args), self.name
        null = [None if isinstance(x, np.uint64) and x == 0 else x for x in args]
        plain = tuple(x.view(np.ndarray) if isinstance(x, ndarray) else x for x in null)
        assert all(x.flags.c_contiguous for x in plain if isinstance(x, np.ndarray))
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        shim.launch(self.name, grid, block[0], plain, shared_mem)


shim = Device()


def empty(shape, dtype):
    return shim.empty(shape, dtype).view(ndarray)


def zeros(shape, dtype):
    return shim.zeros(shape, dtype).view(ndarray)


def asarray(values):
    return shim.put(np.asarray(values)).view(ndarray)


def asnumpy(values):
    assert isinstance(values, ndarray)
    return values.view(np.ndarray).copy()


def module(count=1, error=None):
    """It, with so many devices, or a driver that fails."""

    def devices():
        if error is not None:
            raise CUDARuntimeError(error)
        return count

    attributes = {"MultiProcessorCount": 3, "L2CacheSize": 1 << 15, "MaxSharedMemoryPerBlockOptin": 1 << 16}
    runtime = types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError, getDeviceCount=devices, getDevice=lambda: 0)
    cuda = types.SimpleNamespace(runtime=runtime, Device=lambda: types.SimpleNamespace(attributes=attributes))
    fake = types.ModuleType("cupy")
    fake.__dict__.update(
        cuda=cuda, ndarray=ndarray, RawModule=RawModule, empty=empty, zeros=zeros, asarray=asarray, asnumpy=asnumpy
    )
    return fake
