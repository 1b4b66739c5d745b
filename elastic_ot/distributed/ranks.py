"""Sums over the rows of a problem: the one thing that solvers have to ask of other processes.

`Ranks` is a process that has all rows, `Together` one of several that have some each. What is summed over columns is
the same on all of them and never asked for.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .communicator import FEW_NUMBERS, Communicator
from .failures import raise_together

Vector = NDArray[np.float64]
CLEAR: AbstractContextManager[None] = nullcontext()


class Ranks:
    """A process that has all rows: sums over its own are those over all of them."""

    alone = True

    @staticmethod
    def sum(values: Vector) -> float:
        """Return the sum of what the rows have."""
        return float(values.sum())

    @staticmethod
    def max(values: Vector) -> float:
        """Return the largest of what the rows have; -inf of none."""
        return float(values.max(initial=-np.inf))

    @staticmethod
    def any(flag: Any) -> bool:
        """Return True if that is true of some process's rows."""
        return bool(flag)

    @staticmethod
    def all(flag: Any) -> bool:
        """Return True if that is true of every process's rows."""
        return bool(flag)

    @staticmethod
    def totals(*values: float) -> tuple[float, ...]:
        """Return sums over the processes of numbers that each has summed over its own rows."""
        return values

    @staticmethod
    def most(value: float) -> float:
        """Return the largest of a number that every process has."""
        return value

    @staticmethod
    def add(values: Vector) -> None:
        """Replace values (k,) by their sums over the processes."""

    @staticmethod
    def raise_to_most(values: Vector) -> None:
        """Replace values (k,) by the largest of the processes."""

    @staticmethod
    def follow_first(values: Vector) -> None:
        """Replace values (k,) by those of the first process: of what libraries compute, with threads of their own."""

    @staticmethod
    def spread(members: NDArray[np.int64], count: int, width: int, read: Callable[[NDArray[np.int64]], Any]) -> Any:
        """Return what `read` has of so many of all processes' `members`, evenly spaced: an array (count, width)."""
        return read(members[_places(members.size, count)])

    @staticmethod
    def noting() -> AbstractContextManager[None]:
        """Return a context of work on the own rows, whose errors are to be raised by all processes, at their next sum.

        There what is inside is left, as if all had gone well, by the one that has failed.
        """
        return CLEAR

    @staticmethod
    def check() -> None:
        """Raise on every process what one has noted."""


ALONE = Ranks()


def _places(members: int, count: int) -> NDArray[np.int64]:
    """So many places, evenly spaced."""
    return np.linspace(0, members - 1, count).astype(np.int64)


class Together(Ranks):
    """One of several processes that have some of the rows each.

    All call the same methods in the same order. With what each adds goes a number that says whether its part has gone
    well; where one has failed, all raise.
    """

    alone = False

    def __init__(self, comm: Communicator) -> None:
        self.comm, self.rank, self.size = comm, comm.rank, comm.size
        self.failed: BaseException | None = None
        self._kept = np.empty(0)

    def sum(self, values: Vector) -> float:  # type: ignore[override]
        return self.totals(float(values.sum()))[0]

    def max(self, values: Vector) -> float:  # type: ignore[override]
        return self.most(float(values.max(initial=-np.inf)))

    def any(self, flag: Any) -> bool:  # type: ignore[override]
        return self.totals(float(bool(flag)))[0] > 0

    def all(self, flag: Any) -> bool:  # type: ignore[override]
        return not self.any(not flag)

    def totals(self, *values: float) -> tuple[float, ...]:  # type: ignore[override]
        found = np.array(values, np.float64)
        self.add(found)
        return tuple(found.tolist())

    def most(self, value: float) -> float:  # type: ignore[override]
        found = np.array([value])
        self.raise_to_most(found)
        return float(found[0])

    def add(self, values: Vector) -> None:  # type: ignore[override]
        self._reduce(values, self.comm.allreduce_sum)

    def raise_to_most(self, values: Vector) -> None:  # type: ignore[override]
        self._reduce(values, self.comm.allreduce_max)

    def follow_first(self, values: Vector) -> None:  # type: ignore[override]
        if self.rank:
            values[:] = 0.0
        self.add(values)

    def _reduce(self, values: Vector, reduce: Callable[[Vector], None]) -> None:
        told = self._kept if self._kept.size == values.size + 1 else np.empty(values.size + 1)
        if told.size > FEW_NUMBERS:
            self._kept = told  # new memory takes longer than a sum
        told[:-1], told[-1] = values, self.failed is not None
        reduce(told)
        if told[-1] > 0:
            self._raise()
        values[:] = told[:-1]

    def spread(  # type: ignore[override]
        self, members: NDArray[np.int64], count: int, width: int, read: Callable[[NDArray[np.int64]], Any]
    ) -> Any:
        counts, out = np.zeros(self.size), np.zeros((count, width))
        counts[self.rank] = members.size
        self.add(counts)
        places = _places(int(counts.sum()), count) - int(counts[: self.rank].sum())
        own = (places >= 0) & (places < members.size)
        with self.noting():
            out[own] = read(members[places[own]]) if own.any() else 0.0
        self.add(out.reshape(-1))
        return out

    @contextmanager
    def noting(self) -> Iterator[None]:  # type: ignore[override]
        try:
            yield
        except BaseException as error:
            self.failed = self.failed or error

    def check(self) -> None:  # type: ignore[override]
        self.totals()

    def _raise(self) -> None:
        failed, self.failed = self.failed, None
        raise_together(self.comm, failed)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Have Ctrl-C noted, so that all processes end at their next sum; a second one is answered at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupt(number: int, frame: Any) -> None:
            if isinstance(self.failed, KeyboardInterrupt):
                raise KeyboardInterrupt
            self.failed = KeyboardInterrupt()

        before = signal.getsignal(signal.SIGINT)
        if before is not signal.default_int_handler:  # somebody else's
            yield
            return
        signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
