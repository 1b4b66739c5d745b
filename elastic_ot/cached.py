"""Properties computed once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

T = TypeVar("T")


class cached_property(functools.cached_property[T]):
    """functools.cached_property as it is from Python 3.12 on: without a lock.

    Before, all instances of a class share one, so that threads wait for each other, and a process forked meanwhile
    inherits it locked.
    """

    def __init__(self, func: Callable[[Any], T]) -> None:
        super().__init__(func)
        self.lock = nullcontext()
