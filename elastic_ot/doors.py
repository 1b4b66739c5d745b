"""What applications and other libraries know of each other: operators by their library, host functions by their name.

Operators are imported when arrays of theirs come along, and by statements: torch.compile traces those, and no call of
`importlib`. Host functions are called by operators that a graph can hold.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

HOST_FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""Functions of NumPy arrays and integers that return integers."""


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
        from . import torch as operators
    else:
        from . import jax as operators  # type: ignore[no-redef]
    return operators


def host_function(function: Function) -> Function:
    """`function`, to be called by its name."""
    HOST_FUNCTIONS[function.__name__] = function
    return function
