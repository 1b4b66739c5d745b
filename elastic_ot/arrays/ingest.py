"""The array boundary: what came in, as arrays that kernels can read where they lie, and how results go back.

On the host that is NumPy, on a CUDA device CuPy; both share the memory of what came in by DLPack, and nothing is copied
where there is another way. Other libraries are reached through the arrays themselves and never imported.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from .devices import cuda_device, library_of, lies_on_host, on_host
from .half import widened
from .libraries import (
    converted,
    cuda_index,
    is_bfloat16,
    is_foreign,
    is_tracer,
    kind_of,
    refuse_tracer,
    shared,
    shared_bits,
    where_is,
)


def ingest_cost(cost: Any) -> NDArray[np.floating]:
    """`cost` as a float32 or float64 matrix in C or Fortran order; on a device one of 16 bits stays so, see `halves`.

    On the host these become float32. Integers and booleans become float64; a strided view (neither order) is copied,
    everything else is used as it lies in memory, read-only arrays included.
    """
    matrix = _stored("cost", cost)
    if matrix.ndim != 2:
        raise ValueError(f"cost has shape {matrix.shape}; it must be a matrix (n, m)")
    if matrix.size == 0:
        raise ValueError(f"cost has shape {matrix.shape}; it must have at least one row and one column")
    return in_order(matrix)


def ingest_stack(name: str, cost: Any, least: int) -> NDArray[np.floating]:
    """Matrices (..., n, m) in C order, in what `ingest_cost` has; anything else is copied."""
    stack = _stored(name, cost)
    if stack.ndim < least or stack.size == 0:
        raise ValueError(f"{name} has shape {stack.shape}; it must be (..., n, m), and none of these may be 0")
    return _by_rows(stack)


def _stored(name: str, cost: Any) -> NDArray[Any]:
    """In the dtype in which it is read by kernels."""
    if is_foreign(cost) and not isinstance(cost, np.ndarray) and is_bfloat16(cost):
        return _from_dlpack(name, cost, bits=True)
    array = as_array(name, cost)
    if array.dtype == np.float16 and not lies_on_host(array):
        return array
    return array.astype(_working_dtype(name, array.dtype), copy=False)


def in_order(matrix: NDArray[Any]) -> NDArray[Any]:
    """In C or Fortran order, copied if it was in neither."""
    return matrix if matrix.flags.f_contiguous and _aligned(matrix) else _by_rows(matrix)


def _by_rows(matrix: NDArray[Any]) -> NDArray[Any]:
    """Return a matrix in C order, copied if it was not."""
    if matrix.flags.c_contiguous and _aligned(matrix):
        return matrix
    copied: NDArray[Any] = library_of(matrix).array(matrix, order="C")
    return copied


def _aligned(matrix: NDArray[Any]) -> bool:
    """Return True if the entries are aligned in memory, as those on a device always are."""
    return bool(getattr(matrix.flags, "aligned", True))


def ingest_vector(name: str, values: Any) -> NDArray[np.float64]:
    """Weights or potentials as a float64 vector of their own."""
    vector = as_numpy(name, values)
    if vector.ndim != 1:
        raise ValueError(f"{name} has shape {vector.shape}; it must be a vector{of_points(vector)}")
    _working_dtype(name, vector.dtype)
    return vector.astype(np.float64)


def ingest_points(name: str, points: Any) -> NDArray[np.floating]:
    """Points (..., n, d) in C order on the host, in float32 or float64: what `ingest_cost` has for their dtype."""
    array = as_numpy(name, points)
    check_points(name, array.shape)
    return np.ascontiguousarray(array, dtype=_working_dtype(name, array.dtype))


def check_points(name: str, shape: Sequence[int]) -> None:
    """Refuse a shape that is not that of points."""
    if len(shape) < 2:
        advice = f"; a point a number is {name}[:, None]" if len(shape) == 1 else ""
        raise ValueError(f"{name} has shape {tuple(shape)}; it must be points (n, d) or (..., n, d){advice}")
    if 0 in shape:
        raise ValueError(f"{name} has shape {tuple(shape)}; it must be at least one point with one coordinate")


def is_real(array: NDArray[Any]) -> bool:
    """Return True for dtypes that float64 stands for."""
    return array.dtype.kind in "fiub" and array.dtype.itemsize <= 8


def put_weights(given: Any, out: NDArray[np.float64]) -> bool:
    """Write weights (n,) or (..., n) to `out` (..., n), uniform ones for None; False for anything unusual, unread."""
    if given is None:
        out[...] = 1.0 / out.shape[-1]
        return True
    if type(given) is not np.ndarray or not is_real(given) or given.shape not in (out.shape, out.shape[-1:]):
        return False
    out[...] = given
    return True


def ingest_mask(mask: Any, matrix: NDArray[Any]) -> NDArray[np.bool_]:
    """`mask` as a boolean matrix of the cost's shape, where the cost lies."""
    array = beside("mask", mask, matrix)
    if array.dtype != np.bool_:
        raise TypeError(f"mask has dtype {array.dtype}; it must be bool (True = allowed)")
    if array.shape != matrix.shape:
        raise ValueError(f"mask has shape {array.shape}, cost has shape {matrix.shape}; they must be equal")
    return array


