"""Which library's operators serve an array; they are imported when arrays of theirs come along.

By statements: torch.compile traces those, and no call of `importlib`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Literal


def is_torch(values: Any) -> bool:
    """True for tensors of PyTorch. Asked before array_api_compat is, whose caches torch.compile warns of."""
    library = sys.modules.get("torch")
    return library is not None and isinstance(values, library.Tensor)


def torch_namespace() -> ModuleType:
    """The functions of the array API for tensors."""
    import array_api_compat.torch as functions

    found: ModuleType = functions
    return found


def operators_of(library: Literal["torch", "jax"]) -> ModuleType:
    """`elastic_ot.torch` or `elastic_ot.jax`."""
    if library == "torch":
        from . import torch_operators as operators
    else:
        from . import jax_operators as operators  # type: ignore[no-redef]
    return operators


def arrays_of(library: Literal["torch", "jax"]) -> ModuleType:
    """What applications ask of arrays beyond the array API."""
    if library == "torch":
        from . import torch_arrays as functions
    else:
        from . import jax_arrays as functions  # type: ignore[no-redef]
    return functions
