"""As much of CuPy as solves use, on the shim. Its arrays are none of NumPy's: only `asarray` and `asnumpy` cross.

`crossed` lists the sizes of what went to the host, `sent` of what came from there. `watched`, if it is a list, gets all
arrays. Memory of a device that is not the current one is not computed with.
"""

from __future__ import annotations

import operator
import types

import array_api_compat.numpy as numpy_standard
import numpy as np

from . import Device as Shim

shim = Shim()
crossed: list[int] = []
watched: list[np.ndarray] | None = None
sent: list[int] = []


class ndarray:
    """Memory of the device; computes with its like and with numbers, as CuPy's does."""

    __array_ufunc__ = None

    def __init__(self, held, index=0, base=None):
        self.held, self.index, self.base = held, index, base
        if watched is not None:
            watched.append(held)

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    shape = property(lambda self: self.held.shape)
    dtype = property(lambda self: self.held.dtype)
    ndim = property(lambda self: self.held.ndim)
    size = property(lambda self: self.held.size)
    nbytes = property(lambda self: self.held.nbytes)
    strides = property(lambda self: self.held.strides)
    T = property(lambda self: ndarray(self.held.T, self.index))
    device = property(lambda self: Device(self.index))
    data = property(lambda self: types.SimpleNamespace(ptr=self.held.ctypes.data))
    itemsize = property(lambda self: self.held.itemsize)

    def set(self, values):
        assert (self.shape, self.dtype) == (values.shape, values.dtype)
        self.held[...] = values

    def _viewed(self, held):
        return ndarray(held, self.index, self if self.base is None else self.base)

    def view(self, dtype):
        return self._viewed(self.held.view(dtype))

    def reshape(self, *shape):
        return self._viewed(self.held.reshape(*shape))

    @property
    def flags(self):
        flags = self.held.flags
        return types.SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous)

    def __dlpack__(self, **options):
        return self.held

    def __dlpack_device__(self):
        return 2, self.index

    def __len__(self):
        return len(self.held)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self._viewed(self.held[index])
        return _made(self.held[_index(index)], self.index)

    def __setitem__(self, index, value):
        self.held[_index(index)] = _plain(value)

    def __bool__(self):
        return bool(self.held)

    def __float__(self):
        return float(self.held)

    def __int__(self):
        return int(self.held)

    def __format__(self, spec):
        return format(self.held[()], spec)


def _plain(value):
    """What NumPy computes with in place of an argument; refuses memory of the host."""
    if isinstance(value, ndarray):
        return value.held
    if isinstance(value, tuple | list):
        return type(value)(map(_plain, value))
    if isinstance(value, np.ndarray):
        raise TypeError("the device computes with memory of the host")
    return value


def _index(index):
    return tuple(map(_index, index)) if isinstance(index, tuple) else _plain(index)


def _made(found, index):
    """As an array of the device, numbers as well."""
    if isinstance(found, tuple):
        parts = [_made(x, index) for x in found]
        return type(found)(*parts) if hasattr(found, "_fields") else tuple(parts)
    return ndarray(np.asarray(found), index)


def _lifted(function):
    def call(*args, **kwargs):
        kwargs = {name: _plain(x) for name, x in kwargs.items() if not isinstance(x, Device)}
        assert {x.index for x in args if isinstance(x, ndarray)} <= {Device.current}, "memory of another device"
        return _made(function(*_plain(args), **kwargs), Device.current)

    return call


for _name in ("add", "sub", "mul", "truediv", "pow", "matmul", "and_", "or_"):
    _function, _dunder = getattr(operator, _name), _name.rstrip("_")
    setattr(ndarray, f"__{_dunder}__", _lifted(_function))
    setattr(ndarray, f"__r{_dunder}__", _lifted(lambda x, y, _function=_function: _function(y, x)))
for _name in ("eq", "ne", "lt", "le", "gt", "ge", "neg", "invert", "abs"):
    setattr(ndarray, f"__{_name}__", _lifted(getattr(operator, _name)))
for _name in ("any", "all", "min", "max", "sum", "argmax", "astype", "copy", "ravel"):
    setattr(ndarray, _name, _lifted(getattr(np.ndarray, _name)))


def _in_place(function):
    def call(self, other):
        self.held = function(self.held, _plain(other))
        return self

    return call


for _name in ("iadd", "isub", "imul", "itruediv", "ior", "iand", "ilshift"):
    setattr(ndarray, f"__{_name}__", _in_place(getattr(operator, _name)))
