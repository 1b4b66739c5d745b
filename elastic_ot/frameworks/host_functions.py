"""Host functions that an operator in a graph can call by their name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
HOST_FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""Functions of NumPy arrays and integers that return integers."""


def host_function(function: Function) -> Function:
    """Register `function`, so that it can be called by its name."""
    HOST_FUNCTIONS[function.__name__] = function
    return function