def ingest_bar(
    name: str, values: Any, shape: tuple[int, ...], narrow: bool = False, like: NDArray[Any] | None = None
) -> NDArray[Any] | None:
    """A derivative of the shape of what it belongs to, in float64; in single precision if `narrow` and it came so.

    One of a matrix must lie where the matrix `like` does, others come to the host.
    """
    if values is None:
        return None
    array = as_numpy(name, values) if like is None else beside(name, values, like)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; it must have that of what it differentiates, {shape}")
    dtype = _working_dtype(name, array.dtype)
    return array.astype(dtype if narrow else np.float64, copy=False)


def ingest_number(name: str, value: Any) -> float:
    """A real number, from Python or NumPy."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    return float(value)


def beside(name: str, values: Any, matrix: NDArray[Any]) -> NDArray[Any]:
    """An array that must lie where the matrix does, as `as_array` has it; sequences are moved there."""
    array = as_array(name, values)
    if not (isinstance(values, np.ndarray) or is_foreign(values)):
        moved: NDArray[Any] = library_of(matrix).asarray(array)
        return moved
    here, there = _place(array), _place(matrix)
    if here != there:
        raise TypeError(f"{name} is on {here} and the cost on {there}; they must be in one place")
    return array


def _place(array: Any) -> str:
    return "the host" if lies_on_host(array) else f"cuda:{array.device.id}"


def of_points(array: NDArray[Any]) -> str:
    """The end of a message where a matrix stands that has no place there, as in `solve(x, y)`."""
    return "; points are passed as PointCloud(x, y)" if array.ndim == 2 else ""


def as_numpy(name: str, values: Any) -> NDArray[Any]:
    """`values` on the host: for vectors and numbers, which are copied there from a device."""
    return on_host(as_array(name, values))


def refuse_devices(call: str, **arrays: Any) -> None:
    """Refuse tracers, tensors that require grad and arrays of a device: `call` computes on the host, from numbers."""
    for name, values in arrays.items():
        if isinstance(values, np.ndarray):
            continue
        if is_tracer(values):
            raise TypeError(
                f"{name} is a JAX tracer, and {call} needs the numbers; call it outside of jit, grad and vmap"
            )
        if getattr(values, "requires_grad", False):
            raise TypeError(f"{name} requires grad, and {call} is not differentiated; pass {name}.detach()")
        if is_foreign(values) and cuda_index(values) is not None:
            raise TypeError(f"{name} is{where_is(values)}; {call} computes on the host, move it there first")


def as_array(name: str, values: Any) -> NDArray[Any]:
    """`values` as a NumPy array, or on a device as one of CuPy, that shares their memory; by DLPack."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; pass the data and mask=~array.mask")
    if isinstance(values, np.ndarray):
        return np.asarray(values)
    if hasattr(values, "__dlpack__"):
        return _from_dlpack(name, values)
    if hasattr(values, "toarray"):
        raise TypeError(f"{name} is a {kind_of(values)}; sparse matrices are not supported, convert it first")
    refuse_tracer(name, values)
    if callable(values):
        raise TypeError(f"{name} is a function; costs that are computed are an elastic_ot.FunctionCost(function, x, y)")
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} is not a rectangular array of numbers") from None


def _from_dlpack(name: str, values: Any, bits: bool = False) -> NDArray[Any]:
    """Shared; bfloat16 in float32, copied, or as its `bits` in uint16 if it lies on a device."""
    refuse_tracer(name, values)
    if getattr(values, "requires_grad", False):
        raise TypeError(
            f"{name} requires grad, and this call is not differentiated; pass {name}.detach(), or call an operator "
            f"such as elastic_ot.torch.plan, elastic_ot.torch.value or elastic_ot.torch.divergence"
        )
    index = cuda_index(values)
    known = array_api_compat.is_array_api_obj(values)
    if int(values.__dlpack_device__()[0]) != 1 and (index is None or not known):
        place = where_is(values) or f" a {kind_of(values)} on a device"
        raise TypeError(f"{name} is{place}; it must be in the memory of the host or of a CUDA device")
    if not known:
        return np.from_dlpack(values)
    if index is not None:
        cuda_device(index)
    if is_bfloat16(values):
        found = None if index is None else shared_bits(values)
        if found is not None:
            return found if bits else widened(found)
        values = converted(values, "float32")
    if index is None:
        return np.from_dlpack(values)
    return shared(values)


def _working_dtype(name: str, dtype: np.dtype[Any]) -> type[np.floating]:
    """What is computed with: float32 for half and single precision, float64 for the rest of the real numbers."""
    if dtype.kind in "biu":
        return np.float64
    if dtype.kind == "f":
        return np.float32 if dtype.itemsize <= 4 else np.float64
    raise TypeError(f"{name} has dtype {dtype}; it must hold real numbers")
