"""Ctrl-C where it would break what it falls into: it is kept until that is done.

What is half imported stays so for the rest of the process, and LLVM asks Python for the machine code that a cache holds
by a call that swallows what it raises: the process dies of it a moment later.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType


class _Kept:
    """A context, which may be entered anew within itself. Only the main thread hears of Ctrl-C."""

    def __init__(self) -> None:
        self._depth = 0
        self._handler: signal._HANDLER = None
        self._came: tuple[int, FrameType | None] | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._depth += 1
            if self._depth == 1:
                self._came, self._handler = None, signal.getsignal(signal.SIGINT)
                if callable(self._handler):  # or it is not for Python to answer
                    signal.signal(signal.SIGINT, self._keep)

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            self._depth -= 1
            if self._depth == 0 and callable(self._handler):
                signal.signal(signal.SIGINT, self._handler)
                self.answer()

    def answer(self) -> None:
        """Answer what has come so far, where that does no harm."""
        if threading.current_thread() is threading.main_thread() and self._came is not None:
            came, self._came = self._came, None
            if callable(self._handler):
                self._handler(*came)

    def _keep(self, number: int, frame: FrameType | None) -> None:
        self._came = number, frame


interrupts_kept = _Kept()
