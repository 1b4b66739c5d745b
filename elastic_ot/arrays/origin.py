"""The way back: the library that the cost came from, and results as arrays of it on its device."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .devices import ModulesByName, cuda_device, cupy
from .libraries import cuda_index, home_of, is_foreign, kind_of, namespace_of, refuse_tracer, where_is

HOST: AbstractContextManager[None] = nullcontext()


@dataclass(frozen=True, eq=False)
class Origin(ModulesByName):
    """The library that the cost came from, and how results go back to it.

    Attributes
    ----------
    namespace : module or None
        None is NumPy, to which nothing has to be done.
    dtype : object or None
        The dtype of results: the cost's, if it is a real one.
    index : int or None
        The number of the CUDA device; None is the host.
    """

    namespace: Any = None
    dtype: Any = None
    index: int | None = None

    def here(self) -> AbstractContextManager[None]:
        """A context whose work is done on the device of the cost, in the order of the library's other work there."""
        return HOST if self.index is None else on_device(self.index, getattr(self.namespace, "__name__", ""))

    def emit(self, values: NDArray[Any]) -> Any:
        """`values` in the library: the same memory where dtype and device are the same."""
        if self.namespace is None:
            return values
        xp = np if self.index is None else cupy()
        values = xp.asarray(values)
        if self.dtype is None:
            return self.namespace.from_dlpack(values)
        narrow = str(self.dtype).endswith(("float16", "float32"))  # before the library sees it: JAX has no float64
        out = self.namespace.from_dlpack(xp.ascontiguousarray(values, dtype=np.float32 if narrow else np.float64))
        if out.dtype == self.dtype:
            return out
        return out.astype(self.dtype) if hasattr(out, "astype") else self.namespace.astype(out, self.dtype)


@contextmanager
def on_device(index: int, library: str) -> Iterator[None]:
    """Work on a CUDA device, on PyTorch's current stream if that is the library, else on CuPy's."""
    cuda_device(index)  # says so if CuPy is missing
    cuda = cupy().cuda
    with cuda.Device(index):
        if not library.endswith("torch"):
            yield
            return
        with cuda.ExternalStream(sys.modules["torch"].cuda.current_stream(index).cuda_stream, index):
            yield


def origin_of(**arrays: Any) -> Origin:
    """Where arrays come from, the first one leading; sequences go with every library, the others do not mix."""
    found = {name: values for name, values in arrays.items() if isinstance(values, np.ndarray) or is_foreign(values)}
    if not found:
        return Origin()
    leader, first = next(iter(found.items()))
    for name, values in found.items():
        if home_of(values) != home_of(first):
            raise TypeError(
                f"{leader} is a {kind_of(first)}{where_is(first)} and {name} a {kind_of(values)}{where_is(values)}; "
                f"arrays must come from one library and one device"
            )
    if isinstance(first, np.ndarray):
        return Origin()
    refuse_tracer(leader, first)
    xp = namespace_of(first)
    real = str(first.dtype).split(".")[-1] in ("float16", "bfloat16", "float32", "float64")
    return Origin(xp, first.dtype if real else None, cuda_index(first))
