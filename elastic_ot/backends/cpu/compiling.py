"""What Numba compiles: announced when it begins, listed, and where it is kept.

A listener of Numba's event of a compilation: it is called when something is compiled, and neither when machine code is
loaded from the cache nor when it runs. Meanwhile Python's collector of cyclic garbage rests: compiling makes millions
of objects that live until it is done, and looking through them again and again would take a tenth of the time. Ctrl-C
is kept while Numba works, and answered between its passes.
"""

from __future__ import annotations

import gc
import logging
from typing import Any

from numba.core import event
from numba.core.caching import FunctionCache

from ..interrupts import interrupts_kept

logger = logging.getLogger("elastic_ot")


class _Announcer(event.Listener):
    """Called under Numba's lock, so by one thread at a time."""

    def __init__(self) -> None:
        self.depth = 0  # functions that a kernel calls are compiled within it
        self.compiled: list[str] = []
        self.collects = False

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        package, _, module = function.__module__.rpartition(".")
        if self.depth == 0 and package == __package__:
            self.compiled.append(f"{module}.{function.__name__.lstrip('_')}")
            logger.info("compiling %s: this happens once, then it is loaded from %s", self.compiled[-1], folder())
            self.collects = gc.isenabled()
            gc.disable()
        self.depth += 1

    def on_end(self, event: Any) -> None:
        self.depth -= 1
        if self.depth == 0 and self.collects:
            self.collects = False
            gc.enable()


class _Keeper(event.Listener):
    """Called as Numba's lock is asked for and once it is free again, whether it compiles or loads."""

    def on_start(self, event: Any) -> None:
        interrupts_kept.__enter__()

    def on_end(self, event: Any) -> None:
        interrupts_kept.__exit__()


class _Answerer(event.Listener):
    """Called around each pass over a function."""

    def on_start(self, event: Any) -> None:
        interrupts_kept.answer()

    def on_end(self, event: Any) -> None:
        pass


_announcer = _Announcer()
for kind, listener in (
    ("numba:compile", _announcer),
    ("numba:compiler_lock", _Keeper()),
    ("numba:run_pass", _Answerer()),
):
    event.register(kind, listener)  # type: ignore[no-untyped-call]


def compiled() -> list[str]:
    """Names of the kernels that this process has compiled, in order and once for each signature."""
    return list(_announcer.compiled)


def folder() -> str:
    """Where Numba keeps the machine code of the kernels: beside them, or in the user's cache if that is read-only."""
    return str(FunctionCache(folder).cache_path)  # type: ignore[no-untyped-call]
