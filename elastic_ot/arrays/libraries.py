"""What kind of array came in: whose library, on which device; nothing of it is imported for that."""

from __future__ import annotations

import sys
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from .devices import cupy
from .half import BRAIN

KNOWS_BRAIN = 14  # the version of CuPy that can share bfloat16; earlier ones are not to be asked
CUDA = 2, 13  # DLPack's numbers of device memory and of managed memory


def is_bfloat16(values: Any) -> bool:
    """True for arrays of bfloat16, whatever library calls it so."""
    return str(getattr(values, "dtype", "")).endswith("bfloat16")


def shared(values: Any) -> NDArray[Any]:
    """Return an array of CuPy that shares the memory of `values` on a device."""
    found: NDArray[Any] = values if isinstance(values, cupy().ndarray) else cupy().from_dlpack(values)
    return found


def shared_bits(values: Any) -> NDArray[Any] | None:
    """The bits of bfloat16, shared; None if CuPy has no such dtype, which it needs for all but PyTorch's tensors."""
    if library_name(values) == "torch":
        return shared(values.view(sys.modules["torch"].int16)).view(BRAIN)
    if int(cupy().__version__.partition(".")[0]) < KNOWS_BRAIN:
        return None
    try:
        return shared(values).view(BRAIN)
    except (NotImplementedError, TypeError):  # without ml_dtypes
        return None


def cuda_index(values: Any) -> int | None:
    """The number of the CUDA device, None elsewhere."""
    kind, index = values.__dlpack_device__()
    return int(index) if int(kind) in CUDA else None


def refuse_tracer(name: str, values: Any) -> None:
    """TypeError for what JAX traces: its numbers are not known."""
    if is_tracer(values):
        raise TypeError(
            f"{name} is a JAX tracer, and this call needs the numbers; call it outside of jit, grad and vmap, or call "
            f"an operator such as elastic_ot.jax.plan, elastic_ot.jax.value or elastic_ot.jax.divergence"
        )


def is_tracer(values: Any) -> bool:
    """True for tracers of JAX, without importing it."""
    return any(base.__name__ == "Tracer" and base.__module__.startswith("jax") for base in type(values).__mro__)


def is_abstract(values: Any) -> bool:
    """True for what has no numbers: a tracer of JAX, or a tensor that stands for many or none, or in a graph."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(values, torch.Tensor):
        return is_tracer(values)
    if torch.compiler.is_compiling():  # whose tracer does not look into what follows
        return True
    keys, kinds = torch._C._dispatch_keys(values), torch._C.DispatchKey
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(values)
    return bool(wrapped or not (keys.has(kinds.CPU) or keys.has(kinds.CUDA)))


def converted(values: Any, dtype: str) -> Any:
    """In another dtype, by the functions of its own library."""
    xp = namespace_of(values)
    return xp.astype(values, getattr(xp, dtype)) if hasattr(xp, "astype") else values.astype(getattr(xp, dtype))


def namespace_of(values: Any) -> Any:
    """The library's functions; CuPy itself has all that is needed of them."""
    return cupy() if library_name(values) == "cupy" else array_api_compat.array_namespace(values)


def library_name(values: Any) -> str:
    """The name of the top-level module that the array's type comes from."""
    return type(values).__module__.split(".")[0].removesuffix("lib")


def kind_of(values: Any) -> str:
    """The full name of the type, for messages."""
    return f"{type(values).__module__}.{type(values).__name__}"


def is_foreign(values: Any) -> bool:
    """True for arrays of another library; what offers its memory by DLPack and has no functions is as good as NumPy."""
    return hasattr(values, "__dlpack__") and array_api_compat.is_array_api_obj(values)


def home_of(values: Any) -> tuple[str, str]:
    """Library and device: arrays of one call must agree in both."""
    return library_name(values), where_is(values)


def where_is(values: Any) -> str:
    """Return what messages say of the device, nothing for NumPy."""
    known = not isinstance(values, np.ndarray) and array_api_compat.is_array_api_obj(values)
    return f" on {array_api_compat.device(values)}" if known else ""
