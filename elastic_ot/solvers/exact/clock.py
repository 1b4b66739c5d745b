"""The time limit of an exact solve, which has no iterate to return when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ...errors import ConvergenceError

Result = TypeVar("Result")
LOOK_SECONDS = 0.05  # seconds between two looks at the clock


class Clock:
    """Begins to run when it is made; `check` raises once the limit, in seconds, is over."""

    def __init__(self, time_limit: float | None = None) -> None:
        self.time_limit = time_limit
        self.began = 0.0 if time_limit is None else time.perf_counter()

    def check(self) -> None:
        """ConvergenceError once the limit is over."""
        if self.time_limit is not None and time.perf_counter() - self.began >= self.time_limit:
            raise ConvergenceError(
                f"time_limit of {self.time_limit:g} s passed before a proof was found, and nothing is returned without "
                "one; allow more time, or take the bounds of an entropic solve"
            )

    def watch(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What the function returns or raises. It runs in a thread, left to itself after the limit or Ctrl-C.

        The interpreter waits for it when it exits: compiled code must not outlive the arrays it reads.
        """
        found: list[Result] = []
        failed: list[Exception] = []

        def run() -> None:
            try:
                found.append(function(*arguments))
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while thread.is_alive():
            thread.join(LOOK_SECONDS)
            if thread.is_alive():
                self.check()
        if failed:
            raise failed[0]
        return found[0]
