"""Threads that wait for the next part of a pass: to start one takes five times as long as to wake it."""

from __future__ import annotations

import threading
from collections.abc import Callable


class _Helper:
    """A thread that does one thing at a time, and sleeps in between. It keeps no process alive."""

    def __init__(self) -> None:
        self._work: Callable[[], None] | None = None
        self._told = threading.Lock()
        self._told.acquire()
        threading.Thread(target=self._live, daemon=True, name="elastic_ot").start()

    def _live(self) -> None:
        while True:
            self._told.acquire()
            work, self._work = self._work, None
            if work is None:
                return
            work()
            del work  # or it would keep arrays alive

    def tell(self, work: Callable[[], None] | None) -> None:
        """Do this, which must not raise; None: end."""
        self._work = work
        self._told.release()


class Helpers:
    """Those of a process that have nothing to do at the moment."""

    def __init__(self) -> None:
        self.idle: list[_Helper] = []  # taken from and added to by any thread: both are atomic

    def split(self, attempt: Callable[[int], None], threads: int, failed: list[BaseException]) -> None:
        """attempt(part) for each part, which must not raise; what interrupts this thread is collected."""
        others = [_Part(attempt, part) for part in range(1, threads)]
        helpers = [self._one() for _ in others]
        for helper, other in zip(helpers, others, strict=True):
            helper.tell(other)
        attempt(0)
        for other in others:
            other.wait(failed)
        for helper in helpers:
            self._release(helper, threads)

    def _one(self) -> _Helper:
        return self._idle_one() or _Helper()

    def _idle_one(self) -> _Helper | None:
        try:
            return self.idle.pop()
        except IndexError:
            return None

    def _release(self, helper: _Helper, threads: int) -> None:
        """Keep it for later, and of all no more than a pass takes."""
        self.idle.append(helper)
        while len(self.idle) > threads and (spare := self._idle_one()) is not None:
            spare.tell(None)


class _Part:
    """A part that a helper does, and a lock that is held until it is done."""

    def __init__(self, attempt: Callable[[int], None], part: int) -> None:
        self.attempt, self.part, self.done, self.lock = attempt, part, False, threading.Lock()
        self.lock.acquire()

    def __call__(self) -> None:
        self.attempt(self.part)
        self.done = True
        self.lock.release()

    def wait(self, failed: list[BaseException]) -> None:
        """An interrupt waits, too: nothing may be written any more once the caller goes on."""
        while not self.done:
            try:
                self.lock.acquire()
            except BaseException as error:
                failed.append(error)
