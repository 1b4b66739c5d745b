"""As much of CuPy as the GPU backend uses, on the shim, with two devices.

Arrays refuse to be computed with on the host and to be used while another device is current; a stream that is being
captured refuses to allocate and to wait. `MACHINE` says what went where, and lets memory run out.
"""

from __future__ import annotations

import time
import types
import weakref

import numpy as np

from . import Device as Shim

ACCEPTED = (np.int32, np.int64, np.uint64, np.float64)  # numbers that CuPy passes to a kernel in their own width
shim = Shim()


class CUDARuntimeError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


class Machine:
    """What is current, what happened, how much memory there is."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.device = 0
        self.streams = [[Stream.null], [Stream.null]]
        self.events = []  # (what, device, stream)
        self.ran, self.created = (
            set(),
            [],
        )  # streams on which something happened but to be captured; all but the default
        self.used, self.peak = [0, 0], [0, 0]  # bytes of arrays that are alive, now and at most
        self.cached = [0, 0]  # bytes that the pool keeps for later
        self.limit = float("inf")

    @property
    def stream(self):
        return self.streams[self.device][-1]

    def log(self, what):
        self.events.append((what, self.device, self.stream))
        if self.stream.captured is None:
            self.ran.add(self.stream)

    def waits(self, what):
        assert self.stream.captured is None, f"{what} while a stream is captured"
        self.log(what)

    def took(self, array):
        """`array` of the shim as one of the current device, if it fits."""
        owner, device = array, self.device
        while owner.base is not None:
            owner = owner.base
        if self.used[device] + self.cached[device] + owner.nbytes > self.limit:
            raise OutOfMemoryError
        self.used[device] += owner.nbytes
        self.peak[device] = max(self.peak[device], self.used[device])
        weakref.finalize(owner, _gave, self.used, device, owner.nbytes)
        result = array.view(ndarray)
        result.device_id = device
        return result


def _gave(used, device, size):
    used[device] -= size


class ndarray(np.ndarray):
    """Memory of a device."""

    device_id = None

    def __array_finalize__(self, base):
        self.device_id = getattr(base, "device_id", None)

    @property
    def device(self):
        return Device(self.device_id)

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)

    def set(self, values):
        assert self.device_id == MACHINE.device
        assert self.flags.c_contiguous
        assert (self.shape, self.dtype) == (values.shape, values.dtype)
        MACHINE.waits("put")
        self.view(np.ndarray)[...] = values

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        raise TypeError("the host computes with memory of the device")

    def __array_function__(self, func, types, args, kwargs):
        raise TypeError("the host computes with memory of the device")

    def __setitem__(self, where, values):
        assert isinstance(values, ndarray)
        assert self.device_id == values.device_id == MACHINE.device
        MACHINE.log("copy")
        self.view(np.ndarray)[where] = values.view(np.ndarray)


class Device:
    def __init__(self, id=None):
        self.id = MACHINE.device if id is None else id
        # the second one has more of everything
        self.attributes = {
            "MultiProcessorCount": 3 + self.id,
            "L2CacheSize": 1 << 15 + self.id,
            "MaxSharedMemoryPerBlockOptin": 1 << 16 + self.id,
        }

    def __enter__(self):
        self.before, MACHINE.device = MACHINE.device, self.id
        return self

    def __exit__(self, *args):
        MACHINE.device = self.before


class Stream:
    def __init__(self, null=False, non_blocking=False):
        self.default, self.non_blocking, self.captured = null, non_blocking, None
        if not null:
            MACHINE.created.append(self)

    def __enter__(self):
        MACHINE.streams[MACHINE.device].append(self)
        return self

    def __exit__(self, *args):
        MACHINE.streams[MACHINE.device].pop()

    def begin_capture(self):
        assert not self.default, "the default stream cannot be captured"
        assert self.captured is None
        self.captured = []

    def end_capture(self):
        graph, self.captured = Graph(self.captured, MACHINE.device), None
        return graph


class Graph:
    def __init__(self, calls, device):
        self.calls, self.device = calls, device

    def launch(self, stream=None):
        assert stream is None
        assert MACHINE.device == self.device
        MACHINE.waits("graph")
        for call in self.calls:
            call()


class Event:
    """A clock of the host, on which everything has happened by then."""

    def record(self, stream=None):
        self.time = time.perf_counter()

    def synchronize(self):
        MACHINE.waits("synchronize")


Stream.null = Stream(null=True)
MACHINE = Machine()


class RawModule:
    def __init__(self, *, code, options, name_expressions):
        assert code.startswith("//")
        assert isinstance(options, tuple)
        MACHINE.waits("compile")
        self.names = name_expressions

    def get_function(self, name):
        assert name in self.names
        return RawKernel(name, MACHINE.device)


class RawKernel:
    max_dynamic_shared_size_bytes = 48 * 1024

    def __init__(self, name, device):
        self.name, self.device = name, device

    def __call__(self, grid, block, args, *, shared_mem):
        assert all(isinstance(x, (ndarray, *ACCEPTED)) for x in args), self.name
        assert MACHINE.device == self.device, "a kernel of another device"
        assert {x.device_id for x in args if isinstance(x, ndarray)} <= {self.device}, "arrays of another device"
        null = [None if isinstance(x, np.uint64) and x == 0 else x for x in args]
        plain = tuple(x.view(np.ndarray) if isinstance(x, ndarray) else x for x in null)
        assert all(x.flags.c_contiguous for x in plain if isinstance(x, np.ndarray))
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        MACHINE.log(self.name)
        if MACHINE.stream.captured is None:
            shim.launch(self.name, grid, block[0], plain, shared_mem)
        else:
            MACHINE.stream.captured.append(lambda: shim.launch(self.name, grid, block[0], plain, shared_mem))


def empty(shape, dtype):
    MACHINE.waits("empty")
    return MACHINE.took(shim.empty(shape, dtype))


def zeros(shape, dtype):
    MACHINE.waits("zeros")
    return MACHINE.took(shim.zeros(shape, dtype))


def asarray(values, order=None):
    if isinstance(values, ndarray) and values.device_id == MACHINE.device and values.flags.c_contiguous:
        return values
    MACHINE.waits("put")
    return MACHINE.took(shim.put(values.view(np.ndarray) if isinstance(values, ndarray) else np.asarray(values)))


def asnumpy(values):
    assert isinstance(values, ndarray)
    assert values.device_id == MACHINE.device
    MACHINE.waits("get")
    return values.view(np.ndarray).copy()


def module(count=2, error=None):
    """It, with so many devices, or a driver that fails."""

    def devices():
        if error is not None:
            raise CUDARuntimeError(error)
        return count

    def free_all_blocks():
        MACHINE.cached[MACHINE.device] = 0
        MACHINE.peak[MACHINE.device] = MACHINE.used[MACHINE.device]

    def free_memory():
        device = MACHINE.device
        return int(MACHINE.limit - MACHINE.used[device] - MACHINE.cached[device]), int(MACHINE.limit)

    MACHINE.reset()
    runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=devices,
        getDevice=lambda: MACHINE.device,
        memGetInfo=free_memory,
        getDeviceProperties=lambda device: {
            "name": b"a stand-in",
            "totalGlobalMem": 1 << 30,
            "multiProcessorCount": 3,
            "l2CacheSize": 1 << 15,
        },
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
    )
    memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    cuda = types.SimpleNamespace(runtime=runtime, memory=memory, Device=Device, Stream=Stream, Event=Event)
    cuda.get_elapsed_time = lambda begin, end: 1e3 * (end.time - begin.time)
    fake = types.ModuleType("cupy")
    fake.__dict__.update(
        cuda=cuda, ndarray=ndarray, RawModule=RawModule, empty=empty, zeros=zeros, asarray=asarray, asnumpy=asnumpy
    )
    pool = types.SimpleNamespace(free_all_blocks=free_all_blocks, total_bytes=lambda: MACHINE.peak[MACHINE.device])
    fake.get_default_memory_pool = lambda: pool
    fake.__version__ = "0"
    return fake
