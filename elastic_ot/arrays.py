"""The array boundary: what came in, as NumPy arrays that kernels can read, copied only where there is no other way."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray


def ingest_cost(cost: Any) -> NDArray[np.floating]:
    """`cost` as a float32 or float64 matrix in C or Fortran order.

    float16 becomes float32, integers and booleans float64; a strided view (neither order) is copied, everything else
    is used as it lies in memory, read-only arrays included.
    """
    matrix = as_numpy("cost", cost)
    if matrix.ndim != 2:
        raise ValueError(f"cost has shape {matrix.shape}; it must be a matrix (n, m)")
    if matrix.size == 0:
        raise ValueError(f"cost has shape {matrix.shape}; it must have at least one row and one column")
    matrix = matrix.astype(_working_dtype("cost", matrix.dtype), copy=False)
    if not (matrix.flags.c_contiguous or matrix.flags.f_contiguous) or not matrix.flags.aligned:
        matrix = np.array(matrix, order="C")
    return matrix


def ingest_vector(name: str, values: Any) -> NDArray[np.float64]:
    """Weights or potentials as a float64 vector of their own."""
    vector = as_numpy(name, values)
    if vector.ndim != 1:
        raise ValueError(f"{name} has shape {vector.shape}; it must be a vector")
    _working_dtype(name, vector.dtype)
    return vector.astype(np.float64)


def ingest_mask(mask: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """`mask` as a boolean matrix of the cost's shape."""
    array = as_numpy("mask", mask)
    if array.dtype != np.bool_:
        raise TypeError(f"mask has dtype {array.dtype}; it must be bool (True = allowed)")
    if array.shape != shape:
        raise ValueError(f"mask has shape {array.shape}, cost has shape {shape}; they must be equal")
    return array


def ingest_number(name: str, value: Any) -> float:
    """A real number, from Python or NumPy."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    return float(value)


def as_numpy(name: str, values: Any) -> NDArray[Any]:
    """`values` as a NumPy array; other libraries' arrays are refused by name."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; pass the data and mask=~array.mask")
    if isinstance(values, np.ndarray):
        return np.asarray(values)
    if hasattr(values, "__dlpack__") or hasattr(values, "toarray"):
        kind = f"{type(values).__module__}.{type(values).__name__}"
        raise TypeError(f"{name} is a {kind}; this release takes NumPy arrays, convert it first")
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} is not a rectangular array of numbers") from None


def _working_dtype(name: str, dtype: np.dtype[Any]) -> type[np.floating]:
    """float32 for half and single precision, float64 for the rest of the real numbers."""
    if dtype.kind in "biu":
        return np.float64
    if dtype.kind == "f":
        return np.float32 if dtype.itemsize <= 4 else np.float64
    raise TypeError(f"{name} has dtype {dtype}; it must hold real numbers")