ndarray.__module__ = "cupy"


class Device:
    """Device number `index`, which a context makes the current one."""

    current = 0

    def __init__(self, index=None):
        self.id = Device.current if index is None else index
        self.attributes = {
            "MultiProcessorCount": shim.multiprocessors,
            "L2CacheSize": shim.cache,
            "MaxSharedMemoryPerBlockOptin": 1 << 16,
        }

    def __enter__(self):
        self.before, Device.current = Device.current, self.id
        return self

    def __exit__(self, *error):
        Device.current = self.before

    def __str__(self):
        return f"<CUDA Device {self.id}>"


class Stream:
    """What is launched while it is captured is kept, to be launched by the graph."""

    captured = None

    def __init__(self, **options):
        self.calls = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def begin_capture(self):
        Stream.captured = self.calls

    def end_capture(self):
        Stream.captured = None
        return types.SimpleNamespace(launch=lambda: [call() for call in self.calls])


class RawKernel:
    max_dynamic_shared_size_bytes = 48 * 1024

    def __init__(self, name):
        self.name = name

    def __call__(self, grid, block, args, *, shared_mem):
        assert {x.index for x in args if isinstance(x, ndarray)} <= {Device.current}, "memory of another device"
        null = [None if isinstance(x, np.uint64) and x == 0 else x for x in args]
        plain = tuple(x.held if isinstance(x, ndarray) else x for x in null)
        assert all(x.flags.c_contiguous if isinstance(x, np.ndarray) else np.isscalar(x) or x is None for x in plain)

        def launch():
            shim.launch(self.name, grid, block[0], plain, shared_mem)

        launch() if Stream.captured is None else Stream.captured.append(launch)


class RawModule:
    def __init__(self, *, code, options, name_expressions):
        self.names = name_expressions

    def get_function(self, name):
        assert name in self.names
        return RawKernel(name)


FUNCTION_TYPES = types.FunctionType | types.BuiltinFunctionType | np.ufunc | type(np.sum)


class OutOfMemoryError(MemoryError):
    """Never raised here."""


def asarray(values, dtype=None, order=None):
    if isinstance(values, ndarray):
        same = dtype in (None, values.dtype) and (order != "C" or values.flags.c_contiguous)
        return values if same else ndarray(np.array(values.held, dtype, order="C"), values.index)
    sent.append(np.size(values))
    return ndarray(shim.put(np.asarray(values, dtype)), Device.current)


def asnumpy(values):
    assert isinstance(values, ndarray)
    crossed.append(values.size)
    return values.held.copy()


def from_dlpack(values):
    assert values.__dlpack_device__()[0] == 2
    return ndarray(values.__dlpack__(stream=None), values.__dlpack_device__()[1])


FUNCTIONS = (
    *("isfinite", "isnan", "where", "concatenate", "zeros_like", "empty_like", "einsum", "argpartition", "stack"),
    *("take_along_axis", "ascontiguousarray", "multiply", "add", "eye", "sqrt", "ix_", "array", "arange", "matmul"),
    *("broadcast_to", "swapaxes", "abs"),
)


def standard():
    """The array API standard on it, as array_api_compat has that of CuPy."""
    xp = types.ModuleType("array_api_compat.cupy")
    for name in dir(numpy_standard):
        function = getattr(numpy_standard, name)
        xp.__dict__[name] = _lifted(function) if isinstance(function, FUNCTION_TYPES) else function
    xp.asarray = asarray
    return xp


def module():
    """It, as `import cupy` finds it."""
    made = types.ModuleType("cupy")
    made.__version__ = "14.2.0"
    made.__dict__.update({name: _lifted(getattr(np, name)) for name in FUNCTIONS})
    linalg = types.SimpleNamespace(eigh=_lifted(np.linalg.eigh))
    runtime = types.SimpleNamespace(
        CUDARuntimeError=RuntimeError, getDeviceCount=lambda: 2, getDevice=lambda: Device.current
    )
    memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    cuda = types.SimpleNamespace(runtime=runtime, memory=memory, Device=Device, Stream=Stream)
    made.__dict__.update(
        cuda=cuda,
        linalg=linalg,
        ndarray=ndarray,
        RawModule=RawModule,
        asarray=asarray,
        asnumpy=asnumpy,
        from_dlpack=from_dlpack,
        empty=lambda shape, dtype=float: ndarray(shim.empty(shape, dtype), Device.current),
        zeros=lambda shape, dtype=float: ndarray(shim.zeros(shape, dtype), Device.current),
    )
    return made
