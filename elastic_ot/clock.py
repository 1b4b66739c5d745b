"""The time limit of an exact solve, which has no iterate to return when it is over."""

from __future__ import annotations

import time

from .errors import ConvergenceError


class Clock:
    """Begins to run when it is made; `check` raises once the limit, in seconds, is over."""

    def __init__(self, time_limit: float | None = None) -> None:
        self.time_limit = time_limit
        self.began = time.perf_counter()

    def check(self) -> None:
        """ConvergenceError once the limit is over."""
        if self.time_limit is not None and time.perf_counter() - self.began >= self.time_limit:
            raise ConvergenceError(
                f"time_limit of {self.time_limit:g} s passed before a proof was found, and nothing is returned without "
                "one; allow more time, or take the bounds of an entropic solve"
            )
